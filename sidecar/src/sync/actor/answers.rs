//! What came of each step: the base follows what the remote says, and nothing else does.

use protocol::editor::{SyncAction, SyncChange};
use protocol::path::RelPath;
use protocol::sync::{Action, Content, Found, Outcome, Rejected, Stamp};
use tokio::time::Instant;

use super::super::Arrival;
use super::super::logs::TRUST;
use super::super::look::Ask;
use super::super::plan::{self, Step};
use super::super::scan::Seal;
use super::super::target::{Done, SyncError, Unread, plausible, refusal};
use super::{Actor, Halt};
use crate::store::Base;

/// How often a path may be contested within one burst before it waits like one that failed.
const CONTESTED: u32 = 3;
/// How often a folder has to be found not empty before what is in it counts as another's.
const SURE: u32 = 2;

/// Returns the base when `found` turned out to be what we brought there. Nothing is said of the file here, which
/// may be another one by now.
pub(in super::super) fn based_on(base: Option<&Base>, found: Found) -> Base {
    let usual = match found.content {
        Content::File { executable: false, .. } => 0o644,
        Content::File { executable: true, .. } | Content::Folder | Content::Link { .. } | Content::Special => 0o755,
    };
    let before = base.map_or(usual, |base| base.mode);
    let mode = match found.content {
        // The mode it was given since is not known, but whether it can be run there is.
        Content::File { executable: true, .. } => before | (before & 0o444) >> 2,
        Content::File { executable: false, .. } => before & !0o111,
        Content::Folder | Content::Link { .. } | Content::Special => before,
    };
    Base { content: found.content, mode, local: None, remote: found.stamp }
}

impl Actor {
    pub(super) fn answered(&mut self, transfer: u64, index: usize, done: Done) {
        let step = self.transfers.get_mut(&transfer).and_then(|transfer| transfer.steps.get_mut(index));
        // An answer to nothing, or a second one, changes nothing.
        let Some(step) = step else { return };
        if let Done::InDoubt(seal) = done {
            if let Some(step) = step {
                self.doubts.entry(step.op.path.clone()).or_default().push(seal.hash);
            }
            return;
        }
        let Some(step) = step.take() else { return };
        // Answers to different batches overtake each other.
        let is_half = step.base.is_none() && step.replaces;
        if is_half && !self.transfers.get(&transfer).is_some_and(|transfer| transfer.holds(&step.op.path)) {
            return;
        }
        if !matches!(done, Done::Answered(Outcome::Applied { .. } | Outcome::Already { .. }, _)) {
            self.tally.not_done(&step);
        }
        match done {
            Done::InDoubt(_) => {}
            Done::Answered(outcome, sent) => match plausible(&step.op, &outcome, sent.as_ref()) {
                Ok(()) => self.outcome(transfer, step, outcome, sent),
                Err(lie) => {
                    self.pending.retry(&step.op.path, Instant::now());
                    self.failed(SyncError::Protocol(lie));
                }
            },
            Done::Unread(unread) => self.unread(&step.op.path, unread),
        }
    }

    /// Takes what was sent without an answer and turns out to stand there for what it is: ours. Without
    /// that, a save made meanwhile would be in conflict with the one before it.
    pub(super) fn recognise(&mut self) {
        for (path, sent) in std::mem::take(&mut self.doubts) {
            let Some(Some(found)) = self.overlay.get(&path) else { continue };
            let Content::File { hash, .. } = &found.content else { continue };
            if sent.contains(hash) {
                self.is_ours(path, found.clone());
            }
        }
        self.recognise_moves();
    }

    /// Takes what the remote was given and still holds, beside what the base says, for what it is: ours.
    pub(super) fn take_given(&mut self, given: Vec<(RelPath, Found)>) {
        for (path, found) in given {
            self.is_ours(path, found);
        }
    }

    /// Takes a file that stands on the remote for one that was brought there.
    pub(super) fn is_ours(&mut self, path: RelPath, found: Found) {
        let base = based_on(self.base.get(&path), found);
        self.overlay.remove(&path);
        self.index_is_other(&path);
        self.record(path, Some(base));
    }

