//! From a look to steps under way: plan, guard, send.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::editor::SyncBrake;
use protocol::path::RelPath;
use protocol::sync::Content;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::candidates::candidates;
use super::super::git;
use super::super::guard::{self, Roots};
use super::super::look::{self, Ask, Look};
use super::super::pending::Turn;
use super::super::plan::{self, Input, Local, Plan, Step, folders_above};
use super::super::source::Scan;
use super::super::target::{Batch, Done, SyncError};
use super::repository::{Looked, with_unit};
use super::{Actor, Event, Halt, TRY_AGAIN, Transfer, report, workspace_gone};
use crate::session::Lane;
use crate::store::Base;

/// Most files of an edit that travels on the lane people wait for.
const SMALL_FILES: usize = 64;
/// Most bytes of such an edit.
const SMALL_BYTES: u64 = 1024 * 1024;
/// Outcomes on their way to the actor.
pub(super) const OUTCOMES: usize = 256;

impl Actor {
    pub(super) fn looked(&mut self, look: Look) {
        let able = self.target.abilities();
        if let (Ok(scan), false) = (&look.scan, look.read) {
            let wanted = candidates(&self.index, scan, &self.base, able);
            if !wanted.is_empty() {
                let source = Arc::clone(&self.source);
                return self
                    .spawn(async move { Event::Looked(Box::new(look::read_through(look, wanted, source).await)) });
            }
        }
        let turn = look.turn;
        match turn {
            Turn::Saves => self.looking = false,
            Turn::Unit => self.repository.looking = false,
        }
        let scan = match look.scan {
            Ok(scan) => scan,
            Err(error) => return self.cannot_look(turn, &error),
        };
        match look.overlay {
            Ok(Some(overlay)) => {
                self.overlay = overlay;
                self.recognise();
                self.take_given(look.given);
                self.ask = Ask::Nothing;
                self.home_due = true;
            }
            Ok(None) => {}
            Err(error) => {
                self.pending.not_looked(turn);
                return self.failed(error);
            }
        }
        // Nothing goes until a person says so; the unit is looked at again with everything else then.
        if turn == Turn::Unit && self.halt.is_some() {
            return self.pending.not_looked(turn);
        }
        if let Some(seen) = &look.git {
            self.take_seen(seen);
        }
        for (path, found) in look.broken_off {
            self.is_ours(path, found);
        }
        let asked = scan.looked_at.clone();
        self.note_problems(asked.as_ref(), &scan, &look.problems);
        let untold: BTreeSet<RelPath> = look.problems.into_iter().map(|(path, _)| path).collect();
        let mut paths = self.decidable(turn, asked.as_ref(), &scan, &untold);
        let inside: BTreeSet<RelPath> =
            if self.has_unit() { paths.extract_if(.., git::is_of_unit).collect() } else { BTreeSet::new() };
        if look.git.is_none() && !inside.is_empty() {
            // A rule file made a look at a save one at everything.
            self.pending.touch(git::unit(), None);
        }
        let plan = plan::plan(self.input(&scan, &paths));
        self.note_findings(&paths, &plan);
        let unit = look.git.as_ref().and_then(|seen| self.look_at_unit(&inside, &scan, seen));
        // A look at the unit alone finds nothing that a brake is about.
        if turn == Turn::Saves {
            if self.must_halt(&plan, &scan, unit.as_ref()) {
                self.pending.not_looked(turn);
                self.pending.touch_everything();
                self.look_not_before = Some(Instant::now() + TRY_AGAIN);
                return;
            }
            self.halt = None;
            self.look_not_before = None;
            self.error = None;
        }
        if scan.root.is_some() && self.config.pair.root != scan.root {
            self.config.pair.root = scan.root;
            self.pair_unsaved = true;
        }
        for (path, base) in &plan.adopt {
            // The remote holds what the base now says, so there is nothing left to remember beside it.
            self.overlay.remove(path);
            self.record(path.clone(), base.clone());
        }
        let of_unit = unit.iter().flat_map(Looked::steps).flat_map(Step::paths).cloned();
        let whole = unit.as_ref().map(|_| git::unit());
        self.pending.looked(turn, plan.steps().flat_map(Step::paths).cloned().chain(of_unit).chain(whole));
        for path in plan.unread.iter().chain(&scan.unsettled) {
            self.pending.retry(path, Instant::now());
        }
        self.touch_other_names(&plan, &scan);
        self.send(plan);
        if let Some(unit) = unit {
            self.handle_unit(unit);
        }
        self.first = false;
    }

