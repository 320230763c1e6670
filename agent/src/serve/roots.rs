//! The open roots of one agent process, shared by its links. A root is forgotten when no link uses it.
//!
//! Only a request gives a lease back: a machine that lost its link still holds its root.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::agent::{Open, Opened, RootId};
use protocol::error::Error;

use crate::files::Root;

/// Names a link within this process.
pub(super) type LinkId = u64;

#[derive(Debug, Default)]
pub(super) struct Roots {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    newest: RootId,
    entries: HashMap<RootId, Entry>,
}

#[derive(Debug)]
struct Entry {
    root: Arc<Root>,
    path: String,
    links: HashSet<LinkId>,
}

impl Roots {
    /// Opens a root for a link. Blocks.
    pub(super) fn open(&self, link: LinkId, open: &Open) -> Result<Opened, Error> {
        let id = {
            let mut table = self.table();
            table.newest += 1;
            table.newest
        };
        let (mut root, opened) = Root::open(id, open)?;
        let others: Vec<Arc<Root>> = self.table().entries.values().map(|entry| Arc::clone(&entry.root)).collect();
        for other in &others {
            root.share_mirror(other);
        }
        let entry = Entry { root: Arc::new(root), path: opened.path.clone(), links: HashSet::from([link]) };
        self.table().entries.insert(id, entry);
        Ok(opened)
    }

    /// Returns a root and notes that the link uses it.
    pub(super) fn get(&self, link: LinkId, id: RootId) -> Option<Arc<Root>> {
        let mut table = self.table();
        let entry = table.entries.get_mut(&id)?;
        entry.links.insert(link);
        Some(Arc::clone(&entry.root))
    }

    /// Forgets a root and gives its lease back; returns whether it was open. Blocks.
    pub(super) fn close(&self, id: RootId) -> bool {
        let entry = self.table().entries.remove(&id);
        if let Some(entry) = &entry {
            entry.root.close();
        }
        entry.is_some()
    }

    /// Notes that a link is gone, and forgets what nobody uses any more. Blocks.
    pub(super) fn leave(&self, link: LinkId) {
        let unused: Vec<Entry> = {
            let mut table = self.table();
            table.entries.values_mut().for_each(|entry| {
                entry.links.remove(&link);
            });
            table.entries.extract_if(|_, entry| entry.links.is_empty()).map(|(_, entry)| entry).collect()
        };
        // Dropping a root closes its files, which is not done under the lock.
        drop(unused);
    }

    /// Returns the paths of the open roots, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.table().entries.values().map(|entry| entry.path.clone()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Nothing can panic while the table is locked, so a poisoned one is still whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
