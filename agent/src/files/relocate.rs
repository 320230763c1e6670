//! Giving what is there another name: looked at under its old one, never over anything unexpected.
//!
//! What takes the place of another file has both names for a moment, so that whoever ends in between leaves
//! every byte under a name of the workspace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use protocol::path::RelPath;
use protocol::sync::{Expect, Outcome, Rejected};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::batch::{Batch, Durability, Halt, changed, changed_to};
use super::look::{self, Kind, Match, Seen};
use super::place::{self, Replaced};
use super::walk::Stop;
use super::{Point, error};

impl Batch<'_> {
    /// Gives the file or link at `from` the name `path`; both must hold what is expected.
    pub(super) fn relocate(
        &mut self,
        path: &RelPath,
        expect: &Expect,
        from: &RelPath,
        source: &Expect,
    ) -> Result<Outcome, Halt> {
        if matches!(source, Expect::Absent | Expect::Folder) {
            return Err(refused("only files and links are moved".to_owned()));
        }
        let clock = self.root.clock;
        let parent = self.parent_of(path)?;
        let old = match self.sources.parent_of(from) {
            Ok(old) => old,
            Err(Stop::Missing) => return self.moved_before(&parent, path, from, source),
            Err(stop) => return Err(stop.rejected(from).into()),
        };
        let seen = match look::compare(old.as_fd(), from.name(), source, clock)? {
            Match::Yes(Some(seen)) => seen,
            Match::Yes(None) | Match::No(None) => return self.moved_before(&parent, path, from, source),
            Match::No(Some(_)) => return Err(not_as_expected(from)),
        };
        match look::compare(parent.as_fd(), path.name(), expect, clock)? {
            Match::No(found) => Err(changed(found.map(|(found, _)| found))),
            Match::Yes(None) => self.give_free_name(&parent, path, (&old, from), &seen),
            Match::Yes(Some(before)) if before.kind == Kind::Folder => {
                Err(refused("a folder has to be removed first".to_owned()))
            }
            Match::Yes(Some(before)) => self.over(&parent, path, (&old, from), &seen, &before),
        }
    }

    fn give_free_name(
        &mut self,
        parent: &Arc<File>,
        path: &RelPath,
        (old, from): (&Arc<File>, &RelPath),
        seen: &Seen,
    ) -> Result<Outcome, Halt> {
        self.root.reached(Point::Checked);
        if !place::rename_new(old.as_fd(), from.name(), parent.as_fd(), path.name())? {
            let now = look::at(parent.as_fd(), path.name())?;
            return Err(changed_to(parent, path, now)?);
        }
        match look::at(parent.as_fd(), path.name())? {
            Some(moved) if !moved.is_still(seen) => {
                // Somebody wrote it between the look and the move: it goes back, or beside what took its place.
                if !place::rename_new(parent.as_fd(), path.name(), old.as_fd(), from.name())? {
                    place::keep_beside(parent.as_fd(), path.name(), old.as_fd(), from)?;
                }
                return Err(not_as_expected(from));
            }
            Some(_) | None => {}
        }
        self.touch(old);
        self.moved(parent, path, seen, None)
    }

    fn over(
        &mut self,
        parent: &Arc<File>,
        path: &RelPath,
        (old, from): (&Arc<File>, &RelPath),
        seen: &Seen,
        before: &Seen,
    ) -> Result<Outcome, Halt> {
        // A rename between two names of one file does nothing at all.
        if (seen.stamp.device, seen.stamp.inode) == (before.stamp.device, before.stamp.inode) {
            return Err(refused(format!("`{from}` and `{path}` are one file there")));
        }
        let root = self.root;
        let mut temp = root.workshop.second_name(old.as_fd(), from.name()).map_err(|errno| match errno {
            Errno::NOENT => not_as_expected(from),
            _ => Halt::Rejected(error::rejected(&errno.into())),
        })?;
        if !look::at(temp.workshop.folder.as_fd(), &temp.name)?.is_some_and(|held| held.is_still(seen)) {
            return Err(not_as_expected(from));
        }
        let kept_as = match self.place(&mut temp, parent, path, Some(before))? {
            Replaced::Done { kept_as } => kept_as,
            Replaced::Changed => {
                let now = look::at(parent.as_fd(), path.name())?;
                return Err(changed_to(parent, path, now)?);
            }
        };
        let mut aside = root.workshop.take(old.as_fd(), from.name())?;
        let taken = look::at(aside.workshop.folder.as_fd(), &aside.name)?;
        if taken.is_none_or(|taken| taken.stamp.inode != seen.stamp.inode) {
            // Somebody put something else there meanwhile: that stays.
            aside.placed = true;
            let workshop = aside.workshop.folder.as_fd();
            if !place::rename_new(workshop, &aside.name, old.as_fd(), from.name())? {
                place::keep_beside(workshop, &aside.name, old.as_fd(), from)?;
            }
        }
        drop(aside);
        self.touch(old);
        self.moved(parent, path, seen, kept_as)
    }

    /// What is at a name counts as changed now: whoever compares times there must not take it for older than
    /// what was made from the name's former content.
    fn moved(
        &mut self,
        parent: &Arc<File>,
        path: &RelPath,
        seen: &Seen,
        kept_as: Option<RelPath>,
    ) -> Result<Outcome, Halt> {
        self.touch(parent);
        if seen.kind != Kind::File {
            return Ok(Outcome::Applied { stamp: None, kept_as });
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: now };
        let stamped = |file: &File| -> io::Result<Seen> {
            let moved = look::through(file)?;
            if !moved.is_still(seen) {
                // A stamp of bytes that nobody read would vouch for them.
                return Ok(*seen);
            }
            match rustix::fs::futimens(file, &times) {
                // Another user's file, or a file system without times.
                Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::ROFS | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            look::through(file)
        };
        self.root.reached(Point::Placed);
        let stamp = match look::open(parent.as_fd(), path.name()) {
            Ok(file) => {
                let now = stamped(&file)?;
                if self.durability == Durability::Each {
                    file.sync_all()?;
                }
                // A stamp of other bytes would vouch for them.
                if (now.stamp.inode, now.stamp.size) == (seen.stamp.inode, seen.stamp.size) {
                    now.stamp
                } else {
                    seen.stamp
                }
            }
            // Its owner may not read it, or it is gone again: an old stamp proves nothing, so it is looked at again.
            Err(error) => {
                tracing::debug!(%error, "a file that was moved cannot be opened");
                seen.stamp
            }
        };
        Ok(Outcome::Applied { stamp: Some(stamp), kept_as })
    }

    /// Nothing is left under the old name: either it was moved already, or it is gone.
    fn moved_before(
        &mut self,
        parent: &Arc<File>,
        path: &RelPath,
        from: &RelPath,
        source: &Expect,
    ) -> Result<Outcome, Halt> {
        match look::compare(parent.as_fd(), path.name(), source, self.root.clock)? {
            Match::Yes(Some(seen)) => Ok(Outcome::Already { stamp: (seen.kind == Kind::File).then_some(seen.stamp) }),
            Match::Yes(None) | Match::No(_) => Err(refused(format!("`{from}` is not there"))),
        }
    }
}

fn refused(reason: String) -> Halt {
    Rejected::Failed { reason }.into()
}

/// The rejection that tells that what was to be moved or copied is something else.
pub(super) fn not_as_expected(from: &RelPath) -> Halt {
    refused(format!("`{from}` is not what was expected"))
}
