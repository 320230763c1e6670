//! Files and links in the making: under `tmp/` of the side directory, never in the workspace.
//!
//! Each open root has a folder of its own there with a locked file in it; a folder whose lock is free
//! belongs to an agent that ended, and is removed when the root is opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::RootError;
use super::mode;
use super::place;
use super::side::{self, Locked, Side};
use super::trash;

const OWNER: &str = "owner";

/// The folder for temporary files of one open root.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) folder: File,
    all: File,
    name: String,
    _owner: File,
    next: AtomicU64,
}

impl Workshop {
    /// Makes the folder, and removes those of agents that ended.
    pub(super) fn open(side: &Side, _: &Locked) -> Result<Self, RootError> {
        let all = side.subfolder("tmp")?;
        let made = || -> io::Result<Self> {
            reap(&all)?;
            let name = side::random()?;
            side::make_folder(all.as_fd(), &name)?;
            let folder = side::open_folder(all.as_fd(), &name)?;
            let owner = side::create(folder.as_fd(), OWNER)?;
            rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Self { folder, all: all.try_clone()?, name, _owner: owner, next: AtomicU64::new(0) })
        };
        made().map_err(|error| side.failed(error))
    }

    /// Makes an empty file.
    pub(super) fn file(&self, mode: u32) -> io::Result<(Temp<'_>, File)> {
        let name = self.name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &name, flags, mode::raw(mode))?;
        Ok((Temp { workshop: self, name, placed: false }, file.into()))
    }

    /// Makes a symbolic link.
    pub(super) fn link(&self, target: &str) -> io::Result<Temp<'_>> {
        let name = self.name();
        rustix::fs::symlinkat(target, &self.folder, &name)?;
        Ok(Temp { workshop: self, name, placed: false })
    }

    /// Gives what is at `name` a second name here; not every file system can, nor for everybody's files.
    pub(super) fn second_name(&self, parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Temp<'_>> {
        let second = self.name();
        rustix::fs::linkat(parent, name, &self.folder, &second, AtFlags::empty())?;
        Ok(Temp { workshop: self, name: second, placed: false })
    }

    /// Takes what is at `name` away from there.
    pub(super) fn take(&self, parent: BorrowedFd<'_>, name: &str) -> io::Result<Temp<'_>> {
        let taken = self.name();
        if !place::rename_new(parent, name, self.folder.as_fd(), &taken)? {
            return Err(Errno::EXIST.into());
        }
        Ok(Temp { workshop: self, name: taken, placed: false })
    }

    fn name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = trash::remove_tree(self.all.as_fd(), &self.name, 0) {
            tracing::debug!(%error, "a temporary folder is left to the next opening");
        }
    }
}

/// A file or link in the making; removed when dropped before it got its place.
#[derive(Debug)]
pub(super) struct Temp<'a> {
    pub(super) workshop: &'a Workshop,
    pub(super) name: String,
    pub(super) placed: bool,
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = rustix::fs::unlinkat(&self.workshop.folder, &self.name, AtFlags::empty())
        {
            tracing::debug!(%error, "a temporary file is left to the next opening");
        }
    }
}

fn reap(all: &File) -> io::Result<()> {
    for name in trash::names(all)? {
        let alive = match side::open_folder(all.as_fd(), &name).and_then(|folder| {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(&folder, OWNER, flags, Mode::empty())?)
        }) {
            Ok(owner) => rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive).is_err(),
            Err(_) => false,
        };
        if !alive && let Err(error) = trash::remove_tree(all.as_fd(), &name, 0) {
            tracing::warn!(%error, name, "an old temporary folder cannot be removed");
        }
    }
    Ok(())
}
