//! A file told as pieces: what the agent already holds is named, what it lacks follows as bytes. The
//! algorithm that finds the pieces, and the one that puts them together, stand in the agent library.
//!
//! The body of an [`crate::sync::Action::Patch`] is a sequence of records, each a byte that says which:
//!
//! ```text
//! 0  DATA  length u32 LE, then that many bytes (at most MAX_DATA)
//! 1  COPY  source u8, offset u64 LE, length u64 LE (bytes of a source that the action names)
//! ```
//!
//! The hash of the whole result comes in the [`crate::agent::Trailer`]; no result gets a name before it was
//! compared.

use serde::{Deserialize, Serialize};

use crate::agent::RootId;
use crate::path::RelPath;
use crate::sync::{Expect, Hash};

/// Most bytes of one DATA record.
pub const MAX_DATA: usize = 256 * 1024;

/// Most sources of one patch.
pub const MAX_SOURCES: usize = 4;

/// Most bytes that [`crate::sync::Action::Append`] adds at a time: the agent holds and checks them before it touches
/// the file.
pub const MAX_APPEND: u64 = 16 * 1024 * 1024;

/// Bytes of a chunk on the wire: its length as `u32` LE, then its BLAKE3 hash.
pub const CHUNK: usize = 36;

/// Least, average and most bytes of a content-defined chunk (`FastCDC`, Xia et al., USENIX ATC 2016).
pub const CHUNK_SIZES: (usize, usize, usize) = (16 * 1024, 64 * 1024, 256 * 1024);

/// Where COPY records take their bytes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatchSource {
    /// What is at the operation's own path, as its precondition says.
    Present,
    /// Another file below the root.
    File {
        /// Where.
        path: RelPath,
        /// What it must hold.
        expect: Expect,
    },
    /// What is left of an earlier transfer to this path that was cut off.
    Partial,
}

/// Asks for the chunks of a file that is there, or of what is left of a transfer. Answered by
/// [`crate::agent::Reply::Chunking`], then data: [`CHUNK`] bytes for each chunk, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunks {
    /// The root.
    pub root: RootId,
    /// The file.
    pub path: RelPath,
    /// Whether what is left of a cut transfer is meant.
    pub partial: bool,
}

/// What is left of a transfer that was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Where it was to go.
    pub path: RelPath,
    /// Bytes that arrived.
    pub size: u64,
}

/// One piece of a file, as both ends cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes.
    pub length: u32,
    /// Their hash.
    pub hash: Hash,
}
