//! The open roots of one agent process, shared by its links. A root is given back when no link uses it.

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
    holder: String,
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
        let (root, opened) = Root::open(id, open)?;
        let entry = Entry {
            root: Arc::new(root),
            path: opened.path.clone(),
            holder: open.holder.id.clone(),
            links: HashSet::from([link]),
        };
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

    /// Forgets a root and gives its lease back. Blocks.
    pub(super) fn close(&self, id: RootId) -> bool {
        let Some((entry, last)) = self.table().take(id) else { return false };
        if last {
            entry.root.close();
        }
        true
    }

    /// Notes that a link is gone, and closes what nobody uses any more. Blocks.
    pub(super) fn leave(&self, link: LinkId) {
        let unused: Vec<RootId> = {
            let mut table = self.table();
            table.entries.values_mut().for_each(|entry| {
                entry.links.remove(&link);
            });
            table.entries.iter().filter(|(_, entry)| entry.links.is_empty()).map(|(id, _)| *id).collect()
        };
        for id in unused {
            self.close(id);
        }
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

impl Table {
    /// Removes an entry, and tells whether it was the last by which its holder has that folder. After a
    /// reconnect the same holder has it twice for a while, and the old one must not give the lease back.
    fn take(&mut self, id: RootId) -> Option<(Entry, bool)> {
        let entry = self.entries.remove(&id)?;
        let last = !self.entries.values().any(|other| other.path == entry.path && other.holder == entry.holder);
        Some((entry, last))
    }
}
