//! Comparing and reading: only what was asked about, and only differences are told.

use super::*;

#[test]
fn tells_only_differences() {
    let it = fixture();
    for number in 0..600 {
        it.write(&format!("{number}"), "same");
    }
    it.write("7", "edited");
    it.write("foreign", "x");
    fs::remove_file(it.path().join("599")).expect("a file");
    let mut known: Vec<_> =
        (0..600).map(|number| Known { path: path(&number.to_string()), expect: file(b"same") }).collect();
    known.push(Known { path: path("absent"), expect: Expect::Absent });
    known.push(Known { path: path("none/absent"), expect: Expect::Absent });
    known.push(Known { path: path("none/there"), expect: Expect::Folder });
    // As many as a request has are shared by two threads.
    let threads = std::sync::Mutex::new(std::collections::HashMap::new());
    let count = || {
        *threads.lock().expect("nobody panics").entry(std::thread::current().id()).or_insert(0) += 1;
        true
    };
    let told = it.root.verify(&known, &count).expect("it is wanted");
    let mut shares: Vec<usize> = threads.into_inner().expect("nobody panics").into_values().collect();
    shares.sort_unstable();
    assert_eq!(shares, [301, 302]);
    // Nobody wants it any more after a while.
    let left = std::sync::atomic::AtomicI32::new(100);
    let soon_gone = || left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0;
    assert_eq!(it.root.verify(&known, &soon_gone), None);
    let names: Vec<_> = told.iter().map(|differs| differs.path.as_str()).collect();
    assert_eq!(names, ["7", "599", "none/there"]);
    assert!(told[0].found.is_some() && told[1].found.is_none() && told.iter().all(|it| it.problem.is_none()));
}

#[test]
fn special_files_are_told_and_left_alone() {
    let it = fixture();
    let _listener = std::os::unix::net::UnixListener::bind(it.path().join("socket")).expect("a socket");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(&*it.root.top.folder, "pipe", rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    for at in ["socket", "pipe"] {
        assert_eq!(changed(&it.one(put(at, Expect::Absent, b"1"), b"1")), Some(&Content::Special));
        assert_eq!(changed(&it.one(op(at, file(b"1"), Do::Remove), b"")), Some(&Content::Special));
        let told = it.root.verify(&[Known { path: path(at), expect: file(b"1") }], &|| true).expect("it is wanted");
        assert_eq!(told[0].found.as_ref().map(|found| &found.content), Some(&Content::Special));
        assert!(it.root.read(&path(at)).is_err());
    }
}

#[test]
fn reads_files_and_nothing_else() {
    let it = fixture();
    it.write("a", "text");
    fs::create_dir(it.path().join("folder")).expect("a folder");
    std::os::unix::fs::symlink("/etc/passwd", it.path().join("link")).expect("a link");
    let (found, mut file) = it.root.read(&path("a")).expect("a file");
    assert_eq!(found.content, Content::File { hash: hash(b"text"), size: 4, executable: false });
    assert_eq!(io::read_to_string(&mut file).expect("text"), "text");
    for (at, reason) in
        [("folder", "a folder"), ("link", "a symbolic link"), ("none", "not there"), ("a/b", "not a folder")]
    {
        let error = it.root.read(&path(at)).expect_err(at);
        assert!(error.message.contains(reason), "{error:?}");
    }
}
