//! A root that is open: what it consists of, and what is done in it as a whole.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use protocol::agent::Opened;
use protocol::path::RelPath;
use protocol::sync::{Differs, Expect, Found, Known, Rejected};
use tokio::sync::{Semaphore, mpsc};

use super::super::target::{self, Batch, Done, Flushed, OpenTarget, SyncError};
use super::AT_ONCE;
use super::apply::{self, Work};
use super::error::{self, RootError};
use super::folders::{Folders, Stop};
use super::lease::Lease;
use super::look::{self, Match};
use super::seen::{Kind, is_quiet};
use super::side::Side;
use super::trash::Trash;
use super::wire::{Fault, Wire};
use crate::session::Lane;

/// Small files that are held in memory at a time, each of at most 255 KiB.
const IN_MEMORY: usize = 64;
/// Files that [`SyncTarget::flush`] makes durable one by one; after a larger transfer the server's disk is left to
/// itself, as [`WITHOUT_AGENT`] says.
const FLUSHED: usize = 2000;

/// The folder as it is open.
#[derive(Debug)]
pub(super) struct Root {
    /// As it was asked for, for errors.
    pub(super) asked: String,
    pub(super) bulk: Arc<Wire>,
    /// For what people wait for; the same where the server opens no second channel.
    pub(super) priority: Arc<Wire>,
    pub(super) side: Side,
    pub(super) lease: Lease,
    pub(super) trash: Trash,
    pub(super) memory: Semaphore,
    /// Written and not known to survive a power cut.
    pub(super) unsynced: Mutex<BTreeSet<RelPath>>,
    /// Whether something was written since the opening that was never flushed.
    pub(super) left_to_disk: AtomicBool,
}

impl Root {
    pub(super) async fn open(
        priority: Arc<Wire>,
        bulk: Arc<Wire>,
        open: &OpenTarget,
    ) -> Result<(Self, Opened), RootError> {
        let side = Side::open(&bulk, open).await?;
        // What only looks need not wait for the lease.
        let (lease, known, empty, space) = tokio::join!(
            Lease::take(&bulk, &side, &open.holder, open.take_over),
            side.identity(&bulk),
            side.is_empty(&bulk),
            bulk.space(&side.root)
        );
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => {
                if let Err(fault) = side.clear(&bulk).await {
                    tracing::debug!(%fault, "a temporary folder is left to the next opening");
                }
                return Err(error);
            }
        };
        let (known, empty) = (known?, empty?);
        let space = space.map_err(|fault| side.failed(fault))?;
        let (reaped, hidden, trash, copy) =
            tokio::join!(side.reap(&bulk), side.hide(&bulk), Trash::open(&bulk, &side), side.copy(&bulk, known, empty));
        reaped.and(hidden).map_err(|fault| side.failed(fault))?;
        let trash = trash.map_err(|fault| side.failed(fault))?;
        let opened = Opened {
            root: 0,
            path: side.root.clone(),
            copy: copy?,
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

    pub(super) fn wire(&self, lane: Lane) -> &Wire {
        match lane {
            Lane::Priority => &self.priority,
            Lane::Bulk => &self.bulk,
        }
    }

    pub(super) fn end(&self) {
        self.priority.end();
        self.bulk.end();
    }

    /// Returns the error of a sync for a conversation that ended, or that makes no sense as a whole.
    pub(super) fn lost(&self, fault: Fault) -> SyncError {
        RootError::failed("work in", &self.side.root, fault).of_sync(&self.asked)
    }

    /// Fails when the root is gone or another thing by now.
    pub(super) async fn check(&self, wire: &Wire) -> Result<(), SyncError> {
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
    pub(super) async fn verify(&self, folders: &Folders<'_>, entry: &Known) -> Result<Option<Differs>, Fault> {
        let differs = |found| Some(Differs { path: entry.path.clone(), found, problem: None });
        let problem = |rejected: &Rejected| {
            let reason = match rejected {
                Rejected::Unsafe { reason } | Rejected::Failed { reason } => reason.clone(),
                Rejected::Changed { .. }
                | Rejected::NotEmpty { .. }
                | Rejected::Torn
                | Rejected::Full
                | Rejected::TrashFull { .. } => target::refusal(rejected),
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

    pub(super) async fn apply_all(
        &self,
        batches: Vec<Batch>,
        done: mpsc::Sender<(usize, Done)>,
    ) -> Result<(), SyncError> {
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

    pub(super) async fn apply(
        &self,
        batch: &Batch,
        before: usize,
        done: &mpsc::Sender<(usize, Done)>,
    ) -> Result<(), SyncError> {
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

    pub(super) async fn flush(&self) -> Result<Flushed, Fault> {
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

/// Returns whether a file that is as expected has a stamp by now that saves reading it the next time.
fn is_renewed(expect: &Expect, found: &Found) -> bool {
    matches!(expect, Expect::File { stamp: Some(_), .. }) && found.stamp.is_some_and(|stamp| is_quiet(&stamp))
}
