//! A machine reached by SSH: the only way in, spoken by `russh` and by nothing else.
//!
//! One attempt per call and nothing global: what is read from the user's home comes in with [`Options`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use protocol::path::RemotePath;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

mod authenticate;
mod channel;
pub(super) mod ciphers;
mod connect;
mod dial;
mod host_key;
mod identity;
pub mod known_hosts;
mod limits;
mod proxy;
pub(super) mod queue;
mod record;
pub(super) mod signal;
#[cfg(all(test, unix))]
mod tests;
mod upload;
mod wire;

pub use connect::connect;

use super::{About, Limit, Process, Pty, Transport, TransportError};
use channel::Request;

/// A round trip that takes longer than this is as good as none; a slow satellite link needs two seconds.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a farewell may take; it is a courtesy to the server's log.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// What a connection is for; it decides how much may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Commands and single saves.
    Control,
    /// Large transfers: 20 MiB/s at 100 ms of distance need a window far above 2 MiB.
    Bulk,
}

/// What happens when nobody reads a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowReader {
    /// The command is ended once [`SlowReader::CAP`] bytes wait; everything else goes on.
    EndCommand,
    /// The connection waits, with all that is on it: for a connection that serves one process alone, whose
    /// reader never waits for its own writer.
    StopReading,
}

impl SlowReader {
    /// What is kept for a slow reader before its command is ended: more than any healthy reader lets wait.
    pub const CAP: usize = 64 * 1024 * 1024;
    /// What is kept for a slow reader before the connection waits.
    pub const WINDOW: usize = 4 * 1024 * 1024;
}

/// Everything a connection depends on beside the host itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether every question is answered with yes.
    pub yes: bool,
    /// The user's home.
    pub home: PathBuf,
    /// The socket of the SSH agent that the environment names.
    pub agent: Option<PathBuf>,
    /// What the connection is for.
    pub purpose: Purpose,
    /// What happens when nobody reads a command's output.
    pub slow_reader: SlowReader,
    /// How long each address may take to answer, and then the handshake, without the time a person needs, unless the
    /// host's configuration says so.
    pub connect_timeout: Duration,
    /// After this much silence a sign of life is asked for, unless the host's configuration says so; after three times
    /// this the connection is dead.
    pub keepalive: Duration,
}

impl Options {
    /// A server across the world on a loaded machine answers within a few seconds.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// Three of them are 42 s, so that a dead peer is seen within 45 s.
    pub const KEEPALIVE: Duration = Duration::from_secs(14);

    /// Returns the options of a person whose home is `home` and whose `SSH_AUTH_SOCK` is `agent`.
    pub fn new(home: &Path, agent: Option<PathBuf>, purpose: Purpose) -> Self {
        Self {
            yes: false,
            home: home.to_owned(),
            agent,
            purpose,
            slow_reader: SlowReader::EndCommand,
            connect_timeout: Self::CONNECT_TIMEOUT,
            keepalive: Self::KEEPALIVE,
        }
    }
}

/// A live SSH connection. It ends when this and the last of its processes are dropped.
#[derive(Debug)]
pub struct Ssh {
    connection: Arc<Connection>,
    about: About,
}

/// What the parts of a connection share.
struct Connection {
    handle: russh::client::Handle<connect::Client>,
    host: String,
    user: String,
    slow_reader: SlowReader,
    /// Cancelled when the connection's task has ended.
    ended: CancellationToken,
    /// Why it ended, once that is known.
    farewell: Arc<Mutex<Option<String>>>,
    /// Cuts the line when the last part is dropped.
    cut: wire::Cut,
    /// The command that is the line.
    _proxy: Option<proxy::Proxy>,
    /// The connection to the host before this one, which carries it.
    below: Option<Arc<Connection>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Connection {
    fn is_closed(&self) -> bool {
        self.ended.is_cancelled() || self.handle.is_closed()
    }

    /// Returns why the connection ended, once that is known.
    fn farewell_said(&self) -> Option<String> {
        self.farewell.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn lost(&self, reason: Option<&str>) -> TransportError {
        let reason = reason.map(str::to_owned).or_else(|| self.farewell_said());
        let reason = match self.below.as_deref().filter(|below| below.is_closed()) {
            Some(below) => {
                let why = below.farewell_said().unwrap_or_else(|| "it was closed".to_owned());
                format!("the connection to the jump host `{}` ended: {why}", below.host)
            }
            None => reason.unwrap_or_else(|| "it was closed".to_owned()),
        };
        TransportError::Lost { host: self.host.clone(), reason }
    }

    /// Returns the error for a library's failure on a connection that was up.
    fn failed(&self, error: &russh::Error) -> TransportError {
        let sending = matches!(error, russh::Error::SendError | russh::Error::RecvError);
        if sending || self.is_closed() { self.lost(None) } else { self.lost(Some(&error.to_string())) }
    }

    /// Says goodbye and sees to it that this is the end.
    async fn end(&self) {
        let farewell = self.handle.disconnect(russh::Disconnect::ByApplication, "", "");
        if !matches!(timeout(FAREWELL_TIMEOUT, farewell).await, Ok(Ok(()))) {
            tracing::debug!(host = self.host, "the connection ended without a farewell");
        }
        if timeout(FAREWELL_TIMEOUT, self.ended.cancelled()).await.is_err() {
            self.cut.now();
        }
    }

    fn forbidden(&self, what: &str) -> TransportError {
        TransportError::Forbidden { host: self.host.clone(), what: what.to_owned() }
    }
}

#[async_trait]
impl Transport for Ssh {
    async fn exec(&self, command: &str, terminal: Option<&Pty>) -> Result<Process, TransportError> {
        channel::start(&self.connection, Request::Command(command, terminal)).await
    }

    async fn upload(
        &self,
        from: &Path,
        to: &RemotePath,
        mode: u32,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        upload::upload(&self.connection, from, to, mode, sent).await
    }

    async fn remove(&self, path: &RemotePath) -> Result<(), TransportError> {
        upload::remove(&self.connection, path).await
    }

    async fn subsystem(&self, name: &str) -> Result<Process, TransportError> {
        channel::start(&self.connection, Request::Subsystem(name)).await
    }

    async fn round_trip(&self) -> Result<Duration, TransportError> {
        let start = Instant::now();
        match timeout(ROUND_TRIP_TIMEOUT, self.connection.handle.send_ping()).await {
            Ok(Ok(())) => Ok(start.elapsed()),
            Ok(Err(error)) => Err(self.connection.failed(&error)),
            Err(_) => Err(self.connection.lost(Some("the server stopped answering"))),
        }
    }

    fn about(&self) -> &About {
        &self.about
    }

    async fn limits(&self) -> Result<Vec<Limit>, TransportError> {
        limits::find(&self.connection).await
    }

    async fn closed(&self) {
        self.connection.ended.cancelled().await;
    }

    async fn close(&self) {
        let mut next = Some(&self.connection);
        while let Some(connection) = next {
            connection.end().await;
            next = connection.below.as_ref();
        }
    }
}
