//! Commands about sync. They run where the sync runs: in the workspace's owner when there is one, else here.

use std::path::Path;
use std::time::{Duration, Instant};

use protocol::editor::{
    NoParams, SyncApproveParams, SyncConflictsOutput, SyncFlushParams, SyncListOutput, SyncPushOutput,
    SyncResolveOutput, SyncResolveParams, SyncStartParams, SyncState, SyncStatus, SyncStopParams, SyncWatchParams,
};
use protocol::error::{Code, Example, Explain, Result, word};
use tokio::sync::broadcast::error::RecvError;

use super::show::{self, text};
use crate::cx::Cx;
use crate::frontend::{Question, confirm};
use crate::owner;
use crate::store::Pair;
use crate::sync::{self, Arrival, AskError, Handle, Settings, Snapshot, Which};

mod place;

use place::Asked;

/// How long a flush waits by default.
const FLUSH_WITHIN: Duration = Duration::from_mins(1);
/// How long the end of a push waits for the remote's disk.
const DURABLE_WITHIN: Duration = Duration::from_mins(2);
/// Most changes that are listed.
const LISTED: usize = 1000;

/// Why a sync cannot go on without a person.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("{reason}")]
    Brake { plan: String, reason: String },
    #[error("the first push holds {} in {}", text::bytes(*bytes), text::count(*files, "file"))]
    Large { files: u64, bytes: u64 },
    #[error("no sync runs for `{workspace}`")]
    NotRunning { workspace: String },
    #[error("the sync of `{workspace}` runs with other settings")]
    Otherwise { workspace: String },
    #[error("`sync/resolve` needs `paths` or `all`")]
    NoPaths,
    #[error("the command was cancelled")]
    Cancelled,
}

