//! One `mlt serve` per user, machine and build: its lock, its socket, its life.
//!
//! Whoever holds the lock is the daemon; only the holder touches the socket file. So a race has one
//! winner, and a socket that a killed daemon left behind is removed by the next one. Daemons of several builds live
//! side by side while their sessions last; the leases of roots are files, which all of them heed.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

pub mod clean;
pub mod error;
pub mod handover;
pub mod place;
pub mod program;
pub mod start;

use crate::log::{self, Rotating};
use crate::serve::{Agent, Config, serve};
use crate::wire::DEAD_AFTER;
use error::DaemonError;
use handover::Caller;
use place::Place;

/// A daemon without a link ends after this time: long enough for a nap, short enough to leave no litter.
const IDLE: Duration = Duration::from_mins(30);

/// A pause after `accept` failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Lock files that are removed while they are being locked, one after the other; a cleaner takes one at most.
const LOCK_TRIES: usize = 16;

/// Who started a daemon; it outlives a log-out either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartedBy {
    /// The user's service manager.
    Systemd,
    /// Ourselves, in a session of its own.
    Setsid,
}

/// Runs the daemon until it is stopped or idle. Returns false when another one is running already.
pub fn run(place: &Place, started_by: StartedBy) -> Result<bool, DaemonError> {
    place.prepare()?;
    let Some(_lock) = take_lock(place, started_by)? else { return Ok(false) };
    detach(place)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, |count| count.get().min(4)))
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let result = runtime.block_on(listen(place, started_by));
    // A thread that hangs in a dead file system must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result.map(|()| true)
}

/// Returns the lock when nobody else holds it, with our number in it for people.
fn take_lock(place: &Place, started_by: StartedBy) -> Result<Option<File>, DaemonError> {
    let Some(mut lock) = try_lock(place)? else { return Ok(None) };
    let words = serde_json::json!({ "pid": std::process::id(), "startedBy": started_by }).to_string();
    let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(words.as_bytes()));
    written.map_err(|source| DaemonError::Folder { path: place.lock(), source })?;
    Ok(Some(lock))
}

/// Returns the lock file, locked, when no daemon runs.
pub fn try_lock(place: &Place) -> Result<Option<File>, DaemonError> {
    let failed = |source| DaemonError::Folder { path: place.lock(), source };
    for _ in 0..LOCK_TRIES {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(place.lock()).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        // Whoever cleans up removes lock files; the lock of a removed one excludes nobody.
        let locked = file.metadata().map_err(failed)?;
        if std::fs::metadata(place.lock()).is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()))
        {
            return Ok(Some(file));
        }
    }
    Err(failed(io::Error::other("it is removed again and again")))
}

/// Leaves the session, the terminal and the standard streams of whoever started us.
fn detach(place: &Place) -> Result<(), DaemonError> {
    if let Err(error) = rustix::process::setsid() {
        // Already the leader of a session of its own, as under systemd.
        tracing::trace!(%error, "no new session");
    }
    let failed = |source: io::Error| DaemonError::Folder { path: place.log(), source };
    let log = Rotating::start(&place.log(), log::MAX_BYTES).map_err(failed)?;
    let words = File::options().append(true).open(place.log()).map_err(failed)?;
    // Input that has ended; there may be no `/dev/null`.
    let (nothing, _) = io::pipe().map_err(failed)?;
    let streams = rustix::stdio::dup2_stdin(nothing.as_fd())
        .and_then(|()| rustix::stdio::dup2_stdout(words.as_fd()))
        .and_then(|()| rustix::stdio::dup2_stderr(words.as_fd()));
    streams.map_err(|error| failed(error.into()))?;
    rustix::process::chdir("/").map_err(|error| failed(error.into()))?;
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(log)).finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("log lines go where they went before");
    }
    Ok(())
}

async fn listen(place: &Place, started_by: StartedBy) -> Result<(), DaemonError> {
    let socket = place.socket();
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DaemonError::Socket { path: socket, source: error });
        }
        Ok(()) | Err(_) => {}
    }
    let failed = |source| DaemonError::Socket { path: place.socket(), source };
    // Only the socket: synced files get the user's own umask.
    let usual = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let bound = UnixListener::bind(&socket);
    rustix::process::umask(usual);
    let listener = bound.map_err(failed)?;
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(DaemonError::Runtime)?;
    let agent = Arc::new(Agent::new(Config { log: Some(place.log()) }));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), ?started_by, "the agent listens");

    let stopping = agent.stopping();
    tokio::select! {
        () = accept(&listener, &agent) => {}
        () = stopping.cancelled() => tracing::info!("stopped by request"),
        () = idle(&agent) => tracing::info!("nobody called for {} minutes", IDLE.as_secs() / 60),
        _ = terminate.recv() => tracing::info!("stopped by a signal"),
    }
    // Nobody finds us any more; those who did are served to the end of what they asked.
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    drop(listener);
    stopping.cancel();
    let mut links = agent.links();
    if tokio::time::timeout(Duration::from_secs(5), links.wait_for(|links| *links == 0)).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}

async fn accept(listener: &UnixListener, agent: &Arc<Agent>) {
    let ours = rustix::process::getuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a caller could not be let in");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == ours => {
                let agent = Arc::clone(agent);
                tokio::spawn(async move {
                    match tokio::time::timeout(DEAD_AFTER, Caller::take(stream)).await {
                        Ok(Ok(caller)) => {
                            if let Err(error) = serve(caller, agent).await {
                                tracing::info!(%error, "a link ended");
                            }
                        }
                        Ok(Err(error)) => tracing::warn!(%error, "what a caller handed over cannot be used"),
                        Err(_) => tracing::warn!("a caller that said nothing was turned away"),
                    }
                });
            }
            Ok(peer) => tracing::warn!(user = peer.uid(), "another user was turned away"),
            Err(error) => tracing::warn!(%error, "a caller without a name was turned away"),
        }
    }
}

/// Returns once nobody had a link for [`IDLE`].
async fn idle(agent: &Agent) {
    let mut links = agent.links();
    loop {
        let nobody = links.wait_for(|links| *links == 0).await.is_ok();
        let somebody = tokio::time::timeout(IDLE, links.wait_for(|links| *links > 0)).await;
        if nobody && somebody.is_err() {
            return;
        }
    }
}
