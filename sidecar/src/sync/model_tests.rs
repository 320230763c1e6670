//! Random things happen on both sides, to the link and to our own process; afterwards nothing may be lost.
//!
//! The invariants: (I1) what somebody wrote and did not replace himself exists somewhere, (I2) at rest both
//! sides are equal but for what is listed, (I3) no name ever shows a mixture, (I4) the workspace is never
//! changed by a push.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use protocol::editor::SyncGit;
use protocol::sync::Rejected;

use super::target::fake::{FakeSource, FakeTarget, Node, Tree, locked, path};
use super::*;

/// Cases of one run, so that it ends within seconds.
const CASES: u32 = 120;
/// Longest time, by the paused clock, that a sync may need to come to rest.
const REST: Duration = Duration::from_mins(10);

/// What happens.
#[derive(Clone, Debug)]
enum Happening {
    Write(&'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    Copy(&'static str, &'static str),
    RemoteWrite(&'static str),
    RemoteRemove(&'static str),
    /// The remote is edited just before the next operation is done there.
    RemoteRace(&'static str),
    /// The workspace is edited in the middle of the next reading.
    LocalRace(&'static str),
    /// The link is cut after so many operations.
    Cut(usize),
    Reject(&'static str, Rejected),
    /// The remote folder is replaced by a new, empty one.
    Replaced,
    /// Our process dies and starts again.
    Crash,
    Rest,
}

const FILES: [&str; 6] = ["a", "b", "d/x", "d/y", "d/e/z", "f"];
const ANY: [&str; 8] = ["a", "b", "d/x", "d/y", "d/e/z", "f", "d", "d/e"];

fn happening() -> impl Strategy<Value = Happening> {
    let file = || prop::sample::select(FILES.to_vec());
    let any = || prop::sample::select(ANY.to_vec());
    let rejected = prop::sample::select(vec![
        Rejected::Full,
        Rejected::Torn,
        Rejected::Failed { reason: "no".to_owned() },
        Rejected::Unsafe { reason: "a link".to_owned() },
    ]);
    prop_oneof![
        6 => file().prop_map(Happening::Write),
        3 => any().prop_map(Happening::Remove),
        4 => (any(), any()).prop_map(|(from, to)| Happening::Rename(from, to)),
        2 => (file(), file()).prop_map(|(from, to)| Happening::Copy(from, to)),
        2 => file().prop_map(Happening::RemoteWrite),
        1 => any().prop_map(Happening::RemoteRemove),
        2 => file().prop_map(Happening::RemoteRace),
        1 => file().prop_map(Happening::LocalRace),
        1 => (0..4_usize).prop_map(Happening::Cut),
        1 => (file(), rejected).prop_map(|(path, rejected)| Happening::Reject(path, rejected)),
        1 => Just(Happening::Replaced),
        1 => Just(Happening::Crash),
        3 => Just(Happening::Rest),
    ]
}

type Theirs = Arc<Mutex<BTreeMap<RelPath, Option<Vec<u8>>>>>;

/// Both sides, what people did to them, and the sync between.
pub(super) struct World {
    pub(super) source: FakeSource,
    pub(super) target: FakeTarget,
    pub(super) git: SyncGit,
    store: Store,
    folder: tempfile::TempDir,
    pub(super) running: Option<(Handle, mpsc::Sender<Notice>)>,
    written: u64,
    /// What remote people wrote last, by path; `None` for a folder they made.
    remote: Theirs,
    /// Everything anybody ever wrote.
    ever: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    copies: u64,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let store = Store::open(&folder.path().join("state.db")).await.expect("a new database opens");
        let row = protocol::editor::RemoteRow { name: "box".to_owned(), ..Default::default() };
        store.put_remote(&row).await.expect("a remote can be added");
        Self {
            source: FakeSource::default(),
            target: FakeTarget::default(),
            git: SyncGit::Off,
            store,
            folder,
            running: None,
            written: 0,
            remote: Arc::default(),
            ever: Arc::default(),
            copies: 1,
        }
    }

    pub(super) async fn start(&mut self) {
        let mut pair = self.store.pair(std::path::Path::new("/w"), "box", "/r").await.expect("the pair is stored");
        pair.git = self.git;
        let config = Config {
            pair,
            holder: Holder { id: "me".to_owned(), label: "me".to_owned() },
            take_over: false,
            keep: self.folder.path().join("kept"),
        };
        let (notices, receiver) = mpsc::channel(64);
        let cookie: Cookie = Arc::new(|| Box::pin(async { Ok(()) }));
        let watching = Watching { notices: receiver, cookie };
        let (source, target) = (Arc::new(self.source.clone()), Arc::new(self.target.clone()));
        let handle = start(config, self.store.clone(), source, target, Some(watching));
        self.running = Some((handle, notices));
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.written += 1;
        let mut bytes = format!("version {} of something", self.written).into_bytes();
        if self.written.is_multiple_of(2) {
            // Long enough to be copied there.
            bytes.resize(usize::try_from(plan::COPY_FROM).expect("a few thousand"), b'.');
        }
        locked(&self.ever).insert(bytes.clone());
        bytes
    }

    pub(super) async fn dirty(&self, at: &str) {
        if let Some((_, notices)) = &self.running {
            let all = plan::folders_above(&path(at)).chain([path(at)]).collect();
            notices.send(Notice::Dirty { paths: all, since: None }).await.expect("the sync runs");
        }
    }

    pub(super) async fn crash(&mut self) {
        if let Some((handle, notices)) = self.running.take() {
            drop(notices);
            handle.stop().await;
        }
        self.start().await;
    }

    async fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Write(at) => {
                let bytes = self.bytes();
                self.source.tree.lock().write(at, &bytes);
                self.dirty(at).await;
            }
            Happening::Remove(at) => {
                self.source.tree.lock().remove(at);
                self.dirty(at).await;
            }
            Happening::Rename(from, to) => {
                self.source.tree.lock().rename(from, to);
                self.dirty(from).await;
                self.dirty(to).await;
            }
            Happening::Copy(from, to) => {
                let bytes = match self.source.tree.lock().nodes.get(&path(from)) {
                    Some(Node::File { bytes, .. }) => bytes.clone(),
                    Some(Node::Folder | Node::Link(_)) | None => return,
                };
                self.source.tree.lock().write(to, &bytes);
                self.dirty(to).await;
            }
            Happening::RemoteWrite(at) => {
                let bytes = self.bytes();
                remote_write(&mut self.target.tree.lock(), &self.remote, at, &bytes);
            }
            Happening::RemoteRemove(at) => {
                self.target.tree.lock().remove(at);
                locked(&self.remote).retain(|path, _| !path.starts_with(&super::target::fake::path(at)));
            }
            Happening::RemoteRace(at) => {
                let (bytes, remote) = (self.bytes(), Arc::clone(&self.remote));
                let race = move |tree: &mut Tree| remote_write(tree, &remote, at, &bytes);
                locked(&self.target.faults).race = Some(Box::new(race));
            }
            Happening::LocalRace(at) => {
                let bytes = self.bytes();
                *locked(&self.source.race) = Some(Box::new(move |tree: &mut Tree| tree.write(at, &bytes)));
                self.dirty(at).await;
            }
            Happening::Cut(after) => locked(&self.target.faults).cut_after = Some(after),
            Happening::Reject(at, rejected) => {
                locked(&self.target.faults).reject.entry(path(at)).or_default().push_back(rejected);
            }
            Happening::Replaced => {
                self.copies += 1;
                self.target.tree.lock().nodes.clear();
                locked(&self.remote).clear();
                *locked(&self.target.copy) = format!("copy-{}", self.copies);
                self.target.cut();
            }
            Happening::Crash => self.crash().await,
            Happening::Rest => self.rest().await,
        }
    }

    /// Waits until nothing moves; approves what is braked, as a person would who meant it.
    pub(super) async fn rest(&self) {
        let Some((handle, _)) = &self.running else { return };
        let rest = async {
            loop {
                let status = handle.settled().await.expect("the sync runs").status;
                match status.state {
                    SyncState::Halted => {
                        // The plan may be another by now; then the next round approves that.
                        handle.approve(None).await.ok();
                    }
                    SyncState::Synced => match handle.flush(true, Duration::from_mins(1)).await {
                        Ok(()) => return,
                        Err(error) => assert_eq!(error.code, Code::SyncPending),
                    },
                    SyncState::Stopped
                    | SyncState::Connecting
                    | SyncState::Scanning
                    | SyncState::Syncing
                    | SyncState::Waiting
                    | SyncState::Paused => {}
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(REST, rest).await;
        assert!(in_time.is_ok(), "it never comes to rest: {:#?}", handle.status());
    }

    fn check(&self, before: &BTreeMap<RelPath, Node>) -> Result<(), TestCaseError> {
        let (handle, _) = self.running.as_ref().expect("the sync runs");
        let snapshot = handle.snapshots().borrow().clone();
        let (local, remote) = (self.source.tree.lock(), self.target.tree.lock());
        let listed: BTreeSet<RelPath> = snapshot
            .conflicts
            .iter()
            .map(|conflict| path(&conflict.path))
            .chain(snapshot.status.drift.iter().map(|at| path(at)))
            .collect();
        let is_listed =
            |at: &RelPath| listed.contains(at) || plan::folders_above(at).any(|folder| listed.contains(&folder));
        let theirs = locked(&self.remote);

        // I4: a push never changes the workspace.
        prop_assert_eq!(before, &local.nodes);
        // I2, from here to there.
        for (at, node) in &local.nodes {
            let there = remote.nodes.get(at).map(Node::content);
            prop_assert!(
                is_listed(at) || there == Some(node.content()),
                "`{}` is not there, nor listed: {:?}",
                at,
                snapshot.status
            );
        }
        // I2, from there to here: what is there only is theirs.
        for at in remote.nodes.keys().filter(|at| !local.nodes.contains_key(*at)) {
            let foreign = theirs.keys().any(|path| path.starts_with(at));
            prop_assert!(foreign || is_listed(at), "`{}` was left there", at);
        }
        // I1: what people there wrote is there or in the trash.
        for (at, bytes) in theirs.iter().filter_map(|(at, bytes)| Some((at, bytes.as_ref()?))) {
            let here =
                remote.nodes.values().any(|node| matches!(node, Node::File { bytes: other, .. } if other == bytes));
            prop_assert!(here || remote.trash.contains(bytes), "the remote's version of `{}` is lost", at);
        }
        // I3: every file is one that somebody wrote.
        for node in remote.nodes.values() {
            if let Node::File { bytes, .. } = node {
                prop_assert!(locked(&self.ever).contains(bytes), "a mixture: {}", String::from_utf8_lossy(bytes));
            }
        }
        Ok(())
    }
}

fn remote_write(tree: &mut Tree, remote: &Theirs, at: &str, bytes: &[u8]) {
    for folder in plan::folders_above(&path(at)).filter(|folder| !tree.nodes.contains_key(folder)) {
        locked(remote).insert(folder, None);
    }
    tree.write(at, bytes);
    // Where something stood in the way nothing was written.
    if tree.text(at).is_some_and(|text| text.as_bytes() == bytes) {
        locked(remote).insert(path(at), Some(bytes.to_vec()));
    }
}

/// Lets the paused clock run a hundred times as fast as the real one. A clock that runs by itself would
/// jump over every deadline while the database's own thread works.
pub(super) async fn drive_clock() {
    loop {
        let tick = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(200)));
        tick.await.expect("a thread can sleep");
        tokio::time::advance(Duration::from_millis(20)).await;
    }
}

#[test]
fn nothing_is_lost_whatever_happens() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) };
    let seed = [7; 32];
    let rng = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let happenings = prop::collection::vec(happening(), 1..24);
    runner
        .run(&happenings, |happenings| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async {
                tokio::spawn(drive_clock());
                let mut world = World::new().await;
                world.start().await;
                for happening in happenings {
                    world.happen(happening).await;
                }
                // What is planned for later must not happen after the last look.
                {
                    let mut faults = locked(&world.target.faults);
                    faults.race = None;
                    faults.cut_after = None;
                    *locked(&world.source.race) = None;
                }
                world.crash().await;
                let before = world.source.tree.lock().nodes.clone();
                world.rest().await;
                world.check(&before)?;
                if let Some((handle, _)) = world.running.take() {
                    handle.stop().await;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
