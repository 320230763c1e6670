//! A sidecar that breaks the rules, against a whole agent: it is cut off or refused, the agent lives on, and
//! nothing outside of the opened folder changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::serve::{Agent, Config, serve};
use agent::wire::{self, FrameReader};
use protocol::agent::{Apply, Holder, MAX_STREAMS, Open, Reply, Request, Trailer};
use protocol::frame::{Header, Kind, MAX_BULK_DATA};
use protocol::hello::{Hello, OLDEST, PROTOCOL};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Expect, Hash, Known, Op, Outcome, Rejected};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

/// How long an answer may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A folder with a secret beside the root, and links to it within.
struct Place {
    folder: tempfile::TempDir,
    agent: Arc<Agent>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["outside/deep", "home/copy/plain"] {
            fs::create_dir_all(folder.path().join(name)).expect("a new folder");
        }
        fs::write(folder.path().join("outside/secret"), "secret").expect("a new file");
        fs::write(folder.path().join("home/copy/plain/file"), "file").expect("a new file");
        symlink("../../outside", folder.path().join("home/copy/way")).expect("a new link");
        symlink("../../outside/secret", folder.path().join("home/copy/peep")).expect("a new link");
        Self { folder, agent: Arc::new(Agent::new(Config { log: None })) }
    }

    fn outside(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("outside")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a readable folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.push((path.clone(), fs::read(&path).ok()));
            }
        }
        found.sort();
        found
    }

    async fn call(&self) -> Caller {
        self.call_as(PROTOCOL).await
    }

    async fn call_as(&self, protocol: u32) -> Caller {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(serve(theirs, Arc::clone(&self.agent)));
        let (reader, mut writer) = tokio::io::split(ours);
        let hello = Hello { protocol, oldest: None, version: "6.6.6".to_owned(), facts: None };
        wire::send_hello(&mut writer, &hello).await.expect("the agent reads");
        let mut reader = FrameReader::new(reader);
        reader.hello().await.expect("the agent says hello");
        let mut caller = Caller { reader, writer, stream: 0, root: 0 };
        let path = self.folder.path().join("home/copy").display().to_string();
        let holder = Holder { id: "me".to_owned(), label: "me".to_owned() };
        let path = RemotePath::new(path).expect("a path");
        let open = Request::Open(Open { path, create: false, holder, take_over: true });
        match caller.ask(&open, &[]).await {
            Some(Reply::Opened(opened)) => caller.root = opened.root,
            other => panic!("{other:?}"),
        }
        caller
    }
}

struct Caller {
    reader: FrameReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
    stream: u64,
    root: u32,
}

impl Caller {
    /// Sends a request with its data and returns the reply; `None` when the agent hangs up.
    async fn ask(&mut self, request: &Request, data: &[u8]) -> Option<Reply> {
        self.ask_raw(&encoded(request), data).await
    }

    async fn ask_raw(&mut self, request: &[u8], data: &[u8]) -> Option<Reply> {
        self.stream += 1;
        let mut bytes = frame(Kind::Request, self.stream, request);
        if !data.is_empty() {
            bytes.extend(frame(Kind::Data, self.stream, data));
            bytes.extend(frame(Kind::End, self.stream, &postcard::to_stdvec(&Trailer::default()).expect("plain data")));
        }
        self.send(&bytes).await;
        self.reply().await
    }

    async fn send(&mut self, bytes: &[u8]) {
        // An agent that hung up is what the next read tells.
        self.writer.write_all(bytes).await.ok();
    }

    async fn reply(&mut self) -> Option<Reply> {
        let reply = async {
            loop {
                let frame = self.reader.next().await.ok()?;
                if frame.kind == Kind::Reply && frame.stream == self.stream {
                    return Some(postcard::from_bytes(&frame.payload).expect("an agent's answers can be read"));
                }
            }
        };
        tokio::time::timeout(SOON, reply).await.expect("the agent answers or hangs up")
    }

    fn apply(&self, ops: Vec<Op>) -> Request {
        Request::Apply(Apply { root: self.root, barrier: false, durable: false, ops })
    }
}

/// What a hostile sidecar sends about a root.
type Bytes<'a> = Box<dyn Fn(u32) -> Vec<u8> + 'a>;

