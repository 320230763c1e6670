//! Pure: what a pull does at each path on which the two sides may differ. No clock, no files.
//!
//! Never overwrites or removes what is here unless it is what both sides held when they were last equal.

use std::collections::BTreeSet;

use protocol::listing::ListedKind;
use protocol::path::RelPath;
use protocol::sync::{Content, Found};

use crate::store::Base;
use crate::sync::plan::{Conflict, Held, Local, equal, escapes, holds};

/// What stands at a path of the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// This, by its bytes.
    Found(Found),
    /// This, whose bytes nobody looked at.
    Listed {
        /// What it is.
        kind: ListedKind,
        /// Permission bits (`0o777`).
        mode: u32,
    },
}

/// A path on which the two sides may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// It.
    pub path: RelPath,
    /// Whether it is synced, or was only brought home by its name.
    pub synced: bool,
    /// Whether it comes home although it was removed here: nobody pushes its removal, or it was named.
    pub restore: bool,
    /// What both sides held when they were last equal.
    pub base: Option<Base>,
    /// What is here, with the hash of a file; `None` for nothing.
    pub local: Option<Local>,
    /// What is there.
    pub there: There,
}

/// What is done at one path here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes a folder.
    Folder,
    /// Writes a file.
    File {
        /// Its length as far as known, in bytes.
        size: u64,
        /// Permission bits there, when they are known.
        mode: Option<u32>,
    },
    /// Writes a link.
    Link {
        /// Its text.
        target: String,
    },
    /// Moves a file or link to the kept ones; removes a folder when nothing is left in it.
    Remove,
}

/// One thing to do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub path: RelPath,
    /// Whether the path is synced.
    pub synced: bool,
    /// What must be here now; `None` for nothing.
    pub expected: Option<Local>,
    /// What to do.
    pub action: Action,
}

/// What to do here, in the order of doing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files that become folders, moved out of the way.
    pub blocking: Vec<Step>,
    /// New folders, shallow first.
    pub folders: Vec<Step>,
    /// New and changed files; in any order.
    pub files: Vec<Step>,
    /// New and changed links.
    pub links: Vec<Step>,
    /// Removals, deepest first.
    pub removals: Vec<Step>,
    /// Paths that changed on both sides.
    pub conflicts: Vec<Conflict>,
    /// Paths that are equal: only recorded, with whether they are synced.
    pub adopt: Vec<(RelPath, bool, Option<Base>)>,
    /// Paths that cannot be brought home, with the reason.
    pub problems: Vec<(RelPath, String)>,
}

impl Plan {
    /// Returns every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.blocking, &self.folders, &self.files, &self.links, &self.removals].into_iter().flatten()
    }

    /// Returns the paths that would be removed here.
    pub fn removed(&self) -> BTreeSet<&RelPath> {
        self.removals.iter().map(|step| &step.path).collect()
    }

    /// Returns the bytes that travel, as far as known.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |bytes, step| match step.action {
            Action::File { size, .. } => bytes.saturating_add(size),
            Action::Folder | Action::Link { .. } | Action::Remove => bytes,
        })
    }
}

/// Returns what has to be done here. `removes` says whether what is gone there goes here, too.
pub fn plan(candidates: Vec<Candidate>, removes: bool) -> Plan {
    let mut plan = Plan::default();
    for candidate in candidates {
        decide(candidate, removes, &mut plan);
    }
    plan.folders.sort_by(|one, other| (one.path.depth(), &one.path).cmp(&(other.path.depth(), &other.path)));
    plan.removals.sort_by(|one, other| (other.path.depth(), &one.path).cmp(&(one.path.depth(), &other.path)));
    plan
}

