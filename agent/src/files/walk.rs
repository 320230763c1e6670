//! From a root's descriptor to a folder below it, following no link and crossing no mount.
//!
//! Never resolves a text path from anywhere but the held root.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(target_os = "linux")]
use std::sync::atomic::Ordering;

use protocol::path::RelPath;
use protocol::sync::Rejected;
#[cfg(target_os = "linux")]
use rustix::fs::ResolveFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error;
use super::look::{self, Kind};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why the folder of a path could not be reached.
#[derive(Debug)]
pub(super) enum Stop {
    /// A folder on the way is not there.
    Missing,
    /// A component is a link, a mount point or no folder.
    Unsafe(String),
    /// The file system refuses.
    Failed(io::Error),
}

impl Stop {
    /// Returns why an operation that needs the folder of `path` was not done.
    pub(super) fn rejected(self, path: &RelPath) -> Rejected {
        match self {
            Self::Missing => {
                let folder = path.parent().map_or_else(String::new, |parent| parent.to_string());
                Rejected::Failed { reason: format!("the folder `{folder}` is not there") }
            }
            Self::Unsafe(reason) => Rejected::Unsafe { reason },
            Self::Failed(error) => error::rejected(&error),
        }
    }
}

/// The top of everything: the held root and what is known about walking from it.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) folder: Arc<File>,
    pub(super) device: u64,
    /// A name directly below the root that belongs to us and to no workspace.
    pub(super) reserved: Option<&'static str>,
    /// Set once the kernel (or its sandbox) turned out to have no `openat2`.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has `openat2`"))]
    pub(super) by_component: AtomicBool,
}

/// Folders that are remembered by whoever only looks.
const REMEMBERED: usize = 16;

/// Finds the folders of paths; remembers the last one, since neighbours come one after another.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    top: &'a Top,
    last: Vec<(String, Arc<File>)>,
    most: usize,
}

impl<'a> Folders<'a> {
    pub(super) fn new(top: &'a Top) -> Self {
        Self { top, last: Vec::new(), most: 1 }
    }

    /// Remembers the folders above the last one, too: for whoever walks a whole tree and writes nothing, to whom it
    /// does not matter when a folder gets another name meanwhile.
    pub(super) fn to_look(top: &'a Top) -> Self {
        Self { most: REMEMBERED, ..Self::new(top) }
    }

    /// Forgets the remembered folders, for when time has passed.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    /// Returns the folder that `path` is in.
    pub(super) fn parent_of(&mut self, path: &RelPath) -> Result<Arc<File>, Stop> {
        let top = self.top;
        if let (Some(reserved), Some(first)) = (top.reserved, path.components().next())
            && first.eq_ignore_ascii_case(reserved)
        {
            return Err(Stop::Unsafe(format!("`{reserved}` belongs to MLToolbox")));
        }
        let Some((parent, _)) = path.as_str().rsplit_once('/') else {
            return Ok(Arc::clone(&top.folder));
        };
        while let Some((known, folder)) = self.last.last() {
            if known == parent {
                return Ok(Arc::clone(folder));
            }
            if parent.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                break;
            }
            self.last.pop();
        }
        let folder = Arc::new(top.open_folder(parent)?);
        if self.last.len() == self.most {
            self.last.remove(0);
        }
        self.last.push((parent.to_owned(), Arc::clone(&folder)));
        Ok(folder)
    }
}

impl Top {
    pub(super) fn open_folder(&self, path: &str) -> Result<File, Stop> {
        #[cfg(target_os = "linux")]
        if !self.by_component.load(Ordering::Relaxed) {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            match rustix::fs::openat2(&*self.folder, path, FOLDER, Mode::empty(), resolve) {
                Ok(folder) => return Ok(folder.into()),
                Err(Errno::NOENT) => return Err(Stop::Missing),
                // Docker's older seccomp profile says EPERM, gVisor and old kernels ENOSYS.
                Err(Errno::NOSYS | Errno::INVAL | Errno::PERM | Errno::TOOBIG) => {
                    self.by_component.store(true, Ordering::Relaxed);
                }
                Err(Errno::XDEV) => {
                    // The walk below names the mount point, except for a bind mount of the same device.
                    self.by_components(path)?;
                    return Err(Stop::Unsafe(format!("`{path}` is or lies below a mount point")));
                }
                Err(Errno::LOOP | Errno::NOTDIR | Errno::AGAIN) => {}
                Err(error) => return Err(Stop::Failed(error.into())),
            }
        }
        self.by_components(path)
    }

    fn by_components(&self, path: &str) -> Result<File, Stop> {
        let mut folder: Option<File> = None;
        let mut walked = 0;
        for name in path.split('/') {
            walked += name.len();
            let here = folder.as_ref().map_or(self.folder.as_fd(), AsFd::as_fd);
            let next = self.step(here, name, &path[..walked])?;
            walked += 1;
            folder = Some(next);
        }
        folder.ok_or(Stop::Missing)
    }

    fn step(&self, here: BorrowedFd<'_>, name: &str, walked: &str) -> Result<File, Stop> {
        let folder: File = match rustix::fs::openat(here, name, FOLDER, Mode::empty()) {
            Ok(folder) => folder.into(),
            Err(Errno::NOENT) => return Err(Stop::Missing),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(match look::at(here, name).map_err(Stop::Failed)?.map(|seen| seen.kind) {
                    Some(Kind::Link) => Stop::Unsafe(format!("`{walked}` is a symbolic link")),
                    Some(Kind::File | Kind::Special) => Stop::Unsafe(format!("`{walked}` is not a folder")),
                    Some(Kind::Folder) => Stop::Unsafe(format!("`{walked}` was just replaced")),
                    None => Stop::Missing,
                });
            }
            Err(error) => return Err(Stop::Failed(error.into())),
        };
        if look::through(&folder).map_err(Stop::Failed)?.stamp.device != self.device {
            return Err(Stop::Unsafe(format!("`{walked}` is a mount point")));
        }
        Ok(folder)
    }
}
