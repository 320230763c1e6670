//! An agent that lies, against the whole of a sync: it costs an error that says so, and nothing here changes.

use std::path::Path;

use agent::wire::{self, FrameReader};
use async_trait::async_trait;
use protocol::agent::{Opened, Reply, Request, Trailer};
use protocol::frame::{Header, Kind, MAX_BULK_DATA};
use protocol::hello::{Hello, PROTOCOL};
use protocol::mirror::{Entry, Given, Summary};
use protocol::sync::{Action, Content, Differs, Found, Hash, Outcome, Rejected, Stamp};
use tokio::io::AsyncWriteExt as _;

use super::agent_tests::{SOON, Wire, World, read, settled, write};
use super::*;
use crate::frontend::Frontend;
use crate::session::link::Link;
use crate::session::{Connector, Failed, Lane};
use crate::transport::Transport;

/// What the agent sends in answer to the request of a stream; `None` is the honest answer.
type Lie = fn(&Request, u64) -> Option<Vec<u8>>;

/// Most bytes that a liar may get rid of before it is cut off: what was on the way, with the pipe's.
const FLOOD: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
struct Liar {
    lie: Lie,
    /// The longest that one conversation lasted, in bytes that were taken from the agent.
    taken: Arc<std::sync::atomic::AtomicU64>,
}

#[async_trait]
impl Connector for Liar {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Wire::default()))
    }
    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (lie, taken) = (self.lie, Arc::clone(&self.taken));
        tokio::spawn(async move {
            let sent = converse(theirs, PROTOCOL, lie).await;
            taken.fetch_max(sent, std::sync::atomic::Ordering::Relaxed);
        });
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}

/// Answers until the pipe is closed and returns how many bytes were taken.
pub(super) async fn converse(
    pipe: tokio::io::DuplexStream,
    protocol: u32,
    lie: impl Fn(&Request, u64) -> Option<Vec<u8>>,
) -> u64 {
    let (reader, mut writer) = tokio::io::split(pipe);
    let hello = Hello { protocol, oldest: None, version: "6.6.6".to_owned(), facts: None };
    let mut reader = FrameReader::new(reader);
    if wire::send_hello(&mut writer, &hello).await.is_err() || reader.hello().await.is_err() {
        return 0;
    }
    let mut sent = 0;
    while let Ok(frame) = reader.next().await {
        let (stream, kind) = (frame.stream, frame.kind);
        if kind != Kind::Request {
            continue;
        }
        let request: Request = postcard::from_bytes(&frame.payload).expect("our own requests can be read");
        let answer = lie(&request, stream).unwrap_or_else(|| honest(&request, stream));
        for piece in answer.chunks(32 * 1024) {
            if writer.write_all(piece).await.is_err() {
                return sent;
            }
            sent += piece.len() as u64;
        }
    }
    sent
}

fn frame(kind: Kind, stream: u64, payload: &[u8]) -> Vec<u8> {
    [Header { kind, stream, length: payload.len() }.encode().as_slice(), payload].concat()
}

fn reply(stream: u64, reply: &Reply) -> Vec<u8> {
    frame(Kind::Reply, stream, &postcard::to_stdvec(reply).expect("replies are plain data"))
}

fn end(stream: u64, trailer: &Trailer) -> Vec<u8> {
    frame(Kind::End, stream, &postcard::to_stdvec(trailer).expect("trailers are plain data"))
}

fn opened() -> Opened {
    Opened {
        root: 1,
        path: "/home/mallory/copy".to_owned(),
        copy: "copy".to_owned(),
        created: false,
        empty: false,
        free_bytes: u64::MAX,
        ignores_case: false,
    }
}

fn stamp(size: u64) -> Stamp {
    Stamp { size, mtime_ns: 1, ctime_ns: 1, inode: 1, device: 1 }
}

