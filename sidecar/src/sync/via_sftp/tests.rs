//! SFTP servers for the tests of a sync: OpenSSH's own, the embedded one with and without extensions, and liars.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use protocol::error::Code;
use protocol::listing::ListedKind;
use protocol::path::RemotePath;
use protocol::sync::{Action, Op, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::agent_tests::{SOON, Wire as Transported, World, read, settled, write};
use super::super::plan::Local;
use super::super::source::{Reading, Replacement, Scan, Source};
use super::super::target::fake::{FakeSource, path};
use super::super::*;
use super::*;
use crate::frontend::Frontend;
use crate::session::link::Link;
use crate::session::{self, Connector, Failed};
use crate::store::Base;
use crate::transport::ssh_server::speak_sftp;
use crate::transport::{About, Control, Exit, Process, Pty, TransportError};

/// Where distributions put OpenSSH's SFTP server.
const OPENSSH: &[&str] =
    &["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// What answers.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Server {
    /// OpenSSH's.
    Openssh(&'static str),
    /// The embedded one.
    Embedded,
    /// The embedded one without extensions.
    Plain,
    /// One that answers every request by a rule.
    Liar(Lie),
}

/// What a liar answers: a whole packet with its length, or `None` for the end of the conversation.
pub(in super::super) type Lie = fn(kind: u8, id: u32) -> Option<Vec<u8>>;

impl Server {
    /// Returns every honest server that this machine has.
    pub(in super::super) fn honest() -> Vec<Self> {
        let openssh = OPENSSH.iter().find(|path| Path::new(path).exists()).map(|path| Self::Openssh(path));
        if openssh.is_none() {
            std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED OpenSSH's sftp-server: it is not installed\n")
                .expect("standard error is open");
        }
        openssh.into_iter().chain([Self::Embedded, Self::Plain]).collect()
    }

    /// Returns a session with this server, whose home is `home`.
    pub(in super::super) fn session(self, home: &Path) -> session::Handle {
        let frontend: Arc<dyn Frontend> = Arc::new(super::super::agent_tests::Nobody);
        session::Handle::start(self.connector(home), &frontend)
    }

    fn connector(self, home: &Path) -> Arc<Served> {
        Arc::new(Served { server: self, home: home.to_owned() })
    }

    fn start(self, home: &Path) -> Process {
        let (stdin, stdout): (Box<dyn AsyncWrite + Send + Unpin>, _) = match self {
            Self::Openssh(program) => {
                let mut command = tokio::process::Command::new(program);
                command.current_dir(home).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
                let mut child = command.spawn().expect("it starts");
                let streams = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
                // It ends with its input.
                tokio::spawn(async move { child.wait().await });
                (Box::new(streams.0), Box::new(streams.1) as Box<dyn tokio::io::AsyncRead + Send + Unpin>)
            }
            Self::Embedded | Self::Plain | Self::Liar(_) => {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                match self {
                    Self::Liar(lie) => drop(tokio::spawn(converse(theirs, lie))),
                    Self::Embedded | Self::Plain | Self::Openssh(_) => {
                        let home = home.to_owned();
                        tokio::spawn(async move { speak_sftp(theirs, &home, matches!(self, Self::Plain)).await });
                    }
                }
                let (stdout, stdin) = tokio::io::split(ours);
                (Box::new(stdin), Box::new(stdout))
            }
        };
        let (control, _) = mpsc::channel::<Control>(1);
        let exit = Box::pin(std::future::pending::<Result<Exit, TransportError>>());
        Process { stdin, stdout, stderr: Box::new(tokio::io::empty()), control, exit }
    }
}

/// Answers by a rule until the pipe is closed.
async fn converse(mut pipe: DuplexStream, lie: Lie) {
    while let Ok(length) = pipe.read_u32().await {
        let mut packet = vec![0; usize::try_from(length).expect("our own packets are small")];
        if pipe.read_exact(&mut packet).await.is_err() {
            return;
        }
        // Kind, then an id, which stands in place of the version in the first one.
        let id = packet.get(1..5).and_then(|id| id.try_into().ok()).map_or(0, u32::from_be_bytes);
        let Some(answer) = lie(packet[0], id) else { return };
        if pipe.write_all(&answer).await.is_err() {
            return;
        }
    }
}

#[derive(Debug)]
struct Served {
    server: Server,
    home: PathBuf,
}

#[derive(Debug)]
struct Connected {
    server: Server,
    home: PathBuf,
    wire: Transported,
}

#[async_trait]
impl Connector for Served {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Connected { server: self.server, home: self.home.clone(), wire: Transported::default() }))
    }
    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let host = "box".to_owned();
        Err(TransportError::Forbidden { host, what: "to run commands".to_owned() }.into())
    }
}

