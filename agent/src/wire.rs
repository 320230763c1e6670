//! Frames over a byte stream, the same for both ends: hello, reader and writer. Knows no request.
//!
//! Nothing here trusts the peer: lengths are checked before memory is taken, and every queue has a bound
//! in bytes. Data wait for credit and for room; replies, credits and pings overtake data of other streams.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use protocol::frame::{FrameError, HEADER, Header, Kind, MAX_BULK_DATA};
use protocol::hello::{Hello, MAGIC, MAX_CHATTER, OLDEST, PROTOCOL};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

pub mod blocks;
mod gauge;
mod outbox;
pub mod packed;

use blocks::{Block, Blocks};
pub use outbox::{Outbox, outbox};

/// The sidecar asks for a sign of life this often.
pub const PING_EVERY: Duration = Duration::from_secs(15);

/// A peer that says nothing for three pings is dead; the same for a write that does not move.
pub const DEAD_AFTER: Duration = Duration::from_secs(45);

/// The agent says this often that a request is still being worked on.
pub const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Most bytes of a hello. It holds a version and a few names.
const MAX_HELLO: usize = 64 * 1024;

/// Bytes asked of the stream at a time when it is not known what comes.
const READ_AHEAD: usize = 16 * 1024;

/// Payloads below this are copied: a piece of a block keeps all of it alive, which for a frame of one byte
/// would be far more than what its sender paid for.
const COPIED: usize = 16 * 1024;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The stream it belongs to.
    pub stream: u64,
    /// Its payload.
    pub payload: Bytes,
}

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream ended between two frames.
    #[error("the connection ended")]
    Ended,
    /// The stream broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Nothing was heard for [`DEAD_AFTER`].
    #[error("nothing was heard for {} seconds", DEAD_AFTER.as_secs())]
    Silent,
    /// Sixteen bytes that are no header.
    #[error("a frame cannot be read")]
    Frame(#[from] FrameError),
    /// No [`MAGIC`] within [`MAX_CHATTER`] bytes; `said` are the last printable words.
    #[error("something else than the agent answered: {said}")]
    Chatter {
        /// What it said, shortened.
        said: String,
    },
    /// A frame that makes no sense here.
    #[error("{0}")]
    Nonsense(&'static str),
}

/// Reads frames. Every method may be dropped and called again without losing a byte.
#[derive(Debug)]
pub struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    /// A frame whose payload is on its way.
    partly: Option<(Header, Block)>,
    blocks: Blocks,
    heard: Instant,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Wraps `reader`.
    pub fn new(reader: R) -> Self {
        let (buffer, blocks) = (BytesMut::new(), Blocks::new(MAX_BULK_DATA));
        Self { reader, buffer, partly: None, blocks, heard: Instant::now() }
    }

    /// Skips what a login shell printed, up to and with [`MAGIC`].
    pub async fn skip_to_magic(&mut self) -> Result<(), WireError> {
        let mut skipped = 0;
        loop {
            if let Some(at) = self.buffer.windows(MAGIC.len()).position(|window| window == MAGIC) {
                self.buffer.advance(at + MAGIC.len());
                return Ok(());
            }
            if skipped + self.buffer.len() > MAX_CHATTER {
                return Err(self.chatter());
            }
            // All but a possible beginning of the mark is noise; the last words stay for the error.
            let noise = self.buffer.len().saturating_sub(1024);
            self.buffer.advance(noise);
            skipped += noise;
            match self.fill().await {
                Ok(()) => {}
                Err(WireError::Broken(_) | WireError::Silent) if !self.buffer.is_empty() => return Err(self.chatter()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the next frame.
    pub async fn next(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some((header, block)) = self.partly.take_if(|(header, block)| block.bytes.len() == header.length) {
                return Ok(Frame { kind: header.kind, stream: header.stream, payload: block.freeze() });
            }
            if self.partly.is_none()
                && let Some((bytes, _)) = self.buffer.split_first_chunk::<HEADER>()
            {
                let header = Header::decode(bytes)?;
                check(header)?;
                if header.length >= COPIED {
                    self.buffer.advance(HEADER);
                    let mut block = self.blocks.take(header.length);
                    let here = header.length.min(self.buffer.len());
                    block.bytes.extend_from_slice(&self.buffer[..here]);
                    self.buffer.advance(here);
                    self.partly = Some((header, block));
                    continue;
                }
                if let Some(payload) = self.buffer[HEADER..].get(..header.length).map(Bytes::copy_from_slice) {
                    self.buffer.advance(HEADER + header.length);
                    return Ok(Frame { kind: header.kind, stream: header.stream, payload });
                }
            }
            self.fill().await?;
        }
    }

    /// Reads the peer's hello: skips to the mark, then takes one frame of JSON.
    pub async fn hello(&mut self) -> Result<Hello, WireError> {
        self.skip_to_magic().await?;
        let frame = self.next().await?;
        if frame.kind != Kind::Hello || frame.payload.len() > MAX_HELLO {
            return Err(WireError::Nonsense("the first frame is no hello"));
        }
        serde_json::from_slice(&frame.payload).map_err(|_| WireError::Nonsense("the hello cannot be read"))
    }

    async fn fill(&mut self) -> Result<(), WireError> {
        let deadline = self.heard + DEAD_AFTER;
        let read = if let Some((header, block)) = &mut self.partly {
            let left = header.length - block.bytes.len();
            let mut rest = (&mut block.bytes).limit(left);
            tokio::time::timeout_at(deadline, self.reader.read_buf(&mut rest)).await
        } else {
            self.buffer.reserve(READ_AHEAD);
            tokio::time::timeout_at(deadline, self.reader.read_buf(&mut self.buffer)).await
        };
        match read {
            Err(_) => Err(WireError::Silent),
            Ok(Err(error)) => Err(WireError::Broken(error)),
            Ok(Ok(0)) if self.buffer.is_empty() && self.partly.is_none() => Err(WireError::Ended),
            Ok(Ok(0)) => Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) => {
                self.heard = Instant::now();
                Ok(())
            }
        }
    }

    fn chatter(&self) -> WireError {
        let tail = &self.buffer[self.buffer.len().saturating_sub(200)..];
        let said = String::from_utf8_lossy(tail).chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>();
        WireError::Chatter { said: said.split_whitespace().collect::<Vec<_>>().join(" ") }
    }
}

/// Refuses lengths that a kind can never have, before memory is taken for them.
fn check(header: Header) -> Result<(), WireError> {
    let allowed = match header.kind {
        Kind::Hello => header.length <= MAX_HELLO,
        Kind::Request | Kind::Reply | Kind::End => true,
        Kind::Data | Kind::Packed => header.length <= MAX_BULK_DATA,
        Kind::Cancel | Kind::Ping | Kind::Pong => header.length == 0,
        Kind::Credit => header.length == 4,
    };
    if allowed { Ok(()) } else { Err(WireError::Nonsense("a frame has a length that its kind cannot have")) }
}

/// Returns the hello of this program, without facts.
pub fn own_hello() -> Hello {
    Hello { protocol: PROTOCOL, oldest: Some(OLDEST), version: env!("CARGO_PKG_VERSION").to_owned(), facts: None }
}

/// Sends our hello with the mark before it.
pub async fn send_hello(writer: &mut (impl AsyncWrite + Unpin), hello: &Hello) -> Result<(), WireError> {
    let json = serde_json::to_vec(hello).expect("a hello is JSON");
    let header = Header { kind: Kind::Hello, stream: 0, length: json.len() }.encode();
    let bytes = [MAGIC.as_slice(), &header, &json].concat();
    let sent = async {
        writer.write_all(&bytes).await?;
        writer.flush().await
    };
    match tokio::time::timeout(DEAD_AFTER, sent).await {
        Err(_) => Err(WireError::Silent),
        Ok(result) => result.map_err(WireError::Broken),
    }
}

/// Returns the credit that a [`Kind::Credit`] frame carries.
pub fn credit(frame: &Frame) -> usize {
    let bytes: [u8; 4] = frame.payload.as_ref().try_into().expect("the reader checked the length of credits");
    u32::from_le_bytes(bytes) as usize
}
