//! Both directions of a conversation as bytes, and the frames that they are.

use std::path::Path;
use std::process::Stdio;

use agent::wire::{self, Frame, FrameReader, WireError};
use harness::binary;
use harness::work::Work;
use protocol::frame::Header;
use protocol::hello::{Facts, Hello};
use sidecar::session::link::Link;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::script::{self, Answer};

/// What each side wrote, from its first byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tape {
    pub(crate) sidecar: Vec<u8>,
    pub(crate) agent: Vec<u8>,
}

impl Tape {
    /// Reads a recording of the fixtures.
    pub(crate) fn read(folder: &Path) -> Self {
        let part = |name| std::fs::read(folder.join(name)).expect("a recording of the fixtures");
        Self { sidecar: part("sidecar.bin"), agent: part("agent.bin") }
    }

    /// Writes a recording.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder to record to");
        for (name, bytes) in [("sidecar.bin", &self.sidecar), ("agent.bin", &self.agent)] {
            std::fs::write(folder.join(name), bytes).expect("a folder to record to");
        }
    }

    /// Plays the script between the sidecar's and the agent's program of this build, and returns what was said.
    pub(crate) async fn record() -> (Self, Vec<Answer>) {
        let work = Work::new();
        let mut proxy = daemon(&work);
        let (near, far) = tokio::io::duplex(256 * 1024);
        let (from_link, to_link) = tokio::io::split(far);
        let up = tee(from_link, proxy.stdin.take().expect("a pipe"));
        let down = tee(proxy.stdout.take().expect("a pipe"), to_link);
        let (reader, writer) = tokio::io::split(near);
        let link = Link::open(reader, writer).await.expect("an agent of this build answers");
        let answers = script::play(&link).await.expect("the agent answers");
        drop(link);
        let agent = anonymous(&down.await.expect("no panic")).await;
        let tape = Self { sidecar: up.await.expect("no panic"), agent };
        (tape, answers)
    }
}

/// Starts `mlt proxy` for a home of its own; its daemon ends with the home.
pub(crate) fn daemon(work: &Work) -> tokio::process::Child {
    let mut command = tokio::process::Command::from(work.command(binary::mlt()));
    command.arg("proxy").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("mlt runs")
}

/// Returns what an agent said with the facts of another machine than the one of the recording.
async fn anonymous(said: &[u8]) -> Vec<u8> {
    let (hello, frames) = frames(said).await;
    let text = |text: &str| text.to_owned();
    let facts = Facts {
        os: text("Linux"),
        arch: text("x86_64"),
        kernel: text("6.1.0"),
        hostname: text("gpu1"),
        user: text("ada"),
        home: text("/home/ada"),
        cpus: 2,
    };
    let mut bytes = Vec::new();
    wire::send_hello(&mut bytes, &Hello { facts: Some(facts), ..hello }).await.expect("memory takes all");
    for frame in frames {
        let header = Header { kind: frame.kind, stream: frame.stream, length: frame.payload.len() }.encode();
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&frame.payload);
    }
    bytes
}

/// Passes bytes on until the end, and returns them.
fn tee(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
) -> tokio::task::JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            kept.extend_from_slice(&chunk[..length]);
            if to.write_all(&chunk[..length]).await.is_err() || to.flush().await.is_err() {
                break;
            }
        }
        // The other side may be gone already.
        to.shutdown().await.ok();
        kept
    })
}

/// Returns the hello and the frames that follow it.
pub(crate) async fn frames(bytes: &[u8]) -> (Hello, Vec<Frame>) {
    let mut reader = FrameReader::new(bytes);
    let hello = reader.hello().await.expect("a recording begins with a hello");
    let mut frames = Vec::new();
    loop {
        match reader.next().await {
            Ok(frame) => frames.push(frame),
            Err(WireError::Ended) => return (hello, frames),
            Err(error) => panic!("a recording is made of frames: {error}"),
        }
    }
}
