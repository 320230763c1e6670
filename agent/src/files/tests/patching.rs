//! Files from pieces, what is left of cut transfers, and additions in place.

use protocol::delta::{Chunks, MAX_APPEND, MAX_DATA, PatchSource};

use super::*;
use crate::delta::{Basis, COPY, DATA, Record, cut_all, differ};

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn reader(mut rest: &[u8]) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
    move |buffer| io::Read::read(&mut rest, buffer)
}

fn patch(at: &str, expect: Expect, size: usize, sources: &[PatchSource]) -> Op {
    op(at, expect, Do::Patch { size: size as u64, mode: 0o644, mtime_ns: None, sources: sources.to_vec() })
}

fn records(list: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    for record in list {
        record.encode(&mut bytes);
    }
    bytes.to_vec()
}

/// Returns the records by which `new` is told to whoever holds `old`.
fn difference(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut basis = Basis::default();
    basis.add(&cut_all(&mut reader(old)).expect("memory can be read"), true);
    let mut bytes = bytes::BytesMut::new();
    let told = differ(new.len() as u64, &basis, &mut reader(new), &mut |record| {
        record.encode(&mut bytes);
        Ok(())
    });
    told.expect("memory can be read");
    bytes.to_vec()
}

/// A stream that breaks where its bytes end when it has no trailer; somebody does something at its first read.
struct Rough {
    bytes: io::Cursor<Vec<u8>>,
    trailer: Option<Trailer>,
    meanwhile: Option<Box<dyn FnOnce()>>,
}

impl Bodies for Rough {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(act) = self.meanwhile.take() {
            act();
        }
        match io::Read::read(&mut self.bytes, buffer)? {
            0 if self.trailer.is_none() => Err(io::ErrorKind::ConnectionReset.into()),
            count => Ok(count),
        }
    }

    fn trailer(&mut self) -> io::Result<Trailer> {
        self.trailer.clone().ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    fn may_resume(&self) -> bool {
        true
    }
}

impl Fixture {
    fn patched(&self, op: Op, body: &[u8], hash: Hash) -> Outcome {
        let trailer = Trailer { hash: Some(hash), error: None };
        self.apply_with(vec![op], body, trailer, false).pop().expect("one outcome")
    }

    fn bytes(&self, at: &str) -> Vec<u8> {
        fs::read(self.path().join(at)).expect("a readable file")
    }

    fn cut(&self, op: Op, body: &[u8]) {
        let mut bodies = Rough { bytes: io::Cursor::new(body.to_vec()), trailer: None, meanwhile: None };
        let apply = Apply { root: 1, barrier: false, durable: false, ops: vec![op] };
        self.root.apply(&apply, &mut bodies).expect_err("the stream broke");
    }

    fn left(&self) -> Vec<(String, u64)> {
        let left = self.root.partials().expect("a list");
        left.into_iter().map(|partial| (partial.path.to_string(), partial.size)).collect()
    }
}

#[test]
fn a_patch_makes_the_new_version() {
    for place in ["/tmp", "/dev/shm"] {
        let it = fixture_in(place);
        let old = noise(3 << 20, 1);
        let mut new = old.clone();
        new.splice(100_000..100_000, *b"insertion");
        new[2_000_000..2_000_100].copy_from_slice(&[0; 100]);
        fs::write(it.path().join("a"), &old).expect("a writable file");
        it.set_mode("a", 0o640);
        let body = difference(&old, &new);
        assert!(body.len() < 1 << 20);
        applied(&it.patched(patch("a", file(&old), new.len(), &[PatchSource::Present]), &body, hash(&new)));
        assert!(it.bytes("a") == new);
        assert_eq!(it.mode("a"), 0o640);
        let kept = it.side().join("trash/replaced");
        let shelf = fs::read_dir(kept).expect("a folder").next().expect("a shelf").expect("an entry");
        assert!(fs::read(shelf.path().join("a")).expect("the old version") == old);
        // The same from the side, and a short one.
        let body = difference(&new, &old);
        let from = [PatchSource::File { path: path("a"), expect: file(&new) }];
        applied(&it.patched(patch("b", Expect::Absent, old.len(), &from), &body, hash(&old)));
        assert!(it.bytes("b") == old);
        let copy = records(&[Record::Copy { source: 0, offset: 5, length: 7 }, Record::Data(b"end")]);
        let short = [&old[5..12], b"end"].concat();
        let from = [PatchSource::File { path: path("b"), expect: file(&old) }];
        applied(&it.patched(patch("c", Expect::Absent, 10, &from), &copy, hash(&short)));
        assert!(it.bytes("c") == short);
        it.write("empty", "");
        applied(&it.patched(patch("c", file(&short), 0, &[]), b"", hash(b"")));
        assert!(it.bytes("c").is_empty());
        it.assert_tidy();
    }
}

