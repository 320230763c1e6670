//! What every target does, said once and asked of each: the folder in memory that other tests rely on, a real agent
//! over the real frames, and SFTP servers.

use std::path::Path;

use protocol::sync::{Action, Content, Expect, Found, Hash, Known, Op, Outcome, Rejected};

use super::agent_tests::{SOON, World};
use super::target::fake::{FakeSource, FakeTarget, locked, path};
use super::target::{Batch, Before, Done, OpenTarget, SyncTarget, Unread};
use super::via_agent::ViaAgent;
use super::via_sftp::ViaSftp;
use super::via_sftp::tests::Server;
use super::*;
use crate::session::Lane;

/// More than travels in one packet, so that it is sent while it is read.
const LARGE: usize = 1_300_000;

/// What stands behind the target, seen past it.
enum Behind {
    Memory(FakeTarget),
    Disk(PathBuf),
}

impl Behind {
    /// Returns a file's text, `/` for a folder, `-> target` for a link.
    fn text(&self, at: &str) -> Option<String> {
        match self {
            Self::Memory(fake) => fake.tree.lock().text(at),
            Self::Disk(folder) => {
                let at = folder.join(at);
                match std::fs::read_link(&at) {
                    Ok(target) => Some(format!("-> {}", target.display())),
                    Err(_) if at.is_dir() => Some("/".to_owned()),
                    Err(_) => std::fs::read_to_string(at).ok(),
                }
            }
        }
    }

    /// Writes a file as somebody else does, who makes its folders, too.
    fn edit(&self, at: &str, text: &str) {
        match self {
            Self::Memory(fake) => fake.tree.lock().write(at, text.as_bytes()),
            Self::Disk(folder) => super::agent_tests::write(&folder.join(at), text),
        }
    }

