//! The scan against real folders.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Instant;

use protocol::sync::Content;

use super::*;
use crate::sync::ignored::Options;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn write(root: &Path, name: &str, text: &str) {
    let file = root.join(name);
    fs::create_dir_all(file.parent().expect("it is in the root")).expect("made");
    fs::write(file, text).expect("written");
}

fn rules(root: &Path, include: &[&str]) -> Rules {
    let include = include.iter().map(ToString::to_string).collect();
    Rules::load(root, &Options { exclude: vec![], include, global: None, git: false })
}

fn scan_of(root: &Path, under: Under<'_>, base: &BTreeMap<RelPath, Base>) -> Scan {
    let opened = Root::open(root).expect("it is there");
    scan(&opened, &rules(root, &[]), under, &|path| base.get(path), &CancellationToken::new()).expect("a scan")
}

fn everything(root: &Path) -> Scan {
    scan_of(root, Under::Everything, &BTreeMap::new())
}

fn names(scan: &Scan) -> Vec<&str> {
    scan.entries.keys().map(RelPath::as_str).collect()
}

fn reason<'a>(scan: &'a Scan, name: &str) -> &'a str {
    scan.problems.iter().find(|problem| problem.path == name).map_or("", |problem| &problem.reason)
}

fn hash_of(text: &str) -> Hash {
    Hash(*blake3::hash(text.as_bytes()).as_bytes())
}

/// Returns a base that says `text` with the stamp of the file on the disk, or with none.
fn based(root: &Path, name: &str, text: &str, stamped: bool) -> BTreeMap<RelPath, Base> {
    let stat = Root::open(root).expect("it is there").stat(&path(name)).expect("it is there");
    let size = u64::try_from(text.len()).expect("short");
    let content = Content::File { hash: hash_of(text), size, executable: false };
    let local = stamped.then(|| reading::stamp(&stat));
    BTreeMap::from([(path(name), Base { content, mode: 0o644, local, remote: None })])
}

fn file_hash(scan: &Scan, name: &str) -> Option<Hash> {
    match &scan.entries.get(&path(name)).expect("it is synced").content {
        LocalContent::File { hash, .. } => *hash,
        other => panic!("{name} is no file: {other:?}"),
    }
}

#[test]
fn finds_files_folders_and_links_and_skips_what_is_ignored() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "src/main.py", "print()");
    write(root.path(), "src/run", "#!/bin/sh");
    fs::set_permissions(root.path().join("src/run"), fs::Permissions::from_mode(0o750)).expect("ours");
    write(root.path(), ".gitignore", "target/\n");
    write(root.path(), "target/o", "");
    write(root.path(), ".git/HEAD", "");
    symlink("main.py", root.path().join("src/link")).expect("made");
    fs::create_dir(root.path().join("empty")).expect("made");
    let scan = everything(root.path());
    assert_eq!(names(&scan), [".gitignore", "empty", "src", "src/link", "src/main.py", "src/run"]);
    assert_eq!(scan.problems, []);
    let run = scan.entries.get(&path("src/run")).expect("found");
    assert_eq!((run.mode, &run.content), (0o750, &LocalContent::File { hash: None, size: 9, executable: true }));
    let link = scan.entries.get(&path("src/link")).expect("found");
    assert_eq!(link.content, LocalContent::Link { target: "main.py".to_owned() });
}

#[test]
fn an_include_below_an_ignored_folder_brings_its_folders_only() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), ".gitignore", "target/\nout/\n");
    write(root.path(), "target/debug/o", "");
    write(root.path(), "target/debug/p", "");
    write(root.path(), "target/release/o", "");
    fs::create_dir(root.path().join("out")).expect("made");
    let opened = Root::open(root.path()).expect("it is there");
    let rules = rules(root.path(), &["target/debug/o", "out/x"]);
    let none = CancellationToken::new();
    let scan = |under| super::scan(&opened, &rules, under, &|_| None, &none).expect("a scan");
    assert_eq!(names(&scan(Under::Everything)), [".gitignore", "target", "target/debug", "target/debug/o"]);
    let one = [path("target/debug/o")];
    assert_eq!(names(&scan(Under::Paths(&one))), ["target", "target/debug", "target/debug/o"]);
}

