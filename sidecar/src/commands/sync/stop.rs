//! `sync pause`, `resume` and `stop`.

use std::path::Path;

use protocol::editor::{NoParams, SyncStatus, SyncStopOutput, SyncStopParams};
use protocol::error::Result;

use super::place;
use super::status::{owned, status_of};
use crate::cx::Cx;
use crate::store::Pair;

pub(in crate::commands) async fn pause(cx: Cx, _: NoParams) -> Result<SyncStatus> {
    pause_to(&cx, true).await
}

pub(in crate::commands) async fn resume(cx: Cx, _: NoParams) -> Result<SyncStatus> {
    pause_to(&cx, false).await
}

async fn pause_to(cx: &Cx, paused: bool) -> Result<SyncStatus> {
    let pair = place::existing(cx).await?;
    if let Some(handle) = cx.syncs.get(&pair.workspace) {
        handle.pause(paused).await?;
        Ok(owned(handle.status()))
    } else {
        cx.store.pause_pair(pair.id, paused).await?;
        status_of(cx, &Pair { paused, ..pair }).await
    }
}

pub(in crate::commands) async fn stop(cx: Cx, params: SyncStopParams) -> Result<SyncStopOutput> {
    let mut output = SyncStopOutput::default();
    let pairs = if params.all { cx.store.pairs().await? } else { vec![place::existing(&cx).await?] };
    for mut pair in pairs {
        let stopped = end(&cx, &pair.workspace).await;
        if pair.wanted {
            pair.wanted = false;
            cx.store.want_pair(pair.id, false).await?;
        }
        if stopped {
            output.stopped.push(pair.workspace.to_string_lossy().into_owned());
        }
        if stopped || !params.all {
            output.syncs.push(status_of(&cx, &pair).await?);
        }
    }
    Ok(output)
}

/// Ends the sync of a workspace in this process; returns whether there was one.
pub(super) async fn end(cx: &Cx, workspace: &Path) -> bool {
    match cx.syncs.remove(workspace) {
        Some(handle) => {
            handle.stop().await;
            true
        }
        None => false,
    }
}
