//! The way out: one task writes, everybody else hands it frames. Two queues, so that data never delay what
//! somebody waits for by more than the frame that is being written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::frame::{Header, Kind, cost};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::gauge::Gauge;
use super::{DEAD_AFTER, Frame, WireError};

/// Cost of the data that may wait to be written. Enough to keep any connection busy.
const DATA_ROOM: usize = 4 * 1024 * 1024;

/// Cost of the requests or replies that may wait to be written: a few of the largest.
const CONTROL_ROOM: usize = 8 * 1024 * 1024;

/// Frames smaller than this are gathered into one write.
const SMALL: usize = 16 * 1024;

/// Gathered bytes are written at the latest when there are this many.
const GATHER: usize = 64 * 1024;

type Queued = (Frame, Option<OwnedSemaphorePermit>);

/// Where frames are handed in. Cheap to clone; the writer ends once the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Outbox {
    control: mpsc::UnboundedSender<Queued>,
    data: mpsc::UnboundedSender<Queued>,
    control_room: Arc<Semaphore>,
    data_room: Arc<Semaphore>,
    pong: Arc<Pong>,
    packing: Arc<Packing>,
}

/// Whether data are packed.
#[derive(Debug, Default)]
struct Packing {
    /// The peer understands it.
    allowed: AtomicBool,
    /// The link is slow enough.
    pays: AtomicBool,
}

/// A pong that is due. Any number of pings that wait for the writer are answered by one.
#[derive(Debug, Default)]
struct Pong {
    due: AtomicBool,
    wake: Notify,
}

/// A place in the control queue, taken before the frame is made.
#[derive(Debug)]
pub struct Place(OwnedSemaphorePermit);

/// The conversation is over; nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the conversation is over")]
pub struct Over;

impl Outbox {
    /// Waits for room for a request or reply of `length` bytes.
    pub async fn place(&self, length: usize) -> Result<Place, Over> {
        let permits = permits(length, CONTROL_ROOM);
        let permit = Arc::clone(&self.control_room).acquire_many_owned(permits).await.map_err(|_| Over)?;
        Ok(Place(permit))
    }

    /// Queues a request or reply in a place taken before. Frames of one stream leave in the order queued.
    pub fn send(&self, place: Place, frame: Frame) -> Result<(), Over> {
        self.control.send((frame, Some(place.0))).map_err(|_| Over)
    }

    /// Queues data, or the end of data, behind the data that wait already; waits for room.
    pub async fn send_data(&self, frame: Frame) -> Result<(), Over> {
        let permits = permits(cost(frame.payload.len()), DATA_ROOM);
        let permit = Arc::clone(&self.data_room).acquire_many_owned(permits).await.map_err(|_| Over)?;
        self.data.send((frame, Some(permit))).map_err(|_| Over)
    }

    /// Queues a frame without payload, or a credit, at once. After the end of the conversation it is dropped.
    pub fn send_small(&self, kind: Kind, stream: u64, payload: Bytes) {
        debug_assert!(payload.len() <= 4, "only credits have a payload here");
        if self.control.send((Frame { kind, stream, payload }, None)).is_err() {
            tracing::trace!(?kind, stream, "not sent: the conversation is over");
        }
    }

    /// Gives the peer credit on a stream.
    pub fn send_credit(&self, stream: u64, amount: usize) {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        self.send_small(Kind::Credit, stream, Bytes::copy_from_slice(&amount.to_le_bytes()));
    }

    /// Says that the peer understands packed data.
    pub fn allow_packing(&self) {
        self.packing.allowed.store(true, Ordering::Relaxed);
    }

    /// Returns whether data had better be packed: the peer understands it, and the link is slow.
    pub fn packs(&self) -> bool {
        self.packing.allowed.load(Ordering::Relaxed) && self.packing.pays.load(Ordering::Relaxed)
    }

    /// Answers a ping.
    pub fn send_pong(&self) {
        self.pong.due.store(true, Ordering::Release);
        self.pong.wake.notify_one();
    }
}

/// Room is counted in permits of one byte; what is larger than the whole room takes all of it.
fn permits(length: usize, room: usize) -> u32 {
    u32::try_from(length.min(room)).expect("rooms are far below 4 GiB")
}

