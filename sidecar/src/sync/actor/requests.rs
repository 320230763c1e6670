//! What a person decides about a running sync: approvals and conflicts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::editor::SyncResolveOutput;
use protocol::error::{Error, Result};
use protocol::path::RelPath;
use protocol::sync::Content;
use tokio::sync::oneshot;

use super::super::AskError;
use super::super::git;
use super::super::plan::{Conflict, Held, Local};
use super::super::resolve::Resolved;
use super::super::source::Source;
use super::super::target::SyncTarget;
use super::{Actor, Event, Halt, reply, report};
impl Actor {
    pub(super) fn approve(&mut self, plan: Option<String>) -> Result<()> {
        let present = self.halt.as_ref().map(report::halt_plan).ok_or(AskError::NoBrake)?;
        if let Some(asked) = plan.filter(|asked| *asked != present) {
            return Err(AskError::OtherPlan { asked, present }.into());
        }
        if let Some(Halt::Trash { .. }) = self.halt {
            let target = Arc::clone(&self.target);
            // The halt ends when the trash is empty, so that nothing fills it again in between.
            self.spawn(async move { Event::TrashEmptied(target.empty_trash().await) });
            return Ok(());
        }
        self.approved = Some(present);
        self.halt = None;
        self.look_not_before = None;
        self.pending.touch_everything();
        Ok(())
    }

    /// Returns every conflict.
    pub(in crate::sync) fn conflicts(&self) -> &BTreeMap<RelPath, Conflict> {
        &self.conflicts
    }

    /// Returns what changed on the remote alone, in the form of conflicts.
    pub(in crate::sync) fn drifted(&self) -> impl Iterator<Item = Conflict> {
        self.drift.iter().filter_map(|path| {
            let base = self.base.get(path)?;
            let held = match &base.content {
                Content::File { hash, size, .. } => Held::File { hash: Some(*hash), size: *size },
                Content::Folder => Held::Folder,
                Content::Link { target } => Held::Link { target: target.clone() },
                Content::Special => return None,
            };
            let local = Local { held, mode: base.mode, stamp: base.local };
            let remote = self.overlay.get(path)?.clone();
            Some(Conflict { path: path.clone(), local: Some(local), remote })
        })
    }

    /// Notes that conflicts are being decided, and returns what that needs.
    pub(in crate::sync) fn resolving(&mut self, count: usize) -> (PathBuf, Arc<dyn Source>, Arc<dyn SyncTarget>) {
        tracing::debug!(count, "deciding conflicts");
        self.resolving += 1;
        (self.config.keep.clone(), Arc::clone(&self.source), Arc::clone(&self.target))
    }

    /// Runs the decisions; what was decided is recorded even when a later one fails.
    pub(in crate::sync) fn spawn_resolve(
        &self,
        work: impl Future<Output = (Vec<Resolved>, Option<Error>)> + Send + 'static,
        answer: oneshot::Sender<Result<SyncResolveOutput>>,
    ) {
        self.spawn(async move {
            let (resolved, error) = work.await;
            Event::Resolved { resolved, error, answer }
        });
    }

    pub(super) fn resolved(
        &mut self,
        resolved: Vec<Resolved>,
        error: Option<Error>,
        answer: oneshot::Sender<Result<SyncResolveOutput>>,
    ) {
        self.resolving -= 1;
        let mut output = SyncResolveOutput::default();
        for Resolved { path, base, kept_as, beside } in resolved {
            self.conflicts.remove(&path);
            self.drift.remove(&path);
            self.overlay.remove(&path);
            let looked_at = self.looked_at_as(path.clone());
            self.pending.touch(looked_at, None);
            if let Some(beside) = beside {
                self.pending.touch(beside, None);
            }
            if !git::is_inside(&path) {
                output.resolved.push(path.to_string());
            }
            output.kept_as.extend(kept_as);
            self.record_outside(path, base);
        }
        output.left = self.conflicts.len() as u64;
        reply(answer, error.map_or(Ok(output), Err));
    }
}
