//! The `.git` folder of a workspace whose pair asks for it: one unit, which goes when it is quiet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::editor::{RemoteRow, SyncGit};
use protocol::error::{Error, word};
use protocol::path::RelPath;
use protocol::sync::{Action, Content, Found, Hash};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::git::{self, Frozen, Indexes, Part, Seen, Unit, Verdict};
use super::super::plan::{self, Abilities, Input, Plan, Step};
use super::super::resolve::{ResolveError, Resolved};
use super::super::source::{Scan, Source};
use super::super::target::Batch;
use super::{Actor, Event, Transfer, decide, report};
use crate::store::{Base, Store};

/// How long the unit has to be the same before its references are sent. Commands of git that belong together follow
/// each other within this.
const QUIET: Duration = Duration::from_secs(1);
/// How often a unit that is not quiet is looked at: a look costs one stat for each of its files.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How long git may be at work before a person is told what is waited for.
const BUSY_WITHIN: Duration = Duration::from_secs(10);

/// What is known of the unit.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// Whether it is being looked at by itself.
    pub(super) looking: bool,
    /// What was recorded of it from outside of that look, which knows nothing of it.
    pub(super) recorded: BTreeSet<RelPath>,
    /// What the unit was when last looked at, and since when it is that.
    settled: Option<(Hash, Instant)>,
    /// Since when something keeps it.
    held_since: Option<Instant>,
    /// Where the remote's repository was changed there.
    pub(super) diverged: Vec<RelPath>,
    /// The transfer that is under way.
    transfer: Option<u64>,
    /// What the index says that is on its way.
    index: Option<Hash>,
}

/// What a look says about the unit, decided.
#[derive(Debug)]
pub(super) struct Looked {
    decision: git::Decision,
    index: Option<Hash>,
}

impl Looked {
    /// Returns every path that is to travel.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        let steps = match &self.decision.verdict {
            Verdict::Send(steps) => steps.as_slice(),
            Verdict::Done | Verdict::Busy(_) | Verdict::Diverged(_) | Verdict::Gone => &[],
        };
        steps.iter().flatten()
    }
}

impl Actor {
    /// Returns whether the unit is synced.
    pub(super) fn has_unit(&self) -> bool {
        self.config.pair.git == SyncGit::Push
    }

    /// Returns what stands for a path in what is to be looked at: of the unit, all or nothing.
    pub(super) fn looked_at_as(&self, path: RelPath) -> RelPath {
        if self.has_unit() && git::is_inside(&path) { git::unit() } else { path }
    }

    /// Returns how many paths of the base are not of the unit, whose removals are no accident.
    pub(super) fn known_beside_unit(&self) -> usize {
        let inside = if self.has_unit() { self.index.of_unit() } else { 0 };
        self.base.len().saturating_sub(inside)
    }

    /// Takes what a look found out about the remote's unit.
    pub(super) fn take_seen(&mut self, seen: &Seen) {
        for path in &seen.asked {
            self.overlay.remove(path);
        }
        self.overlay.extend(seen.differs.iter().map(|(path, found)| (path.clone(), found.clone())));
        // Whatever packed them there, or swept an empty folder away: they are brought again.
        let gone: Vec<RelPath> = plan::below(&self.overlay, &git::unit())
            .filter(|(path, found)| found.is_none() && git::part(path) == Part::Object)
            .map(|(path, _)| path.clone())
            .chain(self.vanished_folders())
            .collect();
        for path in gone {
            self.overlay.remove(&path);
            self.record(path, None);
        }
        let index = RelPath::new(".git/index").expect("a plain path");
        let agrees = seen.index_there.is_some()
            && (seen.index_there == seen.index_here || seen.index_there == self.config.pair.git_index);
        if let (true, Some(Some(found))) = (agrees, self.overlay.get(&index).cloned()) {
            // Only its times are others: ours goes over it once it has something new to say.
            self.is_ours(index, found);
            self.remember_index(seen.index_there);
        }
        let content = self.base.get(&RelPath::new(".git/index").expect("a plain path")).map(|base| &base.content);
        if let (Some(Content::File { hash, .. }), Some(file)) = (content, seen.index_file)
            && *hash == file
        {
            self.remember_index(seen.index_here);
        }
    }

    fn vanished_folders(&self) -> Vec<RelPath> {
        let is_folder = |path: &RelPath| self.base.get(path).is_some_and(|base| base.content == Content::Folder);
        plan::below(&self.overlay, &git::unit())
            .filter(|(path, found)| found.is_none() && is_folder(path))
            .map(|(path, _)| path.clone())
            .collect()
    }

    fn remember_index(&mut self, entries: Option<Hash>) {
        if self.config.pair.git_index != entries {
            self.config.pair.git_index = entries;
            self.pair_unsaved = true;
        }
    }

