//! The login keychain of macOS: generic passwords, filed under our service with the name as account.

use security_framework::base::Error;
use security_framework::item::{ItemClass, ItemSearchOptions, Limit};
use security_framework::passwords::{delete_generic_password, get_generic_password, set_generic_password};

use super::{KeychainError, SERVICE};
use crate::secrets::{Name, Secret};

/// `errSecItemNotFound` of `SecBase.h`.
const NOT_FOUND: i32 = -25300;
/// `errSecAuthFailed`, `errSecInteractionNotAllowed` and `errSecUserCanceled`: it stays locked.
const LOCKED: [i32; 3] = [-25293, -25308, -128];
/// `errSecNotAvailable` and `errSecNoDefaultKeychain`.
const ABSENT: [i32; 2] = [-25291, -25307];

type Result<T> = std::result::Result<T, KeychainError>;

pub(super) fn names() -> Result<Vec<Name>> {
    let mut search = ItemSearchOptions::new();
    search.class(ItemClass::generic_password()).service(SERVICE).load_attributes(true).limit(Limit::All);
    let found = or_nothing(search.search())?.unwrap_or_default();
    let account = |item: &security_framework::item::SearchResult| item.simplify_dict()?.remove("acct")?.parse().ok();
    Ok(found.iter().filter_map(account).collect())
}

pub(super) fn holds(name: &Name) -> Result<bool> {
    let mut search = ItemSearchOptions::new();
    search.class(ItemClass::generic_password()).service(SERVICE).account(name.as_str()).load_attributes(true);
    Ok(or_nothing(search.search())?.is_some_and(|found| !found.is_empty()))
}

pub(super) fn get(name: &Name) -> Result<Option<Vec<u8>>> {
    or_nothing(get_generic_password(SERVICE, name.as_str()))
}

pub(super) fn set(name: &Name, value: &Secret) -> Result<()> {
    set_generic_password(SERVICE, name.as_str(), value.reveal().as_bytes()).map_err(error)
}

pub(super) fn remove(name: &Name) -> Result<bool> {
    Ok(or_nothing(delete_generic_password(SERVICE, name.as_str()))?.is_some())
}

fn or_nothing<T>(answer: std::result::Result<T, Error>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(refused) if refused.code() == NOT_FOUND => Ok(None),
        Err(refused) => Err(error(refused)),
    }
}

fn error(error: Error) -> KeychainError {
    match error.code() {
        code if LOCKED.contains(&code) => KeychainError::Locked,
        code if ABSENT.contains(&code) => KeychainError::Absent { reason: error.to_string() },
        _ => KeychainError::Failed { reason: error.to_string() },
    }
}
