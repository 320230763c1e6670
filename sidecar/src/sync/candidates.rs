//! Pure: which new files are read before it is decided what to send, because the remote may have their bytes
//! under another name.
//!
//! A file that vanished here is worth a look at everything of its length. What stays is looked for only among
//! files that are long enough, and only so much is read: reading is cheaper than sending, but not free.

use std::collections::{BTreeMap, BTreeSet};

use protocol::path::RelPath;
use protocol::sync::Content;

use super::index::Index;
use super::plan::{Abilities, Held, below, folders_above};
use super::source::Scan;
use crate::store::Base;

/// Most bytes that are read in one look to find copies; a single longer file is read nevertheless. A second of
/// reading and hashing at 1 GiB/s, which may save ten of a link of 1 Gbit/s.
const MOST_BYTES: u64 = 1 << 30;

/// Returns the unread files of a look that may equal one of the base.
pub(super) fn candidates(index: &Index, scan: &Scan, base: &BTreeMap<RelPath, Base>, able: Abilities) -> Vec<RelPath> {
    let mut unread = Vec::new();
    for (path, local) in &scan.found {
        if let Held::File { hash: None, size } = local.held {
            unread.push((path, size));
        }
    }
    if unread.is_empty() || base.is_empty() {
        return Vec::new();
    }
    let leaving = if able.moves { leaving(scan, base) } else { BTreeSet::new() };
    let mut read = 0_u64;
    let mut is_copy = |size: u64| {
        let wanted = able.copies && index.has_length(size) && (read == 0 || read.saturating_add(size) <= MOST_BYTES);
        if wanted {
            read = read.saturating_add(size);
        }
        wanted
    };
    unread.retain(|(_, size)| leaving.contains(size) || is_copy(*size));
    unread.into_iter().map(|(path, _)| path.clone()).collect()
}

fn size(base: Option<&Base>) -> Option<u64> {
    match base.map(|base| &base.content) {
        Some(Content::File { size, .. }) => Some(*size),
        Some(Content::Folder | Content::Link { .. } | Content::Special) | None => None,
    }
}

/// Returns the lengths of what the base knows and the look did not find any more.
fn leaving(scan: &Scan, base: &BTreeMap<RelPath, Base>) -> BTreeSet<u64> {
    let unknown = |path: &RelPath| {
        !scan.unknown.is_empty()
            && (scan.unknown.contains(path) || folders_above(path).any(|folder| scan.unknown.contains(&folder)))
    };
    let left = |(path, base): (&RelPath, &Base)| {
        let size = size(Some(base))?;
        let stays = match scan.found.get(path).map(|local| &local.held) {
            Some(Held::File { hash, size: now }) => match (&base.content, hash) {
                (Content::File { hash: old, .. }, Some(new)) => old == new,
                // Of the same length, it is what is asked about; of another, it changed.
                (_, _) => *now == size,
            },
            Some(Held::Folder | Held::Link { .. }) => false,
            None => unknown(path) || scan.ignored.contains(path),
        };
        (!stays).then_some(size)
    };
    match &scan.looked_at {
        None => base.iter().filter_map(left).collect(),
        Some(asked) => asked.iter().flat_map(|path| below(base, path)).filter_map(left).collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::sync::Hash;

    use super::super::plan::Local;
    use super::*;

    const ABLE: Abilities = Abilities { moves: true, copies: true };

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn base(files: &[(&str, u64)]) -> BTreeMap<RelPath, Base> {
        let file = |size| Content::File { hash: Hash([1; 32]), size, executable: false };
        let base = |size| Base { content: file(size), mode: 0o644, local: None, remote: None };
        files.iter().map(|(name, size)| (path(name), base(*size))).collect()
    }

    fn scan(files: &[(&str, u64, Option<u8>)]) -> Scan {
        let found = files.iter().map(|(name, size, hash)| {
            let held = Held::File { hash: hash.map(|byte| Hash([byte; 32])), size: *size };
            (path(name), Local { held, mode: 0o644, stamp: None })
        });
        Scan { found: found.collect(), ..Scan::default() }
    }

    fn found(known: &BTreeMap<RelPath, Base>, here: &Scan, able: Abilities) -> Vec<RelPath> {
        candidates(&Index::of(known, false), here, known, able)
    }

    #[track_caller]
    fn check(known: &[(&str, u64)], here: &[(&str, u64, Option<u8>)], expected: &[&str]) {
        let known = base(known);
        let found = found(&known, &scan(here), ABLE);
        assert_eq!(found.iter().map(RelPath::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_what_may_be_equal_is_read() {
        // A first population reads nothing, whatever is in it.
        check(&[], &[("a", 9000, None), ("b", 9000, None)], &[]);
        // Short files only when one of their length is gone or became another.
        check(&[("a", 9)], &[("a", 9, Some(1)), ("b", 9, None)], &[]);
        check(&[("a", 9)], &[("b", 9, None), ("c", 8, None)], &["b"]);
        check(&[("a", 9)], &[("a", 9, Some(2)), ("b", 9, None)], &["b"]);
        check(&[("a", 9)], &[("a", 7, None), ("b", 9, None)], &["b"]);
        // Long files when any has their length.
        check(&[("a", 9000)], &[("a", 9000, Some(1)), ("b", 9000, None), ("c", 9001, None)], &["b"]);
        let known = base(&[("a", 9000)]);
        let unable = found(&known, &scan(&[("b", 9000, None)]), Abilities::default());
        assert_eq!(unable, []);
    }

    #[test]
    fn what_is_unknown_or_ignored_has_not_left() {
        let known = base(&[("d/a", 9)]);
        let here = scan(&[("b", 9, None)]);
        let unknown = Scan { unknown: BTreeSet::from([path("d")]), ..here.clone() };
        let ignored = Scan { ignored: BTreeSet::from([path("d/a")]), ..here };
        for scan in [unknown, ignored] {
            assert_eq!(found(&known, &scan, ABLE), []);
        }
    }

    #[test]
    fn copies_are_looked_for_within_bounds() {
        let known = base(&[("a", MOST_BYTES), ("b", MOST_BYTES / 2)]);
        let mut here = scan(&[("a", MOST_BYTES, Some(1)), ("b", MOST_BYTES / 2, Some(1))]);
        let half: Vec<String> = (0..3).map(|number| format!("half-{number}")).collect();
        here.found
            .extend(scan(&half.iter().map(|name| (name.as_str(), MOST_BYTES / 2, None)).collect::<Vec<_>>()).found);
        assert_eq!(found(&known, &here, ABLE), [path("half-0"), path("half-1")]);
        here.found.remove(&path("b"));
        assert_eq!(found(&known, &here, ABLE).len(), 3, "one is gone, which each may be");
    }
}
