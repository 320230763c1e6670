//! A person who edits at random: the same seed does the same to the same tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Numbers that look random, the same for the same seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).expect("it is below a usize")
    }

    /// Returns one of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Names that are used again and again, so that edits meet: cases, accents in two forms, blanks, dots.
const NAMES: &[&str] =
    &["a", "A", "b.py", "B.py", "data", "Data", "ü", "u\u{308}", "with blank", "-dash", ".hidden", "日本", "x.tar.gz"];

/// Edits the tree below a folder.
#[derive(Debug)]
pub struct Editor {
    root: PathBuf,
    random: Random,
}

impl Editor {
    /// Edits below `root`.
    pub fn new(root: &Path, seed: u64) -> Self {
        Self { root: root.to_owned(), random: Random::new(seed) }
    }

    /// Does `count` edits and returns what they were.
    pub fn some(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> String {
        let path = self.place();
        let shown = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
        let present = path.symlink_metadata().ok();
        match self.random.below(13) {
            0..=3 => {
                remove(&path);
                let size = *self.random.pick(&[0, 1, 100, 5_000, 70_000, 1_200_000]);
                let byte = u8::try_from(self.random.below(256)).expect("it is below 256");
                fs::write(&path, vec![byte; size]).expect("our own folder");
                format!("write {shown} {size}")
            }
            4 => {
                remove(&path);
                format!("remove {shown}")
            }
            5 => {
                remove(&path);
                fs::create_dir(&path).expect("our own folder");
                format!("folder {shown}")
            }
            6 => {
                remove(&path);
                let target = *self.random.pick(NAMES);
                symlink(target, &path).expect("our own folder");
                format!("link {shown} -> {target}")
            }
            7 if present.as_ref().is_some_and(fs::Metadata::is_file) => {
                let mode = *self.random.pick(&[0o644, 0o755]);
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
                format!("mode {shown} {mode:o}")
            }
            8 | 9 if present.is_some() => {
                let to = self.place();
                if to.starts_with(&path) || path.starts_with(&to) {
                    return format!("keep {shown}");
                }
                remove(&to);
                fs::rename(&path, &to).expect("our own folder");
                format!("rename {shown} to {}", to.strip_prefix(&self.root).unwrap_or(&to).display())
            }
            10 if present.is_some() => {
                let to = self.place();
                if to.starts_with(&path) || path.starts_with(&to) || to.symlink_metadata().is_err() {
                    return format!("keep {shown}");
                }
                let aside = self.root.join("aside");
                for (from, to) in [(&path, &aside), (&to, &path), (&aside, &to)] {
                    fs::rename(from, to).expect("our own folder");
                }
                format!("swap {shown} and {}", to.strip_prefix(&self.root).unwrap_or(&to).display())
            }
            11 if present.is_some() => {
                let to = self.place();
                if to.starts_with(&path) || path.starts_with(&to) {
                    return format!("keep {shown}");
                }
                remove(&to);
                copy(&path, &to);
                format!("copy {shown} to {}", to.strip_prefix(&self.root).unwrap_or(&to).display())
            }
            _ if present.as_ref().is_some_and(fs::Metadata::is_file) => {
                let mut bytes = fs::read(&path).expect("our own file");
                bytes.extend_from_slice(b"appended");
                fs::write(&path, bytes).expect("our own file");
                format!("append {shown}")
            }
            _ => format!("keep {shown}"),
        }
    }

    /// Returns a path whose folder is there, four levels deep at most.
    fn place(&mut self) -> PathBuf {
        let mut folder = self.root.clone();
        for _ in 0..self.random.below(4) {
            let next = folder.join(self.random.pick(NAMES));
            if !next.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                break;
            }
            folder = next;
        }
        folder.join(self.random.pick(NAMES))
    }
}

/// Copies what is there with everything below it, as `cp -r` does but for links, which stay links.
fn copy(from: &Path, to: &Path) {
    let kind = from.symlink_metadata().expect("our own folder").file_type();
    if kind.is_dir() {
        fs::create_dir(to).expect("our own folder");
        for entry in fs::read_dir(from).expect("our own folder").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if kind.is_symlink() {
        symlink(fs::read_link(from).expect("our own link"), to).expect("our own folder");
    } else {
        fs::copy(from, to).expect("our own file");
    }
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).expect("our own folder"),
        Ok(_) => fs::remove_file(path).expect("our own file"),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;
    use crate::work::Work;

    #[test]
    fn the_same_seed_does_the_same() {
        let trees = [Work::new(), Work::new()].map(|work| {
            let done = Editor::new(&work.workspace(), 7).some(200);
            (done, oracle::canary(&work.workspace()))
        });
        assert_eq!(trees[0], trees[1]);
        for kind in ["rename", "swap", "copy"] {
            assert!(trees[0].0.iter().any(|edit| edit.starts_with(kind)), "{kind}");
        }
    }
}
