//! One body of assertions for every store: the encrypted file, and a map in memory. The keychain has to pass the same in
//! `tests/live/secrets.rs`, where a real one runs.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{FileStore, Key, KeySource, Name, Secret, SecretError, SecretStore};

/// A store that forgets everything with the process.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<Name, Secret>>);

impl SecretStore for Memory {
    fn names(&self) -> Result<Vec<Name>, SecretError> {
        Ok(self.0.lock().expect("no test panics with it").keys().cloned().collect())
    }

    fn holds(&self, name: &Name) -> Result<bool, SecretError> {
        Ok(self.0.lock().expect("no test panics with it").contains_key(name))
    }

    fn get(&self, name: &Name) -> Result<Option<Secret>, SecretError> {
        Ok(self.0.lock().expect("no test panics with it").get(name).cloned())
    }

    fn set(&self, name: &Name, value: &Secret) -> Result<(), SecretError> {
        self.0.lock().expect("no test panics with it").insert(name.clone(), value.clone());
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<bool, SecretError> {
        Ok(self.0.lock().expect("no test panics with it").remove(name).is_some())
    }
}

#[test]
fn a_map_in_memory_keeps_the_contract() {
    super::store::contract(&Memory::default());
}

#[test]
fn the_encrypted_file_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::passphrase(KeySource::Typed, Secret::new("correct horse".to_owned()));
    super::store::contract(&FileStore::new(&folder.path().join("mltoolbox/secrets.yaml"), vec![key]));
}
