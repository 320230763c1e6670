//! How a sync stands, for people: counts, times, and what keeps it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::editor::{SyncBrake, SyncConflict, SyncProblem, SyncState, SyncStatus};
use protocol::path::RelPath;
use protocol::sync::Rejected;

use super::super::git;
use super::super::plan::{Conflict, Held, Local, Step};
use super::super::target::{describe, refusal};
use super::super::{Snapshot, needs_person};
use super::{Actor, Halt, Link};
use crate::frontend::Progress;

/// Paths that are named in an error about what has not arrived.
const NAMED: usize = 5;
/// Most problems and most paths of drift that are listed.
const LISTED: usize = 100;

/// Counts since the start and within the present burst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    files: u64,
    bytes: u64,
    removed: u64,
    latency: Option<Duration>,
    burst_files: u64,
    burst_bytes: u64,
    planned_files: u64,
    planned_bytes: u64,
    undurable: bool,
    before_flush: bool,
}

impl Tally {
    pub(super) fn planned(&mut self, files: u64, bytes: u64) {
        self.planned_files += files;
        self.planned_bytes += bytes;
    }

    pub(super) fn written(&mut self, sent: Option<u64>, latency: Option<Duration>) {
        if let Some(bytes) = sent {
            self.files += 1;
            self.bytes += bytes;
            self.burst_bytes += bytes;
        }
        self.step(latency);
    }

    pub(super) fn removed(&mut self, latency: Option<Duration>) {
        self.removed += 1;
        self.step(latency);
    }

    fn step(&mut self, latency: Option<Duration>) {
        self.burst_files += 1;
        self.undurable = true;
        self.latency = latency.or(self.latency);
    }

    /// Takes back a step that was planned and not done.
    pub(super) fn not_done(&mut self, step: &Step) {
        self.planned_files = self.planned_files.saturating_sub(1);
        self.planned_bytes = self.planned_bytes.saturating_sub(step.bytes());
    }

    pub(super) fn settled(&mut self) {
        (self.burst_files, self.burst_bytes, self.planned_files, self.planned_bytes) = (0, 0, 0, 0);
    }

    /// Returns whether something arrived that a power cut may still take.
    pub(super) fn undurable(&self) -> bool {
        self.undurable
    }

    pub(super) fn flush_started(&mut self) {
        self.before_flush = std::mem::take(&mut self.undurable);
    }

    pub(super) fn flush_failed(&mut self) {
        self.undurable |= self.before_flush;
    }
}

/// Returns the seconds since the Unix epoch.
pub(in super::super) fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns a conflict as people see it.
pub(in super::super) fn conflict(conflict: &Conflict, since: i64) -> SyncConflict {
    SyncConflict {
        path: conflict.path.to_string(),
        local: here(conflict.local.as_ref()),
        remote: describe(conflict.remote.as_ref().map(|found| &found.content)),
        since,
    }
}

/// Says of the conflict about a `.git` folder what it is about; leaves others as they are.
pub(in super::super) fn unit_conflict(mut conflict: SyncConflict, diverged: &[RelPath]) -> SyncConflict {
    if conflict.path == git::UNIT && !diverged.is_empty() {
        "this machine's repository".clone_into(&mut conflict.local);
        conflict.remote = git::words(diverged);
    }
    conflict
}

/// Returns what names a halt for `sync approve`.
pub(super) fn halt_plan(halt: &Halt) -> String {
    match halt {
        Halt::Brake(brake) => brake.plan.clone(),
        Halt::Large { plan, .. } => plan.clone(),
        Halt::Trash { .. } => "empty-trash".to_owned(),
    }
}

/// Returns a halt as people see it.
pub(super) fn brake(halt: &Halt) -> SyncBrake {
    let plan = halt_plan(halt);
    match halt {
        Halt::Brake(brake) => SyncBrake {
            plan,
            reason: brake.reason.clone(),
            removals: brake.removals as u64,
            examples: brake.examples.clone(),
        },
        Halt::Large { large, .. } => SyncBrake {
            plan,
            reason: format!("the first push holds {} files and {} bytes", large.files, large.bytes),
            removals: 0,
            examples: large.largest.clone(),
        },
        Halt::Trash { held } => {
            SyncBrake { plan, reason: refusal(&Rejected::TrashFull { held: *held }), removals: 0, examples: Vec::new() }
        }
    }
}

fn here(local: Option<&Local>) -> String {
    match local.map(|local| &local.held) {
        None => "nothing".to_owned(),
        Some(Held::File { size, .. }) => format!("a file of {size} bytes"),
        Some(Held::Folder) => "a folder".to_owned(),
        Some(Held::Link { target }) => format!("a link to `{target}`"),
    }
}

