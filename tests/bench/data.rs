//! Trees of files, the same on every machine for the same seed.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What a tree is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 30 000 small files in 7 000 folders, 250 MB, a fifth of them not compressible.
    Many,
    /// A project: 2 000 files and 8 links, 43 MB, most of it in a few binary files.
    Typical,
}

impl Kind {
    /// Returns the name of the tree's folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Many => "many",
            Self::Typical => "typical",
        }
    }
}

/// A small and fast source of numbers (`splitmix64`): the data has to be the same, not secret.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = limit.max(1) as u64;
        usize::try_from(self.next() % limit).expect("a remainder is below a usize")
    }
}

/// Makes a tree at `root` and returns the paths of its text files, relative to it.
pub(crate) fn make(root: &Path, kind: Kind, seed: u64) -> io::Result<Vec<String>> {
    let mut random = Random::new(seed);
    let words = words(&mut random);
    fs::create_dir_all(root)?;
    let mut texts = Vec::new();
    match kind {
        Kind::Many => {
            for folder in 0..7000 {
                let path = format!("p{:02}/m{:02}/d{folder:04}", folder % 50, folder / 50 % 20);
                fs::create_dir_all(root.join(&path))?;
                // 4 or 5 files each: 30 000 in all.
                for file in 0..4 + usize::from(folder % 7 < 2) {
                    let size = size(&mut random, 174, 6);
                    let binary = random.below(5) == 0;
                    let name = format!("{path}/f{file}.{}", if binary { "bin" } else { "py" });
                    write(&root.join(&name), size, binary, &words, &mut random)?;
                    if !binary {
                        texts.push(name);
                    }
                }
            }
        }
        Kind::Typical => {
            for file in 0..1970 {
                let path = format!("src/part{:02}/area{}", file % 40, file % 3);
                fs::create_dir_all(root.join(&path))?;
                let name = format!("{path}/module_{file:04}.py");
                let size = size(&mut random, 122, 6);
                write(&root.join(&name), size, false, &words, &mut random)?;
                texts.push(name);
            }
            fs::create_dir_all(root.join("data"))?;
            for file in 0..30 {
                write(&root.join(format!("data/weights_{file:02}.bin")), 1 << 20, true, &words, &mut random)?;
            }
            for link in 0..8 {
                symlink(format!("data/weights_{link:02}.bin"), root.join(format!("latest_{link}")))?;
            }
        }
    }
    Ok(texts)
}

/// Returns a size such as source files have: mostly a few kilobytes, seldom a hundred.
fn size(random: &mut Random, smallest: usize, doublings: usize) -> usize {
    let magnitude = smallest << random.below(doublings + 2);
    magnitude + random.below(magnitude)
}

fn words(random: &mut Random) -> Vec<Vec<u8>> {
    let word = |random: &mut Random| {
        let mut word: Vec<u8> = (0..2 + random.below(9)).map(|_| b"etaoinshrdlucmfwypvbgk"[random.below(22)]).collect();
        word.push(b" \n"[usize::from(random.below(9) == 0)]);
        word
    };
    (0..2048).map(|_| word(random)).collect()
}

fn write(path: &Path, size: usize, binary: bool, words: &[Vec<u8>], random: &mut Random) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        if binary {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        } else {
            bytes.extend_from_slice(&words[random.below(words.len())]);
        }
    }
    bytes.truncate(size);
    fs::write(path, bytes)
}
