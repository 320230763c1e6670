//! Moves and copies: what is expected at both ends, and nothing of anybody is lost.

use std::os::unix::fs::MetadataExt as _;

use super::*;

fn move_to(at: &str, expect: Expect, from: &str, source: Expect) -> Op {
    op(at, expect, Do::Move { from: path(from), source })
}

fn copy_to(at: &str, expect: Expect, from: &str, source: Expect) -> Op {
    op(at, expect, Do::Copy { from: path(from), source, mode: 0o644, mtime_ns: None })
}

fn link_to(target: &str) -> Expect {
    Expect::Link { target: target.into() }
}

fn refusal(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Rejected(Rejected::Failed { reason } | Rejected::Unsafe { reason }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// `a` holds `one`, `b` holds `two`, `d` is a folder, `l` is a link to `a`.
fn four() -> Fixture {
    let it = fixture();
    let ops = vec![
        put("a", Expect::Absent, b"one"),
        put("b", Expect::Absent, b"two"),
        op("d", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
        op("l", Expect::Absent, Do::Link { target: "a".into() }),
    ];
    it.apply(ops, &[b"one", b"two"]);
    it
}

#[test]
fn a_file_and_a_link_get_another_name() {
    let it = four();
    let inode = fs::metadata(it.path().join("a")).expect("a file").ino();
    let stamp = applied(&it.one(move_to("d/a", Expect::Absent, "a", file(b"one")), b"")).expect("a file has a stamp");
    assert_eq!((stamp.inode, stamp.size), (inode, 3), "it is the same file");
    let now = fs::metadata(it.path().join("d/a")).expect("a file");
    assert_eq!((now.mtime_nsec(), now.ctime_nsec()), (stamp.mtime_ns % 1_000_000_000, stamp.ctime_ns % 1_000_000_000));
    // The stamp is believed the next time.
    let trusted = Expect::File { hash: hash(b"one"), stamp: Some(stamp) };
    applied(&it.one(move_to("c", Expect::Absent, "d/a", trusted), b""));
    assert_eq!(applied(&it.one(move_to("d/l", Expect::Absent, "l", link_to("a")), b"")), None);
    let left = [("b", "two"), ("c", "one"), ("d/l", "-> a")];
    assert_eq!(files_below(&it.path()), left.map(|(at, text)| (at.to_owned(), text.to_owned())));
    assert!(it.trash("removed").is_empty() && it.trash("replaced").is_empty(), "nothing went away");
    it.assert_tidy();
}

#[test]
fn what_is_moved_over_is_kept() {
    let it = four();
    applied(&it.one(move_to("b", file(b"two"), "a", file(b"one")), b""));
    applied(&it.one(move_to("b", file(b"one"), "l", link_to("a")), b""));
    assert_eq!(files_below(&it.path()), [("b".to_owned(), "-> a".to_owned())]);
    let kept = it.trash("replaced");
    assert_eq!(kept.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    it.assert_tidy();
}

#[test]
fn a_move_is_done_once_and_again_it_is_already_so() {
    let it = four();
    applied(&it.one(move_to("c", Expect::Absent, "a", file(b"one")), b""));
    let again = it.one(move_to("c", Expect::Absent, "a", file(b"one")), b"");
    assert!(matches!(again, Outcome::Already { stamp: Some(_) }), "{again:?}");
    let from_nowhere = it.one(move_to("c", Expect::Absent, "no/such", file(b"one")), b"");
    assert!(matches!(from_nowhere, Outcome::Already { stamp: Some(_) }), "{from_nowhere:?}");
    assert_eq!(refusal(&it.one(move_to("e", Expect::Absent, "a", file(b"one")), b"")), "`a` is not there");
}

#[test]
fn both_ends_must_hold_what_is_expected() {
    let it = four();
    let before = files_below(&it.path());
    for (source, name) in [(file(b"two"), "a"), (link_to("one"), "a"), (file(b"one"), "l"), (file(b"one"), "d")] {
        let outcome = it.one(move_to("c", Expect::Absent, name, source.clone()), b"");
        assert_eq!(refusal(&outcome), format!("`{name}` is not what was expected"));
        let outcome = it.one(copy_to("c", Expect::Absent, name, source), b"");
        assert!(!refusal(&outcome).is_empty(), "{name}");
    }
    for do_it in [move_to, copy_to] {
        for wrong in [Expect::Absent, Expect::Folder] {
            assert!(!refusal(&it.one(do_it("c", Expect::Absent, "d", wrong), b"")).is_empty());
        }
        let taken = it.one(do_it("b", Expect::Absent, "a", file(b"one")), b"");
        assert_eq!(changed(&taken), Some(&Content::File { hash: hash(b"two"), size: 3, executable: false }));
        let other = it.one(do_it("b", file(b"three"), "a", file(b"one")), b"");
        assert_eq!(changed(&other), Some(&Content::File { hash: hash(b"two"), size: 3, executable: false }));
        assert_eq!(changed(&it.one(do_it("c", file(b"two"), "a", file(b"one")), b"")), None);
        let folder = it.one(do_it("d", Expect::Folder, "a", file(b"one")), b"");
        assert_eq!(refusal(&folder), "a folder has to be removed first");
        let nowhere = it.one(do_it("no/such", Expect::Absent, "a", file(b"one")), b"");
        assert_eq!(refusal(&nowhere), "the folder `no` is not there");
    }
    assert_eq!(files_below(&it.path()), before, "nothing was changed");
    it.assert_tidy();
}

#[test]
fn nothing_is_moved_through_a_link_or_out_of_reach() {
    let it = four();
    fs::create_dir(it.place.path().join("outside")).expect("a folder");
    fs::write(it.place.path().join("outside/x"), "one").expect("a file");
    std::os::unix::fs::symlink("../outside", it.path().join("out")).expect("a link");
    for do_it in [move_to, copy_to] {
        assert_eq!(
            refusal(&it.one(do_it("c", Expect::Absent, "out/x", file(b"one")), b"")),
            "`out` is a symbolic link"
        );
        assert_eq!(
            refusal(&it.one(do_it("out/c", Expect::Absent, "a", file(b"one")), b"")),
            "`out` is a symbolic link"
        );
    }
    assert_eq!(files_below(&it.place.path().join("outside")), [("x".to_owned(), "one".to_owned())]);
    assert_eq!(it.text("a"), "one");
}

#[test]
fn two_names_of_one_file_are_not_moved_over_each_other() {
    let it = four();
    fs::hard_link(it.path().join("a"), it.path().join("c")).expect("a second name");
    let outcome = it.one(move_to("c", file(b"one"), "a", file(b"one")), b"");
    assert_eq!(refusal(&outcome), "`a` and `c` are one file there");
    assert_eq!((it.text("a"), it.text("c")), ("one".to_owned(), "one".to_owned()));
    it.assert_tidy();
}

#[test]
fn an_edit_during_a_move_stays_under_the_old_name() {
    for replaced in [false, true] {
        let it = four();
        let at = it.path().join("a");
        it.meanwhile(Point::Checked, move || {
            if replaced {
                fs::write(at.with_extension("new"), "theirs").expect("a file");
                fs::rename(at.with_extension("new"), &at).expect("a file");
            } else {
                fs::write(&at, "theirs").expect("a file");
            }
        });
        let outcome = it.one(move_to("c", Expect::Absent, "a", file(b"one")), b"");
        assert_eq!(refusal(&outcome), "`a` is not what was expected");
        assert_eq!(it.text("a"), "theirs", "{replaced}");
        assert!(!it.path().join("c").exists());
    }
}

#[test]
fn an_edit_of_the_target_wins_until_the_last_look() {
    let it = four();
    let at = it.path().join("b");
    it.meanwhile(Point::Linked, move || fs::write(&at, "theirs").expect("a file"));
    let outcome = it.one(move_to("b", file(b"two"), "a", file(b"one")), b"");
    assert_eq!(changed(&outcome), Some(&Content::File { hash: hash(b"theirs"), size: 6, executable: false }));
    assert_eq!((it.text("a"), it.text("b")), ("one".to_owned(), "theirs".to_owned()));
    it.assert_tidy();
}

#[test]
fn what_takes_the_old_name_during_a_replacement_stays() {
    let it = four();
    let at = it.path().join("a");
    it.meanwhile(Point::Checked, move || {
        fs::write(at.with_extension("new"), "theirs").expect("a file");
        fs::rename(at.with_extension("new"), &at).expect("a file");
    });
    applied(&it.one(move_to("b", file(b"two"), "a", file(b"one")), b""));
    assert_eq!((it.text("a"), it.text("b")), ("theirs".to_owned(), "one".to_owned()));
    it.assert_tidy();
}

#[test]
fn a_copy_has_the_bytes_and_its_own_mode() {
    let large: String = "0123456789abcdef".repeat(100_000);
    let it = fixture();
    it.one(put("a", Expect::Absent, large.as_bytes()), large.as_bytes());
    it.set_mode("a", 0o600);
    let source = || file(large.as_bytes());
    let stamp = applied(&it.one(copy_to("b", Expect::Absent, "a", source()), b"")).expect("a file has a stamp");
    assert_eq!((stamp.size, it.text("b") == large, it.mode("b") & 0o600), (large.len() as u64, true, 0o600));
    it.write("b", "other");
    it.set_mode("b", 0o640);
    applied(&it.one(copy_to("b", file(b"other"), "a", source()), b""));
    assert_eq!((it.text("b") == large, it.mode("b")), (true, 0o640), "what is replaced keeps its mode");
    assert_eq!(it.trash("replaced"), [("b".to_owned(), "other".to_owned())]);
    let again = it.one(copy_to("b", Expect::Absent, "a", source()), b"");
    assert!(matches!(again, Outcome::Already { stamp: Some(_) }), "{again:?}");
    assert_ne!(
        fs::metadata(it.path().join("a")).expect("a file").ino(),
        fs::metadata(it.path().join("b")).expect("a file").ino()
    );
    it.assert_tidy();
}

#[test]
fn a_durable_move_and_copy_are_flushed() {
    let it = four();
    let ops = vec![
        move_to("d/a", Expect::Absent, "a", file(b"one")),
        copy_to("d/b", Expect::Absent, "b", file(b"two")),
        move_to("d/l", Expect::Absent, "l", link_to("a")),
    ];
    let outcomes = it.apply_with(ops, b"", Trailer::default(), true);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied { .. })), "{outcomes:?}");
    assert_eq!((it.text("d/a"), it.text("d/b")), ("one".to_owned(), "two".to_owned()));
}

#[test]
fn our_own_folder_is_neither_moved_nor_copied() {
    let place = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink("elsewhere", place.path().join(".root.mltoolbox")).expect("a link");
    let (root, opened) = open_as(&place.path().join("root"), "one", false).expect("a root");
    let it = Fixture { place, root, opened };
    let record = fs::read(it.path().join(".mltoolbox/root.json")).expect("the side directory is inside");
    for do_it in [move_to, copy_to] {
        let outcome = it.one(do_it("c", Expect::Absent, ".mltoolbox/root.json", file(&record)), b"");
        assert_eq!(refusal(&outcome), "`.mltoolbox` belongs to MLToolbox");
    }
    assert!(it.path().join(".mltoolbox/root.json").exists() && !it.path().join("c").exists());
}
