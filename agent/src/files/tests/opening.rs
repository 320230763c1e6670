//! Which folder may be a root, who holds it, and how it is known again.

use protocol::error::Code;

use super::*;

fn open_error(at: &str, create: bool) -> Error {
    let open =
        Open { path: RemotePath::new(at).expect("a remote path"), create, holder: holder("one"), take_over: false };
    Root::open(1, &open).map(|(root, _)| root).expect_err("a refusal")
}

#[test]
fn refuses_what_nobody_means() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let below = |name: &str| place.path().join(name).to_str().expect("text").to_owned();
    fs::write(below("file"), "x").expect("a file");
    fs::create_dir(below("folder")).expect("a folder");
    std::os::unix::fs::symlink("folder", below("link")).expect("a link");
    std::os::unix::fs::symlink("/", below("top")).expect("a link");
    for (at, create, message) in [
        ("/", true, "the root of the file system"),
        ("//.", true, "the root of the file system"),
        ("~", true, "the home folder itself"),
        ("~someone/x", true, "another user"),
        (&below("file"), true, "is not a folder"),
        (&below("link"), true, "symbolic link to `folder`"),
        (&below("top"), true, "symbolic link to `/`"),
        (&below("missing"), false, "does not exist"),
        (&below("missing/below"), false, "does not exist"),
        (&below("file/below"), true, "cannot make the folders above"),
    ] {
        let error = open_error(at, create);
        assert_eq!(error.code, Code::SyncRoot, "{at}");
        assert!(error.message.contains(message), "{at}: {}", error.message);
        assert!(error.help.ends_with('.') && !error.message.ends_with('.'), "{error:?}");
    }
    assert!(!place.path().join("missing").exists());
}

#[test]
fn makes_parents_and_tells_what_it_found() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let at = place.path().join("a/b/root");
    let (root, opened) = open_as(&at, "one", false).expect("a root");
    assert!(opened.created && opened.empty && !opened.ignores_case && opened.free_bytes > 0);
    assert_eq!((opened.root, opened.path.as_str(), opened.copy.len()), (1, at.to_str().expect("text"), 32));
    fs::write(at.join("x"), "x").expect("a file");
    root.close();
    let (_, again) = open_as(&at, "one", false).expect("a root");
    assert!(!again.created && !again.empty);
    assert_eq!(again.copy, opened.copy);
}

#[test]
fn a_folder_made_again_is_another_copy() {
    for place in ["/tmp", "/dev/shm"] {
        let it = fixture_in(place);
        it.root.close();
        fs::remove_dir_all(it.path()).expect("an own folder");
        fs::create_dir(it.path()).expect("a folder");
        let (_, again) = open_as(&it.path(), "one", false).expect("a root");
        assert_ne!(again.copy, it.opened.copy, "{place}");
    }
}

#[test]
fn a_root_replaced_while_open_is_left_alone() {
    let it = fixture();
    fs::rename(it.path(), it.place.path().join("old")).expect("an own folder");
    fs::create_dir(it.path()).expect("a folder");
    let apply = Apply { root: 1, barrier: false, durable: false, ops: vec![put("a", Expect::Absent, b"1")] };
    let mut bodies = Bytes { bytes: io::Cursor::new(b"1".to_vec()), trailer: Trailer::default() };
    let error = it.root.apply(&apply, &mut bodies).expect_err("a refusal");
    assert_eq!(error.code, Code::SyncRoot);
    assert!(files_below(it.place.path()).iter().all(|(name, _)| !name.ends_with("/a")));
    let told = it.root.verify(&[Known { path: path("a"), expect: file(b"1") }], &|| true).expect("it is wanted");
    assert!(told[0].problem.as_deref().is_some_and(|problem| problem.contains("was replaced")), "{told:?}");
}

