//! Pure: from base, local and remote to operations, conflicts and drift. No clock, no files.
//!
//! The remote is what we remember of it (the base), overlaid with what a look at it found since. A plan
//! never overwrites or removes remote content that is not the base's, and never touches a path that was
//! not pushed from here.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Found, Hash, Op, Stamp};

use super::index::Index;
use crate::store::{Base, BaseChange};
use decide::{decide, narrows_or_executes};
use names::collisions;

mod decide;
mod moves;
mod names;
mod respell;
mod same;

#[cfg(test)]
mod tests;

pub use moves::{Abilities, COPY_FROM};
pub use names::folded;
pub use respell::is_between;
pub use same::{equal, expect, holds, may_hold};

/// What a path of the workspace holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// What it holds.
    pub held: Held,
    /// Permission bits (`0o777`).
    pub mode: u32,
    /// The inode; `None` for folders and links.
    pub stamp: Option<Stamp>,
}

/// [`Content`] of a file that may not have been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A regular file.
    File {
        /// Its bytes; `None` while nobody had to read them.
        hash: Option<Hash>,
        /// Its length.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
    },
}

/// What was found on the remote where it differs from the base; `None` for nothing.
pub type Overlay = BTreeMap<RelPath, Option<Found>>;

/// Everything a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What both sides held when they were last equal.
    pub base: &'a BTreeMap<RelPath, Base>,
    /// What the workspace holds, at least for `paths` and the folders above them.
    pub local: &'a BTreeMap<RelPath, Local>,
    /// What was found on the remote.
    pub remote: &'a Overlay,
    /// The paths to decide; `None` for all.
    pub paths: Option<&'a BTreeSet<RelPath>>,
    /// Paths of the base that are ignored since: untracked, never removed.
    pub ignored: &'a BTreeSet<RelPath>,
    /// Whether names that differ only in case, or in how Unicode composes them, are one file on the remote.
    pub ignores_case: bool,
    /// Whether new files keep their modification time (the first population does).
    pub keep_times: bool,
    /// What the target can do.
    pub able: Abilities,
    /// Paths whose bytes are sent, because the target refused to make them of what it has.
    pub apart: &'a BTreeSet<RelPath>,
    /// What the base holds, counted; without it the base is walked.
    pub index: Option<&'a Index>,
}

/// One operation and what becomes the base when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The operation.
    pub op: Op,
    /// The new base (its remote stamp, and hash and size of a file, come with the outcome); `None` forgets.
    pub base: Option<Base>,
    /// Whether something was there before.
    pub replaces: bool,
}

impl Step {
    /// Returns the bytes of content that travel.
    pub fn bytes(&self) -> u64 {
        self.op.action.bytes()
    }

    /// Returns the path that holds nothing any more when the step is done, beside its own.
    pub fn vacates(&self) -> Option<&RelPath> {
        match &self.op.action {
            Action::Move { from, .. } => Some(from),
            Action::MakeFolder { .. }
            | Action::Put { .. }
            | Action::Link { .. }
            | Action::SetMode { .. }
            | Action::Remove
            | Action::Patch { .. }
            | Action::Copy { .. }
            | Action::Append { .. } => None,
        }
    }

    /// Returns every path that the step changes: its own first.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        std::iter::once(&self.op.path).chain(self.vacates())
    }
}

/// A path that changed on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// What is here; `None` for nothing.
    pub local: Option<Local>,
    /// What is on the remote; `None` for nothing.
    pub remote: Option<Found>,
}

/// What to do, in the order of doing it. Each list is in order in itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Removals that stand in the way of something new, deepest first.
    pub blocking: Vec<Step>,
    /// New folders, shallow first.
    pub folders: Vec<Step>,
    /// Files and links that get another name, each when that is free.
    pub moves: Vec<Step>,
    /// New and changed files, and permissions; in any order.
    pub files: Vec<Step>,
    /// New and changed links.
    pub links: Vec<Step>,
    /// Other removals, deepest first.
    pub removals: Vec<Step>,
    /// Paths that changed on both sides.
    pub conflicts: Vec<Conflict>,
    /// Paths that changed on the remote only.
    pub drift: Vec<RelPath>,
    /// Paths that are already as they should be: only recorded.
    pub adopt: Vec<BaseChange>,
    /// Files of unknown hash that may be equal to the remote's: hash them and plan again.
    pub unread: Vec<RelPath>,
    /// Paths that cannot be synced, with the reason.
    pub problems: Vec<(RelPath, String)>,
}

