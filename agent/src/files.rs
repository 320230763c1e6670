//! A root folder and what may be done in it: look, apply, read. Blocking; callers run it off the runtime.
//!
//! Nothing here ever follows a link, leaves the root, or overwrites content that was not expected.

mod append;
mod batch;
mod body;
mod chunks;
mod copy;
mod error;
pub mod layout;
mod lease;
mod list;
mod look;
mod mirror;
pub mod mode;
mod partial;
mod patch;
mod place;
mod put;
mod relocate;
mod root;
mod side;
mod sparse;
mod temp;
mod trash;
mod utc;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protocol::agent::{Apply, Open, Opened, RootId, Trailer};
use protocol::delta::Partial;
use protocol::error::Error;
use protocol::listing::Listing;
use protocol::mirror::{Summarise, Summary};
use protocol::path::RelPath;
use protocol::sync::{Differs, Found, Hash, Known, Op, Outcome};

use batch::Batch;
use body::Body;
use error::RootError;
#[doc(hidden)]
pub use error::examples;
use lease::Lease;
use look::{Clock, Kind};
use mirror::{Change, Mirror, Record};
use partial::Partials;
use side::Side;
use temp::Workshop;
use trash::Trash;
use walk::{Folders, Top};

/// An open root with its lease.
#[derive(Debug)]
pub struct Root {
    path: String,
    top: Top,
    side: Side,
    lease: Lease,
    partials: Partials,
    workshop: Workshop,
    trash: Trash,
    clock: Clock,
    mirror: Arc<Mirror>,
    #[cfg(test)]
    hook: tests::Hook,
}

/// The bytes that follow an [`Apply`], as one stream.
pub trait Bodies {
    /// Reads bytes of the stream; 0 at its end, `Err` when it was cancelled or lost.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Returns what ended the stream; called once after the last byte was read.
    fn trailer(&mut self) -> io::Result<Trailer>;
    /// Fails when the stream was cancelled or lost; for work that reads nothing of it for a while.
    fn go_on(&self) -> io::Result<()> {
        Ok(())
    }
    /// Returns whether the other side asks for what is left of a cut transfer.
    fn may_resume(&self) -> bool {
        false
    }
}

/// Instants at which a test lets somebody else in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// A file to be replaced has its second name in the trash and is not yet looked at again.
    Linked,
    /// All looks are done and the rename is next.
    Checked,
    /// What is new has its name, and its stamp is taken next.
    Placed,
}

impl Root {
    /// Opens a root as [`Open`] says and takes its lease.
    pub fn open(id: RootId, open: &Open) -> Result<(Self, Opened), Error> {
        let located = root::locate(&open.path, open.create)?;
        let (folder, path) = (located.folder, located.path);
        let failed = |error: io::Error| RootError::io("look at", &path, error);
        let side = Side::open(&folder, &path)?;
        let locked = side.lock()?;
        let lease = Lease::take(&side, &locked, &open.holder, open.take_over)?;
        let partials = Partials::open(&side)?;
        let workshop = Workshop::open(&side, &partials, &locked)?;
        let trash = Trash::open(&side)?;
        let clock = side.clock(&workshop.folder)?;
        let reserved = side.inside.then_some(layout::INSIDE);
        let space = rustix::fs::fstatvfs(&folder).map_err(|error| failed(error.into()))?;
        let empty = root::is_empty(&folder, reserved).map_err(failed)?;
        let opened = Opened {
            root: id,
            path: path.clone(),
            copy: side.copy(&folder, located.created || empty, &locked)?,
            created: located.created,
            empty,
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            ignores_case: side.ignores_case(&workshop.folder)? || root::folds_case(&folder),
        };
        drop(locked);
        let device = look::through(&folder).map_err(failed)?.stamp.device;
        let mirror = Mirror::new(&side.folder, &opened.copy, &open.holder.id).map_err(|error| side.failed(error))?;
        let top = Top { folder: Arc::new(folder), device, reserved, by_component: AtomicBool::new(false) };
        let root = Self {
            path,
            top,
            side,
            lease,
            partials,
            workshop,
            trash,
            clock,
            mirror: Arc::new(mirror),
            #[cfg(test)]
            hook: tests::Hook::default(),
        };
        Ok((root, opened))
    }

