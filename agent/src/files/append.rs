//! Adding to the end of a file in place, for the files that a person named as logs.
//!
//! The bytes are checked before the file is touched; never writes anywhere but at the end that was expected.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use protocol::delta::MAX_APPEND;
use protocol::path::RelPath;
use protocol::sync::{Content, Expect, Hash, Outcome, Rejected};
use rustix::fs::{Mode, OFlags};

use super::batch::{Batch, Durability, Halt, changed, changed_to};
use super::body::Body;
use super::look::{self, Kind, Match};

/// What to add, as [`protocol::sync::Action::Append`] says.
#[derive(Clone, Copy)]
pub(super) struct Append {
    pub(super) length: u64,
    pub(super) size: u64,
    pub(super) tail: Hash,
    pub(super) hash: Hash,
    pub(super) mode: u32,
}

impl Batch<'_> {
    /// Adds bytes to the end of the file that is expected.
    pub(super) fn append(
        &mut self,
        path: &RelPath,
        expect: &Expect,
        append: Append,
        body: &mut Body<'_>,
    ) -> Result<Outcome, Halt> {
        if append.size > MAX_APPEND {
            return Err(Rejected::Failed { reason: "it is too long to be added at once".into() }.into());
        }
        let size = usize::try_from(append.size).expect("an addition is at most 16 MiB");
        let bytes = super::put::at_least(&mut self.buffer, size);
        if !body.fill(bytes).map_err(Halt::Lost)? || Hash(*blake3::hash(bytes).as_bytes()) != append.tail {
            return Err(Rejected::Torn.into());
        }
        let (parent, name) = (self.parent_of(path)?, path.name());
        let seen = match look::compare(parent.as_fd(), name, expect, self.root.clock)? {
            Match::Yes(Some(seen)) if seen.kind == Kind::File && seen.stamp.size == append.length => seen,
            Match::Yes(seen) => return Err(changed_to(&parent, path, seen)?),
            Match::No(Some((found, seen))) => match found.content {
                Content::File { hash, .. } if hash == append.hash => {
                    return Ok(Outcome::Already { stamp: Some(seen.stamp) });
                }
                Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special => {
                    return Err(changed(Some(found)));
                }
            },
            Match::No(None) => return Err(changed(None)),
        };
        self.root.reached(super::Point::Checked);
        let mut file = open_end(parent.as_fd(), name)?;
        let open = look::through(&file)?;
        if !open.is_still(&seen) {
            return Err(changed_to(&parent, path, Some(open))?);
        }
        let (written, result) = write_counted(&mut file, &self.buffer[..size]);
        if let Err(error) = result {
            take_back(&file, append.length, written)?;
            return Err(error.into());
        }
        let mut now = look::through(&file)?;
        if now.stamp.size != append.length + append.size {
            // Somebody else wrote at the end, too: both are there, and which is whose a person has to see.
            return Err(changed_to(&parent, path, Some(now))?);
        }
        if self.durability == Durability::Each {
            file.sync_data()?;
        }
        if let Some(seen) = self.update_mode(&parent, name, &now, append.mode)? {
            now = seen;
        }
        Ok(Outcome::Applied { stamp: Some(now.stamp), kept_as: None })
    }
}

/// Writes all of `bytes` and returns how many of them went, also when it fails.
fn write_counted(file: &mut File, bytes: &[u8]) -> (u64, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written as u64, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written as u64, Err(error)),
        }
    }
    (written as u64, Ok(()))
}

/// Removes the part of an addition that did fit, unless somebody else wrote at the end, too.
fn take_back(file: &File, length: u64, written: u64) -> io::Result<()> {
    if written > 0 && look::through(file)?.stamp.size == length + written {
        rustix::fs::ftruncate(file, length)?;
    }
    Ok(())
}

fn open_end(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_by_us_is_taken_back() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"base").expect("a file");
        take_back(&file, 4, 0).expect("nothing was written");
        file.write_all(b"half").expect("a file");
        take_back(&file, 4, 4).expect("it can be cut");
        assert_eq!(look::through(&file).expect("a stat").stamp.size, 4);
        // Somebody else wrote behind it.
        file.set_len(13).expect("a file");
        take_back(&file, 4, 4).expect("nothing is done");
        assert_eq!(look::through(&file).expect("a stat").stamp.size, 13);
    }
}
