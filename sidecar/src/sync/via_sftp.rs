//! A sync target behind a plain SFTP server, for machines that can run no agent.
//!
//! Keeps the agent's preconditions, trash, lease and identity as far as SFTP can, and says what it cannot. Requests travel one behind the other without waiting; memory is bounded whatever the server answers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use protocol::agent::Opened;
use protocol::error::{Code, Error, Example, Family};
use protocol::listing::Listing;
use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Expect, Found, Hash, Known, Rejected};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};

use super::target::{Batch, Done, Flushed, OpenTarget, SyncError, SyncTarget, WITHOUT_AGENT};
use crate::session::{Handle, Lane};
use crate::transport::Transport;

mod apply;
mod error;
mod folders;
mod lease;
mod list;
mod look;
mod place;
mod put;
mod seen;
mod side;
mod trash;
mod wire;

#[cfg(test)]
pub(super) mod tests;

use apply::Work;
use error::{RootError, not_open};
use folders::{Folders, Stop};
use lease::Lease;
use look::{Match, Read};
use seen::{Kind, is_quiet};
use side::Side;
use trash::Trash;
use wire::{Fault, Wire};

/// Operations under way at a time.
const AT_ONCE: usize = 96;
/// How long a connection that is lost may take to be known as lost, after the first request on it failed.
const CLOSES_WITHIN: Duration = Duration::from_millis(500);
/// Small files that are held in memory at a time, each of at most 255 KiB.
const IN_MEMORY: usize = 64;
/// Files that [`SyncTarget::flush`] makes durable one by one; after a larger transfer the server's disk is left to
/// itself, as [`WITHOUT_AGENT`] says.
const FLUSHED: usize = 2000;

/// A folder behind an SFTP server.
#[derive(Debug)]
pub struct ViaSftp {
    session: Handle,
    root: Mutex<Option<Arc<Root>>>,
    /// What the last conversation was begun on.
    transport: Mutex<Option<Arc<dyn Transport>>>,
}

/// The folder as it is open.
#[derive(Debug)]
struct Root {
    /// As it was asked for, for errors.
    asked: String,
    bulk: Arc<Wire>,
    /// For what people wait for; the same where the server opens no second channel.
    priority: Arc<Wire>,
    side: Side,
    lease: Lease,
    trash: Trash,
    memory: Semaphore,
    /// Written and not known to survive a power cut.
    unsynced: Mutex<BTreeSet<RelPath>>,
    /// Whether something was written since the opening that was never flushed.
    left_to_disk: AtomicBool,
}

impl ViaSftp {
    /// Returns the target behind a session; nothing is opened yet.
    pub fn new(session: Handle) -> Self {
        Self { session, root: Mutex::new(None), transport: Mutex::new(None) }
    }

    fn root(&self) -> Result<Arc<Root>, SyncError> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(not_open)
    }

    /// Takes a conversation that ended early for a lost connection, when that is what it was.
    async fn settled<T>(&self, result: Result<T, SyncError>) -> Result<T, SyncError> {
        let Err(SyncError::Session(error)) = result else { return result };
        let transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some(transport), Code::SshProtocol) = (transport, error.code) else {
            return Err(SyncError::Session(error));
        };
        match tokio::time::timeout(CLOSES_WITHIN, transport.closed()).await {
            Ok(()) => Err(SyncError::Lost(error)),
            Err(_) => Err(SyncError::Session(error)),
        }
    }

    async fn connect(&self) -> Result<(Arc<Wire>, Arc<Wire>), SyncError> {
        let transport = self.session.transport().await.map_err(|error| match error.code.family() {
            Family::Unreachable => SyncError::Lost(error),
            Family::Work
            | Family::Usage
            | Family::Configuration
            | Family::Refused
            | Family::Bug
            | Family::Cancelled => SyncError::Session(error),
        })?;
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&transport));
        let (priority, bulk) = tokio::join!(begin(&transport), begin(&transport));
        let priority = Arc::new(priority?);
        let bulk = match bulk {
            Ok(wire) => Arc::new(wire),
            Err(error @ SyncError::Lost(_)) => return Err(error),
            Err(error) => {
                tracing::info!(%error, "no second SFTP channel; one carries all");
                Arc::clone(&priority)
            }
        };
        Ok((priority, bulk))
    }
}

async fn begin(transport: &Arc<dyn Transport>) -> Result<Wire, SyncError> {
    let process = transport.subsystem("sftp").await.map_err(|error| {
        let error = Error::from(error);
        if error.code.family() == Family::Unreachable { SyncError::Lost(error) } else { SyncError::Session(error) }
    })?;
    let wire = Wire::begin(process.stdout, process.stdin).await;
    let wire = wire.map_err(|fault| RootError::failed("speak SFTP about", "~", fault).of_sync("~"))?;
    let (ended, transport) = (wire.ended(), Arc::clone(transport));
    tokio::spawn(async move {
        tokio::select! {
            () = transport.closed() => ended.cancel(),
            () = ended.cancelled() => {}
        }
    });
    Ok(wire)
}

