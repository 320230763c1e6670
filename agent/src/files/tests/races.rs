//! Somebody edits the remote while we write there: nothing of theirs is lost.

use super::place::{self, Replaced};
use super::trash::Shelf;
use super::*;

#[test]
fn an_edit_before_the_last_look_wins() {
    for edit in ["in place", "by rename", "removed"] {
        let it = fixture();
        it.one(put("a", Expect::Absent, b"base"), b"base");
        let at = it.path().join("a");
        it.meanwhile(Point::Linked, move || match edit {
            "in place" => fs::write(&at, "theirs").expect("a file"),
            "by rename" => {
                fs::write(at.with_extension("new"), "theirs").expect("a file");
                fs::rename(at.with_extension("new"), &at).expect("a file");
            }
            _ => fs::remove_file(&at).expect("a file"),
        });
        let outcome = it.one(put("a", file(b"base"), b"ours"), b"ours");
        match changed(&outcome) {
            Some(Content::File { hash: found, .. }) => assert_eq!(*found, hash(b"theirs"), "{edit}"),
            None => assert_eq!(edit, "removed"),
            other => panic!("{edit}: {other:?}"),
        }
        let left = if edit == "removed" { vec![] } else { vec![("a".to_owned(), "theirs".to_owned())] };
        assert_eq!(files_below(&it.path()), left, "{edit}");
        assert!(it.trash("replaced").is_empty(), "{edit}");
        it.assert_tidy();
    }
}

#[test]
fn an_edit_after_the_last_look_is_kept_beside() {
    let it = fixture();
    it.apply(
        vec![op("d", Expect::Absent, Do::MakeFolder { mode: 0o755 }), put("d/a", Expect::Absent, b"base")],
        &[b"base"],
    );
    let at = it.path().join("d/a");
    it.meanwhile(Point::Checked, move || fs::write(&at, "theirs").expect("a file"));
    let outcome = it.one(put("d/a", file(b"base"), b"ours"), b"ours");
    let Outcome::Applied { kept_as: Some(kept), .. } = outcome else { panic!("{outcome:?}") };
    assert!(kept.as_str().starts_with("d/a.mltoolbox-conflict-2"), "{kept}");
    assert_eq!((it.text("d/a"), it.text(kept.as_str())), ("ours".into(), "theirs".into()));
    it.assert_tidy();
}

#[test]
fn an_edit_during_a_removal_comes_back() {
    for replaced in [false, true] {
        let it = fixture();
        it.one(put("a", Expect::Absent, b"base"), b"base");
        let at = it.path().join("a");
        it.meanwhile(Point::Checked, move || {
            if replaced {
                fs::remove_file(&at).expect("a file");
            }
            fs::write(&at, "theirs").expect("a file");
        });
        let outcome = it.one(op("a", file(b"base"), Do::Remove), b"");
        assert!(matches!(changed(&outcome), Some(Content::File { hash: found, .. }) if *found == hash(b"theirs")));
        assert_eq!(files_below(&it.path()), [("a".into(), "theirs".into())]);
        assert!(it.trash("removed").is_empty());
    }
}

/// The ways of a file system without hard links, called directly since the ones here have them.
#[test]
fn without_links_nothing_is_lost_either() {
    type Way =
        fn(&Root, &mut Shelf<'_>, &mut super::temp::Temp<'_>, &File, &RelPath, &look::Seen) -> io::Result<Replaced>;
    for (way, point) in [(place::exchange as Way, Point::Checked), (place::copy as Way, Point::Linked)] {
        for edited in [false, true] {
            let it = fixture();
            it.one(put("a", Expect::Absent, b"base"), b"base");
            let parent = &it.root.top.folder;
            let before = look::at(parent.as_fd(), "a").expect("a stat").expect("a file");
            let (mut temp, mut fresh) = it.root.workshop.file(0o644).expect("a file");
            io::Write::write_all(&mut fresh, b"ours").expect("a file");
            if edited {
                let at = it.path().join("a");
                it.meanwhile(point, move || fs::write(&at, "theirs").expect("a file"));
            }
            let mut shelf = Shelf::new(&it.root.trash.replaced);
            let outcome = way(&it.root, &mut shelf, &mut temp, parent, &path("a"), &before).expect("a way");
            drop(temp);
            if edited {
                assert!(matches!(outcome, Replaced::Changed), "{outcome:?}");
                assert_eq!((it.text("a"), it.trash("replaced").len()), ("theirs".into(), 0));
            } else {
                assert!(matches!(outcome, Replaced::Done { kept_as: None }), "{outcome:?}");
                assert_eq!((it.text("a"), it.trash("replaced")), ("ours".into(), vec![("a".into(), "base".into())]));
            }
            assert_eq!(files_below(&it.path()).len(), 1);
            it.assert_tidy();
        }
    }
}

