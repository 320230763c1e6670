//! What is at a name: a stat that follows no link, and the hash of a file that held still while it was read.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use protocol::sync::{Content, Expect, Found, Hash, Stamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Bytes read at once; BLAKE3 is at full speed and the buffer stays in the second-level cache.
pub(super) const CHUNK: usize = 256 * 1024;
/// How often a file that changes while it is read is read again.
pub(super) const ATTEMPTS: u32 = 3;
/// How far the change time must lie behind the modification time for a stamp to count on a file system with
/// coarse clocks; FAT counts in steps of 2 s, everything else in less.
const COARSE_NS: i64 = 2_000_000_000;

/// What `lstat` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) stamp: Stamp,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) owner: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Special,
}

impl Seen {
    /// Returns whether this is the same inode with the same bytes. The change time is left out: our own
    /// link and rename move it.
    pub(super) fn is_still(&self, other: &Self) -> bool {
        let key = |seen: &Self| (seen.kind, seen.stamp.size, seen.stamp.mtime_ns, seen.stamp.inode, seen.stamp.device);
        key(self) == key(other)
    }

    /// Returns whether this is the same inode in the same state, as far as the file system can tell.
    pub(super) fn is_unchanged(&self, other: &Self) -> bool {
        self.is_still(other) && self.stamp.ctime_ns == other.stamp.ctime_ns
    }
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    reason = "field types differ by platform"
)]
impl From<Stat> for Seen {
    fn from(stat: Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        let kind = match FileType::from_raw_mode(stat.st_mode.into()) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Special,
        };
        let stamp = Stamp {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(stat.st_mtime.into(), i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime_ns: nanoseconds(stat.st_ctime.into(), i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            inode: u64::try_from(stat.st_ino).unwrap_or(0),
            device: u64::try_from(stat.st_dev).unwrap_or(0),
        };
        Self { kind, stamp, mode: u32::from(stat.st_mode) & 0o7777, owner: stat.st_uid }
    }
}

/// Returns what is at `name`; `None` for nothing.
pub(super) fn at(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<Seen>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns what an open file is.
pub(super) fn through(file: impl AsFd) -> io::Result<Seen> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// Returns the text of a link.
pub(super) fn target(parent: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let text = rustix::fs::readlinkat(parent, name, Vec::new())?;
    Ok(text.into_string().unwrap_or_else(|text| text.into_cstring().to_string_lossy().into_owned()))
}

/// Opens a regular file for reading; never follows a link and never waits for a pipe.
pub(super) fn open(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// Returns the hash of the file at `name` and what the file was before and after it was read.
pub(super) fn hash(parent: BorrowedFd<'_>, name: &str) -> io::Result<(Hash, Seen)> {
    hash_of(&mut open(parent, name)?)
}

/// Returns the hash of an open file that held still while it was read, and leaves it at its end.
pub(super) fn hash_of(file: &mut File) -> io::Result<(Hash, Seen)> {
    let mut before = through(&*file)?;
    if before.kind != Kind::File {
        return Err(io::Error::other("it is no regular file any more"));
    }
    let capacity = usize::try_from(before.stamp.size.saturating_add(1)).unwrap_or(CHUNK).clamp(512, CHUNK);
    let mut buffer = vec![0; capacity];
    for _ in 0..ATTEMPTS {
        io::Seek::rewind(file)?;
        let mut hasher = blake3::Hasher::new();
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => drop(hasher.update(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let after = through(&*file)?;
        if after.is_unchanged(&before) {
            return Ok((Hash(*hasher.finalize().as_bytes()), after));
        }
        before = after;
    }
    Err(io::Error::other("it keeps changing while it is read"))
}

/// Returns the full answer about what is at `name`, which `seen` was about.
pub(super) fn found(parent: BorrowedFd<'_>, name: &str, seen: &Seen) -> io::Result<Found> {
    Ok(match seen.kind {
        Kind::File => {
            let (hash, seen) = hash(parent, name)?;
            found_file(hash, &seen)
        }
        Kind::Folder => Found { content: Content::Folder, stamp: None },
        Kind::Link => Found { content: Content::Link { target: target(parent, name)? }, stamp: None },
        Kind::Special => Found { content: Content::Special, stamp: None },
    })
}

/// Returns the answer about a file that was hashed.
pub(super) fn found_file(hash: Hash, seen: &Seen) -> Found {
    let content = Content::File { hash, size: seen.stamp.size, executable: seen.mode & 0o100 != 0 };
    Found { content, stamp: Some(seen.stamp) }
}

/// How far a file system's stamps can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Two changes one after the other have different change times.
    Fine,
    /// They may have the same.
    Coarse,
}

impl Clock {
    /// Returns whether a stamp taken by us proves that the file at it still has the same bytes.
    pub(super) fn trusts(self, stamp: &Stamp, present: &Stamp) -> bool {
        let equal = (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode)
            == (present.size, present.mtime_ns, present.ctime_ns, present.inode);
        // A write in the tick of the stamp sets the modification time to that tick, which is the change time.
        let quiet = present.ctime_ns.saturating_sub(present.mtime_ns) >= COARSE_NS;
        equal && (self == Self::Fine || quiet)
    }
}

/// Whether a place holds what was expected.
#[derive(Debug)]
pub(super) enum Match {
    /// Yes; this is what is there (`None`: nothing, as expected).
    Yes(Option<Seen>),
    /// No; this is there instead.
    No(Option<(Found, Seen)>),
}

/// Compares what is at `name` with what is expected; reads a file only when its stamp proves nothing.
pub(super) fn compare(parent: BorrowedFd<'_>, name: &str, expect: &Expect, clock: Clock) -> io::Result<Match> {
    let Some(seen) = at(parent, name)? else {
        return Ok(if *expect == Expect::Absent { Match::Yes(None) } else { Match::No(None) });
    };
    match (expect, seen.kind) {
        (Expect::File { stamp: Some(stamp), .. }, Kind::File) if clock.trusts(stamp, &seen.stamp) => {
            return Ok(Match::Yes(Some(seen)));
        }
        (Expect::File { hash: expected, .. }, Kind::File) => {
            let (hash, seen) = hash(parent, name)?;
            let same = hash == *expected;
            return Ok(if same { Match::Yes(Some(seen)) } else { Match::No(Some((found_file(hash, &seen), seen))) });
        }
        (Expect::Folder, Kind::Folder) => return Ok(Match::Yes(Some(seen))),
        (Expect::Link { target: expected }, Kind::Link) if target(parent, name)? == *expected => {
            return Ok(Match::Yes(Some(seen)));
        }
        (Expect::Absent | Expect::File { .. } | Expect::Folder | Expect::Link { .. }, _) => {}
    }
    Ok(Match::No(Some((found(parent, name, &seen)?, seen))))
}
