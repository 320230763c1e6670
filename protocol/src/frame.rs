//! Bytes to frames and back, without I/O: a 16-byte header and a payload of bounded length.
//!
//! Header, little endian: payload length `u32`, kind `u8`, three zero bytes, stream id `u64`.
//! A stream is one request with its reply and the data that belong to it; ids are chosen by the sidecar
//! and never used twice on a link. The integrity of the bytes is the transport's affair (SSH), the
//! integrity of file contents that of their hash.

/// Bytes of a header.
pub const HEADER: usize = 16;

/// Most bytes of a payload. A larger length is an attack or a defect, never a message.
pub const MAX_PAYLOAD: usize = 2 * 1024 * 1024;

/// Most bytes of one [`Kind::Data`] frame on a lane that people wait for, so that a large file never
/// delays a save by more than one such frame.
pub const MAX_PRIORITY_DATA: usize = 64 * 1024;

/// Most bytes of one [`Kind::Data`] frame elsewhere.
pub const MAX_BULK_DATA: usize = 256 * 1024;

/// Cost of [`Kind::Data`] that a sender may have on the way before it hears the first [`Kind::Credit`].
pub const INITIAL_CREDIT: usize = MAX_BULK_DATA;

/// Most credit that one direction of a stream can ever hold.
pub const MAX_CREDIT: usize = 16 * 1024 * 1024;

/// Least cost of a [`Kind::Data`] frame, so that a flood of tiny ones cannot fill the receiver's memory.
pub const MIN_COST: usize = 1024;

/// Returns what a [`Kind::Data`] frame of `length` bytes takes from its sender's credit.
pub const fn cost(length: usize) -> usize {
    if length < MIN_COST { MIN_COST } else { length }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`crate::hello::Hello`] as JSON; the first frame in each direction.
    Hello = 1,
    /// [`crate::agent::Request`] by postcard; opens a stream.
    Request = 2,
    /// [`crate::agent::Reply`] by postcard; the agent's answer, which may be followed by data.
    Reply = 3,
    /// Raw bytes of the stream, in order.
    Data = 4,
    /// No more data in this direction; payload is a [`crate::agent::Trailer`] by postcard.
    End = 5,
    /// The sidecar no longer wants the stream; unfinished work is undone. No payload.
    Cancel = 6,
    /// Are you there? Answered by [`Kind::Pong`] with the same id. No payload.
    Ping = 7,
    /// Yes. No payload.
    Pong = 8,
    /// The receiver of the stream's data has room for more: payload is a `u32`, little endian, in units of
    /// [`cost`]. From the agent also a sign of life: zero says that the request is still being worked on.
    Credit = 9,
    /// As [`Kind::Data`], packed: the length of the bytes as `u32`, little endian, then one zstd frame (RFC
    /// 8878) of them. Their length is what counts against the credit. Since protocol 2.
    Packed = 10,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Reply,
            4 => Self::Data,
            5 => Self::End,
            6 => Self::Cancel,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::Credit,
            10 => Self::Packed,
            _ => return None,
        })
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// The stream it belongs to; 0 for hello, ping and pong.
    pub stream: u64,
    /// Bytes of payload that follow.
    pub length: usize,
}

/// Why sixteen bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length exceeds [`MAX_PAYLOAD`].
    #[error("a frame announces {0} bytes, more than the {MAX_PAYLOAD} allowed")]
    TooLong(usize),
    /// The kind is not known.
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    /// The reserved bytes are not zero.
    #[error("a frame's reserved bytes are not zero")]
    Reserved,
}

impl Header {
    /// Returns the sixteen bytes of this header.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let length = u32::try_from(self.length).expect("payloads are at most MAX_PAYLOAD");
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[8..].copy_from_slice(&self.stream.to_le_bytes());
        bytes
    }

    /// Returns the header that sixteen bytes hold, or why they hold none. Allocates nothing.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, kind, r0, r1, r2, stream @ ..] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        if [r0, r1, r2] != [0; 3] {
            return Err(FrameError::Reserved);
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        Ok(Self { kind, stream: u64::from_le_bytes(stream), length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = Header { kind: Kind::Data, stream: u64::MAX - 1, length: MAX_PAYLOAD };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let good = Header { kind: Kind::Ping, stream: 0, length: 0 }.encode();
        let with = |index: usize, byte: u8| {
            let mut bytes = good;
            bytes[index] = byte;
            Header::decode(&bytes)
        };
        assert_eq!(with(3, 0x7f), Err(FrameError::TooLong(0x7f00_0000)));
        assert_eq!(with(4, 0), Err(FrameError::Kind(0)));
        assert_eq!(with(4, 11), Err(FrameError::Kind(11)));
        assert_eq!(with(6, 1), Err(FrameError::Reserved));
    }
}
