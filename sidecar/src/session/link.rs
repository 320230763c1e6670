//! One framed conversation with an agent over any byte stream: requests, replies and the data that belong
//! to them. A hostile or broken peer costs an error, never memory or a panic.
//!
//! One task reads and never waits for anybody; one writes. Every stream has credit in both directions, so
//! a consumer that is slow holds up its own stream only, and what the agent can make us hold is bounded
//! by what we allowed: [`protocol::frame::INITIAL_CREDIT`] per stream, `READ_CREDIT` for a file.

use std::fmt;
use std::sync::Arc;

use agent::wire::{self, FrameReader, PING_EVERY};
use bytes::Bytes;
use protocol::agent::{MAX_STREAMS, Reply, Request};
use protocol::frame::{Kind, MAX_CREDIT, MAX_PAYLOAD};
use protocol::hello::{Facts, Hello, PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::DropGuard;

mod error;
mod exchange;
mod streams;

pub use error::LinkError;
#[doc(hidden)]
pub use error::examples;
pub use exchange::{Exchange, Piece};

use crate::session::policy;
use streams::{Expected, Streams};

/// Bytes of a file that the agent may have on the way to us, per file that is read. A quarter of
/// [`MAX_CREDIT`] keeps 40 MB/s flowing at a round trip of 100 ms.
const READ_CREDIT: usize = MAX_CREDIT / 4;

/// A conversation with one agent process. Requests may overlap; dropping it ends the conversation.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    facts: Facts,
    version: String,
    protocol: u32,
    _end: DropGuard,
}

/// What the tasks, the link and its exchanges share.
struct Shared {
    streams: Streams,
    outbox: wire::Outbox,
    slots: Arc<Semaphore>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Link {
    /// Exchanges hellos over `reader` and `writer` and starts the conversation.
    pub async fn open(
        reader: impl AsyncRead + Send + Unpin + 'static,
        mut writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, LinkError> {
        let ours = wire::own_hello();
        let mut reader = FrameReader::new(reader);
        let greeting = async {
            // A program that is no agent may be gone before it hears us; what it said tells more.
            let sent = wire::send_hello(&mut writer, &ours).await;
            let theirs = reader.hello().await?;
            sent.map(|()| theirs)
        };
        let theirs = tokio::time::timeout(policy::HEALTHY_WITHIN, greeting)
            .await
            .map_err(|_| LinkError::Slow { what: "its first word" })??;
        let protocol = common_version(&theirs)?;

        let (outbox, writing) = wire::outbox(writer);
        let streams = Streams::default();
        let end = streams.ended();
        let shared = Arc::new(Shared {
            streams: streams.clone(),
            outbox: outbox.clone(),
            slots: Arc::new(Semaphore::new(MAX_STREAMS)),
        });
        tokio::spawn(end.clone().run_until_cancelled_owned(fail_with(streams.clone(), writing)));
        tokio::spawn(end.clone().run_until_cancelled_owned(fail_with(streams.clone(), ping(outbox.clone()))));
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            let error = read(&mut reader, &streams, &outbox).await;
            streams.fail(error);
        }));
        let facts = theirs.facts.unwrap_or_default();
        Ok(Self { shared, facts, version: theirs.version, protocol, _end: end.drop_guard() })
    }

    /// Returns what the agent said of its machine.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the version the agent announced.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the protocol version that both sides speak on this link.
    pub fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Sends a request that has no data in either direction and returns its reply. Fails when the agent
    /// gave no sign of life about it for [`policy::SILENT_FOR`].
    pub async fn call(&self, request: Request) -> Result<Reply, LinkError> {
        self.exchange(request).await?.reply().await
    }

    /// Opens a stream with a request that has data. Waits while [`MAX_STREAMS`] are open.
    pub async fn exchange(&self, request: Request) -> Result<Exchange, LinkError> {
        if request.since() > self.protocol {
            return Err(LinkError::NotSpoken { since: request.since(), protocol: self.protocol });
        }
        let expected = Expected::of(&request);
        let payload: Bytes = postcard::to_stdvec(&request).expect("requests are plain data").into();
        if payload.len() > MAX_PAYLOAD {
            return Err(LinkError::TooLong { bytes: payload.len() });
        }
        let room = async {
            let slot = Arc::clone(&self.shared.slots).acquire_owned().await.ok()?;
            let place = self.shared.outbox.place(payload.len()).await.ok()?;
            Some((slot, place))
        };
        let Some(Some((slot, place))) = self.shared.streams.ended().run_until_cancelled(room).await else {
            return Err(self.failure());
        };
        let opened = self.shared.streams.open(expected, slot, |stream| {
            let sent = self.shared.outbox.send(place, wire::Frame { kind: Kind::Request, stream, payload });
            if sent.is_ok() && expected == Expected::Reading {
                self.shared.outbox.send_credit(stream, READ_CREDIT);
            }
        })?;
        Ok(Exchange::new(Arc::clone(&self.shared), opened))
    }

    /// Returns whether the conversation is over.
    pub fn is_closed(&self) -> bool {
        self.shared.streams.ended().is_cancelled()
    }

    /// Returns once the conversation is over.
    pub async fn closed(&self) {
        self.shared.streams.ended().cancelled().await;
    }

    /// Returns why the conversation is over; [`LinkError::Lost`] while it is not.
    pub fn failure(&self) -> LinkError {
        self.shared.streams.failure()
    }
}

fn common_version(theirs: &Hello) -> Result<u32, LinkError> {
    let (version, protocol) = (theirs.version.clone(), theirs.protocol);
    theirs.common().ok_or(if protocol < PROTOCOL {
        LinkError::AgentOlder { version, protocol }
    } else {
        LinkError::AgentNewer { version, protocol }
    })
}

async fn fail_with(streams: Streams, task: impl Future<Output = Result<(), wire::WireError>>) {
    match task.await {
        Ok(()) => streams.fail(LinkError::Lost),
        Err(error) => streams.fail(error.into()),
    }
}

/// Asks for a sign of life for ever. The reader notices when none comes.
async fn ping(outbox: wire::Outbox) -> Result<(), wire::WireError> {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        outbox.send_small(Kind::Ping, 0, Bytes::new());
    }
}

/// Reads until the conversation is over and returns why.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    streams: &Streams,
    outbox: &wire::Outbox,
) -> LinkError {
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(error) => return error.into(),
        };
        let taken = match frame.kind {
            Kind::Reply => streams.reply(frame.stream, &frame.payload),
            Kind::Data => streams.data(frame.stream, frame.payload),
            Kind::Packed => Err("packed data came"),
            Kind::End => streams.end(frame.stream, &frame.payload),
            Kind::Credit => streams.credit(frame.stream, wire::credit(&frame)),
            Kind::Ping => {
                outbox.send_pong();
                Ok(())
            }
            Kind::Pong => Ok(()),
            Kind::Hello | Kind::Request | Kind::Cancel => Err("it sent what only a sidecar may send"),
        };
        if let Err(what) = taken {
            return LinkError::Protocol { what: what.to_owned() };
        }
    }
}

#[cfg(test)]
mod tests;
