//! Pure: which writes of a plan need no bytes, because the remote has them under another name.
//!
//! Content decides: only a file whose bytes were read is ever moved or copied. What is moved is what the plan
//! would take away from its old name anyway, so that nothing that stays is touched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Hash};

use super::{Input, Plan, Step, expect, narrows_or_executes};
use crate::store::Base;

/// Least length of a file that is copied on the remote rather than sent, and read here before in order to know:
/// below it, sending costs less than asking.
pub const COPY_FROM: u64 = 4096;

/// What a target can do beside the least: what it cannot is never planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Gives what is there another name.
    pub moves: bool,
    /// Writes a file with the bytes of another one.
    pub copies: bool,
}

/// What two files or links have in common when one can be the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    File(Hash),
    Link(&'a str),
}

fn key(content: &Content) -> Option<Key<'_>> {
    match content {
        Content::File { hash, .. } => Some(Key::File(*hash)),
        Content::Link { target } => Some(Key::Link(target)),
        Content::Folder | Content::Special => None,
    }
}

/// Returns what a step writes, when that is known for sure.
pub(super) fn written(step: &Step) -> Option<(Key<'_>, &Base)> {
    let base = step.base.as_ref()?;
    let is_known = match &step.op.action {
        Action::Put { hash, .. } => hash.is_some(),
        Action::Link { .. } => true,
        Action::MakeFolder { .. }
        | Action::SetMode { .. }
        | Action::Remove
        | Action::Patch { .. }
        | Action::Move { .. }
        | Action::Copy { .. }
        | Action::Append { .. } => false,
    };
    key(&base.content).filter(|_| is_known).map(|key| (key, base))
}

/// Makes moves and copies of the writes that can be one.
pub(super) fn spare_bytes(input: Input<'_>, plan: &mut Plan) {
    if input.able.moves {
        let from = break_cycles(input, pair(input, plan));
        if !from.is_empty() {
            apply_moves(plan, &from);
        }
    }
    if input.able.copies {
        apply_copies(input, plan);
    }
}

/// What a name loses in this plan, found by content.
#[derive(Default)]
struct Leaving<'a> {
    by_inode: BTreeMap<(u64, u64), &'a RelPath>,
    by_name: BTreeMap<(Key<'a>, &'a str), VecDeque<&'a RelPath>>,
    by_key: BTreeMap<Key<'a>, VecDeque<&'a RelPath>>,
    taken: BTreeSet<&'a RelPath>,
}

impl<'a> Leaving<'a> {
    fn add(&mut self, path: &'a RelPath, base: &'a Base) {
        let Some(key) = key(&base.content) else { return };
        if let Some(stamp) = base.local {
            self.by_inode.insert((stamp.device, stamp.inode), path);
        }
        self.by_name.entry((key, path.name())).or_default().push_back(path);
        self.by_key.entry(key).or_default().push_back(path);
    }

    /// Takes the first that is left and that `fits`; what does not fit goes to the end of its line.
    fn take(
        line: Option<&mut VecDeque<&'a RelPath>>,
        taken: &mut BTreeSet<&'a RelPath>,
        fits: impl Fn(&RelPath) -> bool,
    ) -> Option<&'a RelPath> {
        let line = line?;
        for _ in 0..line.len() {
            let path = line.pop_front()?;
            if taken.contains(path) {
                continue;
            }
            if fits(path) {
                taken.insert(path);
                return Some(path);
            }
            line.push_back(path);
            // Others of the same content have most likely the same permissions.
            break;
        }
        None
    }
}

/// Returns for each path that can be moved to where it comes from: first by inode, then by name, then any.
fn pair(input: Input<'_>, plan: &Plan) -> BTreeMap<RelPath, RelPath> {
    let mut leaving = Leaving::default();
    let gone = plan.removals.iter().filter(|step| step.op.action == Action::Remove && !step.replaces);
    let replaced =
        plan.files.iter().chain(&plan.links).filter(|step| {
            written(step).is_some() && matches!(step.op.expect, Expect::File { .. } | Expect::Link { .. })
        });
    // What goes for good is looked at first: to move it spares a removal, too.
    for step in gone.chain(replaced) {
        if let Some((path, base)) = input.base.get_key_value(&step.op.path) {
            leaving.add(path, base);
        }
    }
    let mut from = BTreeMap::new();
    if leaving.by_key.is_empty() {
        return from;
    }
    let arriving = || {
        let steps = plan.files.iter().chain(&plan.links).filter(|step| !input.apart.contains(&step.op.path));
        steps.filter_map(|step| written(step).map(|(key, base)| (&step.op.path, key, base)))
    };
    let fits = |new: &Base, old: &RelPath| {
        let old = input.base.get(old);
        old.is_some_and(|old| key(&old.content).is_some() && !narrows_or_executes(&new.content, new.mode, old.mode))
    };
    for pass in 0..3 {
        for (path, key_of, base) in arriving() {
            if from.contains_key(path) {
                continue;
            }
            let Leaving { by_inode, by_name, by_key, taken } = &mut leaving;
            let found = match pass {
                0 => base.local.and_then(|stamp| by_inode.get(&(stamp.device, stamp.inode)).copied()).filter(|old| {
                    let same = input.base.get(*old).is_some_and(|old| key(&old.content) == Some(key_of));
                    same && fits(base, old) && taken.insert(old)
                }),
                1 => Leaving::take(by_name.get_mut(&(key_of, path.name())), taken, |old| fits(base, old)),
                _ => Leaving::take(by_key.get_mut(&key_of), taken, |old| fits(base, old)),
            };
            if let Some(old) = found {
                from.insert(path.clone(), old.clone());
            }
        }
    }
    from
}