#[async_trait]
impl SyncTarget for ViaSftp {
    async fn open(&self, open: &OpenTarget) -> Result<Opened, SyncError> {
        let before = self.root.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            before.end();
        }
        let (priority, bulk) = self.settled(self.connect().await).await?;
        let root = Root::open(priority, bulk, open).await.map_err(|error| error.of_sync(open.path.as_str()));
        let (root, opened) = self.settled(root).await?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(root));
        Ok(opened)
    }

    fn limits(&self) -> &'static [&'static str] {
        WITHOUT_AGENT
    }

    async fn verify(&self, entries: Vec<Known>) -> Result<Vec<Differs>, SyncError> {
        let root = self.root()?;
        self.settled(root.check(&root.bulk).await).await?;
        let folders = Folders::new(&root.bulk, &root.side);
        let (opened, folders) = (&root, &folders);
        let answers = entries.into_iter().map(|entry| async move { opened.verify(folders, &entry).await });
        let mut answers = stream::iter(answers).buffered(AT_ONCE);
        let mut differs = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) => differs.extend(answer),
                Err(fault) => return self.settled(Err(root.lost(fault))).await,
            }
        }
        Ok(differs)
    }

    async fn apply(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        let root = self.root()?;
        self.settled(root.apply_all(batches, done).await).await
    }

    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        let root = self.root()?;
        let found = self.settled(root.read(path, most, to).await).await;
        to.flush().await.map_err(|source| SyncError::Store { path: path.clone(), source })?;
        found
    }

    async fn list(&self, folders: Vec<Option<RelPath>>, after: Option<String>) -> Result<Vec<Listing>, SyncError> {
        let root = self.root()?;
        self.settled(list::folders(&root, folders, after).await).await
    }

    async fn flush(&self) -> Result<Flushed, SyncError> {
        let root = self.root()?;
        self.settled(root.flush().await.map_err(|fault| root.lost(fault))).await
    }

    async fn empty_trash(&self) -> Result<(), SyncError> {
        let root = self.root()?;
        let emptied = root.trash.empty(&root.bulk).await;
        emptied.map_err(|fault| RootError::failed("empty the trash of", &root.asked, fault).of_sync(&root.asked))
    }

    async fn close(&self) -> Result<(), SyncError> {
        let root = self.root()?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let cleared = root.side.clear(&root.bulk).await;
        let released = root.lease.release(&root.bulk, &root.side).await;
        root.end();
        cleared.map_err(|fault| root.lost(fault))?;
        released.map_err(|error| error.of_sync(&root.asked))
    }
}

impl Root {
    async fn open(priority: Arc<Wire>, bulk: Arc<Wire>, open: &OpenTarget) -> Result<(Self, Opened), RootError> {
        let side = Side::open(&bulk, open).await?;
        let lease = match Lease::take(&bulk, &side, &open.holder, open.take_over).await {
            Ok(lease) => lease,
            Err(error) => {
                if let Err(fault) = side.clear(&bulk).await {
                    tracing::debug!(%fault, "a temporary folder is left to the next opening");
                }
                return Err(error);
            }
        };
        side.reap(&bulk).await.map_err(|fault| side.failed(fault))?;
        let (trash, empty, space) =
            tokio::join!(Trash::open(&bulk, &side), side.is_empty(&bulk), bulk.space(&side.root));
        let trash = trash.map_err(|fault| side.failed(fault))?;
        let empty = empty?;
        let space = space.map_err(|fault| side.failed(fault))?;
        let opened = Opened {
            root: 0,
            path: side.root.clone(),
            copy: side.copy(&bulk, empty).await?,
            created: side.created,
            empty,
            // Unknown is taken for enough: a full disk shows when it is written to.
            free_bytes: space.map_or(u64::MAX, |space| space.bytes),
            ignores_case: side.ignores_case,
        };
        let root = Self {
            asked: open.path.as_str().to_owned(),
            bulk,
            priority,
            side,
            lease,
            trash,
            memory: Semaphore::new(IN_MEMORY),
            unsynced: Mutex::new(BTreeSet::new()),
            left_to_disk: AtomicBool::new(false),
        };
        Ok((root, opened))
    }

    fn wire(&self, lane: Lane) -> &Wire {
        match lane {
            Lane::Priority => &self.priority,
            Lane::Bulk => &self.bulk,
        }
    }