#[async_trait]
impl Transport for Connected {
    async fn exec(&self, command: &str, terminal: Option<&Pty>) -> Result<Process, TransportError> {
        self.wire.exec(command, terminal).await
    }
    async fn upload(
        &self,
        from: &Path,
        to: &RemotePath,
        mode: u32,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        self.wire.upload(from, to, mode, sent).await
    }
    async fn remove(&self, path: &RemotePath) -> Result<(), TransportError> {
        self.wire.remove(path).await
    }
    async fn subsystem(&self, name: &str) -> Result<Process, TransportError> {
        assert_eq!(name, "sftp");
        Ok(self.server.start(&self.home))
    }
    async fn round_trip(&self) -> Result<Duration, TransportError> {
        self.wire.round_trip().await
    }
    fn about(&self) -> &About {
        self.wire.about()
    }
    async fn closed(&self) {
        self.wire.closed().await;
    }
    async fn close(&self) {
        self.wire.close().await;
    }
}

fn open_as(at: &Path, holder: &str, take_over: bool) -> OpenTarget {
    OpenTarget {
        path: RemotePath::new(at.to_string_lossy()).expect("a plain path"),
        create: true,
        holder: Holder { id: holder.to_owned(), label: format!("{holder}'s") },
        take_over,
    }
}

/// Puts files as they are in a source and returns what came of each.
async fn put(target: &dyn SyncTarget, source: &FakeSource, names: &[&str], expect: &Expect) -> Vec<Done> {
    let ops = names.iter().map(|name| Op {
        path: path(name),
        expect: expect.clone(),
        action: Action::Put { size: 0, hash: None, mode: 0o644, mtime_ns: None },
    });
    let batch = Batch {
        lane: Lane::Priority,
        barrier: false,
        durable: true,
        ops: ops.collect(),
        bodies: Arc::new(source.clone()),
    };
    let (done, mut told) = mpsc::channel(names.len());
    target.apply(vec![batch], done).await.expect("the target is open");
    let mut all: Vec<Option<Done>> = vec![None; names.len()];
    while let Some((index, what)) = told.recv().await {
        all[index] = Some(what);
    }
    all.into_iter().map(|done| done.expect("every operation is answered")).collect()
}

fn source(files: &[(&str, &str)]) -> FakeSource {
    let source = FakeSource::default();
    for (name, text) in files {
        source.tree.lock().write(name, text.as_bytes());
    }
    source
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_and_sftp_take_turns_on_one_root() {
    for server in Server::honest() {
        let world = World::new().await;
        let at = world.there("");
        let at = Path::new(at.to_str().expect("text").trim_end_matches('/'));
        let home = at.parent().expect("it is in a folder");
        let by_sftp = ViaSftp::new(server.session(home));
        let by_agent = super::super::via_agent::ViaAgent::by_one_link(world.session());
        let files = source(&[("a", "one"), ("b", "two")]);

        let first = by_sftp.open(&open_as(at, "me", false)).await.expect("it can be made");
        assert!(matches!(put(&by_sftp, &files, &["a"], &Expect::Absent).await[..], [Done::Answered(..)]));
        by_sftp.close().await.expect("it is open");
        let second = by_agent.open(&open_as(at, "me", false)).await.expect("it is there");
        assert_eq!((&second.copy, second.empty), (&first.copy, false), "{server:?}");
        assert!(matches!(put(&by_agent, &files, &["b"], &Expect::Absent).await[..], [Done::Answered(..)]));

        // The lease of the one holds against the other.
        let refused = by_sftp.open(&open_as(at, "other", false)).await.expect_err("it is in use");
        assert!(matches!(&refused, SyncError::Leased(error) if error.message.contains("me's")), "{refused:?}");
        let third = by_sftp.open(&open_as(at, "other", true)).await.expect("it is taken over");
        assert_eq!(third.copy, first.copy, "{server:?}");
        let lost = by_agent.apply(vec![batch(&files)], mpsc::channel(1).0).await.expect_err("it was taken");
        assert_eq!(Error::from(lost).code, Code::SyncLeased);
        by_agent.open(&open_as(at, "me", true)).await.expect("it is taken back");
        let lost = by_sftp.apply(vec![batch(&files)], mpsc::channel(1).0).await.expect_err("it was taken");
        assert_eq!(Error::from(lost).code, Code::SyncLeased);
        by_agent.close().await.expect("it is open");
        let reopened = by_sftp.open(&open_as(at, "other", false)).await.expect("it was given back");
        assert_eq!(reopened.copy, first.copy, "{server:?}");
        by_sftp.close().await.expect("it is open");
        assert!(!home.join(".copy.mltoolbox/lease.json").exists(), "{server:?}");
        let left: Vec<_> =
            std::fs::read_dir(home.join(".copy.mltoolbox/tmp")).expect("it is there").flatten().collect();
        assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("sftp-")), "{left:?}");
    }
}

