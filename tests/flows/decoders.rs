//! Every decoder against mutated samples of what it reads: no panic, no endless run, and never a path that leads
//! out. The same inputs each time; `MLT_SOAK=1` takes fifty times as many.

use std::time::{Duration, Instant};

use agent::delta::{ChunkList, cut_all};
use agent::wire::{self, FrameReader, packed};
use harness::edits::Random;
use protocol::agent::{Apply, Holder, Open, Opened, Reply, Request, Trailer};
use protocol::editor::{
    ContainerExecParams, RemoteAddParams, SyncFlushParams, SyncPullParams, SyncPushParams, SyncResolveParams,
    SyncWatchParams,
};
use protocol::error::{Code, Error};
use protocol::frame::{HEADER, Header, Kind};
use protocol::hello::{Hello, PROTOCOL};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Content, Differs, Expect, Found, Hash, Known, Op, Outcome, Rejected, Stamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Inputs of each decoder.
fn rounds() -> usize {
    if harness::skip::soak() { 1_000_000 } else { 20_000 }
}

/// The longest that one input may take on a busy machine.
const LONGEST: Duration = Duration::from_secs(5);

/// Changes, removes, doubles and cuts bytes.
fn mutated(random: &mut Random, sample: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random.below(bytes.len());
        let byte = u8::try_from(random.below(256)).expect("it is below 256");
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, byte),
            3 => bytes[at] ^= 1 << random.below(8),
            4 => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'/', b'.', b'"', b'{', b'\n']),
            5 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes[at] = byte,
        }
    }
    bytes
}

