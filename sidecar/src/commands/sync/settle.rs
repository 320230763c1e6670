//! Waiting for a sync, and asking what has to be asked on the way.

use protocol::editor::SyncState;
use protocol::error::{Code, Result};

use super::error::Stopped;
use super::place;
use crate::cx::Cx;
use crate::frontend::{Question, confirm};
use crate::store::Pair;
use crate::sync::{self, AskError, Handle, Settings, Snapshot};

/// Reports progress until nothing is left to do; asks what has to be asked.
pub(super) async fn settle(cx: &Cx, handle: &Handle) -> Result<()> {
    loop {
        let snapshot = watch_until_settled(cx, handle).await?;
        let status = &snapshot.status;
        if let Some(large) = &snapshot.large {
            let question =
                Question::LargePush { files: large.files, bytes: large.bytes, largest: large.largest.clone() };
            let answered = confirm(&*cx.frontend, cx.scope.yes, &question).await;
            if !answered.map_err(|error| protocol::error::Error { code: Code::SyncLarge, ..error })? {
                return Err(Stopped::Large { files: large.files, bytes: large.bytes }.into());
            }
            handle.approve(status.brake.as_ref().map(|brake| brake.plan.clone())).await?;
            continue;
        }
        if let Some(brake) = &status.brake {
            return Err(Stopped::Brake { plan: brake.plan.clone(), reason: brake.reason.clone() }.into());
        }
        if let Some(error) = &status.error {
            return Err(error.clone());
        }
        if status.pending > 0 && status.state != SyncState::Paused {
            let told = |problem: &protocol::editor::SyncProblem| format!("{} ({})", problem.path, problem.reason);
            let paths = status.problems.iter().take(5).map(told).collect();
            return Err(AskError::Pending { count: status.pending, paths, source: None }.into());
        }
        return Ok(());
    }
}

pub(super) async fn watch_until_settled(cx: &Cx, handle: &Handle) -> Result<Snapshot> {
    let mut snapshots = handle.snapshots();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        cx.frontend.report(snapshot.progress.clone());
        if snapshot.settled {
            return Ok(snapshot);
        }
        tokio::select! {
            () = cx.cancel.cancelled() => return Err(Stopped::Cancelled.into()),
            changed = snapshots.changed() => {
                if changed.is_err() {
                    let last = snapshots.borrow().status.error.clone();
                    return Err(last.unwrap_or_else(|| AskError::Ended.into()));
                }
            }
        }
    }
}

/// Returns whether a person wants the remote folder although another machine syncs to it. `--yes` does not
/// say so: what is lost may be another person's work, so only `--take-over` and a person do.
pub(super) async fn may_take_over(cx: &Cx, pair: &Pair, settings: Settings, settled: &Result<()>) -> bool {
    let Err(error) = settled else { return false };
    if error.code != Code::SyncLeased || settings.take_over {
        return false;
    }
    // The agent names the machine at the end of its sentence.
    let holder = error.causes.first().and_then(|cause| Some(cause.rsplit_once(" is in use by ")?.1.to_owned()));
    let holder = holder.unwrap_or_else(|| "another machine".to_owned());
    let question = Question::TakeOver { remote_dir: pair.remote_dir.clone(), holder };
    confirm(&*cx.frontend, false, &question).await.unwrap_or(false)
}

pub(super) async fn running(cx: &Cx) -> Result<Handle> {
    let pair = place::existing(cx).await?;
    let workspace = || pair.workspace.to_string_lossy().into_owned();
    cx.syncs.get(&pair.workspace).ok_or_else(|| Stopped::NotRunning { workspace: workspace() }.into())
}

/// Runs `work` on the running sync, or on one that is run once for it.
pub(super) async fn with_sync<T>(cx: &Cx, work: impl AsyncFnOnce(&Handle) -> Result<T>) -> Result<T> {
    let pair = place::settled(cx).await?;
    if let Some(handle) = cx.syncs.get(&pair.workspace) {
        return work(&handle).await;
    }
    let handle = sync::run(cx, pair, Settings::default()).await?;
    let result = match watch_until_settled(cx, &handle).await {
        Ok(_) => work(&handle).await,
        Err(error) => Err(error),
    };
    let result = match result {
        Ok(done) => settle(cx, &handle).await.map(|()| done),
        Err(error) => Err(error),
    };
    handle.stop().await;
    result
}