    fn end(&self) {
        self.priority.end();
        self.bulk.end();
    }

    /// Returns the error of a sync for a conversation that ended, or that makes no sense as a whole.
    fn lost(&self, fault: Fault) -> SyncError {
        RootError::failed("work in", &self.side.root, fault).of_sync(&self.asked)
    }

    /// Fails when the root is gone or another thing by now.
    async fn check(&self, wire: &Wire) -> Result<(), SyncError> {
        let path = || self.side.root.clone();
        match wire.look(&self.side.root).await.map_err(|fault| self.lost(fault))?.map(|seen| seen.kind) {
            Some(Kind::Folder) => Ok(()),
            Some(Kind::Link | Kind::File | Kind::Special) => {
                Err(RootError::NotFolder { path: path() }.of_sync(&self.asked))
            }
            None => Err(RootError::Missing { path: path() }.of_sync(&self.asked)),
        }
    }

    /// Compares one path. A file that had to be read, because its stamp proved nothing, is told with a stamp that will.
    async fn verify(&self, folders: &Folders<'_>, entry: &Known) -> Result<Option<Differs>, Fault> {
        let differs = |found| Some(Differs { path: entry.path.clone(), found, problem: None });
        let problem = |rejected: &Rejected| {
            let reason = match rejected {
                Rejected::Unsafe { reason } | Rejected::Failed { reason } => reason.clone(),
                Rejected::Changed { .. }
                | Rejected::NotEmpty { .. }
                | Rejected::Torn
                | Rejected::Full
                | Rejected::TrashFull { .. } => super::target::refusal(rejected),
            };
            Some(Differs { path: entry.path.clone(), found: None, problem: Some(reason) })
        };
        let there = match folders.reach(&entry.path).await {
            Ok(there) => there,
            Err(Stop::Missing) if entry.expect == Expect::Absent => return Ok(None),
            Err(Stop::Missing) => return Ok(differs(None)),
            Err(stop) => return Ok(problem(&stop.rejected(&entry.path)?)),
        };
        match look::compare(&self.bulk, &self.side.clock, &there, &entry.expect).await {
            Ok(Match::Yes(_, Some(found))) if is_renewed(&entry.expect, &found) => Ok(differs(Some(found))),
            Ok(Match::Yes(..)) => Ok(None),
            Ok(Match::No(found)) => Ok(differs(found.map(|(found, _)| found))),
            Err(fault @ Fault::Lost { .. }) => Err(fault),
            Err(fault) => Ok(problem(&error::rejected(&fault))),
        }
    }

    async fn apply_all(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        let Some(first) = batches.first() else { return Ok(()) };
        let wire = self.wire(first.lane);
        self.check(wire).await?;
        self.lease.check(wire, &self.side).await.map_err(|error| error.of_sync(&self.asked))?;
        let mut before = 0;
        for batch in &batches {
            self.apply(batch, before, &done).await?;
            before += batch.ops.len();
        }
        self.trash.purge(wire, &self.side).await.map_err(|fault| self.lost(fault))
    }

