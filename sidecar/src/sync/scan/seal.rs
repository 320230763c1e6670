//! What a file was while it was read.

use protocol::sync::{Hash, Stamp};

/// What a file was while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Hash of the bytes.
    pub hash: Hash,
    /// Their number.
    pub size: u64,
    /// Permission bits (`0o777`).
    pub mode: u32,
    /// Modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// The stamp when it may be remembered; see [`super::Local::stamp`].
    pub stamp: Option<Stamp>,
    /// Whether all of its bytes were read, and not only those behind what an earlier reading saw.
    pub whole: bool,
}
