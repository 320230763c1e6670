//! A workspace on disk and a real agent, over the real frames and a session that can be cut.

use std::path::Path;

use agent::serve::{Agent, Config as AgentConfig};
use async_trait::async_trait;
use protocol::path::RemotePath;

use super::disk::Disk;
use super::ignored::{Options, Rules};
use super::logs::Logs;
use super::via_agent::ViaAgent;
use super::*;
use crate::frontend::{Answer, Frontend, Question, Terminal};
use crate::session::link::Link;
use crate::session::{self, Connector, Failed, Lane};
use crate::transport::{About, Process, Pty, Transport, TransportError};

/// Longest time that anything here may take on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Nobody;

#[async_trait]
impl Frontend for Nobody {
    fn report(&self, _: Progress) {}
    fn tell(&self, _: String) {}
    async fn output(&self, _: protocol::editor::OutputStream, _: bytes::Bytes) {}
    async fn ask(&self, _: &Question) -> Option<Answer> {
        None
    }
    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

#[derive(Debug, Default)]
pub(super) struct Wire {
    about: About,
    cut: CancellationToken,
}

#[async_trait]
impl Transport for Wire {
    async fn exec(&self, _: &str, _: Option<&Pty>) -> Result<Process, TransportError> {
        Err(TransportError::Cancelled { host: "box".to_owned() })
    }
    async fn upload(
        &self,
        _: &Path,
        _: &RemotePath,
        _: u32,
        _: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        Err(TransportError::Cancelled { host: "box".to_owned() })
    }
    async fn remove(&self, _: &RemotePath) -> Result<(), TransportError> {
        Err(TransportError::Cancelled { host: "box".to_owned() })
    }

    async fn subsystem(&self, _: &str) -> Result<Process, TransportError> {
        Err(TransportError::Cancelled { host: "box".to_owned() })
    }
    async fn round_trip(&self) -> Result<Duration, TransportError> {
        Ok(Duration::ZERO)
    }
    fn about(&self) -> &About {
        &self.about
    }
    async fn closed(&self) {
        self.cut.cancelled().await;
    }
    async fn close(&self) {
        self.cut.cancel();
    }
}

/// Reaches an agent of this process.
#[derive(Debug)]
struct Here(Arc<Agent>);

#[async_trait]
impl Connector for Here {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Wire::default()))
    }
    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let agent = Arc::clone(&self.0);
        tokio::spawn(async move { agent::serve::serve(theirs, agent).await });
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}

pub(super) struct World {
    folder: tempfile::TempDir,
    store: Store,
    agent: Arc<Agent>,
    /// Patterns of files that only grow.
    pub(super) append: Vec<String>,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for name in ["w", "remote"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder can be made");
        }
        let store = Store::open(&folder.path().join("state.db")).await.expect("a new database opens");
        let row = protocol::editor::RemoteRow { name: "box".to_owned(), ..Default::default() };
        store.put_remote(&row).await.expect("a remote can be added");
        Self { folder, store, agent: Arc::new(Agent::new(AgentConfig { log: None })), append: Vec::new() }
    }

    pub(super) fn here(&self, at: &str) -> PathBuf {
        self.folder.path().join("w").join(at)
    }

    pub(super) fn there(&self, at: &str) -> PathBuf {
        self.folder.path().join("remote/copy").join(at)
    }

    pub(super) fn agent(&self) -> Arc<Agent> {
        Arc::clone(&self.agent)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the folder of versions that were replaced or removed here.
    pub(super) fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    /// Returns a session with the agent of this world.
    pub(super) fn session(&self) -> session::Handle {
        let frontend: Arc<dyn Frontend> = Arc::new(Nobody);
        session::Handle::start(Arc::new(Here(Arc::clone(&self.agent))), &frontend)
    }

    pub(super) async fn start(&self, holder: &str, watch: bool) -> Handle {
        self.start_with(holder, watch, Arc::new(Here(Arc::clone(&self.agent)))).await
    }

    pub(super) async fn start_with(&self, holder: &str, watch: bool, connector: Arc<dyn Connector>) -> Handle {
        let (store, logs) = (self.store.clone(), Logs::new(&self.append));
        let target = |session| -> Arc<dyn SyncTarget> { Arc::new(ViaAgent::new(session).remembering(store, logs)) };
        self.start_by(holder, watch, connector, target).await
    }

    pub(super) async fn start_by(
        &self,
        holder: &str,
        watch: bool,
        connector: Arc<dyn Connector>,
        target: impl FnOnce(session::Handle) -> Arc<dyn SyncTarget>,
    ) -> Handle {
        let remote = self.folder.path().join("remote/copy").to_string_lossy().into_owned();
        let mut pair = self.store.pair(&self.here(""), "box", &remote).await.expect("the pair is stored");
        pair.append.clone_from(&self.append);
        let options = Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false };
        let rules = Arc::new(Rules::load(&pair.workspace, &options));
        let frontend: Arc<dyn Frontend> = Arc::new(Nobody);
        let session = session::Handle::start(connector, &frontend);
        let watching = if watch {
            let cookies = self.folder.path().join("cookies");
            let watching = watched(&pair.workspace, Arc::clone(&rules), &cookies, None, session.state()).await;
            Some(watching.expect("it can be watched"))
        } else {
            None
        };
        let source = Arc::new(Disk::new(pair.workspace.clone(), rules, CancellationToken::new()));
        let config = Config {
            pair,
            holder: Holder { id: holder.to_owned(), label: holder.to_owned() },
            take_over: false,
            keep: self.folder.path().join("kept"),
        };
        start(config, self.store.clone(), source, target(session), watching)
    }
}

