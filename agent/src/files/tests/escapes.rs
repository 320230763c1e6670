//! Nothing outside a root is ever touched, and a full disk leaves nothing half done.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Set in the process that has a mount namespace of its own.
const INNER: &str = "MLT_TEST_MOUNT";

fn outside(it: &Fixture) -> std::path::PathBuf {
    let outside = it.place.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("canary"), "canary").expect("a file");
    outside
}

fn every_action(at: &str) -> Vec<Op> {
    vec![
        put(at, Expect::Absent, b"1"),
        put(at, file(b"canary"), b"1"),
        op(at, Expect::Absent, Do::Link { target: "x".into() }),
        op(at, Expect::Absent, Do::MakeFolder { mode: 0o777 }),
        op(at, file(b"canary"), Do::SetMode { mode: 0o700 }),
        op(at, file(b"canary"), Do::Remove),
    ]
}

/// Moves and copies to and from a path.
fn every_relocation(at: &str) -> Vec<Op> {
    vec![
        op(at, Expect::Absent, Do::Move { from: path("x"), source: file(b"canary") }),
        op("x", Expect::Absent, Do::Move { from: path(at), source: file(b"canary") }),
        op(at, Expect::Absent, Do::Copy { from: path("x"), source: file(b"canary"), mode: 0o644, mtime_ns: None }),
        op("x", Expect::Absent, Do::Copy { from: path(at), source: file(b"canary"), mode: 0o644, mtime_ns: None }),
    ]
}

#[test]
fn no_component_may_be_a_link_or_a_file() {
    for by_component in [false, true] {
        let it = fixture();
        let outside = outside(&it);
        it.root.top.by_component.store(by_component, Ordering::Relaxed);
        fs::create_dir_all(it.path().join("a/b")).expect("a folder");
        it.write("file", "1");
        std::os::unix::fs::symlink(&outside, it.path().join("link")).expect("a link");
        std::os::unix::fs::symlink("../../../outside", it.path().join("a/b/up")).expect("a link");
        std::os::unix::fs::symlink("loop", it.path().join("loop")).expect("a link");
        std::os::unix::fs::symlink("/proc/self/root", it.path().join("magic")).expect("a link");
        for (folder, reason) in [
            ("link", "`link` is a symbolic link"),
            ("a/b/up", "`a/b/up` is a symbolic link"),
            ("loop", "`loop` is a symbolic link"),
            ("magic/tmp", "`magic` is a symbolic link"),
            ("link/deeper", "`link` is a symbolic link"),
            ("file", "`file` is not a folder"),
        ] {
            let at = format!("{folder}/canary");
            for outcome in it.apply(every_action(&at), &[b"1", b"1"]) {
                let Outcome::Rejected(Rejected::Unsafe { reason: told }) = outcome else { panic!("{at}: {outcome:?}") };
                assert_eq!(told, reason);
            }
            let told =
                it.root.verify(&[Known { path: path(&at), expect: Expect::Absent }], &|| true).expect("it is wanted");
            assert_eq!(told[0].problem.as_deref(), Some(reason));
            assert!(it.root.read(&path(&at)).is_err());
        }
        // A link in the last place is replaced or told, never followed.
        std::os::unix::fs::symlink(outside.join("canary"), it.path().join("last")).expect("a link");
        assert!(it.apply(every_action("last"), &[b"1", b"1"]).iter().all(|outcome| changed(outcome).is_some()));
        assert_eq!(files_below(&outside), [("canary".into(), "canary".into())]);
        assert_eq!(it.root.top.by_component.load(Ordering::Relaxed), by_component, "openat2 works here");
    }
}

#[test]
fn a_folder_that_flips_to_a_link_leads_nowhere() {
    for by_component in [false, true] {
        let it = fixture_in("/dev/shm");
        let outside = outside(&it);
        it.root.top.by_component.store(by_component, Ordering::Relaxed);
        fs::create_dir(it.path().join("a")).expect("a folder");
        std::os::unix::fs::symlink(&outside, it.path().join("b")).expect("a link");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let folder = &*it.root.top.folder;
                while !done.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(folder, "a", folder, "b", rustix::fs::RenameFlags::EXCHANGE)
                        .expect("an exchange");
                }
            });
            let (mut written, mut refused) = (0, 0);
            for round in 0..3000 {
                let ops = vec![
                    put(&format!("a/{round}"), Expect::Absent, b"1"),
                    op("a/canary", file(b"canary"), Do::Remove),
                    put("a/canary", file(b"canary"), b"gone"),
                    op("a/canary", Expect::Absent, Do::Link { target: "x".into() }),
                ];
                let outcomes = it.apply(ops, &[b"1", b"gone"]);
                match outcomes[0] {
                    Outcome::Applied { .. } => written += 1,
                    Outcome::Rejected(_) => refused += 1,
                    Outcome::Already { .. } => panic!("{outcomes:?}"),
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(written > 0 && refused > 0, "the race was not run: {written} {refused}");
        });
        assert_eq!(files_below(&outside), [("canary".into(), "canary".into())]);
    }
}

