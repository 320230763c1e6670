//! Names of secrets, and the variable that each can be given in.

use std::fmt;
use std::str::FromStr;

use crate::env;

/// Longest name, in bytes.
const MAX_NAME: usize = 128;

/// The name of a secret: ASCII letters, digits, `-`, `_` and `.`, beginning with a letter, digit or `_`, at most 128 of
/// them. Names that differ in case are different ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no name of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("the name of a secret is empty")]
    Empty,
    /// It is too long.
    #[error("the name of a secret is longer than {MAX_NAME} letters")]
    TooLong,
    /// It holds a letter that no name holds, or begins with one that no name begins with.
    #[error("`{name}` cannot be the name of a secret because of `{letter}`")]
    Letter {
        /// The text.
        name: String,
        /// The letter.
        letter: char,
    },
}

impl Name {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the variable that gives this secret its value before any store is asked: `-` and `.` are `_` there, and
    /// case is lost, so that `hf-token` and `HF.TOKEN` share one.
    pub fn variable(&self) -> String {
        let plain = |letter: char| if matches!(letter, '-' | '.') { '_' } else { letter.to_ascii_uppercase() };
        env::SECRET_PREFIX.chars().chain(self.0.chars().map(plain)).collect()
    }

    /// Returns a name that a variable gives a value to, if it is one of those variables.
    pub fn of_variable(variable: &str) -> Option<Self> {
        variable.strip_prefix(env::SECRET_PREFIX)?.to_ascii_lowercase().parse().ok()
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(first) = text.chars().next() else { return Err(NameError::Empty) };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let wrong = if matches!(first, '-' | '.') { Some(first) } else { text.chars().find(|letter| !plain(*letter)) };
        match wrong {
            Some(letter) => Err(NameError::Letter { name: text.chars().take(MAX_NAME).collect(), letter }),
            None if text.len() > MAX_NAME => Err(NameError::TooLong),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken_and_refused() {
        for name in ["hf-token", "A", "_x", "9", "a.b_c-D", &"n".repeat(MAX_NAME)] {
            assert_eq!(name.parse::<Name>().expect("a name").as_str(), name);
        }
        let letter = |name: &str, letter| NameError::Letter { name: name.to_owned(), letter };
        for (name, error) in [
            ("", NameError::Empty),
            ("-rf", letter("-rf", '-')),
            ("..", letter("..", '.')),
            ("a b", letter("a b", ' ')),
            ("a/b", letter("a/b", '/')),
            ("a:b", letter("a:b", ':')),
            ("straße", letter("straße", 'ß')),
            ("a\nb", letter("a\nb", '\n')),
            (&"n".repeat(MAX_NAME + 1), NameError::TooLong),
        ] {
            assert_eq!(name.parse::<Name>(), Err(error), "{name}");
        }
    }

    #[test]
    fn a_name_has_a_variable() {
        let name: Name = "hf-token.v2".parse().expect("a name");
        assert_eq!(name.variable(), "MLTOOLBOX_SECRET_HF_TOKEN_V2");
        assert_eq!(Name::of_variable("MLTOOLBOX_SECRET_HF_TOKEN").expect("a name").as_str(), "hf_token");
        assert_eq!(Name::of_variable("MLTOOLBOX_SECRETS_PASSPHRASE"), None);
        assert_eq!(Name::of_variable("MLTOOLBOX_SECRET_"), None);
    }
}
