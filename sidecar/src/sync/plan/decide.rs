//! Pure: what is done about one path.

use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Found, Hash, Op};

use super::same::{Same, equal, expect, same};
use super::{Conflict, Held, Input, Local, Plan, Step, folders_above};
use crate::store::Base;

/// Permission bits that let somebody execute a file.
const EXECUTE: u32 = 0o111;

/// Decides about one path.
pub(super) fn decide(input: Input<'_>, path: &RelPath, plan: &mut Plan) {
    let base = input.base.get(path);
    let local = input.local.get(path);
    let remembered = base.map(|base| Found { content: base.content.clone(), stamp: base.remote });
    let remote = input.remote.get(path).cloned().unwrap_or(remembered);
    let remote_is_base = match (base, &remote) {
        (Some(base), Some(found)) => equal(&base.content, &found.content),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };

    match (local, &remote) {
        (None, None) => {
            if base.is_some() {
                plan.adopt.push((path.clone(), None));
            }
            return;
        }
        (Some(local), Some(found)) => match same(local, &found.content) {
            Same::Yes => return adopt(path, base, local, found, plan),
            Same::Unread => return plan.unread.push(path.clone()),
            Same::No => {}
        },
        (None, Some(_)) | (Some(_), None) => {}
    }

    if remote_is_base {
        match (local, remote) {
            (Some(local), remote) => write(input, path, local, remote.as_ref(), plan),
            (None, Some(found)) => remove(input, path, &found, plan),
            (None, None) => {}
        }
        return;
    }
    let local_is_base = match (base, local) {
        (Some(base), Some(local)) => match same(local, &base.content) {
            Same::Yes => true,
            Same::No => false,
            Same::Unread => return plan.unread.push(path.clone()),
        },
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    match (local_is_base, local, remote) {
        // Foreign: never pushed from here, so it is none of our business.
        (true, None, _) => {}
        (true, Some(_), _) => plan.drift.push(path.clone()),
        // Removed there, changed here: nothing there can be lost, so ours is written again.
        (false, Some(local), None) => write(input, path, local, None, plan),
        (false, local, remote) => {
            plan.conflicts.push(Conflict { path: path.clone(), local: local.cloned(), remote });
        }
    }
}

/// Both sides hold the same: record it, and take over permissions where they matter.
fn adopt(path: &RelPath, base: Option<&Base>, local: &Local, found: &Found, plan: &mut Plan) {
    let new = Base {
        content: with_mode(&found.content, local.mode),
        mode: local.mode,
        local: local.stamp,
        remote: found.stamp,
    };
    let changes_mode = match (&found.content, base) {
        (content @ Content::File { .. }, Some(base)) => narrows_or_executes(content, local.mode, base.mode),
        (Content::File { executable, .. }, None) => *executable != (local.mode & 0o100 != 0),
        (Content::Folder | Content::Link { .. } | Content::Special, _) => false,
    };
    if changes_mode {
        plan.files.push(Step {
            op: Op {
                path: path.clone(),
                expect: expect(&found.content, found.stamp),
                action: Action::SetMode { mode: local.mode },
            },
            base: Some(new),
            replaces: true,
        });
    } else if base != Some(&new) {
        plan.adopt.push((path.clone(), Some(new)));
    }
}

/// Returns whether permission bits `new` differ from the `old` ones of a file in what travels.
pub(super) fn narrows_or_executes(content: &Content, new: u32, old: u32) -> bool {
    match content {
        Content::File { .. } => (new ^ old) & EXECUTE != 0 || old & !new & 0o777 != 0,
        Content::Folder | Content::Link { .. } | Content::Special => false,
    }
}

fn with_mode(content: &Content, mode: u32) -> Content {
    match content {
        Content::File { hash, size, .. } => Content::File { hash: *hash, size: *size, executable: mode & 0o100 != 0 },
        Content::Folder | Content::Link { .. } | Content::Special => content.clone(),
    }
}

fn write(input: Input<'_>, path: &RelPath, local: &Local, remote: Option<&Found>, plan: &mut Plan) {
    let local_folder = local.held == Held::Folder;
    let remote_folder = remote.is_some_and(|found| found.content == Content::Folder);
    let mut present = remote;
    // A folder cannot be swapped with something else in one step.
    if let Some(found) = remote.filter(|_| local_folder || remote_folder) {
        plan.blocking.push(removal(path, found, true));
        present = None;
    }
    let expect = present.map_or(Expect::Absent, |found| expect(&found.content, found.stamp));
    let (action, content, list) = match &local.held {
        Held::Folder => (Action::MakeFolder { mode: local.mode }, Content::Folder, &mut plan.folders),
        Held::File { hash, size } => (
            Action::Put {
                size: *size,
                hash: *hash,
                mode: local.mode,
                mtime_ns: local.stamp.filter(|_| input.keep_times && present.is_none()).map(|stamp| stamp.mtime_ns),
            },
            // The sender fills in the hash of the bytes that really travelled.
            Content::File { hash: hash.unwrap_or(Hash([0; 32])), size: *size, executable: local.mode & 0o100 != 0 },
            &mut plan.files,
        ),
        Held::Link { target } => {
            (Action::Link { target: target.clone() }, Content::Link { target: target.clone() }, &mut plan.links)
        }
    };
    list.push(Step {
        op: Op { path: path.clone(), expect, action },
        base: Some(Base { content, mode: local.mode, local: local.stamp, remote: None }),
        replaces: remote.is_some(),
    });
}

fn remove(input: Input<'_>, path: &RelPath, found: &Found, plan: &mut Plan) {
    // Below a path that stops being a folder here, removals have to come first.
    let blocks =
        folders_above(path).any(|folder| input.local.get(&folder).is_some_and(|local| local.held != Held::Folder));
    let list = if blocks { &mut plan.blocking } else { &mut plan.removals };
    list.push(removal(path, found, false));
}

fn removal(path: &RelPath, found: &Found, replaces: bool) -> Step {
    Step {
        op: Op { path: path.clone(), expect: expect(&found.content, found.stamp), action: Action::Remove },
        base: None,
        replaces,
    }
}