fn honest(request: &Request, stream: u64) -> Vec<u8> {
    let answer = match request {
        Request::Open(_) => Reply::Opened(opened()),
        Request::Verify { .. } => Reply::Verified(Vec::new()),
        Request::Summarise(asked) => Reply::Summarised(vec![Summary::Unknown; asked.folders.len()]),
        Request::Apply(apply) => Reply::Applied(
            apply
                .ops
                .iter()
                .map(|op| match op.action {
                    Action::Put { size, .. } | Action::Patch { size, .. } | Action::Append { size, .. } => {
                        Outcome::Applied { stamp: Some(stamp(size)), kept_as: None }
                    }
                    Action::MakeFolder { .. }
                    | Action::Link { .. }
                    | Action::SetMode { .. }
                    | Action::Remove
                    | Action::Move { .. }
                    | Action::Copy { .. } => Outcome::Applied { stamp: None, kept_as: None },
                })
                .collect(),
        ),
        Request::Partials { .. } => Reply::Partials(Vec::new()),
        Request::Read { .. }
        | Request::ReadOn { .. }
        | Request::Log { .. }
        | Request::Health
        | Request::Stop
        | Request::Flush { .. }
        | Request::EmptyTrash { .. }
        | Request::Chunks(_)
        | Request::List(_)
        | Request::Close { .. } => Reply::Done,
    };
    reply(stream, &answer)
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn differs(at: &str) -> Differs {
    let content = Content::File { hash: Hash([7; 32]), size: 6, executable: false };
    Differs { path: path(at), found: Some(Found { content, stamp: Some(stamp(6)) }), problem: None }
}

/// Encodes an answer about `harm/less` and puts another text of nine bytes in its place.
fn with_path(stream: u64, answer: &Reply, evil: &[u8; 9]) -> Vec<u8> {
    let mut bytes = reply(stream, answer);
    let at = bytes.windows(9).position(|window| window == b"harm/less").expect("the answer names the path");
    bytes[at..at + 9].copy_from_slice(evil);
    bytes
}

/// Says that every folder that was asked about holds one thing.
fn different(stream: u64, name: &str, given: Given) -> Vec<u8> {
    let entry = Entry { name: name.to_owned(), given, intact: true };
    reply(stream, &Reply::Summarised(vec![Summary::Different(vec![entry])]))
}

fn applied(outcome: Outcome) -> Reply {
    Reply::Applied(vec![outcome])
}

fn kept(evil: &[u8; 9], stream: u64) -> Vec<u8> {
    with_path(stream, &applied(Outcome::Applied { stamp: Some(stamp(5)), kept_as: Some(path("harm/less")) }), evil)
}

/// Lies that end in an error which names the agent.
#[rustfmt::skip] // One lie, one line.
const LIES: &[(&str, Lie)] = &[
    ("an oversized frame", |_, _| Some([0xff_u8; 16].to_vec())),
    ("a length that its kind cannot have", |_, id| Some(frame(Kind::Pong, id, b"long"))),
    ("an unknown kind", |_, _| Some([0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec())),
    ("reserved bytes", |_, _| Some([0, 0, 0, 0, 7, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0].to_vec())),
    ("a hello in the middle", |_, _| Some(frame(Kind::Hello, 0, b"{}"))),
    ("a request of its own", |_, id| Some(frame(Kind::Request, id, &[0]))),
    ("a cancel of its own", |_, id| Some(frame(Kind::Cancel, id, b""))),
    ("an answer to nothing", |_, id| Some(reply(id + 1000, &Reply::Done))),
    ("two answers", |request, id| Some([honest(request, id), honest(request, id)].concat())),
    ("another kind of answer", |request, id| matches!(request, Request::Open(_)).then(|| reply(id, &Reply::Done))),
    ("a file nobody asked for", |_, id| Some(reply(id, &Reply::Reading(differs("a").found.expect("a file"))))),
    ("an answer that cannot be read", |_, id| Some(frame(Kind::Reply, id, &[0xff; 40]))),
    ("a list of more entries than there are bytes", |_, id| Some(frame(Kind::Reply, id, &[3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]))),
    ("a list that is longer than any request", |_, id| Some(frame(Kind::Reply, id, &[[3, 0x80, 0x80, 0x40].as_slice(), &[1; 1 << 20]].concat()))),
    ("data on a stream that never was", |_, id| Some(frame(Kind::Data, id + 1000, &[0; MAX_BULK_DATA]).repeat(400))),
    ("data on a stream that takes none", |_, id| Some(frame(Kind::Data, id, &[0; MAX_BULK_DATA]).repeat(400))),
    ("an end of nothing", |_, id| Some(end(id, &Trailer::default()))),
    ("credit without end", |_, id| Some(frame(Kind::Credit, id, &[0xff; 4]).repeat(100))),
    ("credit for nothing", |_, id| Some(frame(Kind::Credit, id + 1000, &[1, 0, 0, 0]))),
    ("too few outcomes", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &Reply::Applied(vec![])))),
    ("too many outcomes", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &Reply::Applied(vec![Outcome::Already { stamp: None }; 4000])))),
    ("another length than was sent", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Applied { stamp: Some(stamp(1 << 60)), kept_as: None })))),
    ("a file without a stamp", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Already { stamp: None })))),
    ("kept above the folder", |request, id| matches!(request, Request::Apply(_)).then(|| kept(b"../../etc", id))),
    ("kept at an absolute path", |request, id| matches!(request, Request::Apply(_)).then(|| kept(b"/etc/hosts"[..9].try_into().expect("nine"), id))),
    ("kept with a NUL", |request, id| matches!(request, Request::Apply(_)).then(|| kept(b"harm\0less", id))),
    ("a difference above the folder", |request, id| matches!(request, Request::Verify { .. }).then(|| with_path(id, &Reply::Verified(vec![differs("harm/less")]), b"harm/../x"))),
    ("a word about folders nobody asked about", |request, id| matches!(request, Request::Summarise(_)).then(|| reply(id, &Reply::Summarised(vec![Summary::Same; 3])))),
    ("names that lead out of a folder", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "b/c", Given::Folder(Hash([7; 32]))))),
    ("names that lead up", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "..", Given::Folder(Hash([7; 32]))))),
    ("a device that was given", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "a", Given::Leaf(Content::Special, None)))),
    ("a file that was given without a stamp", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "a", Given::Leaf(differs("a").found.expect("a file").content, None)))),
    ("a difference nobody asked about", |request, id| matches!(request, Request::Verify { .. }).then(|| reply(id, &Reply::Verified(vec![differs("other")])))),
];

