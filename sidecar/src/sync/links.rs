//! Pure: which paths are names of the same file. A save under one of them changes all, and a watcher tells of one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use protocol::path::RelPath;
use protocol::sync::Content;

use super::plan::below;
use super::source::{Linked, Scan};
use crate::store::Base;

/// Inode and device.
type Inode = (u64, u64);

/// The files with more than one name, as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: BTreeMap<Inode, BTreeSet<RelPath>>,
    of: BTreeMap<RelPath, Inode>,
    /// How many names a file had when the base was asked for them.
    asked: BTreeMap<Inode, u64>,
}

impl Links {
    /// Takes over what a look found.
    pub(super) fn looked(&mut self, scan: &Scan) {
        match &scan.looked_at {
            None => *self = Self::default(),
            Some(asked) => {
                for folder in asked {
                    self.forget(folder);
                }
            }
        }
        for (path, linked) in &scan.linked {
            self.forget_one(path);
            self.of.insert(path.clone(), linked.inode);
            self.names.entry(linked.inode).or_default().insert(path.clone());
        }
    }

    /// Returns the other paths that hold the bytes of those that are sent, of which nothing was said. The base is
    /// asked, once for all of them, where fewer names are known than a file has: it had one name when it was seen, and
    /// got another since. A name outside of the workspace is looked for once, and not again until there are more.
    pub(super) fn others(&mut self, sent: &[(&RelPath, Linked)], base: &BTreeMap<RelPath, Base>) -> BTreeSet<RelPath> {
        let mut others = BTreeSet::new();
        let (mut inodes, mut contents) = (BTreeSet::new(), HashSet::new());
        for (path, linked) in sent {
            let known = self.names.get(&linked.inode);
            others.extend(known.into_iter().flatten().cloned());
            let has_more = known.map_or(0, |names| names.len() as u64) < linked.names;
            if !has_more || self.asked.get(&linked.inode).is_some_and(|before| *before >= linked.names) {
                continue;
            }
            inodes.insert(linked.inode);
            if let Some(base) = base.get(*path) {
                self.asked.insert(linked.inode, linked.names);
                if let Content::File { hash, size: 1.., .. } = base.content {
                    contents.insert(hash);
                }
            }
        }
        if !inodes.is_empty() {
            let same = |other: &Base| {
                other.local.is_some_and(|stamp| inodes.contains(&(stamp.inode, stamp.device)))
                    || matches!(&other.content, Content::File { hash, .. } if contents.contains(hash))
            };
            others.extend(base.iter().filter(|(_, other)| same(other)).map(|(path, _)| path.clone()));
        }
        let mut names: BTreeMap<Inode, u32> = BTreeMap::new();
        for (_, linked) in sent {
            *names.entry(linked.inode).or_default() += 1;
        }
        for (path, linked) in sent {
            if names.get(&linked.inode) == Some(&1) {
                others.remove(*path);
            }
        }
        others
    }

    fn forget(&mut self, folder: &RelPath) {
        for path in below(&self.of, folder).map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.forget_one(&path);
        }
    }

    fn forget_one(&mut self, path: &RelPath) {
        let Some(inode) = self.of.remove(path) else { return };
        if let Some(names) = self.names.get_mut(&inode) {
            names.remove(path);
            if names.is_empty() {
                self.names.remove(&inode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::sync::{Hash, Stamp};

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn linked(inode: u64, names: u64) -> Linked {
        Linked { inode: (inode, 1), names }
    }

    fn scan(asked: Option<&[&str]>, found: &[(&str, u64)]) -> Scan {
        Scan {
            looked_at: asked.map(|asked| asked.iter().map(|text| path(text)).collect()),
            linked: found.iter().map(|(text, inode)| (path(text), linked(*inode, 2))).collect(),
            ..Scan::default()
        }
    }

    fn base(hash: u8, inode: Option<u64>) -> Base {
        let stamp = |inode| Stamp { size: 3, mtime_ns: 0, ctime_ns: 0, inode, device: 1 };
        let content = Content::File { hash: Hash([hash; 32]), size: 3, executable: false };
        Base { content, mode: 0o644, local: inode.map(stamp), remote: None }
    }

    #[track_caller]
    fn check(links: &mut Links, of: &str, linked: Linked, base: &[(&str, Base)], others: &[&str]) {
        let base = base.iter().map(|(text, base)| (path(text), base.clone())).collect();
        let found = links.others(&[(&path(of), linked)], &base);
        assert_eq!(found.iter().map(RelPath::as_str).collect::<Vec<_>>(), others);
    }

    #[test]
    fn names_are_learned_and_forgotten() {
        let mut links = Links::default();
        links.looked(&scan(None, &[("a", 7), ("d-e", 7), ("d/b", 7), ("other", 8)]));
        check(&mut links, "a", linked(7, 3), &[], &["d-e", "d/b"]);
        links.looked(&scan(Some(&["d"]), &[]));
        check(&mut links, "a", linked(7, 2), &[], &["d-e"]);
        // Replaced by another file, which has two names of its own.
        links.looked(&scan(Some(&["a"]), &[("a", 8)]));
        check(&mut links, "a", linked(8, 2), &[], &["other"]);
        links.looked(&scan(None, &[]));
        check(&mut links, "a", linked(8, 2), &[], &[]);
    }

    #[test]
    fn a_name_that_was_the_only_one_is_found_by_what_is_remembered() {
        let mut links = Links::default();
        links.looked(&scan(Some(&["new"]), &[("new", 7)]));
        let known = [("by-inode", base(1, Some(7))), ("else", base(2, Some(9))), ("young", base(3, None))];
        check(&mut links, "new", linked(7, 2), &known, &["by-inode"]);
        let mut known = known.to_vec();
        known.push(("new", base(3, None)));
        check(&mut links, "new", linked(7, 2), &known, &["by-inode", "young"]);
        links.looked(&scan(Some(&["by-inode"]), &[("by-inode", 7)]));
        check(&mut links, "new", linked(7, 2), &known, &["by-inode"]);
    }
}
