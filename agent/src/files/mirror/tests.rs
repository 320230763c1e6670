//! What a mirror keeps over restarts, tears and damage, and what it says of a real folder.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use protocol::mirror::{Entry, Given, Summarise, Summary};
use protocol::sync::{Expect, Hash};

use super::*;
use crate::merkle::{Node, Tree, Visitor, order};

const COPY: &str = "copy";
const HOLDER: &str = "holder";

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a relative path")
}

fn file(text: &str, inode: u64) -> Kept {
    let hash = Hash(*blake3::hash(text.as_bytes()).as_bytes());
    let size = text.len() as u64;
    let stamp = Stamp { size, mtime_ns: 1, ctime_ns: 2, inode, device: 3 };
    Kept { content: Content::File { hash, size, executable: false }, stamp: Some(stamp) }
}

fn given(at: &str, kept: Kept) -> Record {
    Record { path: path(at), change: Change::Given(kept) }
}

fn confirmed(at: &str, kept: Kept) -> Record {
    Record { path: path(at), change: Change::Confirmed(kept) }
}

fn forgotten(at: &str) -> Record {
    Record { path: path(at), change: Change::Forgotten }
}

fn side() -> (tempfile::TempDir, File) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = File::open(folder.path()).expect("a folder");
    (folder, file)
}

fn mirror(side: &File) -> Mirror {
    Mirror::new(side, COPY, HOLDER).expect("a mirror")
}

/// Everything in a mirror, whichever of its files it is in.
fn all(mirror: &Mirror) -> BTreeMap<String, Kept> {
    let Some((sorted, changes)) = mirror.contents().expect("it can be read") else { return BTreeMap::new() };
    let sorted = sorted.into_iter().flatten().flat_map(|records| records.expect("a whole block"));
    let merged = merge::merged(sorted, changes).map(|record| match record.change {
        Change::Given(kept) => (record.path.as_str().to_owned(), kept),
        other => panic!("{other:?} is no entry"),
    });
    merged.collect()
}

fn texts(mirror: &Mirror) -> Vec<String> {
    all(mirror).into_keys().collect()
}

#[test]
fn what_was_noted_is_there_after_a_restart_and_the_last_word_counts() {
    let (_place, side) = side();
    let first = mirror(&side);
    first.note(&[given("a", file("1", 1)), given("a/x", file("2", 2)), given("gone", file("3", 3))]);
    first.note(&[given("a", file("4", 4)), forgotten("gone")]);
    drop(first);
    let second = mirror(&side);
    assert_eq!(texts(&second), ["a", "a/x"]);
    assert_eq!(all(&second)["a"], file("4", 4));
}

#[test]
fn another_copy_or_holder_finds_nothing_and_leaves_nothing() {
    for (copy, holder) in [("other", HOLDER), (COPY, "other")] {
        let (_place, side) = side();
        mirror(&side).note(&[given("a", file("1", 1))]);
        let other = Mirror::new(&side, copy, holder).expect("a mirror");
        assert_eq!(texts(&other), [] as [&str; 0]);
        assert_eq!(texts(&mirror(&side)), [] as [&str; 0], "what was another's is gone for good");
    }
}

#[test]
fn sorting_changes_nothing_and_is_finished_by_whoever_comes_next() {
    let (place, side) = side();
    let log = place.path().join(LOG);
    let mirror = mirror(&side);
    for number in 0..2000 {
        mirror.note(&[given(&format!("d{}/f{number}", number % 7), file("x", number))]);
    }
    let before = std::fs::read(&log).expect("a log");
    let entries = all(&mirror);
    assert_eq!(entries.len(), 2000);
    assert!(place.path().join(SORTED).exists() && std::fs::metadata(&log).expect("a log").len() < 200);
    assert_eq!(all(&mirror), entries);
    // Killed after the sorted file got its name and before the log was emptied.
    std::fs::write(&log, before).expect("a log");
    let again = super::Mirror::new(&side, COPY, HOLDER).expect("a mirror");
    again.note(&[forgotten("d0/f0")]);
    assert_eq!(all(&again).len(), 1999);
}

