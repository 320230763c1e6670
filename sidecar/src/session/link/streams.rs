//! Every open stream of a link, and the rules for what the agent may send on it. No I/O.
//!
//! An entry stays until the agent ended the stream, also when nobody here wants it any more; so a frame
//! without an entry is always against the rules, and a silent agent can hold [`MAX_STREAMS`] entries only.
//!
//! [`MAX_STREAMS`]: protocol::agent::MAX_STREAMS

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::wire::packed;
use bytes::Bytes;
use protocol::agent::{Reply, Request, Trailer};
use protocol::frame::{INITIAL_CREDIT, MAX_CREDIT, cost};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::exchange::Piece;
use super::{LinkError, READ_CREDIT};

/// The kind of reply that answers a request. Any may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Health,
    Opened,
    Verified(usize),
    Applied(usize),
    Reading,
    Log,
    Done,
    Chunking,
    Partials,
    Summarised(usize),
    Listed(usize),
}

impl Expected {
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::Health => Self::Health,
            Request::Open(_) => Self::Opened,
            Request::Verify { entries, .. } => Self::Verified(entries.len()),
            Request::Apply(apply) => Self::Applied(apply.ops.len()),
            Request::Read { .. } | Request::ReadOn { .. } => Self::Reading,
            Request::Log { .. } => Self::Log,
            Request::Chunks(_) => Self::Chunking,
            Request::Partials { .. } => Self::Partials,
            Request::Summarise(ask) => Self::Summarised(ask.folders.len()),
            Request::List(list) => Self::Listed(list.folders.len()),
            Request::Stop | Request::Flush { .. } | Request::EmptyTrash { .. } | Request::Close { .. } => Self::Done,
        }
    }

    /// Returns whether data follow the reply.
    pub(super) fn has_data(self) -> bool {
        matches!(self, Self::Reading | Self::Chunking)
    }

    fn allows(self, reply: &Reply) -> bool {
        match reply {
            Reply::Health(_) => self == Self::Health,
            Reply::Opened(_) => self == Self::Opened,
            Reply::Verified(differs) => matches!(self, Self::Verified(asked) if differs.len() <= asked),
            Reply::Applied(outcomes) => self == Self::Applied(outcomes.len()),
            Reply::Reading(_) => self == Self::Reading,
            Reply::Log(_) => self == Self::Log,
            Reply::Done => self == Self::Done,
            Reply::Chunking(_) => self == Self::Chunking,
            Reply::Partials(_) => self == Self::Partials,
            Reply::Summarised(summaries) => self == Self::Summarised(summaries.len()),
            Reply::Listed(listings) => matches!(self, Self::Listed(asked) if listings.len() <= asked),
            Reply::Failed(_) => true,
        }
    }
}

/// What comes in on a stream, in order.
#[derive(Debug)]
pub(super) enum Incoming {
    Reply(Reply),
    Piece(Piece),
    /// Data of which only the length is known to be allowed.
    Packed(Bytes),
}

/// The caller's side of a stream that was just opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: u64,
    pub(super) incoming: mpsc::UnboundedReceiver<Incoming>,
    /// What may still be sent; closed when the agent wants no more data.
    pub(super) credit: Arc<Semaphore>,
    /// Changes with every sign of life.
    pub(super) alive: watch::Receiver<()>,
}

#[derive(Debug)]
struct Stream {
    expected: Expected,
    incoming: mpsc::UnboundedSender<Incoming>,
    /// Whether the reply came and data may follow.
    reading: bool,
    /// Cost of the data that the agent may still send.
    allowed: usize,
    credit: Arc<Semaphore>,
    alive: watch::Sender<()>,
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Table {
    newest: u64,
    open: HashMap<u64, Stream>,
    failure: Option<LinkError>,
}

/// The streams of a link. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    table: Arc<Mutex<Table>>,
    ended: CancellationToken,
}

/// The rule that the agent broke.
type Broken = &'static str;

