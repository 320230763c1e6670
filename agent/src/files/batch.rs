//! One batch of operations: each is done completely or not at all, and one that fails stops no other.
//!
//! A file's parent folder is never made on the way: only `MakeFolder` makes folders.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Found, Op, Outcome, Rejected};
use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::append::Append;
use super::body::Body;
use super::copy::Copy;
use super::look::{self, Kind, Match, Seen};
use super::place::{self, Replaced};
use super::put::Put;
use super::temp::Temp;
use super::trash::Shelf;
use super::walk::Folders;
use super::{Root, error, mode};

/// Most operations that are made durable one by one; more are by one flush of the file system, which also
/// writes what is not ours.
const FEW: usize = 64;

/// How a batch is made to survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    None,
    Each,
    AtEnd,
}

/// Why an operation ended without an outcome of its own.
pub(super) enum Halt {
    /// It was not done; the next one may be.
    Rejected(Rejected),
    /// The stream of bodies broke; nothing more can be done.
    Lost(io::Error),
}

impl From<Rejected> for Halt {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<io::Error> for Halt {
    fn from(problem: io::Error) -> Self {
        Self::Rejected(error::rejected(&problem))
    }
}

impl From<Errno> for Halt {
    fn from(problem: Errno) -> Self {
        io::Error::from(problem).into()
    }
}

/// A batch in the making.
pub(super) struct Batch<'a> {
    pub(super) root: &'a Root,
    pub(super) folders: Folders<'a>,
    /// Those that something is moved or copied from: neighbours there are neighbours here, too.
    pub(super) sources: Folders<'a>,
    removed: Shelf<'a>,
    replaced: Shelf<'a>,
    pub(super) buffer: Vec<u8>,
    pub(super) durability: Durability,
    /// Folders to flush at the end.
    touched: Vec<Arc<File>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(root: &'a Root, count: usize, durable: bool) -> Self {
        let durability = match durable {
            false => Durability::None,
            true if count <= FEW => Durability::Each,
            true => Durability::AtEnd,
        };
        Self {
            root,
            folders: Folders::new(&root.top),
            sources: Folders::new(&root.top),
            removed: Shelf::new(&root.trash.removed),
            replaced: Shelf::new(&root.trash.replaced),
            buffer: Vec::new(),
            durability,
            touched: Vec::new(),
        }
    }

    /// Does one operation; `is_last` says that its hash may come with the end of the stream.
    pub(super) fn run(&mut self, op: &Op, is_last: bool, body: &mut Body<'_>) -> io::Result<Outcome> {
        let done = match &op.action {
            Action::MakeFolder { mode } => self.make_folder(&op.path, *mode),
            Action::Put { size, hash, mode, mtime_ns } => {
                body.begin(*size);
                let put = Put { size: *size, hash: *hash, mode: *mode, mtime_ns: *mtime_ns, sources: None };
                let done = match put.hash {
                    None if !is_last => Err(Rejected::Failed { reason: "its hash was not announced".into() }.into()),
                    Some(_) | None => self.put(&op.path, &op.expect, &put, body),
                };
                if !matches!(done, Err(Halt::Lost(_))) {
                    body.skip()?;
                }
                done
            }
            Action::Link { target } => self.link(&op.path, &op.expect, target),
            Action::SetMode { mode } => self.set_mode(&op.path, &op.expect, *mode),
            Action::Remove => self.remove(&op.path, &op.expect),
            Action::Move { from, source } => self.relocate(&op.path, &op.expect, from, source),
            Action::Copy { from, source, mode, mtime_ns } => {
                let copy = Copy { from, source, mode: *mode, mtime_ns: *mtime_ns };
                self.copy(&op.path, &op.expect, &copy, body)
            }
            Action::Patch { size, mode, mtime_ns, sources } => {
                if !is_last {
                    return Ok(Outcome::Rejected(Rejected::Failed { reason: "a patch has to come last".into() }));
                }
                let put = Put { size: *size, hash: None, mode: *mode, mtime_ns: *mtime_ns, sources: Some(sources) };
                self.put(&op.path, &op.expect, &put, body)
            }
            Action::Append { length, size, tail, hash, mode } => {
                body.begin(*size);
                let append = Append { length: *length, size: *size, tail: *tail, hash: *hash, mode: *mode };
                let done = self.append(&op.path, &op.expect, append, body);
                if !matches!(done, Err(Halt::Lost(_))) {
                    body.skip()?;
                }
                done
            }
        };
        match done {
            Ok(outcome) => Ok(outcome),
            Err(Halt::Rejected(rejected)) => Ok(Outcome::Rejected(rejected)),
            Err(Halt::Lost(error)) => Err(error),
        }
    }