#[test]
fn a_torn_tail_is_cut_at_any_byte_and_what_follows_counts_again() {
    let (place, side) = side();
    let log = place.path().join(LOG);
    mirror(&side).note(&[given("a", file("1", 1))]);
    let whole = std::fs::read(&log).expect("a log");
    mirror(&side).note(&[given("b", file("2", 2))]);
    let longer = std::fs::read(&log).expect("a log");
    for length in whole.len()..longer.len() {
        let (place, side) = self::side();
        std::fs::write(place.path().join(LOG), &longer[..length]).expect("a log");
        let mirror = mirror(&side);
        assert_eq!(texts(&mirror), ["a"], "{length}");
        mirror.note(&[given("c", file("3", 3))]);
        assert_eq!(texts(&mirror), ["a", "c"], "{length}");
    }
}

#[test]
fn whatever_is_damaged_is_never_believed() {
    let (place, side) = side();
    let mirror = mirror(&side);
    mirror.note(&[given("a", file("1", 1)), given("b", file("2", 2))]);
    let whole = all(&mirror);
    let sorted = std::fs::read(place.path().join(SORTED)).expect("it was sorted");
    for at in 0..sorted.len() {
        let mut damaged = sorted.clone();
        damaged[at] ^= 0x40;
        std::fs::write(place.path().join(SORTED), damaged).expect("a file");
        let damaged = super::Mirror::new(&side, COPY, HOLDER).expect("a mirror");
        match damaged.contents() {
            Err(_) => {}
            Ok(Some((Some(mut reader), _))) => assert!(reader.any(|block| block.is_err()), "{at}"),
            Ok(other) => panic!("byte {at}: {:?}", other.map(|(_, changes)| changes)),
        }
    }
    std::fs::write(place.path().join(SORTED), sorted).expect("a file");
    assert_eq!(all(&mirror), whole);
}

#[test]
fn a_confirmation_leaves_execute_bits_of_the_same_bytes() {
    let (_place, side) = side();
    let mirror = mirror(&side);
    let executable = |kept: Kept| {
        let Content::File { hash, size, .. } = kept.content else { panic!("a file") };
        Kept { content: Content::File { hash, size, executable: true }, stamp: kept.stamp }
    };
    mirror.note(&[given("same", executable(file("1", 1))), given("other", executable(file("1", 1)))]);
    assert_eq!(all(&mirror).len(), 2);
    mirror.note(&[confirmed("same", file("1", 2)), confirmed("other", file("2", 2)), confirmed("new", file("3", 3))]);
    let now = all(&mirror);
    assert_eq!(now["same"], executable(file("1", 2)));
    assert_eq!((&now["other"], &now["new"]), (&file("2", 2), &file("3", 3)));
    mirror.note(&[forgotten("same"), confirmed("same", file("1", 4))]);
    assert_eq!(all(&mirror)["same"], file("1", 4));
}

/// A root on disk, with everything in it given.
struct World {
    place: tempfile::TempDir,
    root: super::super::Root,
}

struct RootHash(Hash);

impl Visitor for RootHash {
    type Of = ();
    fn begin(&mut self, _: &str) {}
    fn end(&mut self, _: &str, hash: Hash, (): (), _: Option<&mut ()>) {
        self.0 = hash;
    }
}

/// The hash of the root of a tree; a text is a file, `None` a folder.
fn hash_of(tree: &[(&str, Option<&str>)]) -> Hash {
    let mut sorted = tree.to_vec();
    sorted.sort_by(|(one, _), (other, _)| order(one, other));
    let mut tree = Tree::new(RootHash(Hash([0; 32])));
    for (path, text) in sorted {
        match text {
            None => tree.add(path, Node::Folder),
            Some(text) => {
                let hash = Hash(*blake3::hash(text.as_bytes()).as_bytes());
                tree.add(path, Node::File { hash: &hash, executable: false });
            }
        }
    }
    tree.finish().0
}

