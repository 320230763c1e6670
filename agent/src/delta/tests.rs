//! What the records say, applied to the old file, is the new one; and local edits stay local.

use std::io;

use proptest::prelude::*;
use protocol::delta::{CHUNK, CHUNK_SIZES, MAX_DATA};

use super::*;

const LONGEST: usize = CHUNK_SIZES.2;

/// Bytes that repeat nowhere.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Gives bytes in portions of varying length, as files and pipes do.
fn reader(bytes: &[u8]) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
    let (mut rest, mut turn) = (bytes, 0);
    move |buffer| {
        turn += 1;
        let length = buffer.len().min(rest.len()).min([1, 70_000, usize::MAX][turn % 3]);
        let (now, later) = rest.split_at(length);
        buffer[..length].copy_from_slice(now);
        rest = later;
        Ok(length)
    }
}

fn list(bytes: &[u8]) -> ChunkList {
    cut_all(&mut reader(bytes)).expect("memory can be read")
}

/// Returns the bytes of DATA that it took, after seeing that the result is right.
fn check(sources: &[(&[u8], bool)], new: &[u8]) -> usize {
    let mut basis = Basis::default();
    for (bytes, whole) in sources {
        basis.add(&list(bytes), *whole);
    }
    let (mut result, mut data) = (Vec::new(), 0);
    let cut = differ(new.len() as u64, &basis, &mut reader(new), &mut |record| {
        match record {
            Record::Data(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= MAX_DATA);
                data += bytes.len();
                result.extend_from_slice(bytes);
            }
            Record::Copy { source, offset, length } => {
                assert!(length > 0);
                let (from, to) =
                    (usize::try_from(offset).expect("small"), usize::try_from(offset + length).expect("small"));
                result.extend_from_slice(&sources[usize::from(source)].0[from..to]);
            }
        }
        Ok(())
    })
    .expect("memory can be read");
    assert!(result == new, "{} bytes instead of {}", result.len(), new.len());
    // The new list is that of the new file, so that it serves the next edit.
    let mut left = new;
    for chunk in cut.chunks() {
        let (now, later) = left.split_at(chunk.length as usize);
        assert_eq!(chunk.hash.0, *blake3::hash(now).as_bytes());
        left = later;
    }
    assert!(left.is_empty());
    data
}

#[test]
fn an_equal_file_is_one_copy_and_an_unknown_one_is_all_data() {
    let old = noise(3_000_000, 1);
    assert_eq!(check(&[(&old, true)], &old), 0);
    assert_eq!(check(&[], &old), old.len());
    assert_eq!(check(&[(&old, true)], &noise(3_000_000, 2)), 3_000_000);
    assert_eq!(check(&[(&old, true)], b""), 0);
    assert_eq!(check(&[(b"", true)], b"x"), 1);
}

#[test]
fn an_insertion_and_a_change_cost_what_is_around_them() {
    let old = noise(16_000_000, 1);
    let mut new = old.clone();
    new[9_000_000..9_500_000].copy_from_slice(&noise(500_000, 2));
    assert!(check(&[(&old, true)], &new) < 500_000 + 2 * LONGEST, "a change");
    new.splice(100_000..100_000, noise(4096, 3));
    assert!(check(&[(&old, true)], &new) < 504_096 + 4 * LONGEST, "and an insertion");
    new.splice(13_000_000..13_000_100, []);
    new.splice(3_000_000..3_000_000, noise(1, 4));
    assert!(check(&[(&old, true)], &new) < 504_096 + 8 * LONGEST, "and more that move the rest");
}

#[test]
fn an_append_and_a_truncation_cost_the_end_alone() {
    let old = noise(5_000_000, 1);
    let grown = [&old[..], &noise(64 * 1024, 2)].concat();
    assert!(check(&[(&old, true)], &grown) <= 64 * 1024);
    assert!(check(&[(&old, true)], &old[..4_000_000]) < LONGEST);
}

#[test]
fn a_file_without_cuts_of_its_own_is_found_again_by_its_end() {
    // A pattern whose period is longer than a chunk and that gives no cut: every chunk is of the greatest length.
    let quiet: Vec<u8> =
        (0..40_u32).flat_map(|number| vec![u8::try_from(number).expect("small"); LONGEST + 977]).collect();
    assert!(list(&quiet).chunks().iter().filter(|chunk| chunk.length as usize == LONGEST).count() > 30);
    let mut new = quiet.clone();
    new.splice(1000..1000, *b"insertion");
    assert!(check(&[(&quiet, true)], &new) <= 2 * LONGEST);
}

#[test]
fn zeroes_and_moved_blocks_are_known() {
    let zeroes = vec![0; 6_000_000];
    assert_eq!(check(&[(&zeroes, true)], &zeroes), 0);
    assert!(check(&[(&zeroes, true)], &vec![0; 9_000_003]) < LONGEST);
    let old = noise(6_000_000, 1);
    let turned = [&old[3_000_000..], &old[..3_000_000]].concat();
    assert!(check(&[(&old, true)], &turned) < 4 * LONGEST);
}

