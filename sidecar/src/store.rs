//! What must outlive a process, in one SQLite file: remotes, choices, sync bases, since when conflicts are known.
//!
//! The only module that names `rusqlite`. One thread owns the connection; everything else sends it work.
//! Several processes use the file at once: every write begins with its lock, so none is lost to another.

mod chunks;
mod failure;
mod opening;
mod pairs;
mod pulled;
mod remotes;
mod rows;
mod trust;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::editor::SyncGit;
use protocol::path::RelPath;
use protocol::sync::{Content, Hash, Stamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

pub use chunks::StoredChunks;
pub use failure::StoreError;
#[doc(hidden)]
pub use failure::examples;
pub use trust::StoredTrust;

/// Requests that wait for the connection; a sender waits when there are more.
const QUEUE: usize = 64;

/// The state database. Cheap to clone; the connection closes with the last clone.
#[derive(Clone, Debug)]
pub struct Store {
    path: Arc<Path>,
    work: mpsc::Sender<Work>,
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
    /// Patterns of files that only grow, in order.
    pub append: Vec<String>,
    /// Patterns of what is brought home while watching, in order.
    pub pull: Vec<String>,
    /// Whether the `.git` folder is synced.
    pub git: SyncGit,
    /// How long a file has to be quiet before it is sent, if longer than it takes to be closed. Never stored.
    pub debounce: Option<Duration>,
    /// What the entries of git's index were when both sides last had the same, as a hash of them.
    pub git_index: Option<Hash>,
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

/// What the thread is asked to do; it answers on a channel of its own.
struct Work(Box<dyn FnOnce(&mut Connection) + Send>);

/// Returns where the database is by default: below `XDG_CONFIG_HOME`, else below `.config` of `HOME`.
/// A value that is empty or relative counts as absent, as the XDG rules say.
pub fn default_path(config_home: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |text: Option<&OsStr>| text.map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute(config_home).or_else(|| Some(absolute(home)?.join(".config")))?;
    Some(folder.join("mltoolbox").join("mltoolbox.db"))
}

impl Store {
    /// Opens or makes the database at `path`, bringing an older one up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (work, inbox) = mpsc::channel::<Work>(QUEUE);
        let (opened, answer) = oneshot::channel();
        let path: Arc<Path> = path.into();
        let own = Arc::clone(&path);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(&own, opened, inbox))
            .map_err(|source| StoreError::Open { path: path.to_path_buf(), source })?;
        answer.await.map_err(|_| StoreError::Closed)??;
        Ok(Self { path, work })
    }

    /// Returns the file it is in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the random id of this machine's installation, made at first use.
    pub async fn machine(&self) -> Result<String, StoreError> {
        self.write(|write| {
            write.execute(
                "insert into setting (name, value) values ('machine', lower(hex(randomblob(16)))) on conflict do nothing",
                [],
            )?;
            write.query_row("select value from setting where name = 'machine'", [], |row| row.get(0))
        })
        .await
    }

    /// Gives back the memory that the connection keeps for pages it has read or written.
    pub async fn rest(&self) -> Result<(), StoreError> {
        self.run(|connection| {
            connection.flush_prepared_statement_cache();
            connection.execute_batch("pragma shrink_memory")
        })
        .await
    }

    /// Runs `query` on the connection's thread.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |connection| query(connection)).await
    }

    /// Runs `change` there as one transaction that holds the write lock from its first statement on.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let work = Work(Box::new(move |connection| {
            // Whoever asked may have gone; the work is done all the same.
            drop(done.send(job(connection)));
        }));
        self.work.send(work).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?.map_err(|source| StoreError::of(&self.path, source))
    }
}

fn serve(path: &Path, opened: oneshot::Sender<Result<(), StoreError>>, mut inbox: mpsc::Receiver<Work>) {
    let (result, connection) = match opening::open(path) {
        Ok(connection) => (Ok(()), Some(connection)),
        Err(error) => (Err(error), None),
    };
    if opened.send(result).is_err() {
        return;
    }
    let Some(mut connection) = connection else { return };
    while let Some(Work(job)) = inbox.blocking_recv() {
        job(&mut connection);
    }
}

/// Returns `error`, naming the remote when it was the one that is not stored.
fn naming(error: StoreError, remote: &str) -> StoreError {
    match error {
        StoreError::Failed { source, .. } if failure::is_missing_reference(&source) => {
            StoreError::NoRemote { name: remote.to_owned() }
        }
        other => other,
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(all(test, unix))]
mod tests;