/// Strange but possible answers: whatever comes of them, nothing here changes.
#[rustfmt::skip] // One answer, one line.
const STRANGE: &[(&str, Lie)] = &[
    ("folders without end", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "deeper", Given::Folder(Hash([7; 32]))))),
    ("given what never was", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "a", Given::Leaf(differs("a").found.expect("a file").content, Some(stamp(6)))))),
    ("given what is not here", |request, id| matches!(request, Request::Summarise(_)).then(|| different(id, "etc", Given::Leaf(Content::Link { target: "/etc".to_owned() }, None)))),
    ("an absurd folder", |request, id| matches!(request, Request::Open(_)).then(|| reply(id, &Reply::Opened(Opened { root: u32::MAX, path: "\u{1b}]0;\u{7}../../".repeat(10_000), copy: "\0".repeat(100_000), created: true, empty: false, free_bytes: 0, ignores_case: true })))),
    ("a refusal of a megabyte", |_, id| Some(reply(id, &Reply::Failed(Error { code: Code::Unknown, message: "\u{1b}[2J".repeat(100_000), help: "x".repeat(500_000), causes: vec![String::new(); 100_000] })))),
    ("everything is changed", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Rejected(Rejected::Changed { found: Some(Found { content: Content::Link { target: "/etc".to_owned() }, stamp: None }) }))))),
    ("everything is a device", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Rejected(Rejected::Changed { found: Some(Found { content: Content::Special, stamp: None }) }))))),
    ("never empty", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Rejected(Rejected::NotEmpty { kept: u64::MAX }))))),
    ("a full trash", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Rejected(Rejected::TrashFull { held: u64::MAX }))))),
    ("a stamp from the end of time", |request, id| matches!(request, Request::Apply(_)).then(|| reply(id, &applied(Outcome::Applied { stamp: Some(Stamp { size: 5, mtime_ns: i64::MAX, ctime_ns: i64::MIN, inode: u64::MAX, device: u64::MAX }), kept_as: Some(path("a")) })))),
];

/// Runs a sync of one file of five bytes against a liar, until it settles or has an error.
async fn against(what: &str, lie: Lie) -> (World, Snapshot, u64) {
    let world = World::new().await;
    write(&world.here("a"), "local");
    let taken = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let handle = world.start_with("me", false, Arc::new(Liar { lie, taken: Arc::clone(&taken) })).await;
    let mut snapshots = handle.snapshots();
    let wait = snapshots.wait_for(|snapshot| {
        snapshot.settled || snapshot.status.error.is_some() || !snapshot.status.problems.is_empty()
    });
    let snapshot = tokio::time::timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing is said"))
        .expect("the sync runs")
        .clone();
    handle.stop().await;
    (world, snapshot, taken.load(std::sync::atomic::Ordering::Relaxed))
}

