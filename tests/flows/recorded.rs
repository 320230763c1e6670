//! The version promise: sessions that earlier protocol versions recorded are played against the programs of today.
//!
//! Once the recorded sidecar speaks to today's agent, once today's sidecar to the recorded agent.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use agent::wire::{self, Frame, FrameReader};
use harness::work::Work;
use protocol::agent::{Reply, Request, Trailer};
use protocol::frame::{Header, INITIAL_CREDIT, Kind, cost};
use protocol::hello::{OLDEST, PROTOCOL};
use sidecar::session::link::Link;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, DuplexStream};

mod script;
mod tape;

use script::{Answer, comparable};
use tape::Tape;

/// Set to `1`, the session is written to the fixtures of the protocol version that this build speaks.
const RECORD: &str = "MLT_RECORD";

/// Protocol versions before the present one whose sessions are kept.
fn earlier() -> impl Iterator<Item = (u32, Tape)> {
    (OLDEST..PROTOCOL).map(|version| (version, Tape::read(&fixtures(version))))
}

fn fixtures(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/protocol-{version}"))
}

/// Returns the answers of the agent in a recording, by stream.
async fn answers(agent: &[u8]) -> Vec<Answer> {
    let (_, frames) = tape::frames(agent).await;
    let mut answers: Vec<(u64, Answer)> = Vec::new();
    for frame in frames {
        let open = answers.iter_mut().find(|(stream, _)| *stream == frame.stream);
        match (frame.kind, open) {
            (Kind::Reply, None) => {
                let reply = postcard::from_bytes(&frame.payload).expect("a reply");
                answers.push((frame.stream, Answer { reply, data: Vec::new(), trailer: None }));
            }
            (Kind::Data, Some((_, answer))) => answer.data.extend_from_slice(&frame.payload),
            (Kind::End, Some((_, answer))) => {
                answer.trailer = Some(postcard::from_bytes(&frame.payload).expect("a trailer"));
            }
            (Kind::Credit | Kind::Ping | Kind::Pong, _) => {}
            (kind, _) => panic!("{kind:?} has no place in an agent's recording"),
        }
    }
    answers.into_iter().map(|(_, answer)| comparable(answer)).collect()
}

#[tokio::test]
async fn a_session_of_this_version_can_be_recorded_and_played_again() {
    let (tape, played) = Tape::record().await;
    let played: Vec<Answer> = played.into_iter().map(comparable).collect();
    assert_eq!(answers(&tape.agent).await, played);
    sidecar_of(&tape, PROTOCOL).await;
    agent_of(&tape, PROTOCOL).await;
    if std::env::var_os(RECORD).is_some_and(|value| value == "1") {
        tape.write(&fixtures(PROTOCOL));
    }
}

#[tokio::test]
async fn todays_agent_answers_earlier_sidecars_as_theirs_did() {
    for (version, tape) in earlier() {
        sidecar_of(&tape, version).await;
    }
}

#[tokio::test]
async fn todays_sidecar_asks_earlier_agents_what_theirs_did() {
    for (version, tape) in earlier() {
        agent_of(&tape, version).await;
    }
}

/// Plays the sidecar of a recording against today's `mlt`: every answer has to be the recorded one.
async fn sidecar_of(tape: &Tape, version: u32) {
    let (hello, frames) = tape::frames(&tape.sidecar).await;
    assert_eq!(hello.protocol, version);
    let work = Work::new();
    let mut proxy = tape::daemon(&work);
    let mut writer = proxy.stdin.take().expect("a pipe");
    let mut reader = FrameReader::new(proxy.stdout.take().expect("a pipe"));
    wire::send_hello(&mut writer, &hello).await.expect("mlt reads");
    reader.hello().await.expect("mlt answers");
    let mut heard = Heard { reader, credit: HashMap::new(), said: Vec::new() };
    for frame in frames {
        match frame.kind {
            Kind::Data => heard.wait_for_credit(&frame).await,
            // Requests came one after the other.
            Kind::Request => heard.wait_for_answers(frame.stream).await,
            Kind::End | Kind::Credit | Kind::Ping | Kind::Pong => {}
            Kind::Hello | Kind::Reply | Kind::Cancel | Kind::Packed => panic!("{:?} was recorded", frame.kind),
        }
        send(&mut writer, &frame).await;
    }
    heard.wait_for_answers(u64::MAX).await;
    assert_eq!(answers(&heard.said).await, answers(&tape.agent).await, "of protocol {version}");
}

/// What today's agent said so far.
struct Heard<R> {
    reader: FrameReader<R>,
    /// What may still be sent on each stream, and whether it was answered.
    credit: HashMap<u64, (usize, bool)>,
    /// All of it, as a recording.
    said: Vec<u8>,
}

