//! What can go wrong with a secret, and what mends it. No value is in any of it.

use std::fmt;

use protocol::error::{Code, Example, Explain};

use super::{FileError, KeychainError, MAX_VALUE, Name, NameError, Place, file, keychain};
use crate::env;

/// Why a secret is not to be had, or cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It has a name that none has.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its value cannot be kept.
    #[error("the value of the secret `{name}` {problem}")]
    Value {
        /// The secret.
        name: Name,
        /// What is wrong with the value.
        problem: ValueProblem,
    },
    /// It is nowhere.
    #[error("the secret `{name}` is not set{}", referenced.as_ref().map(|place| format!("; {place} refers to it")).unwrap_or_default())]
    Missing {
        /// The secret.
        name: Name,
        /// Where it is used.
        referenced: Option<String>,
        /// Where was looked.
        #[source]
        looked: Box<Trail>,
    },
    /// The keychain.
    #[error(transparent)]
    Keychain(#[from] KeychainError),
    /// The encrypted file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was typed twice was not the same.
    #[error("what was typed the second time is not what was typed first")]
    Differ,
    /// The work was lost to a defect.
    #[error("a secret could not be looked for because of a defect")]
    Lost {
        /// What the runtime says.
        source: tokio::task::JoinError,
    },
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueProblem {
    /// There is none.
    Empty,
    /// It is not UTF-8.
    NotText,
    /// It holds a NUL, which no variable can.
    Nul,
    /// It is longer than [`MAX_VALUE`].
    TooLong,
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("is empty"),
            Self::NotText => formatter.write_str("is not UTF-8"),
            Self::Nul => formatter.write_str("holds a NUL byte"),
            Self::TooLong => write!(formatter, "is longer than {MAX_VALUE} bytes"),
        }
    }
}

/// Where was looked and why nothing was found there: one place, caused by the next.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", place.word())]
pub struct Trail {
    place: Place,
    reason: String,
    #[source]
    next: Option<Box<Self>>,
}

impl Trail {
    /// Returns the places in order as one trail; `None` without any.
    pub(super) fn of(looked: impl DoubleEndedIterator<Item = (Place, String)>) -> Option<Box<Self>> {
        looked.rev().fold(None, |next, (place, reason)| Some(Box::new(Self { place, reason, next })))
    }
}

impl Explain for SecretError {
    fn code(&self) -> Code {
        match self {
            Self::Name(_) => Code::SecretName,
            Self::Value { .. } | Self::Differ => Code::SecretValue,
            Self::Missing { .. } => Code::SecretMissing,
            Self::Keychain(error) => error.code(),
            Self::File(error) => error.code(),
            Self::Lost { .. } => Code::Bug,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Name(_) => {
                "Use letters, digits, `-`, `_` and `.`, beginning with a letter or digit: `hf-token`.".to_owned()
            }
            Self::Value { name, problem } => match problem {
                ValueProblem::Empty => format!(
                    "Run what gives the value alone to see that it prints it; `mltoolbox-sidecar secret remove {name}` removes a secret."
                ),
                ValueProblem::NotText | ValueProblem::Nul => format!(
                    "Store it in base64, which a variable can hold: `base64 FILE | mltoolbox-sidecar secret set {name}`."
                ),
                ValueProblem::TooLong => {
                    "Keep it in a file of its own on the remote; a secret travels as a variable, which holds no more."
                        .to_owned()
                }
            },
            Self::Missing { name, .. } => {
                format!("Run `mltoolbox-sidecar secret set {name}`, or set `{}`.", name.variable())
            }
            Self::Keychain(error) => error.help(),
            Self::File(error) => error.help(),
            Self::Differ => "Run the command again and type the same both times.".to_owned(),
            Self::Lost { .. } => format!("Run the command again with `{}=debug` and report what it logs.", env::LOG),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let name = || "hf-token".parse::<Name>().expect("a name");
    let value = |problem| SecretError::Value { name: name(), problem }.into();
    let looked = [
        (Place::Environment, "`MLTOOLBOX_SECRET_HF_TOKEN` is not set".to_owned()),
        (Place::Keychain, "there is no keychain here: no session bus runs".to_owned()),
        (Place::File, "`/home/ada/.config/mltoolbox/secrets.yaml` does not hold it".to_owned()),
    ];
    let looked = Trail::of(looked.into_iter()).expect("three places");
    let referenced = Some("`environment.env.HF_TOKEN` (mltoolbox.yaml:12)".to_owned());
    let wrong = |text: &str| SecretError::from(text.parse::<Name>().expect_err("no name")).into();
    let own = vec![
        wrong(""),
        wrong("hf token"),
        wrong(&"x".repeat(200)),
        value(ValueProblem::Empty),
        value(ValueProblem::NotText),
        value(ValueProblem::Nul),
        value(ValueProblem::TooLong),
        SecretError::Missing { name: name(), referenced, looked }.into(),
        SecretError::Differ.into(),
    ];
    [own, keychain::examples(), file::examples()].concat()
}