/// Runs the test of that name again in a mount namespace of its own; returns whether this is that run.
fn in_namespace(test: &str) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let possible = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        skip("this user may not mount in a namespace");
        return false;
    }
    let test = format!("files::tests::escapes::{test}");
    let program = std::env::current_exe().expect("a program");
    let run = Command::new("unshare").arg("-m").arg(program).args(["--exact", &test]).env(INNER, "1").output();
    let run = run.expect("a run");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && output.contains("1 passed"), "{output}{}", String::from_utf8_lossy(&run.stderr));
    false
}

/// Says past the harness, which hides what passing tests print, that a test was not run.
pub(super) fn skip(reason: &str) {
    io::Write::write_all(&mut io::stderr(), format!("SKIPPED: {reason}\n").as_bytes()).expect("an open stderr");
}

fn mount(args: &[&str], at: &Path) {
    let status = Command::new("mount").args(args).arg(at).status().expect("a mount program");
    assert!(status.success(), "{args:?}");
}

#[test]
fn mounts_are_not_crossed() {
    if !in_namespace("mounts_are_not_crossed") {
        return;
    }
    let it = fixture();
    let outside = outside(&it);
    for (name, reason) in [("disk", "`disk` is a mount point"), ("bound", "`bound` is or lies below a mount point")] {
        fs::create_dir(it.path().join(name)).expect("a folder");
        match name {
            "disk" => mount(&["-t", "tmpfs", "tmpfs"], &it.path().join(name)),
            _ => mount(&["--bind", outside.to_str().expect("text")], &it.path().join(name)),
        }
        for outcome in it.apply(every_action(&format!("{name}/canary")), &[b"1", b"1"]) {
            assert_eq!(outcome, Outcome::Rejected(Rejected::Unsafe { reason: reason.into() }));
        }
        for outcome in it.apply(every_relocation(&format!("{name}/canary")), &[]) {
            assert_eq!(outcome, Outcome::Rejected(Rejected::Unsafe { reason: reason.into() }));
        }
        let removed = it.one(op(name, Expect::Folder, Do::Remove), b"");
        assert!(matches!(removed, Outcome::Rejected(Rejected::Unsafe { .. })), "{removed:?}");
    }
    assert_eq!(files_below(&outside), [("canary".into(), "canary".into())]);
    // A root that is itself mounted keeps its side directory inside.
    let (root, _) = open_as(&it.path().join("disk"), "one", false).expect("a root");
    assert!(root.side.inside);
    assert!(!it.path().join(".disk.mltoolbox").exists());
    // The same device, but another mount: a rename from beside would fail.
    let (root, _) = open_as(&it.path().join("bound"), "one", false).expect("a root");
    assert!(root.side.inside);
}

#[test]
fn a_full_disk_and_a_read_only_one() {
    if !in_namespace("a_full_disk_and_a_read_only_one") {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary folder");
    mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], place.path());
    let (root, opened) = open_as(&place.path().join("root"), "one", false).expect("a root");
    assert!(opened.free_bytes <= 4 << 20);
    let it = Fixture { place, root, opened };
    let (large, small) = (vec![b'L'; 8 << 20], vec![b's'; 600 << 10]);
    it.one(put("kept", Expect::Absent, b"base"), b"base");
    let mut ops = vec![put("large", Expect::Absent, &large), put("kept", file(b"base"), &large)];
    ops.extend((0..8).map(|number| put(&format!("small-{number}"), Expect::Absent, &small)));
    let mut bodies = vec![large.as_slice(), &large];
    bodies.extend((0..8).map(|_| small.as_slice()));
    let outcomes = it.apply(ops, &bodies);
    let full = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(Rejected::Full));
    assert!(full(&outcomes[0]) && full(&outcomes[1]) && full(&outcomes[9]), "{outcomes:?}");
    applied(&outcomes[2]);
    assert_eq!(it.text("kept"), "base");
    for (name, text) in files_below(&it.path()) {
        assert!(name == "kept" || text.len() == small.len(), "{name} is torn");
    }
    it.assert_tidy();

    let (at, Fixture { place, root, .. }) = (it.path(), it);
    drop(root);
    mount(&["-o", "remount,ro"], place.path());
    let error = open_as(&at, "one", false).map(|(root, _)| root).expect_err("read-only");
    assert_eq!(error.code, protocol::error::Code::SyncRoot);
}
