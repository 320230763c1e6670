//! A file told as pieces of two others: whatever was edited, the records give the new file again, and the list of
//! chunks that comes with them is that of the new file.
#![no_main]

use agent::delta::{Basis, ChunkList, Record, cut_all, differ};
use libfuzzer_sys::fuzz_target;
use protocol::delta::MAX_DATA;

/// Bytes that stand for one byte of the input: chunks are large, and inputs had better not be.
const BLOCK: usize = 2048;
/// Longest file of the target, in blocks.
const MOST: usize = 256;

/// Returns a file in which each byte of the input is a block of noise; the last one is cut, so that no length is usual.
fn file(input: &[u8]) -> Vec<u8> {
    let input = &input[..input.len().min(MOST)];
    let mut bytes = vec![0; input.len() * BLOCK];
    for (block, seed) in bytes.chunks_mut(BLOCK).zip(input) {
        // A cheap generator; what matters is that blocks of two seeds differ.
        let mut state = u64::from(*seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for word in block.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
    }
    let cut = input.last().map_or(0, |last| usize::from(*last) * 7 % BLOCK);
    bytes.truncate(bytes.len() - cut);
    bytes
}

fn cut(mut bytes: &[u8]) -> ChunkList {
    cut_all(&mut |buffer| std::io::Read::read(&mut bytes, buffer)).expect("memory can be read")
}

fuzz_target!(|input: &[u8]| {
    let Some(([first, second], input)) = input.split_first_chunk() else { return };
    let (old, rest) = input.split_at(usize::from(*first).min(input.len()));
    let (partial, new) = rest.split_at(usize::from(*second).min(rest.len()));
    let sources = [file(old), file(partial)];
    let new = file(new);
    let mut basis = Basis::default();
    for (number, source) in sources.iter().enumerate() {
        basis.add(&cut(source), number == 0);
    }
    let (mut result, mut left) = (Vec::with_capacity(new.len()), new.as_slice());
    // The announced length may be that of a moment ago.
    let announced = if first == second { sources[0].len() } else { new.len() };
    let list = differ(announced as u64, &basis, &mut |buffer| std::io::Read::read(&mut left, buffer), &mut |record| {
        match record {
            Record::Data(bytes) => {
                assert!((1..=MAX_DATA).contains(&bytes.len()));
                result.extend_from_slice(bytes);
            }
            Record::Copy { source, offset, length } => {
                let (from, length) = (usize::try_from(offset).expect("small"), usize::try_from(length).expect("small"));
                assert!(length > 0);
                result.extend_from_slice(&sources[usize::from(source)][from..from + length]);
            }
        }
        Ok(())
    });
    assert!(result == new, "another file came out");
    assert_eq!(list.expect("memory can be read").size(), new.len() as u64);
});
