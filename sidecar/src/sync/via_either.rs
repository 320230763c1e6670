//! The best target that a remote allows: its agent, or its SFTP server where no agent can run or none is wanted.
//!
//! Decided anew at each opening, so that an agent that was installed meanwhile takes over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use protocol::agent::Opened;
use protocol::error::Code;
use protocol::listing::Listing;
use protocol::path::RelPath;
use protocol::sync::{Differs, Found, Known};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::logs::Logs;
use super::plan::Abilities;
use super::target::{Batch, Before, Compared, Done, Flushed, OpenTarget, SyncError, SyncTarget};
use super::via_agent::ViaAgent;
use super::via_sftp::ViaSftp;
use crate::session::Handle;
use crate::store::{Base, Store};

/// A folder on a remote, by whatever way there is to it.
#[derive(Debug)]
pub struct ViaEither {
    agent: ViaAgent,
    sftp: ViaSftp,
    over_sftp: AtomicBool,
}

impl ViaEither {
    /// Returns the target behind a session; nothing is opened yet. `one_link` is for work that nobody's save has to
    /// overtake, as [`ViaAgent::by_one_link`] is.
    pub fn new(session: Handle, one_link: bool) -> Self {
        let agent = if one_link { ViaAgent::by_one_link(session.clone()) } else { ViaAgent::new(session.clone()) };
        Self { agent, sftp: ViaSftp::new(session), over_sftp: AtomicBool::new(false) }
    }

    /// Remembers the pieces of large files in `store`, and writes additions to `logs` in place.
    #[must_use]
    pub fn remembering(self, store: Store, logs: Logs) -> Self {
        Self { agent: self.agent.remembering(store, logs), ..self }
    }

    fn present(&self) -> &dyn SyncTarget {
        if self.over_sftp.load(Ordering::Relaxed) { &self.sftp } else { &self.agent }
    }
}

#[async_trait]
impl SyncTarget for ViaEither {
    async fn open(&self, open: &OpenTarget) -> Result<Opened, SyncError> {
        let opened = self.agent.open(open).await;
        let none = matches!(&opened, Err(SyncError::Session(error)) if error.code == Code::AgentNone);
        self.over_sftp.store(none, Ordering::Relaxed);
        if none { self.sftp.open(open).await } else { opened }
    }

    fn abilities(&self) -> Abilities {
        self.present().abilities()
    }

    fn limits(&self) -> &'static [&'static str] {
        self.present().limits()
    }

    async fn verify(&self, entries: Vec<Known>) -> Result<Vec<Differs>, SyncError> {
        self.present().verify(entries).await
    }

    async fn compare(&self, base: Arc<BTreeMap<RelPath, Base>>) -> Result<Compared, SyncError> {
        self.present().compare(base).await
    }

    async fn forget(&self, paths: Vec<RelPath>) -> Result<(), SyncError> {
        self.present().forget(paths).await
    }

    async fn apply(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        self.present().apply(batches, done).await
    }

    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        self.present().read(path, most, to).await
    }

    fn reads_on(&self) -> bool {
        self.present().reads_on()
    }

    async fn read_on(
        &self,
        path: &RelPath,
        most: u64,
        before: &Before,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        self.present().read_on(path, most, before, to).await
    }

    async fn list(&self, folders: Vec<Option<RelPath>>, after: Option<String>) -> Result<Vec<Listing>, SyncError> {
        self.present().list(folders, after).await
    }

    async fn flush(&self) -> Result<Flushed, SyncError> {
        self.present().flush().await
    }

    async fn empty_trash(&self) -> Result<(), SyncError> {
        self.present().empty_trash().await
    }

    async fn close(&self) -> Result<(), SyncError> {
        self.present().close().await
    }
}
