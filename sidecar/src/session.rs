//! The live link to one remote, as a state machine owned by one task: it connects, keeps the agent's links,
//! and connects again after a loss.
//!
//! Only this module tries again after a failure. How a machine is reached is a [`Connector`]'s affair.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::error::{Code, Error, Explain, Result};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) mod audience;
pub mod by_ssh;
pub mod command;
pub mod install;
pub mod link;
pub mod marked;
pub mod policy;
mod task;
mod wake;

use crate::frontend::Frontend;
use crate::transport::Transport;
use audience::Audience;
use link::Link;

/// Questions to a session that may wait for its task.
const ASKS: usize = 64;

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

/// A failed attempt to reach a machine.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// Whether the same attempt may succeed a little later.
    pub transient: bool,
}

/// How one machine and its agent are reached. Implemented over SSH, and by a script in tests.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug {
    /// Makes one attempt. Questions go to `frontend`.
    async fn connect(
        &self,
        lane: Lane,
        frontend: &dyn Frontend,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Transport>, Failed>;
    /// Opens a link to the agent over `transport`, installing and starting the agent when needed.
    async fn agent(&self, transport: &Arc<dyn Transport>, frontend: &dyn Frontend) -> Result<Link>;
}

/// A session, reached over its task. Cheap to clone; the session ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<State>,
    audience: Audience,
    _end: DropGuard,
}

#[derive(Debug)]
enum Ask {
    Transport(oneshot::Sender<Result<Arc<dyn Transport>>>),
    Link(Lane, oneshot::Sender<Result<Arc<Link>>>),
}

/// Why a session gives nothing.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the session was closed")]
    Closed,
    #[error("the connection was lost")]
    Lost,
}

impl Explain for SessionError {
    fn code(&self) -> Code {
        match self {
            Self::Closed => Code::Cancelled,
            Self::Lost => Code::SshLost,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Closed => "Run the command again; it opens a new one.".to_owned(),
            Self::Lost => {
                "Nothing has to be done: it is made again by itself, as soon as the machine answers.".to_owned()
            }
        }
    }
}

impl Handle {
    /// Starts a session. Questions of its attempts go to `frontend` while somebody holds it.
    pub fn start(connector: Arc<dyn Connector>, frontend: &Arc<dyn Frontend>) -> Self {
        let (asks, queue) = mpsc::channel(ASKS);
        let (say, state) = watch::channel(State::Connecting);
        let audience = Audience::new(frontend);
        let end = CancellationToken::new();
        let task = task::Task::new(connector, audience.clone(), say, end.clone());
        tokio::spawn(task.run(queue));
        Self { inner: Arc::new(Inner { asks, state, audience, _end: end.drop_guard() }) }
    }

    /// Returns the present SSH connection, waiting for one while the session is connecting. When the
    /// attempt that is under way fails, its error is returned.
    pub async fn transport(&self) -> Result<Arc<dyn Transport>> {
        self.ask(Ask::Transport).await
    }

    /// Returns the agent's link for `lane`, starting the agent when needed. The same link until it dies.
    pub async fn link(&self, lane: Lane) -> Result<Arc<Link>> {
        self.ask(|answer| Ask::Link(lane, answer)).await
    }

    /// Returns how the session stands, now and later.
    pub fn state(&self) -> watch::Receiver<State> {
        self.inner.state.clone()
    }

    /// Lets later attempts speak to this front end, for as long as somebody holds it.
    pub fn speak_to(&self, frontend: &Arc<dyn Frontend>) {
        self.inner.audience.set(frontend);
    }

    /// Returns whether both are handles of one session.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T>>) -> Ask) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        if self.inner.asks.send(ask(answer)).await.is_err() {
            return Err(self.closed());
        }
        answered.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn closed(&self) -> Error {
        match &*self.inner.state.borrow() {
            State::Closed { error } | State::Waiting { error, .. } => error.clone(),
            State::Connecting | State::Ready => SessionError::Closed.into(),
        }
    }
}

/// Returns each kind of error of a session once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let own = vec![SessionError::Closed.into(), SessionError::Lost.into()];
    [own, command::examples(), install::examples(), link::examples()].concat()
}

#[cfg(test)]
mod tests;
