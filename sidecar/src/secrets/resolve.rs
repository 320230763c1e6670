//! Where a secret is looked for and in which order: environment, keychain, encrypted file.
//!
//! A place that cannot be used is passed over, and its reason remembered for when nothing is found. A file that holds
//! the secret and does not open is no such place: then that is the error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::error::Trail;
use super::{
    FileError, FileStore, Key, KeySource, Keychain, KeychainError, Name, Place, Secret, SecretError, SecretStore,
};
use crate::env;
use crate::frontend::{Answer, Frontend, Question};

/// Longest wait for a keychain: a person has half of it for the window that unlocks it.
const KEYCHAIN: Duration = Duration::from_mins(1);
/// How often a person may type a passphrase.
const TRIES: usize = 3;

type Result<T> = std::result::Result<T, SecretError>;

/// All places of one user, for one command: what opens the file is asked for once.
#[derive(Debug)]
pub struct Secrets {
    frontend: Arc<dyn Frontend>,
    path: PathBuf,
    file: Mutex<Option<Arc<FileStore>>>,
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub place: Place,
    /// Its value.
    pub value: Secret,
}

/// One place, and what it has of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The place.
    pub place: Place,
    /// What it has.
    pub sight: Sight,
}

/// What a place has of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It holds it.
    Holds,
    /// It does not; the words say so.
    Lacks(String),
    /// It cannot be told, for this reason.
    Unusable(String),
}

impl Secrets {
    /// Returns the places of this user; questions go to `frontend`.
    pub fn new(frontend: Arc<dyn Frontend>) -> Self {
        Self { frontend, path: env::secrets_file(), file: Mutex::new(None) }
    }

