//! The bytes of a batch on their way from the link to the thread that writes them. Credit is the bound:
//! what the sidecar may have on the way is what the queue can hold.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use protocol::agent::Trailer;
use protocol::frame::{INITIAL_CREDIT, cost};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::files;
use crate::wire::{Outbox, WireError, packed};

/// Credit is given back in pieces of this size, or when the queue is empty.
const GIVE_BACK: usize = 64 * 1024;

/// How long copies go on for a link that is gone; everything ends within about a second.
const GRACE: Duration = Duration::from_millis(750);

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    /// Checked for what it announces only.
    Packed(Bytes),
    End(Trailer),
}

/// The link's end: takes what arrives.
#[derive(Debug)]
pub(super) struct Sink {
    pieces: mpsc::UnboundedSender<Piece>,
    credit: Arc<AtomicUsize>,
}

/// When a body is not read any further.
#[derive(Debug)]
pub(super) struct Stop {
    /// The sidecar took the batch back.
    pub(super) withdrawn: CancellationToken,
    /// It did, or the link is gone. What had arrived by then is still read: a transfer that is cut off goes on
    /// from there.
    pub(super) unwanted: CancellationToken,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct Bodies {
    pieces: mpsc::UnboundedReceiver<Piece>,
    credit: Arc<AtomicUsize>,
    stream: u64,
    outbox: Outbox,
    stop: Stop,
    /// When a copy first noticed that the link is gone.
    noticed: Cell<Option<Instant>>,
    may_resume: bool,
    current: Bytes,
    used: usize,
    trailer: Option<Trailer>,
}

/// Returns both ends for a stream. Dropping the sink before its end makes reads fail.
pub(super) fn pipe(stream: u64, outbox: Outbox, stop: Stop, may_resume: bool) -> (Sink, Bodies) {
    let (sender, pieces) = mpsc::unbounded_channel();
    let credit = Arc::new(AtomicUsize::new(INITIAL_CREDIT));
    let sink = Sink { pieces: sender, credit: Arc::clone(&credit) };
    let bodies = Bodies {
        pieces,
        credit,
        stream,
        outbox,
        stop,
        noticed: Cell::new(None),
        may_resume,
        current: Bytes::new(),
        used: 0,
        trailer: None,
    };
    (sink, bodies)
}

impl Sink {
    /// Lets the sidecar send so much more.
    pub(super) fn allow(&mut self, amount: usize) {
        self.credit.fetch_add(amount, Ordering::AcqRel);
    }

    /// Takes bytes; refuses more than was allowed.
    pub(super) fn data(&mut self, bytes: Bytes) -> Result<(), WireError> {
        self.take(bytes.len(), Piece::Data(bytes))
    }

    /// Takes packed bytes; what counts is how many they will be.
    pub(super) fn packed(&mut self, payload: Bytes) -> Result<(), WireError> {
        self.take(packed::announced(&payload)?, Piece::Packed(payload))
    }

    fn take(&mut self, length: usize, piece: Piece) -> Result<(), WireError> {
        let cost = cost(length);
        // Only this end takes credit away, so what is there now is there at the subtraction too.
        if self.credit.load(Ordering::Acquire) < cost {
            return Err(WireError::Nonsense("more data came than were allowed"));
        }
        self.credit.fetch_sub(cost, Ordering::AcqRel);
        self.push(piece);
        Ok(())
    }

    /// Takes the end.
    pub(super) fn end(&mut self, trailer: Trailer) {
        self.push(Piece::End(trailer));
    }

    /// A batch that failed early reads no further; its bytes are dropped.
    fn push(&mut self, piece: Piece) {
        if self.pieces.send(piece).is_err() {
            tracing::trace!("a body arrived after its batch was over");
        }
    }
}

impl Bodies {
    /// Makes `current` the next bytes; returns false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        while self.current.is_empty() {
            if self.trailer.is_some() {
                return Ok(false);
            }
            if self.used >= GIVE_BACK || self.pieces.is_empty() {
                self.give_back();
            }
            match self.pieces.blocking_recv() {
                _ if self.stop.withdrawn.is_cancelled() => return Err(cancelled()),
                None => return Err(cancelled()),
                Some(Piece::End(trailer)) => self.trailer = Some(trailer),
                Some(Piece::Data(bytes)) => {
                    self.used += cost(bytes.len());
                    self.current = bytes;
                }
                Some(Piece::Packed(payload)) => {
                    let bytes = packed::unpack(&payload)?;
                    self.used += cost(bytes.len());
                    self.current = bytes;
                }
            }
        }
        Ok(true)
    }

    fn give_back(&mut self) {
        let amount = std::mem::take(&mut self.used);
        if amount > 0 {
            // First the allowance, then the word: the sidecar may use it at once.
            self.credit.fetch_add(amount, Ordering::AcqRel);
            self.outbox.send_credit(self.stream, amount);
        }
    }
}

impl files::Bodies for Bodies {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.withdrawn.is_cancelled() {
            return Err(cancelled());
        }
        if buffer.is_empty() || !self.advance()? {
            return Ok(0);
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }

    fn trailer(&mut self) -> io::Result<Trailer> {
        while self.advance()? {
            self.current.clear();
        }
        Ok(self.trailer.clone().unwrap_or_default())
    }

    fn go_on(&self) -> io::Result<()> {
        if self.stop.withdrawn.is_cancelled() {
            return Err(cancelled());
        }
        if self.stop.unwanted.is_cancelled() {
            // What had arrived behind a copy is worth more than the copy, but nobody waits for long ones.
            let noticed = self.noticed.get().unwrap_or_else(Instant::now);
            self.noticed.set(Some(noticed));
            if noticed.elapsed() > GRACE {
                return Err(cancelled());
            }
        }
        Ok(())
    }

    fn may_resume(&self) -> bool {
        self.may_resume
    }
}

/// Not `Interrupted`, which readers retry.
fn cancelled() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the batch was cancelled")
}
