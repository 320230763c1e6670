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
/// What other keys and broken ones begin with.
const FOREIGN: &[&str] = &["#", "-----BEGIN", "AGE-", "age-secret-key-", "age1", "ssh-"];

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

    /// Reads a key file: identities as `age-keygen` writes them, or else a passphrase, which is its only line.
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
        if is_other_key(&text) {
            return Err(FileError::KeyFileForeign { path: path.to_owned() });
        }
        Ok(Self::passphrase(source, Secret::new(passphrase.to_owned())))
    }
}

/// Returns whether a text without identities is a key all the same, which is no passphrase: its first line is the same in
/// everybody's file.
fn is_other_key(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim();
    FOREIGN.iter().any(|begin| text.starts_with(begin)) || text.contains('\n')
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str) -> Result<Key, FileError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, text).expect("our own file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
        Key::of_file(&path)
    }

    #[test]
    fn a_file_with_another_kind_of_key_is_no_passphrase() {
        for text in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n",
            "# created: 2026-11-20T18:00:00Z\n# public key: age1ql3z\nAGE-SECRET-KEY-1BROKEN\n",
            "AGE-SECRET-KEY-1BROKEN\n",
            "AGE-PLUGIN-YUBIKEY-1QQPQQQ\n",
            "\u{feff}  AGE-PLUGIN-YUBIKEY-1QQPQQQ",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada@home\n",
            "PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\n",
        ] {
            let refused = read(text).map(|key| key.material);
            assert!(matches!(refused, Err(FileError::KeyFileForeign { .. })), "{text}");
        }
    }

    #[test]
    fn one_line_is_a_passphrase() {
        for text in ["correct horse", "correct horse\n", "correct horse\r\n\n"] {
            let Ok(Key { material: Material::Passphrase(passphrase), .. }) = read(text) else { panic!("{text:?}") };
            assert_eq!(passphrase.reveal(), "correct horse");
        }
        assert!(matches!(read("\n"), Err(FileError::KeyFileEmpty { .. })));
    }
}
