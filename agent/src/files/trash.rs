//! What was removed or replaced, kept for a while: `trash/removed/` and `trash/replaced/`.
//!
//! Each batch has a folder `<UTC time>-<number>` there, and inside it every entry has its path in the
//! workspace, so that a person can find it and move it back. Nothing removed is ever purged before its time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::path::RelPath;
use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::error::RootError;
use super::layout::{self, KEEP, REMOVED, REMOVED_CAP, REPLACED, REPLACED_CAP};
use super::look::{self, Kind};
use super::side::{self, Side};

/// How often at most the age of what is kept is looked at.
const PURGE_EVERY: Duration = Duration::from_mins(5);
/// How often at most too many bytes are looked at, and how old a shelf must be to go for them: a batch may
/// still be using a younger one.
const SETTLED: Duration = Duration::from_secs(10);
/// Deepest tree that is removed; bounds the descriptors that are open at once.
const MAX_DEPTH: usize = 400;

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
    folder: File,
    held: AtomicU64,
    cap: u64,
}

impl Trash {
    /// Opens the trash and purges what is old.
    pub(super) fn open(side: &Side) -> Result<Self, RootError> {
        let bin = |name, cap| -> Result<Bin, RootError> {
            Ok(Bin { folder: side.subfolder(name)?, held: AtomicU64::new(0), cap })
        };
        let trash = Self {
            removed: bin(REMOVED, REMOVED_CAP)?,
            replaced: bin(REPLACED, REPLACED_CAP)?,
            last_purge: Mutex::new(None),
        };
        trash.purge();
        Ok(trash)
    }

    /// Purges what has had its time, when that was last done a while ago or too much is held.
    pub(super) fn purge(&self) {
        let every = if self.replaced.held() > self.replaced.cap { SETTLED } else { PURGE_EVERY };
        let mut last = self.last_purge.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        *last = Some(Instant::now());
        for (bin, cap) in [(&self.removed, u64::MAX), (&self.replaced, self.replaced.cap)] {
            if let Err(error) = bin.purge(SystemTime::now(), cap) {
                tracing::warn!(%error, "the trash cannot be purged");
            }
        }
    }

    /// Deletes everything.
    pub(super) fn empty(&self) -> io::Result<()> {
        for bin in [&self.removed, &self.replaced] {
            for name in names(&bin.folder)? {
                remove_tree(bin.folder.as_fd(), &name, 0)?;
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
        self.held.fetch_add(size, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn set_held(&self, held: u64) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Removes folders older than [`KEEP`] at `now`, then the oldest until at most `cap` bytes are held.
    pub(super) fn purge(&self, now: SystemTime, cap: u64) -> io::Result<()> {
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let now = nanoseconds(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut shelves = Vec::new();
        for name in names(&self.folder)? {
            if let Some(seen) = look::at(self.folder.as_fd(), &name)? {
                let bytes = size_of(self.folder.as_fd(), &name, 0)?;
                shelves.push((seen.stamp.mtime_ns, name, bytes));
            }
        }
        shelves.sort();
        let mut held: u64 = shelves.iter().map(|(_, _, bytes)| bytes).sum();
        for (modified, name, bytes) in shelves {
            let age = now.saturating_sub(modified);
            if age >= nanoseconds(KEEP) || (held > cap && age >= nanoseconds(SETTLED)) {
                remove_tree(self.folder.as_fd(), &name, 0)?;
                held = held.saturating_sub(bytes);
            }
        }
        self.held.store(held, Ordering::Relaxed);
        Ok(())
    }
}

/// The folder of one batch in a [`Bin`]; made when first needed.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    pub(super) bin: &'a Bin,
    folder: Option<Arc<File>>,
    last: Option<(String, Arc<File>)>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(bin: &'a Bin) -> Self {
        Self { bin, folder: None, last: None }
    }

    /// Calls `put` with a free place for `path`; once more with a fresh shelf when the first place turned
    /// out to be taken (the same path twice in a batch) or gone (purged meanwhile).
    pub(super) fn with_place(
        &mut self,
        path: &RelPath,
        mut put: impl FnMut(BorrowedFd<'_>, &str) -> rustix::io::Result<()>,
    ) -> io::Result<Arc<File>> {
        for attempt in 0.. {
            let placed = self.parent(path).and_then(|parent| {
                put(parent.as_fd(), path.name())?;
                Ok(parent)
            });
            match placed {
                Err(error)
                    if attempt == 0
                        && matches!(
                            Errno::from_io_error(&error),
                            Some(Errno::EXIST | Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::ISDIR)
                        ) =>
                {
                    (self.folder, self.last) = (None, None);
                }
                other => return other,
            }
        }
        unreachable!("the second attempt returns")
    }

    fn parent(&mut self, path: &RelPath) -> io::Result<Arc<File>> {
        let mut here = match &self.folder {
            Some(folder) => Arc::clone(folder),
            None => self.fresh()?,
        };
        let Some(parent) = path.parent() else { return Ok(here) };
        if let Some((known, folder)) = &self.last
            && known == parent.as_str()
        {
            return Ok(Arc::clone(folder));
        }
        for name in parent.components() {
            side::make_folder(here.as_fd(), name)?;
            here = Arc::new(side::open_folder(here.as_fd(), name)?);
        }
        self.last = Some((parent.as_str().to_owned(), Arc::clone(&here)));
        Ok(here)
    }

    fn fresh(&mut self) -> io::Result<Arc<File>> {
        let time = SystemTime::now();
        for number in 1_u64.. {
            let name = layout::shelf(time, number);
            if side::make_folder(self.bin.folder.as_fd(), &name)? {
                let folder = Arc::new(side::open_folder(self.bin.folder.as_fd(), &name)?);
                self.folder = Some(Arc::clone(&folder));
                return Ok(folder);
            }
        }
        Err(Errno::EXIST.into())
    }
}

/// Returns the names in a folder of the side directory; we make them all, so one that is no text is passed over.
pub(super) fn names(folder: &File) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Deletes what is at `name` with all below it, following no link; nothing there is success.
pub(super) fn remove_tree(parent: BorrowedFd<'_>, name: &str, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if depth < MAX_DEPTH => {}
        Err(error) => return Err(error.into()),
    }
    let folder = side::open_folder(parent, name)?;
    for inner in names(&folder)? {
        remove_tree(folder.as_fd(), &inner, depth + 1)?;
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn size_of(parent: BorrowedFd<'_>, name: &str, depth: usize) -> io::Result<u64> {
    let Some(seen) = look::at(parent, name)? else { return Ok(0) };
    if seen.kind != Kind::Folder || depth >= MAX_DEPTH {
        return Ok(seen.stamp.size);
    }
    let folder = side::open_folder(parent, name)?;
    names(&folder)?.iter().map(|inner| size_of(folder.as_fd(), inner, depth + 1)).sum()
}
