//! A way to reach one machine: run commands there and put files there. Knows nothing of sessions or features.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use protocol::path::RemotePath;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::frontend::TerminalSize;

mod error;
#[cfg(unix)]
pub mod local;
pub mod ssh;
pub mod ssh_config;
#[cfg(unix)]
pub mod ssh_server;

pub use error::TransportError;
#[doc(hidden)]
pub use error::examples;

/// A way to reach one machine. Calls may run concurrently. After [`Transport::closed`] the transport is
/// dead; the session makes a new one.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Starts `command` through the user's login shell in the home directory and returns its streams.
    /// Dropping the process closes its channel.
    async fn exec(&self, command: &str, terminal: Option<&Pty>) -> Result<Process, TransportError>;
    /// Copies one file there with permission bits `mode`: whole or not at all. `sent` hears bytes so far.
    async fn upload(
        &self,
        from: &Path,
        to: &RemotePath,
        mode: u32,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError>;
    /// Removes one file that [`Transport::upload`] put there, by the same way: a shell may see other folders.
    async fn remove(&self, path: &RemotePath) -> Result<(), TransportError>;
    /// Starts a named subsystem of the server, such as `sftp`, and returns its streams. A transport that has none
    /// says that it is forbidden.
    async fn subsystem(&self, name: &str) -> Result<Process, TransportError>;
    /// Returns the time of one round trip over the live connection.
    async fn round_trip(&self) -> Result<Duration, TransportError>;
    /// Returns what was learnt while connecting.
    fn about(&self) -> &About;
    /// Finds out what the machine forbids, by trying each; takes some round trips and changes nothing there.
    async fn limits(&self) -> Result<Vec<Limit>, TransportError> {
        Ok(Vec::new())
    }
    /// Returns once the connection is dead, however it died.
    async fn closed(&self);
    /// Ends the connection.
    async fn close(&self);
}

/// What was learnt while connecting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// From dialling to the end of authentication.
    pub connect: Duration,
    /// SHA-256 fingerprint of the host key.
    pub host_key: String,
    /// Negotiated cipher.
    pub cipher: String,
    /// `agent` or `key` with its name, `a password`, `answers to its questions`; several parts joined by `and`.
    pub authentication: String,
    /// Whether a person had to type something, so that a second connection would have to ask again.
    pub interactive: bool,
}

/// What a machine that was reached does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The account runs no commands.
    NoCommands {
        /// Whose account.
        user: String,
        /// What happened instead.
        reason: String,
        /// Whether files can be transferred by SFTP all the same.
        sftp: bool,
    },
    /// There is no SFTP.
    NoSftp,
    /// Commands get no terminal.
    NoTerminal,
    /// Connections to ports are not passed on.
    NoForwarding,
    /// Connections to sockets are not passed on.
    NoSockets,
}

impl Limit {
    /// Returns what it is, and what still works, in full sentences.
    pub fn text(&self) -> String {
        match self {
            Self::NoCommands { user, reason, sftp: true } => format!(
                "It runs no commands for `{user}` ({reason}), so that there is no agent and no `exec`; SFTP works."
            ),
            Self::NoCommands { user, reason, sftp: false } => {
                format!("It runs no commands for `{user}` ({reason}) and has no SFTP: nothing works but the login.")
            }
            Self::NoSftp => {
                "It has no SFTP (`Subsystem sftp` in its `sshd_config`); single files go through the shell, \
                             and everything works."
                    .to_owned()
            }
            Self::NoTerminal => "It gives no terminals (`PermitTTY no`, or `no-pty` in `authorized_keys`); commands \
                                 without one and sync work."
                .to_owned(),
            Self::NoForwarding => {
                "It passes on no connections (`AllowTcpForwarding no`, or the key's options), so that \
                                   no port can be forwarded and it cannot be a jump host; commands and sync work."
                    .to_owned()
            }
            Self::NoSockets => {
                "It passes on no connections to sockets (`AllowStreamLocalForwarding no`); commands and \
                                sync work."
                    .to_owned()
            }
        }
    }
}

/// A pseudo-terminal to give to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pty {
    /// Terminal type, the value of `TERM`.
    pub term: String,
    /// Its size.
    pub size: TerminalSize,
}

/// A command that runs on the other machine.
pub struct Process {
    /// Its standard input; shut it down to send the end of input.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error; empty with a terminal.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Sends [`Control`]s; bounded, closed when the process is gone.
    pub control: mpsc::Sender<Control>,
    /// How it ended.
    pub exit: Pin<Box<dyn Future<Output = Result<Exit, TransportError>> + Send>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").finish_non_exhaustive()
    }
}

/// What can be said to a running command beside its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The terminal has a new size.
    Resize(TerminalSize),
    /// A signal by name without `SIG` (RFC 4254 section 6.9).
    Signal(String),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By a signal, named without `SIG`.
    Signal(String),
}
