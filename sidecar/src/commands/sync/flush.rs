//! `sync flush`: waiting until every change is on the remote.

use std::time::Duration;

use protocol::editor::{SyncFlushParams, SyncStatus};
use protocol::error::Result;

use super::error::Stopped;
use super::settle::running;
use super::status::owned;
use crate::cx::Cx;
use crate::sync::Handle;

/// How long a flush waits by default.
const FLUSH_WITHIN: Duration = Duration::from_mins(1);

pub(in crate::commands) async fn flush(cx: Cx, params: SyncFlushParams) -> Result<SyncStatus> {
    let handle = running(&cx).await?;
    let within = params.timeout.map_or(FLUSH_WITHIN, Duration::from_secs);
    flush_within(&cx, &handle, params.durable, within).await?;
    Ok(owned(handle.status()))
}

/// Waits until everything that was saved before is on the remote, or the command is cancelled.
pub(super) async fn flush_within(cx: &Cx, handle: &Handle, durable: bool, within: Duration) -> Result<()> {
    let flushed = cx.cancel.run_until_cancelled(handle.flush(durable, within));
    flushed.await.unwrap_or_else(|| Err(Stopped::Cancelled.into()))
}