#[test]
fn a_patch_that_makes_no_sense_changes_nothing() {
    let it = fixture();
    it.write("a", "0123456789");
    let record = |kind: u8, rest: &[u8]| [&[kind], rest].concat();
    let copy = |source: u8, offset: u64, length: u64| {
        record(COPY, &[&[source][..], &offset.to_le_bytes(), &length.to_le_bytes()].concat())
    };
    let data = |length: u32, bytes: usize| record(DATA, &[&length.to_le_bytes()[..], &vec![b'x'; bytes]].concat());
    let most = u32::try_from(MAX_DATA).expect("it is far below 4 GiB");
    let endless: Vec<u8> = std::iter::repeat_n(data(most, MAX_DATA), 20).flatten().collect();
    for (what, size, body) in [
        ("past the end", 11, copy(0, 0, 11)),
        ("behind the end", 1, copy(0, 10, 1)),
        ("an overflow", 10, copy(0, u64::MAX, 10)),
        ("a huge length", 10, copy(0, 1, u64::MAX)),
        ("no such source", 1, copy(1, 0, 1)),
        ("nothing copied", 0, copy(0, 0, 0)),
        ("nothing told", 0, data(0, 0)),
        ("a record that is too long", 10, data(u32::MAX, 10)),
        ("a record longer than allowed", MAX_DATA * 2, data(most + 1, MAX_DATA + 1)),
        ("more than announced", 9, copy(0, 0, 10)),
        ("endless", 300_000, endless),
        ("less than announced", 11, copy(0, 0, 10)),
        ("no such record", 1, record(2, &[0; 30])),
        ("half a head", 1, record(COPY, &[0; 9])),
        ("half of the data", 10, data(10, 5)),
        ("nothing at all", 10, Vec::new()),
    ] {
        let op = patch("a", file(b"0123456789"), size, &[PatchSource::Present]);
        let outcome = it.patched(op, &body, hash(b"0123456789"));
        assert!(matches!(outcome, Outcome::Rejected(Rejected::Failed { .. } | Rejected::Torn)), "{what}: {outcome:?}");
        assert_eq!(it.text("a"), "0123456789", "{what}");
        it.assert_tidy();
    }
    let whole = copy(0, 0, 10);
    let good = || patch("a", file(b"0123456789"), 10, &[PatchSource::Present]);
    // Another hash, none, and not at the end of its batch.
    assert_eq!(it.patched(good(), &whole, hash(b"other")), Outcome::Rejected(Rejected::Torn));
    assert_eq!(it.one(good(), &whole), Outcome::Rejected(Rejected::Torn));
    let two = it.apply(vec![good(), put("b", Expect::Absent, b"")], &[]);
    assert!(matches!(two[0], Outcome::Rejected(Rejected::Failed { .. })) && matches!(two[1], Outcome::Applied { .. }));
    let many = vec![PatchSource::Present; 5];
    let outcome = it.patched(patch("a", file(b"0123456789"), 10, &many), &whole, hash(b"0123456789"));
    assert!(matches!(outcome, Outcome::Rejected(Rejected::Failed { .. })), "{outcome:?}");
    it.assert_tidy();
}

#[test]
fn sources_that_are_not_what_they_should_be_are_not_used() {
    let it = fixture();
    it.write("a", "0123456789");
    it.write("b", "something else");
    std::os::unix::fs::symlink("a", it.path().join("link")).expect("a link");
    let copy = records(&[Record::Copy { source: 0, offset: 0, length: 10 }]);
    let want = hash(b"0123456789");
    // What is at the path itself is the business of whoever sent it.
    let outcome = it.patched(patch("a", file(b"base"), 10, &[PatchSource::Present]), &copy, want);
    assert!(changed(&outcome).is_some());
    for source in [
        PatchSource::Present,
        PatchSource::Partial,
        PatchSource::File { path: path("b"), expect: file(b"0123456789") },
        PatchSource::File { path: path("gone"), expect: file(b"0123456789") },
        PatchSource::File { path: path("gone"), expect: Expect::Absent },
        PatchSource::File { path: path("link"), expect: Expect::Link { target: "a".into() } },
        PatchSource::File { path: path("link"), expect: file(b"0123456789") },
    ] {
        let outcome = it.patched(patch("new", Expect::Absent, 10, std::slice::from_ref(&source)), &copy, want);
        assert_eq!(outcome, Outcome::Rejected(Rejected::Torn), "{source:?}");
    }
    assert!(!it.path().join("new").exists());
    it.assert_tidy();
}