    /// Decides about the unit; `None` when this look was not about it, or it is on its way.
    pub(super) fn look_at_unit(&mut self, paths: &BTreeSet<RelPath>, scan: &Scan, seen: &Seen) -> Option<Looked> {
        if self.repository.transfer.is_some() {
            return None;
        }
        let now = Instant::now();
        let mut paths = paths.clone();
        paths.extend(seen.watched.iter().filter(|path| self.base.contains_key(*path)).cloned());
        // Content moves within a repository only by git's own hand.
        let plan = plan::plan(Input { keep_times: false, able: Abilities::default(), ..self.input(scan, &paths) });
        let fingerprint = git::fingerprint(&scan.found);
        self.repository.settled = match (fingerprint, self.repository.settled) {
            (Some(fingerprint), Some((before, since))) if fingerprint == before => Some((before, since)),
            (fingerprint, _) => fingerprint.map(|fingerprint| (fingerprint, now)),
        };
        let untold = scan.unknown.iter().any(git::is_of_unit) || scan.unsettled.iter().any(git::is_of_unit);
        let index = Indexes {
            base: self.config.pair.git_index,
            local: seen.index_here,
            remote: seen.index_there.filter(|entries| Some(*entries) != self.config.pair.git_index),
        };
        let decision = git::decide(
            Unit {
                base: &self.base,
                local: &scan.found,
                remote: &self.overlay,
                watched: &seen.watched,
                indexes: index,
                quiet: self.repository.settled.is_some_and(|(_, since)| now >= since + QUIET),
                untold,
            },
            plan,
        );
        Some(Looked { decision, index: seen.index_here })
    }

    /// Does what was decided about the unit.
    pub(super) fn handle_unit(&mut self, looked: Looked) {
        let unit = git::unit();
        let now = Instant::now();
        let Looked { decision, index } = looked;
        for (path, base) in decision.adopt {
            self.overlay.remove(&path);
            if path.as_str() == ".git/index" && base.is_some() {
                self.remember_index(index);
            }
            self.record(path, base);
        }
        self.conflicts.remove(&unit);
        self.repository.diverged.clear();
        match decision.verdict {
            Verdict::Done => self.let_go(&unit),
            Verdict::Gone => {
                self.let_go(&unit);
                let reason = "the repository is gone here; the remote's is left as it is until there is one again";
                self.unseen.push((unit.to_string(), reason.to_owned()));
            }
            Verdict::Diverged(paths) => {
                self.let_go(&unit);
                self.since.entry(unit.clone()).or_insert_with(report::seconds);
                self.conflicts.insert(unit, git::conflict());
                self.repository.diverged = paths;
            }
            Verdict::Busy(lock) => {
                let since = *self.repository.held_since.get_or_insert(now);
                if now < since + BUSY_WITHIN {
                    return self.pending.later(&unit, now + LOOK_AGAIN);
                }
                let reason = lock.map_or_else(
                    || "git keeps changing it; it is sent once it is quiet for a second".to_owned(),
                    |lock| {
                        format!(
                            "git is at work, or was stopped in the middle: `{lock}` is there; remove that file if no git runs"
                        )
                    },
                );
                self.refused.insert(unit.clone(), reason);
                self.pending.retry(&unit, now);
            }
            Verdict::Send(steps) => {
                self.repository.held_since = None;
                self.refused.remove(&unit);
                self.send_unit(steps, index);
            }
        }
    }

    fn let_go(&mut self, unit: &RelPath) {
        self.repository.held_since = None;
        self.refused.remove(unit);
        self.pending.arrived(unit);
    }

