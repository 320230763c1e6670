//! From an address to an authenticated connection: dial, agree, check the host key, log in.
//!
//! One attempt; trying again is the session's decision.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use protocol::editor::RemoteRow;
use russh::Preferred;
use russh::client::{self, DisconnectReason};
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::host_key::{Accepted, HostKey};
use super::{Connection, Options, Purpose, Ssh, authenticate, ciphers};
use crate::frontend::Frontend;
use crate::transport::{About, TransportError};

/// Unanswered signs of life after which the connection is dead.
const KEEPALIVE_MAX: usize = 2;
/// Messages of one channel that may wait for its task, which never waits itself on the control connection.
const CHANNEL_BUFFER: usize = 256;

/// Connects to `remote` and logs in: one attempt, cancelled at any point by `cancel`. Questions go to `frontend`.
pub async fn connect(
    remote: &RemoteRow,
    options: &Options,
    frontend: &dyn Frontend,
    cancel: &CancellationToken,
) -> Result<Ssh, TransportError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(TransportError::Cancelled { host: remote.host.clone() }),
        connected = attempt(remote, options, frontend) => connected,
    }
}

async fn attempt(remote: &RemoteRow, options: &Options, frontend: &dyn Frontend) -> Result<Ssh, TransportError> {
    let start = Instant::now();
    let stream = dial(remote, options).await?;
    let socket = Socket::of(&stream, options).map_err(|source| unreachable_remote(remote, source))?;
    let host_key = HostKey::prepare(remote, options, frontend).await?;
    let (handle, seen, asked) = agree(stream, &host_key).await?;
    let mut connection = Connection {
        handle,
        host: remote.host.clone(),
        slow_reader: options.slow_reader,
        ended: seen.ended,
        farewell: seen.farewell,
        socket,
    };
    let login = authenticate::log_in(&mut connection, remote, options, frontend).await?;
    let about = About {
        connect: start.elapsed(),
        host_key: asked.fingerprint,
        cipher: seen.cipher.get().cloned().unwrap_or_default(),
        authentication: login.name,
        interactive: login.interactive,
    };
    Ok(Ssh { connection: Arc::new(connection), about })
}

/// Tries every address of the host, in the resolver's order.
async fn dial(remote: &RemoteRow, options: &Options) -> Result<TcpStream, TransportError> {
    let host = remote.host.trim_start_matches('[').trim_end_matches(']');
    let silent = || TransportError::Silent {
        host: remote.host.clone(),
        port: remote.port,
        seconds: options.connect_timeout.as_secs(),
    };
    let resolving = tokio::net::lookup_host((host, remote.port));
    let addresses: Vec<SocketAddr> = match timeout(options.connect_timeout, resolving).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(source)) => return Err(unreachable_remote(remote, source)),
        Err(_) => return Err(silent()),
    };
    let mut last = unreachable_remote(remote, io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in addresses {
        last = match timeout(options.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => unreachable_remote(remote, source),
            Err(_) => silent(),
        };
    }
    Err(last)
}

/// Shuts the connection's socket when it is dropped, so that nothing of a given-up attempt goes on.
#[derive(Debug)]
pub(super) struct Socket(std::net::TcpStream);

impl Socket {
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "only Linux has such a limit"))]
    fn of(stream: &TcpStream, options: &Options) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(unix)]
        let copy = {
            use std::os::fd::AsFd as _;
            std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?)
        };
        #[cfg(windows)]
        let copy = {
            use std::os::windows::io::AsSocket as _;
            std::net::TcpStream::from(stream.as_socket().try_clone_to_owned()?)
        };
        // What was sent and is not acknowledged counts as silence too; the kernel would wait 15 minutes.
        #[cfg(target_os = "linux")]
        {
            let limit = options.keepalive.saturating_mul(3).as_millis();
            rustix::net::sockopt::set_tcp_user_timeout(&copy, u32::try_from(limit).unwrap_or(u32::MAX))?;
        }
        Ok(Self(copy))
    }

    /// Shuts the socket down; its reader and writer see the end at once.
    pub(super) fn shut(&self) {
        if let Err(error) = self.0.shutdown(std::net::Shutdown::Both) {
            tracing::trace!(%error, "the socket is shut already");
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shut();
    }
}

/// What the connection's task tells.
struct Seen {
    cipher: Arc<OnceLock<String>>,
    ended: CancellationToken,
    farewell: Arc<Mutex<Option<String>>>,
}

