//! A sync target behind an agent's links.
//!
//! Batches are cut into packets that travel one behind the other, several at a time, within a window of
//! bytes. A file is read once; its hash is that of the bytes that travelled.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::agent::{Apply, MAX_BATCH, Open, Opened, Reply, Request, RootId};
use protocol::error::{Code, Error, Explain, Family};
use protocol::listing::{List, Listing};
use protocol::mirror;
use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Found, Hash, Known};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::logs::Logs;
use super::plan::Abilities;
use super::target::{
    Batch, Before, Compared, Done, Flushed, OpenTarget, SyncError, SyncTarget, about, about_base, no_lists, verify_all,
};
use crate::session::link::{Link, LinkError, Piece};
use crate::session::{Handle, Lane};
use crate::store::{Base, Store};

mod known;
mod large;
mod mirrored;
mod packets;
mod roads;

use known::Knowledge;
use roads::Roads;

/// First protocol version whose agents move and copy.
const MOVES_SINCE: u32 = 2;

/// First protocol version whose agents send a part of a file.
const READS_ON: u32 = 2;

/// First protocol version whose agents list folders.
const LISTS: u32 = 2;

/// A folder behind an agent.
#[derive(Debug)]
pub struct ViaAgent {
    session: Handle,
    one_link: bool,
    knowledge: Arc<Knowledge>,
    lanes: Mutex<Option<Lanes>>,
}

/// The folder as it is open on both links; they may be one.
#[derive(Clone, Debug)]
struct Lanes {
    priority: Root,
    bulk: Root,
    /// What was opened, and which copy that is.
    opened: Arc<(OpenTarget, String)>,
}

/// A folder that is open on a link.
#[derive(Clone, Debug)]
struct Root {
    link: Arc<Link>,
    id: RootId,
}

impl ViaAgent {
    /// Returns the target behind a session; nothing is opened yet.
    pub fn new(session: Handle) -> Self {
        Self { session, one_link: false, knowledge: Arc::default(), lanes: Mutex::new(None) }
    }

    /// Returns the target behind one link of a session, for work that nobody's save has to overtake: a second
    /// connection, log-in and shell cost more there than they give.
    pub fn by_one_link(session: Handle) -> Self {
        Self { one_link: true, ..Self::new(session) }
    }

    /// Remembers the chunks of large files in `store`, so that their changes travel alone; additions to `logs` are
    /// written in place.
    #[must_use]
    pub fn remembering(self, store: Store, logs: Logs) -> Self {
        Self { knowledge: Arc::new(Knowledge::new(store, logs)), ..self }
    }

    fn root(&self, lane: Lane) -> Result<Root, SyncError> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = lanes.as_ref().ok_or_else(|| lost(&LinkError::Lost))?;
        Ok(match lane {
            Lane::Priority => lanes.priority.clone(),
            Lane::Bulk => lanes.bulk.clone(),
        })
    }

    fn both(&self) -> Result<Vec<Root>, SyncError> {
        let (priority, bulk) = (self.root(Lane::Priority)?, self.root(Lane::Bulk)?);
        Ok(if Arc::ptr_eq(&priority.link, &bulk.link) { vec![priority] } else { vec![bulk, priority] })
    }

    /// Returns the roads of a long transfer; those beside the first one are opened meanwhile.
    fn roads(&self) -> Roads {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = if self.one_link { Lane::Priority } else { Lane::Bulk };
        lanes.as_ref().map_or_else(Roads::default, |lanes| {
            Roads::beside(lanes.bulk.clone(), self.session.clone(), lane, Arc::clone(&lanes.opened))
        })
    }

    async fn link(&self, lane: Lane) -> Result<Arc<Link>, SyncError> {
        self.session.link(lane).await.map_err(|error| match error.code.family() {
            Family::Unreachable => SyncError::Lost(error),
            Family::Work
            | Family::Usage
            | Family::Configuration
            | Family::Refused
            | Family::Bug
            | Family::Cancelled => SyncError::Session(error),
        })
    }
}