impl Plan {
    /// Returns every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.phases().into_iter().flatten()
    }

    /// Returns the phases in order.
    pub fn phases(&self) -> [&Vec<Step>; 6] {
        [&self.blocking, &self.folders, &self.moves, &self.files, &self.links, &self.removals]
    }

    /// Returns every path that would be removed, sorted. A folder goes with what was moved out of it, not for
    /// itself, as long as nothing in it is removed.
    pub fn removed(&self) -> BTreeSet<&RelPath> {
        let steps = self.blocking.iter().chain(&self.removals);
        let steps = steps.filter(|step| step.base.is_none() && step.op.action == Action::Remove);
        let (folders, others): (Vec<&Step>, Vec<&Step>) = steps.partition(|step| step.op.expect == Expect::Folder);
        let mut removed: BTreeSet<&RelPath> = others.iter().map(|step| &step.op.path).collect();
        let left: BTreeSet<RelPath> = self.moves.iter().filter_map(Step::vacates).flat_map(folders_above).collect();
        let emptied: BTreeSet<RelPath> = removed.iter().flat_map(|path| folders_above(path)).collect();
        let mut folders: Vec<&RelPath> = folders.into_iter().map(|step| &step.op.path).collect();
        folders.sort_by_key(|path| path.depth());
        let mut moved: BTreeSet<&RelPath> = BTreeSet::new();
        for path in folders {
            let with_its_folder = || path.parent().is_some_and(|folder| moved.contains(&folder));
            if !emptied.contains(path) && (left.contains(path) || with_its_folder()) {
                moved.insert(path);
            } else {
                removed.insert(path);
            }
        }
        removed
    }

    /// Returns whether nothing has to travel.
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none()
    }
}

/// Returns what has to be done so that the remote holds what the workspace holds.
pub fn plan(input: Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let collisions = if input.ignores_case { collisions(input) } else { BTreeMap::new() };
    for path in paths(input) {
        if let Some(other) = collisions.get(path) {
            plan.problems.push((
                path.clone(),
                format!("differs from `{other}` only in case or in how letters are composed, which the remote ignores"),
            ));
        } else if !collisions.is_empty() && folders_above(path).any(|folder| collisions.contains_key(&folder)) {
            // Its folder is the problem, and named.
        } else if input.ignored.contains(path) {
            if input.base.contains_key(path) {
                plan.adopt.push((path.clone(), None));
            }
        } else {
            decide(input, path, &mut plan);
        }
    }
    drop_below_conflicts(&mut plan);
    make_missing_folders(input, &mut plan);
    if input.ignores_case {
        respell::respell(input, &mut plan);
        remove_old_spellings(input, &mut plan);
    }
    sort(&mut plan);
    moves::spare_bytes(input, &mut plan);
    plan
}

fn paths(input: Input<'_>) -> BTreeSet<&RelPath> {
    match input.paths {
        Some(paths) => paths.iter().collect(),
        None => input.base.keys().chain(input.local.keys()).collect(),
    }
}

/// Returns the folders above a path, nearest first.
pub fn folders_above(path: &RelPath) -> impl Iterator<Item = RelPath> {
    std::iter::successors(path.parent(), RelPath::parent)
}

/// Returns `path`, when it is there, and everything below it.
pub fn below<'a, T>(map: &'a BTreeMap<RelPath, T>, path: &RelPath) -> impl Iterator<Item = (&'a RelPath, &'a T)> {
    // Between a folder and what is below it stand only names that begin as the folder's does.
    map.range(path.clone()..)
        .take_while(|(other, _)| other.as_str().starts_with(path.as_str()))
        .filter(|(other, _)| other.starts_with(path))
}