#[test]
fn a_source_that_changes_meanwhile_gives_nothing_a_name() {
    let it = fixture();
    let old = noise(3 << 20, 1);
    let target = it.path().join("a");
    fs::write(&target, &old).expect("a writable file");
    let apply = Apply {
        root: 1,
        barrier: false,
        durable: false,
        ops: vec![patch("a", file(&old), old.len(), &[PatchSource::Present])],
    };
    let body = records(&[Record::Copy { source: 0, offset: 0, length: 3 << 20 }]);
    let theirs = [b'!'; 4096];
    // After the look at it, before it is copied.
    let meddle = move || {
        let file = File::options().write(true).open(&target).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, &theirs, 1 << 20).expect("written");
    };
    let trailer = Some(Trailer { hash: Some(hash(&old)), error: None });
    let mut bodies = Rough { bytes: io::Cursor::new(body), trailer, meanwhile: Some(Box::new(meddle)) };
    let outcomes = it.root.apply(&apply, &mut bodies).expect("a batch");
    assert_eq!(outcomes, [Outcome::Rejected(Rejected::Torn)]);
    let now = it.bytes("a");
    assert!(now[1 << 20..].starts_with(&theirs) && now.len() == old.len(), "theirs stays");
    it.assert_tidy();
}

#[test]
fn a_cut_transfer_is_continued() {
    let it = fixture();
    let new = noise(5 << 20, 1);
    let op = || put("big/a", Expect::Absent, &new);
    applied_folder(&it);
    it.cut(op(), &new[..3 << 20]);
    assert_eq!(it.left(), [("big/a".to_owned(), 3 << 20)]);
    it.assert_tidy();
    let asked = Chunks { root: 1, path: path("big/a"), partial: true };
    let reads = std::cell::Cell::new(0);
    let count = || {
        reads.set(reads.get() + 1);
        true
    };
    let (found, list) = it.root.chunks(&asked, &count).expect("readable").expect("it is there");
    assert_eq!(found.content, Content::File { hash: hash(&new[..3 << 20]), size: 3 << 20, executable: false });
    let mut rest = &new[..3 << 20];
    let mut read_once = 0;
    let wanted = cut_all(&mut |buffer| {
        read_once += 1;
        io::Read::read(&mut rest, buffer)
    });
    assert_eq!((list, reads.get()), (wanted.expect("it is in memory"), read_once), "it is read once");
    it.root.chunks(&asked, &|| false).expect_err("nobody wants them");
    assert!(it.root.chunks(&Chunks { partial: false, ..asked.clone() }, &count).expect("readable").is_none());

    // Cut again, sooner: what was there before is worth more.
    let from = [PatchSource::Partial];
    let body = difference(&new[..3 << 20], &new);
    let first = records(&[Record::Copy { source: 0, offset: 0, length: 2 << 20 }]);
    it.cut(patch("big/a", Expect::Absent, new.len(), &from), &first);
    assert_eq!(it.left(), [("big/a".to_owned(), 3 << 20)]);
    assert!(body.len() < (2 << 20) + 300_000, "{}", body.len());
    applied(&it.patched(patch("big/a", Expect::Absent, new.len(), &from), &body, hash(&new)));
    assert!(it.bytes("big/a") == new);
    assert_eq!(it.left(), [], "it is not needed any more");
    assert!(it.root.chunks(&asked, &count).expect("readable").is_none());
    // A short rest, and one that nobody asks for, are not kept.
    it.cut(put("c", Expect::Absent, &new), &new[..1000]);
    assert_eq!(it.left(), []);
    it.assert_tidy();
}