#[async_trait]
impl SyncTarget for ViaAgent {
    async fn open(&self, open: &OpenTarget) -> Result<Opened, SyncError> {
        let (priority, bulk) = if self.one_link {
            let link = self.link(Lane::Priority).await?;
            (Arc::clone(&link), link)
        } else {
            tokio::try_join!(self.link(Lane::Priority), self.link(Lane::Bulk))?
        };
        let opened = open_on(&priority, open, open.create, open.take_over).await?;
        let first = Root { link: Arc::clone(&priority), id: opened.root };
        let second = if Arc::ptr_eq(&priority, &bulk) {
            first.clone()
        } else {
            // The lease is ours by now, and the folder is there.
            let other = open_on(&bulk, open, false, false).await?;
            if other.copy != opened.copy {
                return Err(SyncError::Protocol("its two links lead to different folders".to_owned()));
            }
            Root { link: bulk, id: other.root }
        };
        self.knowledge.met();
        let lanes = Lanes { priority: first, bulk: second, opened: Arc::new((open.clone(), opened.copy.clone())) };
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = Some(lanes);
        Ok(opened)
    }

    async fn verify(&self, entries: Vec<Known>) -> Result<Vec<Differs>, SyncError> {
        let root = self.root(Lane::Bulk)?;
        match root.call(Request::Verify { root: root.id, entries: entries.clone() }).await? {
            Reply::Verified(differs) => about(&entries, differs),
            other => Err(unexpected(other)),
        }
    }

    async fn compare(&self, base: Arc<BTreeMap<RelPath, Base>>) -> Result<Compared, SyncError> {
        let root = self.root(Lane::Bulk)?;
        if root.link.protocol() < mirror::SINCE {
            return Ok(Compared { differs: verify_all(self, about_base(base.iter())).await?, ..Compared::default() });
        }
        let mirrored::Found { ask, given, unknown } = mirrored::compare(&root, &base).await?;
        Ok(Compared { differs: verify_all(self, ask).await?, given, unknown })
    }

    async fn forget(&self, paths: Vec<RelPath>) -> Result<(), SyncError> {
        let root = self.root(Lane::Bulk)?;
        for forget in paths.chunks(MAX_BATCH) {
            mirrored::summarise(&root, Vec::new(), forget.to_vec()).await?;
        }
        Ok(())
    }

    async fn apply(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        let roads = if roads::pay(&batches) { self.roads() } else { Roads::default() };
        let mut sending = packets::Sending::new(done, Arc::clone(&self.knowledge), roads);
        let mut sent = Ok(());
        for batch in batches {
            sent = match self.root(batch.lane) {
                Ok(root) => sending.send(root, batch).await,
                Err(error) => Err(error),
            };
            if sent.is_err() {
                break;
            }
        }
        sent.and(sending.end().await)
    }

    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        let root = self.root(Lane::Bulk)?;
        let request = Request::Read { root: root.id, path: path.clone() };
        receive(&root, request, path, most, Before::default(), to).await
    }

    fn reads_on(&self) -> bool {
        self.root(Lane::Bulk).is_ok_and(|root| root.link.protocol() >= READS_ON)
    }

    async fn read_on(
        &self,
        path: &RelPath,
        most: u64,
        before: &Before,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        let root = self.root(Lane::Bulk)?;
        let request = Request::ReadOn { root: root.id, path: path.clone(), after: before.length };
        receive(&root, request, path, most, before.clone(), to).await
    }

    async fn list(&self, folders: Vec<Option<RelPath>>, after: Option<String>) -> Result<Vec<Listing>, SyncError> {
        let root = self.root(Lane::Bulk)?;
        if root.link.protocol() < LISTS {
            return Err(no_lists());
        }
        let asked = folders.len();
        match root.call(Request::List(List { root: root.id, folders, after })).await? {
            Reply::Listed(listings) if (1..=asked).contains(&listings.len()) => Ok(listings),
            Reply::Listed(_) => Err(SyncError::Protocol("it listed other folders than those asked for".to_owned())),
            other => Err(unexpected(other)),
        }
    }

    async fn flush(&self) -> Result<Flushed, SyncError> {
        // What either link was told is acknowledged by now, and one flush is of the whole file system.
        let root = self.root(Lane::Priority)?;
        root.done(Request::Flush { root: root.id }).await.map(|()| Flushed::Durable)
    }

    async fn empty_trash(&self) -> Result<(), SyncError> {
        let root = self.root(Lane::Bulk)?;
        root.done(Request::EmptyTrash { root: root.id }).await
    }

    async fn close(&self) -> Result<(), SyncError> {
        let roots = self.both()?;
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for root in roots {
            root.done(Request::Close { root: root.id }).await?;
        }
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        let able = self.both().is_ok_and(|roots| roots.iter().all(|root| root.link.protocol() >= MOVES_SINCE));
        Abilities { moves: able, copies: able }
    }
}

