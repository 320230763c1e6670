//! What must outlive a process, in one SQLite file: remotes, choices, sync bases, since when conflicts are known.
//!
//! The only module that names `rusqlite`. One thread owns the connection; everything else sends it work.
//! Several processes use the file at once: every write begins with its lock, so none is lost to another.

mod failure;
mod opening;
mod rows;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::editor::RemoteRow;
use protocol::hello::Facts;
use protocol::path::RelPath;
use protocol::sync::{Content, Stamp};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

pub use failure::StoreError;
#[doc(hidden)]
pub use failure::examples;

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

    /// Returns every remote, by name.
    pub async fn remotes(&self) -> Result<Vec<RemoteRow>, StoreError> {
        self.read(|read| {
            let mut query = read.prepare_cached(&format!("select {} from remote order by name", rows::REMOTE))?;
            query.query_map([], rows::remote)?.collect()
        })
        .await
    }

    /// Returns the remote of that name.
    pub async fn remote(&self, name: &str) -> Result<Option<RemoteRow>, StoreError> {
        let name = name.to_owned();
        self.read(move |read| {
            let mut query = read.prepare_cached(&format!("select {} from remote where name = ?", rows::REMOTE))?;
            query.query_row([name], rows::remote).optional()
        })
        .await
    }

    /// Adds a remote or replaces the one of that name.
    pub async fn put_remote(&self, remote: &RemoteRow) -> Result<(), StoreError> {
        let remote = remote.clone();
        self.write(move |write| {
            let facts = remote.facts.as_ref().map(rows::to_json).transpose()?;
            // Not `insert or replace`, which would delete the row and with it its pairs.
            write.execute(
                "insert into remote (name, host, port, user, key, accept_new, agent_allowed, facts, last_reached)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 on conflict (name) do update set host = excluded.host, port = excluded.port, user = excluded.user,
                     key = excluded.key, accept_new = excluded.accept_new, agent_allowed = excluded.agent_allowed,
                     facts = excluded.facts, last_reached = excluded.last_reached",
                params![
                    remote.name,
                    remote.host,
                    remote.port,
                    remote.user,
                    remote.key,
                    remote.accept_new,
                    remote.agent_allowed,
                    facts,
                    remote.last_reached
                ],
            )
        })
        .await
        .map(drop)
    }

    /// Forgets a remote with its pairs and choices.
    pub async fn remove_remote(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |write| write.execute("delete from remote where name = ?", [name])).await.map(drop)
    }

    /// Records that a remote was reached and what it said of itself; `None` keeps what it said before.
    pub async fn reached(&self, name: &str, facts: Option<&Facts>) -> Result<(), StoreError> {
        let (name, facts) = (name.to_owned(), facts.cloned());
        self.write(move |write| {
            let facts = facts.as_ref().map(rows::to_json).transpose()?;
            write.execute(
                "update remote set last_reached = ?, facts = coalesce(?, facts) where name = ?",
                params![now(), facts, name],
            )
        })
        .await
        .map(drop)
    }

    /// Records the person's consent to install the agent on a remote.
    pub async fn allow_agent(&self, name: &str, allowed: bool) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |write| {
            write.execute("update remote set agent_allowed = ? where name = ?", params![allowed, name])
        })
        .await
        .map(drop)
    }

    /// Returns the remote that was last chosen for a workspace.
    pub async fn choice(&self, workspace: &Path) -> Result<Option<String>, StoreError> {
        let workspace = rows::path_bytes(workspace);
        self.read(move |read| {
            let mut query = read.prepare_cached("select remote from choice where workspace = ?")?;
            query.query_row([workspace], |row| row.get(0)).optional()
        })
        .await
    }

    /// Remembers the remote chosen for a workspace.
    pub async fn choose(&self, workspace: &Path, remote: &str) -> Result<(), StoreError> {
        let (workspace, name) = (rows::path_bytes(workspace), remote.to_owned());
        let chosen = self.write(move |write| {
            write.execute(
                "insert into choice (workspace, remote) values (?, ?)
                 on conflict (workspace) do update set remote = excluded.remote",
                params![workspace, name],
            )
        });
        chosen.await.map(drop).map_err(|error| naming(error, remote))
    }

    /// Returns every pair.
    pub async fn pairs(&self) -> Result<Vec<Pair>, StoreError> {
        self.read(|read| {
            let mut query =
                read.prepare_cached(&format!("select {} from pair order by workspace, remote", rows::PAIR))?;
            query.query_map([], rows::pair)?.collect()
        })
        .await
    }

    /// Returns the pair of a workspace and a remote, made with `remote_dir` when there is none.
    /// Another `remote_dir` than the stored one starts with an empty base.
    pub async fn pair(&self, workspace: &Path, remote: &str, remote_dir: &str) -> Result<Pair, StoreError> {
        let (workspace, name, remote_dir) = (rows::path_bytes(workspace), remote.to_owned(), remote_dir.to_owned());
        let pair = self.write(move |write| {
            let find = format!("select {} from pair where workspace = ? and remote = ?", rows::PAIR);
            let find = || write.query_row(&find, params![workspace, name], rows::pair).optional();
            match find()? {
                Some(pair) if pair.remote_dir == remote_dir => return Ok(pair),
                Some(pair) => {
                    forget_base(write, pair.id)?;
                    write.execute(
                        "update pair set remote_dir = ?, last_visible = null, last_durable = null where id = ?",
                        params![remote_dir, pair.id],
                    )?;
                }
                None => {
                    write.execute(
                        "insert into pair (workspace, remote, remote_dir) values (?, ?, ?)",
                        params![workspace, name, remote_dir],
                    )?;
                }
            }
            find()?.ok_or(rusqlite::Error::QueryReturnedNoRows)
        });
        pair.await.map_err(|error| naming(error, remote))
    }

    /// Stores a pair's settings and marks (everything but its id, workspace, remote and folder).
    pub async fn update_pair(&self, pair: &Pair) -> Result<(), StoreError> {
        let pair = pair.clone();
        self.write(move |write| {
            write.execute(
                "update pair set copy = ?, root_inode = ?, root_device = ?, exclude = ?, include = ?, paused = ?,
                     wanted = ?, last_visible = ?, last_durable = ? where id = ?",
                params![
                    pair.copy,
                    pair.root.map(|(inode, _)| inode.cast_signed()),
                    pair.root.map(|(_, device)| device.cast_signed()),
                    rows::to_json(&pair.exclude)?,
                    rows::to_json(&pair.include)?,
                    pair.paused,
                    pair.wanted,
                    pair.last_visible,
                    pair.last_durable,
                    pair.id
                ],
            )
        })
        .await
        .map(drop)
    }

    /// Returns the base of a pair, by path.
    pub async fn base(&self, pair: i64) -> Result<Vec<(RelPath, Base)>, StoreError> {
        self.read(move |read| {
            let mut query =
                read.prepare_cached(&format!("select {} from base where pair = ? order by path", rows::BASE))?;
            query.query_map([pair], rows::base)?.collect()
        })
        .await
    }

    /// Changes the base of a pair in one transaction.
    pub async fn commit(&self, pair: i64, changes: Vec<BaseChange>) -> Result<(), StoreError> {
        self.write(move |write| {
            let mut forget = write.prepare_cached("delete from base where pair = ? and path = ?")?;
            let mut put = write.prepare_cached(
                "insert or replace into base (pair, path, kind, hash, size, executable, target, mode, local, remote)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            for (path, base) in &changes {
                let Some(base) = base else {
                    forget.execute(params![pair, path.as_str()])?;
                    continue;
                };
                let (kind, hash, size, executable, target) = rows::content(&base.content);
                let local = base.local.as_ref().map(rows::stamp_bytes);
                let remote = base.remote.as_ref().map(rows::stamp_bytes);
                let path = path.as_str();
                put.execute(params![pair, path, kind, hash, size, executable, target, base.mode, local, remote])?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets the base of a pair (its remote copy was replaced).
    pub async fn clear_base(&self, pair: i64) -> Result<(), StoreError> {
        self.write(move |write| forget_base(write, pair)).await
    }

    /// Makes `paths` the conflicts of a pair and returns them with the time since when each is known, in
    /// seconds since the Unix epoch. One that was known keeps its time.
    pub async fn conflicts(&self, pair: i64, paths: Vec<RelPath>) -> Result<Vec<(RelPath, i64)>, StoreError> {
        self.write(move |write| {
            let names = rows::to_json(&paths)?;
            write.execute(
                "delete from conflict where pair = ? and path not in (select value from json_each(?))",
                params![pair, names],
            )?;
            write.execute(
                "insert into conflict (pair, path, since) select ?, value, ? from json_each(?) where true
                 on conflict do nothing",
                params![pair, now(), names],
            )?;
            let mut query = write.prepare_cached("select path, since from conflict where pair = ? order by path")?;
            query.query_map([pair], |row| Ok((rows::rel_path(row, 0)?, row.get(1)?)))?.collect()
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

fn forget_base(write: &Transaction<'_>, pair: i64) -> rusqlite::Result<()> {
    write.execute("delete from base where pair = ?", [pair])?;
    write.execute("delete from conflict where pair = ?", [pair])?;
    write.execute("update pair set copy = null, root_inode = null, root_device = null where id = ?", [pair])?;
    Ok(())
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