impl Explain for Stopped {
    fn code(&self) -> Code {
        match self {
            Self::Brake { .. } => Code::SyncBrake,
            Self::Large { .. } => Code::SyncLarge,
            Self::NotRunning { .. } => Code::SyncNotRunning,
            Self::Otherwise { .. } | Self::NoPaths => Code::ParamsInvalid,
            Self::Cancelled => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Brake { plan, .. } => {
                format!(
                    "If that is what you want, run `mltoolbox-sidecar sync approve {plan}`; else bring the files back."
                )
            }
            Self::Large { .. } => {
                "Leave something out with `--exclude PATTERN` or a `.mltignore`, or add `--yes` to push all of it."
                    .to_owned()
            }
            Self::NotRunning { workspace } => {
                format!("Start it with `mltoolbox-sidecar sync watch {}`.", word(workspace))
            }
            Self::Otherwise { .. } => {
                "Run `mltoolbox-sidecar sync stop` first, then push again; or give the settings to \
                 `mltoolbox-sidecar sync watch`, which starts anew with them."
                    .to_owned()
            }
            Self::NoPaths => {
                "Name the paths that `mltoolbox-sidecar sync conflicts` lists, or give `--all`.".to_owned()
            }
            Self::Cancelled => "Run the command again to go on; what arrived stays.".to_owned(),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let reason = "812 of 1200 paths would be removed".to_owned();
    let own = vec![
        Stopped::Brake { plan: "3f9a61c2".to_owned(), reason }.into(),
        Stopped::Large { files: 250_000, bytes: 5_000_000_000 }.into(),
        Stopped::NotRunning { workspace: "/home/ada/project".to_owned() }.into(),
        Stopped::Otherwise { workspace: "/home/ada/project".to_owned() }.into(),
        Stopped::NoPaths.into(),
        Stopped::Cancelled.into(),
    ];
    [own, place::examples()].concat()
}

pub(super) async fn push(cx: Cx, params: SyncStartParams) -> Result<SyncPushOutput> {
    let started = Instant::now();
    let asked = asked(&cx, &params).await?;
    if params.dry_run {
        let mut output = sync::preview(&cx, asked.pair).await?;
        output.milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        return Ok(output);
    }
    if let Some(handle) = cx.syncs.get(&asked.pair.workspace) {
        if asked.differs(&handle) {
            return Err(Stopped::Otherwise { workspace: handle.status().workspace }.into());
        }
        let before = handle.snapshots().borrow().clone();
        handle.compare().await?;
        flush_within(&cx, &handle, false, FLUSH_WITHIN).await?;
        return Ok(pushed(&handle, &before, Vec::new(), started));
    }
    if asked.pair.paused {
        return Err(AskError::Paused.into());
    }
    let pair = asked.store(&cx, false).await?;
    let mut settings = Settings { watch: false, take_over: params.take_over };
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
    let mut changes = Vec::new();
    while changes.len() < LISTED {
        match arrivals.try_recv() {
            Ok(Arrival { change, .. }) => changes.push(change),
            Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    let result = match settled {
        Ok(()) => {
            handle.flush(true, DURABLE_WITHIN).await.map(|()| pushed(&handle, &Snapshot::default(), changes, started))
        }
        Err(error) => Err(error),
    };
    handle.stop().await;
    result
}

fn pushed(
    handle: &Handle,
    before: &Snapshot,
    changes: Vec<protocol::editor::SyncChange>,
    started: Instant,
) -> SyncPushOutput {
    let now = handle.snapshots().borrow().clone();
    SyncPushOutput {
        status: now.status,
        changes,
        dry_run: false,
        files: now.files.saturating_sub(before.files),
        bytes: now.bytes.saturating_sub(before.bytes),
        removed: now.removed.saturating_sub(before.removed),
        milliseconds: started.elapsed().as_secs_f64() * 1000.0,
    }
}

pub(super) async fn watch(cx: Cx, params: SyncWatchParams) -> Result<SyncStatus> {
    let mut asked = asked(&cx, &params.start).await?;
    if params.start.dry_run {
        return Ok(sync::preview(&cx, asked.pair).await?.status);
    }
    let workspace = asked.pair.workspace.clone();
    let starting = cx.syncs.starting();
    if cx.syncs.get(&workspace).is_some_and(|live| asked.differs(&live)) {
        cx.frontend.tell(format!("Starting the sync of `{}` anew with the new settings", workspace.display()));
        end(&cx, &workspace).await;
        // What ended has stored its last words.
        asked = place::asked(&cx, &workspace, &params.start).await?;
    }
    let pair = if cx.syncs.get(&workspace).is_some() { asked.pair } else { asked.store(&cx, true).await? };
    let mut settings = Settings { watch: true, take_over: params.start.take_over };
    let (mut handle, settled) = loop {
        let handle = join(&cx, &pair, settings).await?;
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

/// Returns the sync of the pair's workspace, which is started when there is none.
async fn join(cx: &Cx, pair: &Pair, settings: Settings) -> Result<Handle> {
    if let Some(handle) = joined(cx, &pair.workspace, settings.take_over).await? {
        return Ok(handle);
    }
    let new = sync::run(cx, pair.clone(), settings).await?;
    let mine = new.clone();
    let handle = cx.syncs.add(pair.workspace.clone(), move || new);
    if !handle.is(&mine) {
        mine.stop().await;
    }
    Ok(handle)
}

/// Returns whether a person wants the remote folder although another machine syncs to it. `--yes` does not
/// say so: what is lost may be another person's work, so only `--take-over` and a person do.
async fn may_take_over(cx: &Cx, pair: &Pair, settings: Settings, settled: &Result<()>) -> bool {
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

/// Reports progress until nothing is left to do; asks what has to be asked.
async fn settle(cx: &Cx, handle: &Handle) -> Result<()> {
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

async fn watch_until_settled(cx: &Cx, handle: &Handle) -> Result<Snapshot> {
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

/// Returns what `push` and `watch` are asked to sync.
async fn asked(cx: &Cx, params: &SyncStartParams) -> Result<Asked> {
    let workspace = place::workspace(cx, params.dir.as_deref()).await?;
    place::check(cx, &workspace).await?;
    place::asked(cx, &workspace, params).await
}

pub(super) async fn status(cx: Cx, _: NoParams) -> Result<SyncStatus> {
    let pair = place::existing(&cx).await?;
    status_of(&cx, &pair).await
}

async fn status_of(cx: &Cx, pair: &Pair) -> Result<SyncStatus> {
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

fn owned(status: SyncStatus) -> SyncStatus {
    SyncStatus { owner: Some(std::process::id()), ..status }
}

pub(super) async fn list(cx: Cx, _: NoParams) -> Result<SyncListOutput> {
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

pub(super) async fn flush(cx: Cx, params: SyncFlushParams) -> Result<SyncStatus> {
    let handle = running(&cx).await?;
    let within = params.timeout.map_or(FLUSH_WITHIN, Duration::from_secs);
    flush_within(&cx, &handle, params.durable, within).await?;
    Ok(owned(handle.status()))
}

async fn flush_within(cx: &Cx, handle: &Handle, durable: bool, within: Duration) -> Result<()> {
    let flushed = cx.cancel.run_until_cancelled(handle.flush(durable, within));
    flushed.await.unwrap_or_else(|| Err(Stopped::Cancelled.into()))
}

async fn running(cx: &Cx) -> Result<Handle> {
    let pair = place::existing(cx).await?;
    let workspace = || pair.workspace.to_string_lossy().into_owned();
    cx.syncs.get(&pair.workspace).ok_or_else(|| Stopped::NotRunning { workspace: workspace() }.into())
}

/// Runs `work` on the running sync, or on one that is run once for it.
async fn with_sync<T>(cx: &Cx, work: impl AsyncFnOnce(&Handle) -> Result<T>) -> Result<T> {
    let pair = place::existing(cx).await?;
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

pub(super) async fn conflicts(cx: Cx, _: NoParams) -> Result<SyncConflictsOutput> {
    let pair = place::existing(&cx).await?;
    if let Some(handle) = cx.syncs.get(&pair.workspace) {
        if handle.compare().await? {
            watch_until_settled(&cx, &handle).await?;
        }
        return Ok(SyncConflictsOutput { conflicts: handle.snapshots().borrow().conflicts.clone() });
    }
    // Only a comparison with the remote tells.
    Ok(SyncConflictsOutput { conflicts: sync::conflicts(&cx, &pair).await? })
}

pub(super) async fn resolve(cx: Cx, params: SyncResolveParams) -> Result<SyncResolveOutput> {
    if !params.all && params.paths.is_empty() {
        return Err(Stopped::NoPaths.into());
    }
    let which = if params.all { Which::All } else { Which::Matching(params.paths) };
    with_sync(&cx, async |handle| handle.resolve(which, params.take).await).await
}

pub(super) async fn approve(cx: Cx, params: SyncApproveParams) -> Result<SyncStatus> {
    with_sync(&cx, async |handle| {
        handle.approve(params.plan).await?;
        let snapshot = watch_until_settled(&cx, handle).await?;
        Ok(owned(snapshot.status))
    })
    .await
}

pub(super) async fn pause(cx: Cx, _: NoParams) -> Result<SyncStatus> {
    pause_to(&cx, true).await
}

pub(super) async fn resume(cx: Cx, _: NoParams) -> Result<SyncStatus> {
    pause_to(&cx, false).await
}

async fn pause_to(cx: &Cx, paused: bool) -> Result<SyncStatus> {
    let mut pair = place::existing(cx).await?;
    if let Some(handle) = cx.syncs.get(&pair.workspace) {
        handle.pause(paused).await?;
        Ok(owned(handle.status()))
    } else {
        pair.paused = paused;
        cx.store.update_pair(&pair).await?;
        status_of(cx, &pair).await
    }
}

pub(super) async fn stop(cx: Cx, params: SyncStopParams) -> Result<SyncListOutput> {
    let mut syncs = Vec::new();
    let pairs = if params.all { cx.store.pairs().await? } else { vec![place::existing(&cx).await?] };
    for mut pair in pairs {
        let stopped = end(&cx, &pair.workspace).await;
        if pair.wanted {
            pair.wanted = false;
            cx.store.update_pair(&pair).await?;
        }
        if stopped || !params.all {
            syncs.push(status_of(&cx, &pair).await?);
        }
    }
    Ok(SyncListOutput { syncs })
}

async fn end(cx: &Cx, workspace: &Path) -> bool {
    match cx.syncs.remove(workspace) {
        Some(handle) => {
            handle.stop().await;
            true
        }
        None => false,
    }
}