impl Root {
    async fn call(&self, request: Request) -> Result<Reply, SyncError> {
        self.link.call(request).await.map_err(|error| link_error(&error))
    }

    async fn done(&self, request: Request) -> Result<(), SyncError> {
        match self.call(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

/// Copies the bytes that a request for a file asks for to `to`; `before` is here already.
async fn receive(
    root: &Root,
    request: Request,
    path: &RelPath,
    most: u64,
    before: Before,
    to: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<Found, SyncError> {
    let mut exchange = root.link.exchange(request).await.map_err(|error| link_error(&error))?;
    let found = match exchange.reply().await.map_err(|error| link_error(&error))? {
        Reply::Reading(found) => found,
        other => return Err(unexpected(other)),
    };
    let Content::File { hash, size, .. } = &found.content else {
        return Err(SyncError::Protocol(format!("it reads `{path}`, which is no file")));
    };
    if *size > most {
        return Ok(found);
    }
    let Before { length, mut hasher } = before;
    let Some(mut left) = size.checked_sub(length) else {
        return Err(SyncError::Protocol(format!("`{path}` is shorter than what came of it before")));
    };
    let trailer = loop {
        match exchange.data().await.map_err(|error| link_error(&error))? {
            Piece::Data(bytes) => {
                left = left
                    .checked_sub(bytes.len() as u64)
                    .ok_or_else(|| SyncError::Protocol(format!("it sent more of `{path}` than there is")))?;
                hasher.update(&bytes);
                to.write_all(&bytes).await.map_err(|source| SyncError::Store { path: path.clone(), source })?;
            }
            Piece::End(trailer) => break trailer,
        }
    };
    if let Some(error) = trailer.error {
        return Err(SyncError::Refused(error));
    }
    let read = Hash(*hasher.finalize().as_bytes());
    // What was written while it was read is a mixture of two versions.
    if left > 0 || read != *hash || trailer.hash.is_some_and(|told| told != read) {
        return Err(SyncError::Protocol(format!("the bytes of `{path}` are not the announced ones")));
    }
    to.flush().await.map_err(|source| SyncError::Store { path: path.clone(), source })?;
    Ok(found)
}

async fn open_on(link: &Link, open: &OpenTarget, create: bool, take_over: bool) -> Result<Opened, SyncError> {
    let request = Request::Open(Open { path: open.path.clone(), create, holder: open.holder.clone(), take_over });
    match link.call(request).await.map_err(|error| link_error(&error))? {
        Reply::Opened(opened) => Ok(opened),
        Reply::Failed(error) if error.code == Code::SyncLeased => Err(SyncError::Leased(error)),
        Reply::Failed(source) => Err(SyncError::Root { path: open.path.to_string(), source }),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> SyncError {
    match reply {
        Reply::Failed(error) => SyncError::Refused(error),
        Reply::Health(_)
        | Reply::Opened(_)
        | Reply::Verified(_)
        | Reply::Applied(_)
        | Reply::Reading(_)
        | Reply::Log(_)
        | Reply::Chunking(_)
        | Reply::Partials(_)
        | Reply::Summarised(_)
        | Reply::Listed(_)
        | Reply::Done => SyncError::Protocol("it answered another question".to_owned()),
    }
}

fn lost(error: &LinkError) -> SyncError {
    SyncError::Lost(Error::from(error.clone()))
}

fn link_error(error: &LinkError) -> SyncError {
    match error.code().family() {
        Family::Unreachable => lost(error),
        Family::Work | Family::Usage | Family::Configuration | Family::Refused | Family::Bug | Family::Cancelled => {
            SyncError::Session(Error::from(error.clone()))
        }
    }
}

/// A task of ours that died; the link cannot be used any more.
fn died(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SyncError {
    SyncError::Protocol(io::Error::other(error).to_string())
}

fn apply_request(root: RootId, batch: &Batch, ops: Vec<protocol::sync::Op>) -> Request {
    Request::Apply(Apply { root, barrier: batch.barrier, durable: batch.durable, ops })
}

/// Cuts bytes into frames of a lane.
fn frames(mut bytes: Bytes, most: usize) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(most))))
}
