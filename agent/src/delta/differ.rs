//! Finds in a new file what is known of old ones, reading the new one once.
//!
//! As long as the old chunks follow one another, each costs one hash. Where one does not, the file is cut by
//! content until a cut meets a known chunk, or until the rest of the old file begins: it is looked for where it
//! would be if everything that differs lay before it, which also finds it where the content gives no cuts.

use std::io;
use std::ops::Range;

use protocol::delta::Chunk;
use protocol::sync::Hash;

use super::chunks::{ChunkList, LONGEST, cut, hash};
use super::records::Record;

/// Bytes of the new file that are held at a time: a chunk to cut, and behind it one of the old file's rest.
const WINDOW: usize = 3 * LONGEST;

/// Longest run that one COPY tells, so that the other side begins while this one still reads.
const LONGEST_RUN: u64 = 8 * 1024 * 1024;

/// A chunk that can be copied.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: u8,
    offset: u64,
    chunk: Chunk,
}

/// What the other side holds.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    places: Vec<Place>,
    /// Indexes of `places` in the order of their hashes.
    by_hash: Vec<u32>,
    /// The old version as a whole, whose end may be the new one's.
    whole: Range<usize>,
    sources: u8,
}

impl Basis {
    /// Adds a source; they are numbered in the order in which they are added. `whole` says that it is the old
    /// version of the file, and not a beginning of the new one.
    pub fn add(&mut self, list: &ChunkList, whole: bool) {
        let first = self.places.len();
        let mut offset = 0;
        for &chunk in list.chunks() {
            self.places.push(Place { source: self.sources, offset, chunk });
            offset += u64::from(chunk.length);
        }
        self.sources += 1;
        if whole {
            self.whole = first..self.places.len();
        }
        let places = &self.places;
        self.by_hash = (0..u32::try_from(places.len()).expect("lists are bounded")).collect();
        self.by_hash.sort_by_key(|&index| places[index as usize].chunk.hash);
    }

    fn find(&self, hash: Hash, length: usize) -> Option<usize> {
        let places = &self.places;
        let at = self.by_hash.binary_search_by_key(&hash, |&index| places[index as usize].chunk.hash).ok()?;
        let index = *self.by_hash.get(at)? as usize;
        (places[index].chunk.length as usize == length).then_some(index)
    }

    /// Returns the chunk that follows in the same source.
    fn after(&self, index: usize) -> Option<usize> {
        let (place, next) = (self.places.get(index)?, self.places.get(index + 1)?);
        (place.source == next.source).then_some(index + 1)
    }

    /// Returns the first chunks of the sources.
    fn firsts(&self) -> impl Iterator<Item = usize> {
        self.places.iter().enumerate().filter(|(_, place)| place.offset == 0).map(|(index, _)| index)
    }

    fn is(&self, index: usize, bytes: &[u8]) -> bool {
        self.places.get(index).is_some_and(|place| {
            bytes.get(..place.chunk.length as usize).is_some_and(|bytes| hash(bytes) == place.chunk.hash)
        })
    }
}

/// Tells a file of `size` bytes, which `read` gives, as records to `emit`, and returns its chunks. A `size` that
/// is not the file's costs matches and nothing else. Blocks; memory is bounded by the lists.
pub fn differ(
    size: u64,
    basis: &Basis,
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    emit: &mut dyn FnMut(Record<'_>) -> io::Result<()>,
) -> io::Result<ChunkList> {
    let mut differ = Differ {
        basis,
        rest: Rest::new(basis, size),
        window: Window { read, buffer: vec![0; WINDOW], start: 0, end: 0, ended: false },
        position: 0,
        run: None,
        emit,
        list: ChunkList::default(),
    };
    let mut expected: Option<usize> = None;
    let mut begun = false;
    while !differ.window.fill(LONGEST)?.is_empty() {
        let bytes = differ.window.bytes();
        let known = match expected {
            Some(index) => basis.is(index, bytes).then_some(index),
            None if begun => None,
            None => basis.firsts().find(|&index| basis.is(index, bytes)),
        };
        begun = true;
        let failed = if known.is_none() { expected } else { None };
        expected = match known {
            Some(index) => differ.copy(index)?,
            None => differ.step(failed)?,
        };
    }
    differ.end_run()?;
    Ok(differ.list)
}

/// Where the rest of the old file would begin again.
struct Rest {
    /// Chunks of the old version that may still come, in order.
    chunks: Range<usize>,
    /// How much farther back everything is in the new version.
    shift: i128,
}

impl Rest {
    fn new(basis: &Basis, size: u64) -> Self {
        let old: u64 = basis
            .places
            .get(basis.whole.clone())
            .map_or(0, |places| places.iter().map(|place| u64::from(place.chunk.length)).sum());
        Self { chunks: basis.whole.clone(), shift: i128::from(size) - i128::from(old) }
    }
}

struct Differ<'a> {
    basis: &'a Basis,
    rest: Rest,
    window: Window<'a>,
    /// Where the window begins in the new file.
    position: u64,
    /// A COPY that may still grow.
    run: Option<(u8, u64, u64)>,
    emit: &'a mut dyn FnMut(Record<'_>) -> io::Result<()>,
    list: ChunkList,
}

