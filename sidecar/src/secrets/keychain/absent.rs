//! Where no keychain is reached by us, the encrypted file keeps secrets.

use super::KeychainError;
use crate::secrets::{Name, Secret};

fn absent<T>() -> Result<T, KeychainError> {
    Err(KeychainError::Absent { reason: "none is supported on this system".to_owned() })
}

pub(super) fn names() -> Result<Vec<Name>, KeychainError> {
    absent()
}

pub(super) fn holds(_: &Name) -> Result<bool, KeychainError> {
    absent()
}

pub(super) fn get(_: &Name) -> Result<Option<Vec<u8>>, KeychainError> {
    absent()
}

pub(super) fn set(_: &Name, _: &Secret) -> Result<(), KeychainError> {
    absent()
}

pub(super) fn remove(_: &Name) -> Result<bool, KeychainError> {
    absent()
}