const TREE: [(&str, Option<&str>); 5] =
    [("a", None), ("a/x", None), ("a/x/f", Some("1")), ("a-b", Some("2")), ("z", Some("3"))];

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in TREE {
            let path = place.path().join("root").join(path);
            std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
            match text {
                None => std::fs::create_dir_all(path).expect("a folder"),
                Some(text) => std::fs::write(path, text).expect("a file"),
            }
        }
        let root = open(place.path());
        root.summarise(&Summarise { root: 1, folders: Vec::new(), forget: Vec::new() }).expect("it is in place");
        let known = TREE.map(|(at, text)| {
            let expect = match text {
                None => Expect::Folder,
                Some(text) => Expect::File { hash: Hash(*blake3::hash(text.as_bytes()).as_bytes()), stamp: None },
            };
            protocol::sync::Known { path: path(at), expect }
        });
        assert_eq!(root.verify(&known, &|| true).expect("it is wanted"), []);
        Self { place, root }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.place.path().join("root").join(path)
    }

    fn ask(&self, folders: &[(Option<&str>, Hash)]) -> Vec<Summary> {
        let folders = folders.iter().map(|(folder, hash)| (folder.map(path), *hash)).collect();
        self.root.summarise(&Summarise { root: 1, folders, forget: Vec::new() }).expect("it is in place")
    }

    fn one(&self, hash: Hash) -> Summary {
        self.ask(&[(None, hash)]).pop().expect("one answer")
    }
}

fn open(place: &Path) -> super::super::Root {
    let path = protocol::path::RemotePath::new(place.join("root").to_str().expect("text")).expect("a path");
    let holder = protocol::agent::Holder { id: HOLDER.into(), label: "somebody".into() };
    let open = protocol::agent::Open { path, create: false, holder, take_over: false };
    super::super::Root::open(1, &open).expect("a root").0
}

#[test]
fn an_equal_tree_is_one_word_and_every_change_is_named() {
    let world = World::new();
    let whole = hash_of(&TREE);
    assert_eq!(world.one(whole), Summary::Same);
    std::fs::write(world.at("z"), "4").expect("a file");
    assert_eq!(world.one(whole), Summary::Changed(vec![path("z")]));
    std::fs::remove_file(world.at("a/x/f")).expect("it is there");
    std::fs::write(world.at("foreign"), "never given").expect("a file");
    assert_eq!(world.one(whole), Summary::Changed(vec![path("a/x/f"), path("z")]));
    std::fs::remove_dir(world.at("a/x")).expect("it is empty");
    std::os::unix::fs::symlink("/", world.at("a/x")).expect("a link");
    let changed = ["a/x", "a/x/f", "z"].map(path);
    assert_eq!(world.one(whole), Summary::Changed(changed.to_vec()));
}

#[test]
fn a_difference_is_followed_down_and_unchanged_entries_say_so() {
    let world = World::new();
    std::fs::write(world.at("a-b"), "8").expect("a file");
    let Summary::Different(entries) = world.one(hash_of(&TREE[..3])) else { panic!("it is different") };
    let short: Vec<(&str, bool)> = entries.iter().map(|entry| (entry.name.as_str(), entry.intact)).collect();
    assert_eq!(short, [("a", true), ("a-b", false), ("z", true)]);
    let inode = world.at("z").metadata().expect("it is there").ino();
    assert!(
        matches!(&entries[2], Entry { given: Given::Leaf(Content::File { .. }, Some(stamp)), .. } if stamp.inode == inode)
    );
    let Given::Folder(hash) = entries[0].given else { panic!("it is a folder") };
    let other = Hash([1; 32]);
    let answers = world.ask(&[(Some("a"), hash), (Some("a/x"), other), (Some("nowhere"), other)]);
    assert_eq!((&answers[0], &answers[2]), (&Summary::Same, &Summary::Unknown));
    assert!(matches!(&answers[1], Summary::Different(entries) if entries.len() == 1 && entries[0].name == "f"));
}

#[test]
fn what_is_forgotten_and_what_came_since_counts() {
    let world = World::new();
    assert_eq!(world.one(hash_of(&TREE)), Summary::Same);
    let forget = Summarise { root: 1, folders: vec![(None, hash_of(&TREE[..4]))], forget: vec![path("z")] };
    assert_eq!(world.root.summarise(&forget).expect("it is in place"), [Summary::Same]);
    let again = open(world.place.path());
    let folders = vec![(None, hash_of(&TREE[..4]))];
    assert_eq!(
        again.summarise(&Summarise { root: 1, folders, forget: Vec::new() }).expect("it is in place"),
        [Summary::Same]
    );
}
