//! Private key files: what they hold, whether others can read them, and their passphrases.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use russh::keys::{PrivateKey, PublicKey};

use crate::frontend::{Answer, Frontend, Question};
use crate::secrets::Secret;
use crate::transport::TransportError;

/// A private key file larger than this is none; one of 16384 bits has 13 KiB.
const MAX_KEY_FILE: u64 = 1024 * 1024;
/// How often a passphrase may be wrong.
const PASSPHRASE_TRIES: usize = 3;

/// What is known of a key file before its passphrase is.
#[derive(Clone)]
pub(super) struct Identity {
    /// The file.
    pub(super) path: PathBuf,
    /// Its public half, when that can be had without a passphrase.
    pub(super) public: Option<PublicKey>,
    text: Secret,
    plain: Option<PrivateKey>,
}

impl Identity {
    /// Reads a key file. Blocks.
    pub(super) fn read(path: &Path) -> Result<Self, TransportError> {
        let unreadable = |source| TransportError::KeyUnreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no plain file")));
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_KEY_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // A public key is meant to be readable by everyone, so its kind is told before its mode.
        if text.parse::<PublicKey>().is_ok() || text.starts_with("ssh-") || text.starts_with("ecdsa-sha2-") {
            return Err(TransportError::KeyPublic { path: path.to_owned() });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(TransportError::KeyOpen { path: path.to_owned(), mode });
            }
        }
        let garbage = |source: Box<dyn std::error::Error + Send + Sync>| TransportError::KeyGarbage {
            path: path.to_owned(),
            source,
        };
        if !text.contains("PRIVATE KEY") && !text.starts_with("PuTTY-User-Key-File-") {
            return Err(garbage("it does not begin like a private key".into()));
        }
        let (public, plain) = match PrivateKey::from_openssh(&text) {
            Ok(key) if key.is_encrypted() => (Some(key.public_key().clone()), None),
            Ok(key) => (Some(key.public_key().clone()), Some(key)),
            // The older containers, which the library opens by another door.
            Err(_) => match russh::keys::decode_secret_key(&text, None) {
                Ok(key) => (Some(key.public_key().clone()), Some(key)),
                Err(_) if text.contains("ENCRYPTED") => (None, None),
                Err(error) => return Err(garbage(Box::new(error))),
            },
        };
        Ok(Self { path: path.to_owned(), public, text: Secret::new(text), plain })
    }

    /// Returns whether this is the private half of `key`, as far as that is known without a passphrase.
    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.public.as_ref().is_some_and(|public| public.key_data() == key.key_data())
    }

    /// Returns the private key and whether a person had to type a passphrase for it.
    pub(super) async fn unlock(self, frontend: &dyn Frontend) -> Result<(PrivateKey, bool), TransportError> {
        if let Some(key) = self.plain {
            return Ok((key, false));
        }
        let question = Question::Passphrase { key: self.path.display().to_string() };
        for _ in 0..PASSPHRASE_TRIES {
            let Some(Answer::Secret(passphrase)) = frontend.ask(&question).await else {
                return Err(TransportError::KeyEncrypted(question.unanswered()));
            };
            let text = self.text.clone();
            // The passphrase is stretched on purpose, for a good part of a second.
            let decoding = tokio::task::spawn_blocking(move || {
                russh::keys::decode_secret_key(text.reveal(), Some(passphrase.reveal())).ok()
            });
            if let Ok(Some(key)) = decoding.await {
                return Ok((key, true));
            }
            frontend.tell(format!("That passphrase does not open `{}`", self.path.display()));
        }
        Err(TransportError::Passphrase { path: self.path, tries: PASSPHRASE_TRIES })
    }
}

/// Returns the path of a key as a person writes it, `~` being `home`.
pub(super) fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        Some(_) | None => PathBuf::from(path),
    }
}
