//! Data that travel packed: one zstd frame with the length of what is in it before it.
//!
//! Nothing here believes a length: memory is taken for what a frame may hold at most, and a frame that holds
//! anything else than it announced is an error. The only file that knows zstd.

use std::cell::RefCell;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::frame::MAX_BULK_DATA;
use zstd::bulk::{Compressor, Decompressor};

use super::WireError;

/// Level of compression: the fastest but those that find hardly anything (570 MiB/s of source code a core, a
/// third of which is left).
const LEVEL: i32 = 1;

/// Bytes of the length before the frame.
const PREFIX: usize = 4;

/// Data shorter than this travel as they are: they are on their way before they were packed.
const LEAST: usize = 16 * 1024;

/// Bytes from the middle that are packed to see whether the rest is worth it.
const PROBE: usize = 4 * 1024;

thread_local! {
    // Making one costs as much as packing a frame. Threads that may block end soon after their last work.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Returns the payload of a [`protocol::frame::Kind::Packed`] that holds `bytes`; `None` when that saves less
/// than a tenth, or when they are too few. Takes up to half a millisecond: not for the runtime's threads.
pub fn pack(bytes: &[u8]) -> Option<Bytes> {
    if !(LEAST..=MAX_BULK_DATA).contains(&bytes.len()) {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = match compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL).ok()?),
        };
        // What does not fit saves too little.
        let middle = (bytes.len() - PROBE) / 2;
        let mut probe = [0; worth(PROBE)];
        compressor.compress_to_buffer(&bytes[middle..middle + PROBE], &mut probe[..]).ok()?;
        let mut payload = BytesMut::zeroed(PREFIX + worth(bytes.len()));
        let length = compressor.compress_to_buffer(bytes, &mut payload[PREFIX..]).ok()?;
        payload.truncate(PREFIX + length);
        let announced = u32::try_from(bytes.len()).expect("frames are far below 4 GiB");
        (&mut payload[..PREFIX]).put_u32_le(announced);
        Some(payload.freeze())
    })
}

/// Returns how many bytes may be left of `length` for packing to be worth it.
const fn worth(length: usize) -> usize {
    length - length / 10
}

/// Returns how many bytes a payload says it holds. It must be more than what came: what a peer makes us keep is
/// never more than what its credit paid for.
pub fn announced(payload: &[u8]) -> Result<usize, WireError> {
    let mut rest = payload;
    let length = rest.try_get_u32_le().map_or(0, |length| length as usize);
    if length > MAX_BULK_DATA || rest.len() >= length {
        return Err(WireError::Nonsense("packed data announce a length that they cannot have"));
    }
    Ok(length)
}

/// Returns the bytes that a payload holds: exactly as many as it announced, or an error. Takes up to a quarter of
/// a millisecond, and never more memory than a frame of data.
pub fn unpack(payload: &[u8]) -> io::Result<Bytes> {
    let broken = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("packed data cannot be read: {why}"));
    let length = announced(payload).map_err(|error| broken(&error.to_string()))?;
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        let mut bytes = BytesMut::zeroed(length);
        let frame = payload.get(PREFIX..).unwrap_or_default();
        let held =
            decompressor.decompress_to_buffer(frame, &mut bytes[..]).map_err(|error| broken(&error.to_string()))?;
        if held == length { Ok(bytes.freeze()) } else { Err(broken("they are fewer than announced")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn text(length: usize) -> Vec<u8> {
        b"fn main() { println!(\"hello\"); }\n".iter().copied().cycle().take(length).collect()
    }

    /// A payload that says it holds `length` bytes and holds `bytes`.
    fn saying(length: u32, bytes: &[u8]) -> Vec<u8> {
        let frame = zstd::bulk::compress(bytes, LEVEL).expect("memory");
        [length.to_le_bytes().as_slice(), &frame].concat()
    }

    fn refused(payload: &[u8]) -> String {
        unpack(payload).expect_err("it is broken").to_string()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for length in [LEAST, LEAST + 1, MAX_BULK_DATA] {
            let bytes = text(length);
            let payload = pack(&bytes).expect("it is worth it");
            assert!(payload.len() < length / 10, "{}", payload.len());
            assert_eq!(announced(&payload).expect("it is announced"), length);
            assert_eq!(unpack(&payload).expect("it is whole"), bytes);
        }
    }

    #[test]
    fn what_saves_nothing_is_not_packed() {
        assert_eq!(pack(&noise(MAX_BULK_DATA)), None);
        assert_eq!(pack(&text(LEAST - 1)), None);
        assert_eq!(pack(&text(MAX_BULK_DATA + 1)), None);
        assert_eq!(pack(&[]), None);
        // The middle may be misleading, either way.
        let mut mixed = noise(MAX_BULK_DATA);
        mixed[MAX_BULK_DATA / 2 - PROBE..MAX_BULK_DATA / 2 + PROBE].fill(b' ');
        assert_eq!(pack(&mixed), None);
        mixed[..MAX_BULK_DATA / 2].fill(b' ');
        assert!(pack(&mixed).is_some());
    }

    #[test]
    fn a_bomb_costs_an_error_and_no_memory() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], LEVEL).expect("memory");
        for length in [u32::try_from(MAX_BULK_DATA).expect("small"), 100_000, 20_000] {
            let payload = [length.to_le_bytes().as_slice(), &bomb].concat();
            assert!(refused(&payload).starts_with("packed data cannot be read"), "{length}");
        }
    }

    #[test]
    fn lies_about_the_length_are_found_out() {
        let bytes = text(50_000);
        assert_eq!(unpack(&saying(50_000, &bytes)).expect("it is true"), bytes);
        for length in [0, 1, 20, 49_999, 50_001, 262_144, 262_145, u32::MAX] {
            assert!(!refused(&saying(length, &bytes)).is_empty(), "{length}");
        }
        // Longer packed than not: its sender would pay for less than it makes us keep.
        let noise = noise(1000);
        announced(&saying(1000, &noise)).expect_err("it is longer than what it holds");
    }

    #[test]
    fn pieces_and_noise_are_refused() {
        let whole = saying(50_000, &text(50_000));
        for length in 0..whole.len() {
            assert!(!refused(&whole[..length]).is_empty(), "{length} of {}", whole.len());
        }
        let noise = noise(2000);
        refused(&[50_000_u32.to_le_bytes().as_slice(), &noise].concat());
        let mut flipped = whole.clone();
        for at in PREFIX..whole.len() {
            flipped[at] ^= 0x55;
            // Whatever comes of it is bounded; most of it is an error.
            if let Ok(bytes) = unpack(&flipped) {
                assert_eq!(bytes.len(), 50_000);
            }
            flipped[at] = whole[at];
        }
    }
}
