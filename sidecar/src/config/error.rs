//! Why there is no configuration.

use std::path::PathBuf;

use protocol::error::{Code, Example, Explain, word};

use super::place::{Layer, Place, Source};
use super::problem::Problem;

/// Why there is no configuration, or why it could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something in it is wrong.
    #[error("{}", summary(problems))]
    Invalid {
        /// What; one at least.
        problems: Vec<Problem>,
    },
    /// No key has that name.
    #[error("there is no key `{key}`")]
    UnknownKey {
        /// The name.
        key: String,
        /// What to do about it.
        instead: String,
    },
    /// A key holds nothing.
    #[error("`{key}` is not set")]
    NotSet {
        /// The key.
        key: String,
    },
    /// A file cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that would be made is there already.
    #[error("`{}` is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

fn summary(problems: &[Problem]) -> String {
    let first = problems.first().map_or_else(String::new, |problem| format!("{}: {}", problem.place, problem.reason));
    match problems.len() {
        0 | 1 => first,
        2 => format!("{first} (and one more problem)"),
        count => format!("{first} (and {} more problems)", count - 1),
    }
}

impl Explain for ConfigError {
    fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::ConfigInvalid,
            Self::UnknownKey { .. } | Self::NotSet { .. } => Code::ConfigKey,
            Self::Write { .. } => Code::FileFailed,
            Self::Exists { .. } => Code::ConfigExists,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Invalid { problems } => match &problems[..] {
                [only] => only.fix.clone(),
                [first, ..] => format!("{} Run `mltoolbox-sidecar config validate` to see all of them.", first.fix),
                [] => "Run `mltoolbox-sidecar config validate` to see what is wrong.".to_owned(),
            },
            Self::UnknownKey { instead, .. } => instead.clone(),
            Self::NotSet { key } => format!("Run `mltoolbox-sidecar config set {key} VALUE` to set it."),
            Self::Write { path, .. } => {
                format!("Run `ls -ld {}` to see who may write there.", word(path.parent().unwrap_or(path).display()))
            }
            Self::Exists { path } => {
                format!(
                    "Run `mltoolbox-sidecar config validate {0}` to check it, or `mv {0} {0}.old` to begin anew.",
                    word(path.display())
                )
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let file = || PathBuf::from("/home/ada/project/mltoolbox.yaml");
    let problem = |line, reason: &str, fix: &str| Problem {
        place: Place { source: Source::file(Layer::Project, &file()), line, column: 3 },
        key: "sync.debounce".to_owned(),
        reason: reason.to_owned(),
        fix: fix.to_owned(),
    };
    let one = || problem(12, "`sec` is no unit of time; there are `ms`, `s`, `m` and `h`", "Write `2s` in its place.");
    let other = problem(14, "there is no key `exlude` in `sync`", "Write `exclude` in place of `exlude`.");
    vec![
        ConfigError::Invalid { problems: vec![one()] }.into(),
        ConfigError::Invalid { problems: vec![one(), other] }.into(),
        ConfigError::UnknownKey {
            key: "sync.exlude".to_owned(),
            instead: "Write `sync.exclude` in place of `sync.exlude`.".to_owned(),
        }
        .into(),
        ConfigError::NotSet { key: "environment.base_image".to_owned() }.into(),
        ConfigError::Write { path: file(), source: std::io::ErrorKind::PermissionDenied.into() }.into(),
        ConfigError::Exists { path: file() }.into(),
    ]
}