fn batch(files: &FakeSource) -> Batch {
    let op = Op { path: path("x"), expect: Expect::Absent, action: Action::MakeFolder { mode: 0o755 } };
    Batch { lane: Lane::Bulk, barrier: true, durable: false, ops: vec![op], bodies: Arc::new(files.clone()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_through_a_link() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let (at, outside) = (home.path().join("copy"), home.path().join("outside"));
        std::fs::create_dir_all(at.join("real")).expect("a fresh folder");
        std::fs::create_dir(&outside).expect("a fresh folder");
        std::os::unix::fs::symlink(&outside, at.join("link")).expect("a fresh folder");
        let target = ViaSftp::new(server.session(home.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it is there");
        let done = put(&target, &source(&[("link/x", "evil")]), &["link/x"], &Expect::Absent).await;
        let [Done::Answered(Outcome::Rejected(Rejected::Unsafe { reason }), _)] = done.as_slice() else {
            panic!("{server:?}: {done:?}")
        };
        assert!(reason.contains("symbolic link"), "{reason}");
        assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 0);
        // A link in the trash is removed, and not what it leads to.
        write(&outside.join("precious"), "kept");
        let shelf = home.path().join(".copy.mltoolbox/trash/removed/20000101T000000Z-1");
        std::fs::create_dir(&shelf).expect("a fresh folder");
        std::os::unix::fs::symlink(&outside, shelf.join("link")).expect("a fresh folder");
        target.empty_trash().await.expect("it can be emptied");
        assert!(!shelf.exists() && outside.join("precious").exists(), "{server:?}");
        for (root, what) in [("~", "home"), ("/", "file system"), ("~/copy/link", "link"), ("~other/x", "another user")]
        {
            let refused = target.open(&open_as(Path::new(root), "me", false)).await.expect_err("it is refused");
            let error = Error::from(refused);
            assert!(error.causes.join(" ").contains(what), "{server:?} {root}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_becomes_a_link_during_an_upload_leads_nowhere() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let (at, outside) = (home.path().join("copy"), home.path().join("outside"));
        std::fs::create_dir_all(at.join("d/e")).expect("a fresh folder");
        std::fs::create_dir(&outside).expect("a fresh folder");
        let target = ViaSftp::new(server.session(home.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it is there");
        let files = FakeSource::default();
        files.tree.lock().write("d/e/large", &vec![7; 1 << 20]);
        let (folder, link) = (at.join("d"), outside.clone());
        *crate::sync::target::fake::locked(&files.race) = Some(Box::new(move |_| {
            std::fs::remove_dir_all(&folder).expect("it is there");
            std::os::unix::fs::symlink(&link, &folder).expect("its name is free");
        }));
        std::fs::create_dir(outside.join("e")).expect("a fresh folder");
        let done = put(&target, &files, &["d/e/large"], &Expect::Absent).await;
        let [Done::Answered(Outcome::Rejected(Rejected::Unsafe { reason }), _)] = done.as_slice() else {
            panic!("{server:?}: {done:?}")
        };
        assert!(reason.contains("symbolic link"), "{reason}");
        assert_eq!(std::fs::read_dir(outside.join("e")).expect("it is there").count(), 0, "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_left_is_cleared_away_only_under_the_lease() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let at = home.path().join("copy");
        let holder = ViaSftp::new(server.session(home.path()));
        holder.open(&open_as(&at, "me", false)).await.expect("it can be made");
        let old = home.path().join(".copy.mltoolbox/tmp/sftp-me-old");
        std::fs::create_dir(&old).expect("its name is free");
        write(&old.join("7"), "an upload that waits for its line");
        let yesterday = std::time::SystemTime::now() - Duration::from_hours(24);
        std::fs::File::open(&old).expect("it is there").set_modified(yesterday).expect("it is ours");
        let other = ViaSftp::new(server.session(home.path()));
        other.open(&open_as(&at, "other", false)).await.expect_err("it is in use");
        assert!(old.join("7").exists(), "{server:?}: whoever was refused changes nothing");
        other.open(&open_as(&at, "other", true)).await.expect("it is taken over");
        assert!(!old.exists(), "{server:?}");
    }
}

/// Ends the conversation when the first file is read, and counts how many are.
#[derive(Debug)]
struct Ending {
    files: FakeSource,
    root: Arc<Root>,
    opened: std::sync::atomic::AtomicUsize,
}

impl Source for Ending {
    fn scan(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> std::io::Result<Scan> {
        self.files.scan(paths, base)
    }

    fn open(&self, path: &RelPath) -> std::io::Result<Box<dyn Reading>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.root.end();
        self.files.open(path)
    }

    fn replace(
        &self,
        path: &RelPath,
        expected: Option<&Local>,
        with: &Replacement<'_>,
        keep: &Path,
    ) -> std::io::Result<()> {
        self.files.replace(path, expected, with, keep)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_begun_after_the_conversation_ended() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let target = ViaSftp::new(Server::Embedded.session(home.path()));
    target.open(&open_as(&home.path().join("copy"), "me", false)).await.expect("it can be made");
    let names: Vec<String> = (0..2000).map(|number| format!("f{number}")).collect();
    let files = FakeSource::default();
    for name in &names {
        files.tree.lock().write(name, b"bytes");
    }
    let bodies = Arc::new(Ending { files, root: target.root().expect("it is open"), opened: Default::default() });
    let ops = names.iter().map(|name| Op {
        path: path(name),
        expect: Expect::Absent,
        action: Action::Put { size: 5, hash: None, mode: 0o644, mtime_ns: None },
    });
    let (lane, ops) = (Lane::Bulk, ops.collect());
    let batch = Batch { lane, barrier: false, durable: false, ops, bodies: bodies.clone() };
    let (done, _told) = mpsc::channel(names.len());
    target.apply(vec![batch], done).await.expect_err("the conversation ended");
    let opened = bodies.opened.load(Ordering::Relaxed);
    assert!((1..=AT_ONCE).contains(&opened), "{opened} files were read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_saves_reading_once_it_was_quiet() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let at = home.path().join("copy");
        let target = ViaSftp::new(server.session(home.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it can be made");
        let done = put(&target, &source(&[("a", "one")]), &["a"], &Expect::Absent).await;
        let [Done::Answered(Outcome::Applied { stamp: Some(stamp), .. }, Some(seal))] = done.as_slice() else {
            panic!("{done:?}")
        };
        let known = |stamp| Known { path: path("a"), expect: Expect::File { hash: seal.hash, stamp: Some(stamp) } };
        // An edit within the same second and of the same length is seen.
        write(&at.join("a"), "two");
        let told = target.verify(vec![known(*stamp)]).await.expect("it is open");
        assert!(matches!(told.as_slice(), [Differs { found: Some(_), .. }]), "{server:?}: {told:?}");
        // One that was quiet is told with a stamp that counts from then on.
        write(&at.join("a"), "one");
        let quiet = std::time::SystemTime::now() - Duration::from_hours(1);
        std::fs::File::open(at.join("a")).expect("it is there").set_modified(quiet).expect("it is ours");
        let told = target.verify(vec![known(*stamp)]).await.expect("it is open");
        let [Differs { found: Some(Found { stamp: Some(renewed), content }), problem: None, .. }] = told.as_slice()
        else {
            panic!("{server:?}: {told:?}")
        };
        assert!(matches!(content, Content::File { hash, .. } if *hash == seal.hash));
        assert_eq!(target.verify(vec![known(*renewed)]).await.expect("it is open"), [], "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_sync_runs_over_sftp() {
    for server in Server::honest() {
        let world = World::new().await;
        for number in 0..300 {
            write(&world.here(&format!("many/{}/f{number}", number % 7)), &number.to_string());
        }
        write(&world.here("large.txt"), &"some words of a long text\n".repeat(120_000));
        std::os::unix::fs::symlink("large.txt", world.here("link")).expect("a link can be made");
        let connector = server.connector(world.there("").parent().expect("it is in a folder"));
        let handle = world.start_by("me", true, connector.clone(), |session| Arc::new(ViaSftp::new(session))).await;
        let snapshot = settled(&handle).await;
        assert_eq!(
            (snapshot.status.state, snapshot.files),
            (SyncState::Synced, 301),
            "{server:?} {:#?}",
            snapshot.status
        );
        assert!(read(&world.there("large.txt")) == read(&world.here("large.txt")));
        assert_eq!(std::fs::read_link(world.there("link")).expect("it is a link"), Path::new("large.txt"));
        write(&world.here("many/3/f3"), "saved");
        std::fs::remove_dir_all(world.here("many/4")).expect("it is there");
        handle.flush(true, SOON).await.expect("it arrives");
        assert_eq!(read(&world.there("many/3/f3")), "saved");
        assert!(!world.there("many/4").exists());
        handle.stop().await;
        let again = world.start_by("me", false, connector, |session| Arc::new(ViaSftp::new(session))).await;
        let snapshot = settled(&again).await;
        assert_eq!(
            (snapshot.status.state, snapshot.files),
            (SyncState::Synced, 0),
            "{server:?} {:#?}",
            snapshot.status
        );
        again.stop().await;
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).expect("a packet of a test");
    [length.to_be_bytes().as_slice(), &[kind], body].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    [u32::try_from(text.len()).expect("a text of a test").to_be_bytes().as_slice(), text].concat()
}

fn version() -> Vec<u8> {
    packet(2, &3_u32.to_be_bytes())
}

fn name(id: u32, names: &[&[u8]]) -> Vec<u8> {
    let mut body = [id.to_be_bytes(), u32::try_from(names.len()).expect("few").to_be_bytes()].concat();
    for name in names {
        body.extend([string(name), string(b"x"), attributes(0o040_755, 0)].concat());
    }
    packet(104, &body)
}

fn attributes(mode: u32, size: u64) -> Vec<u8> {
    // Size, permissions and times.
    [&13_u32.to_be_bytes(), size.to_be_bytes().as_slice(), &mode.to_be_bytes(), &[0; 8]].concat()
}

fn attrs(id: u32, mode: u32, size: u64) -> Vec<u8> {
    packet(105, &[id.to_be_bytes().as_slice(), &attributes(mode, size)].concat())
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet(101, &[id.to_be_bytes().as_slice(), &code.to_be_bytes(), &string(b"\x1b[2J"), &string(b"")].concat())
}

fn handle_of(id: u32) -> Vec<u8> {
    packet(102, &[id.to_be_bytes().as_slice(), &string(b"h")].concat())
}

/// Says yes to everything: every folder is there, every list begins anew.
fn agreeable(kind: u8, id: u32) -> Vec<u8> {
    match kind {
        1 => version(),
        3 | 11 => handle_of(id),
        5 => packet(103, &[id.to_be_bytes().as_slice(), &string(b"{}")].concat()),
        7 | 8 | 17 => attrs(id, 0o040_700, 0),
        12 => status(id, 1),
        16 | 19 => name(id, &[b"/home/mallory"]),
        _ => status(id, 0),
    }
}

/// Lies that end an opening in an error.
#[rustfmt::skip] // One lie, one line.
const LIES: &[(&str, Lie)] = &[
    ("a packet of four gigabytes", |_, _| Some(vec![0xff; 64])),
    ("silence that ends", |_, _| None),
    ("an unknown kind", |_, id| Some(packet(77, &id.to_be_bytes()))),
    ("an old version", |_, _| Some(packet(2, &1_u32.to_be_bytes()))),
    ("two versions", |_, _| Some(version().repeat(2))),
    ("a cut answer", |kind, id| Some(if kind == 1 { version() } else { packet(105, &id.to_be_bytes()[..2]) })),
    ("a text longer than its packet", |kind, id| Some(if kind == 1 { version() } else { packet(102, &[id.to_be_bytes(), [0xff; 4]].concat()) })),
    ("a list of four billion names", |kind, id| Some(if kind == 1 { version() } else { packet(104, &[id.to_be_bytes(), [0xff; 4]].concat()) })),
    ("an answer to another question", |kind, id| Some(if kind == 1 { version() } else { handle_of(id) })),
    ("well, and nothing more", |kind, id| Some(if kind == 1 { version() } else { status(id, 0) })),
    ("no home", |kind, id| Some(if kind == 16 { name(id, &[]) } else { agreeable(kind, id) })),
    ("a home with a NUL", |kind, id| Some(if kind == 16 { name(id, &[b"/ho\0me"]) } else { agreeable(kind, id) })),
    ("a home that is relative", |kind, id| Some(if kind == 16 { name(id, &[b"../../home"]) } else { agreeable(kind, id) })),
    ("two homes", |kind, id| Some(if kind == 16 { name(id, &[b"/a", b"/b"]) } else { agreeable(kind, id) })),
    ("attributes that say nothing", |kind, id| Some(if kind == 7 { packet(105, &[id.to_be_bytes(), [0; 4]].concat()) } else { agreeable(kind, id) })),
    ("nothing but devices", |kind, id| Some(if kind == 7 { attrs(id, 0o020_644, 0) } else { agreeable(kind, id) })),
    ("a folder without an end", |kind, id| Some(if kind == 12 { name(id, &[b"x".as_slice(); 500]) } else { agreeable(kind, id) })),
    ("a list of nothing for ever", |kind, id| Some(if kind == 12 { name(id, &[]) } else { agreeable(kind, id) })),
    ("an entry that leads upwards", |kind, id| Some(if kind == 12 { name(id, &[b"../../etc/passwd"]) } else { agreeable(kind, id) })),
    ("an entry with a name of 200 KB", |kind, id| Some(if kind == 12 { name(id, &[&[b'x'; 200_000]]) } else { agreeable(kind, id) })),
    ("an entry without a name", |kind, id| Some(if kind == 12 { name(id, &[b""]) } else { agreeable(kind, id) })),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_server_costs_an_error_and_nothing_else() {
    let home = tempfile::tempdir().expect("a folder can be made");
    for (what, lie) in LIES {
        let target = ViaSftp::new(Server::Liar(*lie).session(home.path()));
        let open = open_as(Path::new("/home/mallory/copy"), "me", false);
        let opening = target.open(&open);
        let opened = tokio::time::timeout(SOON, opening).await.unwrap_or_else(|_| panic!("{what}: no end"));
        let error = Error::from(opened.expect_err(what));
        assert!(!error.help.is_empty() && !format!("{error:?}").contains('\u{1b}'), "{what}: {error:?}");
    }
    assert_eq!(std::fs::read_dir(home.path()).expect("it is there").count(), 0);
}

/// Answers about files that cannot be true.
#[rustfmt::skip] // One lie, one line.
const FILES: &[(&str, Lie)] = &[
    ("longer than any disk", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, u64::MAX), _ => agreeable(kind, id) })),
    ("longer than it is", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, 1 << 33), 5 => status(id, 1), _ => agreeable(kind, id) })),
    ("more bytes than were asked for", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, 5), 5 => packet(103, &[id.to_be_bytes().as_slice(), &string(&[7; 100_000])].concat()), _ => agreeable(kind, id) })),
    ("a read of nothing", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, 5), 5 => packet(103, &[id.to_be_bytes().as_slice(), &string(b"")].concat()), _ => agreeable(kind, id) })),
    ("a link of a megabyte", |kind, id| Some(match kind { 7 => attrs(id, 0o120_777, 5), 19 => name(id, &[&[b'x'; 200_000]]), _ => agreeable(kind, id) })),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_files_are_told_as_such() {
    for (what, lie) in FILES {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(converse(theirs, *lie));
        let (stdout, stdin) = tokio::io::split(ours);
        let wire = Wire::begin(stdout, stdin).await.expect("it begins well");
        let expect = Expect::File { hash: Hash([7; 32]), stamp: None };
        let clock = side::Clock::new(0);
        let compared = super::look::compare(&wire, &clock, "/x", &expect);
        let told = tokio::time::timeout(SOON, compared).await.unwrap_or_else(|_| panic!("{what}: no end"));
        let fault = told.expect_err(what);
        assert!(!matches!(fault, Fault::Lost { .. }), "{what}: {fault:?}");
    }
}

#[tokio::test]
async fn only_what_was_flushed_is_called_durable() {
    for server in Server::honest() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let target = ViaSftp::new(server.session(place.path()));
        target.open(&open_as(&place.path().join("root"), "me", false)).await.expect("it opens");
        assert_eq!(target.flush().await.expect("it is open"), Flushed::Durable, "nothing was written");
        let source = FakeSource::default();
        source.tree.lock().write("a", b"bytes");
        put(&target, &source, &["a"], &Expect::Absent).await;
        let offers = target.root().expect("it is open").bulk.offers.fsync;
        assert!(!(offers && matches!(server, Server::Plain)), "the plain one has no extensions");
        // One that was written to be durable is not flushed again, but where that cannot be it is not called so.
        let wanted = if offers { Flushed::Durable } else { Flushed::LeftToDisk };
        assert_eq!(target.flush().await.expect("it is open"), wanted, "{server:?}");
        assert_eq!(target.flush().await.expect("it is open"), wanted, "{server:?}");
    }
}

#[tokio::test]
async fn folders_are_listed_in_order_and_links_are_not_entered() {
    for server in Server::honest() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let at = place.path().join("root");
        for name in ["d/e", "many"] {
            std::fs::create_dir_all(at.join(name)).expect("our own folder");
        }
        std::fs::write(at.join("d/b"), "bytes").expect("our own folder");
        std::fs::write(at.join("d/a"), "").expect("our own folder");
        std::os::unix::fs::symlink("e", at.join("d/link")).expect("our own folder");
        let most = protocol::listing::MAX_LISTED;
        for number in 0..=most {
            std::fs::write(at.join(format!("many/{number:05}")), "").expect("our own folder");
        }
        let target = ViaSftp::new(server.session(place.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it opens");
        let list = async |folders: &[&str], after: Option<&str>| {
            let folders = folders.iter().map(|name| Some(path(name))).collect();
            target.list(folders, after.map(ToOwned::to_owned)).await.expect("it can be listed")
        };
        let top = target.list(vec![None], None).await.expect("it can be listed");
        let names = |listing: &Listing| listing.entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&top[0]), ["d", "many"], "{server:?}");
        let found = list(&["d", "d/link", "gone", "d/a"], None).await;
        assert_eq!(names(&found[0]), ["a", "b", "e", "link"]);
        assert!(matches!(&found[0].entries[1].kind, ListedKind::File(stamp) if stamp.size == 5));
        assert_eq!(found[0].entries[3].kind, ListedKind::Link { target: "e".to_owned() });
        assert!(found[1..].iter().all(|listing| listing.problem.is_some() && listing.entries.is_empty()), "{found:?}");
        assert_eq!(names(&list(&["d"], Some("b")).await[0]), ["e", "link"]);
        let found = list(&["many", "d"], None).await;
        assert_eq!((found.len(), found[0].entries.len(), found[0].cut), (1, most, true));
        let rest = list(&["many", "d"], Some(&found[0].entries[most - 1].name)).await;
        assert_eq!((rest.len(), rest[0].entries.len(), rest[1].entries.len()), (2, 1, 4), "{server:?}");
    }
}