    /// Returns the absolute path of the folder.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Fails when another folder has taken the root's place, or none: it has to be opened again.
    pub fn in_place(&self) -> Result<(), Error> {
        Ok(self.check()?)
    }

    /// Compares paths with what they should hold, as long as `go_on` says so, which is asked before each; `None` when it
    /// did not.
    pub fn verify(&self, entries: &[Known], go_on: &(dyn Fn() -> bool + Sync)) -> Option<Vec<Differs>> {
        if let Err(error) = self.check() {
            let problem =
                |entry: &Known| Differs { path: entry.path.clone(), found: None, problem: Some(error.to_string()) };
            return Some(entries.iter().map(problem).collect());
        }
        verify::differences(&self.top, self.clock, &self.mirror, entries, go_on)
    }

    /// Uses the mirror of another opening of the same folder, so that only one writes it.
    pub(crate) fn share_mirror(&mut self, other: &Self) {
        if self.path == other.path && self.mirror.is_of(&other.mirror) {
            self.mirror = Arc::clone(&other.mirror);
        }
    }

    /// Says how folders stand beside what was given, after forgetting what is not followed any more. Fails when
    /// another folder has taken the root's place.
    pub fn summarise(&self, asked: &Summarise) -> Result<Vec<Summary>, Error> {
        self.check()?;
        self.mirror.ask();
        let forgotten = |path: &RelPath| Record { path: path.clone(), change: Change::Forgotten };
        self.mirror.note(&asked.forget.iter().map(forgotten).collect::<Vec<_>>());
        if asked.folders.is_empty() {
            return Ok(Vec::new());
        }
        Ok(mirror::summaries(&self.mirror, &self.top, self.clock, asked))
    }

