//! What the agent holds of a large file, as far as it is known here: from our own index, else by asking.
//!
//! Nothing that it says is believed: a wrong list costs a transfer that is refused, and the file then travels whole.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use agent::delta::{Basis, ChunkList, MAX_CHUNKS};
use protocol::agent::{Reply, Request};
use protocol::delta::{CHUNK, Chunks, PatchSource};
use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Hash, Op};

use super::super::logs::{Beginnings, Logs};
use super::{Root, link_error, unexpected};
use crate::session::link::Piece;
use crate::store::{Store, StoredChunks};
use crate::sync::target::SyncError;

/// First protocol that knows pieces.
const PIECES: u32 = 2;

/// Least length of a file whose chunks are asked for: the agent reads it twice for that, and a shorter one is sent
/// in about the time of the question.
const WORTH_ASKING: u64 = 4 * 1024 * 1024;

/// What is known of the files that the agent holds.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    store: Option<Store>,
    pub(super) logs: Logs,
    pub(super) beginnings: Beginnings,
    /// Paths of which the agent holds what is left of a cut transfer; `None` while it was not asked.
    partials: Mutex<Option<BTreeSet<RelPath>>>,
}

/// How a large file is told.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What the agent holds.
    pub(super) basis: Basis,
    /// The same as the agent knows it; none when the file travels whole.
    pub(super) sources: Vec<PatchSource>,
    /// The content whose chunks are ours to forget when they are wrong or replaced.
    pub(super) base: Option<Hash>,
}

impl Knowledge {
    /// Knows nothing of a file that `store` does not.
    pub(super) fn new(store: Store, logs: Logs) -> Self {
        Self { store: Some(store), logs, beginnings: Beginnings::default(), partials: Mutex::default() }
    }

    /// Notes that the agent was met anew, which may hold other pieces now.
    pub(super) fn met(&self) {
        *self.partials.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns what is known of the file that an operation writes.
    pub(super) async fn of(&self, root: &Root, op: &Op) -> Result<Known, SyncError> {
        let mut known = Known::default();
        let Action::Put { size, .. } = op.action else { return Ok(known) };
        if !speaks_pieces(root) {
            return Ok(known);
        }
        if self.has_partial(root, &op.path).await?
            && let Some((_, list)) = ask(root, &op.path, true).await?
        {
            known.basis.add(&list, false);
            known.sources.push(PatchSource::Partial);
        }
        let Expect::File { hash, .. } = op.expect else { return Ok(known) };
        known.base = Some(hash);
        let list = match self.stored(hash).await {
            None if size >= WORTH_ASKING => {
                ask(root, &op.path, false).await?.filter(|(found, _)| *found == hash).map(|(_, list)| list)
            }
            list => list,
        };
        if let Some(list) = list {
            known.basis.add(&list, true);
            known.sources.push(PatchSource::Present);
        }
        Ok(known)
    }

    async fn stored(&self, file: Hash) -> Option<ChunkList> {
        // A database that cannot be read costs what a missing list costs.
        let stored = self.store.as_ref()?.chunk_list(file).await.inspect_err(note).ok()??;
        ChunkList::decode(&stored.list, stored.size)
    }

    /// Remembers the chunks of a file that was read.
    pub(super) async fn learn(&self, file: Hash, list: &ChunkList) {
        if let (Some(store), Some(bytes)) = (&self.store, list.encode()) {
            let stored = StoredChunks { size: list.size(), list: bytes };
            store.put_chunk_list(file, stored).await.inspect_err(note).ok();
        }
    }

    /// Forgets the chunks of a file that is no more, or is not what they say.
    pub(super) async fn forget(&self, file: Hash) {
        if let Some(store) = &self.store {
            store.forget_chunk_list(file).await.inspect_err(note).ok();
        }
    }

    /// Notes that nothing is left of a transfer to `path`.
    pub(super) fn used(&self, path: &RelPath) {
        if let Some(partials) = &mut *self.partials.lock().unwrap_or_else(PoisonError::into_inner) {
            partials.remove(path);
        }
    }

    async fn has_partial(&self, root: &Root, path: &RelPath) -> Result<bool, SyncError> {
        let known = |partials: &Option<BTreeSet<RelPath>>| partials.as_ref().map(|partials| partials.contains(path));
        if let Some(known) = known(&self.partials.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(known);
        }
        let partials = match root.call(Request::Partials { root: root.id }).await? {
            Reply::Partials(partials) => partials.into_iter().map(|partial| partial.path).collect(),
            Reply::Failed(_) => BTreeSet::new(),
            other => return Err(unexpected(other)),
        };
        let partials = Some(partials);
        let holds = known(&partials).unwrap_or_default();
        *self.partials.lock().unwrap_or_else(PoisonError::into_inner) = partials;
        Ok(holds)
    }
}

/// Returns whether the agent knows what pieces are.
pub(super) fn speaks_pieces(root: &Root) -> bool {
    root.link.protocol() >= PIECES
}

fn note(error: &crate::store::StoreError) {
    tracing::debug!(%error, "the chunks of a large file are not remembered");
}

/// Asks the agent for the chunks of a file; returns them with the hash of the file.
async fn ask(root: &Root, path: &RelPath, partial: bool) -> Result<Option<(Hash, ChunkList)>, SyncError> {
    let request = Request::Chunks(Chunks { root: root.id, path: path.clone(), partial });
    let mut exchange = root.link.exchange(request).await.map_err(|error| link_error(&error))?;
    let found = match exchange.reply().await.map_err(|error| link_error(&error))? {
        Reply::Chunking(found) => found,
        Reply::Failed(_) => return Ok(None),
        other => return Err(unexpected(other)),
    };
    let mut bytes = Vec::new();
    let trailer = loop {
        match exchange.data().await.map_err(|error| link_error(&error))? {
            Piece::Data(data) if bytes.len() + data.len() <= MAX_CHUNKS * CHUNK => bytes.extend_from_slice(&data),
            // Dropping the exchange tells the agent that nobody wants the rest.
            Piece::Data(_) => return Ok(None),
            Piece::End(trailer) => break trailer,
        }
    };
    let Some(Content::File { hash, size, .. }) = found.map(|found| found.content) else { return Ok(None) };
    let list = if trailer.error.is_none() { ChunkList::decode(&bytes, size) } else { None };
    Ok(list.map(|list| (hash, list)))
}