impl<R: tokio::io::AsyncRead + Unpin> Heard<R> {
    async fn hear(&mut self) {
        let frame = self.reader.next().await.expect("mlt goes on");
        if self.said.is_empty() {
            wire::send_hello(&mut self.said, &wire::own_hello()).await.expect("memory");
        }
        send(&mut self.said, &frame).await;
        let Some((credit, answered)) = self.credit.get_mut(&frame.stream) else { return };
        match frame.kind {
            Kind::Credit => *credit += wire::credit(&frame),
            Kind::Reply => {
                let reply: Reply = postcard::from_bytes(&frame.payload).expect("a reply");
                *answered = !matches!(reply, Reply::Reading(_));
            }
            Kind::End => *answered = true,
            Kind::Data | Kind::Ping | Kind::Pong => {}
            Kind::Hello | Kind::Request | Kind::Cancel | Kind::Packed => panic!("{:?} came", frame.kind),
        }
    }

    async fn wait_for_credit(&mut self, frame: &Frame) {
        let cost = cost(frame.payload.len());
        while self.credit.get(&frame.stream).is_some_and(|(credit, answered)| *credit < cost && !answered) {
            self.hear().await;
        }
        if let Some((credit, _)) = self.credit.get_mut(&frame.stream) {
            *credit = credit.saturating_sub(cost);
        }
    }

    async fn wait_for_answers(&mut self, next: u64) {
        while self.credit.values().any(|(_, answered)| !answered) {
            self.hear().await;
        }
        if next != u64::MAX {
            self.credit.insert(next, (INITIAL_CREDIT, false));
        }
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) {
    let header = Header { kind: frame.kind, stream: frame.stream, length: frame.payload.len() }.encode();
    writer.write_all(&[header.as_slice(), &frame.payload].concat()).await.expect("the other side reads");
    writer.flush().await.expect("the other side reads");
}

/// Lets today's sidecar play the script with the agent of a recording: it has to ask the very same, byte for byte,
/// and to understand the answers.
async fn agent_of(tape: &Tape, version: u32) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let acting = tokio::spawn(act(far, tape.clone()));
    let (reader, writer) = tokio::io::split(near);
    let link = Link::open(reader, writer).await.expect("the recorded agent is understood");
    assert_eq!(link.protocol(), version);
    let played = script::play(&link).await.expect("the recorded agent answers");
    drop(link);
    acting.await.expect("the sidecar asked what was recorded");
    let played: Vec<Answer> = played.into_iter().map(comparable).collect();
    assert_eq!(played, answers(&tape.agent).await);
}

/// What a sidecar said on one stream, with its data in one piece: how they are cut is its own affair.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    request: Option<Request>,
    data: Vec<u8>,
    end: Option<Trailer>,
}

impl Asked {
    fn add(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Request => {
                let request: Request = postcard::from_bytes(&frame.payload).expect("a request");
                let again = postcard::to_stdvec(&request).expect("requests are plain data");
                assert_eq!(again, frame.payload, "a request has one form");
                self.request = Some(request);
            }
            Kind::Data => self.data.extend_from_slice(&frame.payload),
            Kind::End => self.end = Some(postcard::from_bytes(&frame.payload).expect("a trailer")),
            Kind::Credit | Kind::Ping | Kind::Pong => {}
            Kind::Hello | Kind::Reply | Kind::Cancel | Kind::Packed => panic!("the sidecar sent {:?}", frame.kind),
        }
    }
}

/// Acts as the recorded agent: compares what is asked on each stream, then answers as recorded.
async fn act(stream: DuplexStream, tape: Tape) {
    let (hello, frames) = tape::frames(&tape.agent).await;
    let mut answers: VecDeque<Frame> = frames.into();
    let mut recorded: HashMap<u64, Asked> = HashMap::new();
    for frame in tape::frames(&tape.sidecar).await.1 {
        recorded.entry(frame.stream).or_default().add(&frame);
    }
    recorded.retain(|_, asked| asked.request.is_some());

    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reader);
    wire::send_hello(&mut writer, &hello).await.expect("the sidecar reads");
    reader.hello().await.expect("the sidecar says hello");
    let mut asked: HashMap<u64, Asked> = HashMap::new();
    while !recorded.is_empty() {
        let frame = reader.next().await.expect("the sidecar asks on");
        let now = asked.entry(frame.stream).or_default();
        now.add(&frame);
        let is_apply = matches!(now.request, Some(Request::Apply(_)));
        let is_whole = frame.kind == Kind::End || frame.kind == Kind::Request && !is_apply;
        if frame.kind == Kind::Request && is_apply {
            // Credit for what follows; the answer waits for its end.
            while answers.front().is_some_and(|next| !matches!(next.kind, Kind::Reply)) {
                send(&mut writer, &answers.pop_front().expect("it was looked at")).await;
            }
        }
        if is_whole {
            assert_eq!(asked.remove(&frame.stream), recorded.remove(&frame.stream), "stream {}", frame.stream);
            while let Some(next) = answers.pop_front() {
                send(&mut writer, &next).await;
                let is_reading = || matches!(postcard::from_bytes(&next.payload), Ok(Reply::Reading(_)));
                if next.stream == frame.stream && (next.kind == Kind::End || next.kind == Kind::Reply && !is_reading())
                {
                    break;
                }
            }
        }
    }
    // Until the sidecar leaves, so that it takes all that was said.
    while reader.next().await.is_ok() {}
}