/// Leaves out one move of each cycle (two files that swap their names): its bytes are sent.
fn break_cycles(input: Input<'_>, mut from: BTreeMap<RelPath, RelPath>) -> BTreeMap<RelPath, RelPath> {
    let size = |path: &RelPath| match input.base.get(path).map(|base| &base.content) {
        Some(Content::File { size, .. }) => *size,
        Some(Content::Folder | Content::Link { .. } | Content::Special) | None => 0,
    };
    let mut seen = BTreeSet::new();
    let starts: Vec<RelPath> = from.keys().cloned().collect();
    for start in starts {
        let mut way = Vec::new();
        let mut here = Some(start);
        while let Some(path) = here.filter(|path| seen.insert(path.clone())) {
            here = from.get(&path).cloned();
            way.push(path);
            if let Some(next) = &here
                && let Some(at) = way.iter().position(|path| path == next)
            {
                let cheapest = way[at..].iter().min_by_key(|path| from.get(*path).map_or(0, size));
                if let Some(cheapest) = cheapest {
                    from.remove(cheapest);
                }
                break;
            }
        }
    }
    from
}

fn apply_moves(plan: &mut Plan, from: &BTreeMap<RelPath, RelPath>) {
    let to: BTreeMap<&RelPath, &RelPath> = from.iter().map(|(to, from)| (from, to)).collect();
    let leaving = plan.removals.iter().chain(&plan.files).chain(&plan.links);
    let leaving = leaving.filter(|step| to.contains_key(&step.op.path));
    let sources: BTreeMap<RelPath, Expect> =
        leaving.map(|step| (step.op.path.clone(), step.op.expect.clone())).collect();
    plan.removals.retain(|step| !to.contains_key(&step.op.path));
    let mut moves = BTreeMap::new();
    for list in [&mut plan.files, &mut plan.links] {
        for mut step in std::mem::take(list) {
            // What had that name is moved away before.
            if to.contains_key(&step.op.path) {
                step.op.expect = Expect::Absent;
            }
            let old = from.get(&step.op.path).and_then(|old| sources.get_key_value(old));
            match old {
                Some((old, source)) => {
                    step.op.action = Action::Move { from: old.clone(), source: source.clone() };
                    moves.insert(step.op.path.clone(), step);
                }
                None => list.push(step),
            }
        }
    }
    // A name is free once what had it was moved on.
    for first in from.keys() {
        let chain = std::iter::successors(Some(first), |path| to.get(*path).copied());
        let rest: Vec<Step> = chain.map_while(|path| moves.remove(path)).collect();
        plan.moves.extend(rest.into_iter().rev());
    }
}

fn apply_copies(input: Input<'_>, plan: &mut Plan) {
    let wanted = |step: &Step| match &step.op.action {
        Action::Put { size, hash: Some(hash), .. } if *size >= COPY_FROM && !input.apart.contains(&step.op.path) => {
            Some(*hash)
        }
        _ => None,
    };
    let may_be_there = |hash: &Hash| input.index.is_none_or(|index| index.may_hold(hash));
    let hashes: BTreeSet<Hash> = plan.files.iter().filter_map(wanted).filter(may_be_there).collect();
    if hashes.is_empty() {
        return;
    }
    let mut sources: BTreeMap<Hash, (RelPath, Expect)> = BTreeMap::new();
    for step in &plan.moves {
        if let Some(content @ Content::File { hash, .. }) = step.base.as_ref().map(|base| &base.content) {
            sources.insert(*hash, (step.op.path.clone(), expect(content, None)));
        }
    }
    // Removals come after the files; everything else that is done to a path comes at the same time or before.
    let touched: BTreeSet<&RelPath> =
        [&plan.blocking, &plan.moves, &plan.files, &plan.links].into_iter().flatten().flat_map(Step::paths).collect();
    for (path, base) in input.base {
        if let Content::File { hash, .. } = &base.content
            && hashes.contains(hash)
            && !touched.contains(path)
            && !input.remote.contains_key(path)
            && !input.ignored.contains(path)
        {
            sources.insert(*hash, (path.clone(), expect(&base.content, base.remote)));
        }
    }
    for step in &mut plan.files {
        if let Some((from, source)) = wanted(step).and_then(|hash| sources.get(&hash))
            && let Action::Put { mode, mtime_ns, .. } = step.op.action
        {
            step.op.action = Action::Copy { from: from.clone(), source: source.clone(), mode, mtime_ns };
        }
    }
}
