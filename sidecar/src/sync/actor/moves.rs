//! What came of moves and copies: a move changes what is known of two paths, and one that was refused is never
//! asked for again.

use protocol::editor::{SyncAction, SyncChange};
use protocol::path::RelPath;
use protocol::sync::{Action, Content};

use super::super::Arrival;
use super::super::plan::{Step, equal, is_between};
use super::Actor;
use crate::store::Base;

/// Permission bits of every link.
const LINK: u32 = 0o777;

/// A move of which nothing was said.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    from: RelPath,
    to: RelPath,
    content: Content,
}

impl Actor {
    /// The old name is free: nothing of ours is there any more, unless it has its new content already.
    pub(super) fn moved(&mut self, transfer: u64, step: &Step) {
        let Some(from) = step.vacates() else { return };
        let transfer = self.transfers.get(&transfer);
        let is_refilled = transfer.is_some_and(|transfer| transfer.refilled.contains(from));
        // Answers to different batches overtake each other.
        if is_refilled && !transfer.is_some_and(|transfer| transfer.holds(from)) {
            return;
        }
        let from = from.clone();
        self.overlay.remove(&from);
        if !is_refilled {
            let latency = self.pending.arrived(&from).map(|saved| saved.elapsed());
            if !is_between(&from) {
                let change = SyncChange { path: from.to_string(), action: SyncAction::Remove, bytes: 0 };
                // Without a listener nobody wants to know.
                self.arrivals.send(Arrival { change, latency }).ok();
            }
            self.refused.remove(&from);
        }
        self.record(from, None);
    }

    /// The target did not make it of what it has, for whatever reason: both names are decided anew, and the
    /// bytes are sent. What keeps those away says so itself.
    pub(super) fn not_moved(&mut self, transfer: u64, step: &Step) {
        tracing::debug!(path = %step.op.path, "it was not moved or copied; its bytes are sent");
        self.apart.insert(step.op.path.clone());
        self.pending.again(&step.op.path);
        if let Some(from) = step.vacates()
            && !self.transfers.get(&transfer).is_some_and(|transfer| transfer.refilled.contains(from))
        {
            self.pending.again(from);
        }
    }

    /// Remembers what may have been moved or copied when nothing was said of it.
    pub(super) fn doubt(&mut self, step: Step) {
        let Some(content) = step.base.map(|base| base.content) else { return };
        let to = step.op.path;
        if matches!(step.op.action, Action::Move { .. } | Action::Copy { .. }) {
            let doubted = self.doubts.entry(to.clone()).or_default();
            if let Content::File { hash, .. } = &content {
                doubted.push(*hash);
            }
        }
        if let Action::Move { from, .. } = step.op.action {
            self.moved.push(Moved { from, to, content });
        }
    }

    /// Takes the absence of what was moved away for what it is: ours. Without that, a file that was renamed and
    /// renamed back would count as removed there by somebody else.
    pub(super) fn recognise_moves(&mut self) {
        for Moved { from, to, content } in std::mem::take(&mut self.moved) {
            let there = match self.overlay.get(&to) {
                Some(found) => found.as_ref().map(|found| &found.content),
                None => self.base.get(&to).map(|base| &base.content),
            };
            let is_gone = self.overlay.get(&from) == Some(&None);
            if is_gone && there.is_some_and(|there| equal(there, &content)) {
                self.overlay.remove(&from);
                self.record(from, None);
                if let Content::Link { .. } = content {
                    self.overlay.remove(&to);
                    self.record(to, Some(Base { content, mode: LINK, local: None, remote: None }));
                }
            }
        }
    }
}
