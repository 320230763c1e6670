//! Where things come home to: the workspace, written as safely as the remote is.
//!
//! Bytes are staged in `.mltoolbox-pull`, which no watcher and no sync looks at, and get their name in one step. What
//! is here is only replaced when it is what was expected, and is kept first. No link is ever followed. One pull at
//! a time holds the staging folder; the next one goes on with what a killed one has of a long file, and removes the rest.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use protocol::path::RelPath;
use protocol::sync::Stamp;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::sync::actor::report_seconds;
use crate::sync::disk::{changed, folder_of};
use crate::sync::plan::{Held, Local};
use crate::sync::scan::{self, ReadError, Root};

mod keep;
mod stage;

use keep::KEEP_BYTES;
pub(super) use stage::{PART, Staged};

/// The staging folder in the workspace.
const STAGE: &str = ".mltoolbox-pull";
/// Whoever holds its lock is the one that pulls.
const LOCK: &str = "lock";
/// What keeps git from seeing any of it.
const IGNORE: &str = ".gitignore";
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A workspace that things are brought home to. Blocks; callers run it off the runtime. May be used by several
/// threads at once.
#[derive(Debug)]
pub(super) struct Home {
    root: Root,
    stage: OwnedFd,
    device: u64,
    keep: PathBuf,
    /// Whether nobody asked for the pull.
    unasked: bool,
    kept: Mutex<Option<PathBuf>>,
    /// Bytes of what earlier pulls left.
    parts: u64,
    cancel: CancellationToken,
    _lock: File,
}

