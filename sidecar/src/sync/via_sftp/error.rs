//! Why a root cannot be used over SFTP, and what a refused operation means.

use protocol::error::{Code, Error, Example, Explain, word};
use protocol::sync::Rejected;

use super::super::target::SyncError;
use super::wire::Fault;

/// Why a root cannot be used as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    #[error("the connection to the remote's SFTP server was lost")]
    Lost { source: Fault },
    #[error("the remote's SFTP server ends the conversation as soon as it begins")]
    Ends { source: Fault },
    #[error("the remote folder `{path}` is {what}")]
    Unfit { path: String, what: &'static str },
    #[error("the remote folder `{path}` does not exist")]
    Missing { path: String },
    #[error("the remote folder `{path}` is a symbolic link to `{target}`")]
    Link { path: String, target: String },
    #[error("`{path}` on the remote is not a folder")]
    NotFolder { path: String },
    #[error("cannot {doing} `{path}` on the remote")]
    Failed { doing: &'static str, path: String, source: Fault },
    #[error("`{file}` of the remote folder `{path}` has format {version}, which is newer than this program knows")]
    Newer { path: String, file: &'static str, version: u32 },
    #[error("the remote folder `{path}` is in use by `{label}`")]
    Leased { path: String, label: String },
    #[error("`{path}` on the remote cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
}

impl RootError {
    /// Returns the error for a request that failed on the root at `path`.
    pub(super) fn failed(doing: &'static str, path: &str, source: Fault) -> Self {
        match source {
            Fault::Lost { young: true, .. } => Self::Ends { source },
            Fault::Lost { young: false, .. } => Self::Lost { source },
            Fault::Missing | Fault::Denied | Fault::Unsupported | Fault::Failed(_) | Fault::Nonsense(_) => {
                Self::Failed { doing, path: path.to_owned(), source }
            }
        }
    }

    /// Returns the error of a sync; `path` is the folder as it was asked for.
    pub(super) fn of_sync(self, path: &str) -> SyncError {
        match self {
            Self::Lost { .. } => SyncError::Lost(self.into()),
            Self::Ends { .. } => SyncError::Session(self.into()),
            Self::Leased { .. } => SyncError::Leased(self.into()),
            Self::Unreadable { .. } => SyncError::Refused(self.into()),
            Self::Unfit { .. }
            | Self::Missing { .. }
            | Self::Link { .. }
            | Self::NotFolder { .. }
            | Self::Failed { .. }
            | Self::Newer { .. } => SyncError::Root { path: path.to_owned(), source: self.into() },
        }
    }
}

impl Explain for RootError {
    fn code(&self) -> Code {
        match self {
            Self::Lost { .. } => Code::SshLost,
            Self::Ends { .. } => Code::SshProtocol,
            Self::Unfit { .. }
            | Self::Missing { .. }
            | Self::Link { .. }
            | Self::NotFolder { .. }
            | Self::Failed { .. }
            | Self::Newer { .. } => Code::SyncRoot,
            Self::Leased { .. } => Code::SyncLeased,
            Self::Unreadable { .. } => Code::RemoteFileFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Lost { .. } => {
                "Nothing has to be done: it is made again by itself, as soon as the machine answers.".to_owned()
            }
            Self::Ends { .. } => {
                "Check that `sftp HOST` works in a terminal: the login shell must print nothing, and the `Subsystem sftp` of the \
                 remote's `/etc/ssh/sshd_config` must name a program that is there."
                    .to_owned()
            }
            Self::Unfit { .. } => {
                "Name a folder of its own with `--to`, for example `--to ~/mltoolbox/project`.".to_owned()
            }
            Self::Missing { path } => {
                format!(
                    "Create it on the remote with `mkdir -p {}`, or let `mltoolbox-sidecar sync push` make it.",
                    word(path)
                )
            }
            Self::Link { target, .. } => format!("Name the folder itself: `--to {}`.", word(target)),
            Self::NotFolder { path } => {
                format!("Move `{path}` away on the remote, or name another folder with `--to`.")
            }
            Self::Failed { path, .. } => {
                format!(
                    "See with `ls -ld {0}` and `df -h {0}` on the remote whether this user may write there and has room, or name \
                     another folder with `--to`.",
                    word(path)
                )
            }
            Self::Newer { .. } => "Update MLToolbox on this machine, then start the sync again.".to_owned(),
            Self::Leased { label, .. } => {
                format!(
                    "Run `mltoolbox-sidecar sync stop` in `{label}`, or take the folder from it with `--take-over`."
                )
            }
            Self::Unreadable { path, .. } => {
                format!("See with `ls -l {}` on the remote what it is and who may read it.", word(path))
            }
        }
    }
}

/// Returns the error of a sync for a conversation that is not open.
pub(super) fn not_open() -> SyncError {
    let source = Fault::Lost { why: "it is not open".to_owned(), young: false };
    SyncError::Lost(Error::from(RootError::Lost { source }))
}

/// Returns why one operation was not done, in words for a person.
pub(super) fn rejected(fault: &Fault) -> Rejected {
    match fault {
        Fault::Failed(text) if is_full(text) => Rejected::Full,
        Fault::Missing => Rejected::Failed { reason: "the folder vanished meanwhile".to_owned() },
        Fault::Lost { .. } | Fault::Denied | Fault::Unsupported | Fault::Failed(_) | Fault::Nonsense(_) => {
            Rejected::Failed { reason: fault.to_string() }
        }
    }
}

/// Returns whether a server says that a disk or quota is full; OpenSSH's never says why something failed.
pub(super) fn is_full(text: &str) -> bool {
    let text = text.to_lowercase();
    ["no space left", "quota exceeded", "disk full"].iter().any(|words| text.contains(words))
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub(super) fn examples() -> Vec<Example> {
    let path = || "/data/project".to_owned();
    let lost = |young| Fault::Lost { why: "sender dropped".to_owned(), young };
    vec![
        RootError::Lost { source: lost(false) }.into(),
        RootError::Ends { source: lost(true) }.into(),
        RootError::Unfit { path: "/".to_owned(), what: "the root of the file system" }.into(),
        RootError::Missing { path: path() }.into(),
        RootError::Link { path: path(), target: "/mnt/disk/project".to_owned() }.into(),
        RootError::NotFolder { path: path() }.into(),
        RootError::Failed { doing: "make", path: path(), source: Fault::Denied }.into(),
        RootError::Newer { path: path(), file: "lease.json", version: 9 }.into(),
        RootError::Leased { path: path(), label: "ada@laptop:/home/ada/project".to_owned() }.into(),
        RootError::Unreadable { path: "src/train.py".to_owned(), reason: "it is a folder".to_owned() }.into(),
    ]
}
