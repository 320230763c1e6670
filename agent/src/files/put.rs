//! Writing one file: look, receive, check the hash, and only then give it its name.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use protocol::delta::PatchSource;
use protocol::path::RelPath;
use protocol::sync::{Content, Expect, Hash, Outcome, Rejected};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

use super::batch::{Batch, Durability, Halt, changed, changed_to};
use super::body::Body;
use super::look::{self, CHUNK, Kind, Match, Seen};
use super::mode;
use super::place::Replaced;
use super::sparse::Sparse;
use super::temp::Temp;

/// Largest file that is held in memory and checked before the disk is touched.
const SMALL: u64 = 1 << 20;

/// A file to write, as [`protocol::sync::Action::Put`] or `Patch` says.
#[derive(Clone, Copy)]
pub(super) struct Put<'p> {
    pub(super) size: u64,
    pub(super) hash: Option<Hash>,
    pub(super) mode: u32,
    pub(super) mtime_ns: Option<i64>,
    /// What it is put together from; `None` when all its bytes follow.
    pub(super) sources: Option<&'p [PatchSource]>,
}

/// What came of looking at the place of a file.
pub(super) enum Examined {
    /// Nothing is left to do.
    Settled(Outcome),
    /// The file may be written over what is there.
    Ready(Option<Seen>),
}

impl<'a> Batch<'a> {
    /// Writes a file; what is there must be what is expected, before and after its bytes arrived.
    pub(super) fn put(
        &mut self,
        path: &RelPath,
        expect: &Expect,
        put: &Put<'_>,
        body: &mut Body<'_>,
    ) -> Result<Outcome, Halt> {
        let mut parent = self.parent_of(path)?;
        // For a small new file the rename itself finds out whether its place is free.
        let straight = put.size <= SMALL && *expect == Expect::Absent && put.sources.is_none();
        let mut before = None;
        if !straight {
            match self.examine(&parent, path, expect, put)? {
                Examined::Settled(outcome) => return Ok(outcome),
                Examined::Ready(seen) => before = seen,
            }
        }
        let bits = bits_while_made(put, before.as_ref());
        let (temp, file, hash) = if put.size <= SMALL && put.sources.is_none() {
            self.receive_small(put, body, bits)?
        } else {
            let received = match put.sources {
                Some(sources) => self.assemble(path, sources, put.size, before.as_ref(), body, bits)?,
                None => self.receive_large(path, put, body, bits)?,
            };
            // Much time may have passed; what is there now is looked at with fresh eyes.
            self.folders.forget();
            self.sources.forget();
            parent = self.parent_of(path)?;
            received
        };
        self.settle(path, expect, &Put { hash: Some(hash), ..*put }, &parent, before, (temp, &file))
    }