/// A stream during which somebody makes a file.
struct Slow(std::path::PathBuf, u64);
impl Bodies for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.1).expect("a length"));
        buffer[..count].fill(b'L');
        self.1 -= count as u64;
        fs::write(&self.0, "theirs")?;
        Ok(count)
    }
    fn trailer(&mut self) -> io::Result<Trailer> {
        Ok(Trailer::default())
    }
}

#[test]
fn a_create_never_replaces() {
    let it = fixture();
    let large = vec![b'L'; 2 << 20];
    let apply = Apply { root: 1, barrier: false, durable: false, ops: vec![put("a", Expect::Absent, &large)] };
    let outcomes = it.root.apply(&apply, &mut Slow(it.path().join("a"), 2 << 20)).expect("a batch");
    assert!(changed(&outcomes[0]).is_some());
    assert_eq!(it.text("a"), "theirs");
    it.assert_tidy();
}

/// Returns what becomes of an edit that is made at `point` of an operation, when the next push relies on what was
/// answered.
fn edited_at(point: Point, first: impl FnOnce(&Fixture) -> Op, body: &[u8], holds: &[u8]) {
    let it = fixture();
    it.apply(vec![put("a", Expect::Absent, b"base"), put("b", Expect::Absent, b"bytes")], &[b"base", b"bytes"]);
    let first = first(&it);
    let at = it.path().join(first.path.as_str());
    let mut edits = 0;
    *it.root.hook.0.lock().expect("nobody panics") = Some(Box::new(move |reached| {
        if reached == point {
            edits += 1;
            if edits == 1 {
                fs::write(&at, "theirs, and longer").expect("a file");
            }
        }
    }));
    let at = first.path.clone();
    let stamp = match it.one(first, body) {
        Outcome::Applied { stamp, .. } | Outcome::Already { stamp } => stamp,
        // It was noticed at once.
        Outcome::Rejected(Rejected::Changed { .. }) => None,
        other @ Outcome::Rejected(_) => panic!("{other:?}"),
    };
    *it.root.hook.0.lock().expect("nobody panics") = None;
    let next = put(at.as_str(), Expect::File { hash: hash(holds), stamp }, b"ours again");
    let outcome = it.one(next, b"ours again");
    let found = changed(&outcome);
    assert!(
        matches!(found, Some(Content::File { hash: found, .. }) if *found == hash(b"theirs, and longer")),
        "{outcome:?}"
    );
    assert_eq!(it.text(at.as_str()), "theirs, and longer");
}

#[test]
fn a_stamp_vouches_for_no_edit_that_was_made_before_it_was_taken() {
    edited_at(Point::Placed, |_| put("a", file(b"base"), b"ours"), b"ours", b"ours");
    edited_at(Point::Placed, |_| put("new", Expect::Absent, b"ours"), b"ours", b"ours");
    let moved = |_: &Fixture| op("c", Expect::Absent, Do::Move { from: path("b"), source: file(b"bytes") });
    edited_at(Point::Placed, moved, b"", b"bytes");
    edited_at(Point::Checked, |_| op("a", file(b"base"), Do::SetMode { mode: 0o755 }), b"", b"base");
}
