//! `sync push`: the remote, brought up to date once.

use std::time::{Duration, Instant};

use protocol::editor::{SyncChange, SyncPushOutput, SyncPushParams};
use protocol::error::Result;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::error::Stopped;
use super::mirror;
use super::place::asked;
use super::settle::{may_take_over, settle};
use crate::commands::work::{self, Work};
use crate::cx::Cx;
use crate::sync::pull::Access;
use crate::sync::{self, Arrival, AskError, Handle, Settings, Snapshot};

/// How long the end of a push waits for the remote's disk.
const DURABLE_WITHIN: Duration = Duration::from_mins(2);
/// Most changes that are listed.
const LISTED: usize = 1000;

pub(in crate::commands) async fn push(cx: Cx, params: SyncPushParams) -> Result<SyncPushOutput> {
    push_in(cx, params, None).await
}

/// Pushes, as a part of what a command has begun already if it has.
pub(in crate::commands) async fn push_in(
    cx: Cx,
    params: SyncPushParams,
    begun: Option<Work>,
) -> Result<SyncPushOutput> {
    let started = Instant::now();
    let asked = asked(&cx, &params.start).await?;
    if params.start.dry_run {
        let mut output = sync::preview(&cx, asked.pair.clone()).await?;
        if params.mirror {
            mirror::preview(&cx, asked.pair, &mut output).await?;
        }
        output.milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        return Ok(output);
    }
    let work = match begun {
        Some(work) => work,
        None => work::begin(&cx, &asked.pair.workspace).await?,
    };
    if let Some(handle) = cx.syncs.get(&asked.pair.workspace) {
        if asked.differs(&handle) {
            return Err(Stopped::Otherwise { workspace: handle.status().workspace }.into());
        }
        let before = handle.snapshots().borrow().clone();
        let mut arrivals = handle.arrivals();
        // A save that the watcher has not told of yet is found by the comparison; else the flush waits for it.
        handle.compare().await?;
        settle(&cx, &handle).await?;
        let mut output = finished(&cx, &handle, &before, &mut arrivals, params.mirror).await?;
        output.milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        return Ok(output);
    }
    if asked.pair.paused {
        return Err(AskError::Paused.into());
    }
    let pair = asked.store(&cx, false).await?;
    work.connected(&cx, &pair.remote).await?;
    let mut settings = Settings { watch: false, take_over: params.start.take_over };
    let (handle, mut arrivals, settled) = loop {
        let handle = sync::run(&cx, pair.clone(), settings).await?;
        let arrivals = handle.arrivals();
        let settled = settle(&cx, &handle).await;
        if !may_take_over(&cx, &pair, settings, &settled).await {
            break (handle, arrivals, settled);
        }
        handle.stop().await;
        settings.take_over = true;
    };
    let result = match settled {
        Ok(()) => finished(&cx, &handle, &Snapshot::default(), &mut arrivals, params.mirror).await,
        Err(error) => Err(error),
    };
    let result = match result {
        Ok(output) => work.synced(&cx, &handle, output.files + output.removed).await.map(|()| output),
        Err(error) => Err(error),
    };
    handle.stop().await;
    let mut output = result?;
    output.milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    Ok(output)
}

/// Waits until what arrived is safe on the remote's disk, removes extras if asked to, and says what was done.
async fn finished(
    cx: &Cx,
    handle: &Handle,
    before: &Snapshot,
    arrivals: &mut Receiver<Arrival>,
    mirror: bool,
) -> Result<SyncPushOutput> {
    super::flush::flush_within(cx, handle, true, DURABLE_WITHIN).await?;
    let mut output = SyncPushOutput { changes: changes(arrivals), ..SyncPushOutput::default() };
    if mirror {
        mirror::run(cx, &Access::running(handle).await?, &mut output).await?;
    }
    let now = handle.snapshots().borrow().clone();
    output.files = now.files.saturating_sub(before.files);
    output.bytes = now.bytes.saturating_sub(before.bytes);
    output.removed += now.removed.saturating_sub(before.removed);
    output.status = now.status;
    Ok(output)
}

fn changes(arrivals: &mut Receiver<Arrival>) -> Vec<SyncChange> {
    let mut changes = Vec::new();
    while changes.len() < LISTED {
        match arrivals.try_recv() {
            Ok(Arrival { change, .. }) => changes.push(change),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    changes
}
