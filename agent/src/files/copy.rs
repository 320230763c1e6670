//! Writing a file with the bytes of another one: they are hashed while they are copied, and only the expected
//! ones get a name.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use protocol::path::RelPath;
use protocol::sync::{Expect, Hash, Outcome};

use super::batch::{Batch, Halt};
use super::body::Body;
use super::look::{self, CHUNK, Kind};
use super::put::{Examined, Put, at_least, bits_while_made};
use super::relocate::not_as_expected;
use super::sparse::Sparse;

/// What to copy, as [`protocol::sync::Action::Copy`] says.
pub(super) struct Copy<'a> {
    pub(super) from: &'a RelPath,
    pub(super) source: &'a Expect,
    pub(super) mode: u32,
    pub(super) mtime_ns: Option<i64>,
}

impl Batch<'_> {
    /// Writes a file with the bytes of another one; both places must hold what is expected.
    pub(super) fn copy(
        &mut self,
        path: &RelPath,
        expect: &Expect,
        copy: &Copy<'_>,
        body: &mut Body<'_>,
    ) -> Result<Outcome, Halt> {
        let Expect::File { hash: wanted, .. } = copy.source else { return Err(not_as_expected(copy.from)) };
        let parent = self.parent_of(path)?;
        let mut put = Put { size: 0, hash: Some(*wanted), mode: copy.mode, mtime_ns: copy.mtime_ns, sources: None };
        let before = match self.examine(&parent, path, expect, &put)? {
            Examined::Settled(outcome) => return Ok(outcome),
            Examined::Ready(seen) => seen,
        };
        let old = self.sources.parent_of(copy.from).map_err(|stop| stop.rejected(copy.from))?;
        let original = look::open(old.as_fd(), copy.from.name())?;
        let seen = look::through(&original)?;
        if seen.kind != Kind::File {
            return Err(not_as_expected(copy.from));
        }
        put.size = seen.stamp.size;
        let (temp, file) = self.root.workshop.file(bits_while_made(&put, before.as_ref()))?;
        let hash = if is_cloned(&original, &file) {
            self.duplicate(&file, None, put.size, body)?
        } else {
            self.duplicate(&original, Some(Sparse::new(&file)), put.size, body)?
        };
        if hash != *wanted || look::through(&file)?.stamp.size != put.size {
            return Err(not_as_expected(copy.from));
        }
        // Much time may have passed; what is there now is looked at with fresh eyes.
        self.folders.forget();
        self.sources.forget();
        let parent = self.parent_of(path)?;
        self.settle(path, expect, &put, &parent, before, (temp, &file))
    }

    /// Copies at most `size` bytes and returns their hash; a file that grows meanwhile is another one anyway.
    fn duplicate(
        &mut self,
        from: &File,
        mut to: Option<Sparse<'_>>,
        size: u64,
        body: &mut Body<'_>,
    ) -> Result<Hash, Halt> {
        let mut hasher = blake3::Hasher::new();
        let chunk = at_least(&mut self.buffer, CHUNK);
        let mut from = from.take(size);
        loop {
            body.go_on().map_err(Halt::Lost)?;
            match from.read(chunk) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&chunk[..count]);
                    if let Some(to) = &mut to {
                        to.write(&chunk[..count])?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(to) = to {
            to.finish()?;
        }
        Ok(Hash(*hasher.finalize().as_bytes()))
    }
}

/// Lets both share their blocks where the file system can (btrfs, XFS), and returns whether they do.
#[cfg(target_os = "linux")]
fn is_cloned(original: &File, file: &File) -> bool {
    rustix::fs::ioctl_ficlone(file, original).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_cloned(_: &File, _: &File) -> bool {
    false
}
