//! How the files of a mirror are written: blocks of records, each with its length and a checksum that is bound to
//! the mirror's epoch. A block counts as a whole or not at all.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use super::{Header, Record};

/// Bytes of a length and a checksum.
const HEAD: usize = 4 + CHECK;
/// Bytes of a BLAKE3 hash that serve as checksum.
const CHECK: usize = 8;
/// Bytes of records after which a block of the sorted file ends.
const BLOCK: usize = 64 * 1024;
/// Longest block that is read: a batch of the longest paths and links there are.
const MAX_BLOCK: usize = 64 * 1024 * 1024;
/// Longest header that is read.
const MAX_HEADER: usize = 4096;

fn check(epoch: &str, payload: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(epoch.as_bytes()).update(payload);
    let mut check = [0; CHECK];
    hasher.finalize_xof().fill(&mut check);
    check
}

fn sealed(epoch: &str, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_BLOCK).ok_or_else(invalid)?;
    Ok([&length.to_le_bytes(), check(epoch, payload).as_slice(), payload].concat())
}

fn written(records: &[Record]) -> io::Result<Vec<u8>> {
    records.iter().try_fold(Vec::new(), |payload, record| {
        postcard::to_extend(record, payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    })
}

/// Returns the records of a block.
pub(super) fn records(mut payload: &[u8]) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (record, rest) = postcard::take_from_bytes(payload).map_err(|_| invalid())?;
        records.push(record);
        payload = rest;
    }
    Ok(records)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a block of the mirror is damaged")
}

/// Reads one block; `None` at the end, an error when it is torn or damaged.
fn block(from: &mut impl Read, epoch: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    let mut filled = 0;
    while filled < HEAD {
        match from.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(invalid()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (length, sum) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().map_err(|_| invalid())?) as usize;
    if length > most {
        return Err(invalid());
    }
    // Not allocated before it is there: a damaged length may be anything.
    let mut payload = Vec::with_capacity(length.min(BLOCK * 2));
    from.take(length as u64).read_to_end(&mut payload)?;
    if payload.len() == length && sum == check(epoch, &payload) { Ok(Some(payload)) } else { Err(invalid()) }
}

/// Reads from a place of its own in a file that others append to.
struct At<'a>(&'a File, u64);

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// Returns the header of a file; `None` when it has none that can be read.
pub(super) fn header(file: &File) -> io::Result<Option<Header>> {
    match block(&mut At(file, 0), "", MAX_HEADER) {
        Ok(Some(payload)) => Ok(postcard::from_bytes(&payload).ok()),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn head_of(header: &Header) -> io::Result<Vec<u8>> {
    sealed("", &postcard::to_stdvec(header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?)
}

/// Begins an empty file and returns its length.
pub(super) fn begin(file: &mut File, header: &Header) -> io::Result<u64> {
    let head = head_of(header)?;
    file.write_all(&head)?;
    Ok(head.len() as u64)
}

/// Takes everything out of a file but its header, and returns its length.
pub(super) fn cut(file: &File, header: &Header) -> io::Result<u64> {
    let length = head_of(header)?.len() as u64;
    file.set_len(length)?;
    Ok(length)
}

/// Adds a block at the end and returns its length. What was written only half, for want of room, is cut off.
pub(super) fn append(file: &mut File, header: &Header, records: &[Record]) -> io::Result<u64> {
    let block = sealed(&header.epoch, &written(records)?)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(&block) {
        file.set_len(before)?;
        return Err(error);
    }
    Ok(block.len() as u64)
}

/// Returns every record of a log up to the first block that is torn, and the length up to there.
pub(super) fn all(file: &File, header: &Header) -> io::Result<(Vec<Record>, u64)> {
    let mut length = head_of(header)?.len() as u64;
    let mut reader = BufReader::with_capacity(BLOCK, At(file, length));
    let mut found = Vec::new();
    loop {
        match block(&mut reader, &header.epoch, MAX_BLOCK) {
            Ok(Some(payload)) => {
                let Ok(records) = records(&payload) else { break };
                found.extend(records);
                length += (HEAD + payload.len()) as u64;
            }
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
            Err(error) => return Err(error),
        }
    }
    Ok((found, length))
}

/// Writes a sorted file.
pub(super) struct Writer {
    file: BufWriter<File>,
    epoch: String,
    payload: Vec<u8>,
    length: u64,
}

impl Writer {
    pub(super) fn begin(mut file: File, header: &Header) -> io::Result<Self> {
        let length = begin(&mut file, header)?;
        let file = BufWriter::with_capacity(BLOCK, file);
        Ok(Self { file, epoch: header.epoch.clone(), payload: Vec::new(), length })
    }

    pub(super) fn add(&mut self, record: &Record) -> io::Result<()> {
        let payload = std::mem::take(&mut self.payload);
        self.payload =
            postcard::to_extend(record, payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if self.payload.len() >= BLOCK { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        let block = sealed(&self.epoch, &self.payload)?;
        self.payload.clear();
        self.length += block.len() as u64;
        self.file.write_all(&block)
    }

    /// Writes what is left and returns the length of the file.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if !self.payload.is_empty() {
            self.end_block()?;
        }
        self.file.flush()?;
        Ok(self.length)
    }
}

/// Reads a sorted file, block by block.
pub(super) struct Reader {
    file: BufReader<File>,
    epoch: String,
}

impl Reader {
    /// Fails when the file is not of the same mirror as `header`.
    pub(super) fn open(file: File, header: &Header) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(BLOCK, file);
        let head = block(&mut file, "", MAX_HEADER)?.ok_or_else(invalid)?;
        if postcard::from_bytes::<Header>(&head).ok().as_ref() != Some(header) {
            return Err(invalid());
        }
        Ok(Self { file, epoch: header.epoch.clone() })
    }

    /// Returns the next block as it stands.
    pub(super) fn block(&mut self) -> io::Result<Option<Vec<u8>>> {
        block(&mut self.file, &self.epoch, MAX_BLOCK)
    }
}

impl Iterator for Reader {
    type Item = io::Result<Vec<Record>>;

    fn next(&mut self) -> Option<Self::Item> {
        let payload = self.block().transpose()?;
        Some(payload.and_then(|payload| records(&payload)))
    }
}
