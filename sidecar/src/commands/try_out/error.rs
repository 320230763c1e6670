//! Why the tour ended early.

use std::path::PathBuf;

use protocol::error::{Code, Example, Explain};

/// Why the tour ended early.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// The temporary folder cannot be made or written to.
    #[error("the temporary folder `{}` cannot be used", path.display())]
    Folder {
        /// It, or where it was to be made.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The SSH server did not start.
    #[error("the embedded SSH server did not start")]
    Server {
        /// The system's reason.
        source: std::io::Error,
    },
    /// The stand-in runs commands as Unix does.
    #[error("`try` cannot be run on this system")]
    System,
    /// The folder to try it with is not there.
    #[error("there is no folder `{}`", path.display())]
    NoFolder {
        /// It.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An edit did not arrive.
    #[error("the edit of `{path}` did not arrive")]
    Edit {
        /// What was edited.
        path: String,
    },
    /// Nothing happens any more.
    #[error("the first sync does not end")]
    Stuck,
    /// The person no longer wants it.
    #[error("the tour was cancelled")]
    Cancelled,
}

impl Explain for TryError {
    fn code(&self) -> Code {
        match self {
            Self::Folder { .. } | Self::Server { .. } => Code::FileFailed,
            Self::NoFolder { .. } => Code::WorkspaceMissing,
            Self::System => Code::ParamsInvalid,
            Self::Edit { .. } | Self::Stuck => Code::SyncPending,
            Self::Cancelled => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Folder { .. } => "Free some space there, or name another folder with `TMPDIR`.".to_owned(),
            Self::Server { .. } => "Check that programs may listen on 127.0.0.1 of this machine.".to_owned(),
            Self::System => "Run it on Linux or macOS; on Windows, that is inside WSL 2.".to_owned(),
            Self::NoFolder { .. } => {
                "Give a folder that exists, or run `mltoolbox-sidecar try` for a sample project.".to_owned()
            }
            Self::Edit { .. } | Self::Stuck => {
                "Run `mltoolbox-sidecar try -v` to see what happens, and report it as a defect with that output."
                    .to_owned()
            }
            Self::Cancelled => "All of it is removed; run it again whenever you like.".to_owned(),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let source = |kind: std::io::ErrorKind| std::io::Error::from(kind);
    vec![
        TryError::Folder { path: "/tmp/mltoolbox-try".into(), source: source(std::io::ErrorKind::StorageFull) }.into(),
        TryError::Server { source: source(std::io::ErrorKind::AddrNotAvailable) }.into(),
        TryError::System.into(),
        TryError::NoFolder { path: "/home/ada/projcet".into(), source: source(std::io::ErrorKind::NotFound) }.into(),
        TryError::Edit { path: "src/train.py".to_owned() }.into(),
        TryError::Stuck.into(),
        TryError::Cancelled.into(),
    ]
}
