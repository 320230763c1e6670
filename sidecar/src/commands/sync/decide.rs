//! What a person decides: conflicts, and what a brake stopped.

use protocol::editor::{
    NoParams, SyncApproveParams, SyncConflictsOutput, SyncResolveOutput, SyncResolveParams, SyncStatus,
};
use protocol::error::Result;

use super::error::Stopped;
use super::settle::{watch_until_settled, with_sync};
use super::status::owned;
use super::{bring, place};
use crate::cx::Cx;
use crate::sync::{self, Which, guard};

pub(in crate::commands) async fn conflicts(cx: Cx, _: NoParams) -> Result<SyncConflictsOutput> {
    let pair = place::settled(&cx).await?;
    if let Some(handle) = cx.syncs.get(&pair.workspace) {
        if handle.compare().await? {
            watch_until_settled(&cx, &handle).await?;
        }
        return Ok(SyncConflictsOutput { conflicts: handle.snapshots().borrow().conflicts.clone() });
    }
    // Only a comparison with the remote tells.
    Ok(SyncConflictsOutput { conflicts: sync::conflicts(&cx, &pair).await? })
}

pub(in crate::commands) async fn resolve(cx: Cx, params: SyncResolveParams) -> Result<SyncResolveOutput> {
    if !params.all && params.paths.is_empty() {
        return Err(Stopped::NoPaths.into());
    }
    let which = if params.all { Which::All } else { Which::Matching(params.paths) };
    with_sync(&cx, async |handle| handle.resolve(which, params.take).await).await
}

pub(in crate::commands) async fn approve(cx: Cx, params: SyncApproveParams) -> Result<SyncStatus> {
    // What would be removed here was stopped in a pull, which is made again.
    if let Some(plan) = params.plan.clone().filter(|plan| plan.starts_with(guard::PULLED)) {
        return bring::approved(&cx, plan).await;
    }
    with_sync(&cx, async |handle| {
        handle.approve(params.plan).await?;
        let snapshot = watch_until_settled(&cx, handle).await?;
        let is_owner = cx.syncs.get(&handle.pair().workspace).is_some_and(|live| live.is(handle));
        Ok(if is_owner { owned(snapshot.status) } else { snapshot.status })
    })
    .await
}
