//! What a push would do and what is in its way, without doing it: nothing is made or changed on the remote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::agent::Opened;
use protocol::editor::{
    SyncAction, SyncBrake, SyncChange, SyncConflict, SyncGit, SyncPushOutput, SyncState, SyncStatus,
};
use protocol::error::{Error, Result};
use protocol::path::{RelPath, RemotePath};

use super::candidates::candidates;
use super::git;
use super::index::Index;
use super::logs::Logs;
use super::look::{Ask, Request, look, read_through};
use super::pending::Turn;
use super::plan::{Abilities, Input, Overlay, Plan, plan};
use super::runner::{holder, rules, source, target};
use super::source::Source;
use super::target::{OpenTarget, SyncError, SyncTarget};
use crate::cx::Cx;
use crate::store::Pair;

/// Most changes that are listed.
const LISTED: usize = 1000;

/// Both sides, compared.
struct Compared {
    plan: Plan,
    /// What would be done with the `.git` folder.
    unit: git::Survey,
    opened: Option<Opened>,
    /// Paths that were equal when last seen.
    synced: u64,
    /// What would stop it.
    brake: Option<SyncBrake>,
}

/// Returns what changed on both sides.
pub async fn conflicts(cx: &Cx, pair: &Pair) -> Result<Vec<SyncConflict>> {
    let compared = compared(cx, pair).await?;
    let since = super::actor::report_seconds();
    let conflicts = compared.plan.conflicts.iter().chain(&compared.unit.conflict).map(|found| {
        let conflict = super::actor::conflict(found, since);
        super::actor::unit_conflict(conflict, &compared.unit.diverged)
    });
    Ok(conflicts.collect())
}

async fn compared(cx: &Cx, pair: &Pair) -> Result<Compared> {
    let source = source(pair, rules(pair).await?)?;
    let session = cx.sessions.get(cx, &pair.remote).await?;
    let target: Arc<dyn SyncTarget> = Arc::new(target(session, true));
    let path = RemotePath::new(pair.remote_dir.clone())
        .map_err(|error| super::target::not_a_path(&pair.remote_dir, &error))?;
    let open = OpenTarget { path, create: false, holder: holder(cx, pair).await?, take_over: false };
    let (opened, ask) = match target.open(&open).await {
        Ok(opened) => (Some(opened), Ask::All),
        // A folder that is not there yet would be made.
        Err(SyncError::Root { .. }) => (None, Ask::Nothing),
        Err(error) => return Err(error.into()),
    };
    let is_open = opened.is_some();
    let compared = planned(cx, pair, ask, opened, source, Arc::clone(&target)).await;
    if is_open && let Err(error) = target.close().await {
        tracing::info!(%error, "the lease was not given back");
    }
    compared
}

