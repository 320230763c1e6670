//! What stands for bytes of files: packed data of a peer, and lists of chunks from a peer or a database. Nothing takes
//! more memory than it announces, and what is accepted says one thing only.
#![no_main]

use agent::delta::{ChunkList, MAX_CHUNKS, cut_all};
use agent::wire::packed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 4 {
        0 => {
            let Ok(length) = packed::announced(bytes) else { return };
            if let Ok(unpacked) = packed::unpack(bytes) {
                assert_eq!(unpacked.len(), length, "more or less than was announced");
            }
        }
        1 => {
            let Some(packed) = packed::pack(bytes) else { return };
            assert!(packed.len() < bytes.len(), "packing made it longer");
            assert_eq!(packed::unpack(&packed).expect("our own"), bytes);
        }
        2 => {
            let Some((size, list)) = bytes.split_first_chunk() else { return };
            let size = u64::from_le_bytes(*size) >> (bytes[0] % 64);
            let Some(decoded) = ChunkList::decode(list, size) else { return };
            assert!(decoded.chunks().len() <= MAX_CHUNKS);
            assert_eq!(decoded.size(), size, "chunks of another file");
            assert_eq!(decoded.encode().expect("it came from one"), list);
        }
        _ => {
            let mut rest = bytes;
            let list = cut_all(&mut |buffer| std::io::Read::read(&mut rest, buffer)).expect("memory can be read");
            assert_eq!(list.size(), bytes.len() as u64);
        }
    }
});
