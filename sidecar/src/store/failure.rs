//! Why the state database did not do what was asked, and the way out of each case.

use std::io;
use std::path::{Path, PathBuf};

use protocol::error::{Code, Example, Explain};
use rusqlite::ErrorCode;

/// Why the state database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thread that owns the connection is gone.
    #[error("the state database is closed")]
    Closed,
    /// Its folder or file cannot be made or read.
    #[error("the state database `{}` cannot be opened", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// SQLite cannot open it.
    #[error("the state database `{}` cannot be opened", path.display())]
    Refused {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer version of this program wrote it.
    #[error("the state database `{}` has version {found}, and this program knows versions up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Newest version that is understood.
        known: i64,
    },
    /// The file is damaged, or is no database at all.
    #[error("the state database `{}` is damaged", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// It, its folder or its file system may not be written.
    #[error("the state database `{}` is read-only", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// The disk or the quota is full.
    #[error("there is no space left for the state database `{}`", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// Another process kept it locked for too long.
    #[error("the state database `{}` stayed locked by another process", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// A remote of that name is not stored.
    #[error("there is no remote `{name}` in the state database")]
    NoRemote {
        /// The name.
        name: String,
    },
    /// A read or write failed for another reason.
    #[error("the state database `{}` refused a read or a write", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Returns the error that SQLite's `source` means for the database at `path`.
    pub(super) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, source },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path, source },
            Some(ErrorCode::DiskFull) => Self::Full { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, source },
            Some(ErrorCode::CannotOpen) => Self::Refused { path, source },
            _ => Self::Failed { path, source },
        }
    }
}

/// Returns whether a write named a row that is not there.
pub(super) fn is_missing_reference(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

impl Explain for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Open { .. } | Self::Refused { .. } | Self::Corrupt { .. } | Self::ReadOnly { .. } => Code::StoreOpen,
            Self::Newer { .. } => Code::StoreNewer,
            Self::NoRemote { .. } => Code::RemoteUnknown,
            Self::Closed | Self::Full { .. } | Self::Busy { .. } | Self::Failed { .. } => Code::StoreFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Closed => "Run the command again; it opens the database anew.".to_owned(),
            Self::Open { path, .. } | Self::Refused { path, .. } => {
                format!("Make sure that you own the folder `{}` and may write there.", folder(path).display())
            }
            Self::Newer { path, .. } => format!(
                "Install the newest version of MLToolbox, or move `{}` aside to start with an empty state: remotes have to be added again, and no project file is touched.",
                path.display()
            ),
            Self::Corrupt { path, .. } => format!(
                "Run `mv {0} {0}.damaged` and then the command again. Remotes have to be added again; the next sync compares everything anew, and nothing is lost here or on the remote.",
                shell_words::quote(&path.to_string_lossy())
            ),
            Self::ReadOnly { path, .. } => format!(
                "Run `chmod u+rw {}`, and make sure that its folder is on a disk that may be written.",
                shell_words::quote(&path.to_string_lossy())
            ),
            Self::Full { path, .. } => format!(
                "Free some space on the disk of `{}` and run the command again; what was stored before is intact.",
                folder(path).display()
            ),
            Self::Busy { path, .. } => format!(
                "Run `fuser {}` to see which process holds it, end that process, and run the command again.",
                shell_words::quote(&path.to_string_lossy())
            ),
            Self::NoRemote { name } => {
                format!(
                    "Add it with `mltoolbox-sidecar remote add {name} --host HOST`, or name one that `mltoolbox-sidecar remote list` shows."
                )
            }
            Self::Failed { path, .. } => format!(
                "Run the command again; when it fails the same way, move `{}` aside, which loses the list of remotes and no project file.",
                path.display()
            ),
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let path = || PathBuf::from("/home/ada/.config/mltoolbox/mltoolbox.db");
    let source = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
    vec![
        StoreError::Closed.into(),
        StoreError::Open { path: path(), source: io::ErrorKind::PermissionDenied.into() }.into(),
        StoreError::Refused { path: path(), source: source(rusqlite::ffi::SQLITE_CANTOPEN) }.into(),
        StoreError::Newer { path: path(), found: 9, known: 1 }.into(),
        StoreError::Corrupt { path: path(), source: source(rusqlite::ffi::SQLITE_NOTADB) }.into(),
        StoreError::ReadOnly { path: path(), source: source(rusqlite::ffi::SQLITE_READONLY) }.into(),
        StoreError::Full { path: path(), source: source(rusqlite::ffi::SQLITE_FULL) }.into(),
        StoreError::Busy { path: path(), source: source(rusqlite::ffi::SQLITE_BUSY) }.into(),
        StoreError::NoRemote { name: "gpu2".to_owned() }.into(),
        StoreError::Failed { path: path(), source: source(rusqlite::ffi::SQLITE_IOERR) }.into(),
    ]
}