/// Returns every path of two maps in order, with what each of them holds; cheaper than to look each path up.
pub fn joined<'a, T, U>(
    one: &'a BTreeMap<RelPath, T>,
    other: &'a BTreeMap<RelPath, U>,
) -> impl Iterator<Item = (&'a RelPath, Option<&'a T>, Option<&'a U>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let first = if order.is_le() { one.next() } else { None };
        let second = if order.is_ge() { other.next() } else { None };
        let path = first.map(|(path, _)| path).or(second.map(|(path, _)| path))?;
        Some((path, first.map(|(_, held)| held), second.map(|(_, held)| held)))
    })
}

/// Returns whether a path is here as it was when both sides were last equal; unless the remote changed, there is
/// nothing to decide about it.
pub fn is_unchanged(base: &Base, local: &Local) -> bool {
    let executable = match &base.content {
        Content::File { executable, .. } => *executable == (local.mode & 0o100 != 0),
        Content::Folder | Content::Link { .. } | Content::Special => true,
    };
    executable && (base.mode, base.local) == (local.mode, local.stamp) && holds(local, &base.content)
}

/// Returns whether a relative link at `path` leaves the workspace, as far as its text tells.
pub fn escapes(path: &RelPath, target: &str) -> bool {
    let mut depth = path.depth() - 1;
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// A conflict about what a folder is holds back everything below it, and a folder stays while something
/// in it is contested.
fn drop_below_conflicts(plan: &mut Plan) {
    let contested: BTreeSet<RelPath> = plan.conflicts.iter().map(|conflict| conflict.path.clone()).collect();
    if contested.is_empty() {
        return;
    }
    let above: BTreeSet<RelPath> = contested.iter().flat_map(folders_above).collect();
    for list in [&mut plan.blocking, &mut plan.folders, &mut plan.files, &mut plan.links, &mut plan.removals] {
        list.retain(|step| !folders_above(&step.op.path).any(|folder| contested.contains(&folder)));
    }
    for list in [&mut plan.blocking, &mut plan.removals] {
        list.retain(|step| !above.contains(&step.op.path));
    }
}

/// What is written needs its folders, also those that vanished on the remote or were never decided.
fn make_missing_folders(input: Input<'_>, plan: &mut Plan) {
    let mut known: BTreeSet<RelPath> = plan.folders.iter().map(|step| step.op.path.clone()).collect();
    let mut missing = Vec::new();
    for step in plan.folders.iter().chain(&plan.files).chain(&plan.links) {
        for folder in folders_above(&step.op.path) {
            let there = match input.remote.get(&folder) {
                Some(found) => found.is_some(),
                None => input.base.contains_key(&folder),
            };
            if there {
                continue;
            }
            if !known.insert(folder.clone()) {
                // The folders above it were looked at when it came to be known, or will be.
                break;
            }
            let mode = input.local.get(&folder).map_or(0o777, |local| local.mode);
            missing.push(Step {
                op: Op { path: folder, expect: Expect::Absent, action: Action::MakeFolder { mode } },
                base: Some(Base { content: Content::Folder, mode, local: None, remote: None }),
                replaces: false,
            });
        }
    }
    plan.drift.retain(|path| !missing.iter().any(|step| step.op.path == *path));
    plan.folders.extend(missing);
}

/// Where case is ignored, the old spelling of a renamed path has to go before the new one is written.
fn remove_old_spellings(input: Input<'_>, plan: &mut Plan) {
    let spelled: BTreeSet<String> = input.local.keys().map(folded).collect();
    let old = |step: &mut Step| spelled.contains(&folded(&step.op.path));
    plan.blocking.extend(plan.removals.extract_if(.., old));
}

fn sort(plan: &mut Plan) {
    let deepest_first =
        |one: &Step, other: &Step| (other.op.path.depth(), &one.op.path).cmp(&(one.op.path.depth(), &other.op.path));
    plan.blocking.sort_by(deepest_first);
    plan.removals.sort_by(deepest_first);
    plan.folders
        .sort_by(|one, other| (one.op.path.depth(), &one.op.path).cmp(&(other.op.path.depth(), &other.op.path)));
}
