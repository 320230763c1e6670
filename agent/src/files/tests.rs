//! Everything a root promises, tried on real file systems.

use std::sync::{Mutex, PoisonError};

use super::*;

type Action = Box<dyn FnMut(Point) + Send>;

/// Somebody else who does something at a [`Point`].
#[derive(Default)]
pub(super) struct Hook(Mutex<Option<Action>>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hook")
    }
}

impl Hook {
    pub(super) fn reached(&self, point: Point) {
        if let Some(action) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            action(point);
        }
    }
}

use protocol::agent::Holder;
use protocol::path::RemotePath;
use protocol::sync::{Action as Do, Content, Expect, Hash, Op, Rejected, Stamp};

/// Bytes in memory as the stream of a batch.
struct Bytes {
    bytes: io::Cursor<Vec<u8>>,
    trailer: Trailer,
}

impl Bodies for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.bytes, buffer)
    }

    fn trailer(&mut self) -> io::Result<Trailer> {
        Ok(self.trailer.clone())
    }
}

/// A root in a temporary folder.
struct Fixture {
    place: tempfile::TempDir,
    root: Root,
    opened: Opened,
}

fn holder(id: &str) -> Holder {
    Holder { id: id.into(), label: format!("{id}@machine:/folder") }
}

fn open_as(path: &Path, id: &str, take_over: bool) -> Result<(Root, Opened), Error> {
    let path = RemotePath::new(path.to_str().expect("a text path")).expect("a remote path");
    Root::open(1, &Open { path, create: true, holder: holder(id), take_over })
}

fn fixture_in(place: &str) -> Fixture {
    let place = tempfile::tempdir_in(place).expect("a temporary folder");
    let (root, opened) = open_as(&place.path().join("root"), "one", false).expect("a root");
    Fixture { place, root, opened }
}

fn fixture() -> Fixture {
    fixture_in("/tmp")
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a relative path")
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

fn file(bytes: &[u8]) -> Expect {
    Expect::File { hash: hash(bytes), stamp: None }
}

fn put(at: &str, expect: Expect, bytes: &[u8]) -> Op {
    let action = Do::Put { size: bytes.len() as u64, hash: Some(hash(bytes)), mode: 0o644, mtime_ns: None };
    Op { path: path(at), expect, action }
}

fn op(at: &str, expect: Expect, action: Do) -> Op {
    Op { path: path(at), expect, action }
}

impl Fixture {
    fn path(&self) -> std::path::PathBuf {
        self.place.path().join("root")
    }

    fn apply_with(&self, ops: Vec<Op>, bytes: &[u8], trailer: Trailer, durable: bool) -> Vec<Outcome> {
        let mut bodies = Bytes { bytes: io::Cursor::new(bytes.to_vec()), trailer };
        self.root.apply(&Apply { root: 1, barrier: false, durable, ops }, &mut bodies).expect("a batch")
    }

    fn apply(&self, ops: Vec<Op>, bodies: &[&[u8]]) -> Vec<Outcome> {
        self.apply_with(ops, &bodies.concat(), Trailer::default(), false)
    }

    fn one(&self, op: Op, body: &[u8]) -> Outcome {
        self.apply(vec![op], &[body]).pop().expect("one outcome")
    }

    fn text(&self, at: &str) -> String {
        std::fs::read_to_string(self.path().join(at)).expect("a readable file")
    }
}

fn applied(outcome: &Outcome) -> Option<Stamp> {
    match outcome {
        Outcome::Applied { stamp, kept_as: None } => *stamp,
        other => panic!("not applied: {other:?}"),
    }
}

#[test]
fn creates_replaces_and_removes() {
    let it = fixture();
    let outcomes = it.apply(
        vec![
            op("a", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
            put("a/one", Expect::Absent, b"1"),
            put("two", Expect::Absent, b"2"),
        ],
        &[b"1", b"2"],
    );
    outcomes.iter().for_each(|outcome| drop(applied(outcome)));
    let stamp = applied(&it.one(put("a/one", file(b"1"), b"eins"), b"eins")).expect("a stamp");
    assert_eq!(it.text("a/one"), "eins");
    let expect = Expect::File { hash: hash(b"eins"), stamp: Some(stamp) };
    assert!(it.root.verify(&[Known { path: path("a/one"), expect: expect.clone() }]).is_empty());
    applied(&it.one(op("a/one", expect, Do::Remove), b""));
    applied(&it.one(op("a", Expect::Folder, Do::Remove), b""));
    assert!(!it.path().join("a").exists());
    assert!(it.opened.created && it.opened.empty);
}
