//! Why a root cannot be used, and the words for what the file system refuses.

use std::io;

use protocol::error::{Code, Example, Explain, word};
use protocol::sync::Rejected;
use rustix::io::Errno;

/// Why a root cannot be used as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    #[error("the home folder of this user is not known")]
    NoHome,
    #[error("the remote folder `{path}` is {what}")]
    Refused { path: String, what: &'static str },
    #[error("the remote folder `{path}` does not exist")]
    Missing { path: String },
    #[error("the remote folder `{path}` is a symbolic link to `{target}`")]
    Link { path: String, target: String },
    #[error("`{path}` on the remote is not a folder")]
    NotFolder { path: String },
    #[error("cannot {doing} `{path}` on the remote")]
    Io { doing: &'static str, path: String, source: io::Error },
    #[error("the remote's disk is full below `{path}`")]
    Full { path: String, source: io::Error },
    #[error("another program has kept `{path}` locked for {seconds} seconds")]
    Busy { path: String, seconds: u64 },
    #[error("`{file}` of the remote folder `{path}` has format {version}, which is newer than this agent knows")]
    Newer { path: String, file: &'static str, version: u32 },
    #[error("the remote folder `{path}` is in use by `{label}`")]
    Leased { path: String, label: String },
    #[error("the remote folder `{path}` was replaced by another one while it was in use")]
    Replaced { path: String },
    #[error("`{path}` on the remote cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("the bytes of a batch did not arrive")]
    Lost { source: io::Error },
}

impl RootError {
    /// Returns the error for a failed system call on the root at `path`.
    pub(super) fn io(doing: &'static str, path: &str, error: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), error.into());
        if is_full(&source) { Self::Full { path, source } } else { Self::Io { doing, path, source } }
    }
}

impl Explain for RootError {
    fn code(&self) -> Code {
        match self {
            Self::NoHome
            | Self::Refused { .. }
            | Self::Missing { .. }
            | Self::Link { .. }
            | Self::NotFolder { .. }
            | Self::Io { .. }
            | Self::Busy { .. }
            | Self::Newer { .. }
            | Self::Replaced { .. } => Code::SyncRoot,
            Self::Full { .. } => Code::RemoteFull,
            Self::Leased { .. } => Code::SyncLeased,
            Self::Unreadable { .. } => Code::RemoteFileFailed,
            Self::Lost { .. } => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NoHome => "Give the remote folder as an absolute path with `--to`.".into(),
            Self::Refused { .. } => {
                "Name a folder of its own with `--to`, for example `--to ~/mltoolbox/project`.".into()
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
            Self::Io { path, .. } => {
                format!(
                    "See with `ls -ld {}` on the remote whether this user may write there, or name another folder with `--to`.",
                    word(path)
                )
            }
            Self::Full { path, .. } => {
                format!("See with `df -h {}` what is free on the remote, and make room.", word(path))
            }
            Self::Busy { path, .. } => {
                format!("See with `fuser {}` on the remote which process holds it, and end that.", word(path))
            }
            Self::Newer { .. } => {
                "Update MLToolbox on this machine, then run `mltoolbox-sidecar agent install`.".into()
            }
            Self::Leased { label, .. } => {
                format!(
                    "Run `mltoolbox-sidecar sync stop` in `{label}`, or take the folder from it with `--take-over`."
                )
            }
            Self::Replaced { .. } => {
                "Run `mltoolbox-sidecar sync watch`; it opens the new folder and compares everything first.".into()
            }
            Self::Unreadable { path, .. } => {
                format!("See with `ls -l {}` on the remote what it is and who may read it.", word(path))
            }
            Self::Lost { .. } => "Run `mltoolbox-sidecar sync push`; what did not arrive is sent then.".into(),
        }
    }
}

/// Returns whether a disk or a quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Returns why one operation was not done, in words for a person where the system's are not.
pub(super) fn rejected(error: &io::Error) -> Rejected {
    let reason = match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => return Rejected::Full,
        Some(Errno::BUSY) => return Rejected::Unsafe { reason: "something is mounted there".into() },
        Some(Errno::ROFS) => "the file system is read-only".into(),
        Some(Errno::ACCESS) => "permission denied".into(),
        Some(Errno::PERM) => "the file system does not permit it (it may be immutable or owned by another user)".into(),
        Some(Errno::NAMETOOLONG) => "the name is too long for this file system".into(),
        Some(Errno::LOOP) => "a symbolic link stands in the way".into(),
        Some(Errno::FBIG) => "the file is too large for this file system".into(),
        Some(Errno::NOENT) => "the folder vanished meanwhile".into(),
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open on the remote".into(),
        Some(_) | None => error.to_string(),
    };
    Rejected::Failed { reason }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let path = || "/data/project".to_owned();
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    vec![
        RootError::NoHome.into(),
        RootError::Refused { path: "/".to_owned(), what: "the root of the file system" }.into(),
        RootError::Missing { path: path() }.into(),
        RootError::Link { path: path(), target: "/mnt/disk/project".to_owned() }.into(),
        RootError::NotFolder { path: path() }.into(),
        RootError::Io { doing: "create", path: path(), source: denied() }.into(),
        RootError::Full { path: path(), source: io::ErrorKind::StorageFull.into() }.into(),
        RootError::Busy { path: path(), seconds: 5 }.into(),
        RootError::Newer { path: path(), file: "lease", version: 9 }.into(),
        RootError::Leased { path: path(), label: "ada@laptop:/home/ada/project".to_owned() }.into(),
        RootError::Replaced { path: path() }.into(),
        RootError::Unreadable { path: "src/train.py".to_owned(), reason: "permission denied".to_owned() }.into(),
        RootError::Lost { source: io::ErrorKind::UnexpectedEof.into() }.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_become_a_persons() {
        let reason = |errno: Errno| match rejected(&errno.into()) {
            Rejected::Failed { reason } | Rejected::Unsafe { reason } => reason,
            other => format!("{other:?}"),
        };
        for (errno, words) in [
            (Errno::NOSPC, "Full"),
            (Errno::DQUOT, "Full"),
            (Errno::ROFS, "the file system is read-only"),
            (Errno::ACCESS, "permission denied"),
            (Errno::NAMETOOLONG, "the name is too long for this file system"),
            (Errno::LOOP, "a symbolic link stands in the way"),
            (Errno::BUSY, "something is mounted there"),
            (Errno::IO, "Input/output error (os error 5)"),
        ] {
            assert_eq!(reason(errno), words);
        }
    }
}
