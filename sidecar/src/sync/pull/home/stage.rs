//! Files in the making, and the parts of long ones that a later pull goes on with. Nothing in a part is believed: what
//! is made of it counts only when its hash is that of the file on the remote.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use protocol::path::RelPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Home, IGNORE, LOCK};
use crate::sync::actor::report_seconds;
use crate::sync::disk::folder_of;
use crate::sync::scan;
use crate::sync::target::Before;

/// What the names of files begin with that a later pull can go on with.
const PART_PREFIX: &str = "part-";
/// Least length of such a file: a shorter one is read again in less time than it takes to ask.
pub(in crate::sync::pull) const PART: u64 = 1024 * 1024;
/// How long they are kept, as long as the agent keeps those of the other direction.
const PART_FOR: Duration = Duration::from_hours(7 * 24);

/// A file in the making. It is removed when dropped before it has its name, unless a later pull can go on with it.
#[derive(Debug)]
pub(in crate::sync::pull) struct Staged {
    pub(super) folder: OwnedFd,
    pub(super) name: String,
    pub(super) file: File,
    is_part: bool,
    pub(super) is_placed: bool,
}

impl Staged {
    /// Returns the file to write to.
    pub(in crate::sync::pull) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Empties it: what came so far is of no use.
    pub(in crate::sync::pull) fn begin_anew(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let is_worth = || self.file.metadata().is_ok_and(|facts| facts.len() >= PART);
        let stays = self.is_placed || self.is_part && is_worth();
        if !stays && let Err(error) = rustix::fs::unlinkat(&self.folder, self.name.as_str(), AtFlags::empty()) {
            tracing::warn!(%error, name = self.name, "a file in the making is left over");
        }
    }
}

impl Home {
    /// Removes what is in the staging folder but for parts that are not old, the lock, and what hides them from git.
    /// Returns how many bytes the parts are.
    pub(super) fn clear(&self) -> io::Result<u64> {
        let mut parts = 0_u64;
        let oldest = report_seconds().saturating_sub(i64::try_from(PART_FOR.as_secs()).unwrap_or(i64::MAX));
        for entry in rustix::fs::Dir::read_from(&self.stage)? {
            let entry = entry?;
            let name = entry.file_name();
            if [".", "..", LOCK, IGNORE].iter().any(|left| name.to_bytes() == left.as_bytes()) {
                continue;
            }
            if name.to_bytes().starts_with(PART_PREFIX.as_bytes()) {
                let seen = rustix::fs::statat(&self.stage, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let stamp = scan::stamp(&seen);
                let is_fresh = stamp.mtime_ns / 1_000_000_000 >= oldest;
                if is_fresh && stamp.size >= PART && FileType::from_raw_mode(seen.st_mode) == FileType::RegularFile {
                    parts = parts.saturating_add(stamp.size);
                    continue;
                }
            }
            rustix::fs::unlinkat(&self.stage, name, AtFlags::empty())?;
        }
        Ok(parts)
    }

    /// Opens a file in the making for `path`, with these permission bits as far as the umask lets them be; its
    /// owner may always read and write it.
    pub(in crate::sync::pull) fn stage(&self, path: &RelPath, mode: u32) -> io::Result<Staged> {
        let folder = folder_of(self.root.path(), path)?;
        let unique = tempfile::Builder::new().rand_bytes(12).prefix("").make(|path| Ok(path.to_owned()))?;
        let unique = unique.path().file_name().and_then(|name| name.to_str()).unwrap_or("new").to_owned();
        // Where another file system is mounted in the workspace, only beside its place can it be given its name.
        let is_near = scan::stamp(&rustix::fs::fstat(&folder)?).device == self.device;
        let (folder, name) =
            if is_near { (self.stage.try_clone()?, unique) } else { (folder, format!(".mltoolbox-{unique}")) };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let bits = Mode::from_raw_mode(mode & 0o777 | 0o600);
        let file = File::from(rustix::fs::openat(&folder, name.as_str(), flags, bits)?);
        Ok(Staged { folder, name, file, is_part: false, is_placed: false })
    }

    /// Does what [`Self::stage`] does for a file that is long enough for a later pull to go on with it, and returns what
    /// an earlier one left of it. Reads that.
    pub(in crate::sync::pull) fn stage_part(&self, path: &RelPath, mode: u32) -> io::Result<(Staged, Before)> {
        let folder = folder_of(self.root.path(), path)?;
        if scan::stamp(&rustix::fs::fstat(&folder)?).device != self.device {
            return Ok((self.stage(path, mode)?, Before::default()));
        }
        let name = format!("{PART_PREFIX}{}", &blake3::hash(path.as_str().as_bytes()).to_hex()[..32]);
        let folder = self.stage.try_clone()?;
        let bits = mode & 0o777 | 0o600;
        let open = |flags| {
            let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            rustix::fs::openat(&folder, name.as_str(), flags, Mode::from_raw_mode(bits)).map(File::from)
        };
        let old = match open(OFlags::empty()) {
            Ok(file) => {
                let seen = rustix::fs::fstat(&file)?;
                let is_usable = FileType::from_raw_mode(seen.st_mode) == FileType::RegularFile
                    && seen.st_nlink == 1
                    && (scan::mode(&seen) ^ bits) & 0o100 == 0;
                Some(file).filter(|_| is_usable)
            }
            // Or something that is none of ours, which makes room.
            Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::NXIO) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(mut file) = old {
            let before = self.before(&mut file)?;
            return Ok((Staged { folder, name, file, is_part: true, is_placed: false }, before));
        }
        match rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let file = open(OFlags::CREATE | OFlags::EXCL)?;
        Ok((Staged { folder, name, file, is_part: true, is_placed: false }, Before::default()))
    }

    /// Reads a file to its end.
    fn before(&self, file: &mut File) -> io::Result<Before> {
        let mut before = Before::default();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match file.read(&mut buffer) {
                Ok(0) => return Ok(before),
                Ok(count) => {
                    before.hasher.update(buffer.get(..count).unwrap_or_default());
                    before.length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