fn encoded(request: &Request) -> Vec<u8> {
    postcard::to_stdvec(request).expect("requests are plain data")
}

fn frame(kind: Kind, stream: u64, payload: &[u8]) -> Vec<u8> {
    [Header { kind, stream, length: payload.len() }.encode().as_slice(), payload].concat()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn op(at: &str, expect: Expect, action: Action) -> Op {
    Op { path: path(at), expect, action }
}

fn put(size: u64) -> Action {
    let hash = Some(Hash(*blake3::hash(b"evil!").as_bytes()));
    Action::Put { size, hash, mode: 0o7777, mtime_ns: Some(i64::MIN) }
}

#[tokio::test]
async fn no_path_leads_out_of_the_root() {
    let place = Place::new();
    let before = place.outside();
    // What no path can say: another text of nine bytes is put where the encoding holds the path.
    let evil: [&[u8; 9]; 6] = [b"../../etc", b"a/../../x", b"/etc/evil", b"harm\0less", b"harm//les", b"./harmles"];
    for text in evil {
        let mut caller = place.call().await;
        let mut bytes = encoded(&caller.apply(vec![op("harm/less", Expect::Absent, put(5))]));
        let at = bytes.windows(9).position(|window| window == b"harm/less").expect("the request names the path");
        bytes[at..at + 9].copy_from_slice(text);
        assert_eq!(caller.ask_raw(&bytes, b"evil!").await, None, "{text:?} was taken");
    }
    // What is a path, but leads through a link.
    let mut caller = place.call().await;
    let link = || Action::Link { target: "../../outside".to_owned() };
    for (at, expect, action) in [
        ("way/new", Expect::Absent, put(5)),
        ("way/secret", Expect::Absent, put(5)),
        ("way/deep", Expect::Folder, Action::Remove),
        ("way/secret", Expect::Folder, Action::Remove),
        ("way/folder", Expect::Absent, Action::MakeFolder { mode: 0o7777 }),
        ("way/link", Expect::Absent, link()),
        ("way/secret", Expect::Folder, Action::SetMode { mode: 0o7777 }),
    ] {
        let data: &[u8] = if matches!(action, Action::Put { .. }) { b"evil!" } else { b"" };
        let mut request =
            frame(Kind::Request, caller.stream + 1, &encoded(&caller.apply(vec![op(at, expect, action)])));
        caller.stream += 1;
        if !data.is_empty() {
            request.extend(frame(Kind::Data, caller.stream, data));
        }
        let trailer = postcard::to_stdvec(&Trailer::default()).expect("plain data");
        request.extend(frame(Kind::End, caller.stream, &trailer));
        caller.send(&request).await;
        match caller.reply().await {
            Some(Reply::Applied(outcomes)) => {
                assert!(matches!(outcomes[..], [Outcome::Rejected(Rejected::Unsafe { .. })]), "{at}: {outcomes:?}");
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    for at in ["way/secret", "peep"] {
        let read = caller.ask(&Request::Read { root: caller.root, path: path(at) }, &[]).await;
        assert!(matches!(read, Some(Reply::Failed(_))), "{at}: {read:?}");
        let hash = Hash(*blake3::hash(b"secret").as_bytes());
        let entries = vec![Known { path: path(at), expect: Expect::File { hash, stamp: None } }];
        match caller.ask(&Request::Verify { root: caller.root, entries }, &[]).await {
            Some(Reply::Verified(differs)) => assert_eq!(differs.len(), 1, "{at} was followed"),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert_eq!(place.outside(), before);
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_cut_off_and_the_agent_lives_on() {
    let place = Place::new();
    let health = encoded(&Request::Health);
    let many = |count: u64, request: &[u8]| -> Vec<u8> {
        (0..count).flat_map(|number| frame(Kind::Request, 100 + number, request)).collect()
    };
    // A batch that waits for its data holds up those behind it, so that theirs are not taken out of the queue.
    let waiting = |root: u32| {
        let ops = vec![op("a", Expect::Absent, put(5))];
        encoded(&Request::Apply(Apply { root, barrier: true, durable: false, ops }))
    };
    let endless = |root: u32| {
        let ops = vec![op("b", Expect::Absent, put(u64::MAX)), op("c", Expect::Absent, put(u64::MAX))];
        let behind = encoded(&Request::Apply(Apply { root, barrier: false, durable: false, ops }));
        [frame(Kind::Request, 9, &waiting(root)), frame(Kind::Request, 10, &behind)].concat()
    };
    let cases: Vec<(&str, Bytes<'_>)> = vec![
        ("an oversized frame", Box::new(|_| [0xff; 16].to_vec())),
        ("an unknown kind", Box::new(|_| [0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec())),
        ("an answer", Box::new(|_| frame(Kind::Reply, 9, &[6]))),
        ("a stream of the past", Box::new(|_| frame(Kind::Request, 1, &health))),
        ("a request that cannot be read", Box::new(|_| frame(Kind::Request, 9, &[0xff; 64]))),
        (
            "a list that never ends",
            Box::new(|_| frame(Kind::Request, 9, &[3, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
        ),
        ("data for nothing", Box::new(|_| frame(Kind::Data, 99, &[0; 1000]))),
        (
            "data after their end",
            Box::new(|root| {
                let ended = [endless(root), frame(Kind::End, 10, &[0, 0])].concat();
                [ended, frame(Kind::Data, 10, &[0; 1000])].concat()
            }),
        ),
        ("more streams than may be", Box::new(|root| many(MAX_STREAMS as u64 + 1, &waiting(root)))),
        (
            "more data than may be",
            Box::new(|root| [endless(root), frame(Kind::Data, 10, &[0; MAX_BULK_DATA]).repeat(64)].concat()),
        ),
        (
            "a flood of tiny data",
            Box::new(|root| [endless(root), frame(Kind::Data, 10, &[0]).repeat(200_000)].concat()),
        ),
        ("credit for nothing", Box::new(|_| frame(Kind::Credit, 99, &[1, 0, 0, 0]))),
        ("credit without end", Box::new(|root| [endless(root), frame(Kind::Credit, 9, &[0xff; 4])].concat())),
    ];
    for (what, bytes) in cases {
        let mut caller = place.call().await;
        let bytes = bytes(caller.root);
        let cut = async {
            caller.send(&bytes).await;
            while caller.reader.next().await.is_ok() {}
        };
        tokio::time::timeout(SOON, cut).await.unwrap_or_else(|_| panic!("{what}: not cut off"));
        let mut next = place.call().await;
        assert!(matches!(next.ask_raw(&health, &[]).await, Some(Reply::Health(_))), "{what}: the agent is gone");
    }
    assert!(!place.folder.path().join("home/copy/a").exists(), "half a file has a name");
}

/// Numbers that look random, the same each time (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("it is below a usize")
    }
}

#[tokio::test]
async fn mutated_requests_change_nothing_outside() {
    let place = Place::new();
    let before = place.outside();
    let mut random = Random(20_261_120);
    let mut caller = place.call().await;
    let ops = || {
        vec![
            op("plain/file", Expect::File { hash: Hash([0; 32]), stamp: None }, put(5)),
            op("way/secret", Expect::Absent, Action::Link { target: "../x".to_owned() }),
            op("peep", Expect::Link { target: "../../outside/secret".to_owned() }, Action::SetMode { mode: 0o777 }),
            op("plain", Expect::Folder, Action::Remove),
            op("way/deep", Expect::Folder, Action::Remove),
        ]
    };
    for _ in 0..1500 {
        let entries = ops().into_iter().map(|op| Known { path: op.path, expect: op.expect }).collect();
        let request = match random.below(3) {
            0 => Request::Verify { root: caller.root, entries },
            1 => Request::Read { root: caller.root, path: path("way/secret") },
            _ => caller.apply(ops()),
        };
        let mut bytes = encoded(&request);
        // The first byte stays, so that no other folder is opened in the name of the test.
        for _ in 0..=random.below(3) {
            let at = 1 + random.below(bytes.len() - 1);
            bytes[at] = u8::try_from(random.below(256)).expect("it is below 256");
        }
        caller.stream += 1;
        let mut conversation = frame(Kind::Request, caller.stream, &bytes);
        if matches!(request, Request::Apply(_)) {
            conversation.extend(frame(Kind::Data, caller.stream, b"evil!"));
            conversation.extend(frame(Kind::End, caller.stream, &[0, 0]));
        }
        caller.send(&conversation).await;
        if caller.reply().await.is_none() {
            caller = place.call().await;
        }
    }
    assert_eq!(place.outside(), before);
    assert!(fs::read_dir(Path::new(place.folder.path()).join("home")).expect("a folder").count() <= 2);
}

/// A packed payload that says it holds `length` bytes.
fn saying(length: u32, payload: &[u8]) -> Vec<u8> {
    [length.to_le_bytes().as_slice(), &payload[4..]].concat()
}

#[tokio::test]
async fn packed_data_are_taken_for_what_they_hold() {
    let place = Place::new();
    let text = b"words that come again and again, ".repeat(3000);
    let length = u32::try_from(text.len()).expect("it is short");
    let payload = wire::packed::pack(&text).expect("it is worth it");
    let writing = |caller: &mut Caller, size: u32| {
        caller.stream += 1;
        let hash = Some(Hash(*blake3::hash(&text).as_bytes()));
        let action = Action::Put { size: u64::from(size), hash, mode: 0o644, mtime_ns: None };
        frame(Kind::Request, caller.stream, &encoded(&caller.apply(vec![op("packed", Expect::Absent, action)])))
    };
    let with_end = |caller: &Caller, mut bytes: Vec<u8>, payload: &[u8]| {
        bytes.extend(frame(Kind::Packed, caller.stream, payload));
        bytes.extend(frame(Kind::End, caller.stream, &[0, 0]));
        bytes
    };

    let whole = payload.len();
    let noise = [length.to_le_bytes().as_slice(), &[0x5a; 2000]].concat();
    let refused: [(&str, u32, Vec<u8>); 4] = [
        ("a bomb", 50_000, saying(50_000, &payload)),
        ("fewer than announced", length + 1, saying(length + 1, &payload)),
        ("half of it", length, payload[..whole / 2].to_vec()),
        ("noise", length, noise),
    ];
    let mut caller = place.call().await;
    for (name, size, payload) in refused {
        let request = writing(&mut caller, size);
        let bytes = with_end(&caller, request, &payload);
        caller.send(&bytes).await;
        match caller.reply().await {
            Some(Reply::Failed(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    // The same link goes on, and what is true is written.
    let request = writing(&mut caller, length);
    let bytes = with_end(&caller, request, &payload);
    caller.send(&bytes).await;
    let Some(Reply::Applied(done)) = caller.reply().await else { panic!("it is as announced") };
    assert!(matches!(done[..], [Outcome::Applied { .. }]), "{done:?}");
    assert_eq!(fs::read(place.folder.path().join("home/copy/packed")).expect("it was written"), text);

    let beyond = u32::try_from(MAX_BULK_DATA).expect("a frame is small") + 1;
    for (name, payload) in [
        ("nothing announced", vec![1, 2, 3]),
        ("no bytes", saying(0, &payload)),
        ("shorter than what came", saying(10, &payload)),
        ("more than a frame", saying(beyond, &payload)),
        ("all there is", saying(u32::MAX, &payload)),
    ] {
        let mut caller = place.call().await;
        let request = writing(&mut caller, length);
        let bytes = with_end(&caller, request, &payload);
        caller.send(&bytes).await;
        assert_eq!(caller.reply().await, None, "{name}");
    }
    // What counts against the credit is what they hold, not what came: behind a batch that waits for its bytes
    // nothing is used up, and two such frames are more than may be on the way.
    let mut caller = place.call().await;
    caller.stream += 1;
    let ops = vec![op("first", Expect::Absent, put(5))];
    let first = Request::Apply(Apply { root: caller.root, barrier: true, durable: false, ops });
    let mut bytes = frame(Kind::Request, caller.stream, &encoded(&first));
    bytes.extend(writing(&mut caller, length));
    for _ in 0..2 {
        bytes.extend(frame(Kind::Packed, caller.stream, &saying(beyond - 1, &payload)));
    }
    caller.send(&bytes).await;
    assert_eq!(caller.reply().await, None);
    // Who does not know packed data sends none.
    let mut caller = place.call_as(OLDEST).await;
    let request = writing(&mut caller, length);
    let bytes = with_end(&caller, request, &payload);
    caller.send(&bytes).await;
    assert_eq!(caller.reply().await, None);
}
