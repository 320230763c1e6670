//! Pure: which names are one to a file system that ignores case, or how Unicode composes a letter, and which of them
//! stand in each other's way.

use std::collections::{BTreeMap, BTreeSet};

use protocol::path::RelPath;
use unicode_normalization::UnicodeNormalization as _;

use super::super::index::Index;
use super::{Input, folders_above};

/// Returns what all spellings of a path have in common there (Unicode Standard Annex 15, and lower case).
pub fn folded(path: &RelPath) -> String {
    let text = path.as_str();
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Composed again, since what is made small may compose otherwise.
    text.nfc().collect::<String>().to_lowercase().nfc().collect()
}

/// Returns each path that shares its case-folded name with another, and that other. Neither is written:
/// which of them the remote would end up with is a matter of luck.
pub(super) fn collisions(input: Input<'_>) -> BTreeMap<RelPath, RelPath> {
    if let (Some(paths), Some(index)) = (input.paths, input.index.filter(|index| index.knows_spellings())) {
        return collisions_of(input, paths, index);
    }
    // Outside of the paths to decide, the base is the best that is known of the workspace.
    let elsewhere = input.base.keys().filter(|path| input.paths.is_some_and(|paths| !paths.contains(*path)));
    let mut spelled: BTreeMap<String, &RelPath> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for path in input.local.keys().chain(elsewhere) {
        if let Some(first) = spelled.insert(folded(path), path).filter(|first| *first != path) {
            found.insert(path.clone(), first.clone());
            found.insert(first.clone(), path.clone());
        }
    }
    found
}

/// The same for some paths, without a walk of the tree.
fn collisions_of(input: Input<'_>, paths: &BTreeSet<RelPath>, index: &Index) -> BTreeMap<RelPath, RelPath> {
    let is_here =
        |path: &RelPath| input.local.contains_key(path) || input.base.contains_key(path) && !paths.contains(path);
    let mut spelled: BTreeMap<String, BTreeSet<&RelPath>> = BTreeMap::new();
    for path in input.local.keys() {
        spelled.entry(folded(path)).or_default().insert(path);
    }
    let above: BTreeSet<RelPath> = paths.iter().flat_map(folders_above).collect();
    let mut found = BTreeMap::new();
    for path in paths.iter().chain(&above).chain(input.local.keys()).filter(|path| is_here(path)) {
        let folded = folded(path);
        let here = spelled.get(&folded).into_iter().flatten().copied();
        let mut others = here.chain(index.spelled(&folded)).filter(|other| *other != path && is_here(other));
        if let Some(other) = others.next() {
            found.insert(path.clone(), other.clone());
            found.insert(other.clone(), path.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one() {
        let fold = |text: &str| folded(&RelPath::new(text).expect("a plain path"));
        for (one, other) in [
            ("README", "Readme"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}/A", "cafe\u{301}/a"),
            ("\u{212b}", "\u{e5}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
        }
        for (one, other) in [("cafe", "caf\u{e9}"), ("a/b", "ab"), ("a_b", "a-b")] {
            assert_ne!(fold(one), fold(other), "{one} and {other}");
        }
    }
}
