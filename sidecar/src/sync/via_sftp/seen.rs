//! What SFTP says of a path, and how far that can be believed. Pure.
//!
//! Protocol 3 tells length and modification time in whole seconds, and neither inode nor change time.

use protocol::sync::Stamp;
use russh_sftp::protocol::FileAttributes;

use super::wire::Fault;

const SECOND: i64 = 1_000_000_000;
/// How long a file must have been quiet when it was looked at for its stamp to say anything about its bytes: two
/// changes within one second have the same time, and FAT counts in steps of 2 s.
const QUIET: i64 = 2 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Special,
}

/// What `lstat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) size: u64,
    /// Seconds since the Unix epoch.
    pub(super) mtime: i64,
    /// Permission bits with the special ones.
    pub(super) mode: u32,
    pub(super) owner: Option<u32>,
}

impl Seen {
    /// Reads a server's attributes; without a kind, a length and a time nothing can be decided.
    pub(super) fn of(attributes: &FileAttributes) -> Result<Self, Fault> {
        let mode = attributes.permissions.ok_or(Fault::Nonsense("it does not say what a path is"))?;
        // `S_IFMT` and its values are the same on every system that has them.
        let kind = match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            _ => Kind::Special,
        };
        let (size, mtime) = match (kind, attributes.size, attributes.mtime) {
            (Kind::File, Some(size), Some(mtime)) => (size, mtime),
            (Kind::File, ..) => return Err(Fault::Nonsense("it does not say how long and how old a file is")),
            (_, size, mtime) => (size.unwrap_or(0), mtime.unwrap_or(0)),
        };
        Ok(Self { kind, size, mtime: i64::from(mtime), mode: mode & 0o7777, owner: attributes.uid })
    }

    /// Returns whether this is the same version of the same file, as far as can be told.
    pub(super) fn is_still(&self, other: &Self) -> bool {
        (self.kind, self.size, self.mtime) == (other.kind, other.size, other.mtime)
    }

    /// Returns the stamp of a file whose bytes were known at the server's time `now`, in nanoseconds. That time
    /// stands in place of the change time, which SFTP does not tell; inode and device are 0, so that no agent takes
    /// it for one of its own.
    pub(super) fn stamp(&self, now: i64) -> Stamp {
        Stamp { size: self.size, mtime_ns: self.mtime.saturating_mul(SECOND), ctime_ns: now, inode: 0, device: 0 }
    }
}

/// Returns whether a stamp proves that what is seen now still has the same bytes.
pub(super) fn trusts(stamp: &Stamp, present: &Seen) -> bool {
    is_quiet(stamp)
        && (stamp.size, stamp.mtime_ns.div_euclid(SECOND)) == (present.size, present.mtime)
        && present.kind == Kind::File
}

/// Returns whether a file had been left alone for long enough when it was stamped. An agent's stamp holds the time of
/// its own rename, which serves as well.
pub(super) fn is_quiet(stamp: &Stamp) -> bool {
    stamp.ctime_ns.saturating_sub(stamp.mtime_ns) >= QUIET
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(size: u64, mtime: i64) -> Seen {
        Seen { kind: Kind::File, size, mtime, mode: 0o644, owner: None }
    }

    #[test]
    fn a_stamp_counts_only_when_its_file_was_quiet() {
        let file = seen(5, 100);
        for (now, trusted) in [(99, false), (100, false), (101, false), (102, true), (1_000, true)] {
            assert_eq!(trusts(&file.stamp(now * SECOND), &file), trusted, "{now}");
        }
        let stamp = file.stamp(1_000 * SECOND);
        for other in [seen(6, 100), seen(5, 101), seen(5, 99), Seen { kind: Kind::Link, ..file }] {
            assert!(!trusts(&stamp, &other), "{other:?}");
        }
        // Parts of a second of an agent's stamp do not count.
        assert!(trusts(&Stamp { mtime_ns: 100 * SECOND + 7, ..stamp }, &file));
    }

    #[test]
    fn a_server_that_says_nothing_is_not_believed() {
        let file = FileAttributes { permissions: Some(0o100_644), ..FileAttributes::empty() };
        assert!(Seen::of(&FileAttributes::empty()).is_err() && Seen::of(&file).is_err());
        let whole = FileAttributes { size: Some(u64::MAX), mtime: Some(u32::MAX), ..file };
        let stamp = Seen::of(&whole).expect("strange but possible").stamp(i64::MIN);
        assert!(!is_quiet(&stamp));
        let pipe = FileAttributes { permissions: Some(0o010_644), ..FileAttributes::empty() };
        assert_eq!(Seen::of(&pipe).map(|seen| seen.kind), Ok(Kind::Special));
    }
}