    /// Makes the batch survive a power cut, when that was asked for.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.durability {
            Durability::None => {}
            Durability::Each => {
                for folder in &self.touched {
                    folder.sync_all()?;
                }
            }
            Durability::AtEnd => super::flush_all(&self.root.top.folder)?,
        }
        Ok(())
    }

    pub(super) fn parent_of(&mut self, path: &RelPath) -> Result<Arc<File>, Halt> {
        Ok(self.folders.parent_of(path).map_err(|stop| stop.rejected(path))?)
    }

    pub(super) fn touch(&mut self, parent: &Arc<File>) {
        if self.durability == Durability::Each && !self.touched.last().is_some_and(|last| Arc::ptr_eq(last, parent)) {
            self.touched.push(Arc::clone(parent));
        }
    }

    fn make_folder(&mut self, path: &RelPath, local: u32) -> Result<Outcome, Halt> {
        let parent = self.parent_of(path)?;
        match rustix::fs::mkdirat(&*parent, path.name(), mode::raw(mode::created_folder(local))) {
            Ok(()) => {
                self.touch(&parent);
                Ok(Outcome::Applied { stamp: None, kept_as: None })
            }
            Err(Errno::EXIST) => match look::at(parent.as_fd(), path.name())? {
                Some(seen) if seen.kind == Kind::Folder => Ok(Outcome::Already { stamp: None }),
                Some(seen) => Err(changed(Some(look::found(parent.as_fd(), path.name(), &seen)?))),
                None => Err(changed(None)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Gives `temp` its name, unless something unexpected has it.
    pub(super) fn place(
        &mut self,
        temp: &mut Temp<'_>,
        parent: &Arc<File>,
        path: &RelPath,
        before: Option<&Seen>,
    ) -> Result<Replaced, Halt> {
        let placed = match before {
            None => {
                let workshop = temp.workshop.folder.as_fd();
                temp.placed = place::rename_new(workshop, &temp.name, parent.as_fd(), path.name())?;
                if temp.placed { Replaced::Done { kept_as: None } } else { Replaced::Changed }
            }
            Some(before) => place::replace(self.root, &mut self.replaced, temp, parent, path, before)?,
        };
        if matches!(placed, Replaced::Done { .. }) {
            self.touch(parent);
        }
        Ok(placed)
    }

    fn link(&mut self, path: &RelPath, expect: &Expect, target: &str) -> Result<Outcome, Halt> {
        let parent = self.parent_of(path)?;
        let wanted = Content::Link { target: target.to_owned() };
        let before = match look::compare(parent.as_fd(), path.name(), expect, self.root.clock)? {
            Match::Yes(Some(seen)) if seen.kind == Kind::Folder => {
                return Err(Rejected::Failed { reason: "a folder has to be removed first".into() }.into());
            }
            Match::Yes(Some(_)) if *expect == (Expect::Link { target: target.to_owned() }) => {
                return Ok(Outcome::Already { stamp: None });
            }
            Match::No(Some((found, _))) if found.content == wanted => return Ok(Outcome::Already { stamp: None }),
            Match::No(found) => return Err(changed(found.map(|(found, _)| found))),
            Match::Yes(before) => before,
        };
        let root = self.root;
        let mut temp = root.workshop.link(target)?;
        match self.place(&mut temp, &parent, path, before.as_ref())? {
            Replaced::Done { kept_as } => Ok(Outcome::Applied { stamp: None, kept_as }),
            Replaced::Changed => {
                let seen = look::at(parent.as_fd(), path.name())?;
                Err(changed_to(&parent, path, seen)?)
            }
        }
    }

    fn set_mode(&mut self, path: &RelPath, expect: &Expect, local: u32) -> Result<Outcome, Halt> {
        let parent = self.parent_of(path)?;
        let seen = match look::compare(parent.as_fd(), path.name(), expect, self.root.clock)? {
            Match::Yes(Some(seen)) => seen,
            Match::Yes(None) => return Err(changed(None)),
            Match::No(found) => return Err(changed(found.map(|(found, _)| found))),
        };
        self.root.reached(super::Point::Checked);
        let of_file = |seen: &Seen| (seen.kind == Kind::File).then_some(seen.stamp);
        Ok(match self.update_mode(&parent, path.name(), &seen, local)? {
            Some(now) => Outcome::Applied { stamp: of_file(&now), kept_as: None },
            None => Outcome::Already { stamp: of_file(&seen) },
        })
    }

    /// Takes over execute bits and narrowing; returns what is there now if anything had to be done.
    pub(super) fn update_mode(&self, parent: &File, name: &str, seen: &Seen, local: u32) -> Result<Option<Seen>, Halt> {
        let bits = match seen.kind {
            Kind::File => mode::updated(seen.mode, local),
            Kind::Folder => mode::updated_folder(seen.mode, local),
            Kind::Link | Kind::Special => return Ok(None),
        };
        if bits == seen.mode & 0o777 {
            return Ok(None);
        }
        let open = if seen.kind == Kind::Folder { super::side::open_folder } else { look::open };
        let file = open(parent.as_fd(), name)?;
        let open = look::through(&file)?;
        // What is in a folder may change meanwhile; what is in a file may not, or its stamp would vouch for it.
        let same = if seen.kind == Kind::File { open.is_still(seen) } else { open.stamp.inode == seen.stamp.inode };
        if !same {
            return Err(changed(Some(look::found(parent.as_fd(), name, &open)?)));
        }
        rustix::fs::fchmod(&file, mode::raw(bits))?;
        if self.durability == Durability::Each {
            file.sync_all()?;
        }
        let now = look::through(&file)?;
        Ok(Some(if seen.kind == Kind::File && !now.is_still(seen) { *seen } else { now }))
    }

    fn remove(&mut self, path: &RelPath, expect: &Expect) -> Result<Outcome, Halt> {
        let parent = match self.folders.parent_of(path) {
            Ok(parent) => parent,
            Err(super::walk::Stop::Missing) => return Ok(Outcome::Already { stamp: None }),
            Err(stop) => return Err(stop.rejected(path).into()),
        };
        let name = path.name();
        let seen = match look::compare(parent.as_fd(), name, expect, self.root.clock)? {
            Match::Yes(None) | Match::No(None) => return Ok(Outcome::Already { stamp: None }),
            Match::Yes(Some(seen)) => seen,
            Match::No(found) => return Err(changed(found.map(|(found, _)| found))),
        };
        let applied = Outcome::Applied { stamp: None, kept_as: None };
        if seen.kind == Kind::Folder {
            match rustix::fs::unlinkat(&*parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    return Err(Rejected::NotEmpty { kept: count(&parent, name)? }.into());
                }
                Err(error) => return Err(error.into()),
            }
            self.touch(&parent);
            return Ok(applied);
        }
        let bin = self.removed.bin;
        if !bin.has_room(seen.stamp.size) {
            return Err(Rejected::TrashFull { held: bin.held() }.into());
        }
        self.root.reached(super::Point::Checked);
        let place = self.removed.with_place(path, |place, name| {
            match place::rename_new(parent.as_fd(), name, place, name) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Errno::EXIST),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        })?;
        // `None`: the trash was emptied meanwhile.
        if look::at(place.as_fd(), name)?.is_none_or(|moved| moved.is_still(&seen)) {
            bin.added(seen.stamp.size);
            self.touch(&parent);
            return Ok(applied);
        }
        // Somebody wrote it between the look and the move: it goes back, or beside what took its place.
        if !place::rename_new(place.as_fd(), name, parent.as_fd(), name)? {
            place::keep_beside(place.as_fd(), name, parent.as_fd(), path)?;
        }
        let now = look::at(parent.as_fd(), name)?;
        Err(changed_to(&parent, path, now)?)
    }
}

pub(super) fn changed(found: Option<Found>) -> Halt {
    Rejected::Changed { found }.into()
}

/// Returns the rejection that tells what is at `path` now.
pub(super) fn changed_to(parent: &File, path: &RelPath, seen: Option<Seen>) -> Result<Halt, Halt> {
    let found = seen.map(|seen| look::found(parent.as_fd(), path.name(), &seen)).transpose()?;
    Ok(changed(found))
}

fn count(parent: &File, name: &str) -> io::Result<u64> {
    let folder = super::side::open_folder(parent.as_fd(), name)?;
    let mut count = 0;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            count += 1;
        }
    }
    Ok(count)
}