/// Gives a decoder so many mutations of each sample.
fn check(what: &str, samples: &[Vec<u8>], mut decode: impl FnMut(&[u8])) {
    let mut random = Random::new(20_261_120);
    for sample in samples {
        decode(sample);
    }
    for _ in 0..rounds() {
        let sample = random.pick(samples).clone();
        let bytes = mutated(&mut random, &sample);
        let began = Instant::now();
        decode(&bytes);
        assert!(began.elapsed() < LONGEST, "{what} takes for ever with {bytes:?}");
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn stamp() -> Stamp {
    Stamp { size: 5, mtime_ns: -1, ctime_ns: i64::MAX, inode: 7, device: 1 }
}

fn found() -> Found {
    let content = Content::File { hash: Hash([9; 32]), size: 5, executable: true };
    Found { content, stamp: Some(stamp()) }
}

fn requests() -> Vec<Request> {
    let expects = [
        Expect::Absent,
        Expect::File { hash: Hash([1; 32]), stamp: Some(stamp()) },
        Expect::Folder,
        Expect::Link { target: "a".to_owned() },
    ];
    let actions = [
        Action::MakeFolder { mode: 0o755 },
        Action::Put { size: 5, hash: Some(Hash([2; 32])), mode: 0o644, mtime_ns: Some(1) },
        Action::Link { target: "../a".to_owned() },
        Action::SetMode { mode: 0o700 },
        Action::Remove,
    ];
    let op = |(index, action): (usize, Action)| Op {
        path: path(&format!("folder/file-{index}")),
        expect: expects[index % 4].clone(),
        action,
    };
    let ops: Vec<Op> = actions.into_iter().enumerate().map(op).collect();
    let entries = ops.iter().map(|op| Known { path: op.path.clone(), expect: op.expect.clone() }).collect();
    let holder = Holder { id: "id".to_owned(), label: "ada@here:/project".to_owned() };
    let open = Open { path: RemotePath::new("~/copy").expect("a path"), create: true, holder, take_over: false };
    vec![
        Request::Health,
        Request::Open(open),
        Request::Verify { root: 1, entries },
        Request::Apply(Apply { root: 1, barrier: true, durable: false, ops }),
        Request::Read { root: 1, path: path("a/b") },
        Request::Log { lines: 100 },
    ]
}

fn replies() -> Vec<Reply> {
    let error = Error { code: Code::Bug, message: "m".to_owned(), help: "H.".to_owned(), causes: vec!["c".to_owned()] };
    let opened = Opened {
        root: 1,
        path: "/home/ada/copy".to_owned(),
        copy: "id".to_owned(),
        created: true,
        empty: true,
        free_bytes: 1 << 40,
        ignores_case: false,
    };
    vec![
        Reply::Opened(opened),
        Reply::Verified(vec![Differs { path: path("a/b"), found: Some(found()), problem: Some("p".to_owned()) }]),
        Reply::Applied(vec![
            Outcome::Applied { stamp: Some(stamp()), kept_as: Some(path("a/kept")) },
            Outcome::Already { stamp: None },
            Outcome::Rejected(Rejected::Changed { found: Some(found()) }),
            Outcome::Rejected(Rejected::Unsafe { reason: "r".to_owned() }),
        ]),
        Reply::Log(vec!["line".to_owned()]),
        Reply::Failed(error),
    ]
}

fn samples<T: Serialize>(values: &[T]) -> Vec<Vec<u8>> {
    values.iter().map(|value| postcard::to_stdvec(value).expect("plain data")).collect()
}

fn is_inside(path: &RelPath) -> bool {
    let text = path.as_str();
    let plain = |name: &str| !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
    !text.contains('\0') && text.len() <= 4096 && text.split('/').all(plain)
}

#[test]
fn requests_and_replies() {
    check("a request", &samples(&requests()), |bytes| match postcard::from_bytes::<Request>(bytes) {
        Ok(Request::Verify { entries, .. }) => assert!(entries.iter().all(|known| is_inside(&known.path))),
        Ok(Request::Apply(apply)) => assert!(apply.ops.iter().all(|op| is_inside(&op.path))),
        Ok(Request::Read { path, .. }) => assert!(is_inside(&path)),
        Ok(_) | Err(_) => {}
    });
    check("a reply", &samples(&replies()), |bytes| match postcard::from_bytes::<Reply>(bytes) {
        Ok(Reply::Verified(differs)) => assert!(differs.iter().all(|differ| is_inside(&differ.path))),
        Ok(Reply::Applied(outcomes)) => {
            for outcome in outcomes {
                if let Outcome::Applied { kept_as: Some(kept), .. } = outcome {
                    assert!(is_inside(&kept));
                }
            }
        }
        Ok(_) | Err(_) => {}
    });
    check("a trailer", &samples(&[Trailer { hash: Some(Hash([3; 32])), error: None }]), |bytes| {
        postcard::from_bytes::<Trailer>(bytes).ok();
    });
}

#[test]
fn a_list_takes_no_more_memory_than_a_batch() {
    for entries in [4096_usize, 4097, 2_000_000] {
        let reply = postcard::to_stdvec(&Reply::Log(vec![String::new(); entries])).expect("plain data");
        assert_eq!(postcard::from_bytes::<Reply>(&reply).is_ok(), entries <= 4096, "{entries}");
    }
}

#[test]
fn frames_and_hellos() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let hello =
        Hello { protocol: PROTOCOL, oldest: None, version: "1".to_owned(), facts: Some(agent::facts::gather()) };
    let mut conversation = b"Welcome!\n".to_vec();
    runtime.block_on(wire::send_hello(&mut conversation, &hello)).expect("memory takes it");
    for (stream, payload) in (1..).zip(samples(&requests())) {
        conversation.extend(Header { kind: Kind::Request, stream, length: payload.len() }.encode());
        conversation.extend(payload);
        conversation.extend(Header { kind: Kind::Credit, stream, length: 4 }.encode());
        conversation.extend([0, 0, 1, 0]);
    }
    check("a conversation", &[conversation], |bytes| {
        runtime.block_on(async {
            let mut reader = FrameReader::new(bytes);
            if reader.hello().await.is_ok() {
                let mut read = 0;
                while let Ok(frame) = reader.next().await {
                    read += frame.payload.len();
                    assert!(read <= bytes.len(), "more came than went");
                }
            }
        });
    });
    let header = Header { kind: Kind::Data, stream: 7, length: 1000 }.encode();
    check("a header", &[header.to_vec()], |bytes| {
        if let Some(bytes) = bytes.first_chunk::<HEADER>()
            && let Ok(header) = Header::decode(bytes)
        {
            assert_eq!(header.encode(), *bytes, "two texts for one header");
        }
    });
}

fn json<T: Serialize + DeserializeOwned + Default>(what: &str, sample: &str) {
    let full = serde_json::to_vec(&T::default()).expect("parameters are JSON");
    check(what, &[full, sample.as_bytes().to_vec()], |bytes| {
        serde_json::from_slice::<T>(bytes).ok();
    });
}

#[test]
fn paths_and_parameters() {
    let texts = ["a/b/c.py", "../x", "/etc/passwd", "a/./b", "ü/日本", "~/copy", "a\0b"];
    check("a path", &texts.map(|text| text.as_bytes().to_vec()), |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Ok(path) = RelPath::new(text.clone()) {
            assert!(is_inside(&path), "{path:?}");
        }
        if let Ok(path) = RemotePath::new(text) {
            assert!(path.as_str().split('/').all(|name| name != "..") && !path.as_str().contains('\0'), "{path:?}");
        }
    });
    json::<RemoteAddParams>("remote/add", r#"{"name":"gpu1","host":"1.2.3.4","port":22,"user":"ada"}"#);
    json::<SyncPushParams>(
        "sync/push",
        r#"{"dir":"/p","to":"~/c","dryRun":true,"exclude":["*.log"],"include":[],"pull":["*.csv"],"mirror":true}"#,
    );
    json::<SyncPullParams>("sync/pull", r#"{"paths":["runs/","*.log"],"dryRun":true}"#);
    json::<SyncWatchParams>("sync/watch", r#"{"dir":"/p","foreground":true,"takeOver":false}"#);
    json::<SyncFlushParams>("sync/flush", r#"{"durable":true,"timeout":5}"#);
    json::<SyncResolveParams>("sync/resolve", r#"{"paths":["a"],"take":"both","all":false}"#);
    json::<ContainerExecParams>("container/exec", r#"{"host":true,"sudo":false,"command":["ls","-l"]}"#);
}

#[test]
fn packed_data_and_chunk_lists() {
    let text = "some words that repeat themselves\n".repeat(4_000);
    let packed = packed::pack(text.as_bytes()).expect("it saves something");
    check("packed data", &[packed.to_vec()], |bytes| {
        if let (Ok(length), Ok(unpacked)) = (packed::announced(bytes), packed::unpack(bytes)) {
            assert_eq!(unpacked.len(), length, "more or less than was announced");
        }
    });
    let mut random = Random::new(7);
    let noise: Vec<u8> = (0..2_000_000).map(|_| u8::try_from(random.below(256)).expect("below 256")).collect();
    let mut rest = noise.as_slice();
    let list = cut_all(&mut |buffer| std::io::Read::read(&mut rest, buffer)).expect("memory can be read");
    let size = list.size();
    check("a list of chunks", &[list.encode().expect("it is short")], |bytes| {
        if let Some(decoded) = ChunkList::decode(bytes, size) {
            assert_eq!(decoded.size(), size, "chunks of another file");
        }
    });
}
