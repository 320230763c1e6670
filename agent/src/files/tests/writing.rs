//! Files, links, folders and modes; bodies that are too short, torn or late.

use std::os::unix::fs::MetadataExt;

use super::*;

fn put_mode(at: &str, expect: Expect, bytes: &[u8], mode: u32, mtime_ns: Option<i64>) -> Op {
    op(at, expect, Do::Put { size: bytes.len() as u64, hash: Some(hash(bytes)), mode, mtime_ns })
}

#[test]
fn creates_and_replaces() {
    for place in ["/tmp", "/dev/shm"] {
        let it = fixture_in(place);
        let large = vec![b'x'; 3 << 20];
        let outcomes = it.apply(
            vec![
                op("a", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
                put("a/one", Expect::Absent, b"1"),
                put("empty", Expect::Absent, b""),
                put("large", Expect::Absent, &large),
                put("two", Expect::Absent, b"2"),
            ],
            &[b"1", b"", &large, b"2"],
        );
        assert_eq!(outcomes.iter().filter_map(applied).count(), 4);
        assert_eq!((it.text("a/one"), it.text("empty"), it.text("two")), ("1".into(), String::new(), "2".into()));
        assert_eq!(it.text("large").len(), large.len());

        let stamp = applied(&it.one(put("a/one", file(b"1"), b"eins"), b"eins")).expect("a stamp");
        let trusted = Expect::File { hash: hash(b"eins"), stamp: Some(stamp) };
        assert!(
            it.root
                .verify(&[Known { path: path("a/one"), expect: trusted.clone() }], &|| true)
                .expect("it is wanted")
                .is_empty()
        );
        applied(&it.one(put("a/one", trusted, b"uno"), b"uno"));
        applied(&it.one(put("large", file(&large), b"small"), b"small"));
        assert_eq!((it.text("a/one"), it.text("large")), ("uno".into(), "small".into()));
        let old: Vec<_> = it.trash("replaced").into_iter().filter(|(name, _)| name == "a/one").collect();
        assert_eq!(old, [("a/one".into(), "1".into()), ("a/one".into(), "eins".into())]);
        it.assert_tidy();
    }
}

#[test]
fn a_stamp_only_saves_reading() {
    let it = fixture();
    let stamp = applied(&it.one(put("a", Expect::Absent, b"1"), b"1")).expect("a stamp");
    // Touched, reowned, another mode: still the expected bytes.
    it.set_mode("a", 0o640);
    let known = Expect::File { hash: hash(b"1"), stamp: Some(stamp) };
    assert!(
        it.root.verify(&[Known { path: path("a"), expect: known.clone() }], &|| true).expect("it is wanted").is_empty()
    );
    // The same length and the same modification time, but other bytes.
    it.write("a", "2");
    let file = File::options().write(true).open(it.path().join("a")).expect("a file");
    let nanoseconds = u64::try_from(stamp.mtime_ns).expect("after 1970");
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanoseconds)).expect("an own file");
    let outcome = it.one(put("a", known, b"3"), b"3");
    assert!(matches!(changed(&outcome), Some(Content::File { hash: found, .. }) if *found == hash(b"2")));
    assert_eq!(it.text("a"), "2");
}

#[test]
fn coarse_clocks_are_not_believed() {
    let stamp = |mtime_ns, ctime_ns| Stamp { size: 1, mtime_ns, ctime_ns, inode: 1, device: 1 };
    let young = stamp(1_000_000_000, 1_000_000_000);
    let quiet = stamp(1_000_000_000, 9_000_000_000);
    assert!(Clock::Fine.trusts(&young, &young) && Clock::Coarse.trusts(&quiet, &quiet));
    assert!(!Clock::Coarse.trusts(&young, &young) && !Clock::Fine.trusts(&young, &quiet));
    assert!(Clock::Fine.trusts(&young, &Stamp { device: 2, ..young }), "a reboot may renumber devices");
}

#[test]
fn what_was_not_expected_stays() {
    let it = fixture();
    it.write("a", "theirs");
    fs::create_dir(it.path().join("folder")).expect("a folder");
    std::os::unix::fs::symlink("a", it.path().join("link")).expect("a link");
    let theirs = Content::File { hash: hash(b"theirs"), size: 6, executable: false };
    for expect in [Expect::Absent, file(b"base"), Expect::Folder, Expect::Link { target: "x".into() }] {
        assert_eq!(changed(&it.one(put("a", expect, b"ours"), b"ours")), Some(&theirs));
    }
    let link = Content::Link { target: "a".into() };
    assert_eq!(changed(&it.one(put("link", file(b"theirs"), b"ours"), b"ours")), Some(&link));
    assert_eq!(changed(&it.one(put("folder", Expect::Absent, b"ours"), b"ours")), Some(&Content::Folder));
    assert_eq!(changed(&it.one(put("gone", file(b"base"), b"ours"), b"ours")), None);
    let outcome = it.one(put("folder", Expect::Folder, b"ours"), b"ours");
    assert!(matches!(outcome, Outcome::Rejected(Rejected::Failed { .. })), "{outcome:?}");
    let outcome = it.one(put("none/x", Expect::Absent, b"ours"), b"ours");
    let Outcome::Rejected(Rejected::Failed { reason }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "the folder `none` is not there");
    assert_eq!(it.text("a"), "theirs");
    it.assert_tidy();
}

