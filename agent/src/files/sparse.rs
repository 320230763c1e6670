//! Writing a file in the making from its first byte to its last. Long runs of zeros become holes, so that a sparse
//! file takes no more room here than where it came from.
//!
//! The file must be empty at first: what is not written reads as zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Unit in which zeros are looked for; aligned, as file systems give room in units that divide it.
const BLOCK: usize = 64 * 1024;
/// Fewest zeros that begin a hole; fewer share their unit of most file systems with other bytes.
const HOLE: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A file that is written in order.
#[derive(Debug)]
pub(super) struct Sparse<'f> {
    file: &'f File,
    /// Bytes that it has by now, holes included.
    length: u64,
    /// Whether the last of them are a hole.
    in_hole: bool,
}

impl<'f> Sparse<'f> {
    /// Begins a file that is empty.
    pub(super) fn new(file: &'f File) -> Self {
        Self { file, length: 0, in_hole: false }
    }

    /// Adds bytes to the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What is not in a hole and not written yet begins here.
        let mut unwritten = 0;
        let mut place = 0;
        while place < bytes.len() {
            let at = self.length + place as u64;
            let to_boundary = BLOCK - usize::try_from(at % BLOCK as u64).expect("less than a block");
            let end = (place + to_boundary).min(bytes.len());
            let part = &bytes[place..end];
            let is_zero = part == &ZEROS[..part.len()];
            if is_zero && (self.in_hole || part.len() >= HOLE) {
                self.file.write_all_at(&bytes[unwritten..place], self.length + unwritten as u64)?;
                unwritten = end;
                self.in_hole = true;
            } else {
                self.in_hole = false;
            }
            place = end;
        }
        self.file.write_all_at(&bytes[unwritten..], self.length + unwritten as u64)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file its whole length, which a hole at the end does not.
    pub(super) fn finish(&self) -> io::Result<()> {
        if self.in_hole { self.file.set_len(self.length) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Writes `bytes` in pieces and returns how many bytes of the disk they take.
    #[track_caller]
    fn check(bytes: &[u8], piece: usize) -> u64 {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut sparse = Sparse::new(file.as_file());
        for piece in bytes.chunks(piece) {
            sparse.write(piece).expect("room");
        }
        sparse.finish().expect("room");
        assert!(std::fs::read(file.path()).expect("a file") == bytes, "{} bytes by {piece}", bytes.len());
        file.as_file().sync_all().expect("a file");
        file.as_file().metadata().expect("a file").blocks() * 512
    }

    #[test]
    fn zeros_take_no_room_and_nothing_else_is_lost() {
        let data = |length: usize| (1..=length).map(|byte| u8::try_from(byte % 251).expect("small") | 1);
        let zeros = |length: usize| std::iter::repeat_n(0, length);
        let cases: [(Vec<u8>, u64); 8] = [
            (Vec::new(), 0),
            (zeros(10).collect(), 4096),
            (zeros(4 << 20).collect(), 0),
            (data(1).chain(zeros(4 << 20)).collect(), BLOCK as u64),
            (zeros(4 << 20).chain(data(1)).collect(), BLOCK as u64),
            (data(100_000).chain(zeros(2 << 20)).chain(data(77)).chain(zeros(1 << 20)).collect(), 3 * BLOCK as u64),
            (data(BLOCK).chain(zeros(BLOCK)).chain(data(BLOCK)).collect(), 2 * BLOCK as u64),
            (data(300_000).collect(), u64::MAX),
        ];
        for (bytes, most) in &cases {
            for piece in [1 << 20, 256 * 1024, 131_056, 65_537, 5000] {
                let room = check(bytes, piece);
                // Where holes cannot be made, only the bytes are judged.
                assert!(room <= most.saturating_add(3 * BLOCK as u64) || room >= bytes.len() as u64, "{room} > {most}");
            }
        }
        let sparse = check(&cases[2].0, 131_056);
        assert!(sparse < 1 << 20, "{sparse} bytes of the disk for 4 MiB of nothing");
    }
}