    /// Lists folders until the answer is full; fewer listings than folders say that the rest was not looked at.
    /// `None` once `go_on` says no.
    pub fn list(
        &self,
        folders: &[Option<RelPath>],
        after: Option<&str>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Listing>>, Error> {
        self.check()?;
        Ok(list::folders(&self.top, folders, after, go_on))
    }

    /// Does every operation completely or not at all.
    ///
    /// Fails as a whole when the lease is lost, the folder was replaced, or `bodies` breaks; what was done
    /// before that stays done. May run on several threads at once.
    pub fn apply(&self, apply: &Apply, bodies: &mut dyn Bodies) -> Result<Vec<Outcome>, Error> {
        self.check()?;
        self.lease.check(&self.side)?;
        let _underway = self.mirror.underway();
        let lost = |source| RootError::Lost { source };
        let mut body = Body::new(bodies);
        let mut batch = Batch::new(self, apply.ops.len(), apply.durable);
        let mut outcomes = Vec::with_capacity(apply.ops.len());
        let mut done = Ok(());
        for (index, op) in apply.ops.iter().enumerate() {
            let is_last = index + 1 == apply.ops.len();
            match batch.run(op, is_last, &mut body) {
                Ok(outcome) => {
                    // The hash of the last one may still be on its way.
                    if !is_last {
                        self.remember(op, &outcome, None);
                    }
                    outcomes.push(outcome);
                }
                Err(error) => {
                    done = Err(lost(error));
                    break;
                }
            }
        }
        let told = done.and_then(|()| body.end().map_err(lost));
        if outcomes.len() == apply.ops.len()
            && let (Some(op), Some(outcome)) = (apply.ops.last(), outcomes.last())
        {
            self.remember(op, outcome, told.as_ref().ok().copied().flatten());
        }
        // Also when the stream broke: what was done until then is the sidecar's, which does not know it.
        self.mirror.note_now();
        told?;
        batch.finish().map_err(|error| RootError::io("flush", &self.path, error))?;
        self.trash.purge();
        Ok(outcomes)
    }

    /// Leaves what came of an operation to the mirror.
    fn remember(&self, op: &Op, outcome: &Outcome, told: Option<Hash>) {
        let look = |path: &RelPath| {
            let parent = Folders::new(&self.top).parent_of(path).ok()?;
            look::at(parent.as_fd(), path.name()).ok()?
        };
        self.mirror.note_later(mirror::given(op, outcome, told, look));
    }

    /// Opens a file for reading; it was hashed once, and what is read may be newer.
    pub fn read(&self, path: &RelPath) -> Result<(Found, File), Error> {
        self.check()?;
        let unreadable = |reason: String| RootError::Unreadable { path: format!("{}/{path}", self.path), reason };
        let system = |error: io::Error| unreadable(error.to_string());
        let parent = Folders::new(&self.top).parent_of(path).map_err(|stop| match stop {
            walk::Stop::Missing => unreadable("its folder is not there".into()),
            walk::Stop::Unsafe(reason) => unreadable(reason),
            walk::Stop::Failed(error) => system(error),
        })?;
        let seen = look::at(parent.as_fd(), path.name()).map_err(system)?;
        match seen.map(|seen| seen.kind) {
            Some(Kind::File) => {}
            Some(Kind::Folder) => return Err(unreadable("it is a folder".into()).into()),
            Some(Kind::Link) => return Err(unreadable("it is a symbolic link".into()).into()),
            Some(Kind::Special) => return Err(unreadable("it is a socket, pipe or device".into()).into()),
            None => return Err(unreadable("it is not there".into()).into()),
        }
        let mut file = look::open(parent.as_fd(), path.name()).map_err(system)?;
        let (hash, seen) = look::hash_of(&mut file).map_err(system)?;
        io::Seek::rewind(&mut file).map_err(system)?;
        Ok((look::found_file(hash, &seen), file))
    }

    /// Returns what is left of transfers that were cut off.
    pub fn partials(&self) -> Result<Vec<Partial>, Error> {
        self.check()?;
        Ok(self.partials.list().map_err(|error| self.side.failed(error))?)
    }

    /// Makes everything applied so far survive a power cut.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(flush_all(&self.top.folder).map_err(|error| RootError::io("flush", &self.path, error))?)
    }

    /// Empties the trash.
    pub fn empty_trash(&self) -> Result<(), Error> {
        Ok(self.trash.empty().map_err(|error| RootError::io("empty the trash of", &self.path, error))?)
    }

    /// Gives the lease back.
    pub fn close(&self) {
        if let Err(error) = self.lease.release(&self.side) {
            tracing::warn!(%error, path = self.path, "the lease is not given back");
        }
    }

    /// Fails when another folder has taken the root's place, so that nothing is written where nobody looks.
    fn check(&self) -> Result<(), RootError> {
        let held = look::through(&*self.top.folder).map_err(|error| RootError::io("look at", &self.path, error))?;
        let named = rustix::fs::lstat(Path::new(&self.path)).map(look::Seen::from).ok();
        let identity = |seen: look::Seen| (seen.stamp.inode, seen.stamp.device);
        if named.map(identity) == Some(identity(held)) {
            Ok(())
        } else {
            Err(RootError::Replaced { path: self.path.clone() })
        }
    }

    #[cfg(test)]
    fn reached(&self, point: Point) {
        self.hook.reached(point);
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "tests stop here")]
    fn reached(&self, _: Point) {}
}

#[cfg(target_os = "linux")]
fn flush_all(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// Elsewhere `sync` only begins to write; the flush of the folder then waits for the whole device (macOS).
#[cfg(not(target_os = "linux"))]
fn flush_all(folder: &File) -> io::Result<()> {
    rustix::fs::sync();
    folder.sync_all()
}
