//! Pure: what an operation or a comparison leaves to be remembered.

use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Hash, Known, Op, Outcome, Stamp};

use super::super::look::Seen;
use super::{Change, Kept, Record};

/// Returns what is to be remembered of an operation. `told` is the hash of the last body, when it came with the end
/// of the stream; `look` returns what stands at the path, and is asked only where nothing else tells.
pub(in super::super) fn given(
    op: &Op,
    outcome: &Outcome,
    told: Option<Hash>,
    look: impl FnOnce(&RelPath) -> Option<Seen>,
) -> Vec<Record> {
    let stamp = match outcome {
        // Something else of the same name was found and kept; the next comparison tells how it stands.
        Outcome::Applied { kept_as: Some(_), .. } | Outcome::Rejected(_) => return Vec::new(),
        Outcome::Applied { stamp, kept_as: None } | Outcome::Already { stamp } => *stamp,
    };
    let given = |content| vec![Record { path: op.path.clone(), change: Change::Given(Kept { content, stamp }) }];
    let forgotten = |path: &RelPath| Record { path: path.clone(), change: Change::Forgotten };
    let file = |hash: Option<Hash>, mode: u32| match (hash, stamp) {
        (Some(hash), Some(stamp)) => given(file(hash, stamp, mode)),
        (None, _) | (_, None) => Vec::new(),
    };
    match &op.action {
        Action::MakeFolder { .. } => given(Content::Folder),
        Action::Link { target } => given(Content::Link { target: target.clone() }),
        Action::Put { hash, mode, .. } => file(hash.or(told), *mode),
        Action::Patch { mode, .. } => file(told, *mode),
        Action::Copy { source, mode, .. } => file(hash_of(source), *mode),
        Action::SetMode { mode } => file(hash_of(&op.expect), *mode),
        Action::Remove => vec![forgotten(&op.path)],
        Action::Move { from, source } => {
            let content = match (source, look(&op.path)) {
                (Expect::Link { target }, _) => Some(Content::Link { target: target.clone() }),
                (Expect::File { hash, .. }, Some(seen)) => stamp.map(|stamp| self::file(*hash, stamp, seen.mode)),
                (Expect::File { .. }, None) | (Expect::Absent | Expect::Folder, _) => None,
            };
            let moved = content.map(given).unwrap_or_default();
            moved.into_iter().chain([forgotten(from)]).collect()
        }
        Action::Append { hash, .. } => match look(&op.path) {
            Some(seen) => file(Some(*hash), seen.mode),
            None => Vec::new(),
        },
    }
}

fn file(hash: Hash, stamp: Stamp, mode: u32) -> Content {
    Content::File { hash, size: stamp.size, executable: mode & 0o100 != 0 }
}

fn hash_of(expect: &Expect) -> Option<Hash> {
    match expect {
        Expect::File { hash, .. } => Some(*hash),
        Expect::Absent | Expect::Folder | Expect::Link { .. } => None,
    }
}

/// Returns what is to be remembered of a path that holds what was expected; `seen` is what stands there.
pub(in super::super) fn confirmed(known: &Known, seen: &Seen) -> Option<Record> {
    let (content, stamp) = match &known.expect {
        Expect::Absent => return None,
        Expect::File { hash, .. } => (file(*hash, seen.stamp, seen.mode), Some(seen.stamp)),
        Expect::Folder => (Content::Folder, None),
        Expect::Link { target } => (Content::Link { target: target.clone() }, None),
    };
    Some(Record { path: known.path.clone(), change: Change::Confirmed(Kept { content, stamp }) })
}