impl Streams {
    /// Opens a stream; `send` is called with its id before the next one can be opened.
    pub(super) fn open(
        &self,
        expected: Expected,
        slot: OwnedSemaphorePermit,
        send: impl FnOnce(u64),
    ) -> Result<Opened, LinkError> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(INITIAL_CREDIT));
        let (alive, heard) = watch::channel(());
        let mut table = self.table();
        if self.ended.is_cancelled() {
            return Err(table.failure.clone().unwrap_or(LinkError::Lost));
        }
        table.newest += 1;
        let id = table.newest;
        let allowed = if expected.has_data() { INITIAL_CREDIT + READ_CREDIT } else { 0 };
        let stream = Stream {
            expected,
            incoming: sender,
            reading: false,
            allowed,
            credit: Arc::clone(&credit),
            alive,
            _slot: slot,
        };
        table.open.insert(id, stream);
        send(id);
        Ok(Opened { id, incoming, credit, alive: heard })
    }

    /// Takes a reply.
    pub(super) fn reply(&self, id: u64, payload: &[u8]) -> Result<(), Broken> {
        let mut table = self.table();
        let stream = table.open.get_mut(&id).ok_or("a reply to nothing that was asked")?;
        let reply: Reply = postcard::from_bytes(payload).map_err(|_| "a reply that cannot be read")?;
        if stream.reading {
            return Err("a second reply to one request");
        }
        if !stream.expected.allows(&reply) {
            return Err("a reply of another kind than was asked for");
        }
        stream.credit.close();
        let last = !matches!(reply, Reply::Reading(_) | Reply::Chunking(_));
        stream.reading = !last;
        stream.pass_on(Incoming::Reply(reply));
        if last {
            table.open.remove(&id);
        }
        Ok(())
    }

    /// Takes data.
    pub(super) fn data(&self, id: u64, bytes: Bytes) -> Result<(), Broken> {
        self.take(id, bytes.len(), Incoming::Piece(Piece::Data(bytes)))
    }

    /// Takes packed data; what counts is how many they will be.
    pub(super) fn packed(&self, id: u64, payload: Bytes) -> Result<(), Broken> {
        let length = packed::announced(&payload).map_err(|_| "packed data of a length that they cannot have")?;
        self.take(id, length, Incoming::Packed(payload))
    }

    fn take(&self, id: u64, length: usize, data: Incoming) -> Result<(), Broken> {
        let mut table = self.table();
        let stream = table.open.get_mut(&id).filter(|stream| stream.reading).ok_or("data that nobody asked for")?;
        stream.allowed = stream.allowed.checked_sub(cost(length)).ok_or("more data than it was allowed")?;
        stream.pass_on(data);
        Ok(())
    }

    /// Takes the end of data.
    pub(super) fn end(&self, id: u64, payload: &[u8]) -> Result<(), Broken> {
        let mut table = self.table();
        let trailer: Trailer = postcard::from_bytes(payload).map_err(|_| "an end of data that cannot be read")?;
        if !table.open.get(&id).is_some_and(|stream| stream.reading) {
            return Err("an end of data that nobody asked for");
        }
        if let Some(stream) = table.open.remove(&id) {
            stream.pass_on(Incoming::Piece(Piece::End(trailer)));
        }
        Ok(())
    }

    /// Takes credit for our data, or a sign of life.
    pub(super) fn credit(&self, id: u64, amount: usize) -> Result<(), Broken> {
        let table = self.table();
        let Some(stream) = table.open.get(&id) else {
            // Credit may cross the end of a stream, but not its beginning.
            return if id <= table.newest { Ok(()) } else { Err("credit for nothing that was asked") };
        };
        if stream.credit.available_permits() + amount > MAX_CREDIT {
            return Err("more credit than a stream can hold");
        }
        stream.credit.add_permits(amount);
        stream.alive.send_replace(());
        Ok(())
    }

    /// Notes that the agent may send so much more; `say` tells it so.
    pub(super) fn allow(&self, id: u64, amount: usize, say: impl FnOnce()) {
        if let Some(stream) = self.table().open.get_mut(&id) {
            stream.allowed += amount;
            say();
        }
    }

    /// Returns whether the agent has not ended that stream.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.table().open.contains_key(&id)
    }

    /// Ends the conversation; the first reason stands.
    pub(super) fn fail(&self, error: LinkError) {
        let mut table = self.table();
        if table.failure.is_none() {
            tracing::debug!(%error, "a link to an agent ended");
            table.failure = Some(error);
        }
        for (_, stream) in table.open.drain() {
            stream.credit.close();
        }
        drop(table);
        self.ended.cancel();
    }

    /// Returns why the conversation is over.
    pub(super) fn failure(&self) -> LinkError {
        self.table().failure.clone().unwrap_or(LinkError::Lost)
    }

    /// Returns the token that is cancelled when the conversation is over.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Nothing can panic while the table is locked, so a poisoned one is still whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// What nobody waits for any more is dropped.
    fn pass_on(&self, incoming: Incoming) {
        self.alive.send_replace(());
        if self.incoming.send(incoming).is_err() {
            tracing::trace!("an answer came after it was cancelled");
        }
    }
}