#[test]
fn one_holder_at_a_time() {
    let it = fixture();
    let error = open_as(&it.path(), "two", false).map(|(root, _)| root).expect_err("it is held");
    assert_eq!(error.code, Code::SyncLeased);
    assert!(error.message.contains("one@machine:/folder") && error.help.contains("--take-over"), "{error:?}");

    // A second link of the same holder; the first may go on, and its end does not take the lease away.
    let (second, _) = open_as(&it.path(), "one", false).expect("the same holder");
    applied(&it.one(put("a", Expect::Absent, b"1"), b"1"));
    let (third, _) = open_as(&it.path(), "one", false).expect("the same holder");
    second.close();
    assert!(open_as(&it.path(), "two", false).is_err());

    let (other, _) = open_as(&it.path(), "two", true).expect("taken over");
    let apply = Apply { root: 1, barrier: false, durable: false, ops: Vec::new() };
    for loser in [&it.root, &third] {
        let mut bodies = Bytes { bytes: io::Cursor::default(), trailer: Trailer::default() };
        assert_eq!(loser.apply(&apply, &mut bodies).expect_err("taken over").code, Code::SyncLeased);
    }
    third.close();
    assert!(open_as(&it.path(), "one", false).is_err(), "a loser's end gives nothing back");
    other.close();
    open_as(&it.path(), "one", false).expect("it was given back");
}

#[test]
fn a_newer_format_is_not_touched() {
    for name in ["root.json", "lease.json"] {
        let it = fixture();
        let newer = r#"{"version":2,"surprise":true}"#;
        fs::write(it.side().join(name), newer).expect("an own file");
        let error = open_as(&it.path(), "one", true).map(|(root, _)| root).expect_err("a newer format");
        assert!(error.message.contains(name) && error.help.contains("agent install"), "{error:?}");
        assert_eq!(fs::read_to_string(it.side().join(name)).expect("a file"), newer);
        // Half a record is no record.
        fs::write(it.side().join(name), "{").expect("an own file");
        open_as(&it.path(), "one", false).expect("a root");
    }
}

#[test]
fn the_side_directory_is_private_and_moves_inside_when_it_must() {
    let it = fixture();
    let mode = |at: &Path| std::os::unix::fs::MetadataExt::mode(&fs::metadata(at).expect("a folder")) & 0o777;
    assert_eq!(mode(&it.side()), 0o700);
    assert!(files_below(&it.path()).is_empty());

    let place = tempfile::tempdir().expect("a temporary folder");
    let elsewhere = place.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    std::os::unix::fs::symlink(&elsewhere, place.path().join(".root.mltoolbox")).expect("a link");
    let at = place.path().join("root");
    let (root, opened) = open_as(&at, "one", false).expect("a root");
    assert!(opened.empty, "our own does not count");
    assert_eq!(mode(&at.join(".mltoolbox")), 0o700);
    assert_eq!(fs::read_to_string(at.join(".mltoolbox/.gitignore")).expect("a file"), "*\n");
    assert!(files_below(&elsewhere).is_empty());

    let it = Fixture { place, root, opened };
    for at in [".mltoolbox/x", ".MLToolbox/lock", ".mltoolbox"] {
        let outcome = it.one(put(at, Expect::Absent, b"1"), b"1");
        assert!(matches!(outcome, Outcome::Rejected(Rejected::Unsafe { .. })), "{outcome:?}");
    }
}

#[test]
fn the_side_directory_of_another_user_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        escapes::skip("only root can make a folder of another user");
        return;
    }
    let place = tempfile::tempdir().expect("a temporary folder");
    let beside = place.path().join(".root.mltoolbox");
    fs::create_dir(&beside).expect("a folder");
    std::os::unix::fs::chown(&beside, Some(65_534), None).expect("another owner");
    let (root, _) = open_as(&place.path().join("root"), "one", false).expect("a root");
    assert!(root.side.inside && files_below(&beside).is_empty());

    std::os::unix::fs::chown(&beside, Some(0), None).expect("the first owner");
    let (root, _) = open_as(&place.path().join("root"), "one", false).expect("a root");
    assert!(!root.side.inside);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&beside).expect("a folder"));
    assert_eq!(mode & 0o777, 0o700, "closed to others");
}

#[test]
fn only_abandoned_temporary_files_are_removed() {
    let it = fixture();
    let dead = it.side().join("tmp/dead");
    fs::create_dir_all(&dead).expect("a folder");
    fs::write(dead.join("owner"), "").expect("a file");
    fs::write(dead.join("7"), "half a file").expect("a file");
    fs::create_dir_all(it.side().join("tmp/unborn")).expect("a folder");
    let (second, _) = open_as(&it.path(), "one", false).expect("the same holder");
    assert_eq!(files_below(&it.side().join("tmp")).len(), 2, "both are in use");
    drop(second);
    it.assert_tidy();
    applied(&it.one(put("a", Expect::Absent, b"1"), b"1"));
}
