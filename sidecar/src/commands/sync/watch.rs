//! `sync watch`: the remote, kept up to date with every save.

use std::path::Path;

use protocol::editor::{SyncState, SyncStatus, SyncWatchParams};
use protocol::error::{Code, Result};
use tokio::sync::broadcast::error::RecvError;

use super::place::{self, asked};
use super::settle::{may_take_over, settle};
use super::status::owned;
use super::stop::end;
use crate::commands::show::{self, text};
use crate::commands::work::{self, Work};
use crate::cx::Cx;
use crate::store::Pair;
use crate::sync::{self, Arrival, Handle, Settings};

pub(in crate::commands) async fn watch(cx: Cx, params: SyncWatchParams) -> Result<SyncStatus> {
    watch_in(cx, params, None).await
}

/// Watches, as a part of what a command has begun already if it has.
pub(in crate::commands) async fn watch_in(cx: Cx, params: SyncWatchParams, begun: Option<Work>) -> Result<SyncStatus> {
    let mut asked = asked(&cx, &params.start).await?;
    if params.start.dry_run {
        let planned = sync::preview(&cx, asked.pair).await?;
        return Ok(SyncStatus { changes: planned.changes, ..planned.status });
    }
    let workspace = asked.pair.workspace.clone();
    let work = match begun {
        Some(work) => work,
        None => work::begin(&cx, &workspace).await?,
    };
    let starting = cx.syncs.starting();
    if cx.syncs.get(&workspace).is_some_and(|live| asked.differs_at_all(&live)) {
        cx.frontend.tell(format!("Starting the sync of `{}` anew with the new settings", workspace.display()));
        end(&cx, &workspace).await;
        // What ended has stored its last words.
        asked = place::asked_in(&cx, &workspace, &params.start).await?;
    }
    let pair = if cx.syncs.get(&workspace).is_some() { asked.pair } else { asked.store(&cx, true).await? };
    work.connected(&cx, &pair.remote).await?;
    let mut settings = Settings { watch: true, take_over: params.start.take_over };
    let (mut handle, settled) = loop {
        let (handle, is_started) = join(&cx, &pair, settings).await?;
        if is_started {
            work.follow(&cx, &handle).await?;
        }
        let settled = settle(&cx, &handle).await;
        if !may_take_over(&cx, &pair, settings, &settled).await {
            break (handle, settled);
        }
        end(&cx, &workspace).await;
        settings.take_over = true;
    };
    drop(starting);
    if let Err(error) = settled {
        // A brake or a path that waits is for later commands; what never could start ends here.
        if !handle.can_go_on() {
            cx.syncs.remove(&workspace);
            handle.stop().await;
        }
        if !params.foreground || !handle.can_go_on() || cx.cancel.is_cancelled() {
            if params.foreground {
                end(&cx, &workspace).await;
            }
            return Err(error);
        }
        // Whoever stays in the foreground sees how it goes on.
        cx.frontend.tell(format!("{error}. {}", error.help));
    }
    if params.foreground {
        show(&cx, &handle).await;
        // Another command may start it anew, with other settings or over a session of its own.
        while cx.cancel.run_until_cancelled(cx.syncs.started()).await.is_some()
            && let Some(next) = cx.syncs.get(&workspace).filter(|next| !next.is(&handle))
        {
            handle = next;
            show(&cx, &handle).await;
        }
        cx.syncs.remove(&workspace);
        handle.stop().await;
    }
    Ok(owned(handle.status()))
}

/// Returns the sync that runs for a workspace, urged on if it could not.
async fn joined(cx: &Cx, workspace: &Path, take_over: bool) -> Result<Option<Handle>> {
    let Some(handle) = cx.syncs.get(workspace) else { return Ok(None) };
    match handle.stuck() {
        None => {
            handle.again(false).await?;
            Ok(Some(handle))
        }
        Some(error) if error.code == Code::SyncLeased => {
            handle.again(take_over).await?;
            Ok(Some(handle))
        }
        // Its session may have been refused for good; a new one asks what has to be asked.
        Some(_) => {
            end(cx, workspace).await;
            Ok(None)
        }
    }
}

/// Returns the sync of the pair's workspace, and whether it was started now because there was none.
async fn join(cx: &Cx, pair: &Pair, settings: Settings) -> Result<(Handle, bool)> {
    if let Some(handle) = joined(cx, &pair.workspace, settings.take_over).await? {
        return Ok((handle, false));
    }
    let new = sync::run(cx, pair.clone(), settings).await?;
    let mine = new.clone();
    let handle = cx.syncs.add(pair.workspace.clone(), move || new);
    let is_mine = handle.is(&mine);
    if !is_mine {
        mine.stop().await;
    }
    Ok((handle, is_mine))
}

/// Shows what happens until the person has seen enough, or the sync ends.
async fn show(cx: &Cx, handle: &Handle) {
    let mut arrivals = handle.arrivals();
    let mut snapshots = handle.snapshots();
    let mut state = handle.status().state;
    cx.frontend.tell(format!("Watching `{}`", handle.status().workspace));
    loop {
        tokio::select! {
            () = cx.cancel.cancelled() => return,
            () = handle.closed() => return,
            arrival = arrivals.recv() => match arrival {
                Ok(Arrival { change, latency }) => {
                    let time = latency.map_or_else(String::new, |latency| format!("  {:.0} ms", latency.as_secs_f64() * 1000.0));
                    let (action, size) = (show::action(change.action), text::bytes(change.bytes));
                    cx.frontend.tell(format!("{action} {}  {size}{time}", change.path));
                }
                Err(RecvError::Lagged(missed)) => cx.frontend.tell(format!("… and {missed} more")),
                Err(RecvError::Closed) => return,
            },
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                let snapshot = snapshots.borrow_and_update().clone();
                if snapshot.status.state == SyncState::Halted && state != SyncState::Halted
                    && let Some(brake) = &snapshot.status.brake
                {
                    cx.frontend.tell(format!("Stopped: {}; `mltoolbox-sidecar sync approve {}` lets it go", brake.reason, brake.plan));
                }
                state = snapshot.status.state;
                cx.frontend.report(snapshot.progress);
            }
        }
    }
}
