//! Pure: a file whose name changed only in its spelling, on a remote to which both spellings are one name. It is moved
//! twice, by way of a name of our own: nothing travels, and no version goes to the trash.
//!
//! When only half of it was done, the base holds the name between, and the next plan takes it from there.

use std::collections::BTreeMap;

use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Op};

use super::moves::written;
use super::names::folded;
use super::{Input, Plan, Step, equal, expect, narrows_or_executes};

/// How the name between two spellings ends.
const BETWEEN: &str = ".mltoolbox-spelling";

/// Returns whether a path is a name between two spellings, which nobody has to hear of.
pub fn is_between(path: &RelPath) -> bool {
    path.name().ends_with(BETWEEN)
}

/// Makes two moves of each removal and writing of one file under two spellings.
pub(super) fn respell(input: Input<'_>, plan: &mut Plan) {
    if !input.ignores_case || !input.able.moves {
        return;
    }
    let gone = plan.removals.iter().filter(|step| step.op.action == Action::Remove && !step.replaces);
    let old: BTreeMap<String, Step> = gone.map(|step| (folded(&step.op.path), step.clone())).collect();
    if old.is_empty() {
        return;
    }
    let mut done = Vec::new();
    for list in [&mut plan.files, &mut plan.links] {
        for step in std::mem::take(list) {
            match old.get(&folded(&step.op.path)).and_then(|old| Some((old, moves(input, old, &step)?))) {
                Some((old, moves)) => {
                    plan.moves.extend(moves);
                    done.push(old.op.path.clone());
                }
                None => list.push(step),
            }
        }
    }
    plan.removals.retain(|step| !done.contains(&step.op.path));
}

/// Returns the two moves, where they do what was to be done.
fn moves(input: Input<'_>, old: &Step, new: &Step) -> Option<[Step; 2]> {
    let (from, to) = (&old.op.path, &new.op.path);
    let (_, base) = written(new)?;
    let before = input.base.get(from)?;
    let fits = from.parent() == to.parent()
        && new.op.expect == Expect::Absent
        && equal(&before.content, &base.content)
        && !narrows_or_executes(&base.content, base.mode, before.mode)
        && !input.apart.contains(to);
    let name = format!("{}{BETWEEN}", &blake3::hash(to.as_str().as_bytes()).to_hex()[..16]);
    let between = match to.parent() {
        Some(folder) => folder.join(&name).ok()?,
        None => RelPath::new(name).ok()?,
    };
    if !fits || input.base.contains_key(&between) || input.local.contains_key(&between) {
        return None;
    }
    let source = match &base.content {
        content @ (Content::File { .. } | Content::Link { .. }) => expect(content, None),
        Content::Folder | Content::Special => return None,
    };
    let step = |path: &RelPath, from: &RelPath, source| Step {
        op: Op { path: path.clone(), expect: Expect::Absent, action: Action::Move { from: from.clone(), source } },
        base: new.base.clone(),
        replaces: false,
    };
    Some([step(&between, from, old.op.expect.clone()), step(to, &between, source)])
}
