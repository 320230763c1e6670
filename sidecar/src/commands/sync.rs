//! Commands about sync.

use protocol::editor::{
    NoParams, SyncApproveParams, SyncConflictsOutput, SyncFlushParams, SyncListOutput, SyncPushOutput,
    SyncResolveOutput, SyncResolveParams, SyncStartParams, SyncStatus, SyncStopParams, SyncWatchParams,
};
use protocol::error::Result;

use crate::cx::Cx;

pub(super) async fn push(cx: Cx, params: SyncStartParams) -> Result<SyncPushOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn watch(cx: Cx, params: SyncWatchParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn status(cx: Cx, params: NoParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn list(cx: Cx, params: NoParams) -> Result<SyncListOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn flush(cx: Cx, params: SyncFlushParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn conflicts(cx: Cx, params: NoParams) -> Result<SyncConflictsOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn resolve(cx: Cx, params: SyncResolveParams) -> Result<SyncResolveOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn approve(cx: Cx, params: SyncApproveParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn pause(cx: Cx, params: NoParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn resume(cx: Cx, params: NoParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn stop(cx: Cx, params: SyncStopParams) -> Result<SyncListOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}
