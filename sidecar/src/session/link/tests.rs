//! A link against an agent in this process, and against what is none.

use std::sync::Arc;

use agent::serve::{Agent, Config};
use protocol::agent::{Apply, Holder, Open, Trailer};
use protocol::frame::{Header, MAX_BULK_DATA};
use protocol::hello::{MAX_CHATTER, OLDEST};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Content, Expect, Found, Hash, Op, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::transport::local;

mod slow;

async fn link() -> Link {
    let agent = Arc::new(Agent::new(Config { log: None }));
    let (reader, writer) = tokio::io::split(local::dial(&agent));
    Link::open(reader, writer).await.expect("the agent in this process answers")
}

#[tokio::test]
async fn asks_and_is_answered() {
    let link = link().await;
    assert!(!link.facts().os.is_empty());
    let reply = link.call(Request::Health).await.expect("an answer");
    assert!(matches!(reply, Reply::Health(health) if health.links == 1 && health.pid == std::process::id()));
}

#[tokio::test]
async fn many_questions_overlap() {
    let link = Arc::new(link().await);
    let asked: Vec<_> = (0..1000)
        .map(|_| {
            let link = Arc::clone(&link);
            tokio::spawn(async move { link.call(Request::Health).await })
        })
        .collect();
    for answer in asked {
        assert!(matches!(answer.await.expect("no panic"), Ok(Reply::Health(_))));
    }
}

#[tokio::test]
async fn an_unknown_root_is_an_answer() {
    let link = link().await;
    let reply = link.call(Request::Flush { root: 7 }).await.expect("an answer");
    assert!(matches!(reply, Reply::Failed(error) if error.code == protocol::error::Code::SyncRoot));
}

/// The agent's end of a pipe, played by the test after both hellos.
async fn fake(version: u32) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<Result<Link, LinkError>>) {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(ours);
    let opening = tokio::spawn(Link::open(reader, writer));
    let hello = Hello { protocol: version, oldest: None, version: "9.9.9".to_owned(), facts: None };
    theirs.write_all(b"Welcome to gpu1!\r\nLast login: today\n").await.expect("the pipe is open");
    wire::send_hello(&mut theirs, &hello).await.expect("the pipe is open");
    (theirs, opening)
}

fn frame(kind: Kind, stream: u64, payload: &[u8]) -> Vec<u8> {
    [Header { kind, stream, length: payload.len() }.encode().as_slice(), payload].concat()
}

fn encoded(reply: &Reply) -> Vec<u8> {
    frame(Kind::Reply, 1, &postcard::to_stdvec(reply).expect("replies are plain data"))
}

fn reading() -> Reply {
    Reply::Reading(Found { content: Content::Folder, stamp: None })
}

fn read_request() -> Request {
    Request::Read { root: 1, path: RelPath::new("a").expect("a plain path") }
}

/// Asks, lets the agent answer with `bytes`, takes all that comes, and returns how it ended.
async fn ends_with(request: Request, bytes: Vec<u8>) -> Result<Trailer, LinkError> {
    let (mut theirs, opening) = fake(PROTOCOL).await;
    let link = opening.await.expect("no panic").expect("a good hello");
    let mut exchange = link.exchange(request).await.expect("the link is open");
    let sending = tokio::spawn(async move {
        // The link may close the pipe before it took everything: that is what is tested.
        drop(theirs.write_all(&bytes).await);
        drop(theirs.flush().await);
        let mut sink = vec![0; 64 * 1024];
        while matches!(theirs.read(&mut sink).await, Ok(1..)) {}
    });
    let outcome = async {
        exchange.reply().await?;
        loop {
            if let Piece::End(trailer) = exchange.data().await? {
                return Ok(trailer);
            }
        }
    }
    .await;
    drop((exchange, link));
    sending.await.expect("the link closes the pipe");
    outcome
}

#[tokio::test]
async fn a_chatty_shell_is_skipped() {
    let (_theirs, opening) = fake(PROTOCOL).await;
    assert_eq!(opening.await.expect("no panic").expect("a link").version(), "9.9.9");
}

#[tokio::test]
async fn other_versions_are_told_apart() {
    let (_theirs, opening) = fake(PROTOCOL + 1).await;
    assert!(matches!(opening.await.expect("no panic"), Err(LinkError::AgentNewer { .. })));
    let (_theirs, opening) = fake(OLDEST - 1).await;
    assert!(matches!(opening.await.expect("no panic"), Err(LinkError::AgentOlder { .. })));
    let (_theirs, opening) = fake(OLDEST).await;
    assert_eq!(opening.await.expect("no panic").expect("a link").protocol(), OLDEST);
}

