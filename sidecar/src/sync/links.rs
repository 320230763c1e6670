//! Pure: which paths are names of the same file. A save under one of them changes all, and a watcher tells of one.

use std::collections::{BTreeMap, BTreeSet};

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

    /// Returns the other paths that hold the bytes of `path`, of which nothing was said. The base is asked where
    /// fewer names are known than the file has: a file had one name when it was seen, and got another since.
    pub(super) fn others(&self, path: &RelPath, linked: Linked, base: &BTreeMap<RelPath, Base>) -> BTreeSet<RelPath> {
        let mut others = self.names.get(&linked.inode).cloned().unwrap_or_default();
        if (others.len() as u64) < linked.names {
            let before = base.get(path).map(|base| &base.content);
            let same = |other: &Base| {
                other.local.is_some_and(|stamp| (stamp.inode, stamp.device) == linked.inode)
                    || matches!(other.content, Content::File { .. }) && before == Some(&other.content)
            };
            others.extend(base.iter().filter(|(_, other)| same(other)).map(|(path, _)| path.clone()));
        }
        others.remove(path);
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
    fn check(links: &Links, of: &str, linked: Linked, base: &[(&str, Base)], others: &[&str]) {
        let base = base.iter().map(|(text, base)| (path(text), base.clone())).collect();
        let found = links.others(&path(of), linked, &base);
        assert_eq!(found.iter().map(RelPath::as_str).collect::<Vec<_>>(), others);
    }

    #[test]
    fn names_are_learned_and_forgotten() {
        let mut links = Links::default();
        links.looked(&scan(None, &[("a", 7), ("d-e", 7), ("d/b", 7), ("other", 8)]));
        check(&links, "a", linked(7, 3), &[], &["d-e", "d/b"]);
        links.looked(&scan(Some(&["d"]), &[]));
        check(&links, "a", linked(7, 2), &[], &["d-e"]);
        // Replaced by another file, which has two names of its own.
        links.looked(&scan(Some(&["a"]), &[("a", 8)]));
        check(&links, "a", linked(8, 2), &[], &["other"]);
        links.looked(&scan(None, &[]));
        check(&links, "a", linked(8, 2), &[], &[]);
    }

    #[test]
    fn a_name_that_was_the_only_one_is_found_by_what_is_remembered() {
        let mut links = Links::default();
        links.looked(&scan(Some(&["new"]), &[("new", 7)]));
        let known = [("by-inode", base(1, Some(7))), ("else", base(2, Some(9))), ("young", base(3, None))];
        check(&links, "new", linked(7, 2), &known, &["by-inode"]);
        let mut known = known.to_vec();
        known.push(("new", base(3, None)));
        check(&links, "new", linked(7, 2), &known, &["by-inode", "young"]);
        links.looked(&scan(Some(&["by-inode"]), &[("by-inode", 7)]));
        check(&links, "new", linked(7, 2), &known, &["by-inode"]);
    }
}
