//! From an address to an authenticated connection: dial, agree, check the host key, log in.
//!
//! One attempt; trying again is the session's decision.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;
use russh::client::{self, DisconnectReason};
use russh::keys::{Certificate, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelOpenFailure, Preferred};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::{self, unreachable};
use super::host_key::{Accepted, HostKey};
use super::wire::{Cut, Stream};
use super::{Connection, Options, Purpose, Ssh, authenticate, ciphers, proxy};
use crate::frontend::{Answer, Frontend, Progress, Question, Terminal};
use crate::transport::ssh_config::{Host, Proxy};
use crate::transport::{About, TransportError};

/// Unanswered signs of life after which the connection is dead.
const KEEPALIVE_MAX: usize = 2;
/// Messages of one channel that may wait for its task, which never waits itself on the control connection.
const CHANNEL_BUFFER: usize = 256;
/// Banners that wait to be shown; a server has one.
const BANNERS: usize = 4;
/// Letters of a banner that are kept.
const MAX_BANNER: usize = 4096;

/// Connects to `host` and logs in, through its jump hosts if it has any: one attempt, cancelled at any point by
/// `cancel`. Questions go to `frontend`.
pub async fn connect(
    host: &Host,
    options: &Options,
    frontend: &dyn Frontend,
    cancel: &CancellationToken,
) -> Result<Ssh, TransportError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(TransportError::Cancelled { host: host.alias.clone() }),
        connected = attempt(host, options, frontend) => connected,
    }
}

async fn attempt(host: &Host, options: &Options, frontend: &dyn Frontend) -> Result<Ssh, TransportError> {
    let start = Instant::now();
    for warning in &host.warnings {
        frontend.tell(warning.clone());
    }
    let hops = match &host.proxy {
        Proxy::Jump(hops) => hops.as_slice(),
        Proxy::Direct | Proxy::Command(_) => &[],
    };
    let mut below = None;
    let mut interactive = false;
    for hop in hops {
        let (connection, about) = reach(hop, below.take(), options, frontend).await.map_err(|source| {
            TransportError::Jump { hop: hop.alias.clone(), host: host.alias.clone(), source: Box::new(source) }
        })?;
        interactive |= about.interactive;
        below = Some(Arc::new(connection));
    }
    let (connection, about) = reach(host, below, options, frontend).await?;
    let about = About { connect: start.elapsed(), interactive: about.interactive || interactive, ..about };
    Ok(Ssh { connection: Arc::new(connection), about })
}

/// Connects to one host, over `below` when there is such a connection, and logs in.
async fn reach(
    host: &Host,
    below: Option<Arc<Connection>>,
    options: &Options,
    frontend: &dyn Frontend,
) -> Result<(Connection, About), TransportError> {
    let silent;
    let frontend = if host.may_ask {
        frontend
    } else {
        silent = Silent(frontend);
        &silent
    };
    let Line { stream, cut, mut proxy } = line(host, below.as_deref(), options).await?;
    let host_key = HostKey::prepare(host, options, frontend).await?;
    let agreed = match agree(host, stream, options, &host_key).await {
        Ok(agreed) => Ok(agreed),
        Err(error) if error.is_transient() => match &mut proxy {
            Some(proxy) => Err(proxy.fault().await.unwrap_or(error)),
            None => Err(error),
        },
        Err(error) => Err(error),
    };
    let (handle, mut seen, asked) = agreed?;
    let mut connection = Connection {
        handle,
        host: host.alias.clone(),
        user: host.user.clone(),
        slow_reader: options.slow_reader,
        ended: seen.ended,
        farewell: seen.farewell,
        cut,
        _proxy: proxy,
        below,
    };
    let login = authenticate::log_in(&mut connection, host, options, frontend, &mut seen.banners).await?;
    let about = About {
        host_key: asked.fingerprint,
        cipher: seen.cipher.get().cloned().unwrap_or_default(),
        authentication: login.name,
        interactive: login.interactive,
        ..About::default()
    };
    Ok((connection, about))
}

/// The bytes to a host.
struct Line {
    stream: Stream,
    cut: Cut,
    proxy: Option<proxy::Proxy>,
}

/// Opens the way to a host: a channel of the host before it, the user's command, or a socket.
async fn line(host: &Host, below: Option<&Connection>, options: &Options) -> Result<Line, TransportError> {
    let limit = host.connect_timeout.unwrap_or(options.connect_timeout);
    if let Some(below) = below {
        let (stream, cut) = Cut::stream(through(below, host, limit).await?);
        return Ok(Line { stream, cut, proxy: None });
    }
    if let Proxy::Command(command) = &host.proxy {
        let (stream, cut, proxy) = proxy::Proxy::start(host, command)?;
        return Ok(Line { stream, cut, proxy: Some(proxy) });
    }
    let socket = dial::dial(host, limit).await?;
    let silence = host.keepalive.unwrap_or(options.keepalive).saturating_mul(3);
    let (stream, cut) = Cut::socket(socket, silence).map_err(|source| unreachable(host, source))?;
    Ok(Line { stream, cut, proxy: None })
}

/// Asks a jump host for a connection to the next one. The stream closes its channel when it is dropped.
async fn through(
    hop: &Connection,
    host: &Host,
    limit: Duration,
) -> Result<russh::ChannelStream<client::Msg>, TransportError> {
    let name = host.hostname.trim_start_matches('[').trim_end_matches(']');
    // The address that asks is of no use to the jump host, as with OpenSSH.
    let opening = hop.handle.channel_open_direct_tcpip(name, u32::from(host.port), "127.0.0.1", 65535);
    match timeout(limit, opening).await {
        Ok(Ok(channel)) => Ok(channel.into_stream()),
        Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => {
            Err(TransportError::Beyond { hop: hop.host.clone(), host: name.to_owned(), port: host.port })
        }
        Ok(Err(russh::Error::ChannelOpenFailure(_))) => {
            Err(hop.forbidden(&format!("to pass on connections to `{name}` on port {}", host.port)))
        }
        Ok(Err(error)) => Err(hop.failed(&error)),
        Err(_) => Err(TransportError::Silent { host: host.alias.clone(), port: host.port, seconds: limit.as_secs() }),
    }
}

