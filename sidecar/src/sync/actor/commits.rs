//! What arrived, on its way into the database: one transaction at a time, never in the way of the remote's answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::path::RelPath;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Actor, TRY_AGAIN};
use crate::store::{Base, BaseChange, StoreError};

/// Changes of the base that do not scatter it.
const FEW: usize = 4096;
/// Paths of a base up to which its second copy takes less than 50 ms, for which an edit may have to wait.
const MANY: usize = 100_000;

/// What became of changes on their way into the database.
pub(super) type Committed = Result<(), Refused>;

/// Changes that the database refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) changes: Vec<BaseChange>,
    /// Whether the pair's own row is among them.
    pub(super) pair: bool,
    pub(super) error: StoreError,
}

impl Actor {
    /// Returns whether everything that arrived is in the database.
    pub(super) fn is_committed(&self) -> bool {
        self.uncommitted.is_empty() && !self.pair_unsaved && self.committing.is_none()
    }

    /// Starts to write what arrived into the database, in one transaction. What arrives meanwhile goes with the
    /// next one, so that the remote's answers never wait for this machine's disk; what it refuses is written later.
    pub(super) fn commit(&mut self) {
        let waits = self.commit_not_before.is_some_and(|then| then > Instant::now());
        if waits || self.is_committed() || self.committing.is_some() {
            return;
        }
        let (changes, store, id) = (std::mem::take(&mut self.uncommitted), self.store.clone(), self.config.pair.id);
        let pair = std::mem::take(&mut self.pair_unsaved).then(|| self.config.pair.clone());
        self.committing = Some(tokio::spawn(async move {
            if !changes.is_empty()
                && let Err(error) = store.commit(id, changes.clone()).await
            {
                return Err(Refused { changes, pair: pair.is_some(), error });
            }
            match pair {
                Some(pair) => {
                    store.update_marks(&pair).await.map_err(|error| Refused { changes: Vec::new(), pair: true, error })
                }
                None => Ok(()),
            }
        }));
    }

    pub(super) fn committed(&mut self, result: Committed) {
        self.committing = None;
        match result {
            Ok(()) if self.commit_not_before.take().is_some() => self.error = None,
            Ok(()) => {}
            Err(Refused { mut changes, pair, error }) => {
                // The base in memory stays right; after a restart the remote is compared with the older one.
                tracing::warn!(%error, "what arrived is not remembered yet");
                changes.append(&mut self.uncommitted);
                self.uncommitted = changes;
                self.pair_unsaved |= pair;
                self.commit_not_before = Some(Instant::now() + TRY_AGAIN);
                self.error = Some(error.into());
            }
        }
    }

    /// Waits until nothing is on its way into the database.
    pub(super) async fn commit_ended(&mut self) {
        if self.committing.is_some() {
            let result = ended(&mut self.committing).await;
            self.committed(result);
        }
    }

    /// Writes what is left at the end.
    pub(super) async fn commit_rest(&mut self) {
        self.commit_ended().await;
        self.commit_not_before = None;
        self.commit();
        self.commit_ended().await;
    }

    /// Records what came to be otherwise than by a plan. A look that is under way saw the workspace before.
    pub(super) fn record_outside(&mut self, path: RelPath, base: Option<Base>) {
        if self.looking {
            self.recorded.insert(path.clone());
        }
        if self.repository.looking {
            self.repository.recorded.insert(path.clone());
        }
        self.record(path, base);
    }

    pub(super) fn record(&mut self, path: RelPath, base: Option<Base>) {
        let map = Arc::make_mut(&mut self.base);
        let old = match &base {
            Some(base) => map.insert(path.clone(), base.clone()),
            None => map.remove(&path),
        };
        self.index.change(&path, old.as_ref(), base.as_ref());
        self.scattered += 1;
        self.uncommitted.push((path, base));
    }

    /// Lays the base out anew when most of it came bit by bit among everything else that a first sync holds: a map
    /// that grew is half empty, and memory around it cannot be given back. The first copy lands beyond all that, the
    /// second in the room that is free before it, so that what lies beyond goes back to the system.
    pub(super) fn pack(&mut self) {
        if self.scattered < FEW.max(self.base.len() / 2) {
            return;
        }
        self.scattered = 0;
        for _ in 0..if self.base.len() <= MANY { 2 } else { 1 } {
            self.base = Arc::new(laid_out(&self.base));
        }
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.rest().await {
                tracing::debug!(%error, "the database keeps its memory");
            }
        });
    }
}

/// Returns the same base in nodes that are full, with texts that nothing else holds.
fn laid_out(base: &BTreeMap<RelPath, Base>) -> BTreeMap<RelPath, Base> {
    base.iter().map(|(path, base)| (path.unshared(), base.clone())).collect()
}

/// Returns what came of a commit once it ended; never, when there is none.
pub(super) async fn ended(committing: &mut Option<JoinHandle<Committed>>) -> Committed {
    match committing {
        // A commit that died is as one whose database is gone.
        Some(commit) => {
            let died = Refused { changes: Vec::new(), pair: false, error: StoreError::Closed };
            commit.await.unwrap_or(Err(died))
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use protocol::sync::Content;

    use super::*;

    #[test]
    fn a_base_that_is_laid_out_anew_is_the_same_and_shares_no_text() {
        let based = |number: u32| {
            // In no order, as what arrives.
            let path = RelPath::new(format!("folder-{}/file-{number}", number.wrapping_mul(2_654_435_761) % 97));
            let base = Base { content: Content::Folder, mode: number, local: None, remote: None };
            (path.expect("a plain path"), base)
        };
        let scattered: BTreeMap<RelPath, Base> = (0..5000).map(based).collect();
        let packed = laid_out(&scattered);
        assert!(packed.iter().eq(scattered.iter()));
        let shares = |(one, other): (&RelPath, &RelPath)| std::ptr::eq(one.as_str(), other.as_str());
        assert!(!packed.keys().zip(scattered.keys()).any(shares));
        assert_eq!(packed.get(&based(4999).0).map(|base| base.mode), Some(4999));
    }
}
