//! The encrypted file: names in the clear, each value sealed with age for the file's own key.
//!
//! The key is an identity of age, kept in the file sealed with a passphrase, or outside it in a key file. Storing needs
//! no passphrase, because values are sealed for the key's public half; only reading one does. What `age` and
//! `age-keygen` write is read here, and the other way round.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Name, Secret, SecretError, SecretStore};

mod disk;
mod document;
mod error;
mod key;
mod seal;

use document::Problem;
pub use error::FileError;
pub(super) use error::examples;
pub use key::{Key, KeySource};

use document::Document;
use key::Material;
use seal::{Identity, SealError};

/// Secrets in one file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    keys: Vec<Key>,
    identity: OnceLock<Identity>,
}

impl FileStore {
    /// Returns the store in the file at `path`, which `keys` may open; they are tried in order.
    pub fn new(path: &Path, keys: Vec<Key>) -> Self {
        Self { path: disk::behind_links(path), keys, identity: OnceLock::new() }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether there is a file. Blocks.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    fn document(&self) -> Result<Option<Document>, FileError> {
        let Some(text) = disk::read(&self.path)? else { return Ok(None) };
        let document = Document::parse(&text).map_err(|fault| FileError::Broken {
            path: self.path.clone(),
            line: fault.line,
            problem: fault.problem,
        })?;
        Ok(Some(document))
    }

    /// Returns a new file without secrets.
    fn begin(&self) -> Result<Document, FileError> {
        let Some(key) = self.keys.first() else {
            return Err(FileError::PassphraseNeeded { path: self.path.clone(), new: true });
        };
        match &key.material {
            Material::Identities(identities) => {
                let identity = identities.first().expect("a key file without identities is a passphrase");
                Ok(Document::new(&identity.recipient(), None))
            }
            Material::Passphrase(passphrase) => {
                let identity = Identity::generate();
                let sealed = identity.sealed(passphrase).map_err(|source| self.sealed(None, source))?;
                let document = Document::new(&identity.recipient(), Some(&sealed));
                // Of no use to whoever does not read a value with this very store.
                drop(self.identity.set(identity));
                Ok(document)
            }
        }
    }

    /// Returns the identity that opens the values of `document`.
    fn identity(&self, document: &Document) -> Result<&Identity, FileError> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let mut refused = None;
        for key in &self.keys {
            match self.try_key(document, key) {
                Ok(identity) => return Ok(self.identity.get_or_init(|| identity)),
                Err(error) => refused = Some(error),
            }
        }
        let path = || self.path.clone();
        Err(match (refused, document.identity()) {
            (Some(error), _) => error,
            (None, Some(_)) => FileError::PassphraseNeeded { path: path(), new: false },
            (None, None) => FileError::KeyFileNeeded { path: path(), recipient: document.recipient().to_owned() },
        })
    }

    fn try_key(&self, document: &Document, key: &Key) -> Result<Identity, FileError> {
        let wrong = || FileError::WrongKey { path: self.path.clone(), key: key.source.clone() };
        let identity = match (&key.material, document.identity()) {
            (Material::Identities(identities), _) => {
                let fits = |identity: &&Identity| identity.recipient() == document.recipient();
                return identities.iter().find(fits).cloned().ok_or_else(wrong);
            }
            (Material::Passphrase(_), None) => {
                let recipient = document.recipient().to_owned();
                return Err(FileError::KeyFileNeeded { path: self.path.clone(), recipient });
            }
            (Material::Passphrase(passphrase), Some(sealed)) => {
                Identity::unsealed(sealed, passphrase).map_err(|error| match error {
                    SealError::Passphrase => wrong(),
                    error => self.sealed(None, error),
                })?
            }
        };
        if identity.recipient() == document.recipient() {
            return Ok(identity);
        }
        // Whoever changed the recipient would read what is stored from now on.
        Err(FileError::Recipient { path: self.path.clone(), wanted: identity.recipient() })
    }

    /// Replaces the file by what `change` makes of it; `None` leaves it.
    fn change(
        &self,
        change: impl FnOnce(Option<Document>) -> Result<Option<String>, FileError>,
    ) -> Result<(), FileError> {
        disk::prepare_folder(&self.path)?;
        let _lock = disk::lock(&self.path)?;
        if let Some(text) = change(self.document()?)? {
            disk::write(&self.path, &text)?;
        }
        Ok(())
    }

    fn sealed(&self, name: Option<&Name>, source: SealError) -> FileError {
        FileError::Sealed { path: self.path.clone(), name: name.cloned(), reason: source.to_string() }
    }
}

impl SecretStore for FileStore {
    fn names(&self) -> Result<Vec<Name>, SecretError> {
        Ok(self.document()?.map(|document| document.names()).unwrap_or_default())
    }

    fn holds(&self, name: &Name) -> Result<bool, SecretError> {
        Ok(self.document()?.is_some_and(|document| document.sealed(name).is_some()))
    }

    fn get(&self, name: &Name) -> Result<Option<Secret>, SecretError> {
        let Some(document) = self.document()? else { return Ok(None) };
        let Some(sealed) = document.sealed(name) else { return Ok(None) };
        let opened = self.identity(&document)?.open(sealed);
        Ok(Some(opened.map_err(|source| self.sealed(Some(name), source))?))
    }

    fn set(&self, name: &Name, value: &Secret) -> Result<(), SecretError> {
        self.change(|document| {
            let document = match document {
                Some(document) => document,
                None => self.begin()?,
            };
            let sealed = seal::seal(document.recipient(), value).map_err(|source| self.sealed(Some(name), source))?;
            Ok(Some(document.with(name, &sealed)))
        })?;
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<bool, SecretError> {
        if !self.exists() {
            return Ok(false);
        }
        let mut removed = false;
        self.change(|document| {
            let document = document.filter(|document| document.sealed(name).is_some());
            removed = document.is_some();
            Ok(document.map(|document| document.without(name)))
        })?;
        Ok(removed)
    }
}

#[cfg(all(test, unix))]
mod tests;
