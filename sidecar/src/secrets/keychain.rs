//! The keychain of the desktop or the operating system: the Secret Service on Linux, the login keychain on macOS.
//!
//! Nothing is assumed: it is looked for each time, and why it cannot be used is said.

use protocol::error::{Code, Example, Explain};

use super::{Name, Secret, SecretError, SecretStore};

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod absent;
#[cfg(target_os = "macos")]
mod apple;
#[cfg(target_os = "linux")]
mod secret_service;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use absent as platform;
#[cfg(target_os = "macos")]
use apple as platform;
#[cfg(target_os = "linux")]
use secret_service as platform;

/// The service under which our secrets are filed, as other programs show it.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const SERVICE: &str = "mltoolbox";

/// Secrets in the user's keychain.
#[derive(Clone, Copy, Debug)]
pub struct Keychain;

impl SecretStore for Keychain {
    fn names(&self) -> Result<Vec<Name>, SecretError> {
        let mut names = platform::names()?;
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn holds(&self, name: &Name) -> Result<bool, SecretError> {
        Ok(platform::holds(name)?)
    }

    fn get(&self, name: &Name) -> Result<Option<Secret>, SecretError> {
        let Some(bytes) = platform::get(name)? else { return Ok(None) };
        let value = Secret::value(bytes);
        value.map(Some).map_err(|problem| SecretError::Value { name: name.clone(), problem })
    }

    fn set(&self, name: &Name, value: &Secret) -> Result<(), SecretError> {
        Ok(platform::set(name, value)?)
    }

    fn remove(&self, name: &Name) -> Result<bool, SecretError> {
        Ok(platform::remove(name)?)
    }
}

/// Why a keychain cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    /// There is none.
    #[error("there is no keychain here: {reason}")]
    Absent {
        /// How that is known.
        reason: String,
    },
    /// It is locked, and was not unlocked when the person was asked.
    #[error("the keychain is locked, and was not unlocked")]
    Locked,
    /// It did not answer in time.
    #[error("the keychain did not answer within {seconds} s")]
    Late {
        /// How long was waited.
        seconds: u64,
    },
    /// It failed.
    #[error("the keychain failed: {reason}")]
    Failed {
        /// Its reason.
        reason: String,
    },
}

impl Explain for KeychainError {
    fn code(&self) -> Code {
        match self {
            Self::Locked => Code::SecretLocked,
            Self::Absent { .. } | Self::Late { .. } | Self::Failed { .. } => Code::SecretStore,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Absent { .. } => "Use the encrypted file with `--store file`.".to_owned(),
            Self::Locked => {
                "Unlock it in its own window or with `gnome-keyring-daemon --unlock`, or use the encrypted file with `--store file`."
                    .to_owned()
            }
            Self::Late { .. } | Self::Failed { .. } => {
                "Look whether other programs reach it, such as `secret-tool search service mltoolbox`, or use the encrypted \
                 file with `--store file`."
                    .to_owned()
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(super) fn examples() -> Vec<Example> {
    let reason = "no session bus runs: `DBUS_SESSION_BUS_ADDRESS` is not set".to_owned();
    vec![
        KeychainError::Absent { reason }.into(),
        KeychainError::Locked.into(),
        KeychainError::Late { seconds: 60 }.into(),
        KeychainError::Failed { reason: "Remote peer disconnected".to_owned() }.into(),
    ]
}
