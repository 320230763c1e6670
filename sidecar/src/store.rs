//! What must outlive a process, in one SQLite file: remotes, choices, sync bases, conflicts.
//!
//! The only module that names `rusqlite`. One thread owns the connection; everything else sends it work.

use std::path::{Path, PathBuf};

use protocol::editor::RemoteRow;
use protocol::error::{Code, Explain};
use protocol::hello::Facts;
use protocol::path::RelPath;
use protocol::sync::{Content, Stamp};

/// The state database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

/// Why the state database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thread that owns the connection is gone.
    #[error("the state database is closed")]
    Closed,
}

impl Explain for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Closed => Code::StoreFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Closed => "Run the command again.".to_owned(),
        }
    }
}

/// One workspace and the remote folder that is kept equal to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Row id.
    pub id: i64,
    /// Absolute path of the workspace.
    pub workspace: PathBuf,
    /// Name of the remote.
    pub remote: String,
    /// Folder on the remote as it was asked for.
    pub remote_dir: String,
    /// [`protocol::agent::Opened::copy`] of the folder that the base describes; `None` before the first sync.
    pub copy: Option<String>,
    /// Inode and device of the workspace folder when the base was last committed.
    pub root: Option<(u64, u64)>,
    /// Extra exclude patterns of the command line, in order.
    pub exclude: Vec<String>,
    /// Include overrides of the command line, in order.
    pub include: Vec<String>,
    /// Whether a person paused it.
    pub paused: bool,
    /// Whether an owner should run when the workspace is opened (set by `watch`, cleared by `stop`).
    pub wanted: bool,
    /// When all was last visible on the remote, in seconds since the Unix epoch.
    pub last_visible: Option<i64>,
    /// When all was last safe from a power cut there.
    pub last_durable: Option<i64>,
}

/// What both sides held at a path when they were last equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What they held.
    pub content: Content,
    /// Permission bits here (`0o777`).
    pub mode: u32,
    /// The local file then.
    pub local: Option<Stamp>,
    /// The remote file then.
    pub remote: Option<Stamp>,
}

/// One change of the base; `None` forgets the path.
pub type BaseChange = (RelPath, Option<Base>);

impl Store {
    /// Opens or makes the database at `path`, bringing an older one up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let _ = path;
        todo!("store helper")
    }

    /// Returns the random id of this machine's installation, made at first use.
    pub async fn machine(&self) -> Result<String, StoreError> {
        todo!("store helper")
    }

    /// Returns every remote, by name.
    pub async fn remotes(&self) -> Result<Vec<RemoteRow>, StoreError> {
        todo!("store helper")
    }

    /// Returns the remote of that name.
    pub async fn remote(&self, name: &str) -> Result<Option<RemoteRow>, StoreError> {
        let _ = name;
        todo!("store helper")
    }

    /// Adds a remote or replaces the one of that name.
    pub async fn put_remote(&self, remote: &RemoteRow) -> Result<(), StoreError> {
        let _ = remote;
        todo!("store helper")
    }

    /// Forgets a remote with its pairs and choices.
    pub async fn remove_remote(&self, name: &str) -> Result<(), StoreError> {
        let _ = name;
        todo!("store helper")
    }

    /// Records that a remote was reached and what it said of itself.
    pub async fn reached(&self, name: &str, facts: Option<&Facts>) -> Result<(), StoreError> {
        let _ = (name, facts);
        todo!("store helper")
    }

    /// Records the person's consent to install the agent on a remote.
    pub async fn allow_agent(&self, name: &str, allowed: bool) -> Result<(), StoreError> {
        let _ = (name, allowed);
        todo!("store helper")
    }

    /// Returns the remote that was last chosen for a workspace.
    pub async fn choice(&self, workspace: &Path) -> Result<Option<String>, StoreError> {
        let _ = workspace;
        todo!("store helper")
    }

    /// Remembers the remote chosen for a workspace.
    pub async fn choose(&self, workspace: &Path, remote: &str) -> Result<(), StoreError> {
        let _ = (workspace, remote);
        todo!("store helper")
    }

    /// Returns every pair.
    pub async fn pairs(&self) -> Result<Vec<Pair>, StoreError> {
        todo!("store helper")
    }

    /// Returns the pair of a workspace and a remote, made with `remote_dir` when there is none.
    /// Another `remote_dir` than the stored one starts with an empty base.
    pub async fn pair(&self, workspace: &Path, remote: &str, remote_dir: &str) -> Result<Pair, StoreError> {
        let _ = (workspace, remote, remote_dir);
        todo!("store helper")
    }

    /// Stores a pair's settings and marks (everything but its id, workspace, remote and folder).
    pub async fn update_pair(&self, pair: &Pair) -> Result<(), StoreError> {
        let _ = pair;
        todo!("store helper")
    }

    /// Returns the base of a pair, by path.
    pub async fn base(&self, pair: i64) -> Result<Vec<(RelPath, Base)>, StoreError> {
        let _ = pair;
        todo!("store helper")
    }

    /// Changes the base of a pair in one transaction.
    pub async fn commit(&self, pair: i64, changes: Vec<BaseChange>) -> Result<(), StoreError> {
        let _ = (pair, changes);
        todo!("store helper")
    }

    /// Forgets the base of a pair (its remote copy was replaced).
    pub async fn clear_base(&self, pair: i64) -> Result<(), StoreError> {
        let _ = pair;
        todo!("store helper")
    }
}
