//! What the workspace holds now: stat always, hash only where a stamp cannot be trusted.
//!
//! Every file is reached from the workspace's own descriptor without following a link. Nothing is written.
//! What cannot be read or told is never taken for deleted. Other file systems mounted below the workspace are
//! scanned like folders; links are kept as text.

mod beginning;
#[cfg(unix)]
mod hashing;
#[cfg(unix)]
mod reading;
mod seal;
#[cfg(unix)]
mod walking;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
#[cfg(unix)]
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::editor::SyncProblem;
use protocol::error::{Code, Example, Explain};
use protocol::path::RelPath;
use protocol::sync::{Hash, Stamp};
#[cfg(unix)]
use tokio_util::sync::CancellationToken;

pub use self::beginning::Beginning;
#[cfg(unix)]
pub use self::reading::{ReadError, Reader, Root, Snapshot};
#[cfg(unix)]
pub(in crate::sync) use self::reading::{mode, stamp};
pub use self::seal::Seal;
#[cfg(unix)]
use super::ignored::Rules;
use super::source::Linked;
#[cfg(unix)]
use crate::store::Base;

/// How long a file must have been quiet before its stamp says anything about its bytes: file systems count
/// in steps of up to 2 s (FAT; ext4 and others in kernel ticks), and a change within a step leaves no trace.
pub const QUIET: Duration = Duration::from_secs(2);

/// What a path of the workspace holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalContent {
    /// A regular file.
    File {
        /// Its bytes; `None` for a file that is new or of another length than the base's: whoever sends it
        /// hashes it while reading it once.
        hash: Option<Hash>,
        /// Its length in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder.
    Folder,
    /// A link that stays inside the workspace.
    Link {
        /// What it points to, as written.
        target: String,
    },
}

/// A path of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// What it holds.
    pub content: LocalContent,
    /// Permission bits (`0o777`).
    pub mode: u32,
    /// The file's stamp when it may be remembered: the file was quiet for [`QUIET`] when it was taken. Else
    /// `None`, and the next scan hashes the file again.
    pub stamp: Option<Stamp>,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// Every synced path below what was asked for, and the folders that lead to it.
    pub entries: BTreeMap<RelPath, Local>,
    /// Paths that cannot be told or sent: they, and all below them, keep their base and are not deleted.
    pub unknown: BTreeSet<RelPath>,
    /// Files that kept changing while they were read; scan them again. They are in `unknown`, too.
    pub unsettled: BTreeSet<RelPath>,
    /// Files that have more than one name.
    pub linked: BTreeMap<RelPath, Linked>,
    /// Why paths cannot be synced, in the order they were met.
    pub problems: Vec<SyncProblem>,
    /// Inode and device of the workspace folder.
    pub root: (u64, u64),
}

/// What to scan.
#[derive(Clone, Copy, Debug)]
pub enum Under<'a> {
    /// The whole workspace.
    Everything,
    /// These paths and all below them. One that is not in the entries afterwards, nor unknown, is gone, or
    /// ignored by now: ask [`Rules::verdict`] before taking it for deleted.
    Paths(&'a [RelPath]),
}

/// Why there is no scan.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The workspace folder cannot be opened.
    #[error("the workspace `{}` cannot be read", path.display())]
    Root {
        /// The workspace.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// It was cancelled.
    #[error("the scan was cancelled")]
    Cancelled,
}

impl Explain for ScanError {
    fn code(&self) -> Code {
        match self {
            Self::Root { .. } => Code::WorkspaceMissing,
            Self::Cancelled => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Root { path, .. } => format!(
                "Make sure that `{}` is a folder that you may read, or name another with `--workspace`; nothing is deleted on the remote meanwhile.",
                path.display()
            ),
            Self::Cancelled => "Run the command again; it begins anew and changes nothing by itself.".to_owned(),
        }
    }
}

/// Scans the workspace behind `root`. Blocks; for a thread that may.
///
/// `base` returns what is remembered of a path; a file with a base is hashed when its stamp is not the
/// remembered one, unless its length alone tells that it changed.
#[cfg(unix)]
pub fn scan<'a>(
    root: &Root,
    rules: &Rules,
    under: Under<'_>,
    base: &(dyn Fn(&RelPath) -> Option<&'a Base> + Sync),
    cancel: &CancellationToken,
) -> Result<Scan, ScanError> {
    let mut scan = Scan { root: root.identity(), ..Scan::default() };
    let to_hash = walking::walk(root, rules, under, base, cancel, &mut scan)?;
    hashing::hash(root, &to_hash, cancel, &mut scan)?;
    Ok(scan)
}

/// Returns the stamp when the file was quiet at `moment`, in nanoseconds since the Unix epoch. A time in the
/// future is a clock that was set back, which could happen again.
#[cfg(unix)]
fn trusted(stamp: Stamp, moment: i64) -> Option<Stamp> {
    let quiet = i64::try_from(QUIET.as_nanos()).expect("two seconds are few");
    let latest = stamp.mtime_ns.max(stamp.ctime_ns);
    (latest < moment.saturating_sub(quiet)).then_some(stamp)
}

#[cfg(unix)]
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(unix)]
impl Scan {
    /// Notes that a path cannot be synced; its base is kept.
    fn cannot(&mut self, path: RelPath, reason: String) {
        self.problems.push(SyncProblem { path: path.to_string(), reason });
        self.entries.remove(&path);
        self.unknown.insert(path);
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let path = PathBuf::from("/home/ada/project");
    let own =
        vec![ScanError::Root { path, source: std::io::ErrorKind::NotFound.into() }.into(), ScanError::Cancelled.into()];
    #[cfg(unix)]
    let own = [own, reading::examples()].concat();
    own
}

#[cfg(test)]
mod tests;