#[test]
fn equal_bytes_are_success_whatever_was_expected() {
    let it = fixture();
    for (at, expect) in [("a", Expect::Absent), ("b", file(b"base")), ("c", file(b"same"))] {
        it.write(at, "same");
        let outcome = it.one(put_mode(at, expect, b"same", 0o755, None), b"same");
        assert!(matches!(outcome, Outcome::Already { stamp: Some(_) }), "{outcome:?}");
        assert_eq!(it.mode(at) & 0o100, 0o100, "the execute bit is taken over");
    }
}

#[test]
fn every_operation_finds_its_own_bytes() {
    let it = fixture();
    it.write("b", "theirs");
    let large = vec![b'L'; 2 << 20];
    it.write("large", "theirs");
    let mut torn = put("torn", Expect::Absent, b"xx");
    if let Do::Put { hash: announced, .. } = &mut torn.action {
        *announced = Some(hash(b"yy"));
    }
    let unannounced = op("early", Expect::Absent, Do::Put { size: 2, hash: None, mode: 0o644, mtime_ns: None });
    let outcomes = it.apply(
        vec![
            put("none/a", Expect::Absent, b"aaa"),
            put("b", Expect::Absent, b"bb"),
            put("large", Expect::Absent, &large),
            torn,
            unannounced,
            put("last", Expect::Absent, b"last"),
        ],
        &[b"aaa", b"bb", &large, b"xx", b"ee", b"last"],
    );
    assert!(matches!(outcomes[3], Outcome::Rejected(Rejected::Torn)), "{outcomes:?}");
    assert!(matches!(outcomes[4], Outcome::Rejected(Rejected::Failed { .. })), "{outcomes:?}");
    applied(&outcomes[5]);
    assert_eq!(it.text("last"), "last");
    assert!(!it.path().join("torn").exists() && !it.path().join("early").exists());
    it.assert_tidy();
}

#[test]
fn a_short_stream_and_a_late_hash() {
    let it = fixture();
    let large = vec![b'L'; 2 << 20];
    for bytes in [b"1234".as_slice(), &large] {
        let short = it.apply(vec![put("a", Expect::Absent, bytes), put("b", Expect::Absent, b"b")], &[&bytes[1..]]);
        assert!(short.iter().all(|outcome| matches!(outcome, Outcome::Rejected(Rejected::Torn))), "{short:?}");
        assert!(files_below(&it.path()).is_empty());
        let late =
            || op("a", Expect::Absent, Do::Put { size: bytes.len() as u64, hash: None, mode: 0o644, mtime_ns: None });
        for wrong in [None, Some(hash(b"other"))] {
            let outcomes = it.apply_with(vec![late()], bytes, Trailer { hash: wrong, error: None }, false);
            assert!(matches!(outcomes[0], Outcome::Rejected(Rejected::Torn)), "{outcomes:?}");
        }
        let trailer = Trailer { hash: Some(hash(bytes)), error: None };
        applied(&it.apply_with(vec![late()], bytes, trailer, false)[0]);
        fs::remove_file(it.path().join("a")).expect("a file");
    }
    it.assert_tidy();
}

