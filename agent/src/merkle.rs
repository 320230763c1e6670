//! Folders as hashes of what they hold: two trees whose roots have one hash hold the same. Both ends of a sync
//! reckon by this, so it is part of the protocol.
//!
//! Names, kinds, bytes, execute bits and the text of links count; times, owners and other permissions do not.

use std::cmp::Ordering;

use protocol::sync::{Content, Hash};

/// What a path holds; see [`Content`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A folder; what is below it follows.
    Folder,
    /// A file.
    File {
        /// Hash of its bytes.
        hash: &'a Hash,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A link with this text.
    Link(&'a str),
    /// Something that is never given.
    Special,
}

impl<'a> From<&'a Content> for Node<'a> {
    fn from(content: &'a Content) -> Self {
        match content {
            Content::File { hash, executable, .. } => Self::File { hash, executable: *executable },
            Content::Folder => Self::Folder,
            Content::Link { target } => Self::Link(target),
            Content::Special => Self::Special,
        }
    }
}

/// Compares two paths so that everything below a folder comes right after it, which plain text order does not:
/// there `a-b` stands between `a` and `a/x`.
pub fn order(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    // No path holds a NUL, so nothing stands before a slash.
    let key = |bytes: &[u8]| bytes.get(same).map(|byte| if *byte == b'/' { 0 } else { *byte });
    key(one).cmp(&key(other))
}

/// Returns whether `path` lies below `folder`; the empty text is the root.
pub fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whoever is told each folder once everything below it is known.
pub trait Visitor {
    /// What is kept of a folder until it is complete.
    type Of;
    /// Begins a folder; the empty text is the root.
    fn begin(&mut self, folder: &str) -> Self::Of;
    /// Ends a folder with its hash; `parent` is what is kept of the folder it is in, `None` for the root.
    fn end(&mut self, folder: &str, hash: Hash, of: Self::Of, parent: Option<&mut Self::Of>);
}

/// A tree in the making. Memory is bounded by its depth.
#[derive(Debug)]
pub struct Tree<V: Visitor> {
    visitor: V,
    /// The open folders, from the root; the length of each one's path.
    open: Vec<(usize, blake3::Hasher, V::Of)>,
    path: String,
}

impl<V: Visitor> Tree<V> {
    /// Returns the empty tree.
    pub fn new(mut visitor: V) -> Self {
        let root = visitor.begin("");
        Self { visitor, open: vec![(0, blake3::Hasher::new(), root)], path: String::new() }
    }

    /// Adds a path, which has to come after the one before it in [`order`]. Folders on the way count as given.
    pub fn add(&mut self, path: &str, node: Node<'_>) {
        self.close_until(path);
        let folders = match node {
            Node::Folder => path,
            Node::File { .. } | Node::Link(_) | Node::Special => path.rsplit_once('/').map_or("", |(parent, _)| parent),
        };
        while self.path.len() < folders.len() {
            let begin = if self.path.is_empty() { 0 } else { self.path.len() + 1 };
            let rest = &folders[begin..];
            let end = begin + rest.find('/').unwrap_or(rest.len());
            self.path.clear();
            self.path.push_str(&folders[..end]);
            let of = self.visitor.begin(&self.path);
            self.open.push((end, blake3::Hasher::new(), of));
        }
        if let Some((_, hasher, _)) = self.open.last_mut() {
            feed(hasher, name(path), node, None);
        }
    }

    /// Returns what is kept of the folders that lead to the path that was added last, from the root. A folder
    /// leads to itself.
    pub fn open(&mut self) -> impl DoubleEndedIterator<Item = &mut V::Of> {
        self.open.iter_mut().map(|(_, _, of)| of)
    }

    /// Ends the tree and returns the visitor, which was told of every folder, the root last.
    pub fn finish(mut self) -> V {
        while !self.open.is_empty() {
            self.close();
        }
        self.visitor
    }

