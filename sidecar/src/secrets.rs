//! Secrets: texts that cannot be printed, the places that keep them, and the order in which those are asked.
//!
//! A secret is looked for where it is used and not before; it is in no log, error, answer or argument of a process.

use std::fmt;

use zeroize::Zeroizing;

mod error;
mod file;
mod keychain;
mod memory;
mod name;
mod resolve;
mod store;

#[cfg(test)]
mod contract_tests;

pub use error::{SecretError, ValueProblem, examples};
pub use file::{FileError, FileStore, Key, KeySource};
pub use keychain::{Keychain, KeychainError};
pub use name::{Name, NameError};
pub use resolve::{Found, Looked, Secrets, Sight};
#[doc(hidden)]
pub use store::contract;
pub use store::{Place, SecretStore};

/// Longest value, in bytes. A variable of the environment, which is how a secret travels, holds 128 KiB on Linux with
/// its name.
pub const MAX_VALUE: usize = 64 << 10;

/// A password, passphrase or token. It has no `Display` and no `Serialize`, its `Debug` shows nothing, its memory is
/// overwritten when it is dropped, and a process that ever held one leaves no core dump.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: String) -> Self {
        memory::keep_out_of_core_dumps();
        Self(Zeroizing::new(text))
    }

    /// Wraps what was read as the value of a secret: text without NUL, at most [`MAX_VALUE`] bytes, not empty.
    pub fn value(bytes: Vec<u8>) -> Result<Self, ValueProblem> {
        let bytes = Zeroizing::new(bytes);
        match std::str::from_utf8(&bytes) {
            Ok("") => Err(ValueProblem::Empty),
            Ok(text) if text.len() > MAX_VALUE => Err(ValueProblem::TooLong),
            Ok(text) if text.contains('\0') => Err(ValueProblem::Nul),
            Ok(text) => Ok(Self::new(text.to_owned())),
            Err(_) => Err(ValueProblem::NotText),
        }
    }

    /// Returns the text, for the one place that hands it to whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "****");
    }

    #[test]
    fn a_value_is_text_that_a_variable_can_hold() {
        let value = |bytes: &[u8]| Secret::value(bytes.to_vec());
        assert_eq!(value(b"two\nlines").expect("text").reveal(), "two\nlines");
        assert_eq!(value(b""), Err(ValueProblem::Empty));
        assert_eq!(value(b"a\0b"), Err(ValueProblem::Nul));
        assert_eq!(value(b"\xff\xfe"), Err(ValueProblem::NotText));
        assert_eq!(value(&vec![b'x'; MAX_VALUE + 1]), Err(ValueProblem::TooLong));
        value(&vec![b'x'; MAX_VALUE]).expect("as long as it may be");
    }
}
