//! Giving something finished its name, in one step and never over anything unexpected.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::SystemTime;

use protocol::path::RelPath;
use protocol::sync::Rejected;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::look::{self, Kind, Seen};
use super::temp::Temp;
use super::trash::Shelf;
use super::{Point, Root, error, layout, side};

/// How a replacement went.
#[derive(Debug)]
pub(super) enum Replaced {
    /// The new version has its name; a version that turned up meanwhile was kept under another.
    Done { kept_as: Option<RelPath> },
    /// Something else than expected is there, and still is.
    Changed,
}

/// Renames to a name that must be free; returns whether it was.
pub(super) fn rename_new(from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str) -> io::Result<bool> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => return Ok(false),
        Err(error) if error == Errno::INVAL || is_missing(error) => {}
        Err(error) => return Err(error.into()),
    }
    // NFS and FUSE: a hard link never replaces anything either.
    match rustix::fs::linkat(from, name, to, new, AtFlags::empty()) {
        Ok(()) => {
            rustix::fs::unlinkat(from, name, AtFlags::empty())?;
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        // Without links either, a check right before is all there is.
        Err(error) if is_missing(error) || matches!(error, Errno::PERM | Errno::MLINK | Errno::XDEV) => {
            if look::at(to, new)?.is_some() {
                return Ok(false);
            }
            rustix::fs::renameat(from, name, to, new)?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the file system has no such call. macOS has two numbers for it where Linux has one.
fn is_missing(error: Errno) -> bool {
    [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&error)
}

/// Gives `temp` the name that `before` has, which goes to the trash.
pub(super) fn replace(
    root: &Root,
    shelf: &mut Shelf<'_>,
    temp: &mut Temp<'_>,
    parent: &File,
    path: &RelPath,
    before: &Seen,
) -> Result<Replaced, Rejected> {
    let name = path.name();
    let linked = shelf.with_place(path, |place, name| rustix::fs::linkat(parent, name, place, name, AtFlags::empty()));
    let place = match linked {
        Ok(place) => place,
        Err(problem) => match Errno::from_io_error(&problem) {
            Some(Errno::NOENT) => return Ok(Replaced::Changed),
            // Protected hard links, too many links, or a file system without any.
            Some(errno)
                if is_missing(errno)
                    || matches!(errno, Errno::PERM | Errno::ACCESS | Errno::MLINK | Errno::XDEV | Errno::INVAL) =>
            {
                return exchange(root, shelf, temp, parent, path, before).map_err(|problem| error::rejected(&problem));
            }
            Some(_) | None => return Err(error::rejected(&problem)),
        },
    };
    swap(root, shelf, temp, parent, path, before, &place).map_err(|problem| {
        // The name still has its file, so the second link to it must not stay.
        if !temp.placed {
            withdraw(&place, name);
        }
        error::rejected(&problem)
    })
}

/// Renames over `before`, which has a second name in `place`.
fn swap(
    root: &Root,
    shelf: &Shelf<'_>,
    temp: &mut Temp<'_>,
    parent: &File,
    path: &RelPath,
    before: &Seen,
    place: &File,
) -> io::Result<Replaced> {
    let name = path.name();
    root.reached(Point::Linked);
    let is_before = |seen: Option<Seen>| seen.is_some_and(|seen| seen.is_still(before));
    if !is_before(look::at(place.as_fd(), name)?) || !is_before(look::at(parent.as_fd(), name)?) {
        withdraw(place, name);
        return Ok(Replaced::Changed);
    }
    root.reached(Point::Checked);
    rustix::fs::renameat(&temp.workshop.folder, &temp.name, parent, name)?;
    temp.placed = true;
    match look::at(place.as_fd(), name)? {
        Some(displaced) if !displaced.is_still(before) => {}
        // `None`: purged meanwhile.
        Some(_) | None => {
            shelf.bin.added(before.stamp.size);
            return Ok(Replaced::Done { kept_as: None });
        }
    }
    let kept = keep_beside(place.as_fd(), name, parent.as_fd(), path)?;
    Ok(Replaced::Done { kept_as: Some(kept) })
}

/// Exchanges `temp` with what has the name, looks at it, and exchanges back if it is not `before`.
pub(super) fn exchange(
    root: &Root,
    shelf: &mut Shelf<'_>,
    temp: &mut Temp<'_>,
    parent: &File,
    path: &RelPath,
    before: &Seen,
) -> io::Result<Replaced> {
    let (name, workshop) = (path.name(), &temp.workshop.folder);
    let fresh = look::at(workshop.as_fd(), &temp.name)?;
    root.reached(Point::Checked);
    match rustix::fs::renameat_with(workshop, &temp.name, parent, name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Replaced::Changed),
        Err(error) if error == Errno::INVAL || is_missing(error) => {
            return copy(root, shelf, temp, parent, path, before);
        }
        Err(error) => return Err(error.into()),
    }
    let displaced = look::at(workshop.as_fd(), &temp.name)?;
    if displaced.is_some_and(|seen| seen.is_still(before)) {
        temp.placed = true;
        match shelf.with_place(path, |place, name| rustix::fs::renameat(workshop, &temp.name, place, name)) {
            Ok(_) => shelf.bin.added(before.stamp.size),
            // The new version has its name and the old one was ours: no reason to say that nothing was done.
            Err(error) => tracing::warn!(%error, name, "a replaced version is not kept"),
        }
        return Ok(Replaced::Done { kept_as: None });
    }
    // From here on the temporary name holds somebody's bytes until the exchange back has worked.
    temp.placed = true;
    let back = rustix::fs::renameat_with(workshop, &temp.name, parent, name, RenameFlags::EXCHANGE);
    let held = look::at(workshop.as_fd(), &temp.name)?;
    if back.is_ok() && held.map(|seen| seen.stamp.inode) == fresh.map(|seen| seen.stamp.inode) {
        temp.placed = false;
        return Ok(Replaced::Changed);
    }
    let kept = keep_beside(workshop.as_fd(), &temp.name, parent.as_fd(), path)?;
    Ok(if back.is_ok() { Replaced::Changed } else { Replaced::Done { kept_as: Some(kept) } })
}

/// Copies `before` to the trash, for file systems that can neither link nor exchange.
pub(super) fn copy(
    root: &Root,
    shelf: &mut Shelf<'_>,
    temp: &mut Temp<'_>,
    parent: &File,
    path: &RelPath,
    before: &Seen,
) -> io::Result<Replaced> {
    let name = path.name();
    let place = if before.kind == Kind::Link {
        let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
        shelf.with_place(path, |place, name| rustix::fs::symlinkat(target.as_c_str(), place, name))?
    } else {
        let mut copy = None;
        let place = shelf.with_place(path, |place, name| {
            let created = side::create(place, name);
            copy = Some(created.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?);
            Ok(())
        })?;
        let mut copy = copy.ok_or(Errno::IO)?;
        io::copy(&mut look::open(parent.as_fd(), name)?, &mut copy)?;
        place
    };
    root.reached(Point::Linked);
    if !look::at(parent.as_fd(), name)?.is_some_and(|seen| seen.is_still(before)) {
        withdraw(&place, name);
        return Ok(Replaced::Changed);
    }
    rustix::fs::renameat(&temp.workshop.folder, &temp.name, parent, name)?;
    temp.placed = true;
    shelf.bin.added(before.stamp.size);
    Ok(Replaced::Done { kept_as: None })
}

/// Takes back a second name in the trash.
fn withdraw(place: &File, name: &str) {
    if let Err(error) = rustix::fs::unlinkat(place, name, AtFlags::empty()) {
        tracing::debug!(%error, name, "a second name is left in the trash");
    }
}

/// Moves a version that nobody expected beside the one at `path`, under a name that says so.
pub(super) fn keep_beside(
    from: BorrowedFd<'_>,
    name: &str,
    parent: BorrowedFd<'_>,
    path: &RelPath,
) -> io::Result<RelPath> {
    let time = SystemTime::now();
    for number in 1_u32.. {
        let kept = layout::conflict_name(path.name(), time, number);
        if rename_new(from, name, parent, &kept)? {
            let kept = path.parent().map_or_else(|| RelPath::new(kept.as_str()), |folder| folder.join(&kept));
            return kept.map_err(io::Error::other);
        }
    }
    Err(Errno::EXIST.into())
}
