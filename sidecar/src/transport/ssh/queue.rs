//! Output of one channel between the connection and its reader: counted in bytes, bounded by policy.
//!
//! The connection must never wait for a reader unless it exists for that reader alone.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

/// What a chunk costs beside its bytes: without it a peer that sends single bytes would fill the memory.
const CHUNK_COST: usize = 128;

/// Returns both ends of a new, empty queue.
pub(in crate::transport) fn queue() -> (Writer, Reader) {
    let shared = Arc::new(Shared::default());
    (Writer(Arc::clone(&shared)), Reader(shared))
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
    abandoned: bool,
    failure: Option<String>,
    reader: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves plain data behind, which stays usable.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The end of the connection. Dropping it ends the stream.
#[derive(Debug)]
pub(in crate::transport) struct Writer(Arc<Shared>);

impl Writer {
    /// Adds a chunk and returns how many bytes now wait, what keeping them costs included. Nothing waits for a reader that is gone.
    pub(in crate::transport) fn push(&self, chunk: Bytes) -> usize {
        let mut state = self.0.state();
        if state.abandoned || state.ended || chunk.is_empty() {
            return 0;
        }
        state.bytes += chunk.len() + CHUNK_COST;
        state.chunks.push_back(chunk);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        state.bytes
    }

    /// Returns once fewer than `limit` bytes wait, or nobody will read them.
    pub(in crate::transport) async fn below(&self, limit: usize) {
        loop {
            let room = self.0.room.notified();
            {
                let state = self.0.state();
                if state.abandoned || state.bytes < limit {
                    return;
                }
            }
            room.await;
        }
    }

    /// Ends the stream: after what waits the reader sees the end, or `failure`.
    pub(in crate::transport) fn end(&self, failure: Option<String>) {
        let mut state = self.0.state();
        if !state.ended {
            state.ended = true;
            state.failure = failure;
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// The end of the reader. Dropping it throws away what comes.
#[derive(Debug)]
pub(in crate::transport) struct Reader(Arc<Shared>);

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        let mut taken = 0;
        while into.remaining() > 0
            && let Some(chunk) = state.chunks.front_mut()
        {
            let length = chunk.len().min(into.remaining());
            into.put_slice(&chunk[..length]);
            chunk.advance(length);
            taken += length;
            if chunk.is_empty() {
                state.chunks.pop_front();
                taken += CHUNK_COST;
            }
        }
        state.bytes -= taken;
        if taken > 0 || into.remaining() == 0 {
            drop(state);
            self.0.room.notify_one();
            return Poll::Ready(Ok(()));
        }
        if state.ended {
            return Poll::Ready(match state.failure.take() {
                Some(failure) => Err(io::Error::other(failure)),
                None => Ok(()),
            });
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.abandoned = true;
        state.chunks.clear();
        state.bytes = 0;
        drop(state);
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn keeps_order_and_counts() {
        let (writer, mut reader) = queue();
        assert_eq!(writer.push(Bytes::from_static(b"hello ")), 6 + CHUNK_COST);
        assert_eq!(writer.push(Bytes::from_static(b"world")), 11 + 2 * CHUNK_COST);
        writer.end(None);
        assert_eq!(writer.push(Bytes::from_static(b"late")), 0);
        let mut text = String::new();
        reader.read_to_string(&mut text).await.expect("the end follows");
        assert_eq!(text, "hello world");
    }

    #[tokio::test]
    async fn waits_for_room_and_stops_when_the_reader_goes() {
        let (writer, mut reader) = queue();
        writer.push(Bytes::from_static(b"0123456789"));
        let room = tokio::spawn(async move {
            writer.below(CHUNK_COST + 5).await;
            writer.push(Bytes::from_static(b"0123456789"));
            writer.below(CHUNK_COST + 5).await;
        });
        let mut six = [0; 6];
        reader.read_exact(&mut six).await.expect("six of ten");
        drop(reader);
        room.await.expect("nothing waits for a reader that is gone");
    }

    #[tokio::test]
    async fn a_failure_comes_after_the_data() {
        let (writer, mut reader) = queue();
        writer.push(Bytes::from_static(b"data"));
        writer.end(Some("cut".to_owned()));
        let mut bytes = Vec::new();
        let error = reader.read_to_end(&mut bytes).await.expect_err("the stream was cut");
        assert_eq!((bytes.as_slice(), error.to_string().as_str()), (b"data".as_slice(), "cut"));
    }

    #[tokio::test]
    async fn single_bytes_are_counted_with_their_cost_and_forgotten_with_it() {
        let (writer, mut reader) = queue();
        for _ in 0..1000 {
            writer.push(Bytes::from_static(b"x"));
        }
        assert!(writer.push(Bytes::from_static(b"x")) > 100_000);
        reader.read_exact(&mut [0; 1001]).await.expect("all of them");
        assert_eq!(writer.push(Bytes::from_static(b"x")), 1 + CHUNK_COST);
    }
}
