//! What was removed or replaced, kept for a while in the agent's own layout: `trash/removed/` and `trash/replaced/`.
//!
//! Each transfer has a folder there, and inside it every entry has its path in the workspace.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use agent::files::layout::{self, KEEP, REMOVED, REMOVED_CAP, REPLACED, REPLACED_CAP};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use protocol::path::RelPath;
use tokio::sync::OnceCell;

use super::seen::{Kind, Seen};
use super::side::{Side, under};
use super::wire::{Fault, Wire};

/// How often at most the age of what is kept is looked at.
const PURGE_EVERY: Duration = Duration::from_mins(5);
/// How old a shelf must be, in seconds, to go because too much is held: a transfer may still be using a younger one.
const SETTLED: i64 = 10;
/// Most entries of a shelf, 40 MB of names here; a fuller one is left to a person.
const MOST_ENTRIES: usize = 200_000;
/// Deepest tree that is removed.
const MAX_DEPTH: usize = 400;
/// Files that are removed at a time.
const AT_ONCE: usize = 32;

/// The trash of one root.
#[derive(Debug)]
pub(super) struct Trash {
    pub(super) removed: Bin,
    pub(super) replaced: Bin,
    last_purge: Mutex<Option<Instant>>,
}

/// One half of the trash.
#[derive(Debug)]
pub(super) struct Bin {
    folder: String,
    held: AtomicU64,
    cap: u64,
}

impl Trash {
    /// Opens the trash and purges what is old.
    pub(super) async fn open(wire: &Wire, side: &Side) -> Result<Self, Fault> {
        let bin = |name, cap| Bin { folder: under(&side.path, name), held: AtomicU64::new(0), cap };
        let trash = Self {
            removed: bin(REMOVED, REMOVED_CAP),
            replaced: bin(REPLACED, REPLACED_CAP),
            last_purge: Mutex::new(None),
        };
        trash.purge(wire, side).await?;
        Ok(trash)
    }

