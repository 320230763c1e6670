//! The side directory of a root: temporary files, trash, lease and identity, on the root's file system.
//!
//! It is `.<name>.mltoolbox` beside the root, where no watcher of the workspace sees it; where that is not
//! possible (a mounted root, a parent that is not ours) it is `.mltoolbox` inside the root, 0700, holding a
//! `.gitignore` of `*`. Layout: `root.json`, `lease.json`, `lock`, `tmp/<id>/`, `trash/removed/`,
//! `trash/replaced/`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::error::RootError;
use super::layout::{self, FORMAT, IDENTITY, INSIDE, Identity, MAX_RECORD};
use super::look::{self, Clock, Seen};

/// How long another agent may hold the lock; it does so only while it opens or closes the root.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const PRIVATE: Mode = Mode::RWXU;
const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open side directory.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) folder: File,
    pub(super) inside: bool,
    /// The root's path, for messages.
    pub(super) path: String,
}

/// Exclusive use of a side directory; given back when dropped.
#[derive(Debug)]
pub(super) struct Locked(#[allow(dead_code, reason = "closing it unlocks")] File);

impl Side {
    /// Opens or makes the side directory of the root at `path`.
    pub(super) fn open(root: &File, path: &str) -> Result<Self, RootError> {
        let seen = look::through(root).map_err(|error| RootError::io("look at", path, error))?;
        let beside = Self::beside(root, &seen, path).ok();
        let inside = beside.is_none();
        let folder = match beside {
            Some(folder) => folder,
            None => {
                Self::within(root).map_err(|error| RootError::io("make the folder `.mltoolbox` in", path, error))?
            }
        };
        let side = Self { folder, inside, path: path.to_owned() };
        for name in layout::FOLDERS {
            make_folder(side.folder.as_fd(), name).map_err(|error| side.failed(error))?;
        }
        Ok(side)
    }

    fn beside(root: &File, seen: &Seen, path: &str) -> io::Result<File> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Errno::INVAL.into());
        };
        let name = layout::beside(name);
        let parent = open_above(parent)?;
        let made = make_folder(parent.as_fd(), &name)?;
        let usable = open_private(parent.as_fd(), &name).and_then(|folder| {
            if look::through(&folder)?.stamp.device != seen.stamp.device {
                return Err(Errno::XDEV.into());
            }
            // A name that is not there says ENOENT on the same mount and EXDEV on another.
            match rustix::fs::renameat(&folder, "no-such-name", root, ".mltoolbox-no-such-name") {
                Err(Errno::NOENT) | Ok(()) => Ok(folder),
                Err(error) => Err(error.into()),
            }
        });
        if usable.is_err() && made {
            rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
        }
        usable
    }

    fn within(root: &File) -> io::Result<File> {
        make_folder(root.as_fd(), INSIDE)?;
        let folder = open_private(root.as_fd(), INSIDE)?;
        if look::at(folder.as_fd(), ".gitignore")?.is_none() {
            write(folder.as_fd(), ".gitignore", b"*\n")?;
        }
        Ok(folder)
    }

    /// Waits for exclusive use among all agents of this machine.
    pub(super) fn lock(&self) -> Result<Locked, RootError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, "lock", flags, Mode::RUSR | Mode::WUSR);
        let file: File = file.map_err(|error| self.failed(error))?.into();
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked(file)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Err(Errno::WOULDBLOCK) => {
                    return Err(RootError::Busy { path: self.path.clone(), seconds: LOCK_WAIT.as_secs() });
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Returns the id of this copy; makes a new one when the root is another folder than at the last time. `is_new` says
    /// that it was made just now or holds nothing.
    pub(super) fn copy(&self, root: &File, is_new: bool, _: &Locked) -> Result<String, RootError> {
        let seen = look::through(root).map_err(|error| self.failed(error))?;
        let born = born(root);
        let mut known_elsewhere = None;
        if let Some(known) = self.record::<Identity>(IDENTITY)? {
            // A device number changes with a reboot on btrfs and NFS, so the birth decides where it is known.
            let same = match (known.born, born) {
                // A folder of a lower layer is born anew when something below it is first written; only there
                // does its inode number tell more.
                (Some(then), Some(now)) => then == now || is_overlay(root),
                (None, None) => known.device == seen.stamp.device,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if same && known.inode == seen.stamp.inode {
                return Ok(known.copy);
            }
            // Written over SFTP, which tells no inode: believed once, and from now on held to it.
            known_elsewhere = Some(known.copy).filter(|_| known.inode == 0 && !is_new);
        }
        let copy = known_elsewhere.map_or_else(random, Ok).map_err(|error| self.failed(error))?;
        let identity =
            Identity { version: FORMAT, copy: copy.clone(), inode: seen.stamp.inode, device: seen.stamp.device, born };
        self.put_record(IDENTITY, &identity)?;
        Ok(copy)
    }

    /// Reads a record; `None` when there is none or when it is no record at all (it is then written anew).
    pub(super) fn record<T: serde::de::DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, RootError> {
        let file = match look::open(self.folder.as_fd(), name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let mut text = Vec::new();
        file.take(MAX_RECORD).read_to_end(&mut text).map_err(|error| self.failed(error))?;
        let newer = |version| RootError::Newer { path: self.path.clone(), file: name, version };
        layout::record(&text).map_err(newer)
    }

    /// Writes a record in one step.
    pub(super) fn put_record<T: Serialize>(&self, name: &str, record: &T) -> Result<(), RootError> {
        let text = serde_json::to_vec(record).expect("a record of texts and numbers is JSON");
        let fresh = format!("{name}.new");
        write(self.folder.as_fd(), &fresh, &text)
            .and_then(|()| Ok(rustix::fs::renameat(&self.folder, &fresh, &self.folder, name)?))
            .map_err(|error| self.failed(error))
    }

    /// Opens a folder of the side directory.
    pub(super) fn subfolder(&self, name: &str) -> Result<File, RootError> {
        open_folder(self.folder.as_fd(), name).map_err(|error| self.failed(error))
    }

    /// Finds out by trying how fine the clock of the file system's stamps is.
    pub(super) fn clock(&self, scratch: &File) -> Result<Clock, RootError> {
        let probe = || -> io::Result<Clock> {
            let mut file = create(scratch.as_fd(), "clock")?;
            let mut clock = Clock::Fine;
            // Three times, since two writes may fall to either side of a coarse tick once.
            for _ in 0..3 {
                file.write_all(b"a")?;
                let first = look::through(&file)?;
                file.write_all(b"b")?;
                let second = look::through(&file)?;
                if first.stamp.ctime_ns == second.stamp.ctime_ns || first.stamp.mtime_ns == second.stamp.mtime_ns {
                    clock = Clock::Coarse;
                }
            }
            rustix::fs::unlinkat(scratch, "clock", AtFlags::empty())?;
            Ok(clock)
        };
        probe().map_err(|error| self.failed(error))
    }

    /// Finds out by trying whether names that differ only in case, or in how Unicode composes them, are one file.
    pub(super) fn ignores_case(&self, scratch: &File) -> Result<bool, RootError> {
        let probe = |name: &str, other: &str| -> io::Result<bool> {
            match create(scratch.as_fd(), name) {
                Ok(file) => drop(file),
                // Its names are not Unicode, so that none is composed.
                Err(error) if !name.is_ascii() && error.raw_os_error().is_some() => return Ok(false),
                Err(error) => return Err(error),
            }
            let same = look::at(scratch.as_fd(), other)?.is_some();
            rustix::fs::unlinkat(scratch, name, AtFlags::empty())?;
            Ok(same)
        };
        let pairs = [("case", "CASE"), ("compos\u{e9}", "compose\u{301}")];
        let same = pairs.into_iter().map(|(name, other)| probe(name, other)).collect::<io::Result<Vec<bool>>>();
        same.map(|same| same.contains(&true)).map_err(|error| self.failed(error))
    }

    /// Returns the error for a failed system call in the side directory.
    pub(super) fn failed(&self, error: impl Into<io::Error>) -> RootError {
        RootError::io("keep the side directory of", &self.path, error)
    }
}

/// Opens the folder above a root, through links too; it need not be readable.
pub(super) fn open_above(path: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    let access = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let access = OFlags::RDONLY;
    Ok(rustix::fs::open(path, access | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// Opens a folder without following a link.
pub(super) fn open_folder(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    Ok(rustix::fs::openat(parent, name, OPEN_FOLDER, Mode::empty())?.into())
}

/// Makes a private folder; returns whether it was not there before.
pub(super) fn make_folder(parent: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    match rustix::fs::mkdirat(parent, name, PRIVATE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns 128 random bits as text. The kernel is asked itself: there may be no `/dev`.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    #[cfg(target_os = "linux")]
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())? < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    #[cfg(not(target_os = "linux"))]
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Makes a file that is not there yet, for this user alone.
pub(super) fn create(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn write(parent: BorrowedFd<'_>, name: &str, text: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    create(parent, name)?.write_all(text)
}

/// Opens a folder that only this user may enter; refuses one of another user.
fn open_private(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let folder = open_folder(parent, name)?;
    let seen = look::through(&folder)?;
    if seen.owner != rustix::process::geteuid().as_raw() {
        return Err(Errno::ACCESS.into());
    }
    if seen.mode & 0o077 != 0 {
        rustix::fs::fchmod(&folder, PRIVATE)?;
    }
    Ok(folder)
}

#[cfg(target_os = "linux")]
fn born(folder: &File) -> Option<i64> {
    use rustix::fs::StatxFlags;
    let all = rustix::fs::statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let known = StatxFlags::from_bits_retain(all.stx_mask).contains(StatxFlags::BTIME);
    known.then(|| all.stx_btime.tv_sec.saturating_mul(1_000_000_000).saturating_add(all.stx_btime.tv_nsec.into()))
}

/// Returns whether the folder lies on an overlay, as everything in a container's own file system does.
#[cfg(target_os = "linux")]
fn is_overlay(folder: &File) -> bool {
    /// `OVERLAYFS_SUPER_MAGIC` of `linux/magic.h`.
    const OVERLAY: u64 = 0x794c_7630;
    rustix::fs::fstatfs(folder).is_ok_and(|facts| u64::try_from(facts.f_type) == Ok(OVERLAY))
}

#[cfg(not(target_os = "linux"))]
fn is_overlay(_: &File) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn born(folder: &File) -> Option<i64> {
    let created = folder.metadata().ok()?.created().ok()?;
    i64::try_from(created.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos()).ok()
}
