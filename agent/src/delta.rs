//! A file as pieces: what the other side already holds is told by name, and only what it lacks as bytes. Both
//! ends run this code, so that they cut alike.
//!
//! Never opens anything: bytes come in and go out through whoever calls.

mod chunks;
mod differ;
mod records;

#[cfg(test)]
mod tests;

pub use chunks::{ChunkList, MAX_CHUNKS, cut_all};
pub use differ::{Basis, differ};
pub use records::{COPY, COPY_HEAD, DATA, DATA_HEAD, Record};