#[test]
fn scans_only_what_is_asked_for() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "a/b/c", "");
    write(root.path(), "a/x", "");
    write(root.path(), "other", "");
    let under = [path("a/b"), path("a/b/c"), path("gone"), path("other/below")];
    let scan = scan_of(root.path(), Under::Paths(&under), &BTreeMap::new());
    assert_eq!(names(&scan), ["a", "a/b", "a/b/c"]);
    assert!(scan.unknown.is_empty() && scan.problems.is_empty());
}

#[test]
fn a_remembered_stamp_saves_the_reading() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "a", "new!");
    // The base claims other bytes under the very stamp: keeping them proves that nothing was read.
    let trusted = based(root.path(), "a", "old!", true);
    assert_eq!(file_hash(&scan_of(root.path(), Under::Everything, &trusted), "a"), Some(hash_of("old!")));
    let untrusted = based(root.path(), "a", "old!", false);
    assert_eq!(file_hash(&scan_of(root.path(), Under::Everything, &untrusted), "a"), Some(hash_of("new!")));
    // Another length is a change anyway; whoever sends it reads it once.
    let shorter = based(root.path(), "a", "old", true);
    assert_eq!(file_hash(&scan_of(root.path(), Under::Everything, &shorter), "a"), None);
}

#[test]
fn a_stamp_is_remembered_only_of_a_quiet_file() {
    let now = 1_000_000_000_000;
    let stamp = |mtime_ns, ctime_ns| Stamp { size: 1, mtime_ns, ctime_ns, inode: 1, device: 1 };
    let seconds = |count: i64| now - count * 1_000_000_000;
    assert!(trusted(stamp(seconds(3), seconds(3)), now).is_some());
    assert!(trusted(stamp(seconds(3), seconds(1)), now).is_none(), "a preserved time hides a fresh change");
    assert!(trusted(stamp(seconds(1), seconds(3)), now).is_none());
    assert!(trusted(stamp(seconds(-60), seconds(3)), now).is_none(), "the future");
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "a", "just now");
    assert_eq!(everything(root.path()).entries.get(&path("a")).and_then(|local| local.stamp), None);
}

#[test]
fn what_cannot_be_sent_is_said_and_kept() {
    let root = tempfile::tempdir().expect("a folder");
    let socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("bound");
    let pipe = root.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
    fs::create_dir(root.path().join("sub")).expect("made");
    for (target, name) in [
        ("/etc/passwd", "absolute"),
        ("../outside", "escape"),
        ("../inside", "sub/fine"),
        ("../../outside", "sub/escape"),
        ("loop", "loop"),
        (".", "sub/self"),
    ] {
        symlink(target, root.path().join(name)).expect("made");
    }
    let bad = std::ffi::OsStr::from_bytes(b"caf\xe9.py");
    fs::write(root.path().join(bad), "").expect("the file system takes any bytes");
    let long = "n".repeat(255);
    write(root.path(), &long, "");
    let scan = everything(root.path());
    assert_eq!(names(&scan), ["loop", long.as_str(), "sub", "sub/fine", "sub/self"]);
    let unknown: Vec<_> = scan.unknown.iter().map(RelPath::as_str).collect();
    assert_eq!(unknown, ["absolute", "escape", "pipe", "socket", "sub/escape"]);
    for (name, word) in [
        ("absolute", "absolute"),
        ("escape", "outside"),
        ("sub/escape", "outside"),
        ("pipe", "named pipe"),
        ("socket", "socket"),
        ("caf\u{fffd}.py", "UTF-8"),
    ] {
        assert!(reason(&scan, name).contains(word), "{name}: {:?}", scan.problems);
    }
    drop(socket);
}

/// Names the workspace to the process that the superuser's own cannot stand in for.
const SHUT: &str = "MLTOOLBOX_TEST_SHUT";

#[test]
#[expect(clippy::print_stderr, reason = "a skip is said aloud")]
fn what_is_unreadable_is_not_deleted() {
    if let Some(root) = std::env::var_os(SHUT) {
        return check_unreadable(Path::new(&root));
    }
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "shut/a", "text");
    write(root.path(), "secret", "text");
    let shut =
        |name: &str, mode| fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).expect("ours");
    shut("shut", 0o000);
    shut("secret", 0o000);
    if fs::read(root.path().join("secret")).is_err() {
        check_unreadable(root.path());
    } else {
        // The superuser reads everything, except in a user namespace that has no power over the file.
        let test = "sync::scan::tests::what_is_unreadable_is_not_deleted";
        let output = std::process::Command::new("unshare")
            .arg("-U")
            .arg(std::env::current_exe().expect("a test program"))
            .args(["--exact", test])
            .env(SHUT, root.path())
            .output()
            .expect("unshare is installed");
        let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if complaint.contains("unshare: ") {
            assert!(std::env::var_os("MLT_LIVE").is_none(), "no user namespace: {complaint}");
            eprintln!("SKIPPED {test}: this system allows no user namespace");
        } else {
            assert!(output.status.success() && said.contains("1 passed"), "{said}{complaint}");
        }
    }
    shut("shut", 0o700);
}

