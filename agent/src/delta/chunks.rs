//! The chunks of one file, and cutting them (`FastCDC` with normalised sizes, Xia et al., USENIX ATC 2016 and IEEE
//! TPDS 2020): where a cut falls depends on the bytes before it alone, so that an insertion moves all later
//! cuts with it.

use std::io;

use fastcdc::v2020::FastCDC;
use protocol::delta::{CHUNK, CHUNK_SIZES, Chunk};
use protocol::sync::Hash;

use super::differ::{Basis, differ};

/// Most chunks of a list, which is 64 GiB at their average length and 36 MiB of memory. Of a longer file no
/// list is kept: it travels whole.
pub const MAX_CHUNKS: usize = 1 << 20;

/// Most bytes of one chunk.
pub(super) const LONGEST: usize = CHUNK_SIZES.2;

/// The chunks of one file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkList(Vec<Chunk>);

impl ChunkList {
    /// Returns the chunks.
    pub fn chunks(&self) -> &[Chunk] {
        &self.0
    }

    /// Returns the length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Adds a chunk; past [`MAX_CHUNKS`] nothing is added any more, and the list is not the file's.
    pub(super) fn push(&mut self, bytes: usize, hash: Hash) {
        if self.0.len() <= MAX_CHUNKS {
            self.0.push(Chunk { length: u32::try_from(bytes).expect("a chunk is at most 256 KiB"), hash });
        }
    }

    /// Returns the list as bytes, [`CHUNK`] for each; `None` when the file has more than [`MAX_CHUNKS`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        if self.0.len() > MAX_CHUNKS {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.0.len() * CHUNK);
        for chunk in &self.0 {
            bytes.extend_from_slice(&chunk.length.to_le_bytes());
            bytes.extend_from_slice(&chunk.hash.0);
        }
        Some(bytes)
    }

    /// Returns the list that `bytes` hold, when it can be that of a file of `size` bytes.
    pub fn decode(bytes: &[u8], size: u64) -> Option<Self> {
        let (records, rest) = bytes.as_chunks::<CHUNK>();
        if !rest.is_empty() || records.len() > MAX_CHUNKS {
            return None;
        }
        let mut list = Vec::with_capacity(records.len());
        let mut left = size;
        for record in records {
            let (length, hash) = record.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length);
            left = left.checked_sub(u64::from(length))?;
            if length == 0 || length as usize > LONGEST {
                return None;
            }
            list.push(Chunk { length, hash: Hash(hash.try_into().ok()?) });
        }
        (left == 0).then_some(Self(list))
    }
}

/// Returns the length of the first chunk of `bytes`, which are at least [`LONGEST`] or all that is left.
pub(super) fn cut(bytes: &[u8]) -> usize {
    let (least, average, most) = CHUNK_SIZES;
    FastCDC::new(bytes, least, average, most).cut(0, bytes.len()).1
}

/// Returns the hash of a chunk.
pub(super) fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// Cuts everything that `read` gives.
pub fn cut_all(read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<ChunkList> {
    differ(0, &Basis::default(), read, &mut |_| Ok(()))
}
