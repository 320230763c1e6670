//! Key files: what they hold, whether others can read them, their certificates and their passphrases.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use russh::keys::{Certificate, PrivateKey, PublicKey};

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
    private: Private,
}

/// The half that signs.
#[derive(Clone)]
enum Private {
    /// Ready to sign.
    Open(Box<PrivateKey>),
    /// Encrypted: the file's text.
    Locked(Secret),
    /// Inside a device.
    Hardware,
    /// Not in a file; an agent may hold it.
    Elsewhere,
}

impl Identity {
    /// Reads a key file. Where only the public half is there, the private one may be with an agent. Blocks.
    pub(super) fn read(path: &Path) -> Result<Self, TransportError> {
        let unreadable = |source| TransportError::KeyUnreadable { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => match public_beside(path) {
                Some(public) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Self { path: path.to_owned(), public: Some(public), private: Private::Elsewhere });
                }
                Some(_) | None => return Err(unreadable(error)),
            },
        };
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no plain file")));
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_KEY_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // A public key is meant to be readable by everyone, so its kind is told before its mode.
        if let Ok(public) = text.trim().parse::<PublicKey>() {
            return Ok(Self { path: path.to_owned(), public: Some(public), private: Private::Elsewhere });
        }
        if text.starts_with("ssh-") || text.starts_with("ecdsa-sha2-") || text.starts_with("sk-") {
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
        let (public, private) = match PrivateKey::from_openssh(&text) {
            Ok(key) if is_hardware(key.public_key()) => (Some(key.public_key().clone()), Private::Hardware),
            Ok(key) if key.is_encrypted() => (Some(key.public_key().clone()), Private::Locked(Secret::new(text))),
            Ok(key) => (Some(key.public_key().clone()), Private::Open(Box::new(key))),
            // The older containers, which the library opens by another door.
            Err(_) => match russh::keys::decode_secret_key(&text, None) {
                Ok(key) => (Some(key.public_key().clone()), Private::Open(Box::new(key))),
                Err(_) if text.contains("ENCRYPTED") => (public_beside(path), Private::Locked(Secret::new(text))),
                Err(error) => return Err(garbage(Box::new(error))),
            },
        };
        Ok(Self { path: path.to_owned(), public, private })
    }

    /// Returns whether this is the private half of `key`, as far as that is known without a passphrase.
    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.public.as_ref().is_some_and(|public| public.key_data() == key.key_data())
    }

    /// Returns why nobody but an agent can sign with it, if so.
    pub(super) fn obstacle(&self) -> Option<TransportError> {
        let path = self.path.clone();
        match self.private {
            Private::Open(_) | Private::Locked(_) => None,
            Private::Hardware => Some(TransportError::KeyHardware { path }),
            Private::Elsewhere if self.public.as_ref().is_some_and(is_hardware) => {
                Some(TransportError::KeyHardware { path })
            }
            Private::Elsewhere => Some(TransportError::KeyPublic { path }),
        }
    }

    /// Returns the private key and whether a person had to type a passphrase for it.
    pub(super) async fn unlock(&self, frontend: &dyn Frontend) -> Result<(PrivateKey, bool), TransportError> {
        let text = match &self.private {
            Private::Open(key) => return Ok((PrivateKey::clone(key), false)),
            Private::Locked(text) => text,
            Private::Hardware | Private::Elsewhere => {
                let path = self.path.clone();
                return Err(self.obstacle().unwrap_or(TransportError::KeyPublic { path }));
            }
        };
        let question = Question::Passphrase { key: self.path.display().to_string() };
        for _ in 0..PASSPHRASE_TRIES {
            let Some(Answer::Secret(passphrase)) = frontend.ask(&question).await else {
                return Err(TransportError::KeyEncrypted(question.unanswered()));
            };
            let text = text.clone();
            // The passphrase is stretched on purpose, for a good part of a second.
            let decoding = tokio::task::spawn_blocking(move || {
                russh::keys::decode_secret_key(text.reveal(), Some(passphrase.reveal())).ok()
            });
            if let Ok(Some(key)) = decoding.await {
                return Ok((key, true));
            }
            frontend.tell(format!("That passphrase does not open `{}`", self.path.display()));
        }
        Err(TransportError::Passphrase { path: self.path.clone(), tries: PASSPHRASE_TRIES })
    }
}

/// Returns whether the private half of a key is inside a device.
pub(super) fn is_hardware(key: &PublicKey) -> bool {
    key.algorithm().as_str().starts_with("sk-")
}

/// Returns a certificate file's certificate; `None` when there is no such file. Blocks.
pub(super) fn certificate(path: &Path) -> Result<Option<Certificate>, TransportError> {
    let text = match File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(MAX_KEY_FILE).read_to_string(&mut text).map(|_| text)
    }) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TransportError::KeyUnreadable { path: path.to_owned(), source }),
    };
    match Certificate::from_openssh(text.trim()) {
        Ok(certificate) => Ok(Some(certificate)),
        Err(error) => Err(TransportError::KeyGarbage { path: path.to_owned(), source: Box::new(error) }),
    }
}

/// Returns the file of a key's own certificate, as `ssh-keygen -s` names it.
pub(super) fn certificate_beside(path: &Path) -> PathBuf {
    let name = path.to_string_lossy();
    let name = name.strip_suffix(".pub").unwrap_or(&name);
    PathBuf::from(format!("{name}-cert.pub"))
}

fn public_beside(path: &Path) -> Option<PublicKey> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let mut text = String::new();
    File::open(PathBuf::from(name)).ok()?.take(MAX_KEY_FILE).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
