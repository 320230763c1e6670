//! The trait of what keeps secrets, and the places in which one can be found.

use std::fmt;

use super::{Name, Secret, SecretError};

/// Where a secret can be found, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A variable of the environment.
    Environment,
    /// The keychain of the desktop or the operating system.
    Keychain,
    /// The encrypted file.
    File,
}

impl Place {
    /// Every place, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::Environment, Self::Keychain, Self::File];

    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Keychain => "keychain",
            Self::File => "file",
        }
    }
}

/// Keeps secrets from one process to the next.
///
/// All methods block and may be called by several processes at once, none of which loses what another stored. An error
/// leaves behind what was there before.
pub trait SecretStore: Send + Sync + fmt::Debug {
    /// Returns the names of what it keeps, sorted.
    fn names(&self) -> Result<Vec<Name>, SecretError>;
    /// Returns whether `name` is kept here; opens and unlocks nothing.
    fn holds(&self, name: &Name) -> Result<bool, SecretError>;
    /// Returns the value of `name`, if it is kept here.
    fn get(&self, name: &Name) -> Result<Option<Secret>, SecretError>;
    /// Keeps `value` under `name` in place of what was there.
    fn set(&self, name: &Name, value: &Secret) -> Result<(), SecretError>;
    /// Forgets `name`; returns whether it was kept here.
    fn remove(&self, name: &Name) -> Result<bool, SecretError>;
}

/// Asserts what holds for every store; it has to be empty, and is so again afterwards.
///
/// # Panics
/// When the store breaks it.
#[doc(hidden)]
pub fn contract(store: &dyn SecretStore) {
    let name = |name: &str| -> Name { name.parse().expect("a name") };
    let secret = |text: &str| Secret::new(text.to_owned());
    let (one, other) = (name("hf-token"), name("HF-TOKEN"));
    assert_eq!(store.names().expect("no names"), []);
    assert_eq!(store.get(&one).expect("an answer"), None);
    assert!(!store.holds(&one).expect("an answer") && !store.remove(&one).expect("an answer"));
    // What is stored comes back as it is, under its own name alone.
    let long = "\u{1f511}\"'\\$(x) `y` ${z}\r\n".repeat(super::MAX_VALUE / 40);
    for text in ["hunter2", "two\nlines\n", " \t ", "-rf", "---\n...", "ä€", long.as_str()] {
        store.set(&one, &secret(text)).expect("stored");
        assert_eq!(store.get(&one).expect("an answer"), Some(secret(text)), "{} bytes", text.len());
    }
    assert_eq!(store.get(&other).expect("an answer"), None, "case counts");
    store.set(&other, &secret("another")).expect("stored");
    for odd in ["true", "1.0", "null", "_", "a.b-c_d"] {
        store.set(&name(odd), &secret(odd)).expect("stored");
    }
    assert_eq!(store.get(&name("1.0")).expect("an answer"), Some(secret("1.0")));
    let names: Vec<String> = store.names().expect("names").iter().map(ToString::to_string).collect();
    assert_eq!(names, ["1.0", "HF-TOKEN", "_", "a.b-c_d", "hf-token", "null", "true"]);
    // What is removed is gone, and nothing else.
    assert!(store.remove(&one).expect("removed") && !store.holds(&one).expect("an answer"));
    assert_eq!(store.get(&one).expect("an answer"), None);
    assert_eq!(store.get(&other).expect("an answer"), Some(secret("another")));
    for name in store.names().expect("names") {
        assert!(store.remove(&name).expect("removed"), "{name}");
    }
    assert_eq!(store.names().expect("no names"), []);
}