pub(super) async fn settled(handle: &Handle) -> Snapshot {
    let settled = tokio::time::timeout(SOON, handle.settled()).await;
    settled.unwrap_or_else(|_| panic!("it does not settle: {:#?}", handle.status())).expect("the sync runs")
}

pub(super) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder can be made");
    std::fs::write(path, text).expect("a file can be written");
}

pub(super) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_arrives_and_then_every_save() {
    let world = World::new().await;
    for number in 0..700 {
        write(&world.here(&format!("many/{}/f{number}", number % 7)), &number.to_string());
    }
    let large: String = "some words of a long text\n".repeat(120_000);
    write(&world.here("large.txt"), &large);
    std::os::unix::fs::symlink("large.txt", world.here("link")).expect("a link can be made");
    let handle = world.start("me", true).await;
    let snapshot = settled(&handle).await;
    assert_eq!((snapshot.status.state, snapshot.status.pending), (SyncState::Synced, 0), "{:#?}", snapshot.status);
    assert_eq!(snapshot.files, 701);
    assert!(read(&world.there("large.txt")) == large);
    assert_eq!(std::fs::read_link(world.there("link")).expect("it is a link"), Path::new("large.txt"));
    assert_eq!(read(&world.there("many/3/f3")), "3");

    write(&world.here("many/3/f3"), "saved");
    std::fs::remove_file(world.here("many/4/f4")).expect("it is there");
    handle.flush(true, SOON).await.expect("it arrives");
    assert_eq!(read(&world.there("many/3/f3")), "saved");
    assert!(!world.there("many/4/f4").exists());
    assert!(handle.status().last_latency_ms.is_some());
    handle.stop().await;

    let again = world.start("me", false).await;
    let snapshot = settled(&again).await;
    assert_eq!((snapshot.status.state, snapshot.files), (SyncState::Synced, 0), "{:#?}", snapshot.status);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_kept_until_somebody_decides() {
    for (take, here, there) in
        [(Take::Local, "ours", "ours"), (Take::Remote, "theirs", "theirs"), (Take::Both, "ours", "ours")]
    {
        let world = World::new().await;
        write(&world.here("a"), "base");
        let handle = world.start("me", false).await;
        settled(&handle).await;
        handle.stop().await;
        write(&world.here("a"), "ours");
        write(&world.there("a"), "theirs");
        write(&world.there("foreign"), "theirs alone");
        let handle = world.start("me", false).await;
        let snapshot = settled(&handle).await;
        assert_eq!(snapshot.status.conflicts, 1, "{:#?}", snapshot.status);
        assert_eq!((read(&world.here("a")), read(&world.there("a"))), ("ours".to_owned(), "theirs".to_owned()));
        let output = handle.resolve(Which::Matching(vec!["a".to_owned()]), take).await.expect("it can be decided");
        assert_eq!((output.resolved.as_slice(), output.left), (["a".to_owned()].as_slice(), 0));
        handle.flush(false, SOON).await.expect("it arrives");
        assert_eq!((read(&world.here("a")), read(&world.there("a"))), (here.to_owned(), there.to_owned()));
        match take {
            Take::Local => assert_eq!(output.kept_as, [] as [String; 0]),
            Take::Remote => assert_eq!(read(Path::new(&output.kept_as[0])), "ours"),
            Take::Both => {
                assert_eq!(read(&world.here(&output.kept_as[0])), "theirs");
                assert_eq!(read(&world.there(&output.kept_as[0])), "theirs");
            }
        }
        assert_eq!(read(&world.there("foreign")), "theirs alone");
        handle.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_workspace_is_braked_until_it_is_approved() {
    let world = World::new().await;
    write(&world.here("a"), "1");
    let handle = world.start("me", true).await;
    settled(&handle).await;
    std::fs::remove_file(world.here("a")).expect("it is there");
    let mut snapshots = handle.snapshots();
    let halted = tokio::time::timeout(SOON, snapshots.wait_for(|snapshot| snapshot.status.brake.is_some())).await;
    let brake = halted.expect("it brakes").expect("the sync runs").status.brake.clone().expect("it brakes");
    assert_eq!(read(&world.there("a")), "1");
    assert_eq!(handle.approve(Some("other".to_owned())).await.expect_err("another plan").code, Code::SyncBrake);
    handle.approve(Some(brake.plan)).await.expect("it waits for that");
    settled(&handle).await;
    handle.flush(false, SOON).await.expect("it arrives");
    assert!(!world.there("a").exists());
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_machine_is_refused() {
    let world = World::new().await;
    write(&world.here("a"), "1");
    let first = world.start("me", false).await;
    settled(&first).await;
    let second = world.start("somebody else", false).await;
    let error = settled(&second).await.status.error.expect("it is refused");
    assert_eq!(error.code, Code::SyncLeased);
    second.stop().await;
    first.stop().await;
}

impl World {
    async fn pair(&self) -> Pair {
        let remote = self.folder.path().join("remote/copy").to_string_lossy().into_owned();
        self.store.pair(&self.here(""), "box", &remote).await.expect("the pair is stored")
    }

    /// Syncs once and returns how it ended.
    async fn once(&self) -> Snapshot {
        let handle = self.start("me", false).await;
        let snapshot = settled(&handle).await;
        handle.stop().await;
        snapshot
    }

    /// Compares a base with the remote, as a sync that begins does, and returns what had to be asked beside.
    async fn compared(&self, base: Vec<(RelPath, crate::store::Base)>) -> target::Compared {
        let target = ViaAgent::by_one_link(self.session());
        let path = RemotePath::new(self.pair().await.remote_dir).expect("a remote path");
        let holder = Holder { id: "me".to_owned(), label: "me".to_owned() };
        let open = target::OpenTarget { path, create: false, holder, take_over: false };
        target.open(&open).await.expect("it can be opened");
        let compared = target.compare(Arc::new(base.into_iter().collect())).await.expect("it answers");
        target.close().await.expect("it is open");
        compared
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chmod_that_was_not_written_down_is_taken_back() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    write(&world.here("run.sh"), "true");
    let chmod = |mode| std::fs::set_permissions(world.here("run.sh"), std::fs::Permissions::from_mode(mode));
    let there = || std::fs::metadata(world.there("run.sh")).expect("it is there").permissions().mode() & 0o111;
    chmod(0o644).expect("it is ours");
    world.once().await;
    let pair = world.pair().await;
    let before = world.store.base(pair.id).await.expect("a base");
    chmod(0o755).expect("it is ours");
    world.once().await;
    assert_ne!(there(), 0);
    // The sidecar was killed before that was recorded, and a person thought better of it.
    let before = before.into_iter().map(|(path, base)| (path, Some(base))).collect();
    world.store.commit(pair.id, before).await.expect("it can be changed");
    chmod(0o644).expect("it is ours");
    let snapshot = world.once().await;
    assert_eq!(
        (snapshot.status.state, snapshot.status.pending_bytes),
        (SyncState::Synced, 0),
        "{:#?}",
        snapshot.status
    );
    assert_eq!(there(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_after_a_kill_is_no_conflict() {
    // As the database is when the sidecar is killed after the agent wrote, and before that was recorded: of a
    // changed file it knows the version before, of a new file and of a whole first push nothing.
    for (all, name) in [(false, "d/changed"), (false, "d/new"), (true, "d/changed")] {
        let world = World::new().await;
        write(&world.here("d/changed"), "first");
        write(&world.here("other"), "other");
        world.once().await;
        let pair = world.pair().await;
        let before = world.store.base(pair.id).await.expect("a base");
        write(&world.here(name), "given, never recorded");
        world.once().await;
        assert_eq!(read(&world.there(name)), "given, never recorded");
        let old = before.into_iter().find(|(path, _)| path.as_str() == name).map(|(_, base)| base);
        if all {
            world.store.clear_base(pair.id).await.expect("it can be changed");
        } else {
            world.store.commit(pair.id, vec![(path(name), old)]).await.expect("it can be changed");
        }

        write(&world.here(name), "saved again");
        let snapshot = world.once().await;
        assert_eq!((snapshot.status.conflicts, snapshot.status.pending), (0, 0), "{name}: {:#?}", snapshot.status);
        assert_eq!(read(&world.there(name)), "saved again", "{name}");
        assert_eq!(read(&world.there("other")), "other");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_there_after_a_kill_still_is_a_conflict() {
    let world = World::new().await;
    write(&world.here("a"), "first");
    world.once().await;
    let pair = world.pair().await;
    let before = world.store.base(pair.id).await.expect("a base");
    write(&world.here("a"), "given");
    world.once().await;
    world.store.commit(pair.id, vec![(path("a"), Some(before[0].1.clone()))]).await.expect("it can be changed");
    write(&world.there("a"), "theirs");
    write(&world.here("a"), "ours");
    let snapshot = world.once().await;
    assert_eq!(snapshot.status.conflicts, 1, "{:#?}", snapshot.status);
    assert_eq!((read(&world.here("a")), read(&world.there("a"))), ("ours".to_owned(), "theirs".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_here_after_a_kill_is_removed_there() {
    let world = World::new().await;
    write(&world.here("a"), "first");
    write(&world.here("b"), "stays");
    world.once().await;
    let pair = world.pair().await;
    let before = world.store.base(pair.id).await.expect("a base");
    write(&world.here("a"), "given");
    world.once().await;
    world.store.commit(pair.id, vec![(path("a"), Some(before[0].1.clone()))]).await.expect("it can be changed");
    std::fs::remove_file(world.here("a")).expect("it is there");
    let snapshot = world.once().await;
    assert_eq!((snapshot.status.conflicts, snapshot.removed), (0, 1), "{:#?}", snapshot.status);
    assert!(!world.there("a").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_ignored_after_it_was_given_stays_there() {
    let world = World::new().await;
    write(&world.here("logs/a.log"), "kept");
    write(&world.here("b"), "b");
    world.once().await;
    write(&world.here(".mltignore"), "*.log\nlogs/\n");
    world.once().await;
    std::fs::remove_dir_all(world.here("logs")).expect("it is there");
    for _ in 0..2 {
        let snapshot = world.once().await;
        assert_eq!((snapshot.status.conflicts, snapshot.removed), (0, 0), "{:#?}", snapshot.status);
        assert_eq!(read(&world.there("logs/a.log")), "kept");
    }
    let base = world.store.base(world.pair().await.id).await.expect("a base");
    assert_eq!(world.compared(base).await, target::Compared::default(), "the mirror does not follow it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_folder_has_no_mirror_and_nothing_there_is_removed() {
    let world = World::new().await;
    for number in 0..40 {
        write(&world.here(&format!("d{}/f{number}", number % 3)), &number.to_string());
    }
    world.once().await;
    // A container that comes back with an older state of its own.
    let remote = world.there("");
    std::fs::rename(&remote, remote.with_file_name("away")).expect("it is there");
    std::fs::create_dir_all(world.there("d0")).expect("a folder can be made");
    write(&world.there("d0/f0"), "an older one");
    write(&world.there("results"), "theirs");
    std::fs::remove_file(world.here("d1/f1")).expect("it is there");
    write(&world.there("d1/f1"), "also theirs");
    let snapshot = world.once().await;
    assert_eq!((snapshot.removed, snapshot.status.conflicts), (0, 1), "{:#?}", snapshot.status);
    assert_eq!(read(&world.there("d0/f0")), "an older one");
    assert_eq!((read(&world.there("results")), read(&world.there("d1/f1"))), ("theirs".into(), "also theirs".into()));
    assert_eq!(read(&world.there("d2/f2")), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_changed_there_is_found() {
    let world = World::new().await;
    for number in 0..60 {
        write(&world.here(&format!("a{}/b/f{number}", number % 5)), &number.to_string());
    }
    std::os::unix::fs::symlink("f0", world.here("a0/b/link")).expect("a link can be made");
    world.once().await;
    let base = world.store.base(world.pair().await.id).await.expect("a base");
    assert_eq!(world.compared(base.clone()).await, target::Compared::default());
    write(&world.there("a1/b/f1"), "theirs");
    std::fs::remove_file(world.there("a2/b/f2")).expect("it is there");
    std::fs::remove_file(world.there("a0/b/link")).expect("it is there");
    std::os::unix::fs::symlink("f5", world.there("a0/b/link")).expect("a link can be made");
    let compared = world.compared(base.clone()).await;
    let mut differs: Vec<&str> = compared.differs.iter().map(|differs| differs.path.as_str()).collect();
    differs.sort_unstable();
    assert_eq!(differs, ["a0/b/link", "a1/b/f1", "a2/b/f2"]);
    assert_eq!((compared.given, compared.unknown), (Vec::new(), Vec::new()));

    // A mirror that knows less, or nothing, only asks more.
    for name in ["mirror", "mirror.log"] {
        let file = world.there("").with_file_name(".copy.mltoolbox").join(name);
        if file.exists() {
            let bytes = std::fs::read(&file).expect("it can be read");
            std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("it can be written");
        }
    }
    let mut compared = world.compared(base).await;
    compared.differs.sort_by(|one, other| one.path.cmp(&other.path));
    let differs: Vec<&str> = compared.differs.iter().map(|differs| differs.path.as_str()).collect();
    assert_eq!(differs, ["a0/b/link", "a1/b/f1", "a2/b/f2"]);
}