/// Returns an outbox and the future that writes what is put into it. The future ends when the last outbox
/// is dropped and all is written, or when the stream breaks or does not move.
pub fn outbox(
    writer: impl AsyncWrite + Send + Unpin + 'static,
) -> (Outbox, impl Future<Output = Result<(), WireError>> + Send + 'static) {
    let (control, control_queue) = mpsc::unbounded_channel();
    let (data, data_queue) = mpsc::unbounded_channel();
    let outbox = Outbox {
        control,
        data,
        control_room: Arc::new(Semaphore::new(CONTROL_ROOM)),
        data_room: Arc::new(Semaphore::new(DATA_ROOM)),
        pong: Arc::default(),
        packing: Arc::default(),
    };
    let rooms = Rooms(Arc::clone(&outbox.control_room), Arc::clone(&outbox.data_room));
    let writing = Writing {
        writer,
        control: control_queue,
        data: data_queue,
        pong: Arc::clone(&outbox.pong),
        packing: Arc::clone(&outbox.packing),
        gauge: Gauge::default(),
        buffer: BytesMut::new(),
    };
    (outbox, async move {
        let _rooms = rooms;
        writing.run().await
    })
}

/// Wakes those who wait for room once nobody writes any more.
struct Rooms(Arc<Semaphore>, Arc<Semaphore>);

impl Drop for Rooms {
    fn drop(&mut self) {
        self.0.close();
        self.1.close();
    }
}

struct Writing<W> {
    writer: W,
    control: mpsc::UnboundedReceiver<Queued>,
    data: mpsc::UnboundedReceiver<Queued>,
    pong: Arc<Pong>,
    packing: Arc<Packing>,
    gauge: Gauge,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writing<W> {
    async fn run(mut self) -> Result<(), WireError> {
        loop {
            let mut queued = self.waiting();
            if queued.is_none() {
                self.write_buffer().await?;
                in_time(self.writer.flush()).await?;
                queued = self.wait().await;
            }
            let Some((frame, _room)) = queued else { break };
            let header = Header { kind: frame.kind, stream: frame.stream, length: frame.payload.len() };
            self.buffer.put_slice(&header.encode());
            if frame.payload.len() < SMALL {
                self.buffer.put_slice(&frame.payload);
                if self.buffer.len() >= GATHER {
                    self.write_buffer().await?;
                }
            } else {
                self.write_buffer().await?;
                self.write(&frame.payload).await?;
            }
        }
        in_time(self.writer.shutdown()).await
    }

    /// Returns the most urgent frame that waits.
    fn waiting(&mut self) -> Option<Queued> {
        if self.pong.due.swap(false, Ordering::AcqRel) {
            return Some((Frame { kind: Kind::Pong, stream: 0, payload: Bytes::new() }, None));
        }
        self.control.try_recv().or_else(|_| self.data.try_recv()).ok()
    }

    /// Returns the next frame, or nothing when nobody can send any more.
    async fn wait(&mut self) -> Option<Queued> {
        loop {
            // A queue that ended has no senders, and then neither has the other.
            tokio::select! {
                biased;
                () = self.pong.wake.notified() => if let Some(queued) = self.waiting() { return Some(queued) },
                queued = self.control.recv() => match queued {
                    Some(queued) => return Some(queued),
                    None => return self.data.recv().await,
                },
                queued = self.data.recv() => match queued {
                    Some(queued) => return Some(queued),
                    None => return self.control.recv().await,
                },
            }
        }
    }

    async fn write_buffer(&mut self) -> Result<(), WireError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer).await?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let began = Instant::now();
        write(&mut self.writer, bytes).await?;
        let pays = self.gauge.wrote(bytes.len(), began.elapsed());
        self.packing.pays.store(pays, Ordering::Relaxed);
        Ok(())
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Result<(), WireError> {
    while !bytes.is_empty() {
        let written = in_time(writer.write(bytes)).await?;
        if written == 0 {
            return Err(WireError::Broken(io::ErrorKind::WriteZero.into()));
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

async fn in_time<T>(write: impl Future<Output = io::Result<T>>) -> Result<T, WireError> {
    match tokio::time::timeout(DEAD_AFTER, write).await {
        Err(_) => Err(WireError::Silent),
        Ok(result) => result.map_err(WireError::Broken),
    }
}