async fn planned(
    cx: &Cx,
    pair: &Pair,
    ask: Ask,
    opened: Option<Opened>,
    source: Arc<dyn Source>,
    target: Arc<dyn SyncTarget>,
) -> Result<Compared> {
    let same = opened.as_ref().is_some_and(|opened| pair.copy.as_deref() == Some(opened.copy.as_str()));
    let base = if same { cx.store.base(pair.id).await? } else { Vec::new() };
    let base: Arc<BTreeMap<_, _>> = Arc::new(base.into_iter().collect());
    let (overlay, logs) = (Overlay::new(), Logs::default());
    let request = Request {
        turn: Turn::Saves,
        paths: None,
        ask,
        doubted: Vec::new(),
        overlay,
        logs,
        ahead: None,
        unit: pair.git == SyncGit::Push,
    };
    let able = target.abilities();
    let mut seen = look(request, Arc::clone(&base), Arc::clone(&source), target).await;
    if let Ok(scan) = &seen.scan {
        let wanted = candidates(&Index::of(&base, false), scan, &base, able);
        seen = read_through(seen, wanted, source).await;
    }
    let scan = seen.scan.map_err(|source| super::actor::workspace_gone(&pair.workspace, &source))?;
    let overlay = seen.overlay.map_err(Error::from)?.unwrap_or_default();
    let mut base = Arc::unwrap_or_clone(base);
    for (path, found) in seen.given {
        let ours = super::actor::based_on(base.get(&path), found);
        base.insert(path, ours);
    }
    let untold: BTreeSet<_> = seen.problems.iter().map(|(path, _)| path.clone()).chain(scan.unknown.clone()).collect();
    let paths = base.keys().chain(scan.found.keys()).filter(|path| {
        !untold.contains(*path) && !super::plan::folders_above(path).any(|folder| untold.contains(&folder))
    });
    let mut overlay = overlay;
    let mut paths: BTreeSet<RelPath> = paths.cloned().collect();
    let inside: BTreeSet<RelPath> = match &seen.git {
        Some(seen) => {
            overlay.extend(seen.differs.clone());
            paths.extract_if(.., git::is_of_unit).collect()
        }
        None => BTreeSet::new(),
    };
    let planned = |paths: &BTreeSet<RelPath>, able: Abilities| {
        plan(Input {
            base: &base,
            local: &scan.found,
            remote: &overlay,
            paths: Some(paths),
            ignored: &scan.ignored,
            ignores_case: opened.as_ref().is_some_and(|opened| opened.ignores_case),
            keep_times: base.is_empty(),
            able,
            apart: &BTreeSet::new(),
            index: None,
        })
    };
    let plan = planned(&paths, able);
    let unit = seen.git.as_ref().map(|seen| {
        let indexes = git::Indexes { base: pair.git_index, local: seen.index_here, remote: seen.index_there };
        let (local, remote, watched) = (&scan.found, &overlay, &seen.watched);
        let unit = git::Unit { base: &base, local, remote, watched, indexes, quiet: true, untold: false };
        git::survey(unit, planned(&inside, Abilities::default()))
    });
    let emptied = opened.as_ref().is_some_and(|opened| opened.empty);
    let known = base.keys().filter(|path| !git::is_of_unit(path)).count();
    let brake = super::actor::would_stop(&plan, &scan, pair.root.filter(|_| same), known, emptied);
    let unit = unit.unwrap_or_default();
    Ok(Compared { plan, unit, opened, synced: base.len() as u64, brake })
}

/// Returns what a push of `pair` would do.
pub async fn preview(cx: &Cx, pair: Pair) -> Result<SyncPushOutput> {
    let Compared { plan, unit, opened, synced, brake } = compared(cx, &pair).await?;
    let mut output = SyncPushOutput { dry_run: true, ..SyncPushOutput::default() };
    for step in plan.steps().chain(&unit.steps) {
        let action = match (&step.base, step.replaces) {
            (None, true) => continue,
            (None, false) => SyncAction::Remove,
            (Some(_), true) => SyncAction::Update,
            (Some(_), false) => SyncAction::Create,
        };
        output.removed += u64::from(action == SyncAction::Remove);
        output.files += u64::from(matches!(step.op.action, protocol::sync::Action::Put { .. }));
        output.bytes = output.bytes.saturating_add(step.bytes());
        if let Some(from) = step.vacates() {
            let change = SyncChange { path: from.to_string(), action: SyncAction::Remove, bytes: 0 };
            output.changes.push(change);
        }
        output.changes.push(SyncChange { path: step.op.path.to_string(), action, bytes: step.bytes() });
    }
    let conflict = |path: String| SyncChange { path, action: SyncAction::Conflict, bytes: 0 };
    output.changes.extend(plan.conflicts.iter().chain(&unit.conflict).map(|found| conflict(found.path.to_string())));
    output.changes.truncate(LISTED);
    output.status = SyncStatus {
        workspace: pair.workspace.to_string_lossy().into_owned(),
        remote: pair.remote.clone(),
        remote_dir: opened.map_or_else(|| pair.remote_dir.clone(), |opened| opened.path),
        state: SyncState::Stopped,
        pending: (plan.steps().count() + unit.steps.len()) as u64,
        pending_bytes: output.bytes,
        synced,
        conflicts: (plan.conflicts.len() + usize::from(unit.conflict.is_some())) as u64,
        brake,
        drift: plan.drift.iter().take(100).map(ToString::to_string).collect(),
        ..SyncStatus::default()
    };
    Ok(output)
}
