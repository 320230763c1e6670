//! An SSH server on this machine, for this machine: what `try` and the tests connect to.
//!
//! It listens on the loopback address alone, lets one key in, runs commands as the present user with a home of
//! its own, and refuses terminals and forwarding.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Preferred, Sig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ssh::ciphers;

mod command;
mod sftp;

/// How long commands get to end once the server stops; they are killed first, so this is for the kernel.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages of one channel that may wait for its command.
const CHANNEL_BUFFER: usize = 256;

/// A running server. It stops when it is dropped; [`Server::stop`] also waits for that.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    host_key: PublicKey,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts a server with a fresh host key, whose commands have `home` as their home and that lets in whoever
    /// holds the private half of `authorized`, under any user name.
    pub async fn start(home: &Path, authorized: &PublicKey) -> io::Result<Self> {
        let home = home.canonicalize()?;
        let key =
            PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
        let host_key = key.public_key().clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let config = Arc::new(server::Config {
            keys: vec![key],
            methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
            // There is one key, and nobody to hide from on the loopback address.
            auth_rejection_time: Duration::ZERO,
            inactivity_timeout: None,
            channel_buffer_size: CHANNEL_BUFFER,
            preferred: Preferred { cipher: ciphers::preferred().into(), ..Preferred::DEFAULT },
            nodelay: true,
            ..server::Config::default()
        });
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let place = Place { home, authorized: authorized.clone(), stopping: stopping.clone(), tasks: tasks.clone() };
        tasks.spawn(accept(listener, config, place));
        Ok(Self { address, host_key, stopping, tasks })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its host key.
    pub fn host_key(&self) -> &PublicKey {
        &self.host_key
    }

    /// Stops listening, ends every connection and kills every command. What a command started in a session of
    /// its own goes on, as it does with OpenSSH.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some commands of the embedded SSH server have not ended");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Makes a key pair, writes its private half to `path` with mode 0600 and returns the public one.
pub fn write_key(path: &Path) -> io::Result<PublicKey> {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
    key.write_openssh_file(path, LineEnding::LF).map_err(io::Error::other)?;
    Ok(key.public_key().clone())
}

/// Speaks SFTP over a stream, below `home`; `plain` as servers without OpenSSH's extensions do.
#[cfg(test)]
pub(crate) async fn speak_sftp(stream: tokio::io::DuplexStream, home: &Path, plain: bool) {
    let home = home.canonicalize().expect("a test's own folder");
    let files = if plain { sftp::Files::plain(home) } else { sftp::Files::new(home) };
    russh_sftp::server::run(stream, files).await;
}

/// What every connection is given.
#[derive(Clone, Debug)]
struct Place {
    home: PathBuf,
    authorized: PublicKey,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

async fn accept(listener: TcpListener, config: Arc<server::Config>, place: Place) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = place.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                place.tasks.spawn(serve(stream, Arc::clone(&config), place.clone()));
            }
            Err(error) => {
                // Out of file numbers, most likely; some will be free again soon.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, config: Arc<server::Config>, place: Place) {
    let stopping = place.stopping.clone();
    let serving = async {
        stream.set_nodelay(true)?;
        // Cancelled when the connection is gone, whoever ended it.
        let gone = place.stopping.child_token();
        let connection = Connection { place, channels: HashMap::new(), signals: HashMap::new(), gone: gone.clone() };
        let _gone = gone.drop_guard();
        let session = server::run_stream(config, stream, connection).await?;
        let handle = session.handle();
        tokio::select! {
            ended = session => ended,
            () = stopping.cancelled() => {
                handle.disconnect(russh::Disconnect::ByApplication, String::new(), String::new()).await
            }
        }
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(%error, "a connection to the embedded SSH server ended");
        },
        () = async { stopping.cancelled().await; tokio::time::sleep(STOP_TIMEOUT / 5).await } => {}
    }
}

/// One connection.
struct Connection {
    place: Place,
    /// Open sessions that no command was started on yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
    /// The way to the commands that run.
    signals: HashMap<ChannelId, mpsc::Sender<Sig>>,
    gone: CancellationToken,
}

impl Connection {
    fn judge(&self, key: &PublicKey) -> Auth {
        if key.key_data() == self.place.authorized.key_data() { Auth::Accept } else { Auth::reject() }
    }
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        self.signals.remove(&channel);
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id) else { return session.channel_failure(id) };
        let (signals, signalled) = mpsc::channel(8);
        match command::spawn(&self.place.home, command) {
            Ok(child) => {
                self.signals.insert(id, signals);
                session.channel_success(id)?;
                let run = command::run(child, channel, session.handle(), signalled, self.gone.clone());
                self.place.tasks.spawn(run);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the embedded SSH server could not start a command");
                session.channel_failure(id)?;
                session.close(id)
            }
        }
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        if name != "sftp" {
            return session.channel_failure(id);
        }
        let Some(channel) = self.channels.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        russh_sftp::server::run(channel.into_stream(), sftp::Files::new(self.place.home.clone())).await;
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(signals) = self.signals.get(&id)
            && let Err(error) = signals.try_send(signal)
        {
            tracing::debug!(%error, "a signal was not delivered");
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }
}