#[test]
fn a_lost_stream_ends_the_batch() {
    struct Lost;
    impl Bodies for Lost {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
        fn trailer(&mut self) -> io::Result<Trailer> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let it = fixture();
    let apply = Apply { root: 1, barrier: false, durable: false, ops: vec![put("a", Expect::Absent, b"1")] };
    assert!(it.root.apply(&apply, &mut Lost).is_err());
    assert!(files_below(&it.path()).is_empty());
    it.assert_tidy();
}

#[test]
fn modes_and_times() {
    let it = fixture();
    it.write("probe", "");
    let umask = 0o666 & !it.mode("probe");
    let at = 1_600_000_000_123_456_789;
    for (name, mode) in [("private", 0o600), ("script", 0o755), ("wide", 0o666), ("sticky", 0o4755), ("fixed", 0o444)] {
        applied(&it.one(put_mode(name, Expect::Absent, b"1", mode, Some(at)), b"1"));
        assert_eq!(it.mode(name), mode & 0o777 & !umask, "{name}");
    }
    let mtime = |name: &str| fs::metadata(it.path().join(name)).expect("a file").mtime();
    assert_eq!(mtime("private"), 1_600_000_000);
    it.set_mode("script", 0o664);
    applied(&it.one(put_mode("script", file(b"1"), b"2", 0o755, Some(at)), b"2"));
    assert_eq!(it.mode("script"), 0o775);
    assert!(mtime("script") > 1_600_000_000, "a changed file is newer, or make would not see it");
    applied(&it.one(put_mode("script", file(b"2"), b"3", 0o600, None), b"3"));
    assert_eq!(it.mode("script"), 0o600);
    let outcome = it.one(op("script", file(b"3"), Do::SetMode { mode: 0o700 }), b"");
    assert!(applied(&outcome).is_some());
    assert_eq!(it.mode("script"), 0o700);
    let outcome = it.one(op("script", file(b"3"), Do::SetMode { mode: 0o700 }), b"");
    assert!(matches!(outcome, Outcome::Already { stamp: Some(_) }), "{outcome:?}");
    assert!(changed(&it.one(op("script", file(b"9"), Do::SetMode { mode: 0o755 }), b"")).is_some());
}

#[test]
fn links_are_text() {
    let it = fixture();
    let link = |expect, target: &str| op("link", expect, Do::Link { target: target.into() });
    let text = |target: &str| Expect::Link { target: target.into() };
    applied(&it.one(link(Expect::Absent, "../outside"), b""));
    assert_eq!(fs::read_link(it.path().join("link")).expect("a link"), Path::new("../outside"));
    assert_eq!(it.one(link(Expect::Absent, "../outside"), b""), Outcome::Already { stamp: None });
    assert_eq!(it.one(link(text("../outside"), "../outside"), b""), Outcome::Already { stamp: None });
    applied(&it.one(link(text("../outside"), "b"), b""));
    assert_eq!(changed(&it.one(link(text("c"), "d"), b"")), Some(&Content::Link { target: "b".into() }));
    applied(&it.one(put("link", text("b"), b"file"), b"file"));
    assert_eq!(it.text("link"), "file");
    applied(&it.one(link(file(b"file"), "b"), b""));
    applied(&it.one(op("link", text("b"), Do::Remove), b""));
    assert_eq!(it.trash("removed"), [("link".into(), "-> b".into())]);
    it.assert_tidy();
}

#[test]
fn folders() {
    let it = fixture();
    let make = |at: &str| op(at, Expect::Absent, Do::MakeFolder { mode: 0o500 });
    applied(&it.one(make("a"), b""));
    assert_eq!(it.mode("a") & 0o700, 0o700, "it has to be filled");
    assert_eq!(it.one(make("a"), b""), Outcome::Already { stamp: None });
    it.write("file", "1");
    assert!(matches!(changed(&it.one(make("file"), b"")), Some(Content::File { .. })));
    it.set_mode("a", 0o755);
    applied(&it.one(op("a", Expect::Folder, Do::SetMode { mode: 0o700 }), b""));
    assert_eq!(it.mode("a"), 0o700);
    assert_eq!(it.one(op("a", Expect::Folder, Do::SetMode { mode: 0o755 }), b""), Outcome::Already { stamp: None });
    applied(&it.one(make("a/b"), b""));
    let outcome = it.one(make("x/y"), b"");
    assert!(matches!(outcome, Outcome::Rejected(Rejected::Failed { .. })), "{outcome:?}");
}

#[test]
fn durable_batches_do_the_same() {
    let it = fixture();
    for count in [3, 100] {
        let put = |number| put(&format!("{count}-{number}"), Expect::Absent, b"1");
        let outcomes = it.apply_with((0..count).map(put).collect(), &vec![b'1'; count], Trailer::default(), true);
        assert_eq!(outcomes.iter().filter_map(applied).count(), count);
    }
    let again = it.apply_with(vec![put("3-0", Expect::Absent, b"1")], b"1", Trailer::default(), true);
    assert!(matches!(again[0], Outcome::Already { .. }));
    it.root.flush().expect("a flush");
}

#[test]
fn two_threads_share_a_root() {
    let it = fixture_in("/dev/shm");
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let it = &it;
            scope.spawn(move || {
                for batch in 0..20 {
                    let put = |number| put(&format!("{thread}-{batch}-{number}"), Expect::Absent, b"1");
                    let outcomes = it.apply((0..50).map(put).collect(), &[&[b'1'; 50]]);
                    assert_eq!(outcomes.iter().filter_map(applied).count(), 50);
                }
            });
        }
    });
    assert_eq!(files_below(&it.path()).len(), 2000);
    it.assert_tidy();
}
