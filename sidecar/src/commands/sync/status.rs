//! `sync status` and `sync list`.

use protocol::editor::{NoParams, SyncListOutput, SyncState, SyncStatus};
use protocol::error::Result;

use super::place;
use crate::cx::Cx;
use crate::owner;
use crate::store::Pair;

pub(in crate::commands) async fn status(cx: Cx, _: NoParams) -> Result<SyncStatus> {
    let pair = place::existing(&cx).await?;
    status_of(&cx, &pair).await
}

pub(super) async fn status_of(cx: &Cx, pair: &Pair) -> Result<SyncStatus> {
    if let Some(handle) = cx.syncs.get(&pair.workspace) {
        return Ok(owned(handle.status()));
    }
    Ok(SyncStatus {
        workspace: pair.workspace.to_string_lossy().into_owned(),
        remote: pair.remote.clone(),
        remote_dir: pair.remote_dir.clone(),
        state: if pair.paused { SyncState::Paused } else { SyncState::Stopped },
        synced: cx.store.base_len(pair.id).await?,
        last_visible: pair.last_visible,
        last_durable: pair.last_durable,
        ..SyncStatus::default()
    })
}

pub(super) fn owned(status: SyncStatus) -> SyncStatus {
    SyncStatus { owner: Some(std::process::id()), ..status }
}

pub(in crate::commands) async fn list(cx: Cx, _: NoParams) -> Result<SyncListOutput> {
    let mut syncs = Vec::new();
    for pair in cx.store.pairs().await? {
        syncs.push(match status_elsewhere(&cx, &pair).await {
            Some(status) => status,
            None => status_of(&cx, &pair).await?,
        });
    }
    Ok(SyncListOutput { syncs })
}

/// Returns what another process says that syncs the pair, if there is one.
async fn status_elsewhere(cx: &Cx, pair: &Pair) -> Option<SyncStatus> {
    if cx.syncs.get(&pair.workspace).is_some() {
        return None;
    }
    owner::status(cx, &pair.workspace, &pair.remote).await.unwrap_or_else(|error| {
        Some(SyncStatus {
            workspace: pair.workspace.to_string_lossy().into_owned(),
            remote: pair.remote.clone(),
            remote_dir: pair.remote_dir.clone(),
            state: SyncState::Waiting,
            error: Some(error),
            ..SyncStatus::default()
        })
    })
}