/// A front end whose person is not to be asked.
#[derive(Debug)]
struct Silent<'a>(&'a dyn Frontend);

#[async_trait]
impl Frontend for Silent<'_> {
    fn report(&self, progress: Progress) {
        self.0.report(progress);
    }

    fn tell(&self, line: String) {
        self.0.tell(line);
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        self.0.output(stream, bytes).await;
    }

    async fn ask(&self, _question: &Question) -> Option<Answer> {
        None
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

/// What the connection's task tells.
struct Seen {
    cipher: Arc<OnceLock<String>>,
    ended: CancellationToken,
    farewell: Arc<Mutex<Option<String>>>,
    banners: mpsc::Receiver<String>,
}

/// Runs the handshake. The time a person needs for an answer does not count.
async fn agree(
    host: &Host,
    stream: Stream,
    options: &Options,
    host_key: &HostKey<'_>,
) -> Result<(client::Handle<Client>, Seen, Accepted), TransportError> {
    let limit = host.connect_timeout.unwrap_or(options.connect_timeout);
    let (banners_tx, banners) = mpsc::channel(BANNERS);
    let (offers_tx, mut offers) = mpsc::channel(1);
    let ended = CancellationToken::new();
    let seen = Seen { cipher: Arc::default(), ended: ended.clone(), farewell: Arc::default(), banners };
    let client = Client {
        offers: offers_tx,
        accepted: None,
        cipher: Arc::clone(&seen.cipher),
        farewell: Arc::clone(&seen.farewell),
        banners: banners_tx,
        _ended: ended.drop_guard(),
    };
    let config = configuration(host, options, host_key);
    let connecting = client::connect_stream(Arc::new(config), stream, client);
    tokio::pin!(connecting);
    let mut accepted = None;
    let mut deadline = tokio::time::Instant::now() + limit;
    let connected = loop {
        tokio::select! {
            connected = &mut connecting => break connected,
            Some(offer) = offers.recv() => {
                let Offer { key, certificate, reply } = offer;
                let start = tokio::time::Instant::now();
                accepted = Some(host_key.judge(&key, certificate.as_deref()).await?);
                deadline += start.elapsed();
                if reply.send(true).is_err() {
                    tracing::debug!("the server went away while its key was checked");
                }
            }
            () = tokio::time::sleep_until(deadline) => return Err(TransportError::Silent {
                host: host.alias.clone(),
                port: host.port,
                seconds: limit.as_secs(),
            }),
        }
    };
    match (connected, accepted) {
        (Ok(handle), Some(accepted)) => Ok((handle, seen, accepted)),
        (Ok(_), None) => Err(protocol(host, russh::Error::UnknownKey)),
        (Err(russh::Error::IO(source)), _) => Err(unreachable(host, source)),
        // Servers under load (`MaxStartups`) and those that start just now hang up like this.
        (Err(russh::Error::Disconnect | russh::Error::HUP), _) => {
            Err(unreachable(host, io::Error::new(io::ErrorKind::ConnectionReset, "the server hung up")))
        }
        (Err(error), _) => Err(protocol(host, error)),
    }
}

fn protocol(host: &Host, error: russh::Error) -> TransportError {
    TransportError::Protocol { host: host.alias.clone(), port: host.port, source: Box::new(error) }
}

fn configuration(host: &Host, options: &Options, host_key: &HostKey<'_>) -> client::Config {
    let mut preferred = Preferred::DEFAULT;
    preferred.key = Cow::Owned(host_key.algorithms());
    preferred.host_key_certificates = Cow::Owned(host_key.certificates());
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
        keepalive_interval: Some(host.keepalive.unwrap_or(options.keepalive)),
        keepalive_max: KEEPALIVE_MAX,
        nodelay: true,
        ..client::Config::default()
    }
}

/// A key that waits for judgement.
#[derive(Debug)]
struct Offer {
    /// The key, or the one that the certificate is about.
    key: PublicKey,
    certificate: Option<Box<Certificate>>,
    reply: oneshot::Sender<bool>,
}

/// What the library calls on the connection's own task.
#[derive(Debug)]
pub(super) struct Client {
    offers: mpsc::Sender<Offer>,
    accepted: Option<PublicKey>,
    cipher: Arc<OnceLock<String>>,
    farewell: Arc<Mutex<Option<String>>>,
    banners: mpsc::Sender<String>,
    _ended: DropGuard,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let certificate = offered.certificate().cloned().map(Box::new);
        let key = offered.public_key();
        if let Some(accepted) = &self.accepted {
            // Keys are exchanged again every GiB; the server must stay the same.
            return Ok(accepted.key_data() == key.key_data());
        }
        let (reply, judged) = oneshot::channel();
        let asked = self.offers.send(Offer { key: key.clone(), certificate, reply }).await.is_ok();
        let good = asked && judged.await.unwrap_or(false);
        self.accepted = if good { Some(key) } else { None };
        Ok(good)
    }

    async fn auth_banner(&mut self, banner: &str, _session: &mut client::Session) -> Result<(), Self::Error> {
        let banner = banner.chars().take(MAX_BANNER).collect();
        if self.banners.try_send(banner).is_err() {
            tracing::debug!("the server says more than is shown");
        }
        Ok(())
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
