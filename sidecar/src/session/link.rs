//! One framed conversation with an agent over any byte stream: requests, replies and the data that belong
//! to them. A hostile or broken peer costs an error, never memory or a panic.

use bytes::Bytes;
use protocol::agent::{Reply, Request, Trailer};
use protocol::error::{Code, Explain};
use protocol::hello::Facts;
use tokio::io::{AsyncRead, AsyncWrite};

/// A conversation with one agent process. Requests may overlap; dropping it ends the conversation.
#[derive(Debug)]
pub struct Link {}

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The stream ended.
    #[error("the agent's connection ended")]
    Lost,
}

impl Explain for LinkError {
    fn code(&self) -> Code {
        match self {
            Self::Lost => Code::AgentLost,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Lost => "Run `mltoolbox-sidecar agent logs` to see its last words.".to_owned(),
        }
    }
}

impl Link {
    /// Exchanges hellos over `reader` and `writer` and starts the conversation.
    pub async fn open(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, LinkError> {
        let _ = (reader, writer);
        todo!("session helper")
    }

    /// Returns what the agent said of its machine.
    pub fn facts(&self) -> &Facts {
        todo!("session helper")
    }

    /// Returns the version the agent announced.
    pub fn version(&self) -> &str {
        todo!("session helper")
    }

    /// Sends a request that has no data in either direction and returns its reply.
    pub async fn call(&self, request: Request) -> Result<Reply, LinkError> {
        let _ = request;
        todo!("session helper")
    }

    /// Opens a stream with a request that has data.
    pub async fn exchange(&self, request: Request) -> Result<Exchange, LinkError> {
        let _ = request;
        todo!("session helper")
    }

    /// Returns once the conversation is over.
    pub async fn closed(&self) {
        todo!("session helper")
    }
}

/// One stream of a link. Dropping it before its end cancels it at the agent.
#[derive(Debug)]
pub struct Exchange {}

impl Exchange {
    /// Sends data (at most `protocol::frame::MAX_BULK_DATA` bytes); waits while the link's queue is full.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        let _ = bytes;
        todo!("session helper")
    }

    /// Says that no more data will be sent.
    pub async fn finish(&mut self, trailer: Trailer) -> Result<(), LinkError> {
        let _ = trailer;
        todo!("session helper")
    }

    /// Waits for the reply.
    pub async fn reply(&mut self) -> Result<Reply, LinkError> {
        todo!("session helper")
    }

    /// Returns the next piece of data, or the trailer at the end.
    pub async fn data(&mut self) -> Result<Piece, LinkError> {
        todo!("session helper")
    }
}

/// What comes after a reply that has data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, in order.
    Data(Bytes),
    /// The end.
    End(Trailer),
}
