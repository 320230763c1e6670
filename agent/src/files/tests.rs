//! Everything a root promises, tried on real file systems.

mod escapes;
mod listing;
mod looking;
mod moving;
mod opening;
mod patching;
mod races;
mod removing;
mod writing;

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
use std::fs;

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

    fn may_resume(&self) -> bool {
        true
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

fn changed(outcome: &Outcome) -> Option<&Content> {
    match outcome {
        Outcome::Rejected(Rejected::Changed { found }) => found.as_ref().map(|found| &found.content),
        other => panic!("not refused as changed: {other:?}"),
    }
}

/// Every file below `folder` as text, with its path.
fn files_below(folder: &Path) -> Vec<(String, String)> {
    fn visit(top: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(top).expect("below").to_str().expect("text").to_owned();
            match path.symlink_metadata().expect("an entry").file_type() {
                kind if kind.is_dir() => visit(top, &path, files),
                kind if kind.is_file() => files.push((name, fs::read_to_string(&path).expect("text"))),
                _ => files.push((name, format!("-> {}", fs::read_link(&path).expect("a link").display()))),
            }
        }
    }
    let mut files = Vec::new();
    visit(folder, folder, &mut files);
    files.sort();
    files
}

impl Fixture {
    fn side(&self) -> std::path::PathBuf {
        self.place.path().join(".root.mltoolbox")
    }

    /// Everything in one half of the trash, without the name of the shelf.
    fn trash(&self, half: &str) -> Vec<(String, String)> {
        let within = |(name, text): (String, String)| (name.split_once('/').expect("a shelf").1.to_owned(), text);
        files_below(&self.side().join("trash").join(half)).into_iter().map(within).collect()
    }

    /// No temporary file is left.
    fn assert_tidy(&self) {
        let left = files_below(&self.side().join("tmp"));
        assert!(left.len() == 1 && left[0].0.ends_with("/owner"), "{left:?}");
    }

    fn write(&self, at: &str, text: &str) {
        fs::write(self.path().join(at), text).expect("a writable file");
    }

    fn mode(&self, at: &str) -> u32 {
        std::os::unix::fs::MetadataExt::mode(&fs::metadata(self.path().join(at)).expect("a file")) & 0o7777
    }

    fn set_mode(&self, at: &str, mode: u32) {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(self.path().join(at), mode).expect("an own file");
    }

    fn meanwhile(&self, at: Point, mut action: impl FnMut() + Send + 'static) {
        let mut done = false;
        let action = move |point| {
            if point == at && !std::mem::replace(&mut done, true) {
                action();
            }
        };
        *self.root.hook.0.lock().expect("a hook") = Some(Box::new(action));
    }
}