impl Differ<'_> {
    /// Tells one chunk of what is not known to follow; returns the chunk that is expected next. `failed` is
    /// known not to be here.
    fn step(&mut self, failed: Option<usize>) -> io::Result<Option<usize>> {
        let bytes = self.window.bytes();
        let length = cut(bytes.get(..LONGEST).unwrap_or(bytes));
        let found = hash(&bytes[..length]);
        if let Some(index) = self.basis.find(found, length) {
            return self.copy(index);
        }
        if let Some((distance, index)) = self.old_rest(length, failed)? {
            if distance > 0 {
                let fragment = hash(&self.window.bytes()[..distance]);
                self.data(distance, fragment)?;
            }
            return self.copy(index);
        }
        self.data(length, found)?;
        Ok(None)
    }

    /// Returns how many bytes lie before the rest of the old file, and with which chunk that begins, when it
    /// begins within the next `length` bytes.
    fn old_rest(&mut self, length: usize, failed: Option<usize>) -> io::Result<Option<(usize, usize)>> {
        while let Some(place) = self.rest.chunks.clone().next().and_then(|index| self.basis.places.get(index)) {
            let index = self.rest.chunks.start;
            let Ok(distance) = usize::try_from(i128::from(place.offset) + self.rest.shift - i128::from(self.position))
            else {
                // It would have begun before here.
                self.rest.chunks.start += 1;
                continue;
            };
            if distance >= length {
                return Ok(None);
            }
            self.rest.chunks.start += 1;
            if failed == Some(index) {
                continue;
            }
            let bytes = self.window.fill(distance + place.chunk.length as usize)?;
            if bytes.get(distance..).is_some_and(|bytes| self.basis.is(index, bytes)) {
                return Ok(Some((distance, index)));
            }
        }
        Ok(None)
    }

    /// Tells the first bytes of the window as a known chunk; returns the one that is expected next.
    fn copy(&mut self, index: usize) -> io::Result<Option<usize>> {
        let Place { source, offset, chunk } = self.basis.places[index];
        let length = u64::from(chunk.length);
        match &mut self.run {
            Some((from, start, run)) if *from == source && *start + *run == offset && *run < LONGEST_RUN => {
                *run += length;
            }
            _ => {
                self.end_run()?;
                self.run = Some((source, offset, length));
            }
        }
        self.advance(chunk.length as usize, chunk.hash);
        Ok(self.basis.after(index))
    }

    /// Tells the first `length` bytes of the window as they are.
    fn data(&mut self, length: usize, hash: Hash) -> io::Result<()> {
        self.end_run()?;
        (self.emit)(Record::Data(&self.window.bytes()[..length]))?;
        self.advance(length, hash);
        Ok(())
    }

    fn advance(&mut self, length: usize, hash: Hash) {
        self.window.start += length;
        self.position += length as u64;
        self.list.push(length, hash);
    }

    fn end_run(&mut self) -> io::Result<()> {
        match self.run.take() {
            Some((source, offset, length)) => (self.emit)(Record::Copy { source, offset, length }),
            None => Ok(()),
        }
    }
}

/// The part of the new file that is held.
struct Window<'a> {
    read: &'a mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Window<'_> {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until `wanted` bytes are held or the file ends; returns what is held.
    fn fill(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.end - self.start < wanted && !self.ended {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            while !self.ended && self.end < self.buffer.len() {
                match (self.read)(&mut self.buffer[self.end..])? {
                    0 => self.ended = true,
                    count => self.end += count,
                }
            }
        }
        Ok(self.bytes())
    }
}
