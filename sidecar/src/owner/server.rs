//! The owner's side: takes connections, runs their commands, and ends when the sync is stopped.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::error::{Error, Result};
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::place::{Place, is_ours, stands};
use super::relay::Relay;
use super::words::{self, FromOwner, Hello, Said, ToOwner};
use super::{ENDING, Lock, OwnerError};
use crate::commands::{self, ParamsError};
use crate::jobs::{Jobs, Request, Role};

/// An owner that never got a sync ends this long after its last client.
const IDLE: Duration = Duration::from_secs(3);
/// How often an owner looks whether its sync still runs, beside each time that a client leaves.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks whether its socket still stands, which takes calls to the system; a person who logs in again
/// waits no longer for it than that.
const STANDS: Duration = Duration::from_secs(2);
/// A client that says nothing for this time after connecting is sent away.
const HELLO: Duration = Duration::from_secs(5);
/// The sync gets this long to finish what it is writing; whatever it leaves is found again at the next start.
const FAREWELL: Duration = Duration::from_secs(5);
/// Clients at a time; more wait in the socket's own queue.
const CLIENTS: usize = 64;
/// Lines that wait for a slow client.
const LINES: usize = 256;

/// An owner inside this process. It serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    serving: tokio::task::JoinHandle<()>,
    _lock: Arc<Lock>,
}

impl Server {
    /// Becomes the owner of `workspace`.
    pub(super) async fn start(jobs: Jobs, workspace: &Path, place: &Place) -> Result<Self> {
        let Some(lock) = place.own_soon(ENDING).await? else {
            return Err(OwnerError::Taken { workspace: workspace.to_owned() }.into());
        };
        let listener = place.listen(&lock).await?;
        let lock = Arc::new(lock);
        let (place, held) = (place.clone(), Arc::clone(&lock));
        let serving = tokio::spawn(async move {
            serve(listener, (&place, &held), &jobs, Patience::Endless).await;
            tracing::info!("the sync of this process has ended");
        });
        Ok(Self { serving, _lock: lock })
    }

    /// Returns once another process stopped the sync of this one.
    pub async fn stopped(&mut self) {
        if let Err(error) = (&mut self.serving).await {
            tracing::error!(%error, "the owner's socket failed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Runs an owner process until its sync is stopped or it is told to end.
pub(super) fn run(workspace: &Path, remote: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start(workspace))?;
    let ended = runtime.block_on(own(workspace, remote));
    runtime.shutdown_background();
    ended
}

async fn own(workspace: &Path, remote: &str) -> Result<()> {
    // A Ctrl-C in the terminal that started us is not meant for us.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "this process leads a session already");
    }
    let place = Place::of(workspace);
    let lock = place.own_soon(ENDING).await?;
    let owned = match lock {
        Some(lock) => Some((place.listen(&lock).await?, lock)),
        None => None,
    };
    // Whoever started us waits for the end of our standard output: from here on the socket answers.
    close_stdout().map_err(start(workspace))?;
    let Some((listener, lock)) = owned else { return Ok(()) };
    tracing::info!(workspace = %workspace.display(), remote, "owner begins");
    let mut terminate = signal(SignalKind::terminate()).map_err(start(workspace))?;
    let jobs = Jobs::new(Role::Owner);
    tokio::select! {
        () = serve(listener, (&place, &lock), &jobs, Patience::Short) => tracing::info!("owner ends: nothing is synced any more"),
        _ = terminate.recv() => tracing::info!("owner ends: it was told to"),
    }
    // Whoever comes now starts the next owner, which waits for our lock, instead of waiting for us.
    let removed = place.leave(&lock).await;
    if tokio::time::timeout(FAREWELL, jobs.close()).await.is_err() {
        tracing::warn!("the sync or a session does not end; it ends with this process");
    }
    removed
}

fn start(workspace: &Path) -> impl Fn(io::Error) -> Error {
    let workspace = workspace.to_owned();
    move |source| OwnerError::Start { workspace: workspace.clone(), source }.into()
}

fn close_stdout() -> io::Result<()> {
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nowhere)?)
}