/// Runs the handshake. The time a person needs for an answer does not count.
async fn agree(
    stream: TcpStream,
    host_key: &HostKey<'_>,
) -> Result<(client::Handle<Client>, Seen, Accepted), TransportError> {
    let (remote, options) = (host_key.remote, host_key.options);
    let (offers_tx, mut offers) = mpsc::channel(1);
    let ended = CancellationToken::new();
    let seen = Seen { cipher: Arc::default(), ended: ended.clone(), farewell: Arc::default() };
    let client = Client {
        offers: offers_tx,
        accepted: None,
        cipher: Arc::clone(&seen.cipher),
        farewell: Arc::clone(&seen.farewell),
        _ended: ended.drop_guard(),
    };
    let config = configuration(options, host_key.algorithms());
    let connecting = client::connect_stream(Arc::new(config), stream, client);
    tokio::pin!(connecting);
    let mut accepted = None;
    let mut deadline = tokio::time::Instant::now() + options.connect_timeout;
    let connected = loop {
        tokio::select! {
            connected = &mut connecting => break connected,
            Some(offer) = offers.recv() => {
                let Offer { key, reply } = offer;
                let start = tokio::time::Instant::now();
                accepted = Some(host_key.judge(key.as_ref()).await?);
                deadline += start.elapsed();
                if reply.send(true).is_err() {
                    tracing::debug!("the server went away while its key was checked");
                }
            }
            () = tokio::time::sleep_until(deadline) => return Err(TransportError::Silent {
                host: remote.host.clone(),
                port: remote.port,
                seconds: options.connect_timeout.as_secs(),
            }),
        }
    };
    match (connected, accepted) {
        (Ok(handle), Some(accepted)) => Ok((handle, seen, accepted)),
        (Ok(_), None) => Err(protocol(remote, russh::Error::UnknownKey)),
        (Err(russh::Error::IO(source)), _) => Err(unreachable_remote(remote, source)),
        // Servers under load (`MaxStartups`) and those that start just now hang up like this.
        (Err(russh::Error::Disconnect | russh::Error::HUP), _) => {
            Err(unreachable_remote(remote, io::Error::new(io::ErrorKind::ConnectionReset, "the server hung up")))
        }
        (Err(error), _) => Err(protocol(remote, error)),
    }
}

fn unreachable_remote(remote: &RemoteRow, source: io::Error) -> TransportError {
    TransportError::Unreachable { host: remote.host.clone(), port: remote.port, source }
}

fn protocol(remote: &RemoteRow, error: russh::Error) -> TransportError {
    TransportError::Protocol { host: remote.host.clone(), port: remote.port, source: Box::new(error) }
}

fn configuration(options: &Options, host_keys: Vec<Algorithm>) -> client::Config {
    let mut preferred = Preferred::DEFAULT;
    preferred.key = Cow::Owned(host_keys);
    preferred.cipher = Cow::Owned(ciphers::preferred());
    // What is synced is compressed by whoever knows whether that pays.
    preferred.compression = Cow::Borrowed(&[russh::compression::NONE]);
    client::Config {
        window_size: match options.purpose {
            Purpose::Control => 2 * 1024 * 1024,
            Purpose::Bulk => 16 * 1024 * 1024,
        },
        channel_buffer_size: CHANNEL_BUFFER,
        preferred,
        // A quiet connection is a healthy one; only missing signs of life end it.
        inactivity_timeout: None,
        keepalive_interval: Some(options.keepalive),
        keepalive_max: KEEPALIVE_MAX,
        nodelay: true,
        ..client::Config::default()
    }
}

/// A key that waits for judgement.
#[derive(Debug)]
struct Offer {
    /// `None` for a certificate.
    key: Option<PublicKey>,
    reply: oneshot::Sender<bool>,
}

/// What the library calls on the connection's own task.
#[derive(Debug)]
pub(super) struct Client {
    offers: mpsc::Sender<Offer>,
    accepted: Option<PublicKey>,
    cipher: Arc<OnceLock<String>>,
    farewell: Arc<Mutex<Option<String>>>,
    _ended: DropGuard,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let key = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => Some(key.clone()),
            PublicKeyOrCertificate::Certificate(_) => None,
        };
        if self.accepted.is_some() {
            // Keys are exchanged again every GiB; the server must stay the same.
            return Ok(self.accepted == key);
        }
        let (reply, judged) = oneshot::channel();
        let asked = self.offers.send(Offer { key: key.clone(), reply }).await.is_ok();
        let good = asked && judged.await.unwrap_or(false);
        self.accepted = if good { key } else { None };
        Ok(good)
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &russh::Names,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.cipher.get_or_init(|| names.cipher.as_ref().to_owned());
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let (text, result) = match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                (format!("the server said `{}`", printable(&said.message)), Ok(()))
            }
            DisconnectReason::Error(error) => (error.to_string(), Err(error)),
        };
        *self.farewell.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(text);
        result
    }
}

/// Returns a server's text without what could move a terminal's cursor, and not too long.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_moves_no_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a[2Jbc");
    }
}