#[test]
fn what_is_left_of_a_cut_transfer_is_used_beside_the_old_version() {
    let old = noise(8_000_000, 1);
    let mut new = old.clone();
    new[1_000_000..3_000_000].copy_from_slice(&noise(2_000_000, 2));
    assert!(check(&[(&old, true), (&new[..2_800_001], false)], &new) < 4 * LONGEST);
    assert!(check(&[(&new[..7_000_000], false)], &new) < 1_000_000 + LONGEST);
}

#[test]
fn an_often_edited_file_does_not_fall_to_pieces() {
    let mut file = noise(4_000_000, 1);
    let mut known = list(&file);
    for turn in 0..60_u8 {
        let at = usize::from(turn) * 60_000 % 900_000;
        file.splice(at..at, [turn; 37]);
        let mut basis = Basis::default();
        basis.add(&known, true);
        let size = file.len() as u64;
        known = differ(size, &basis, &mut reader(&file), &mut |_| Ok(())).expect("memory can be read");
    }
    assert!(known.chunks().len() < 300, "{}", known.chunks().len());
}

#[test]
fn lists_survive_the_wire_and_lies_do_not() {
    let cut = list(&noise(2_000_000, 1));
    let bytes = cut.encode().expect("it is short");
    assert_eq!(ChunkList::decode(&bytes, 2_000_000), Some(cut.clone()));
    assert_eq!(ChunkList::decode(&bytes, 2_000_001), None);
    assert_eq!(ChunkList::decode(&bytes[1..], 2_000_000), None);
    assert_eq!(ChunkList::decode(&bytes[..CHUNK * 3], 2_000_000), None);
    assert_eq!(ChunkList::decode(&[], 0), Some(ChunkList::default()));
    for length in [0, 256 * 1024 + 1, u32::MAX] {
        let mut lie = bytes.clone();
        lie[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(ChunkList::decode(&lie, 2_000_000), None);
    }
}

#[test]
fn a_file_that_cannot_be_read_ends_it() {
    let failing = &mut |_: &mut [u8]| Err(io::Error::other("gone"));
    assert!(differ(9, &Basis::default(), failing, &mut |_| Ok(())).is_err());
    let refused = differ(9, &Basis::default(), &mut reader(b"123456789"), &mut |_| Err(io::Error::other("no")));
    assert!(refused.is_err());
}

/// One thing that is done to a file.
#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, usize, u64),
    Delete(usize, usize),
    Change(usize, usize, u64),
    Move(usize, usize, usize),
    Zero(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, length) = (0..2_000_000_usize, 0..300_000_usize);
    prop_oneof![
        (at.clone(), length.clone(), any::<u64>()).prop_map(|(at, length, seed)| Edit::Insert(at, length, seed)),
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Delete(at, length)),
        (at.clone(), length.clone(), any::<u64>()).prop_map(|(at, length, seed)| Edit::Change(at, length, seed)),
        (at.clone(), length.clone(), at.clone()).prop_map(|(from, length, to)| Edit::Move(from, length, to)),
        (at, length).prop_map(|(at, length)| Edit::Zero(at, length)),
    ]
}

fn apply(file: &mut Vec<u8>, edit: &Edit) {
    let range = |file: &[u8], at: usize, length: usize| at.min(file.len())..(at + length).min(file.len());
    match *edit {
        Edit::Insert(at, length, seed) => {
            drop(file.splice(at.min(file.len())..at.min(file.len()), noise(length, seed)));
        }
        Edit::Delete(at, length) => drop(file.drain(range(file, at, length))),
        Edit::Change(at, length, seed) => {
            let place = range(file, at, length);
            let fresh = noise(place.len(), seed);
            file[place].copy_from_slice(&fresh);
        }
        Edit::Move(from, length, to) => {
            let moved: Vec<u8> = file.drain(range(file, from, length)).collect();
            let to = to.min(file.len());
            drop(file.splice(to..to, moved));
        }
        Edit::Zero(at, length) => {
            let place = range(file, at, length);
            file[place].fill(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_edits_arrive_and_cost_no_more_than_the_file(
        size in 0..2_000_000_usize,
        edits in prop::collection::vec(edit(), 0..5),
        cut_at in 0..2_000_000_usize,
    ) {
        let old = noise(size, 7);
        let mut new = old.clone();
        for edit in &edits {
            apply(&mut new, edit);
        }
        let changed: usize = edits.iter().map(|edit| match edit {
            Edit::Insert(_, length, _) | Edit::Change(_, length, _) | Edit::Zero(_, length) => *length,
            Edit::Delete(..) | Edit::Move(..) => 0,
        }).sum();
        let data = check(&[(&old, true)], &new);
        prop_assert!(data <= new.len());
        prop_assert!(data <= changed + edits.len() * 6 * LONGEST, "{data} for {changed} in {edits:?}");
        check(&[(&old, true), (&new[..cut_at.min(new.len())], false)], &new);
    }
}
