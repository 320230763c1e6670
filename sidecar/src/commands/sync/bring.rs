//! `sync pull`: results, logs and edits of the remote, brought home.

use std::path::Path;
use std::time::Instant;

use protocol::editor::{SyncBrake, SyncPullOutput, SyncPullParams, SyncStatus};
use protocol::error::{Family, Result};
use tokio::sync::{mpsc, watch};

use super::error::Stopped;
use super::place;
use super::settle::watch_until_settled;
use super::status::status_of;
use crate::cx::Cx;
use crate::frontend::Progress;
use crate::store::Pair;
use crate::sync::guard::Brake;
use crate::sync::pull::{Access, Ask, Brought, PullError, Selection, bring_more};

/// Recorded paths on their way to whoever remembers them.
const TOLD: usize = 64;
/// How often a lost connection is made again during one pull without anything coming home in between.
const LOSSES: u32 = 3;

pub(in crate::commands) async fn pull(cx: Cx, params: SyncPullParams) -> Result<SyncPullOutput> {
    let started = Instant::now();
    let pair = place::settled(&cx).await?;
    let selection = selected(&pair.workspace, &params.paths)?;
    let brought = whole(&cx, &pair, &selection, params.dry_run, None).await?;
    let brake = brought.brake.as_ref().map(shown);
    if let Some(brake) = brake.clone().filter(|_| !params.dry_run) {
        return Err(Stopped::Brake { plan: brake.plan, reason: brake.reason }.into());
    }
    let remote_dir = match cx.syncs.get(&pair.workspace) {
        Some(handle) => handle.status().remote_dir,
        None => pair.remote_dir,
    };
    Ok(SyncPullOutput {
        workspace: pair.workspace.to_string_lossy().into_owned(),
        remote: pair.remote,
        remote_dir,
        changes: brought.changes,
        dry_run: params.dry_run,
        files: brought.files,
        bytes: brought.bytes,
        removed: brought.removed,
        conflicts: brought.conflicts.len() as u64,
        problems: brought.problems,
        kept: brought.kept.map(|kept| kept.to_string_lossy().into_owned()),
        brake,
        milliseconds: started.elapsed().as_secs_f64() * 1000.0,
    })
}

/// Makes the pull that a brake stopped.
pub(super) async fn approved(cx: &Cx, plan: String) -> Result<SyncStatus> {
    let pair = place::settled(cx).await?;
    let brought = whole(cx, &pair, &Selection::synced(), false, Some(&plan)).await?;
    match brought.brake {
        Some(Brake { plan: present, .. }) => Err(crate::sync::AskError::OtherPlan { asked: plan, present }.into()),
        None => status_of(cx, &pair).await,
    }
}

/// Returns what the paths of the command line mean. One may be absolute, as a shell completes it.
fn selected(workspace: &Path, paths: &[String]) -> Result<Selection> {
    if paths.is_empty() {
        return Ok(Selection::synced());
    }
    let inside = |text: &String| match Path::new(text).strip_prefix(workspace) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.to_string_lossy().into_owned(),
        Err(_) => text.clone(),
    };
    Ok(Selection::named(&paths.iter().map(inside).collect::<Vec<_>>(), false)?)
}

fn shown(brake: &Brake) -> SyncBrake {
    SyncBrake {
        plan: brake.plan.clone(),
        reason: brake.reason.clone(),
        removals: brake.removals as u64,
        examples: brake.examples.clone(),
    }
}

/// Brings all of it home, over a connection that is made again when it is lost.
async fn whole(
    cx: &Cx,
    pair: &Pair,
    selection: &Selection,
    dry_run: bool,
    approved: Option<&String>,
) -> Result<Brought> {
    let (mut losses, mut brought) = (0, Brought::default());
    loop {
        let before = brought.files;
        match once(cx, pair, selection, dry_run, approved, &mut brought).await {
            Ok(()) => return Ok(brought),
            Err(error) if error.code.family() == Family::Unreachable && !cx.cancel.is_cancelled() => {
                losses = if brought.files > before { 1 } else { losses + 1 };
                if losses > LOSSES {
                    return Err(error);
                }
                cx.frontend.tell(format!("{error}; trying again"));
            }
            Err(error) => return Err(error),
        }
    }
}

async fn once(
    cx: &Cx,
    pair: &Pair,
    selection: &Selection,
    dry_run: bool,
    approved: Option<&String>,
    brought: &mut Brought,
) -> Result<()> {
    let live = cx.syncs.get(&pair.workspace);
    let access = match &live {
        Some(handle) => {
            watch_until_settled(cx, handle).await?;
            Access::running(handle).await?
        }
        None => Access::open(cx, pair.clone(), dry_run).await?,
    };
    let (told, mut receiver) = mpsc::channel(TOLD);
    let (progress, mut shown) = watch::channel(Progress::default());
    let ask = Ask {
        selection: selection.clone(),
        dry_run,
        approved: approved.cloned(),
        told,
        progress,
        cancel: cx.cancel.child_token(),
    };
    let (came, recorded) = {
        let record = async {
            let mut recorded = Ok(());
            while let Some(changes) = receiver.recv().await {
                if recorded.is_ok() {
                    recorded = access.record(changes).await;
                }
            }
            recorded
        };
        let mut work = std::pin::pin!(async { tokio::join!(bring_more(access.sides.clone(), ask, brought), record) });
        loop {
            tokio::select! {
                done = &mut work => break done,
                Ok(()) = shown.changed() => cx.frontend.report(shown.borrow_and_update().clone()),
            }
        }
    };
    access.close().await;
    came.map_err(|error| if cx.cancel.is_cancelled() { PullError::Cancelled.into() } else { error })?;
    recorded?;
    if let Some(handle) = live.filter(|_| !dry_run) {
        // What it holds to be a remote edit, or in conflict, may be neither by now, and the other way round.
        handle.compare().await?;
        watch_until_settled(cx, &handle).await?;
    }
    Ok(())
}