#[tokio::test]
async fn a_menu_in_place_of_an_agent_is_shown() {
    for length in [0, 1000, 400_000] {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(ours);
        let opening = tokio::spawn(Link::open(reader, writer));
        drop(theirs.write_all(&vec![b'x'; length]).await);
        drop(theirs.write_all(b"\nThis account is not available.\n").await);
        drop(theirs);
        let error = opening.await.expect("no panic").expect_err("no agent");
        match error {
            LinkError::NoAgent { said } => {
                assert!(length > MAX_CHATTER || said.0.contains("not available"), "{said:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_hostile_agent_costs_an_error() {
    let twice = [encoded(&reading()), encoded(&reading())].concat();
    let mut oversize = frame(Kind::Reply, 1, b"");
    oversize[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let credits: Vec<u8> = std::iter::repeat_n(frame(Kind::Credit, 1, &u32::MAX.to_le_bytes()), 3).flatten().collect();
    let cases: Vec<(&str, Request, Vec<u8>)> = vec![
        ("an oversize frame", Request::Health, oversize),
        ("an unknown kind", Request::Health, [&[0; 4], [99, 0, 0, 0].as_slice(), &[0; 8]].concat()),
        ("an unknown stream", Request::Health, frame(Kind::Reply, 77, b"")),
        ("a garbage reply", Request::Health, frame(Kind::Reply, 1, &[0xff; 40])),
        ("another kind of reply", Request::Health, encoded(&Reply::Done)),
        ("too many outcomes", Request::Verify { root: 1, entries: Vec::new() }, encoded(&Reply::Applied(Vec::new()))),
        ("two replies", read_request(), twice),
        ("data unasked", read_request(), frame(Kind::Data, 1, b"x")),
        ("an end unasked", read_request(), frame(Kind::End, 1, b"")),
        ("a garbage end", read_request(), [encoded(&reading()), frame(Kind::End, 1, &[0xff; 9])].concat()),
        ("a request", Request::Health, frame(Kind::Request, 1, b"")),
        ("a second hello", Request::Health, frame(Kind::Hello, 0, b"{}")),
        ("a ping with a payload", Request::Health, frame(Kind::Ping, 0, b"x")),
        ("credit without end", Request::Health, credits),
        ("packed data unasked", read_request(), frame(Kind::Packed, 1, &[9, 0, 0, 0, 1])),
        ("packed data of no length", read_request(), [encoded(&reading()), frame(Kind::Packed, 1, &[0; 4])].concat()),
        ("packed data longer than what they hold", read_request(), {
            [encoded(&reading()), frame(Kind::Packed, 1, &[4, 0, 0, 0, 1, 2, 3, 4])].concat()
        }),
        ("packed data of more than a frame", read_request(), {
            [encoded(&reading()), frame(Kind::Packed, 1, &[0, 0, 5, 0, 1, 2, 3, 4])].concat()
        }),
        ("packed noise", read_request(), {
            [encoded(&reading()), frame(Kind::Packed, 1, &[0, 0, 1, 0, 1, 2, 3, 4])].concat()
        }),
        ("a bomb", read_request(), {
            let mut payload = wire::packed::pack(&[0; MAX_BULK_DATA]).expect("zeros are worth it").to_vec();
            payload[..4].copy_from_slice(&100_000_u32.to_le_bytes());
            [encoded(&reading()), frame(Kind::Packed, 1, &payload)].concat()
        }),
        ("data larger than any may be", read_request(), {
            let mut bytes = frame(Kind::Data, 1, &[0; 16]);
            bytes[..4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
            [encoded(&reading()), bytes].concat()
        }),
    ];
    for (name, request, bytes) in cases {
        let error = ends_with(request, bytes).await.expect_err(name);
        assert!(matches!(error, LinkError::Protocol { .. }), "{name}: {error:?}");
        assert_eq!(protocol::error::Explain::code(&error), protocol::error::Code::AgentProtocol, "{name}");
    }
}

#[tokio::test]
async fn data_beyond_their_credit_end_the_link() {
    let (mut theirs, opening) = fake(PROTOCOL).await;
    let link = opening.await.expect("no panic").expect("a good hello");
    let mut exchange = link.exchange(read_request()).await.expect("the link is open");
    theirs.write_all(&encoded(&reading())).await.expect("the pipe is open");
    assert!(matches!(exchange.reply().await, Ok(Reply::Reading(_))));
    let data = frame(Kind::Data, 1, &vec![0; MAX_BULK_DATA]);
    // Nobody takes the data, so a pipe that still takes them is the only sign of life.
    let taken = async { while theirs.write_all(&data).await.is_ok() {} };
    tokio::join!(taken, link.closed());
    assert!(matches!(link.failure(), LinkError::Protocol { .. }), "{:?}", link.failure());
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_dead_within_45_seconds() {
    let (_theirs, opening) = fake(PROTOCOL).await;
    let link = opening.await.expect("no panic").expect("a good hello");
    let began = tokio::time::Instant::now();
    link.closed().await;
    assert!(began.elapsed() <= wire::DEAD_AFTER, "{:?}", began.elapsed());
    assert!(matches!(link.failure(), LinkError::Silent), "{:?}", link.failure());
    assert!(matches!(link.call(Request::Health).await, Err(LinkError::Silent)));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_sign_of_life_fails_alone() {
    let (theirs, opening) = fake(PROTOCOL).await;
    let link = opening.await.expect("no panic").expect("a good hello");
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let pongs = tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
            if writer.write_all(&frame(Kind::Pong, 0, b"")).await.is_err() {
                return;
            }
        }
    });
    let swallow = tokio::spawn(async move {
        let mut sink = vec![0; 1024];
        while matches!(reader.read(&mut sink).await, Ok(1..)) {}
    });
    assert!(matches!(link.call(Request::Health).await, Err(LinkError::Slow { .. })));
    assert!(!link.is_closed());
    drop(link);
    pongs.await.expect("the pipe ends");
    swallow.await.expect("the pipe ends");
}

/// A root in a new folder, opened over a link.
async fn root(link: &Link, folder: &std::path::Path) -> u32 {
    let open = Open {
        path: RemotePath::new(folder.join("copy").display().to_string()).expect("a plain path"),
        create: true,
        holder: Holder { id: "test".to_owned(), label: "test".to_owned() },
        take_over: false,
    };
    match link.call(Request::Open(open)).await.expect("an answer") {
        Reply::Opened(opened) => opened.root,
        other => panic!("{other:?}"),
    }
}

fn put(root: u32, name: &str, bytes: &[u8], barrier: bool) -> Request {
    let action = Action::Put {
        size: bytes.len() as u64,
        hash: Some(Hash(*blake3::hash(bytes).as_bytes())),
        mode: 0o644,
        mtime_ns: None,
    };
    let path = RelPath::new(name).expect("a plain path");
    let ops = vec![Op { path, expect: Expect::Absent, action }];
    Request::Apply(Apply { root, barrier, durable: false, ops })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_go_there_and_come_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = Arc::new(link().await);
    let root = root(&link, folder.path()).await;
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 3 == 0)]).collect();
    let bytes = Bytes::from(bytes);
    let sent: Vec<_> = (0..6)
        .map(|number| {
            let (link, bytes) = (Arc::clone(&link), bytes.clone());
            tokio::spawn(async move {
                let mut exchange = link.exchange(put(root, &format!("f{number}"), &bytes, number == 3)).await?;
                exchange.send(bytes).await?;
                exchange.finish(Trailer::default()).await?;
                exchange.reply().await
            })
        })
        .collect();
    for reply in sent {
        let reply = reply.await.expect("no panic").expect("an answer");
        assert!(matches!(&reply, Reply::Applied(done) if matches!(done[..], [Outcome::Applied { .. }])), "{reply:?}");
    }
    let path = RelPath::new("f3").expect("a plain path");
    let mut exchange = link.exchange(Request::Read { root, path }).await.expect("the link is open");
    assert!(matches!(exchange.reply().await, Ok(Reply::Reading(_))));
    let mut hasher = blake3::Hasher::new();
    let trailer = loop {
        match exchange.data().await.expect("data") {
            Piece::Data(piece) => drop(hasher.update(&piece)),
            Piece::End(trailer) => break trailer,
        }
    };
    assert_eq!(hasher.finalize(), blake3::hash(&bytes));
    assert_eq!(trailer.hash, Some(Hash(*blake3::hash(&bytes).as_bytes())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_batches_are_written_at_the_same_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = link().await;
    let root = root(&link, folder.path()).await;
    let mut first = link.exchange(put(root, "first", &[1; 5000], false)).await.expect("the link is open");
    first.send(Bytes::from_static(&[1; 100])).await.expect("room");
    // The first one waits for its bytes, and the second is done meanwhile.
    let mut second = link.exchange(put(root, "second", &[2; 5000], false)).await.expect("the link is open");
    for (exchange, rest) in
        [(&mut second, Bytes::from_static(&[2; 5000])), (&mut first, Bytes::from_static(&[1; 4900]))]
    {
        exchange.send(rest).await.expect("room");
        exchange.finish(Trailer::default()).await.expect("room");
        let reply = exchange.reply().await.expect("an answer");
        assert!(matches!(&reply, Reply::Applied(done) if matches!(done[..], [Outcome::Applied { .. }])), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_body_leaves_nothing_and_holds_nobody_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = link().await;
    let root = root(&link, folder.path()).await;
    for _ in 0..MAX_STREAMS + 10 {
        let mut exchange = link.exchange(put(root, "half", &[7; 5000], true)).await.expect("the link is open");
        exchange.send(Bytes::from_static(&[7; 100])).await.expect("room");
    }
    let mut exchange = link.exchange(put(root, "whole", &[7; 5000], true)).await.expect("the link is open");
    exchange.send(Bytes::from_static(&[7; 5000])).await.expect("room");
    exchange.finish(Trailer::default()).await.expect("room");
    assert!(matches!(exchange.reply().await, Ok(Reply::Applied(_))));
    assert!(!folder.path().join("copy/half").exists());
    assert!(folder.path().join("copy/whole").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_nobody_reads_holds_up_nobody_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = link().await;
    let root = root(&link, folder.path()).await;
    std::fs::write(folder.path().join("copy/large"), vec![1; 30_000_000]).expect("a file");
    let path = RelPath::new("large").expect("a plain path");
    let mut idle = link.exchange(Request::Read { root, path }).await.expect("the link is open");
    assert!(matches!(idle.reply().await, Ok(Reply::Reading(_))));
    for _ in 0..100 {
        assert!(matches!(link.call(Request::Health).await, Ok(Reply::Health(_))));
    }
}