fn assert_untouched(what: &str, world: &World) {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("it is a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(&world.here("")), ["a"], "{what}");
    assert_eq!(read(&world.here("a")), "local", "{what}");
    let mut around = names(world.here("").parent().expect("the world's folder"));
    around.retain(|name| !name.starts_with("state.db") && name != "kept");
    around.sort();
    assert_eq!(around, ["remote", "w"], "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_agent_is_named_and_changes_nothing_here() {
    for (what, lie) in LIES {
        let (world, snapshot, taken) = against(what, *lie).await;
        let error = snapshot.status.error.unwrap_or_else(|| panic!("{what}: no error"));
        assert_eq!(error.code, Code::AgentProtocol, "{what}: {error:?}");
        assert!(!error.help.is_empty(), "{what}: {error:?}");
        assert_ne!(snapshot.status.state, SyncState::Synced, "{what}");
        assert!(taken < FLOOD, "{what}: {taken} bytes were taken");
        assert_untouched(what, &world);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strange_agent_changes_nothing_here() {
    for (what, lie) in STRANGE {
        let (world, _, _) = against(what, *lie).await;
        assert_untouched(what, &world);
    }
}

fn reads(size: u64, data: &[u8], trailer: &Trailer, stream: u64) -> Vec<u8> {
    let content = Content::File { hash: Hash([7; 32]), size, executable: false };
    let found = Reply::Reading(Found { content, stamp: Some(stamp(size)) });
    let mut bytes = reply(stream, &found);
    data.chunks(MAX_BULK_DATA).for_each(|piece| bytes.extend(frame(Kind::Data, stream, piece)));
    bytes.extend(end(stream, trailer));
    bytes
}

/// What a lying agent sends on a stream.
type Version = fn(u64) -> Vec<u8>;

/// Versions of the remote's file of six bytes that are not the one a person chose.
#[rustfmt::skip] // One version, one line.
const VERSIONS: &[(&str, Version)] = &[
    ("other bytes", |id| reads(6, b"theirs", &Trailer::default(), id)),
    ("other bytes with the right name", |id| reads(6, b"theirs", &Trailer { hash: Some(Hash([7; 32])), error: None }, id)),
    ("fewer bytes", |id| reads(6, b"the", &Trailer::default(), id)),
    ("more bytes", |id| reads(6, &[b'x'; 3_000_000], &Trailer::default(), id)),
    ("a longer file", |id| reads(u64::MAX, &[b'x'; 3_000_000], &Trailer::default(), id)),
    ("a file that breaks off", |id| reads(6, b"the", &Trailer { hash: None, error: Some(Error { code: Code::RemoteFileFailed, message: "gone".to_owned(), help: String::new(), causes: Vec::new() }) }, id)),
    ("a folder", |id| reply(id, &Reply::Reading(Found { content: Content::Folder, stamp: None }))),
    ("a link", |id| reply(id, &Reply::Reading(Found { content: Content::Link { target: "/etc/passwd".to_owned() }, stamp: None }))),
    ("data before the answer", |id| frame(Kind::Data, id, b"theirs")),
    ("no file at all", |id| reply(id, &Reply::Done)),
    ("data without end", |id| [reply(id, &Reply::Reading(differs("a").found.expect("a file"))), frame(Kind::Data, id, &[0; MAX_BULK_DATA]).repeat(400)].concat()),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_not_chosen_is_never_taken() {
    for (what, version) in VERSIONS.iter().copied() {
        for take in [Take::Remote, Take::Both] {
            let world = World::new().await;
            write(&world.here("a"), "local");
            let taken = Arc::new(std::sync::atomic::AtomicU64::new(0));
            let liar = Conflicting { version, taken: Arc::clone(&taken) };
            let handle = world.start_with("me", false, Arc::new(liar)).await;
            let snapshot = settled(&handle).await;
            assert_eq!(snapshot.status.conflicts, 1, "{what}: {:#?}", snapshot.status);
            let refused = handle.resolve(Which::All, take).await.expect_err(what);
            assert!(!refused.message.is_empty() && !refused.help.is_empty(), "{what}: {refused:?}");
            handle.stop().await;
            assert!(taken.load(std::sync::atomic::Ordering::Relaxed) < FLOOD, "{what}");
            assert_untouched(what, &world);
        }
    }
}

/// Says that the remote has another version of `a`, and reads something else.
#[derive(Debug)]
struct Conflicting {
    version: Version,
    taken: Arc<std::sync::atomic::AtomicU64>,
}

#[async_trait]
impl Connector for Conflicting {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Wire::default()))
    }
    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (version, taken) = (self.version, Arc::clone(&self.taken));
        tokio::spawn(async move {
            let answer = move |request: &Request, stream: u64| match request {
                Request::Verify { .. } => Some(reply(stream, &Reply::Verified(vec![differs("a")]))),
                Request::Read { .. } => Some(version(stream)),
                _ => None,
            };
            let sent = converse(theirs, PROTOCOL, answer).await;
            taken.fetch_max(sent, std::sync::atomic::Ordering::Relaxed);
        });
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}