impl Actor {
    /// Publishes how the sync stands, when that changed.
    pub(super) fn publish(&mut self) {
        let state = self.state();
        if state == SyncState::Synced && self.publisher.borrow().status.state != SyncState::Synced {
            self.config.pair.last_visible = Some(seconds());
        }
        let snapshot = self.snapshot(state);
        self.publisher.send_if_modified(|old| {
            let changed = *old != snapshot;
            *old = snapshot;
            changed
        });
    }

    /// Returns what the target cannot, once it is known which one it is.
    fn limits(&self) -> Vec<String> {
        let limits = self.opened.as_ref().map_or(&[][..], |_| self.target.limits());
        limits.iter().map(ToString::to_string).collect()
    }

    fn state(&self) -> SyncState {
        if self.halt.is_some() || self.leased {
            SyncState::Halted
        } else if self.config.pair.paused {
            SyncState::Paused
        } else if !matches!(self.link, Link::Open) {
            SyncState::Connecting
        } else if self.pending.whole() && self.error.is_none() {
            SyncState::Scanning
        } else if !self.pending.is_empty() {
            if self.pending.only_failed() || self.error.is_some() { SyncState::Waiting } else { SyncState::Syncing }
        } else if self.error.is_some() {
            SyncState::Waiting
        } else if !self.is_committed() || self.resolving > 0 || self.waiters.iter().any(|waiter| waiter.after.is_none())
        {
            SyncState::Syncing
        } else {
            SyncState::Synced
        }
    }

    fn snapshot(&self, state: SyncState) -> Snapshot {
        let pair = &self.config.pair;
        let tally = &self.tally;
        let mut problems: Vec<SyncProblem> = Vec::new();
        let refused = self.refused.iter().map(|(path, reason)| (path.to_string(), reason.clone()));
        let trouble = self.trouble.iter().map(|text| (String::new(), text.clone()));
        for (path, reason) in trouble.chain(refused).chain(self.unseen.iter().cloned()).take(LISTED) {
            problems.push(SyncProblem { path, reason });
        }
        let room = LISTED.saturating_sub(problems.len());
        problems.extend(self.home_problems.iter().take(room).cloned());
        let status = SyncStatus {
            workspace: pair.workspace.to_string_lossy().into_owned(),
            remote: pair.remote.clone(),
            remote_dir: self.opened.as_ref().map_or_else(|| pair.remote_dir.clone(), |opened| opened.path.clone()),
            state,
            pending: self.pending.len() as u64,
            pending_bytes: tally.planned_bytes.saturating_sub(tally.burst_bytes),
            synced: (self.base.len() as u64).saturating_sub(self.conflicts.len() as u64 + self.drift.len() as u64),
            conflicts: self.conflicts.len() as u64,
            drift: self.drift.iter().take(LISTED).map(ToString::to_string).collect(),
            problems,
            limits: self.limits(),
            brake: self.halt.as_ref().map(brake),
            last_visible: pair.last_visible,
            last_durable: pair.last_durable,
            last_latency_ms: tally.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            changes: Vec::new(),
            owner: None,
            error: self.error.clone(),
        };
        let title = match state {
            SyncState::Stopped | SyncState::Paused | SyncState::Halted => "Waiting for you".to_owned(),
            SyncState::Connecting => format!("Connecting to {}", pair.remote),
            SyncState::Scanning => "Comparing".to_owned(),
            SyncState::Syncing => "Uploading".to_owned(),
            SyncState::Synced => "Synced".to_owned(),
            SyncState::Waiting => "Trying again".to_owned(),
        };
        Snapshot {
            settled: needs_person(state)
                || state == SyncState::Synced
                || (state == SyncState::Waiting && self.pending.only_failed())
                || (self.error.is_some() && !self.was_lost),
            status,
            progress: Progress {
                title,
                detail: None,
                bytes: tally.burst_bytes,
                total_bytes: (tally.planned_bytes > 0).then_some(tally.planned_bytes),
                files: tally.burst_files,
                total_files: (tally.planned_files > 0).then_some(tally.planned_files),
            },
            conflicts: self
                .conflicts
                .values()
                .map(|found| {
                    let since = self.since.get(&found.path).copied().unwrap_or_default();
                    unit_conflict(conflict(found, since), &self.repository.diverged)
                })
                .collect(),
            large: match &self.halt {
                Some(Halt::Large { large, .. }) => Some(large.clone()),
                Some(Halt::Brake(_) | Halt::Trash { .. }) | None => None,
            },
            files: tally.files,
            bytes: tally.bytes,
            removed: tally.removed,
            opened: self.opened.is_some(),
            stuck: !matches!(self.link, Link::Open) && self.error.is_some() && !self.was_lost,
            pending: self.pending.some(NAMED),
        }
    }
}