fn decide(candidate: Candidate, removes: bool, plan: &mut Plan) {
    let Candidate { path, synced, restore, base, local, there } = candidate;
    let local_is_base = match (&base, &local) {
        (Some(base), Some(local)) => holds(local, &base.content),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    match (there, local) {
        (There::Nothing, None) => {
            if base.is_some() {
                plan.adopt.push((path, synced, None));
            }
        }
        // Removed there, changed here, or not to be removed: the next push decides.
        (There::Nothing, Some(local)) => {
            if local_is_base && base.is_some() && removes && synced {
                plan.removals.push(Step { path, synced, expected: Some(local), action: Action::Remove });
            }
        }
        (there, None) => match (&base, there) {
            // Removed here, changed there.
            (Some(base), There::Found(found)) if !restore && !equal(&base.content, &found.content) => {
                plan.conflicts.push(Conflict { path, local: None, remote: Some(found) });
            }
            // Removed here: the next push removes it there.
            (Some(_), _) if !restore => {}
            (_, there) => write(path, synced, None, &there, plan),
        },
        (There::Found(found), Some(local)) => {
            if holds(&local, &found.content) {
                let new = Base { content: found.content, mode: local.mode, local: local.stamp, remote: found.stamp };
                plan.adopt.push((path, synced, Some(new)));
            } else if local_is_base {
                replace(path, synced, local, found, plan);
            } else {
                conflict(path, synced, local, found, plan);
            }
        }
        // Nobody looked at its bytes, so nothing can be said.
        (There::Listed { .. }, Some(_)) => {
            plan.problems.push((path, "it changes while it is looked at; pull again".to_owned()));
        }
    }
}

/// Both sides changed: nothing is touched. What is not synced has no sync to decide it.
fn conflict(path: RelPath, synced: bool, local: Local, found: Found, plan: &mut Plan) {
    if synced {
        plan.conflicts.push(Conflict { path, local: Some(local), remote: Some(found) });
    } else {
        plan.problems.push((path, "it differs from yours, which is kept; rename yours, then pull again".to_owned()));
    }
}

fn replace(path: RelPath, synced: bool, local: Local, found: Found, plan: &mut Plan) {
    match (&local.held, &found.content) {
        (Held::File { .. } | Held::Link { .. }, Content::Folder) => {
            plan.blocking.push(Step { path: path.clone(), synced, expected: Some(local), action: Action::Remove });
            plan.folders.push(Step { path, synced, expected: None, action: Action::Folder });
        }
        // What is in the folder may be nobody's but ours.
        (Held::Folder, _) | (_, Content::Special) => conflict(path, synced, local, found, plan),
        (Held::File { .. } | Held::Link { .. }, Content::File { .. } | Content::Link { .. }) => {
            write(path, synced, Some(local), &There::Found(found), plan);
        }
    }
}

fn write(path: RelPath, synced: bool, expected: Option<Local>, there: &There, plan: &mut Plan) {
    let special = "a socket, pipe or device stays where it is";
    let (list, action) = match there {
        There::Nothing => return,
        There::Found(Found { content, .. }) => match content {
            Content::File { size, executable, .. } => {
                let mode = Some(if *executable { 0o777 } else { 0o666 });
                (&mut plan.files, Action::File { size: *size, mode })
            }
            Content::Folder => (&mut plan.folders, Action::Folder),
            Content::Link { target } => (&mut plan.links, Action::Link { target: target.clone() }),
            Content::Special => return plan.problems.push((path, special.to_owned())),
        },
        There::Listed { kind, mode } => match kind {
            ListedKind::File(stamp) => (&mut plan.files, Action::File { size: stamp.size, mode: Some(*mode) }),
            ListedKind::Folder => (&mut plan.folders, Action::Folder),
            ListedKind::Link { target } => (&mut plan.links, Action::Link { target: target.clone() }),
            ListedKind::Special => return plan.problems.push((path, special.to_owned())),
            ListedKind::Mount => {
                return plan
                    .problems
                    .push((path, "another file system is mounted there; it is not crossed".to_owned()));
            }
        },
    };
    if let Action::Link { target } = &action
        && (target.starts_with('/') || target.contains('\u{FFFD}') || escapes(&path, target))
    {
        let reason = format!("a link to `{target}`, which may lead out of the workspace, is not made here");
        return plan.problems.push((path, reason));
    }
    list.push(Step { path, synced, expected, action });
}

#[cfg(test)]
mod tests;
