//! The Secret Service of freedesktop.org (GNOME Keyring, KeePassXC, KDE Wallet) over the session bus.
//!
//! Values cross the bus encrypted. Items are filed as the keyring libraries file theirs, so that
//! `secret-tool lookup service mltoolbox username NAME` finds them. Nothing is started but what the bus itself starts.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;

use dbus_secret_service::{Collection, EncryptionType, Error, Item, SecretService};

use super::{KeychainError, SERVICE};
use crate::env;
use crate::secrets::{Name, Secret};

/// How long a person has for the window that unlocks a keychain; where there is no screen, the answer comes at once.
const PROMPT: u64 = 30;
/// What the bus says of a name that nobody has and nobody can be started for.
const NOBODY: &[&str] = &[
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoServer",
    "org.freedesktop.DBus.Error.FileNotFound",
    "org.freedesktop.DBus.Error.NotSupported",
];
/// What the service says of a locked item or collection.
const LOCKED: &str = "org.freedesktop.Secret.Error.IsLocked";

type Result<T> = std::result::Result<T, KeychainError>;

pub(super) fn names() -> Result<Vec<Name>> {
    let service = connect()?;
    let mut names = Vec::new();
    for item in items(&service, HashMap::from([("service", SERVICE)]))? {
        // A locked item may tell only hashes of its attributes.
        if let Some(name) = name_of(&item)? {
            names.push(name);
            continue;
        }
        item.unlock().map_err(error)?;
        names.extend(name_of(&item)?);
    }
    Ok(names)
}

pub(super) fn holds(name: &Name) -> Result<bool> {
    Ok(!items(&connect()?, attributes(name))?.is_empty())
}

pub(super) fn get(name: &Name) -> Result<Option<Vec<u8>>> {
    let service = connect()?;
    // Unlocked ones come first.
    let Some(item) = items(&service, attributes(name))?.into_iter().next() else { return Ok(None) };
    item.ensure_unlocked().map_err(error)?;
    item.get_secret().map(Some).map_err(error)
}

pub(super) fn set(name: &Name, value: &Secret) -> Result<()> {
    let service = connect()?;
    let value = value.reveal().as_bytes();
    if let Some(item) = items(&service, attributes(name))?.into_iter().next() {
        item.ensure_unlocked().map_err(error)?;
        return item.set_secret(value, "text/plain").map_err(error);
    }
    let collection = collection(&service)?;
    collection.ensure_unlocked().map_err(error)?;
    // Replaces what another process may just have made under the name.
    collection
        .create_item(&format!("MLToolbox: {name}"), attributes(name), value, true, "text/plain")
        .map_err(error)?;
    Ok(())
}

pub(super) fn remove(name: &Name) -> Result<bool> {
    let service = connect()?;
    let items = items(&service, attributes(name))?;
    for item in &items {
        item.ensure_unlocked().map_err(error)?;
        item.delete().map_err(error)?;
    }
    Ok(!items.is_empty())
}

fn connect() -> Result<SecretService> {
    let bus = env::get(env::RUNTIME_DIR).map(|folder| PathBuf::from(folder).join("bus"));
    if env::get(env::SESSION_BUS).is_none() && !bus.is_some_and(|bus| bus.exists()) {
        let reason = format!("no session bus runs: `{}` is not set", env::SESSION_BUS);
        return Err(KeychainError::Absent { reason });
    }
    SecretService::connect_with_max_prompt_timeout(EncryptionType::Dh, PROMPT).map_err(|refused| match error(refused) {
        // Without an answer to the first word there is nobody to talk to.
        KeychainError::Failed { reason } => KeychainError::Absent { reason },
        refused => refused,
    })
}

fn collection(service: &SecretService) -> Result<Collection<'_>> {
    service.get_default_collection().map_err(|refused| match refused {
        Error::NoResult => {
            KeychainError::Absent { reason: "the Secret Service has no default collection yet".to_owned() }
        }
        refused => error(refused),
    })
}

fn items<'a>(service: &'a SecretService, attributes: HashMap<&str, &str>) -> Result<Vec<Item<'a>>> {
    let found = service.search_items(attributes).map_err(error)?;
    Ok(found.unlocked.into_iter().chain(found.locked).collect())
}

fn attributes(name: &Name) -> HashMap<&str, &str> {
    HashMap::from([("service", SERVICE), ("username", name.as_str())])
}

/// Returns the name of an item of ours, as far as it tells it.
fn name_of(item: &Item<'_>) -> Result<Option<Name>> {
    let attributes = item.get_attributes().map_err(error)?;
    Ok(attributes.get("username").and_then(|name| name.parse().ok()))
}

fn error(error: Error) -> KeychainError {
    let failed = |reason: &dyn Display| KeychainError::Failed { reason: reason.to_string() };
    match &error {
        Error::Locked | Error::Prompt => KeychainError::Locked,
        Error::Unavailable => KeychainError::Absent { reason: "no Secret Service runs".to_owned() },
        Error::Dbus(bus) => match bus.name() {
            Some(LOCKED) => KeychainError::Locked,
            Some(name) if NOBODY.contains(&name) => KeychainError::Absent {
                reason: "no Secret Service, such as GNOME Keyring or KeePassXC, is on the session bus".to_owned(),
            },
            Some(_) | None => failed(&bus.message().unwrap_or("the session bus gives no reason")),
        },
        _ => failed(&error),
    }
}