impl Home {
    /// Opens the workspace; `None` when another pull writes there. `unasked` says that nobody asked for the pull,
    /// `cancel` ends the reading of long files.
    pub(super) fn open(
        workspace: &Path,
        keep: &Path,
        unasked: bool,
        cancel: CancellationToken,
    ) -> io::Result<Option<Self>> {
        let root = Root::open(workspace).map_err(io::Error::other)?;
        let top = root.folder(None)?;
        match rustix::fs::mkdirat(&top, STAGE, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let stage = rustix::fs::openat(&top, STAGE, FOLDER, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = File::from(rustix::fs::openat(&stage, LOCK, flags, Mode::from_raw_mode(0o600))?);
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // A pull that ended in between took the folder with it.
        let still = rustix::fs::statat(&top, STAGE, AtFlags::SYMLINK_NOFOLLOW);
        let held = rustix::fs::fstat(&stage)?;
        if !still.is_ok_and(|still| (still.st_ino, still.st_dev) == (held.st_ino, held.st_dev)) {
            return Ok(None);
        }
        let device = scan::stamp(&held).device;
        let (keep, kept) = (keep.to_owned(), Mutex::default());
        let mut home = Self { root, stage, device, keep, unasked, kept, parts: 0, cancel, _lock: lock };
        home.parts = home.clear()?;
        // Whoever looks at the workspace with git meanwhile sees nothing of it.
        let ignore = rustix::fs::openat(&home.stage, IGNORE, flags, Mode::from_raw_mode(0o600))?;
        File::from(ignore).write_all(b"*\n")?;
        if let Err(error) = keep::prune(&home.keep, report_seconds(), KEEP_BYTES) {
            tracing::info!(%error, "old versions that were kept are left over");
        }
        Ok(Some(home))
    }

    /// Returns the bytes that are free for this user, or taken by what earlier pulls left to go on with.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.stage)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize).saturating_add(self.parts))
    }

    /// Returns the folder in which versions are kept that this pull took away; `None` when it took none.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what is at `path`, with the bytes of a file hashed unless its stamp is `known`'s. Whatever is neither
    /// file nor folder nor link is an error.
    pub(super) fn at(
        &self,
        path: &RelPath,
        known: Option<(&Stamp, protocol::sync::Hash)>,
    ) -> io::Result<Option<Local>> {
        let stat = match self.root.stat(path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(io::Error::other("a folder above it is a link or a file here"));
            }
            Err(error) => return Err(error.into()),
        };
        let mode = scan::mode(&stat);
        let held = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let stamp = scan::stamp(&stat);
                if let Some((_, hash)) = known.filter(|(known, _)| **known == stamp) {
                    let held = Held::File { hash: Some(hash), size: stamp.size };
                    return Ok(Some(Local { held, mode, stamp: Some(stamp) }));
                }
                let seal = self.hash(path)?;
                let held = Held::File { hash: Some(seal.hash), size: seal.size };
                return Ok(Some(Local { held, mode: seal.mode, stamp: seal.stamp }));
            }
            FileType::Directory => Held::Folder,
            FileType::Symlink => {
                let folder = self.root.folder(path.parent().as_ref())?;
                let target = rustix::fs::readlinkat(&folder, path.name(), Vec::new())?;
                let target =
                    target.into_string().map_err(|_| io::Error::other("a link here whose text is not UTF-8"))?;
                Held::Link { target }
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(io::Error::other("a socket, pipe or device stands here")),
        };
        Ok(Some(Local { held, mode, stamp: None }))
    }

    /// Returns whether anything is at `path`.
    pub(super) fn is_there(&self, path: &RelPath) -> io::Result<bool> {
        match self.root.stat(path) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn hash(&self, path: &RelPath) -> io::Result<scan::Seal> {
        let read = self.root.hash(path, &|| !self.cancel.is_cancelled()).map_err(read_error)?;
        read.ok_or_else(|| io::Error::from(io::ErrorKind::Interrupted))
    }

    /// Gives a file that is written its name, provided that `path` holds what is expected; that is kept, unless it came
    /// from there (`keeps`) and nobody asked. A file that is replaced leaves its permission bits, but for the execute
    /// bits. Returns the bits it has now.
    pub(super) fn place(
        &self,
        mut staged: Staged,
        path: &RelPath,
        expected: Option<&Local>,
        keeps: bool,
    ) -> io::Result<u32> {
        if let Some(Local { held: Held::File { .. }, mode, .. }) = expected {
            let is_executable = scan::mode(&rustix::fs::fstat(&staged.file)?) & 0o100 != 0;
            let kept = mode & !0o111;
            let bits = if is_executable { kept | (kept & 0o444) >> 2 } else { kept };
            staged.file.set_permissions(Permissions::from_mode(bits))?;
        }
        // A name that outlives its bytes would be pushed as an edit after a power cut.
        staged.file.sync_all()?;
        let mode = scan::mode(&rustix::fs::fstat(&staged.file)?);
        let folder = folder_of(self.root.path(), path)?;
        self.swap(&folder, path, expected, (&staged.folder, &staged.name), keeps || !self.unasked)?;
        staged.is_placed = true;
        Ok(mode)
    }

    /// Makes a link, provided that `path` holds what is expected.
    pub(super) fn link(&self, path: &RelPath, target: &str, expected: Option<&Local>) -> io::Result<()> {
        let folder = folder_of(self.root.path(), path)?;
        if expected.is_none() {
            return Ok(rustix::fs::symlinkat(target, &folder, path.name())?);
        }
        let name = "link";
        match rustix::fs::unlinkat(&self.stage, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        rustix::fs::symlinkat(target, &self.stage, name)?;
        self.swap(&folder, path, expected, (&self.stage, name), true)
    }

    /// Makes a folder with those above it, and returns its permission bits; one that is there is success.
    pub(super) fn make_folder(&self, path: &RelPath) -> io::Result<u32> {
        let parent = folder_of(self.root.path(), path)?;
        match rustix::fs::mkdirat(&parent, path.name(), Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = rustix::fs::openat(&parent, path.name(), FOLDER, Mode::empty())?;
        Ok(scan::mode(&rustix::fs::fstat(&folder)?))
    }

    /// Takes a file or link away, provided that it is what is expected, and keeps it; removes an empty folder.
    /// Returns `false` for a folder that holds something.
    pub(super) fn remove(&self, path: &RelPath, expected: &Local) -> io::Result<bool> {
        let folder = folder_of(self.root.path(), path)?;
        if expected.held == Held::Folder {
            return match rustix::fs::unlinkat(&folder, path.name(), AtFlags::REMOVEDIR) {
                Ok(()) => Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        let present = self.keep(&folder, path, expected)?;
        if facts(&folder, path.name())? != present {
            return Err(changed());
        }
        rustix::fs::unlinkat(&folder, path.name(), AtFlags::empty())?;
        Ok(true)
    }

    /// Renames `name` of the folder `from` to `path`, provided that this holds what is expected, which is kept if
    /// `keeps`.
    fn swap(
        &self,
        folder: &OwnedFd,
        path: &RelPath,
        expected: Option<&Local>,
        (from, name): (&OwnedFd, &str),
        keeps: bool,
    ) -> io::Result<()> {
        let Some(expected) = expected else {
            return match rustix::fs::linkat(from, name, folder, path.name(), AtFlags::empty()) {
                Ok(()) => Ok(rustix::fs::unlinkat(from, name, AtFlags::empty())?),
                // A file system without hard links.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    let flags = rustix::fs::RenameFlags::NOREPLACE;
                    Ok(rustix::fs::renameat_with(from, name, folder, path.name(), flags)?)
                }
                Err(error) => Err(error.into()),
            };
        };
        let present = if keeps { self.keep(folder, path, expected)? } else { self.is_still(folder, path, expected)? };
        if facts(folder, path.name())? != present {
            return Err(changed());
        }
        Ok(rustix::fs::renameat(from, name, folder, path.name())?)
    }

    /// Returns the facts of the file at `path` when it is what is expected.
    fn is_still(&self, folder: &OwnedFd, path: &RelPath, expected: &Local) -> io::Result<Facts> {
        let Held::File { hash: wanted, .. } = &expected.held else { return self.keep(folder, path, expected) };
        let present = facts(folder, path.name())?;
        if Some(self.hash(path)?.hash) != *wanted {
            return Err(changed());
        }
        Ok(present)
    }

    /// Keeps what is at `path` when it is what is expected, and returns its facts.
    fn keep(&self, folder: &OwnedFd, path: &RelPath, expected: &Local) -> io::Result<Facts> {
        let kept = self.keep_folder()?.join(path.as_str());
        let parent = kept.parent().ok_or_else(changed)?;
        std::fs::create_dir_all(parent)?;
        match &expected.held {
            Held::Folder => Err(io::Error::other("a folder is not replaced")),
            Held::Link { target } => {
                let present = facts(folder, path.name())?;
                if rustix::fs::readlinkat(folder, path.name(), Vec::new())?.to_bytes() != target.as_bytes() {
                    return Err(changed());
                }
                std::os::unix::fs::symlink(target, &kept)?;
                Ok(present)
            }
            Held::File { hash: wanted, .. } => {
                let parent = File::open(parent)?;
                let name = kept.file_name().ok_or_else(changed)?;
                let copied = match rustix::fs::linkat(folder, path.name(), parent.as_fd(), name, AtFlags::empty()) {
                    Ok(()) => false,
                    // Another file system, or one without hard links, or a file of somebody else.
                    Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => true,
                    Err(error) => return Err(error.into()),
                };
                // The second name is a change of the file, too, so it is looked at afterwards.
                let present = facts(folder, path.name())?;
                let seal = if copied { self.copy(path, &kept)? } else { self.hash(path)?.hash };
                if Some(seal) != *wanted {
                    std::fs::remove_file(&kept)?;
                    return Err(changed());
                }
                Ok(present)
            }
        }
    }

    fn copy(&self, path: &RelPath, to: &Path) -> io::Result<protocol::sync::Hash> {
        let mut reader = self.root.reader(path).map_err(read_error)?;
        let mut copy = File::create_new(to)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let length = reader.next(&mut buffer).map_err(read_error)?;
            if length == 0 {
                break;
            }
            copy.write_all(buffer.get(..length).unwrap_or_default())?;
        }
        copy.sync_all()?;
        Ok(reader.finish().map_err(read_error)?.hash)
    }

    fn keep_folder(&self) -> io::Result<PathBuf> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            return Ok(kept.clone());
        }
        let folder = keep::make(&self.keep, report_seconds(), self.unasked)?;
        *kept = Some(folder.clone());
        Ok(folder)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let cleared = self.clear().and_then(|parts| {
            if parts > 0 {
                return Ok(());
            }
            for name in [IGNORE, LOCK] {
                rustix::fs::unlinkat(&self.stage, name, AtFlags::empty())?;
            }
            let top = self.root.folder(None)?;
            Ok(rustix::fs::unlinkat(&top, STAGE, AtFlags::REMOVEDIR)?)
        });
        if let Err(error) = cleared {
            tracing::info!(%error, "the staging folder of a pull is left over");
        }
    }
}

/// What tells one state of a name from another.
type Facts = (u64, u64, i64, i64, u64);

fn facts(folder: &OwnedFd, name: &str) -> io::Result<Facts> {
    let stamp = scan::stamp(&rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?);
    Ok((stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.device))
}

fn read_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Gone(_) | ReadError::NotAFile(_) | ReadError::TooLong { .. } | ReadError::Changed(_) => changed(),
        ReadError::Failed { source, .. } => source,
    }
}

#[cfg(test)]
mod tests;