    /// Purges what has had its time, when that was last done a while ago.
    pub(super) async fn purge(&self, wire: &Wire, side: &Side) -> Result<(), Fault> {
        {
            let mut last = self.last_purge.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < PURGE_EVERY) {
                return Ok(());
            }
            *last = Some(Instant::now());
        }
        let now = side.clock.now() / 1_000_000_000;
        let both =
            tokio::join!(self.removed.purge(wire, now, u64::MAX), self.replaced.purge(wire, now, self.replaced.cap));
        for purged in [both.0, both.1] {
            match purged {
                Ok(()) => {}
                Err(fault @ Fault::Lost { .. }) => return Err(fault),
                Err(fault) => tracing::warn!(%fault, "the trash cannot be purged"),
            }
        }
        Ok(())
    }

    /// Deletes everything.
    pub(super) async fn empty(&self, wire: &Wire) -> Result<(), Fault> {
        for bin in [&self.removed, &self.replaced] {
            for (name, _) in wire.list(&bin.folder, MOST_ENTRIES).await? {
                remove_tree(wire, &under(&bin.folder, &name)).await?;
            }
            bin.held.store(0, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Bin {
    /// Returns how many bytes it holds.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns whether a file of `size` bytes may still be added.
    pub(super) fn has_room(&self, size: u64) -> bool {
        layout::has_room(self.held(), size, self.cap)
    }

    /// Counts a file that was added.
    pub(super) fn added(&self, size: u64) {
        let add = |held: u64| Some(held.saturating_add(size));
        // It always adds, so there is no refusal to handle.
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok();
    }

    async fn purge(&self, wire: &Wire, now: i64, cap: u64) -> Result<(), Fault> {
        let mut shelves = Vec::new();
        for (name, seen) in wire.list(&self.folder, MOST_ENTRIES).await? {
            let path = under(&self.folder, &name);
            let bytes = walk(wire, &path, seen).await?.iter().map(|(_, seen)| seen.size).fold(0, u64::saturating_add);
            shelves.push((seen.mtime, path, bytes));
        }
        shelves.sort();
        let mut held = shelves.iter().map(|(_, _, bytes)| *bytes).fold(0, u64::saturating_add);
        let keep = i64::try_from(KEEP.as_secs()).expect("a day");
        for (modified, path, bytes) in shelves {
            let age = now.saturating_sub(modified);
            if age >= keep || (held > cap && age >= SETTLED) {
                remove_tree(wire, &path).await?;
                held = held.saturating_sub(bytes);
            }
        }
        self.held.store(held, Ordering::Relaxed);
        Ok(())
    }
}

/// The folder of one transfer in a [`Bin`]; made when first needed.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    pub(super) bin: &'a Bin,
    wire: &'a Wire,
    folder: OnceCell<String>,
    made: Mutex<HashMap<RelPath, Arc<OnceCell<()>>>>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(bin: &'a Bin, wire: &'a Wire) -> Self {
        Self { bin, wire, folder: OnceCell::new(), made: Mutex::new(HashMap::new()) }
    }

    /// Returns a place for `path`, whose folder is there.
    pub(super) async fn place(&self, path: &RelPath) -> Result<String, Fault> {
        let top = self.folder.get_or_try_init(|| self.fresh()).await?;
        let mut above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent).collect();
        above.reverse();
        for folder in above {
            let cell = {
                let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(made.entry(folder.clone()).or_default())
            };
            let make = || async { self.wire.make_folder(&under(top, folder.as_str()), 0o700).await.map(drop) };
            cell.get_or_try_init(make).await?;
        }
        Ok(under(top, path.as_str()))
    }

    async fn fresh(&self) -> Result<String, Fault> {
        let time = SystemTime::now();
        for number in 1..=u64::try_from(MOST_ENTRIES).expect("a small number") {
            let path = under(&self.bin.folder, &layout::shelf(time, number));
            if self.wire.make_folder(&path, 0o700).await? {
                return Ok(path);
            }
        }
        Err(Fault::Failed("the trash has no free name".to_owned()))
    }
}

/// Deletes what is at `path` with all below it, following no link; nothing there is success.
pub(super) async fn remove_tree(wire: &Wire, path: &str) -> Result<(), Fault> {
    let Some(seen) = wire.look(path).await? else { return Ok(()) };
    let entries = walk(wire, path, seen).await?;
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, seen)| seen.kind == Kind::Folder);
    let gone = |removed: Result<(), Fault>| match removed {
        Ok(()) | Err(Fault::Missing) => Ok(()),
        Err(fault) => Err(fault),
    };
    let removals = files.into_iter().map(|(path, _)| async move { gone(wire.remove(&path).await) });
    stream::iter(removals).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    // What was found later lies deeper.
    for (path, _) in folders.iter().rev() {
        gone(wire.remove_folder(path).await)?;
    }
    Ok(())
}

/// Returns what is at `path` and below it, folders before what they hold, following no link.
async fn walk(wire: &Wire, path: &str, seen: Seen) -> Result<Vec<(String, Seen)>, Fault> {
    let mut found = vec![(path.to_owned(), seen)];
    let mut next = 0;
    while let Some((folder, listed)) = found.get(next).cloned() {
        next += 1;
        if listed.kind != Kind::Folder {
            continue;
        }
        // A list may be about what a link leads to; a look of its own is not.
        let Some(seen) = wire.look(&folder).await? else { continue };
        found[next - 1].1 = seen;
        if seen.kind != Kind::Folder {
            continue;
        }
        let depth = folder.len().saturating_sub(path.len());
        if folder[folder.len() - depth..].matches('/').count() >= MAX_DEPTH || found.len() > MOST_ENTRIES {
            return Err(Fault::Failed("the trash is too deep or too full to be looked through".to_owned()));
        }
        let entries = wire.list(&folder, MOST_ENTRIES).await?;
        found.extend(entries.into_iter().map(|(name, seen)| (under(&folder, &name), seen)));
    }
    Ok(found)
}