    fn close_until(&mut self, path: &str) {
        while !(self.path.is_empty() || is_below(path, &self.path)) {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some((length, hasher, of)) = self.open.pop() else { return };
        let hash = Hash(*hasher.finalize().as_bytes());
        debug_assert_eq!(length, self.path.len(), "the open folders lead to the last path");
        let parent = match self.open.last_mut() {
            Some((_, above, kept)) => {
                feed(above, name(&self.path), Node::Folder, Some(hash));
                Some(kept)
            }
            None => None,
        };
        self.visitor.end(&self.path, hash, of, parent);
        let above = self.open.last().map_or(0, |(length, _, _)| *length);
        self.path.truncate(above);
    }
}

/// Returns the last name of a path.
fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Takes up one name of a folder: kind, lengths and all, so that no two trees are written alike. A folder is
/// taken up when it is complete.
fn feed(hasher: &mut blake3::Hasher, name: &str, node: Node<'_>, folder: Option<Hash>) {
    let mut begin = |kind: u8| {
        let length = u32::try_from(name.len()).expect("a path has less than 4 GiB").to_le_bytes();
        hasher.update(&[kind]).update(&length).update(name.as_bytes());
    };
    match (node, folder) {
        (Node::Folder, None) => {}
        (Node::Folder, Some(hash)) => {
            begin(0);
            hasher.update(&hash.0);
        }
        (Node::File { hash, executable }, _) => {
            begin(if executable { 2 } else { 1 });
            hasher.update(&hash.0);
        }
        (Node::Link(target), _) => {
            begin(3);
            hasher.update(blake3::hash(target.as_bytes()).as_bytes());
        }
        (Node::Special, _) => begin(4),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct All(BTreeMap<String, Hash>);

    impl Visitor for All {
        type Of = ();
        fn begin(&mut self, _: &str) {}
        fn end(&mut self, folder: &str, hash: Hash, (): (), _: Option<&mut ()>) {
            assert!(self.0.insert(folder.to_owned(), hash).is_none(), "{folder} ends twice");
        }
    }

    /// Returns the hashes of a tree: names that end in a slash are folders, `*` marks execute bits, `name>text`
    /// is a link.
    fn hashes(paths: &[&str]) -> BTreeMap<String, Hash> {
        let mut paths: Vec<&str> = paths.to_vec();
        paths.sort_by(|one, other| order(one.trim_end_matches(['/', '*']), other.trim_end_matches(['/', '*'])));
        let mut tree = Tree::new(All::default());
        for path in paths {
            let content = Hash([u8::try_from(path.len()).expect("short"); 32]);
            let content = Hash(*blake3::hash(&content.0).as_bytes());
            if let Some(folder) = path.strip_suffix('/') {
                tree.add(folder, Node::Folder);
            } else if let Some((path, target)) = path.split_once('>') {
                tree.add(path, Node::Link(target));
            } else {
                let file = Node::File { hash: &content, executable: path.ends_with('*') };
                tree.add(path.trim_end_matches('*'), file);
            }
        }
        tree.finish().0
    }

    #[test]
    fn below_a_folder_comes_right_after_it() {
        let mut paths = ["b", "a/x/y", "a-b", "a", "a/x", "a.c", "a/x-y", "ab"];
        paths.sort_by(|one, other| order(one, other));
        assert_eq!(paths, ["a", "a/x", "a/x/y", "a/x-y", "a-b", "a.c", "ab", "b"]);
        assert_eq!(order("a/x", "a/x"), Ordering::Equal);
    }

    #[test]
    fn a_difference_shows_up_to_the_root_and_nowhere_else() {
        let tree = ["a/", "a/x/", "a/x/f", "a/g", "a-b/", "a-b/f", "z"];
        let plain = hashes(&tree);
        assert_eq!(plain.keys().collect::<Vec<_>>(), ["", "a", "a-b", "a/x"]);
        for (one, other) in [("a/x/f", "a/x/f*"), ("a/x/f", "a/x/ff"), ("a/x/f", "a/x/f>g")] {
            let changed = hashes(&tree.map(|path| if path == one { other } else { path }));
            let differs: Vec<&String> = plain.keys().filter(|folder| plain[*folder] != changed[*folder]).collect();
            assert_eq!(differs, ["", "a", "a/x"], "{other}");
        }
    }

    #[test]
    fn folders_on_the_way_count_as_given() {
        assert_eq!(hashes(&["a/", "a/x/", "a/x/f"]), hashes(&["a/x/f"]));
        assert_ne!(hashes(&["a/x/f"])[""], hashes(&["a/x/f", "b/"])[""]);
        assert_ne!(hashes(&["a/", "b/"])[""], hashes(&["a/b/"])[""]);
    }
}