    /// Returns whether a file that was there is kept somewhere with these bytes.
    fn is_kept(&self, text: &str) -> bool {
        match self {
            Self::Memory(fake) => fake.tree.lock().trash.iter().any(|bytes| bytes == text.as_bytes()),
            Self::Disk(folder) => {
                let beside = folder.parent().expect("the copy is in a folder").join(".copy.mltoolbox");
                files(&beside).iter().any(|file| std::fs::read_to_string(file).is_ok_and(|found| found == text))
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A target, what stands behind it, and a workspace.
struct Bench {
    target: Arc<dyn SyncTarget>,
    behind: Behind,
    source: FakeSource,
}

impl Bench {
    /// Does batches and returns what came of each operation, in order.
    async fn batches(&self, batches: Vec<(bool, Vec<Op>)>) -> Vec<Done> {
        let count = batches.iter().map(|(_, ops)| ops.len()).sum();
        let batches = batches.into_iter().map(|(barrier, ops)| Batch {
            lane: Lane::Bulk,
            barrier,
            durable: false,
            ops,
            bodies: Arc::new(self.source.clone()),
        });
        let (done, mut told) = mpsc::channel(count);
        self.target.apply(batches.collect(), done).await.expect("the target is open");
        let mut all: Vec<Option<Done>> = vec![None; count];
        while let Some((index, what)) = told.recv().await {
            assert_eq!(all[index].replace(what), None, "operation {index} was answered twice");
        }
        all.into_iter().map(|done| done.expect("every operation is answered")).collect()
    }

    async fn one(&self, op: Op) -> Outcome {
        match self.batches(vec![(false, vec![op])]).await.remove(0) {
            Done::Answered(outcome, _) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Saves a file here and puts it there.
    async fn put(&self, at: &str, expect: Expect, text: &str) -> Outcome {
        self.source.tree.lock().write(at, text.as_bytes());
        self.one(put(at, expect, text.len(), 0o644)).await
    }

    async fn differs(&self, at: &str, expect: Expect) -> Option<Option<Content>> {
        let known = Known { path: path(at), expect };
        let differs = self.target.verify(vec![known]).await.expect("the target is open");
        differs.into_iter().next().map(|differ| differ.found.map(|found| found.content))
    }
}

fn op(at: &str, expect: Expect, action: Action) -> Op {
    Op { path: path(at), expect, action }
}

fn put(at: &str, expect: Expect, size: usize, mode: u32) -> Op {
    op(at, expect, Action::Put { size: size as u64, hash: None, mode, mtime_ns: None })
}

fn folder(at: &str) -> Op {
    op(at, Expect::Absent, Action::MakeFolder { mode: 0o755 })
}

fn hash(text: &str) -> Hash {
    Hash(*blake3::hash(text.as_bytes()).as_bytes())
}

fn holding(text: &str) -> Expect {
    Expect::File { hash: hash(text), stamp: None }
}

fn link_to(target: &str) -> Expect {
    Expect::Link { target: target.to_owned() }
}

fn file(text: &str, executable: bool) -> Content {
    Content::File { hash: hash(text), size: text.len() as u64, executable }
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { kept_as: None, .. })
}

#[track_caller]
fn assert_changed(outcome: &Outcome, content: Option<&Content>) {
    let Outcome::Rejected(Rejected::Changed { found }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.as_ref().map(|found| &found.content), content);
}

async fn preconditions_hold(bench: &Bench) {
    assert!(is_done(&bench.put("a", Expect::Absent, "one").await));
    assert_eq!(bench.behind.text("a").as_deref(), Some("one"));
    // The same again is no change, whatever was expected.
    assert!(matches!(bench.put("a", Expect::Absent, "one").await, Outcome::Already { stamp: Some(_) }));
    // Something else than expected stays, and is told.
    assert_changed(&bench.put("a", Expect::Absent, "two").await, Some(&file("one", false)));
    assert_changed(&bench.put("a", holding("zero"), "two").await, Some(&file("one", false)));
    assert_changed(&bench.put("a", Expect::Folder, "two").await, Some(&file("one", false)));
    assert_changed(&bench.put("a", link_to("one"), "two").await, Some(&file("one", false)));
    assert_changed(&bench.put("none", holding("one"), "two").await, None);
    assert_eq!(bench.behind.text("a").as_deref(), Some("one"));
    assert_eq!(bench.behind.text("none"), None);

    let Outcome::Applied { stamp: Some(stamp), kept_as: None } = bench.put("a", holding("one"), "two").await else {
        panic!("it holds what was expected")
    };
    assert_eq!((bench.behind.text("a").as_deref(), stamp.size), (Some("two"), 3));
    assert!(bench.behind.is_kept("one"), "what is replaced is kept");
    // With its stamp it need not be read, and an edit is noticed nevertheless.
    bench.behind.edit("a", "theirs");
    let stale = Expect::File { hash: hash("two"), stamp: Some(stamp) };
    assert_changed(&bench.put("a", stale, "three").await, Some(&file("theirs", false)));
    assert_eq!(bench.behind.text("a").as_deref(), Some("theirs"));
    // Nothing is made on the way.
    bench.source.tree.lock().write("no/such", b"x");
    let outcome = bench.one(put("no/such", Expect::Absent, 1, 0o644)).await;
    assert!(matches!(outcome, Outcome::Rejected(Rejected::Unsafe { .. } | Rejected::Failed { .. })), "{outcome:?}");
    assert_eq!(bench.behind.text("no"), None);
}

async fn folders_links_and_modes(bench: &Bench) {
    assert!(is_done(&bench.one(folder("d")).await));
    assert!(matches!(bench.one(folder("d")).await, Outcome::Already { .. }));
    let link = |expect, target: &str| op("l", expect, Action::Link { target: target.to_owned() });
    assert!(is_done(&bench.one(link(Expect::Absent, "d")).await));
    assert!(matches!(bench.one(link(Expect::Absent, "d")).await, Outcome::Already { .. }));
    assert_changed(&bench.one(link(Expect::Absent, "a")).await, Some(&Content::Link { target: "d".to_owned() }));
    assert!(is_done(&bench.one(link(link_to("d"), "a")).await));
    assert_eq!(bench.behind.text("l").as_deref(), Some("-> a"));
    // Nothing is written through a link, nor on a folder.
    assert_changed(&bench.put("d", Expect::Absent, "x").await, Some(&Content::Folder));
    assert_eq!(bench.behind.text("d").as_deref(), Some("/"));

    assert!(is_done(&bench.put("m", Expect::Absent, "#!").await));
    assert!(is_done(&bench.one(op("m", holding("#!"), Action::SetMode { mode: 0o755 })).await));
    assert_eq!(bench.differs("m", holding("!#")).await, Some(Some(file("#!", true))));
    assert!(is_done(&bench.one(op("m", holding("#!"), Action::SetMode { mode: 0o644 })).await));
    assert_eq!(bench.differs("m", holding("!#")).await, Some(Some(file("#!", false))));
    assert_changed(&bench.one(op("m", holding("!#"), Action::SetMode { mode: 0o755 })).await, Some(&file("#!", false)));
}

async fn what_is_removed_is_kept(bench: &Bench) {
    let remove = |at: &str, expect| op(at, expect, Action::Remove);
    assert!(is_done(&bench.put("r", Expect::Absent, "removed").await));
    assert_changed(&bench.one(remove("r", holding("other"))).await, Some(&file("removed", false)));
    assert!(is_done(&bench.one(remove("r", holding("removed"))).await));
    assert_eq!(bench.behind.text("r"), None);
    assert!(bench.behind.is_kept("removed"));
    assert!(matches!(bench.one(remove("r", holding("removed"))).await, Outcome::Already { stamp: None }));

    assert!(is_done(&bench.one(folder("full")).await));
    bench.behind.edit("full/x", "theirs");
    bench.behind.edit("full/y", "theirs, too");
    let outcome = bench.one(remove("full", Expect::Folder)).await;
    assert_eq!(outcome, Outcome::Rejected(Rejected::NotEmpty { kept: 2 }));
    assert_eq!(bench.behind.text("full/x").as_deref(), Some("theirs"));
    assert!(is_done(&bench.one(remove("full/x", holding("theirs"))).await));
    assert!(is_done(&bench.one(remove("full/y", holding("theirs, too"))).await));
    assert!(is_done(&bench.one(remove("full", Expect::Folder)).await));
    assert_eq!(bench.behind.text("full"), None);
}

async fn what_cannot_be_read_is_not_written(bench: &Bench) {
    let done = bench.batches(vec![(false, vec![put("gone", Expect::Absent, 1, 0o644)])]).await;
    assert_eq!(done, [Done::Unread(Unread::Gone)]);
    bench.source.tree.lock().write("torn", &vec![b'1'; LARGE]);
    *locked(&bench.source.race) = Some(Box::new(|tree| tree.write("torn", &vec![b'2'; LARGE])));
    let done = bench.batches(vec![(false, vec![put("torn", Expect::Absent, LARGE, 0o644)])]).await;
    assert_eq!(done, [Done::Unread(Unread::Changing)]);
    assert_eq!((bench.behind.text("gone"), bench.behind.text("torn")), (None, None));
}

async fn names_change_and_bytes_are_copied(bench: &Bench) {
    let move_to = |at: &str, expect, from: &str, source| op(at, expect, Action::Move { from: path(from), source });
    let copy_to = |at: &str, expect, from: &str, source| {
        op(at, expect, Action::Copy { from: path(from), source, mode: 0o644, mtime_ns: None })
    };
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(Rejected::Failed { .. }));
    assert!(is_done(&bench.put("one", Expect::Absent, "first").await));
    assert!(is_done(&bench.put("two", Expect::Absent, "second").await));
    if bench.target.abilities() == plan::Abilities::default() {
        // What a target cannot is never planned, and does nothing when it is asked for nevertheless.
        for make in [&move_to as &dyn Fn(&str, Expect, &str, Expect) -> Op, &copy_to] {
            assert!(refused(&bench.one(make("three", Expect::Absent, "one", holding("first"))).await));
        }
        assert_eq!((bench.behind.text("one").as_deref(), bench.behind.text("three")), (Some("first"), None));
        return;
    }
    for make in [&move_to as &dyn Fn(&str, Expect, &str, Expect) -> Op, &copy_to] {
        assert!(refused(&bench.one(make("three", Expect::Absent, "one", holding("second"))).await));
        assert!(refused(&bench.one(make("three", Expect::Absent, "none", holding("first"))).await));
        let taken = bench.one(make("two", Expect::Absent, "one", holding("first"))).await;
        assert_changed(&taken, Some(&file("second", false)));
        assert_changed(&bench.one(make("three", holding("x"), "one", holding("first"))).await, None);
    }
    assert_eq!(bench.behind.text("three"), None);

    let Outcome::Applied { stamp: Some(stamp), kept_as: None } =
        bench.one(copy_to("three", Expect::Absent, "one", holding("first"))).await
    else {
        panic!("it holds what was expected")
    };
    assert_eq!((bench.behind.text("one").as_deref(), stamp.size), (Some("first"), 5));
    assert!(matches!(
        bench.one(copy_to("three", Expect::Absent, "one", holding("first"))).await,
        Outcome::Already { stamp: Some(_) }
    ));
    let stamped = Expect::File { hash: hash("first"), stamp: Some(stamp) };
    let Outcome::Applied { stamp: Some(stamp), kept_as: None } =
        bench.one(move_to("two", holding("second"), "three", stamped)).await
    else {
        panic!("it holds what was expected")
    };
    assert_eq!(stamp.size, 5);
    assert_eq!((bench.behind.text("two").as_deref(), bench.behind.text("three")), (Some("first"), None));
    assert!(bench.behind.is_kept("second"), "what is moved over is kept");
    assert!(matches!(
        bench.one(move_to("two", holding("second"), "three", holding("first"))).await,
        Outcome::Already { stamp: Some(_) }
    ));
    // An edit of what is to be moved is noticed, whatever its stamp was.
    bench.behind.edit("two", "theirs");
    let stale = Expect::File { hash: hash("first"), stamp: Some(stamp) };
    assert!(refused(&bench.one(move_to("four", Expect::Absent, "two", stale)).await));
    assert_eq!(bench.behind.text("two").as_deref(), Some("theirs"));

    let link = op("sign", Expect::Absent, Action::Link { target: "one".to_owned() });
    assert!(is_done(&bench.one(link).await));
    assert!(is_done(&bench.one(move_to("post", Expect::Absent, "sign", link_to("one"))).await));
    assert_eq!((bench.behind.text("post").as_deref(), bench.behind.text("sign")), (Some("-> one"), None));
}

async fn batches_keep_their_order(bench: &Bench) {
    let many: Vec<String> = (0..300).map(|number| format!("deep/er/{number}")).collect();
    for name in &many {
        bench.source.tree.lock().write(name, name.as_bytes());
    }
    let puts = many.iter().map(|name| put(name, Expect::Absent, name.len(), 0o644)).collect();
    let folders = vec![folder("deep"), folder("deep/er")];
    let removals = many.iter().map(|name| op(name, holding(name), Action::Remove)).collect();
    let up = ["deep/er", "deep"].map(|at| op(at, Expect::Folder, Action::Remove)).to_vec();
    let done = bench.batches(vec![(true, folders), (false, puts), (true, removals), (true, up)]).await;
    assert_eq!(done.len(), 604);
    for what in &done {
        assert!(matches!(what, Done::Answered(outcome, _) if is_done(outcome)), "{what:?}");
    }
    let sent = done.iter().filter(|what| matches!(what, Done::Answered(_, Some(_)))).count();
    assert_eq!(sent, 300, "of every file it is said what travelled");
    assert_eq!(bench.behind.text("deep"), None);
}

async fn only_differences_are_told_and_files_are_read_back(bench: &Bench) {
    assert!(is_done(&bench.put("v", Expect::Absent, "verified").await));
    assert!(is_done(&bench.one(folder("w")).await));
    assert_eq!(bench.differs("v", holding("verified")).await, None);
    assert_eq!(bench.differs("w", Expect::Folder).await, None);
    assert_eq!(bench.differs("nothing", Expect::Absent).await, None);
    assert_eq!(bench.differs("nothing", holding("verified")).await, Some(None));
    assert_eq!(bench.differs("v", Expect::Absent).await, Some(Some(file("verified", false))));
    assert_eq!(bench.differs("v", Expect::Folder).await, Some(Some(file("verified", false))));
    assert_eq!(bench.differs("w", link_to("v")).await, Some(Some(Content::Folder)));

    let mut bytes = Vec::new();
    let Found { content, stamp } = bench.target.read(&path("v"), 8, &mut bytes).await.expect("it is there");
    assert_eq!((bytes.as_slice(), content, stamp.is_some()), (&b"verified"[..], file("verified", false), true));
    let mut bytes = Vec::new();
    bench.target.read(&path("v"), 7, &mut bytes).await.expect("it is there");
    assert_eq!(bytes, b"", "it is longer than allowed");
    bench.target.read(&path("w"), 8, &mut bytes).await.expect_err("it is a folder");
    if bench.target.reads_on() {
        let before = |text: &str| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(text.as_bytes());
            Before { length: text.len() as u64, hasher }
        };
        let mut bytes = Vec::new();
        let found = bench.target.read_on(&path("v"), 8, &before("veri"), &mut bytes).await.expect("it is there");
        assert_eq!((bytes.as_slice(), found.content), (&b"fied"[..], file("verified", false)));
        for other in ["Veri", "verified and more"] {
            bench.target.read_on(&path("v"), 8, &before(other), &mut bytes).await.expect_err("it begins otherwise");
        }
    }
}

async fn keeps_the_contract(bench: &Bench, at: &str) {
    let holder = Holder { id: "me".to_owned(), label: "me".to_owned() };
    let at = protocol::path::RemotePath::new(at).expect("a plain path");
    let open = OpenTarget { path: at, create: true, holder, take_over: false };
    let lost = bench.target.flush().await.expect_err("it is not open yet");
    assert!(lost.is_lost(), "{lost:?}");
    let opened = bench.target.open(&open).await.expect("it can be made");
    assert!(opened.empty && !opened.copy.is_empty());

    preconditions_hold(bench).await;
    folders_links_and_modes(bench).await;
    what_is_removed_is_kept(bench).await;
    names_change_and_bytes_are_copied(bench).await;
    what_cannot_be_read_is_not_written(bench).await;
    batches_keep_their_order(bench).await;
    only_differences_are_told_and_files_are_read_back(bench).await;
    bench.target.flush().await.expect("it is open");

    let again = bench.target.open(&open).await.expect("it is ours");
    assert_eq!((again.copy, again.empty), (opened.copy, false), "the same folder has the same name");
    bench.target.close().await.expect("it is open");
    let lost = bench.target.verify(Vec::new()).await.expect_err("it is closed");
    assert!(lost.is_lost(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_in_memory_keeps_the_contract() {
    let fake = FakeTarget::default();
    let bench = Bench { target: Arc::new(fake.clone()), behind: Behind::Memory(fake), source: FakeSource::default() };
    keeps_the_contract(&bench, "/copy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_keeps_the_contract() {
    for one_link in [false, true] {
        let world = World::new().await;
        let session = world.session();
        let target = if one_link { ViaAgent::by_one_link(session) } else { ViaAgent::new(session) };
        let at = world.there("").to_string_lossy().trim_end_matches('/').to_owned();
        let behind = Behind::Disk(PathBuf::from(&at));
        let bench = Bench { target: Arc::new(target), behind, source: FakeSource::default() };
        tokio::time::timeout(SOON, keeps_the_contract(&bench, &at)).await.expect("it answers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sftp_servers_keep_the_contract() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let at = home.path().join("copy");
        let target = Arc::new(ViaSftp::new(server.session(home.path())));
        let bench = Bench { target, behind: Behind::Disk(at.clone()), source: FakeSource::default() };
        let kept = keeps_the_contract(&bench, at.to_str().expect("it is text"));
        tokio::time::timeout(SOON, kept).await.unwrap_or_else(|_| panic!("{server:?} does not answer"));
    }
}
