//! Both sides as a command gets at them: through the sync that runs, or by opening the remote folder itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::error::Result;
use protocol::path::RemotePath;

use super::Sides;
use crate::cx::Cx;
use crate::store::{BaseChange, Pair, Store};
use crate::sync::Handle;
use crate::sync::runner::{holder, keep_folder, target};
use crate::sync::target::{OpenTarget, SyncTarget, not_a_path};

/// Longest wait for the lease to be given back; past it the link is dead, and the agent frees the lease by itself.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Both sides, open.
#[derive(Debug)]
pub struct Access {
    /// They.
    pub sides: Sides,
    through: Through,
}

/// Who remembers what is equal.
#[derive(Debug)]
enum Through {
    /// The sync that runs.
    Running(Handle),
    /// The database itself; nobody else writes to it meanwhile.
    Own(Store),
}

impl Access {
    /// Returns both sides as a running sync has them open.
    pub async fn running(handle: &Handle) -> Result<Self> {
        Ok(Self { sides: handle.sides().await?, through: Through::Running(handle.clone()) })
    }

    /// Opens the remote folder of a pair that no sync runs for. `looks` promises that nothing will be changed.
    pub async fn open(cx: &Cx, mut pair: Pair, looks: bool) -> Result<Self> {
        let session = cx.sessions.get(cx, &pair.remote).await?;
        let target = Arc::new(target(session, true));
        let path = RemotePath::new(pair.remote_dir.clone()).map_err(|error| not_a_path(&pair.remote_dir, &error))?;
        let open = OpenTarget { path, create: false, holder: holder(cx, &pair).await?, take_over: false };
        let opened = target.open(&open).await?;
        let mut base = BTreeMap::new();
        if pair.copy.as_deref() == Some(opened.copy.as_str()) {
            base = cx.store.base(pair.id).await?.into_iter().collect();
        } else if !looks {
            // Another folder than the one the base describes: nothing that is known of it may be believed.
            cx.store.clear_base(pair.id).await?;
            (pair.git_index, pair.copy) = (None, Some(opened.copy.clone()));
            cx.store.update_marks(&pair).await?;
        }
        let keep = keep_folder(cx, &pair);
        let sides = Sides { pair, base: Arc::new(base), target, opened, store: cx.store.clone(), keep }.without_unit();
        Ok(Self { sides, through: Through::Own(cx.store.clone()) })
    }

    /// Remembers what is equal on both sides by now.
    pub async fn record(&self, changes: Vec<BaseChange>) -> Result<()> {
        match &self.through {
            Through::Running(handle) => handle.home(self.sides.opened.copy.clone(), changes).await,
            Through::Own(store) => Ok(store.commit(self.sides.pair.id, changes).await?),
        }
    }

    /// Gives the remote folder back, unless a sync goes on with it.
    pub async fn close(self) {
        match self.through {
            Through::Running(_) => {}
            Through::Own(_) => match tokio::time::timeout(CLOSE_WITHIN, self.sides.target.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "the lease was not given back"),
                Err(_) => tracing::info!("the lease was not given back in time"),
            },
        }
    }
}
