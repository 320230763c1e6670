//! What is on its way.

use std::collections::BTreeSet;

use protocol::path::RelPath;

use super::super::plan::Step;

/// Steps that travel together.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Those that were answered are taken out.
    pub(super) steps: Vec<Option<Step>>,
    /// Names that something is moved away from and that get new content in the same transfer.
    pub(super) refilled: BTreeSet<RelPath>,
}

impl Transfer {
    /// Begins with none answered.
    pub(super) fn new(steps: Vec<Option<Step>>) -> Self {
        let mut left: BTreeSet<&RelPath> = BTreeSet::new();
        let mut refilled = BTreeSet::new();
        // In their order: what is written first and left later is only passed through.
        for step in steps.iter().flatten() {
            if left.contains(&step.op.path) {
                refilled.insert(step.op.path.clone());
            }
            left.extend(step.vacates());
        }
        Self { steps, refilled }
    }

    /// Returns whether a step for `path` is still to be answered.
    pub(super) fn holds(&self, path: &RelPath) -> bool {
        self.steps.iter().flatten().any(|step| step.op.path == *path)
    }
}