fn check_unreadable(root: &Path) {
    let base = based(root, "secret", "text", false);
    let scan = scan_of(root, Under::Everything, &base);
    assert_eq!(names(&scan), ["shut"]);
    assert!(scan.unknown.contains(&path("shut")) && scan.unknown.contains(&path("secret")));
    assert_eq!(scan.problems.len(), 2, "{:?}", scan.problems);
}

#[test]
fn a_missing_root_is_an_error_and_its_identity_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = folder.path().join("w");
    let error = Root::open(&workspace).expect_err("it is not there");
    assert_eq!(error.code(), Code::WorkspaceMissing);
    fs::create_dir(&workspace).expect("made");
    let root = Root::open(&workspace).expect("it is there");
    assert!(root.is_in_place());
    fs::rename(&workspace, folder.path().join("moved")).expect("moved");
    fs::create_dir(&workspace).expect("made");
    assert!(!root.is_in_place());
    assert_ne!(Root::open(&workspace).expect("it is there").identity(), root.identity());
}

#[test]
fn a_cancelled_scan_says_so() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "a/b", "");
    let (opened, cancel) = (Root::open(root.path()).expect("it is there"), CancellationToken::new());
    cancel.cancel();
    let result = scan(&opened, &rules(root.path(), &[]), Under::Everything, &|_| None, &cancel);
    assert!(matches!(result, Err(ScanError::Cancelled)), "{result:?}");
}

#[test]
fn reading_gives_bytes_and_their_hash() {
    let root = tempfile::tempdir().expect("a folder");
    let text = "0123456789".repeat(20_000);
    write(root.path(), "sub/a", &text);
    let opened = Root::open(root.path()).expect("it is there");
    let snapshot = opened.read(&path("sub/a"), 1 << 20).expect("read");
    assert_eq!(snapshot.bytes, text.as_bytes());
    assert_eq!((snapshot.seal.hash, snapshot.seal.size), (hash_of(&text), 200_000));
    assert!(matches!(opened.read(&path("sub/a"), 10), Err(ReadError::TooLong { size: 200_000, .. })));
    assert!(matches!(opened.read(&path("sub/b"), 10), Err(ReadError::Gone(_))));
    assert!(matches!(opened.read(&path("sub"), 10), Err(ReadError::NotAFile(_))));
    let sealed = opened.hash(&path("sub/a"), &|| true).expect("read").expect("not cancelled");
    assert_eq!(sealed.hash, hash_of(&text));
    assert_eq!(opened.hash(&path("sub/a"), &|| false).expect("no error"), None);
}

