//! The records of a patch, applied by an agent to a real folder and by twenty lines here that read the protocol: both
//! come to the same file or to none, and nothing else of the folder changes.
#![no_main]

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::PathBuf;

use agent::files::{Bodies, Root};
use libfuzzer_sys::fuzz_target;
use protocol::agent::{Apply, Holder, Open, Trailer};
use protocol::delta::{MAX_DATA, PatchSource};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Expect, Hash, Op, Outcome};

/// What COPY records of the input name; none is a multiple of a block.
const SOURCES: [(&str, usize); 2] = [("one", 70_001), ("two", 5)];

struct Body<'a> {
    bytes: &'a [u8],
    trailer: Trailer,
}

impl Bodies for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.bytes, buffer)
    }

    fn trailer(&mut self) -> io::Result<Trailer> {
        Ok(self.trailer.clone())
    }
}

struct Bed {
    root: Root,
    folder: PathBuf,
    sources: Vec<Vec<u8>>,
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

fn path(name: &str) -> RelPath {
    RelPath::new(name).expect("a name")
}

impl Bed {
    fn new() -> Self {
        let place = std::env::temp_dir().join(format!("mltoolbox-fuzz-patch-{}", std::process::id()));
        let folder = place.join("root");
        fs::create_dir_all(&folder).expect("a folder of our own");
        let text = folder.to_str().expect("a text path");
        let holder = Holder { id: "fuzz".to_owned(), label: "fuzz".to_owned() };
        let open = Open { path: RemotePath::new(text).expect("a path"), create: true, holder, take_over: false };
        let (root, _) = Root::open(1, &open).expect("a root of our own");
        let sources = SOURCES.map(|(name, length)| {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + at / 256) as u8).collect();
            fs::write(folder.join(name), &bytes).expect("a folder of our own");
            bytes
        });
        Self { root, folder, sources: sources.to_vec() }
    }

    /// Returns what the records make, as `protocol/src/delta.rs` says; `None` when they make no file of that size.
    fn model(&self, mut records: &[u8], size: u64) -> Option<Vec<u8>> {
        let mut result = Vec::new();
        while let Some((kind, rest)) = records.split_first() {
            let piece = match kind {
                0 => {
                    let (length, rest) = rest.split_first_chunk()?;
                    let length = u32::from_le_bytes(*length) as usize;
                    let piece = rest.get(..length).filter(|_| (1..=MAX_DATA).contains(&length))?;
                    records = &rest[length..];
                    piece
                }
                1 => {
                    let (source, rest) = rest.split_first()?;
                    let (offset, rest) = rest.split_first_chunk()?;
                    let (length, rest) = rest.split_first_chunk()?;
                    let (offset, length) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*length));
                    let range = usize::try_from(offset).ok()?..usize::try_from(offset.checked_add(length)?).ok()?;
                    let piece = self.sources.get(usize::from(*source))?.get(range).filter(|piece| !piece.is_empty())?;
                    records = rest;
                    piece
                }
                _ => return None,
            };
            // A result of more than was announced is refused, so that this is bounded as well.
            if (result.len() + piece.len()) as u64 > size {
                return None;
            }
            result.extend_from_slice(piece);
        }
        (result.len() as u64 == size).then_some(result)
    }
}

thread_local! {
    static BED: OnceCell<Bed> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    let Some((size, records)) = input.split_first_chunk() else { return };
    let size = u64::from(u32::from_le_bytes(*size));
    BED.with(|bed| {
        let bed = bed.get_or_init(Bed::new);
        // Half of the inputs announce the length that they have, or few would come to their end.
        let size = if size.is_multiple_of(2) { size / 2 } else { length(records).unwrap_or(size) };
        let expected = bed.model(records, size);
        let named = |(number, (name, _)): (usize, &(&str, usize))| PatchSource::File {
            path: path(name),
            expect: Expect::File { hash: hash(&bed.sources[number]), stamp: None },
        };
        let sources = SOURCES.iter().enumerate().map(named).collect();
        let action = Action::Patch { size, mode: 0o644, mtime_ns: None, sources };
        let ops = vec![Op { path: path("new"), expect: Expect::Absent, action }];
        let announced = expected.as_deref().map_or(Hash([0; 32]), hash);
        let mut body = Body { bytes: records, trailer: Trailer { hash: Some(announced), error: None } };
        let apply = Apply { root: 1, barrier: false, durable: false, ops };
        let outcomes = bed.root.apply(&apply, &mut body).expect("one batch");
        match (outcomes.as_slice(), expected) {
            ([Outcome::Applied { .. }], Some(expected)) => {
                assert!(fs::read(bed.folder.join("new")).expect("it is there") == expected, "another file came out");
                fs::remove_file(bed.folder.join("new")).expect("our own file");
            }
            ([Outcome::Rejected(_)], None) => assert!(!bed.folder.join("new").exists(), "a refused file is there"),
            (outcomes, expected) => panic!("{outcomes:?} instead of {:?}", expected.map(|bytes| bytes.len())),
        }
        for ((name, _), bytes) in SOURCES.iter().zip(&bed.sources) {
            let there = fs::metadata(bed.folder.join(name)).expect("it is there").len();
            assert_eq!(there, bytes.len() as u64, "a source changed");
        }
    });
});

/// Returns the bytes that the records say they make, whatever they are of.
fn length(mut records: &[u8]) -> Option<u64> {
    let mut total = 0_u64;
    while let Some((kind, rest)) = records.split_first() {
        let (length, skipped) = match kind {
            0 => {
                let length = u32::from_le_bytes(*rest.first_chunk()?);
                (u64::from(length), 4 + length as usize)
            }
            _ => (u64::from_le_bytes(*rest.get(9..)?.first_chunk()?), 17),
        };
        total = total.checked_add(length)?;
        records = rest.get(skipped..)?;
    }
    Some(total)
}
