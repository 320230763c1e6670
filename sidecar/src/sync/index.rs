//! Pure: what the base holds, counted, and kept up as it changes: a save must not cost a walk of the tree.
//!
//! It only ever says that something may be there; whoever wants to know looks at the base.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::path::RelPath;
use protocol::sync::{Content, Hash};

use super::git;
use super::plan::{COPY_FROM, folded};
use crate::store::Base;

/// What a base holds. Files that are too short to be copied do not count.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// How many files have which length.
    lengths: HashMap<u64, u32>,
    /// How many files have a hash that begins so: a whole one would cost four times the memory, and two that begin
    /// alike cost a look at the base.
    hashes: HashMap<u64, u32>,
    /// How many paths are of the `.git` folder.
    of_unit: usize,
    /// The paths by what all their spellings have in common; only for a remote to which they are one.
    spellings: Option<HashMap<String, BTreeSet<RelPath>>>,
}

fn file(base: Option<&Base>) -> Option<(u64, Hash)> {
    match base.map(|base| &base.content) {
        Some(Content::File { size, hash, .. }) if *size >= COPY_FROM => Some((*size, *hash)),
        Some(Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special) | None => None,
    }
}

fn beginning(hash: &Hash) -> u64 {
    hash.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Index {
    /// Counts all of a base. `by_spelling` is for a remote to which all spellings of a name are one.
    pub fn of(base: &BTreeMap<RelPath, Base>, by_spelling: bool) -> Self {
        let mut index = Self { spellings: by_spelling.then(HashMap::new), ..Self::default() };
        for (path, base) in base {
            index.change(path, None, Some(base));
        }
        index
    }

    /// Takes over a change of the base at `path`.
    pub fn change(&mut self, path: &RelPath, old: Option<&Base>, new: Option<&Base>) {
        if let Some((size, hash)) = file(old) {
            less(&mut self.lengths, size);
            less(&mut self.hashes, beginning(&hash));
        }
        if let Some((size, hash)) = file(new) {
            *self.lengths.entry(size).or_default() += 1;
            *self.hashes.entry(beginning(&hash)).or_default() += 1;
        }
        if old.is_some() == new.is_some() {
            return;
        }
        if git::is_of_unit(path) {
            self.of_unit = if new.is_some() { self.of_unit + 1 } else { self.of_unit.saturating_sub(1) };
        }
        let Some(spellings) = &mut self.spellings else { return };
        let folded = folded(path);
        if new.is_some() {
            spellings.entry(folded).or_default().insert(path.clone());
        } else if let Some(paths) = spellings.get_mut(&folded) {
            paths.remove(path);
            if paths.is_empty() {
                spellings.remove(&folded);
            }
        }
    }

    /// Returns whether a file of the base is that long, and long enough to be copied.
    pub fn has_length(&self, size: u64) -> bool {
        self.lengths.contains_key(&size)
    }

    /// Returns whether a file of the base may have these bytes, and be long enough to be copied.
    pub fn may_hold(&self, hash: &Hash) -> bool {
        self.hashes.contains_key(&beginning(hash))
    }

    /// Returns how many paths of the base are of the `.git` folder.
    pub fn of_unit(&self) -> usize {
        self.of_unit
    }

    /// Returns whether it knows of spellings.
    pub fn knows_spellings(&self) -> bool {
        self.spellings.is_some()
    }

    /// Returns the paths of the base that are spelled like the one that is folded so.
    pub fn spelled(&self, folded: &str) -> impl Iterator<Item = &RelPath> {
        self.spellings.as_ref().and_then(|spellings| spellings.get(folded)).into_iter().flatten()
    }
}

fn less(counts: &mut HashMap<u64, u32>, key: u64) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn base(files: &[(&str, u64)]) -> BTreeMap<RelPath, Base> {
        let content = |size: u64| Content::File { hash: hash(size), size, executable: false };
        let base = |size| Base { content: content(size), mode: 0o644, local: None, remote: None };
        files.iter().map(|(name, size)| (path(name), base(*size))).collect()
    }

    fn hash(size: u64) -> Hash {
        Hash(*blake3::hash(&size.to_le_bytes()).as_bytes())
    }

    #[test]
    fn counts_follow_the_base() {
        let known = base(&[("a", 9000), ("b", 9000), ("c", 5000), ("d", 5), (".git", 6), (".git/HEAD", 7)]);
        let mut index = Index::of(&known, true);
        assert!(index.has_length(9000) && index.has_length(5000) && !index.has_length(5));
        assert!(index.may_hold(&hash(9000)) && !index.may_hold(&hash(5)));
        assert_eq!(index.of_unit(), 2);
        index.change(&path("a"), known.get(&path("a")), known.get(&path("c")));
        index.change(&path("d"), known.get(&path("d")), None);
        index.change(&path("b"), known.get(&path("b")), known.get(&path("d")));
        assert!(!index.has_length(9000) && !index.may_hold(&hash(9000)) && index.has_length(5000));
        index.change(&path(".git/HEAD"), known.get(&path(".git/HEAD")), None);
        assert_eq!(index.of_unit(), 1);
        assert_eq!((index.spelled("a").count(), index.spelled("d").count()), (1, 0));
    }
}