    /// Returns the encrypted file, whether it is there or not.
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// Returns the value of a secret from the first place that has it. `referenced` says where it is used, for the
    /// error when there is none: ``"`environment.env.HF_TOKEN` (mltoolbox.yaml:12)"``.
    pub async fn resolve(&self, name: &Name, referenced: Option<&str>) -> Result<Found> {
        let mut looked = Vec::new();
        for place in Place::ALL {
            match self.get(place, name).await {
                Ok(Some(value)) => return Ok(Found { place, value }),
                Ok(None) => looked.push((place, self.lacks(place, name))),
                // What the keychain cannot give may be in the file; behind the file there is nothing more.
                Err(SecretError::Keychain(error)) => looked.push((place, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        let looked = Trail::of(looked.into_iter()).expect("there are places");
        Err(SecretError::Missing { name: name.clone(), referenced: referenced.map(str::to_owned), looked })
    }

    /// Returns what each place has of a secret, without opening anything.
    pub async fn look(&self, name: &Name) -> Vec<Looked> {
        let mut looked = Vec::new();
        for place in Place::ALL {
            let sight = match self.holds(place, name).await {
                Ok(true) => Sight::Holds,
                Ok(false) => Sight::Lacks(self.lacks(place, name)),
                Err(error) => Sight::Unusable(error.to_string()),
            };
            looked.push(Looked { place, sight });
        }
        looked
    }

    /// Returns whether a place holds a secret, without opening anything.
    pub async fn holds(&self, place: Place, name: &Name) -> Result<bool> {
        let name = name.clone();
        match place {
            Place::Environment => Ok(env::get(&name.variable()).is_some()),
            Place::Keychain => keychain(move |keychain| keychain.holds(&name)).await,
            Place::File => self.in_file(move |file| file.holds(&name)).await,
        }
    }

    /// Returns the names that a place has.
    pub async fn names(&self, place: Place) -> Result<Vec<Name>> {
        match place {
            Place::Environment => {
                Ok(env::names(env::SECRET_PREFIX).iter().filter_map(|name| Name::of_variable(name)).collect())
            }
            Place::Keychain => keychain(|store| SecretStore::names(&store)).await,
            Place::File => self.in_file(SecretStore::names).await,
        }
    }

    /// Stores a secret in a place; nothing can be stored in the environment.
    pub async fn set(&self, place: Place, name: &Name, value: &Secret) -> Result<()> {
        let (name, value) = (name.clone(), value.clone());
        match place {
            Place::Environment => Ok(()),
            Place::Keychain => keychain(move |keychain| keychain.set(&name, &value)).await,
            Place::File => self.in_file(move |file| file.set(&name, &value)).await,
        }
    }

    /// Forgets a secret in a place; returns whether it was there.
    pub async fn remove(&self, place: Place, name: &Name) -> Result<bool> {
        let name = name.clone();
        match place {
            Place::Environment => Ok(false),
            Place::Keychain => keychain(move |keychain| keychain.remove(&name)).await,
            Place::File => self.in_file(move |file| file.remove(&name)).await,
        }
    }

    async fn get(&self, place: Place, name: &Name) -> Result<Option<Secret>> {
        let wanted = name.clone();
        match place {
            Place::Environment => {
                let Some(value) = env::get(&name.variable()) else { return Ok(None) };
                let value = Secret::value(value.into_encoded_bytes());
                value.map(Some).map_err(|problem| SecretError::Value { name: name.clone(), problem })
            }
            Place::Keychain => keychain(move |keychain| keychain.get(&wanted)).await,
            Place::File => self.in_file(move |file| file.get(&wanted)).await,
        }
    }

    /// Returns the error of a secret that is in no store, or not in the one that was named.
    pub async fn missing(&self, name: &Name) -> SecretError {
        seen(name, self.look(name).await)
    }

    fn lacks(&self, place: Place, name: &Name) -> String {
        match place {
            Place::Environment => format!("`{}` is not set", name.variable()),
            Place::Keychain => "it does not hold the secret".to_owned(),
            Place::File if self.path.exists() => format!("`{}` does not hold the secret", self.path.display()),
            Place::File => format!("`{}` does not exist", self.path.display()),
        }
    }

    /// Does something with the encrypted file; asks for its passphrase when that is needed and somebody can be asked.
    async fn in_file<T: Send + 'static>(
        &self,
        work: impl Fn(&FileStore) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let mut held = self.file.lock().await;
        let mut tries = 0;
        loop {
            let (store, path, work) = (held.clone(), self.path.clone(), work.clone());
            let (store, done) = blocking(move || {
                let store = match store {
                    Some(store) => store,
                    None => Arc::new(FileStore::new(&path, Key::of_environment()?)),
                };
                let done = work(&store);
                Ok((store, done))
            })
            .await?;
            *held = Some(store);
            let passphrase = match done {
                Err(SecretError::File(FileError::PassphraseNeeded { path, new })) => self.passphrase(path, new).await?,
                Err(SecretError::File(FileError::WrongKey { path, key: KeySource::Typed })) if tries < TRIES => {
                    self.frontend.tell(format!("That does not open `{}`.", path.display()));
                    self.passphrase(path, false).await?
                }
                done => return done,
            };
            tries += 1;
            let key = Key::passphrase(KeySource::Typed, passphrase);
            *held = Some(Arc::new(FileStore::new(&self.path, vec![key])));
        }
    }

    /// Asks for a passphrase; a new one twice.
    async fn passphrase(&self, path: PathBuf, new: bool) -> Result<Secret> {
        let shown = path.display().to_string();
        let typed =
            async |again| match self.frontend.ask(&Question::SecretsFile { path: shown.clone(), new, again }).await {
                Some(Answer::Secret(typed)) if !typed.reveal().is_empty() => Some(typed),
                Some(Answer::Secret(_) | Answer::Yes | Answer::No) | None => None,
            };
        let Some(first) = typed(false).await else { return Err(FileError::PassphraseNeeded { path, new }.into()) };
        if new && typed(true).await.as_ref() != Some(&first) {
            return Err(SecretError::Differ);
        }
        Ok(first)
    }
}

/// Returns the error of a secret of which the places have only this.
fn seen(name: &Name, looked: Vec<Looked>) -> SecretError {
    let looked = looked.into_iter().map(|Looked { place, sight }| match sight {
        Sight::Lacks(reason) | Sight::Unusable(reason) => (place, reason),
        Sight::Holds => (place, "it holds the secret, and was left alone".to_owned()),
    });
    let looked = Trail::of(looked).expect("there are places");
    SecretError::Missing { name: name.clone(), referenced: None, looked }
}

async fn keychain<T: Send + 'static>(work: impl FnOnce(Keychain) -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::time::timeout(KEYCHAIN, blocking(move || work(Keychain))).await {
        Ok(done) => done,
        Err(_) => Err(KeychainError::Late { seconds: KEYCHAIN.as_secs() }.into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(SecretError::Lost { reason: error.to_string() }))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_place_that_cannot_be_used_is_not_said_to_lack_a_secret() {
        let absent = KeychainError::Absent { reason: "no session bus runs".to_owned() };
        let looked = vec![
            Looked { place: Place::Keychain, sight: Sight::Unusable(absent.to_string()) },
            Looked { place: Place::File, sight: Sight::Lacks("`/secrets.yaml` does not exist".to_owned()) },
        ];
        let error = seen(&"nope".parse().expect("a name"), looked);
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        assert_eq!(
            causes,
            ["keychain: there is no keychain here: no session bus runs", "file: `/secrets.yaml` does not exist"]
        );
    }
}