    /// Returns what a plan for `paths` depends on.
    pub(super) fn input<'a>(&'a self, scan: &'a Scan, paths: &'a BTreeSet<RelPath>) -> Input<'a> {
        Input {
            base: &self.base,
            local: &scan.found,
            remote: &self.overlay,
            paths: Some(paths),
            ignored: &scan.ignored,
            ignores_case: self.opened.as_ref().is_some_and(|opened| opened.ignores_case),
            keep_times: self.base.is_empty(),
            able: self.target.abilities(),
            apart: &self.apart,
            index: Some(&self.index),
        }
    }

    /// Has the other names of the files that are sent looked at. One that is as the base says is not sent, and so
    /// touches nothing in its turn.
    fn touch_other_names(&mut self, plan: &Plan, scan: &Scan) {
        self.links.looked(scan);
        let sent = plan.files.iter().chain(&plan.moves).map(|step| &step.op.path);
        // One that is tried again had its other names looked at before.
        let sent = sent.filter(|path| self.pending.attempts(path) == 0);
        let linked: Vec<_> = sent.filter_map(|path| Some((path, *scan.linked.get(path)?))).collect();
        // Those of the same look, too: it may have met one of them before the save.
        for path in self.links.others(&linked, &self.base) {
            self.pending.touch(path, None);
        }
    }

    fn cannot_look(&mut self, turn: Turn, error: &std::io::Error) {
        self.pending.not_looked(turn);
        self.pending.touch_everything();
        self.look_not_before = Some(Instant::now() + TRY_AGAIN);
        let roots = Roots { known: self.base.len(), recorded: self.config.pair.root, ..Roots::default() };
        self.halt = guard::check(&Plan::default(), roots, None).map(Halt::Brake);
        self.error = Some(workspace_gone(&self.config.pair.workspace, error));
    }

    fn note_problems(&mut self, asked: Option<&BTreeSet<RelPath>>, scan: &Scan, untold: &[(RelPath, String)]) {
        match asked {
            None => self.unseen.clear(),
            Some(asked) => self.unseen.retain(|(path, _)| {
                !asked.iter().any(|asked| {
                    path.strip_prefix(asked.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
            }),
        }
        self.unseen.extend(scan.problems.iter().cloned());
        self.unseen.extend(untold.iter().map(|(path, problem)| (path.to_string(), problem.clone())));
    }

    /// Returns the paths that can be decided now: those asked for, with everything that is or was below
    /// them, but nothing that travels and nothing of which one side cannot tell.
    fn decidable(
        &mut self,
        turn: Turn,
        asked: Option<&BTreeSet<RelPath>>,
        scan: &Scan,
        untold: &BTreeSet<RelPath>,
    ) -> BTreeSet<RelPath> {
        let mut paths: BTreeSet<RelPath> = scan.ignored.clone();
        match asked {
            // Mostly nothing changed, and then nothing is as long as the tree but this walk.
            None => {
                let all = plan::joined(&self.base, &scan.found);
                paths.extend(
                    all.filter(|(path, base, local)| self.is_open(path, *base, *local)).map(|(path, ..)| path.clone()),
                );
            }
            Some(asked) => {
                paths.extend(scan.found.keys().cloned());
                paths.extend(asked.iter().cloned());
                for folder in asked {
                    if self.base.get(folder).is_some_and(|base| base.content == Content::Folder) {
                        paths.extend(plan::below(&self.base, folder).map(|(path, _)| path.clone()));
                    }
                }
            }
        }
        let unknown = |path: &RelPath| {
            let in_set = |set: &BTreeSet<RelPath>| {
                !set.is_empty() && (set.contains(path) || folders_above(path).any(|folder| set.contains(&folder)))
            };
            in_set(&scan.unknown) || in_set(untold)
        };
        paths.retain(|path| !unknown(path));
        let recorded = std::mem::take(match turn {
            Turn::Saves => &mut self.recorded,
            Turn::Unit => &mut self.repository.recorded,
        });
        let late = |path: &&RelPath| self.pending.flies(path) || recorded.contains(*path);
        let late: Vec<RelPath> = paths.iter().filter(late).cloned().collect();
        for path in late {
            paths.remove(&path);
            self.pending.touch(path, None);
        }
        paths
    }

    /// Returns whether there is anything to decide about a path, or anything known of it that may be over.
    fn is_open(&self, path: &RelPath, base: Option<&Base>, local: Option<&Local>) -> bool {
        !base.zip(local).is_some_and(|(base, local)| plan::is_unchanged(base, local))
            || self.overlay.contains_key(path)
            || self.pending.flies(path)
            || self.pending.attempts(path) > 0
            || self.conflicts.contains_key(path)
            || self.drift.contains(path)
            || self.refused.contains_key(path)
    }

    fn note_findings(&mut self, paths: &BTreeSet<RelPath>, plan: &Plan) {
        for path in paths {
            self.conflicts.remove(path);
            self.drift.remove(path);
            if self.pending.attempts(path) == 0 {
                self.refused.remove(path);
            }
        }
        for conflict in &plan.conflicts {
            self.since.entry(conflict.path.clone()).or_insert_with(report::seconds);
            self.conflicts.insert(conflict.path.clone(), conflict.clone());
        }
        let conflicts = &self.conflicts;
        self.since.retain(|path, _| conflicts.contains_key(path));
        self.drift.extend(plan.drift.iter().cloned());
        self.unseen.extend(plan.problems.iter().map(|(path, problem)| (path.to_string(), problem.clone())));
    }

    /// Notes why the plan must not go, if it must not.
    fn must_halt(&mut self, plan: &Plan, scan: &Scan, unit: Option<&Looked>) -> bool {
        let emptied = self.opened.as_ref().is_some_and(|opened| opened.empty) && self.first;
        let roots = roots(plan, scan, self.config.pair.root, self.known_beside_unit(), emptied);
        if let Some(brake) = guard::check(plan, roots, self.approved.as_deref()) {
            self.halt = Some(Halt::Brake(brake));
            return true;
        }
        let first = self.base.is_empty();
        let large = if first { guard::large(&with_unit(plan, unit), first) } else { None };
        if let Some(large) = large.map(Halt::large)
            && self.approved != Some(report::halt_plan(&large))
        {
            self.halt = Some(large);
            return true;
        }
        self.approved = None;
        false
    }

    /// Starts the steps of a plan; a small one on the lane that people wait for.
    fn send(&mut self, plan: Plan) {
        let (count, bytes) = measure(plan.steps());
        if count == 0 {
            return;
        }
        self.tally.planned(count as u64, bytes);
        let lane = lane(count, bytes);
        let Plan { blocking, folders, moves, files, links, removals, .. } = plan;
        let mut batches = Vec::new();
        let mut steps = Vec::new();
        // What is moved keeps its order, because one frees the name of another.
        let phases =
            [(blocking, true), (folders, true), (moves, true), (files, false), (links, true), (removals, true)];
        for (phase, barrier) in phases {
            if phase.is_empty() {
                continue;
            }
            let ops = phase.iter().map(|step: &Step| step.op.clone()).collect();
            let bodies = std::sync::Arc::clone(&self.source);
            batches.push(Batch { lane, barrier, durable: false, ops, bodies });
            steps.extend(phase.into_iter().map(Some));
        }
        self.ids += 1;
        let transfer = self.ids;
        self.transfers.insert(transfer, Transfer::new(steps));
        let (target, events) = (std::sync::Arc::clone(&self.target), self.events.clone());
        self.spawn(async move {
            let (done, outcomes) = mpsc::channel(OUTCOMES);
            let (result, ()) = tokio::join!(target.apply(batches, done), pass_on(transfer, outcomes, &events));
            Event::Ended { transfer, result }
        });
    }

    pub(super) fn ended(&mut self, transfer: u64, result: Result<(), SyncError>) {
        let Some(Transfer { steps, refilled }) = self.transfers.remove(&transfer) else { return };
        let mut left = BTreeSet::new();
        for step in steps.into_iter().flatten() {
            self.tally.not_done(&step);
            left.extend(step.paths().filter(|path| **path == step.op.path || !refilled.contains(*path)).cloned());
            self.doubt(step);
        }
        let result = if result.is_ok() && !left.is_empty() {
            Err(SyncError::Protocol(format!("it said nothing of {} operations", left.len())))
        } else {
            result
        };
        for path in &left {
            self.pending.again(path);
        }
        self.unit_ended(transfer);
        if let Err(error) = result {
            self.failed(error);
        }
    }
}

/// Returns what is known of the two roots beside a plan that `known` paths of the base go into.
fn roots(plan: &Plan, scan: &Scan, recorded: Option<(u64, u64)>, known: usize, remote_emptied: bool) -> Roots {
    let removed = plan.removed().len();
    let writes = plan.folders.len() + plan.moves.len() + plan.files.len() + plan.links.len();
    let local_empty = writes == 0
        && removed > 0
        && removed + plan.conflicts.len() + plan.adopt.len() >= known
        && scan.found.is_empty();
    Roots { recorded, present: scan.root, local_empty, remote_emptied, known }
}

/// Returns what would stop a plan of a first look, as people see it.
pub(in super::super) fn would_stop(
    plan: &Plan,
    scan: &Scan,
    recorded: Option<(u64, u64)>,
    known: usize,
    remote_emptied: bool,
) -> Option<SyncBrake> {
    let brake = guard::check(plan, roots(plan, scan, recorded, known, remote_emptied), None).map(Halt::Brake);
    let halt = brake.or_else(|| guard::large(plan, known == 0).map(Halt::large));
    halt.as_ref().map(report::brake)
}

/// Returns how many steps there are and how many bytes travel for them.
pub(super) fn measure<'a>(steps: impl Iterator<Item = &'a Step>) -> (usize, u64) {
    steps.fold((0, 0_u64), |(count, bytes), step| (count + 1, bytes.saturating_add(step.bytes())))
}

/// Returns the lane for so much; a small edit goes on the lane that people wait for.
pub(super) fn lane(count: usize, bytes: u64) -> Lane {
    if count <= SMALL_FILES && bytes <= SMALL_BYTES { Lane::Priority } else { Lane::Bulk }
}

pub(super) async fn pass_on(transfer: u64, mut outcomes: mpsc::Receiver<(usize, Done)>, events: &mpsc::Sender<Event>) {
    loop {
        // One wake-up of the actor for all that came: a first copy has tens of thousands of answers.
        let mut steps = Vec::new();
        if outcomes.recv_many(&mut steps, OUTCOMES).await == 0
            || events.send(Event::Steps { transfer, steps }).await.is_err()
        {
            return;
        }
    }
}
