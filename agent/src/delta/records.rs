//! The records of a patch, as [`protocol::delta`] lays them down.

use bytes::BufMut as _;
use bytes::BytesMut;
use protocol::delta::MAX_DATA;

/// First byte of a DATA record.
pub const DATA: u8 = 0;

/// First byte of a COPY record.
pub const COPY: u8 = 1;

/// Bytes of a DATA record between its first byte and its content.
pub const DATA_HEAD: usize = 4;

/// Bytes of a COPY record after its first.
pub const COPY_HEAD: usize = 17;

/// One record of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// Bytes that a source holds.
    Copy {
        /// Its place among the sources.
        source: u8,
        /// Where they begin there.
        offset: u64,
        /// Their number.
        length: u64,
    },
}

impl Record<'_> {
    /// Adds the record to `out`; longer DATA than [`MAX_DATA`] becomes several.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Data(bytes) => {
                for part in bytes.chunks(MAX_DATA) {
                    out.put_u8(DATA);
                    out.put_u32_le(u32::try_from(part.len()).expect("a record is at most MAX_DATA"));
                    out.put_slice(part);
                }
            }
            Self::Copy { source, offset, length } => {
                out.put_u8(COPY);
                out.put_u8(*source);
                out.put_u64_le(*offset);
                out.put_u64_le(*length);
            }
        }
    }
}
