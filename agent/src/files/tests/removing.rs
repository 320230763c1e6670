//! Removing, and the trash that everything removed or replaced goes to.

use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn removed_files_can_be_found_again() {
    let it = fixture();
    it.apply(
        vec![
            op("a", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
            op("a/b", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
            put("a/b/c", Expect::Absent, b"1"),
            put("d", Expect::Absent, b"2"),
        ],
        &[b"1", b"2"],
    );
    let outcomes = it.apply(
        vec![
            op("a/b/c", file(b"1"), Do::Remove),
            op("a/b", Expect::Folder, Do::Remove),
            op("a", Expect::Folder, Do::Remove),
            op("d", file(b"2"), Do::Remove),
            op("d", file(b"2"), Do::Remove),
            op("none/at/all", file(b"2"), Do::Remove),
        ],
        &[],
    );
    assert!(outcomes[..4].iter().all(|outcome| applied(outcome).is_none()));
    assert_eq!(outcomes[4..], [Outcome::Already { stamp: None }, Outcome::Already { stamp: None }]);
    assert!(files_below(&it.path()).is_empty());
    assert_eq!(it.trash("removed"), [("a/b/c".into(), "1".into()), ("d".into(), "2".into())]);
    it.root.empty_trash().expect("an empty trash");
    assert!(it.trash("removed").is_empty());
    assert_eq!(it.root.trash.removed.held(), 0);
}

#[test]
fn what_is_not_ours_is_not_removed() {
    let it = fixture();
    fs::create_dir(it.path().join("folder")).expect("a folder");
    it.write("folder/foreign", "x");
    it.write("folder/other", "y");
    let outcome = it.one(op("folder", Expect::Folder, Do::Remove), b"");
    assert_eq!(outcome, Outcome::Rejected(Rejected::NotEmpty { kept: 2 }));
    assert!(changed(&it.one(op("folder/foreign", file(b"base"), Do::Remove), b"")).is_some());
    assert!(changed(&it.one(op("folder/foreign", Expect::Absent, Do::Remove), b"")).is_some());
    assert!(changed(&it.one(op("folder", file(b"base"), Do::Remove), b"")).is_some());
    assert_eq!(files_below(&it.path()).len(), 2);
    assert!(it.trash("removed").is_empty());
}

#[test]
fn the_same_name_twice_in_a_batch_keeps_both() {
    let it = fixture();
    it.apply(
        vec![
            put("a", Expect::Absent, b"1"),
            op("a", file(b"1"), Do::Remove),
            op("a", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
            put("a/b", Expect::Absent, b"2"),
            op("a/b", file(b"2"), Do::Remove),
            put("a/b", Expect::Absent, b"3"),
            op("a/b", file(b"3"), Do::Remove),
        ],
        &[b"1", b"2", b"3"],
    );
    assert_eq!(it.trash("removed"), [("a".into(), "1".into()), ("a/b".into(), "2".into()), ("a/b".into(), "3".into())]);
}

#[test]
fn a_link_in_the_trash_is_no_way_out() {
    let it = fixture();
    let outside = it.place.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    let target = outside.to_str().expect("text").to_owned();
    it.apply(
        vec![
            op("a", Expect::Absent, Do::Link { target: target.clone() }),
            op("a", Expect::Link { target }, Do::Remove),
            op("a", Expect::Absent, Do::MakeFolder { mode: 0o755 }),
            put("a/b", Expect::Absent, b"1"),
            op("a/b", file(b"1"), Do::Remove),
        ],
        &[b"1"],
    );
    assert!(files_below(&outside).is_empty());
    assert_eq!(it.trash("removed").len(), 2);
    it.root.empty_trash().expect("an empty trash");
    assert!(outside.exists());
}

#[test]
fn a_full_trash_stops_removals_only() {
    let it = fixture();
    it.apply(vec![put("a", Expect::Absent, b"1"), put("b", Expect::Absent, b"2")], &[b"1", b"2"]);
    it.root.trash.removed.set_held(4 << 30);
    let outcomes = it.apply(vec![op("a", file(b"1"), Do::Remove), put("b", file(b"2"), b"3")], &[b"3"]);
    assert_eq!(outcomes[0], Outcome::Rejected(Rejected::TrashFull { held: 4 << 30 }));
    applied(&outcomes[1]);
    assert_eq!(it.text("a"), "1");
    it.root.empty_trash().expect("an empty trash");
    applied(&it.one(op("a", file(b"1"), Do::Remove), b""));
}

#[test]
fn the_trash_is_purged_by_age_and_replaced_versions_by_size() {
    let it = fixture();
    it.one(put("a", Expect::Absent, b"11"), b"11");
    it.one(put("a", file(b"11"), b"22"), b"22");
    it.one(op("a", file(b"22"), Do::Remove), b"");
    let trash = &it.root.trash;
    assert_eq!((trash.removed.held(), trash.replaced.held()), (2, 2));
    let after = |seconds| SystemTime::now() + Duration::from_secs(seconds);
    let hour = 3600;
    for bin in [&trash.removed, &trash.replaced] {
        bin.purge(after(23 * hour), u64::MAX).expect("a purge");
        assert_eq!(bin.held(), 2);
    }
    trash.replaced.purge(after(0), 1).expect("a purge");
    assert_eq!(trash.replaced.held(), 2, "a batch may still be at it");
    trash.replaced.purge(after(60), 1).expect("a purge");
    trash.removed.purge(after(25 * hour), u64::MAX).expect("a purge");
    assert_eq!((trash.removed.held(), trash.replaced.held()), (0, 0));
    assert!(it.trash("removed").is_empty() && it.trash("replaced").is_empty());
    // What was there before is counted at the next opening.
    it.one(put("a", Expect::Absent, b"333"), b"333");
    it.one(op("a", file(b"333"), Do::Remove), b"");
    let (again, _) = open_as(&it.path(), "one", false).expect("a root");
    assert_eq!(again.trash.removed.held(), 3);
}
