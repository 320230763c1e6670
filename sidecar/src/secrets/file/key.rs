//! What opens a secrets file: a passphrase or an identity of age, and where it came from.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::seal::Identity;
use super::{FileError, disk};
use crate::env;
use crate::secrets::Secret;

/// Largest key file that is read.
const MAX_KEY_FILE: u64 = 64 << 10;

/// What may open a secrets file.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) source: KeySource,
    pub(super) material: Material,
}

#[derive(Clone, Debug)]
pub(super) enum Material {
    Passphrase(Secret),
    Identities(Vec<Identity>),
}

/// Where a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that a variable names.
    KeyFile(PathBuf),
    /// A variable.
    Variable,
    /// A person.
    Typed,
}

impl fmt::Display for KeySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => write!(formatter, "the key file `{}`", path.display()),
            Self::Variable => write!(formatter, "the passphrase in `{}`", env::SECRETS_PASSPHRASE),
            Self::Typed => formatter.write_str("the passphrase that was typed"),
        }
    }
}

impl Key {
    /// Returns a passphrase as a key.
    pub fn passphrase(source: KeySource, passphrase: Secret) -> Self {
        Self { source, material: Material::Passphrase(passphrase) }
    }

    /// Returns the keys that the environment gives: the key file before the passphrase. Blocks.
    pub fn of_environment() -> Result<Vec<Self>, FileError> {
        let mut keys = Vec::new();
        if let Some(path) = env::get(env::SECRETS_KEY_FILE) {
            keys.push(Self::of_file(Path::new(&path))?);
        }
        if let Some(passphrase) = env::text(env::SECRETS_PASSPHRASE) {
            keys.push(Self::passphrase(KeySource::Variable, Secret::new(passphrase)));
        }
        Ok(keys)
    }

    /// Reads a key file: identities as `age-keygen` writes them, or else a passphrase, which is its first line.
    fn of_file(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::KeyFile { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(FileError::NotAFile { path: path.to_owned() });
        }
        let file = std::fs::File::open(path).map_err(failed)?;
        disk::own_alone(path, &file.metadata().map_err(failed)?)?;
        let mut text = zeroize::Zeroizing::new(String::new());
        file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
        let source = KeySource::KeyFile(path.to_owned());
        let identities = Identity::of_key_file(&text);
        if !identities.is_empty() {
            return Ok(Self { source, material: Material::Identities(identities) });
        }
        let passphrase = text.lines().next().unwrap_or_default();
        if passphrase.is_empty() {
            return Err(FileError::KeyFileEmpty { path: path.to_owned() });
        }
        Ok(Self::passphrase(source, Secret::new(passphrase.to_owned())))
    }
}
