//! One conversation: frames in, requests to tasks, frames out.
//!
//! The loop below never waits for a request: blocking work runs on threads of its own, bodies wait in
//! queues whose size the sender's credit bounds, and replies wait in the outbox. What one link can make
//! the agent hold is therefore bounded: [`MAX_STREAMS`] initial credits, one `CREDIT_POOL`, the outbox.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::agent::{Apply, MAX_STREAMS, Request};
use protocol::frame::{INITIAL_CREDIT, Kind, MAX_CREDIT};
use protocol::hello::{Hello, PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::wire::{self, ALIVE_EVERY, Frame, FrameReader, Outbox, WireError};

mod batches;
mod bodies;
mod error;
mod host;
mod roots;
mod work;

#[doc(hidden)]
pub use error::examples;
pub use host::{Agent, Config};

use batches::Batches;
use bodies::Sink;
use error::RequestError;
use work::{Job, Work};

/// First protocol version whose peers unpack data.
const PACKED_SINCE: u32 = 2;

/// Credit that the bodies of one link share beyond their initial ones.
const CREDIT_POOL: usize = 32 * 1024 * 1024;

/// First protocol whose sidecars ask for what is left of a cut transfer.
const RESUMES: u32 = 2;

/// Most credit that one body takes from the pool: enough to fill 40 MB/s at a round trip of 100 ms.
const CREDIT_SHARE: u32 = 4 * 1024 * 1024;

/// Serves one sidecar over `stream` until it goes away, breaks the rules, or the agent is stopped.
pub async fn serve<S>(stream: S, agent: Arc<Agent>) -> Result<(), WireError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let ours = Hello { facts: Some(agent.facts().clone()), ..wire::own_hello() };
    wire::send_hello(&mut writer, &ours).await?;
    let mut reader = FrameReader::new(reader);
    let theirs = reader.hello().await?;
    let Some(protocol) = theirs.common() else {
        // The sidecar saw our hello and tells its person what to do.
        tracing::warn!(theirs = theirs.protocol, ours = PROTOCOL, "a sidecar of another protocol version called");
        return Ok(());
    };
    let (outbox, writing) = wire::outbox(writer);
    if protocol >= PACKED_SINCE {
        outbox.allow_packing();
    }
    let writing = tokio::spawn(writing);
    let link = agent.join();
    let (finished, done) = mpsc::unbounded_channel();
    let ended = CancellationToken::new();
    // Threads that wait for credit must hear of the end also when this future is dropped.
    let _ended = ended.clone().drop_guard();
    let work = Work::new(Arc::clone(&agent), link.id(), outbox.clone(), finished);
    let conversation = Conversation {
        protocol,
        work: work.clone(),
        outbox,
        streams: HashMap::new(),
        newest: 0,
        batches: Batches::default(),
        pool: Arc::new(Semaphore::new(CREDIT_POOL)),
        stopping: agent.stopping(),
        ended: ended.clone(),
    };
    let result = conversation.run(&mut reader, done).await;
    if result.is_err() {
        writing.abort();
    }
    ended.cancel();
    let ending = agent.ending();
    // Leases are given back only when nobody writes below the roots any more.
    work.wait().await;
    drop(ending);
    drop(link);
    match writing.await {
        // What was queued before a peaceful end has gone out, as far as the sidecar took it.
        Ok(written) => result.and(written),
        Err(_) => result,
    }
}

/// A request that is not answered yet.
struct Stream {
    cancel: CancellationToken,
    withdrawn: CancellationToken,
    sink: Option<Sink>,
    credit: Arc<Semaphore>,
    share: Option<OwnedSemaphorePermit>,
}

struct Conversation {
    /// What both sides speak; nothing of a newer version is done.
    protocol: u32,
    work: Work,
    outbox: Outbox,
    streams: HashMap<u64, Stream>,
    newest: u64,
    batches: Batches<Job>,
    pool: Arc<Semaphore>,
    stopping: CancellationToken,
    ended: CancellationToken,
}