#[test]
fn no_link_is_followed_on_the_way_or_at_the_end() {
    let root = tempfile::tempdir().expect("a folder");
    let outside = tempfile::tempdir().expect("a folder");
    write(outside.path(), "secret", "text");
    symlink(outside.path(), root.path().join("way")).expect("made");
    symlink(outside.path().join("secret"), root.path().join("end")).expect("made");
    let opened = Root::open(root.path()).expect("it is there");
    for name in ["way/secret", "end"] {
        assert!(matches!(opened.read(&path(name), 100), Err(ReadError::NotAFile(_))), "{name}");
    }
    let under = [path("way/secret")];
    assert_eq!(names(&scan_of(root.path(), Under::Paths(&under), &BTreeMap::new())), Vec::<&str>::new());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed() {
    let root = tempfile::tempdir().expect("a folder");
    for (name, change) in [
        ("grown", (|file: &Path| fs::write(file, "x".repeat(300)).expect("written")) as fn(&Path)),
        ("cut", |file| fs::write(file, "x").expect("written")),
        ("rewritten", |file| {
            let other = fs::OpenOptions::new().write(true).open(file).expect("ours");
            other.set_modified(UNIX_EPOCH + QUIET).expect("ours");
        }),
    ] {
        write(root.path(), name, &"y".repeat(200));
        let mut reader = Root::open(root.path()).expect("it is there").reader(&path(name)).expect("opened");
        let mut buffer = [0; 100];
        assert_eq!(reader.next(&mut buffer).expect("read"), 100, "{name}");
        change(&root.path().join(name));
        while reader.next(&mut buffer).expect("read") > 0 {}
        assert!(matches!(reader.finish(), Err(ReadError::Changed(_))), "{name}");
    }
}

#[test]
fn many_files_cost_little() {
    let root = tempfile::tempdir().expect("a folder");
    for folder in 0..200 {
        for file in 0..20 {
            write(root.path(), &format!("f{folder}/g{}/x{file}", folder % 7), "");
        }
    }
    let start = Instant::now();
    assert_eq!(everything(root.path()).entries.len(), 200 * 22);
    // Wide enough for a loaded machine and a debug build; a scan that is not linear fails it.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_reading_goes_on_behind_an_earlier_one() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let name = path("a.log");
    let mut text = "line\n".repeat(100_000);
    write(folder.path(), "a.log", &text);
    let root = Root::open(folder.path()).expect("it is there");
    let rest = |reader: &mut Reader| {
        let mut buffer = vec![0; 64 * 1024];
        while reader.next(&mut buffer).expect("it can be read") > 0 {}
    };
    let mut first = root.reader(&name).expect("it is there");
    rest(&mut first);
    let beginning = first.beginning().expect("it can be read");
    assert!(first.finish().expect("it is quiet").whole);
    assert_eq!((beginning.length(), beginning.hash()), (text.len() as u64, hash_of(&text)));
    text.push_str("more");
    write(folder.path(), "a.log", &text);
    let mut second = root.reader(&name).expect("it is there");
    assert!(second.go_on_behind(&beginning).expect("it can be read"));
    rest(&mut second);
    let seal = second.finish().expect("it is quiet");
    assert_eq!((seal.hash, seal.size), (hash_of(&text), text.len() as u64));
    assert_eq!((seal.whole, seal.stamp), (false, None), "nobody looked at its beginning");
    // Cut and grown again, begun otherwise, or another file of that name.
    for other in [&text[1..], "short", &text.replacen("line", "Line", 1)] {
        write(folder.path(), "a.log", other);
        assert!(
            !root.reader(&name).expect("it is there").go_on_behind(&beginning).expect("it can be read"),
            "{}",
            other.len()
        );
    }
    write(folder.path(), "b.log", &text);
    fs::rename(folder.path().join("b.log"), folder.path().join("a.log")).expect("it can be renamed");
    assert!(!root.reader(&name).expect("it is there").go_on_behind(&beginning).expect("it can be read"));
}

#[test]
fn several_threads_find_what_one_finds() {
    let root = tempfile::tempdir().expect("a folder");
    let mut expected = Vec::new();
    for one in 0..90 {
        let folder = format!("d{one:02}");
        for two in 0..one % 5 {
            let inner = format!("{folder}/e{two}");
            write(root.path(), &format!("{inner}/f.txt"), "text");
            write(root.path(), &format!("{inner}/f.log"), "text");
            write(root.path(), &format!("{inner}/deep/g.txt"), "text");
            let seen = ["", "/deep", "/deep/g.txt", "/f.log", "/f.txt"].map(|name| format!("{inner}{name}"));
            // Every third folder has a rule of its own.
            expected.extend(seen.into_iter().filter(|name| one % 3 > 0 || !name.contains(".log")));
        }
        write(root.path(), &format!("{folder}/.gitignore"), if one % 3 > 0 { "" } else { "*.log\n" });
        symlink("/outside", root.path().join(&folder).join("away")).expect("made");
        expected.extend([folder.clone(), format!("{folder}/.gitignore")]);
    }
    expected.sort_by_key(|name| path(name));
    let scan = everything(root.path());
    assert_eq!(names(&scan), expected);
    let problems: Vec<&str> = scan.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(problems, (0..90).map(|one| format!("d{one:02}/away")).collect::<Vec<_>>());
    let none = Rules::load(root.path(), &Options { exclude: vec![], include: vec![], global: None, git: false });
    let (opened, cancelled) = (Root::open(root.path()).expect("it is there"), CancellationToken::new());
    cancelled.cancel();
    let stopped = super::scan(&opened, &none, Under::Everything, &|_| None, &cancelled);
    assert!(matches!(stopped, Err(ScanError::Cancelled)));
}
