//! Files and links in the making: under `tmp/` of the side directory, never in the workspace.
//!
//! Each open root has a folder of its own there with a locked file in it; a folder whose lock is free
//! belongs to an agent that ended, and is removed when the root is opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::path::RelPath;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::RootError;
use super::mode;
use super::partial::{self, Partials};
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
    pub(super) fn open(side: &Side, partials: &Partials, _: &Locked) -> Result<Self, RootError> {
        let all = side.subfolder("tmp")?;
        let made = || -> io::Result<Self> {
            reap(&all, partials)?;
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
        Ok((Temp { workshop: self, name, placed: false, path: None, continued: false }, file.into()))
    }

    /// Makes an empty file for a long transfer to `path`. What arrives of it outlives a cut link and a killed agent
    /// when `resumable` says so.
    pub(super) fn resumable(&self, mode: u32, path: &RelPath, resumable: bool) -> io::Result<(Temp<'_>, File)> {
        let (mut temp, file) = self.file(mode)?;
        if resumable {
            partial::write_path(self.folder.as_fd(), &format!("{}{}", temp.name, partial::NAMED), path)?;
            temp.path = Some(path.clone());
        }
        Ok((temp, file))
    }

    /// Makes a symbolic link.
    pub(super) fn link(&self, target: &str) -> io::Result<Temp<'_>> {
        let name = self.name();
        rustix::fs::symlinkat(target, &self.folder, &name)?;
        Ok(Temp { workshop: self, name, placed: false, path: None, continued: false })
    }

    /// Gives what is at `name` a second name here; not every file system can, nor for everybody's files.
    pub(super) fn second_name(&self, parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Temp<'_>> {
        let second = self.name();
        rustix::fs::linkat(parent, name, &self.folder, &second, AtFlags::empty())?;
        Ok(Temp { workshop: self, name: second, placed: false, path: None, continued: false })
    }

    /// Takes what is at `name` away from there.
    pub(super) fn take(&self, parent: BorrowedFd<'_>, name: &str) -> io::Result<Temp<'_>> {
        let taken = self.name();
        if !place::rename_new(parent, name, self.folder.as_fd(), &taken)? {
            return Err(Errno::EXIST.into());
        }
        Ok(Temp { workshop: self, name: taken, placed: false, path: None, continued: false })
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
    /// Where a resumable one is to go.
    path: Option<RelPath>,
    /// Whether it was made from what was left of an earlier transfer.
    pub(super) continued: bool,
}

impl Temp<'_> {
    /// Leaves what arrived to a later transfer, if it is a resumable one.
    pub(super) fn keep(&mut self, partials: &Partials) {
        let Some(path) = &self.path else { return };
        match partials.keep(self.workshop.folder.as_fd(), &self.name, path, self.continued) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "what arrived of a transfer is not kept"),
        }
    }

    fn remove(&self, name: &str) {
        match rustix::fs::unlinkat(&self.workshop.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::debug!(%error, "a temporary file is left to the next opening"),
        }
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.placed {
            self.remove(&self.name);
        }
        if self.path.is_some() {
            self.remove(&format!("{}{}", self.name, partial::NAMED));
        }
    }
}

fn reap(all: &File, partials: &Partials) -> io::Result<()> {
    for name in trash::names(all)? {
        let alive = match side::open_folder(all.as_fd(), &name).and_then(|folder| {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let owner = rustix::fs::openat(&folder, OWNER, flags, Mode::empty())?;
            Ok((folder, owner))
        }) {
            Ok((folder, owner)) => {
                let alive = rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive).is_err();
                if !alive && let Err(error) = partials.rescue(&folder) {
                    tracing::warn!(%error, name, "what a killed agent received is lost");
                }
                alive
            }
            Err(_) => false,
        };
        if !alive && let Err(error) = trash::remove_tree(all.as_fd(), &name, 0) {
            tracing::warn!(%error, name, "an old temporary folder cannot be removed");
        }
    }
    Ok(())
}
