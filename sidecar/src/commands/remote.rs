//! Commands about remotes.

use protocol::editor::{
    NoParams, RemoteAddParams, RemoteConnectParams, RemoteListOutput, RemoteNameParams, RemoteRow, RemoteTestOutput,
    RemoteTestParams, SyncStatus,
};
use protocol::error::Result;

use crate::cx::Cx;

pub(super) async fn add(cx: Cx, params: RemoteAddParams) -> Result<RemoteRow> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn list(cx: Cx, params: NoParams) -> Result<RemoteListOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn show(cx: Cx, params: RemoteNameParams) -> Result<RemoteRow> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn test(cx: Cx, params: RemoteTestParams) -> Result<RemoteTestOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn remove(cx: Cx, params: RemoteNameParams) -> Result<RemoteRow> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn connect(cx: Cx, params: RemoteConnectParams) -> Result<SyncStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}
