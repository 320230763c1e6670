//! One thing that is wrong with a configuration, and what to type instead.

use super::place::Place;

/// What is wrong, where, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, its parts joined by dots; empty when it is about the file.
    pub key: String,
    /// What is wrong: lower case, no full stop.
    pub reason: String,
    /// What to type or run instead: full sentences.
    pub fix: String,
}

impl Problem {
    /// Returns a problem of the file itself.
    pub fn of_file(place: Place, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { place, key: String::new(), reason: reason.into(), fix: fix.into() }
    }
}