    /// Gives a file that is complete its mode, its time and its name; `put` holds its hash.
    pub(super) fn settle(
        &mut self,
        path: &RelPath,
        expect: &Expect,
        put: &Put<'_>,
        parent: &Arc<File>,
        before: Option<Seen>,
        (mut temp, file): (Temp<'a>, &File),
    ) -> Result<Outcome, Halt> {
        if let Some(bits) = bits_replaced(put, before.as_ref()) {
            rustix::fs::fchmod(file, mode::raw(bits))?;
        }
        if let (None, Some(mtime_ns)) = (&before, put.mtime_ns) {
            rustix::fs::futimens(file, &modified_at(mtime_ns))?;
        }
        if self.durability == Durability::Each {
            file.sync_data()?;
        }
        let made = look::through(file)?;
        match self.place(&mut temp, parent, path, before.as_ref())? {
            Replaced::Done { kept_as } => {
                if put.size > SMALL || put.sources.is_some() {
                    self.root.partials.forget(path);
                }
                self.root.reached(super::Point::Placed);
                // After the rename, since that moves the change time; unless somebody wrote to it by its new name.
                let now = look::through(file)?;
                let stamp = if now.is_still(&made) { now.stamp } else { made.stamp };
                Ok(Outcome::Applied { stamp: Some(stamp), kept_as })
            }
            Replaced::Changed => match self.examine(parent, path, expect, put)? {
                Examined::Settled(outcome) => Ok(outcome),
                // It changed and changed back while we looked: the next pass finds it quiet.
                Examined::Ready(seen) => Err(changed_to(parent, path, seen)?),
            },
        }
    }

    /// Decides whether a file may be written, before its bytes are looked at.
    pub(super) fn examine(
        &mut self,
        parent: &Arc<File>,
        path: &RelPath,
        expect: &Expect,
        put: &Put<'_>,
    ) -> Result<Examined, Halt> {
        let name = path.name();
        let seen = match look::compare(parent.as_fd(), name, expect, self.root.clock)? {
            Match::Yes(None) => return Ok(Examined::Ready(None)),
            Match::No(None) => return Err(changed(None)),
            Match::Yes(Some(seen)) => match expect {
                Expect::File { hash, .. } if Some(*hash) == put.hash => seen,
                Expect::File { .. } | Expect::Link { .. } | Expect::Absent => return Ok(Examined::Ready(Some(seen))),
                Expect::Folder => {
                    return Err(Rejected::Failed { reason: "a folder has to be removed first".into() }.into());
                }
            },
            Match::No(Some((found, seen))) => match found.content {
                Content::File { hash, .. } if Some(hash) == put.hash => seen,
                Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special => {
                    return Err(changed(Some(found)));
                }
            },
        };
        // The bytes are there; the execute bits may not be.
        let present = self.update_mode(parent, name, &seen, put.mode)?.unwrap_or(seen);
        if self.durability == Durability::Each {
            // They may have arrived in a batch that was not durable.
            look::open(parent.as_fd(), name)?.sync_data()?;
            self.touch(parent);
        }
        Ok(Examined::Settled(Outcome::Already { stamp: Some(present.stamp) }))
    }

    fn receive_small(&mut self, put: &Put<'_>, body: &mut Body<'_>, bits: u32) -> Result<(Temp<'a>, File, Hash), Halt> {
        let bytes = at_least(&mut self.buffer, usize::try_from(put.size).unwrap_or(usize::MAX));
        if !body.fill(bytes).map_err(Halt::Lost)? {
            return Err(Rejected::Torn.into());
        }
        let hash = Hash(*blake3::hash(bytes).as_bytes());
        check_hash(put, hash, body)?;
        let root = self.root;
        let (temp, file) = root.workshop.file(bits)?;
        let mut sparse = Sparse::new(&file);
        sparse.write(bytes)?;
        sparse.finish()?;
        Ok((temp, file, hash))
    }

    fn receive_large(
        &mut self,
        path: &RelPath,
        put: &Put<'_>,
        body: &mut Body<'_>,
        bits: u32,
    ) -> Result<(Temp<'a>, File, Hash), Halt> {
        let root = self.root;
        let (mut temp, file) = root.workshop.resumable(bits, path, body.may_resume())?;
        let mut sparse = Sparse::new(&file);
        let mut hasher = blake3::Hasher::new();
        let chunk = at_least(&mut self.buffer, CHUNK);
        loop {
            match body.read(chunk) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&chunk[..count]);
                    sparse.write(&chunk[..count])?;
                }
                Err(error) => {
                    temp.keep(&root.partials);
                    return Err(Halt::Lost(error));
                }
            }
        }
        sparse.finish()?;
        let hash = Hash(*hasher.finalize().as_bytes());
        check_hash(put, hash, body)?;
        Ok((temp, file, hash))
    }
}

/// Returns the bits of a file that takes the place of another one.
fn bits_replaced(put: &Put<'_>, before: Option<&Seen>) -> Option<u32> {
    before.filter(|seen| seen.kind == Kind::File).map(|seen| mode::updated(seen.mode, put.mode))
}

/// Returns the bits of a file in the making. A replaced file's mode is given after the bytes; until then nobody
/// else may read them.
pub(super) fn bits_while_made(put: &Put<'_>, before: Option<&Seen>) -> u32 {
    bits_replaced(put, before).map_or(mode::created(put.mode), |_| 0o600)
}

/// Returns `length` bytes of a buffer that only ever grows, so that it is seldom cleared.
pub(super) fn at_least(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

fn check_hash(put: &Put<'_>, hash: Hash, body: &mut Body<'_>) -> Result<(), Halt> {
    let announced = match put.hash {
        Some(announced) => Some(announced),
        None if body.is_whole() => body.end().map_err(Halt::Lost)?,
        None => None,
    };
    if body.is_whole() && announced == Some(hash) { Ok(()) } else { Err(Rejected::Torn.into()) }
}

fn modified_at(mtime_ns: i64) -> Timestamps {
    let modified = Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified }
}