/// A pause after `accept` failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long an owner waits for its first sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// As long as clients come: it was started for one.
    Short,
    /// As long as it lives: the command of this process starts it.
    Endless,
}

/// Takes connections until the sync has ended and nobody is connected.
async fn serve(mut listener: UnixListener, (place, lock): (&Place, &Lock), jobs: &Jobs, patience: Patience) {
    let mut clients = JoinSet::new();
    let (mut ticks, mut looks) = (tokio::time::interval(LOOK), tokio::time::interval(STANDS));
    let mut synced = false;
    let mut quiet_since = Instant::now();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) if is_ours(&stream) => {
                    clients.spawn(client(stream, jobs.clone()));
                }
                Ok(_) => tracing::warn!("another user tried to connect"),
                Err(error) => {
                    // The sync that runs here does not depend on it, and there may be descriptors again.
                    tracing::warn!(%error, "no connection can be taken now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = clients.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection failed");
                }
            }
            // What is asked below costs nothing.
            _ = ticks.tick() => {}
            _ = looks.tick() => {
                // At the last log-out the folder of sockets is removed, and nobody could reach us any more.
                if !stands(&listener).await {
                    match place.listen(lock).await {
                        Ok(again) => listener = again,
                        Err(error) => tracing::warn!(%error, "the socket is gone and cannot be made again"),
                    }
                }
            }
        }
        let syncs = jobs.syncs_anything();
        synced |= syncs;
        if syncs || !clients.is_empty() {
            quiet_since = Instant::now();
        } else if synced || patience == Patience::Short && quiet_since.elapsed() >= IDLE {
            return;
        }
    }
}

/// Serves one connection: one command.
async fn client(stream: UnixStream, jobs: Jobs) {
    if let Err(error) = converse(stream, &jobs).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn converse(stream: UnixStream, jobs: &Jobs) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    words::write(&mut writing, &Hello::ours()).await?;
    let greeted = tokio::time::timeout(HELLO, words::read::<Hello>(&mut reading, words::REQUEST_LIMIT)).await?;
    // Somebody only looked whether we are here, or will not understand us; our hello says the rest.
    if greeted?.is_none_or(|hello| hello.protocol != words::VERSION) {
        return Ok(());
    }
    let run = tokio::time::timeout(HELLO, words::read(&mut reading, words::REQUEST_LIMIT)).await??;
    let Some(ToOwner::Run { method, params, scope, folder }) = run else { return Ok(()) };

    let (to_client, mut lines) = mpsc::channel(LINES);
    let (answer_tx, answers) = mpsc::channel(1);
    let writer = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            words::write(&mut writing, &line).await?;
        }
        io::Result::Ok(())
    });
    let last = match commands::find(&method) {
        None => FromOwner::Failed(ParamsError::UnknownMethod { name: method }.into()),
        Some(command) => {
            let request = Request { command, params, scope, folder: folder.into() };
            let relay = Arc::new(Relay::new(to_client.clone(), answers));
            let mut job = jobs.submit(request, relay);
            let (gone_tx, mut gone) = mpsc::channel(1);
            let listening = tokio::spawn(listen(reading, answer_tx, gone_tx));
            let answer = tokio::select! {
                answer = job.answer() => answer,
                _ = gone.recv() => {
                    job.cancel();
                    job.answer().await
                }
            };
            listening.abort();
            answer.map_or_else(FromOwner::Failed, FromOwner::Done)
        }
    };
    if to_client.send(last).await.is_err() {
        tracing::debug!("the client did not wait for its answer");
    }
    drop(to_client);
    writer.await.map_err(io::Error::other)?
}

/// Passes answers on; returns when the client cancels or is gone.
async fn listen(mut reading: BufReader<OwnedReadHalf>, answers: mpsc::Sender<Option<Said>>, gone: mpsc::Sender<()>) {
    // Anything but an answer means that it is over: a cancel, nonsense, or the end.
    while let Ok(Some(ToOwner::Answer(said))) = words::read(&mut reading, words::REQUEST_LIMIT).await {
        if answers.send(said).await.is_err() {
            tracing::debug!("nothing was asked");
        }
    }
    // Closing the channel says as much as a message would.
    drop(gone);
}