    fn outcome(&mut self, transfer: u64, step: Step, outcome: Outcome, sent: Option<Seal>) {
        if matches!(step.op.action, Action::Move { .. } | Action::Copy { .. }) {
            if matches!(outcome, Outcome::Rejected(_)) {
                return self.not_moved(transfer, &step);
            }
            self.moved(transfer, &step);
        }
        match outcome {
            Outcome::Applied { stamp, kept_as } => {
                if let Some(kept_as) = kept_as {
                    let reason = format!(
                        "another version turned up on the remote while it was replaced; it was kept there as `{kept_as}`"
                    );
                    self.unseen.push((step.op.path.to_string(), reason));
                }
                self.arrived(step, stamp, sent);
            }
            Outcome::Already { stamp } => self.arrived(step, stamp, sent),
            Outcome::Rejected(rejected) => self.rejected(&step, rejected),
        }
    }

    fn arrived(&mut self, step: Step, stamp: Option<Stamp>, sent: Option<Seal>) {
        let path = step.op.path;
        // The removal of something that is replaced in the same plan is only half of the way.
        if step.base.is_none() && step.replaces {
            self.overlay.remove(&path);
            return self.record(path, None);
        }
        let latency = self.pending.arrived(&path).map(|saved| saved.elapsed());
        let action = match (&step.base, step.replaces) {
            (None, _) => SyncAction::Remove,
            (Some(_), true) => SyncAction::Update,
            (Some(_), false) => SyncAction::Create,
        };
        let change = SyncChange { path: path.to_string(), action, bytes: sent.map_or(0, |sent| sent.size) };
        if !plan::is_between(&path) {
            // Without a listener nobody wants to know.
            self.arrivals.send(Arrival { change, latency }).ok();
        }
        self.refused.remove(&path);
        self.apart.remove(&path);
        self.overlay.remove(&path);
        self.index_arrived(&path);
        if let Some(mut base) = step.base {
            if sent.is_some_and(|sent| !sent.whole) {
                self.audits.entry(path.clone()).or_insert_with(|| Instant::now() + TRUST);
            }
            if let (Some(sent), Content::File { hash, size, executable }) = (sent, &mut base.content) {
                (*hash, *size, *executable) = (sent.hash, sent.size, base.mode & 0o100 != 0);
                base.local = sent.stamp;
            }
            base.remote = match base.content {
                Content::File { .. } => stamp,
                Content::Folder | Content::Link { .. } | Content::Special => None,
            };
            let sent_bytes = sent.map(|sent| sent.size);
            self.tally.written(sent_bytes, latency);
            self.record(path, Some(base));
        } else {
            self.tally.removed(latency);
            self.record(path, None);
        }
    }

    fn rejected(&mut self, step: &Step, rejected: Rejected) {
        let path = &step.op.path;
        let now = Instant::now();
        let words = refusal(&rejected);
        match rejected {
            Rejected::Changed { found } => {
                self.overlay.insert(path.clone(), found);
                if self.pending.attempts(path) >= CONTESTED {
                    self.refused.insert(path.clone(), words);
                }
                return self.pending.contested(path, CONTESTED, now);
            }
            Rejected::NotEmpty { .. } => {
                let ours = plan::below(&self.base, path).any(|(other, _)| other != path);
                // What of ours was in it may have been on its way out on the other lane, and be gone by now.
                if ours || self.pending.flies_below(path) || self.pending.attempts(path) < SURE {
                    return self.pending.retry(path, now);
                }
                // What is left there was never pushed from here: the folder is theirs now.
                self.unseen.push((path.to_string(), words));
                if !step.replaces {
                    self.pending.arrived(path);
                }
                return self.record(path.clone(), None);
            }
            Rejected::TrashFull { held } => {
                self.halt = Some(Halt::Trash { held });
                return self.pending.again(path);
            }
            Rejected::Torn => return self.unread(path, Unread::Changing),
            // Its folder may be gone or another thing by now, which only a comparison tells; not each time.
            Rejected::Unsafe { .. } if (self.pending.attempts(path) + 1).is_power_of_two() => {
                self.ask = Ask::All;
                self.pending.touch_everything();
            }
            Rejected::Unsafe { .. } | Rejected::Full | Rejected::Failed { .. } => {}
        }
        self.refused.insert(path.clone(), words);
        self.pending.retry(path, now);
    }

    fn unread(&mut self, path: &RelPath, unread: Unread) {
        match unread {
            Unread::Gone => return self.pending.again(path),
            Unread::Changing => {
                if self.pending.attempts(path) >= CONTESTED {
                    self.refused.insert(path.clone(), refusal(&Rejected::Torn));
                }
            }
            Unread::Failed(reason) => {
                self.refused.insert(path.clone(), format!("cannot be read: {reason}"));
            }
        }
        self.pending.retry(path, Instant::now());
    }
}