fn applied_folder(it: &Fixture) {
    let outcome = it.one(op("big", Expect::Absent, Do::MakeFolder { mode: 0o755 }), b"");
    assert!(matches!(outcome, Outcome::Applied { .. }));
}

#[test]
fn what_a_killed_agent_received_is_found_again() {
    let it = fixture();
    let dead = it.side().join("tmp/dead");
    fs::create_dir(&dead).expect("a folder");
    fs::write(dead.join("owner"), "").expect("a file");
    fs::write(dead.join("7"), noise(2 << 20, 1)).expect("a file");
    fs::write(dead.join("7.path"), "deep/model.bin").expect("a file");
    fs::write(dead.join("8"), "no path").expect("a file");
    fs::write(dead.join("9"), noise(2 << 20, 1)).expect("a file");
    fs::write(dead.join("9.path"), "../escape").expect("a file");
    let (root, _) = open_as(&it.path(), "one", false).expect("a root");
    let left = root.partials().expect("a list");
    assert_eq!(left, [protocol::delta::Partial { path: path("deep/model.bin"), size: 2 << 20 }]);
    assert!(!dead.exists());
}

fn append(at: &str, base: &[u8], tail: &[u8]) -> Op {
    let action = Do::Append {
        length: base.len() as u64,
        size: tail.len() as u64,
        tail: hash(tail),
        hash: hash(&[base, tail].concat()),
        mode: 0o644,
    };
    op(at, file(base), action)
}

#[test]
fn an_addition_goes_to_the_end_of_the_file_that_is_there() {
    let it = fixture();
    it.write("log", "one\n");
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(it.path().join("log")).expect("a file"));
    let before = inode();
    let stamp = applied(&it.one(append("log", b"one\n", b"two\n"), b"two\n")).expect("a stamp");
    assert_eq!((it.text("log"), inode(), stamp.size), ("one\ntwo\n".into(), before, 8));
    // A second time it is there already.
    assert!(matches!(it.one(append("log", b"one\n", b"two\n"), b"two\n"), Outcome::Already { .. }));
    // Other bytes than announced, fewer, or to another file: nothing is touched.
    assert_eq!(it.one(append("log", b"one\ntwo\n", b"three"), b"other"), Outcome::Rejected(Rejected::Torn));
    assert_eq!(it.one(append("log", b"one\ntwo\n", b"three"), b"th"), Outcome::Rejected(Rejected::Torn));
    assert!(changed(&it.one(append("log", b"one\nTWO\n", b"three"), b"three")).is_some());
    assert_eq!(changed(&it.one(append("gone", b"one", b"two"), b"two")), None);
    let long = op(
        "log",
        file(b"one\ntwo\n"),
        Do::Append { length: 8, size: MAX_APPEND + 1, tail: hash(b""), hash: hash(b""), mode: 0o644 },
    );
    assert!(matches!(it.one(long, b""), Outcome::Rejected(Rejected::Failed { .. })));
    assert_eq!(it.text("log"), "one\ntwo\n");
    // Others in the same batch find their own bytes.
    let both = it.apply(
        vec![append("log", b"wrong", b"x"), put("b", Expect::Absent, b"b"), append("log", b"one\ntwo\n", b"three")],
        &[b"x", b"b", b"three"],
    );
    assert!(matches!(both[0], Outcome::Rejected(_)) && matches!(both[2], Outcome::Applied { .. }));
    assert_eq!((it.text("log"), it.text("b")), ("one\ntwo\nthree".into(), "b".into()));
    assert!(it.trash("replaced").is_empty());
}

#[test]
fn an_addition_never_touches_what_somebody_else_wrote() {
    let it = fixture();
    it.write("log", "one\n");
    let place = it.path().join("log");
    it.meanwhile(Point::Checked, move || {
        let mut file = File::options().append(true).open(&place).expect("a file");
        io::Write::write_all(&mut file, b"theirs\n").expect("written");
    });
    let outcome = it.one(append("log", b"one\n", b"two\n"), b"two\n");
    assert!(changed(&outcome).is_some());
    assert_eq!(it.text("log"), "one\ntheirs\n");
    let place = it.path().join("log");
    it.meanwhile(Point::Checked, move || {
        fs::remove_file(&place).expect("it is there");
        std::os::unix::fs::symlink("/etc/hostname", &place).expect("a link");
    });
    let outcome = it.one(append("log", b"one\ntheirs\n", b"two\n"), b"two\n");
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
}
