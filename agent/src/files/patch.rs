//! Writing a file from pieces: what is here is copied and hashed again, what is not arrives.
//!
//! No source is changed, and nothing gets a name whose hash is not the announced one.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use protocol::delta::{MAX_DATA, MAX_SOURCES, PatchSource};
use protocol::path::RelPath;
use protocol::sync::{Hash, Rejected};

use super::batch::{Batch, Halt, changed_to};
use super::body::Body;
use super::look::{self, CHUNK, Kind, Match, Seen};
use super::sparse::Sparse;
use super::temp::Temp;
use crate::delta::{COPY, COPY_HEAD, DATA, DATA_HEAD};

/// Bytes that records may take beyond the bytes of the file: as many again, and some for a short file.
const OVERHEAD: u64 = 1024 * 1024;

/// A file that pieces are copied from.
struct Source {
    file: File,
    size: u64,
    is_partial: bool,
}

/// A file that is put together.
struct Assembly<'a, 'b> {
    sources: &'b [Source],
    file: Sparse<'b>,
    buffer: &'b mut [u8],
    hasher: blake3::Hasher,
    /// Bytes that are still to come.
    left: u64,
    temp: &'b mut Temp<'a>,
}

impl<'a> Batch<'a> {
    /// Puts a file of `size` bytes together in the workshop; `before` is what is at `path` now.
    pub(super) fn assemble(
        &mut self,
        path: &RelPath,
        sources: &[PatchSource],
        size: u64,
        before: Option<&Seen>,
        body: &mut Body<'_>,
        bits: u32,
    ) -> Result<(Temp<'a>, File, Hash), Halt> {
        body.begin(size.saturating_mul(2).saturating_add(OVERHEAD));
        let sources = self.sources(path, sources, before)?;
        let root = self.root;
        let (mut temp, file) = root.workshop.resumable(bits, path, body.may_resume())?;
        let mut assembly = Assembly {
            sources: &sources,
            file: Sparse::new(&file),
            buffer: super::put::at_least(&mut self.buffer, CHUNK),
            hasher: blake3::Hasher::new(),
            left: size,
            temp: &mut temp,
        };
        let received = assembly.run(body).and_then(|()| {
            assembly.file.finish()?;
            let hash = Hash(*assembly.hasher.finalize().as_bytes());
            let announced = if body.is_whole() { None } else { body.end().map_err(Halt::Lost)? };
            if announced == Some(hash) { Ok(hash) } else { Err(Rejected::Torn.into()) }
        });
        match received {
            Ok(hash) => Ok((temp, file, hash)),
            Err(Halt::Lost(error)) => {
                temp.keep(&root.partials);
                Err(Halt::Lost(error))
            }
            Err(other) => Err(other),
        }
    }

    /// Opens what pieces are copied from. One that is not what it should be makes the patch useless.
    fn sources(&mut self, path: &RelPath, named: &[PatchSource], before: Option<&Seen>) -> Result<Vec<Source>, Halt> {
        if named.len() > MAX_SOURCES {
            return Err(Rejected::Failed { reason: "a patch has too many sources".into() }.into());
        }
        let mut sources = Vec::with_capacity(named.len());
        for source in named {
            let (file, is_partial) = match source {
                PatchSource::Present => {
                    let Some(before) = before.filter(|before| before.kind == Kind::File) else {
                        return Err(Rejected::Torn.into());
                    };
                    let parent = self.parent_of(path)?;
                    let file = look::open(parent.as_fd(), path.name())?;
                    let seen = look::through(&file)?;
                    if !seen.is_still(before) {
                        return Err(changed_to(&parent, path, Some(seen))?);
                    }
                    (file, false)
                }
                PatchSource::File { path, expect } => {
                    let parent = self.parent_of(path)?;
                    let Match::Yes(Some(seen)) = look::compare(parent.as_fd(), path.name(), expect, self.root.clock)?
                    else {
                        return Err(Rejected::Torn.into());
                    };
                    if seen.kind != Kind::File {
                        return Err(Rejected::Torn.into());
                    }
                    let file = look::open(parent.as_fd(), path.name())?;
                    if !look::through(&file)?.is_still(&seen) {
                        return Err(Rejected::Torn.into());
                    }
                    (file, false)
                }
                PatchSource::Partial => (self.root.partials.file(path)?.ok_or(Rejected::Torn)?, true),
            };
            let size = look::through(&file)?.stamp.size;
            sources.push(Source { file, size, is_partial });
        }
        Ok(sources)
    }
}

impl Assembly<'_, '_> {
    /// Takes records until the stream ends.
    fn run(&mut self, body: &mut Body<'_>) -> Result<(), Halt> {
        loop {
            let mut kind = [0];
            if body.read(&mut kind).map_err(Halt::Lost)? == 0 {
                return if self.left == 0 { Ok(()) } else { Err(Rejected::Torn.into()) };
            }
            match kind {
                [DATA] => {
                    let length = u32::from_le_bytes(head::<DATA_HEAD>(body)?);
                    self.data(length, body)?;
                }
                [COPY] => {
                    let [source, rest @ ..] = head::<COPY_HEAD>(body)?;
                    let (offset, length) = rest.split_at(8);
                    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                    self.copy(source, number(offset), number(length), body)?;
                }
                [_] => return Err(nonsense()),
            }
        }
    }

    fn data(&mut self, length: u32, body: &mut Body<'_>) -> Result<(), Halt> {
        let mut rest = length as usize;
        if rest == 0 || rest > MAX_DATA {
            return Err(nonsense());
        }
        self.take(u64::from(length))?;
        while rest > 0 {
            let place = rest.min(self.buffer.len());
            let count = body.read(&mut self.buffer[..place]).map_err(Halt::Lost)?;
            if count == 0 {
                return Err(Rejected::Torn.into());
            }
            self.write(count)?;
            rest -= count;
        }
        Ok(())
    }

    fn copy(&mut self, source: u8, offset: u64, length: u64, body: &Body<'_>) -> Result<(), Halt> {
        let source = self.sources.get(usize::from(source)).ok_or_else(nonsense)?;
        if length == 0 || offset.checked_add(length).is_none_or(|end| end > source.size) {
            return Err(nonsense());
        }
        self.take(length)?;
        self.temp.continued |= source.is_partial;
        let (mut offset, mut rest) = (offset, length);
        while rest > 0 {
            // Nothing is read from the link meanwhile, so nothing else would notice its end.
            body.go_on().map_err(Halt::Lost)?;
            let place = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match source.file.read_at(&mut self.buffer[..place], offset) {
                Ok(0) => return Err(Rejected::Torn.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.write(count)?;
            offset += count as u64;
            rest -= count as u64;
        }
        Ok(())
    }

    /// Counts bytes of the result; more than were announced are refused before they are read.
    fn take(&mut self, length: u64) -> Result<(), Halt> {
        self.left = self.left.checked_sub(length).ok_or_else(nonsense)?;
        Ok(())
    }

    fn write(&mut self, count: usize) -> Result<(), Halt> {
        let bytes = &self.buffer[..count];
        self.hasher.update(bytes);
        Ok(self.file.write(bytes)?)
    }
}

fn head<const LENGTH: usize>(body: &mut Body<'_>) -> Result<[u8; LENGTH], Halt> {
    let mut bytes = [0; LENGTH];
    if body.fill(&mut bytes).map_err(Halt::Lost)? { Ok(bytes) } else { Err(Rejected::Torn.into()) }
}

/// A record that no sidecar of ours sends.
fn nonsense() -> Halt {
    Rejected::Failed { reason: "the patch makes no sense".into() }.into()
}