impl Conversation {
    async fn run<R: AsyncRead + Unpin>(
        mut self,
        reader: &mut FrameReader<R>,
        mut finishes: mpsc::UnboundedReceiver<u64>,
    ) -> Result<(), WireError> {
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(stream) = finishes.recv() => self.finished(stream),
                _ = alive.tick() => self.streams.keys().for_each(|stream| self.outbox.send_credit(*stream, 0)),
                () = self.stopping.cancelled(), if self.streams.is_empty() => return Ok(()),
                frame = reader.next() => match frame {
                    Ok(frame) => self.frame(frame)?,
                    Err(WireError::Ended) => return Ok(()),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), WireError> {
        match frame.kind {
            Kind::Request => self.request(&frame),
            Kind::Data | Kind::End => self.body(frame),
            Kind::Packed if self.protocol >= PACKED_SINCE => self.body(frame),
            Kind::Packed => Err(WireError::Nonsense("packed data came from a sidecar that does not know them")),
            Kind::Cancel => self.cancel(frame.stream),
            Kind::Credit => self.credit(&frame),
            Kind::Ping => {
                self.outbox.send_pong();
                Ok(())
            }
            Kind::Pong => Ok(()),
            Kind::Hello | Kind::Reply => Err(WireError::Nonsense("the sidecar sent what only an agent may send")),
        }
    }

    fn request(&mut self, frame: &Frame) -> Result<(), WireError> {
        let id = frame.stream;
        if id <= self.newest {
            return Err(WireError::Nonsense("a stream was opened twice"));
        }
        self.newest = id;
        let request: Request =
            postcard::from_bytes(&frame.payload).map_err(|_| WireError::Nonsense("a request cannot be read"))?;
        if self.streams.len() >= MAX_STREAMS {
            return Err(WireError::Nonsense("more streams were opened than may be open at a time"));
        }
        if request.since() > self.protocol {
            let error = RequestError::Newer { since: request.since(), protocol: self.protocol };
            self.work.refuse(id, error);
            return Ok(());
        }
        let cancel = self.ended.child_token();
        let credit = Arc::new(Semaphore::new(INITIAL_CREDIT));
        let withdrawn = CancellationToken::new();
        let stop = bodies::Stop { withdrawn: withdrawn.clone(), unwanted: cancel.clone() };
        let (mut sink, bodies) = bodies::pipe(id, self.outbox.clone(), stop, self.protocol >= RESUMES);
        let mut stream =
            Stream { cancel: cancel.clone(), withdrawn, sink: None, credit: Arc::clone(&credit), share: None };
        let batch = match &request {
            Request::Apply(apply) => Some((apply.barrier, body_bytes(apply))),
            _ => None,
        };
        let job = Job { request, bodies, credit, cancel };
        let Some((barrier, bytes)) = batch else {
            self.streams.insert(id, stream);
            self.work.start(id, job);
            return Ok(());
        };
        if bytes > INITIAL_CREDIT as u64 {
            // No more than it can use, so that there is enough for all that are on the way. A body that finds the pool
            // empty goes on with its initial credit: slower by far where the sidecar is far away, never stuck.
            let share = u32::try_from(bytes).map_or(CREDIT_SHARE, |bytes| bytes.min(CREDIT_SHARE));
            stream.share = Arc::clone(&self.pool).try_acquire_many_owned(share).ok();
        }
        if let Some(share) = &stream.share {
            sink.allow(share.num_permits());
            self.outbox.send_credit(id, share.num_permits());
        }
        stream.sink = Some(sink);
        self.streams.insert(id, stream);
        self.batches.add(id, barrier, job);
        self.start_batches();
        Ok(())
    }

    fn start_batches(&mut self) {
        while let Some((id, job)) = self.batches.next() {
            self.work.start(id, job);
        }
    }

    fn body(&mut self, frame: Frame) -> Result<(), WireError> {
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            return self.past(frame.stream);
        };
        let Some(sink) = &mut stream.sink else {
            if stream.cancel.is_cancelled() {
                return Ok(());
            }
            return Err(WireError::Nonsense("data came for a request that takes none, or after their end"));
        };
        match frame.kind {
            Kind::Data => return sink.data(frame.payload),
            Kind::Packed => return sink.packed(frame.payload),
            _ => {}
        }
        let trailer =
            postcard::from_bytes(&frame.payload).map_err(|_| WireError::Nonsense("the end of data cannot be read"))?;
        sink.end(trailer);
        stream.sink = None;
        Ok(())
    }

    fn cancel(&mut self, id: u64) -> Result<(), WireError> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return self.past(id);
        };
        stream.cancel.cancel();
        stream.withdrawn.cancel();
        stream.sink = None;
        if self.batches.withdraw(id) {
            self.work.refuse(id, RequestError::Cancelled);
        }
        Ok(())
    }

    fn credit(&mut self, frame: &Frame) -> Result<(), WireError> {
        let Some(stream) = self.streams.get(&frame.stream) else {
            return self.past(frame.stream);
        };
        let amount = wire::credit(frame);
        if stream.credit.available_permits() + amount > MAX_CREDIT {
            return Err(WireError::Nonsense("more credit was given than a stream can hold"));
        }
        stream.credit.add_permits(amount);
        Ok(())
    }

    fn finished(&mut self, id: u64) {
        self.streams.remove(&id);
        self.batches.done(id);
        self.start_batches();
    }

    /// Frames that crossed our answer are fine, frames of streams that never were are not.
    fn past(&self, id: u64) -> Result<(), WireError> {
        if id <= self.newest { Ok(()) } else { Err(WireError::Nonsense("a frame belongs to no stream")) }
    }
}

/// Returns the bytes that follow a batch.
fn body_bytes(apply: &Apply) -> u64 {
    apply.ops.iter().fold(0_u64, |sum, op| sum.saturating_add(op.action.bytes()))
}
