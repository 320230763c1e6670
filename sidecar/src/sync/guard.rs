//! Pure: stops a plan that looks like an accident, and lets it go when somebody approves exactly that plan.

use std::collections::{BTreeMap, BTreeSet};

use protocol::path::RelPath;

use super::plan::Plan;

/// Removals that are always let through, however small the tree.
const FEW_REMOVALS: usize = 50;
/// Above [`FEW_REMOVALS`], the part of the tree that may go in one plan: one fifth.
const REMOVED_PART: usize = 5;
/// A first push of more files than this is asked about.
pub const LARGE_FILES: u64 = 100_000;
/// A first push of more bytes than this is asked about.
pub const LARGE_BYTES: u64 = 2_000_000_000;
/// What the name of a plan begins with that would remove something here.
pub const PULLED: &str = "pull-";
/// Folders and paths that are named in a question or a brake.
const EXAMPLES: usize = 10;

/// What is known of the two roots beside the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// Inode and device of the workspace when the base was recorded.
    pub recorded: Option<(u64, u64)>,
    /// Inode and device of the workspace now; `None` when it is gone.
    pub present: Option<(u64, u64)>,
    /// Whether the workspace holds nothing that is synced.
    pub local_empty: bool,
    /// Whether the remote folder holds nothing at all, or is another one than before.
    pub remote_emptied: bool,
    /// Paths in the base.
    pub known: usize,
}

/// Why a plan is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Names exactly this plan.
    pub plan: String,
    /// What it would do.
    pub reason: String,
    /// Paths it would remove.
    pub removals: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Returns why `plan` must not go without a person's word, or `None` when it may.
/// `approved` is the name of a plan that a person let go.
pub fn check(plan: &Plan, roots: Roots, approved: Option<&str>) -> Option<Brake> {
    let removed = plan.removed();
    let reason = reason(removed.len(), roots)?;
    let name = name(reason.kind(), removed.iter().copied());
    // A workspace that is not there has nothing to approve: the way out is to bring it back.
    if approved == Some(name.as_str()) && reason != Reason::RootGone {
        return None;
    }
    Some(Brake {
        plan: name,
        reason: reason.text(removed.len(), roots.known),
        removals: removed.len(),
        examples: removed.iter().take(EXAMPLES).map(ToString::to_string).collect(),
    })
}

/// Returns why removals here, made because they were made on the remote, must not go without a person's word.
/// `emptied` says that the remote holds nothing at all.
pub fn pulled(removed: &BTreeSet<&RelPath>, known: usize, emptied: bool, approved: Option<&str>) -> Option<Brake> {
    let reason = if removed.is_empty() {
        return None;
    } else if emptied || removed.len() >= known {
        format!("the remote folder was emptied or replaced, and {} paths would be removed here", removed.len())
    } else if removed.len() > FEW_REMOVALS.max(known / REMOVED_PART) {
        format!("{} of {known} paths would be removed here", removed.len())
    } else {
        return None;
    };
    let plan = format!("{PULLED}{}", name("pull", removed.iter().copied()));
    (approved != Some(plan.as_str())).then(|| Brake {
        plan,
        reason,
        removals: removed.len(),
        examples: removed.iter().take(EXAMPLES).map(ToString::to_string).collect(),
    })
}

/// Returns the name of exactly these removals.
fn name<'a>(kind: &str, removed: impl Iterator<Item = &'a RelPath>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes());
    for path in removed {
        hasher.update(path.as_str().as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..8].to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    RootGone,
    RootReplaced,
    RootEmpty,
    RemoteEmptied,
    Many,
}

fn reason(removals: usize, roots: Roots) -> Option<Reason> {
    if roots.known == 0 {
        return None;
    }
    let Some((inode, _)) = roots.present else { return Some(Reason::RootGone) };
    if removals == 0 {
        return None;
    }
    if roots.local_empty {
        return Some(Reason::RootEmpty);
    }
    if roots.recorded.is_some_and(|(recorded, _)| recorded != inode) {
        return Some(Reason::RootReplaced);
    }
    if roots.remote_emptied {
        return Some(Reason::RemoteEmptied);
    }
    (removals > FEW_REMOVALS.max(roots.known / REMOVED_PART)).then_some(Reason::Many)
}

impl Reason {
    fn kind(self) -> &'static str {
        match self {
            Self::RootGone => "root gone",
            Self::RootReplaced => "root replaced",
            Self::RootEmpty => "root empty",
            Self::RemoteEmptied => "remote emptied",
            Self::Many => "many",
        }
    }

    fn text(self, removals: usize, known: usize) -> String {
        match self {
            Self::RootGone => "the workspace folder is gone".to_owned(),
            Self::RootReplaced => {
                format!("the workspace is another folder than before, and {removals} paths would be removed")
            }
            Self::RootEmpty => format!("the workspace is empty, and {removals} paths would be removed"),
            Self::RemoteEmptied => {
                format!("the remote folder was emptied or replaced, and {removals} more paths would be removed")
            }
            Self::Many => format!("{removals} of {known} paths would be removed"),
        }
    }
}

/// How large a first push is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The largest folders at the top, one line each, largest first.
    pub largest: Vec<String>,
}

/// Returns what to ask about when a first push is very large.
pub fn large(plan: &Plan, first: bool) -> Option<Large> {
    if !first {
        return None;
    }
    let files = plan.files.len() as u64;
    let bytes = plan.files.iter().map(super::plan::Step::bytes).sum();
    if files <= LARGE_FILES && bytes <= LARGE_BYTES {
        return None;
    }
    let mut folders: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for step in &plan.files {
        let folder = step.op.path.as_str().split_once('/').map_or(".", |(folder, _)| folder);
        let entry = folders.entry(folder).or_default();
        entry.0 += step.bytes();
        entry.1 += 1;
    }
    let mut largest: Vec<_> = folders.into_iter().collect();
    largest.sort_by_key(|&(_, size)| std::cmp::Reverse(size));
    let line = |(folder, (bytes, files)): (&str, (u64, u64))| format!("{folder}: {files} files, {bytes} bytes");
    Some(Large { files, bytes, largest: largest.into_iter().take(EXAMPLES).map(line).collect() })
}

#[cfg(test)]
mod tests;
