//! What a reading leaves for a later one of the same file that has grown: it goes on behind what was read.
//!
//! The bytes between are not read again, so that what comes of it is no proof; see [`Seal::whole`](super::Seal::whole).

use protocol::sync::Hash;

/// Bytes at the start, and before the end, that are read again: a file that was cut and written anew differs there.
pub(super) const PROBE: usize = 64 * 1024;

/// The beginning of a file as it was read.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Inode and device.
    pub(super) identity: (u64, u64),
    /// Bytes that were read.
    pub(super) length: u64,
    /// The state behind them.
    pub(super) hasher: blake3::Hasher,
    /// The first and the last of them.
    pub(super) probe: Hash,
}

impl Beginning {
    /// Returns how many bytes it is.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the hash of those bytes.
    pub fn hash(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }
}
