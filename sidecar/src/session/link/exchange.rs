//! One stream of a link, as its caller sees it.

use std::sync::Arc;

use agent::wire::{Frame, packed};
use bytes::Bytes;
use protocol::agent::{Reply, Trailer};
use protocol::frame::{Kind, MAX_BULK_DATA, cost};

use super::streams::{Incoming, Opened};
use super::{LinkError, Shared};
use crate::session::policy;

/// Credit for data we consumed is given back in pieces of this size: so little missing never stops the agent,
/// and a flood of tiny frames brings forth few of ours.
const GIVE_BACK: usize = 64 * 1024;

/// One stream of a link. Dropping it before its end cancels it at the agent.
#[derive(Debug)]
pub struct Exchange {
    shared: Arc<Shared>,
    stream: Opened,
    used: usize,
}

/// What comes after a reply that has data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, in order.
    Data(Bytes),
    /// The end.
    End(Trailer),
}

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>, stream: Opened) -> Self {
        Self { shared, stream, used: 0 }
    }

    /// Sends data (at most `protocol::frame::MAX_BULK_DATA` bytes); waits while the link's queue is full or
    /// the agent has no room. Once the agent has answered, data are no longer wanted and are dropped.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        let mut rest = bytes;
        loop {
            let payload = rest.split_to(rest.len().min(MAX_BULK_DATA));
            let cost = u32::try_from(cost(payload.len())).expect("frames are far below 4 GiB");
            let ended = self.shared.streams.ended();
            match ended.run_until_cancelled(self.stream.credit.acquire_many(cost)).await {
                None => return Err(self.shared.streams.failure()),
                Some(Err(_)) => return self.answered(),
                Some(Ok(credit)) => credit.forget(),
            }
            let (kind, payload) = self.pack(payload).await;
            self.queue(kind, payload).await?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Packs data where that pays, on a thread that may take its time.
    async fn pack(&self, payload: Bytes) -> (Kind, Bytes) {
        if !self.shared.outbox.packs() {
            return (Kind::Data, payload);
        }
        let bytes = payload.clone();
        match tokio::task::spawn_blocking(move || packed::pack(&bytes)).await {
            Ok(Some(packed)) => (Kind::Packed, packed),
            // Not worth it; or the runtime ends, and the link with it.
            Ok(None) | Err(_) => (Kind::Data, payload),
        }
    }

    /// Says that no more data will be sent.
    pub async fn finish(&mut self, trailer: Trailer) -> Result<(), LinkError> {
        let payload = postcard::to_stdvec(&trailer).expect("trailers are plain data");
        self.queue(Kind::End, payload.into()).await
    }

    /// Waits for the reply; to be taken once, before any data. Fails when the agent gave no sign of life
    /// about this stream for [`policy::SILENT_FOR`].
    pub async fn reply(&mut self) -> Result<Reply, LinkError> {
        match self.incoming("the reply").await? {
            Incoming::Reply(reply) => Ok(reply),
            Incoming::Piece(_) | Incoming::Packed(_) => {
                Err(LinkError::Protocol { what: "data came before their reply was taken".to_owned() })
            }
        }
    }

    /// Returns the next piece of data, or the trailer at the end.
    pub async fn data(&mut self) -> Result<Piece, LinkError> {
        if self.used >= GIVE_BACK {
            let (amount, id) = (std::mem::take(&mut self.used), self.stream.id);
            self.shared.streams.allow(id, amount, || self.shared.outbox.send_credit(id, amount));
        }
        match self.incoming("the next data").await? {
            Incoming::Packed(payload) => {
                // A quarter of a millisecond at most, for bytes whose decryption took as long.
                let bytes =
                    packed::unpack(&payload).map_err(|error| LinkError::Protocol { what: error.to_string() })?;
                self.used += cost(bytes.len());
                Ok(Piece::Data(bytes))
            }
            Incoming::Piece(piece) => {
                if let Piece::Data(bytes) = &piece {
                    self.used += cost(bytes.len());
                }
                Ok(piece)
            }
            Incoming::Reply(_) => Err(LinkError::Protocol { what: "a reply came in the place of data".to_owned() }),
        }
    }

    async fn incoming(&mut self, what: &'static str) -> Result<Incoming, LinkError> {
        loop {
            self.stream.alive.mark_unchanged();
            tokio::select! {
                biased;
                incoming = self.stream.incoming.recv() => {
                    return incoming.ok_or_else(|| self.shared.streams.failure());
                }
                heard = tokio::time::timeout(policy::SILENT_FOR, self.stream.alive.changed()) => match heard {
                    Err(_) => return Err(LinkError::Slow { what }),
                    // The end of the signs of life is the end of the stream; what came last is in the queue.
                    Ok(Err(_)) => return self.stream.incoming.recv().await.ok_or_else(|| self.shared.streams.failure()),
                    Ok(Ok(())) => {}
                },
            }
        }
    }

    async fn queue(&self, kind: Kind, payload: Bytes) -> Result<(), LinkError> {
        let frame = Frame { kind, stream: self.stream.id, payload };
        let ended = self.shared.streams.ended();
        match ended.run_until_cancelled(self.shared.outbox.send_data(frame)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.shared.streams.failure()),
        }
    }

    /// Tells the end of a stream, which is no error here, from the end of the link.
    fn answered(&self) -> Result<(), LinkError> {
        if self.shared.streams.ended().is_cancelled() { Err(self.shared.streams.failure()) } else { Ok(()) }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.shared.streams.is_open(self.stream.id) {
            self.shared.outbox.send_small(Kind::Cancel, self.stream.id, Bytes::new());
        }
    }
}
