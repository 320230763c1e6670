//! The live link to one remote, as a state machine owned by one task: it connects, keeps the agent's links,
//! and connects again after a loss.

use std::sync::Arc;

use protocol::error::{Error, Result};
use tokio::sync::watch;

pub mod install;
pub mod link;
pub mod policy;

use crate::transport::Transport;
use link::Link;

/// Which of the agent's two links bytes travel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// What a person waits for: control messages and single saves.
    Priority,
    /// First syncs and large files; on its own SSH connection where one can be opened unasked.
    Bulk,
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// An attempt is under way.
    Connecting,
    /// Connected.
    Ready,
    /// Lost; the next attempt comes by itself.
    Waiting {
        /// Why.
        error: Error,
        /// When, in milliseconds from now when this was said.
        retry_ms: u64,
    },
    /// Ended for good: refused, or closed by us.
    Closed {
        /// Why.
        error: Error,
    },
}

/// A session, reached over its task. Cheap to clone; the session ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Handle {}

impl Handle {
    /// Returns the present SSH connection, waiting for one while the session is connecting.
    pub async fn transport(&self) -> Result<Arc<dyn Transport>> {
        todo!("session helper")
    }

    /// Returns the agent's link for `lane`, starting the agent when needed. The same link until it dies.
    pub async fn link(&self, lane: Lane) -> Result<Arc<Link>> {
        let _ = lane;
        todo!("session helper")
    }

    /// Returns how the session stands, now and later.
    pub fn state(&self) -> watch::Receiver<State> {
        todo!("session helper")
    }
}
