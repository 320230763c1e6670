//! A sync target behind a plain SFTP server, for machines that can run no agent.
//!
//! Keeps the agent's preconditions, trash, lease and identity as far as SFTP can, and says what it cannot. Requests travel one behind the other without waiting; memory is bounded whatever the server answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use protocol::agent::Opened;
use protocol::error::{Code, Error, Example, Family};
use protocol::listing::Listing;
use protocol::path::RelPath;
use protocol::sync::{Differs, Found, Known};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::target::{Batch, Done, Flushed, OpenTarget, SyncError, SyncTarget, WITHOUT_AGENT};
use crate::session::Handle;
use crate::transport::Transport;

mod apply;
mod error;
mod folders;
mod lease;
mod list;
mod look;
mod place;
mod put;
mod read;
mod root;
mod seen;
mod side;
mod trash;
mod wire;

#[cfg(test)]
pub(super) mod tests;

use error::{RootError, not_open};
use folders::Folders;
use root::Root;
use wire::Wire;

/// Operations under way at a time.
const AT_ONCE: usize = 96;
/// How long a connection that is lost may take to be known as lost, after the first request on it failed.
const CLOSES_WITHIN: Duration = Duration::from_millis(500);

/// A folder behind an SFTP server.
#[derive(Debug)]
pub struct ViaSftp {
    session: Handle,
    root: Mutex<Option<Arc<Root>>>,
    /// What the last conversation was begun on.
    transport: Mutex<Option<Arc<dyn Transport>>>,
}

impl ViaSftp {
    /// Returns the target behind a session; nothing is opened yet.
    pub fn new(session: Handle) -> Self {
        Self { session, root: Mutex::new(None), transport: Mutex::new(None) }
    }

    fn root(&self) -> Result<Arc<Root>, SyncError> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(not_open)
    }

    /// Takes a conversation that ended early for a lost connection, when that is what it was.
    async fn settled<T>(&self, result: Result<T, SyncError>) -> Result<T, SyncError> {
        let Err(SyncError::Session(error)) = result else { return result };
        let transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some(transport), Code::SshProtocol) = (transport, error.code) else {
            return Err(SyncError::Session(error));
        };
        match tokio::time::timeout(CLOSES_WITHIN, transport.closed()).await {
            Ok(()) => Err(SyncError::Lost(error)),
            Err(_) => Err(SyncError::Session(error)),
        }
    }

    async fn connect(&self) -> Result<(Arc<Wire>, Arc<Wire>), SyncError> {
        let transport = self.session.transport().await.map_err(|error| match error.code.family() {
            Family::Unreachable => SyncError::Lost(error),
            Family::Work
            | Family::Usage
            | Family::Configuration
            | Family::Refused
            | Family::Bug
            | Family::Cancelled => SyncError::Session(error),
        })?;
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&transport));
        let (priority, bulk) = tokio::join!(begin(&transport), begin(&transport));
        let priority = Arc::new(priority?);
        let bulk = match bulk {
            Ok(wire) => Arc::new(wire),
            Err(error @ SyncError::Lost(_)) => return Err(error),
            Err(error) => {
                tracing::info!(%error, "no second SFTP channel; one carries all");
                Arc::clone(&priority)
            }
        };
        Ok((priority, bulk))
    }
}

async fn begin(transport: &Arc<dyn Transport>) -> Result<Wire, SyncError> {
    let process = transport.subsystem("sftp").await.map_err(|error| {
        let error = Error::from(error);
        if error.code.family() == Family::Unreachable { SyncError::Lost(error) } else { SyncError::Session(error) }
    })?;
    let wire = Wire::begin(process.stdout, process.stdin).await;
    let wire = wire.map_err(|fault| RootError::failed("speak SFTP about", "~", fault).of_sync("~"))?;
    let (ended, transport) = (wire.ended(), Arc::clone(transport));
    tokio::spawn(async move {
        tokio::select! {
            () = transport.closed() => ended.cancel(),
            () = ended.cancelled() => {}
        }
    });
    Ok(wire)
}

#[async_trait]
impl SyncTarget for ViaSftp {
    async fn open(&self, open: &OpenTarget) -> Result<Opened, SyncError> {
        let before = self.root.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            before.end();
        }
        let (priority, bulk) = self.settled(self.connect().await).await?;
        let root = Box::pin(Root::open(priority, bulk, open)).await.map_err(|error| error.of_sync(open.path.as_str()));
        let (root, opened) = self.settled(root).await?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(root));
        Ok(opened)
    }

    fn limits(&self) -> &'static [&'static str] {
        WITHOUT_AGENT
    }

    async fn verify(&self, entries: Vec<Known>) -> Result<Vec<Differs>, SyncError> {
        let root = self.root()?;
        self.settled(root.check(&root.bulk).await).await?;
        let folders = Folders::new(&root.bulk, &root.side);
        let (opened, folders) = (&root, &folders);
        let answers = entries.into_iter().map(|entry| async move { opened.verify(folders, &entry).await });
        let mut answers = stream::iter(answers).buffered(AT_ONCE);
        let mut differs = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) => differs.extend(answer),
                Err(fault) => return self.settled(Err(root.lost(fault))).await,
            }
        }
        Ok(differs)
    }

    async fn apply(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        let root = self.root()?;
        self.settled(root.apply_all(batches, done).await).await
    }

    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        let root = self.root()?;
        let found = self.settled(root.read(path, most, to).await).await;
        to.flush().await.map_err(|source| SyncError::Store { path: path.clone(), source })?;
        found
    }

    async fn list(&self, folders: Vec<Option<RelPath>>, after: Option<String>) -> Result<Vec<Listing>, SyncError> {
        let root = self.root()?;
        self.settled(list::folders(&root, folders, after).await).await
    }

    async fn flush(&self) -> Result<Flushed, SyncError> {
        let root = self.root()?;
        self.settled(root.flush().await.map_err(|fault| root.lost(fault))).await
    }

    async fn empty_trash(&self) -> Result<(), SyncError> {
        let root = self.root()?;
        let emptied = root.trash.empty(&root.bulk).await;
        emptied.map_err(|fault| RootError::failed("empty the trash of", &root.asked, fault).of_sync(&root.asked))
    }

    async fn close(&self) -> Result<(), SyncError> {
        let root = self.root()?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let cleared = root.side.clear(&root.bulk).await;
        let released = root.lease.release(&root.bulk, &root.side).await;
        root.end();
        cleared.map_err(|fault| root.lost(fault))?;
        released.map_err(|error| error.of_sync(&root.asked))
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    error::examples()
}