    fn send_unit(&mut self, steps: Vec<Vec<Step>>, index: Option<Hash>) {
        let contents = git::contents(&steps);
        // What is refused now is said anew.
        self.refused.retain(|path, _| !git::is_inside(path));
        let (count, bytes) = decide::measure(steps.iter().flatten());
        self.tally.planned(count as u64, bytes);
        let lane = decide::lane(count, bytes);
        let is_objects = steps.iter().flatten().all(|step| match step.op.action {
            Action::MakeFolder { .. } => true,
            Action::Put { .. }
            | Action::Link { .. }
            | Action::SetMode { .. }
            | Action::Remove
            | Action::Patch { .. }
            | Action::Move { .. }
            | Action::Copy { .. }
            | Action::Append { .. } => git::part(&step.op.path) == Part::Object,
        });
        if contents.keys().any(|path| path.as_str() == ".git/index") {
            self.repository.index = index;
        }
        let bodies: Arc<dyn Source> = Arc::new(Frozen { source: Arc::clone(&self.source), contents });
        let mut batches = Vec::new();
        let mut sent = Vec::new();
        for (at, batch) in steps.into_iter().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            let ops = batch.iter().map(|step| step.op.clone()).collect();
            // Objects are in no order among themselves.
            let barrier = !(is_objects && at == 1);
            batches.push(Batch { lane, barrier, durable: false, ops, bodies: Arc::clone(&bodies) });
            sent.extend(batch.into_iter().map(Some));
        }
        self.ids += 1;
        let transfer = self.ids;
        self.repository.transfer = Some(transfer);
        self.transfers.insert(transfer, Transfer::new(sent));
        let (target, events) = (Arc::clone(&self.target), self.events.clone());
        self.spawn(async move {
            // What references will name outlasts a power cut before they do.
            let ready = if is_objects { Ok(()) } else { target.flush().await.map(drop) };
            let result = match ready {
                Ok(()) => {
                    let (done, outcomes) = mpsc::channel(decide::OUTCOMES);
                    tokio::join!(target.apply(batches, done), decide::pass_on(transfer, outcomes, &events)).0
                }
                Err(error) => Err(error),
            };
            Event::Ended { transfer, result }
        });
    }

    /// Has the unit looked at again once a part of it arrived, for the next one.
    pub(super) fn unit_ended(&mut self, transfer: u64) {
        if self.repository.transfer == Some(transfer) {
            self.repository.transfer = None;
            let unit = git::unit();
            let is_refused = plan::below(&self.refused, &unit).next().is_some();
            if is_refused {
                // The whole of it is planned again, so that it has to wait as what was refused does.
                self.pending.retry(&unit, Instant::now());
            } else {
                self.pending.again(&unit);
            }
        }
    }

    /// Returns the database.
    pub(in crate::sync) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns where the remote's unit is.
    pub(in crate::sync) fn unit_at(&self) -> UnitAt {
        let opened = self.opened.as_ref().map(|opened| opened.path.clone());
        UnitAt {
            remote: self.config.pair.remote.clone(),
            folder: opened.unwrap_or_else(|| self.config.pair.remote_dir.clone()),
        }
    }

    /// Returns what makes of the remote's unit, as it is now, the one that ours goes over. What only the remote has
    /// stays; each file that is replaced goes to the trash there.
    pub(in crate::sync) fn unit_as_ours(&self) -> Vec<Resolved> {
        let unit = git::unit();
        let theirs = plan::below(&self.overlay, &unit).filter(|(path, _)| {
            git::is_inside(path) && matches!(git::part(path), Part::Notes | Part::Shared | Part::Last)
        });
        let base = |path: &RelPath, found: &Found| Base {
            content: found.content.clone(),
            mode: self.base.get(path).map_or(0o644, |base| base.mode),
            local: None,
            remote: found.stamp,
        };
        let mut resolved: Vec<Resolved> = theirs
            .filter(|(_, found)| found.as_ref().is_none_or(|found| found.content != Content::Special))
            .map(|(path, found)| Resolved {
                path: path.clone(),
                base: found.as_ref().map(|found| base(path, found)),
                kept_as: None,
                beside: None,
            })
            .collect();
        resolved.push(Resolved { base: self.base.get(&unit).cloned(), path: unit, kept_as: None, beside: None });
        resolved
    }

    /// Notes that the index there is another file than was known, so that nothing is known of what it says.
    pub(super) fn index_is_other(&mut self, path: &RelPath) {
        if path.as_str() == ".git/index" {
            self.remember_index(None);
        }
    }

    /// Notes what the index says that arrived.
    pub(super) fn index_arrived(&mut self, path: &RelPath) {
        if path.as_str() == ".git/index" {
            let index = self.repository.index.take();
            self.remember_index(index);
        }
    }
}

/// Where a repository is that cannot be taken.
#[derive(Debug)]
pub(in crate::sync) struct UnitAt {
    remote: String,
    folder: String,
}

impl UnitAt {
    /// Returns the error with the way out, in which the remote is named as ssh finds it.
    pub(in crate::sync) async fn error(self, store: &Store) -> Error {
        let Self { remote, folder } = self;
        let row = match store.remote(&remote).await {
            Ok(row) => row,
            Err(error) => return error.into(),
        };
        let known = |of: fn(&RemoteRow) -> Option<String>| row.as_ref().and_then(of);
        let host = known(|row| Some(row.host.clone())).unwrap_or_else(|| remote.clone());
        let user = known(|row| row.user.as_ref().map(|user| format!("{user}@"))).unwrap_or_default();
        let port = known(|row| row.port.map(|port| format!(":{port}"))).unwrap_or_default();
        let key = known(|row| row.key.as_ref().map(|key| format!(" -i {}", word(key)))).unwrap_or_default();
        let jump = known(|row| row.jump.as_ref().map(|jump| format!(" -J {}", word(jump)))).unwrap_or_default();
        let ssh = match format!("{key}{jump}").as_str() {
            "" => String::new(),
            options => format!("GIT_SSH_COMMAND={} ", word(format!("ssh{options}"))),
        };
        let address = word(format!("ssh://{user}{host}{port}{folder}"));
        let branches = word(format!("+refs/heads/*:refs/remotes/{remote}/*"));
        ResolveError::Repository { command: format!("{ssh}git fetch {address} {branches}") }.into()
    }
}

/// Returns a plan's large part and the unit's together.
pub(super) fn with_unit(plan: &Plan, unit: Option<&Looked>) -> Plan {
    let more = unit.into_iter().flat_map(Looked::steps).cloned();
    Plan { files: plan.files.iter().cloned().chain(more).collect(), ..Plan::default() }
}
