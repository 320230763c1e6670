//! The folders above a path: each is looked at every few seconds of a transfer and after each long file, and none may
//! be a link.
//!
//! A name may be swapped for a link between that look and the use of it; only descriptors of folders, which SFTP does
//! not have, could prevent that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent::files::layout::INSIDE;
use protocol::path::RelPath;
use protocol::sync::Rejected;
use tokio::sync::OnceCell;

use super::error::rejected;
use super::seen::Kind;
use super::side::Side;
use super::wire::{Fault, Wire};

/// How long a look at a folder counts: transfers take hours, and somebody may swap a folder for a link meanwhile.
const COUNTS_FOR: Duration = Duration::from_secs(2);

/// Why nothing can be done at a path.
#[derive(Debug)]
pub(super) enum Stop {
    /// A folder above it is not there.
    Missing,
    /// Something else than a folder is above it.
    Unsafe(String),
    /// The server did not tell.
    Fault(Fault),
}

impl Stop {
    /// Returns the rejection of an operation, or the loss of the conversation.
    pub(super) fn rejected(self, path: &RelPath) -> Result<Rejected, Fault> {
        match self {
            Self::Missing => {
                Ok(Rejected::Unsafe { reason: format!("the folder of `{path}` is not there on the remote") })
            }
            Self::Unsafe(reason) => Ok(Rejected::Unsafe { reason }),
            Self::Fault(fault @ Fault::Lost { .. }) => Err(fault),
            Self::Fault(fault) => Ok(rejected(&fault)),
        }
    }
}

/// One look at a folder, for all who wait for it.
#[derive(Debug)]
struct Looked {
    /// Before it was asked.
    at: Instant,
    is_folder: OnceCell<()>,
}

/// What is known of the folders of a root within one transfer.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    wire: &'a Wire,
    side: &'a Side,
    known: Mutex<HashMap<RelPath, Arc<Looked>>>,
}

impl<'a> Folders<'a> {
    pub(super) fn new(wire: &'a Wire, side: &'a Side) -> Self {
        Self { wire, side, known: Mutex::new(HashMap::new()) }
    }

    /// Returns the server's path of `path`, whose folders are there and were folders a moment ago.
    pub(super) async fn reach(&self, path: &RelPath) -> Result<String, Stop> {
        self.reach_since(path, Instant::now().checked_sub(COUNTS_FOR)).await
    }

    /// Returns the server's path of `path`, whose folders are there and folders now.
    pub(super) async fn reach_anew(&self, path: &RelPath) -> Result<String, Stop> {
        self.reach_since(path, Some(Instant::now())).await
    }

    /// `since`: when a look must have been begun to count.
    async fn reach_since(&self, path: &RelPath, since: Option<Instant>) -> Result<String, Stop> {
        if self.side.inside && path.components().next().is_some_and(|name| self.side.is_inside(name)) {
            return Err(Stop::Unsafe(format!("`{INSIDE}` is MLToolbox's own folder")));
        }
        let mut above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent).collect();
        above.reverse();
        for folder in above {
            let looked = {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                let counts = |looked: &&Arc<Looked>| since.is_none_or(|since| looked.at >= since);
                if let Some(looked) = known.get(&folder).filter(counts) {
                    Arc::clone(looked)
                } else {
                    let fresh = Arc::new(Looked { at: Instant::now(), is_folder: OnceCell::new() });
                    known.insert(folder.clone(), Arc::clone(&fresh));
                    fresh
                }
            };
            looked.is_folder.get_or_try_init(|| self.look(&folder)).await?;
        }
        Ok(self.side.below(path))
    }

    async fn look(&self, folder: &RelPath) -> Result<(), Stop> {
        match self.wire.look(&self.side.below(folder)).await.map_err(Stop::Fault)?.map(|seen| seen.kind) {
            Some(Kind::Folder) => Ok(()),
            Some(Kind::Link) => Err(Stop::Unsafe(format!("`{folder}` is a symbolic link on the remote"))),
            Some(Kind::File | Kind::Special) => Err(Stop::Unsafe(format!("`{folder}` is no folder on the remote"))),
            None => Err(Stop::Missing),
        }
    }

    /// Forgets what was seen: a folder was removed.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