    async fn apply(&self, batch: &Batch, before: usize, done: &mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        let work = Work::new(self, self.wire(batch.lane), batch);
        let whole = std::iter::once(0..batch.ops.len()).collect();
        let runs = if batch.barrier { apply::runs(&batch.ops) } else { whole };
        for run in runs {
            let mut lost = None;
            let work = &work;
            let doing = run.filter_map(|index| Some((index, batch.ops.get(index)?.clone())));
            // What was not begun when the conversation ended is not begun any more: each would read its file for nothing.
            let doing = doing.take_while(|_| work.wire.over().is_none());
            let doing = doing.map(|(index, op)| async move { (before + index, work.run(op).await) });
            let mut doing = stream::iter(doing).buffer_unordered(AT_ONCE);
            while let Some((index, result)) = doing.next().await {
                let what = match result {
                    Ok(what) => what,
                    Err((sent, fault)) => {
                        lost = lost.or(Some(fault));
                        match sent {
                            Some(seal) => Done::InDoubt(seal),
                            None => continue,
                        }
                    }
                };
                // Without a receiver the sync has ended, and the remote is compared anew at the next start.
                done.send((index, what)).await.ok();
            }
            if let Some(fault) = lost.or_else(|| work.wire.over()) {
                return Err(self.lost(fault));
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        let unreadable = |reason: String| {
            RootError::Unreadable { path: format!("{}/{path}", self.side.root), reason }.of_sync(&self.asked)
        };
        let failed = |fault: Fault| match fault {
            Fault::Lost { .. } => self.lost(fault),
            other => unreadable(other.to_string()),
        };
        self.check(&self.bulk).await?;
        let there = match Folders::new(&self.bulk, &self.side).reach(path).await {
            Ok(there) => there,
            Err(Stop::Missing) => return Err(unreadable("its folder is not there".to_owned())),
            Err(Stop::Unsafe(reason)) => return Err(unreadable(reason)),
            Err(Stop::Fault(fault)) => return Err(failed(fault)),
        };
        match self.bulk.look(&there).await.map_err(failed)?.map(|seen| seen.kind) {
            Some(Kind::File) => {}
            Some(Kind::Folder) => return Err(unreadable("it is a folder".to_owned())),
            Some(Kind::Link) => return Err(unreadable("it is a symbolic link".to_owned())),
            Some(Kind::Special) => return Err(unreadable("it is a socket, pipe or device".to_owned())),
            None => return Err(unreadable("it is not there".to_owned())),
        }
        let file = self.bulk.open(&there).await.map_err(failed)?;
        let (hash, read) = self.copy(&file, most, to).await;
        let closed = self.bulk.close(file).await;
        let (seen, stamp) = match read {
            Ok(Read::Whole(seen, now)) => (seen, seen.stamp(now)),
            Ok(Read::TooLong(seen)) => (seen, seen.stamp(seen.mtime)),
            Ok(Read::Changed) => return Err(unreadable("it changes while it is read".to_owned())),
            Err(Stopped::Fault(fault)) => return Err(failed(fault)),
            Err(Stopped::Store(source)) => return Err(SyncError::Store { path: path.clone(), source }),
        };
        closed.map_err(failed)?;
        let content = Content::File { hash, size: seen.size, executable: seen.mode & 0o100 != 0 };
        Ok(Found { content, stamp: Some(stamp) })
    }

    /// Copies an open file and returns the hash of what was copied.
    async fn copy(
        &self,
        file: &wire::OpenFile<'_>,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> (Hash, Result<Read, Stopped>) {
        let (pieces, mut taken) = mpsc::channel::<Bytes>(1);
        let reading = async move {
            look::read(&self.bulk, &self.side.clock, file, most, |bytes| {
                let pieces = pieces.clone();
                // Without a taker the bytes could not be stored, which is told below.
                async move { pieces.send(bytes).await.map_err(|_| Stopped::Fault(Fault::Nonsense("nobody reads"))) }
            })
            .await
        };
        let storing = async move {
            let mut hasher = blake3::Hasher::new();
            while let Some(bytes) = taken.recv().await {
                hasher.update(&bytes);
                if let Err(error) = to.write_all(&bytes).await {
                    return (hasher, Err(error));
                }
            }
            (hasher, Ok(()))
        };
        let (read, (hasher, stored)) = tokio::join!(reading, storing);
        let hash = Hash(*hasher.finalize().as_bytes());
        (hash, stored.map_err(Stopped::Store).and(read))
    }

    async fn flush(&self) -> Result<Flushed, Fault> {
        let paths = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        if !paths.is_empty() && (!self.bulk.offers.fsync || paths.len() > FLUSHED) {
            tracing::debug!(count = paths.len(), "files are left to the server's disk");
            self.left_to_disk.store(true, Ordering::Relaxed);
        }
        if self.left_to_disk.load(Ordering::Relaxed) {
            return Ok(Flushed::LeftToDisk);
        }
        let there: Vec<String> = paths.iter().map(|path| self.side.below(path)).collect();
        let synced = there.into_iter().map(|there| async move {
            // Looked at first, since a pipe in its place would hold up the server.
            if self.bulk.look(&there).await?.is_none_or(|seen| seen.kind != Kind::File) {
                return Ok(());
            }
            let file = match self.bulk.open(&there).await {
                Ok(file) => file,
                Err(fault @ Fault::Lost { .. }) => return Err(fault),
                // It was removed or closed to us since; then there is nothing of ours to keep.
                Err(_) => return Ok(()),
            };
            let synced = self.bulk.sync(&file).await;
            self.bulk.close(file).await?;
            synced
        });
        let mut synced = stream::iter(synced).buffer_unordered(AT_ONCE);
        let mut result = Ok(());
        while let Some(done) = synced.next().await {
            result = result.and(done);
        }
        drop(synced);
        if result.is_err() {
            self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).extend(paths);
        }
        result.map(|()| Flushed::Durable)
    }
}

/// Why a file was not copied.
enum Stopped {
    /// The server failed.
    Fault(Fault),
    /// It could not be stored here.
    Store(std::io::Error),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Returns whether a file that is as expected has a stamp by now that saves reading it the next time.
fn is_renewed(expect: &Expect, found: &Found) -> bool {
    matches!(expect, Expect::File { stamp: Some(_), .. }) && found.stamp.is_some_and(|stamp| is_quiet(&stamp))
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    error::examples()
}
