//! Comparing what is there with what should be, and telling only the differences. What is as it should be is
//! written into the mirror.
//!
//! Never lists a folder: what was not asked about is not looked at.

use std::os::fd::AsFd;

use protocol::path::RelPath;
use protocol::sync::{Differs, Expect, Found, Known, Rejected};

use super::error;
use super::look::{self, Clock, Match};
use super::mirror::{self, Mirror, Record};
use super::walk::{Folders, Stop, Top};

/// Fewest entries for which a second thread is worth starting.
const MANY: usize = 256;

/// Returns the entries at which something else was found, in their order; `None` when `go_on` said no before the end.
pub(super) fn differences(
    top: &Top,
    clock: Clock,
    mirror: &Mirror,
    entries: &[Known],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Differs>> {
    if entries.len() <= MANY {
        return some(top, clock, mirror, entries, go_on);
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| some(top, clock, mirror, second, go_on));
        let first = some(top, clock, mirror, first, go_on);
        let second = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some([first?, second?].concat())
    })
}

fn some(
    top: &Top,
    clock: Clock,
    mirror: &Mirror,
    entries: &[Known],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Differs>> {
    let mut folders = Folders::to_look(top);
    let (mut confirmed, mut differs) = (Vec::new(), Vec::new());
    for entry in entries {
        if !go_on() {
            return None;
        }
        differs.extend(one(&mut folders, clock, entry, &mut confirmed));
    }
    if mirror.is_asked() {
        mirror.note(&confirmed);
    }
    Some(differs)
}

fn one(folders: &mut Folders<'_>, clock: Clock, entry: &Known, confirmed: &mut Vec<Record>) -> Option<Differs> {
    let parent = match folders.parent_of(&entry.path) {
        Ok(parent) => parent,
        Err(Stop::Missing) if entry.expect == Expect::Absent => return None,
        Err(Stop::Missing) => return Some(differs(&entry.path, None)),
        Err(stop) => return Some(problem(&entry.path, stop.rejected(&entry.path))),
    };
    match look::compare(parent.as_fd(), entry.path.name(), &entry.expect, clock) {
        Ok(Match::Yes(seen)) => {
            confirmed.extend(seen.and_then(|seen| mirror::confirmed(entry, &seen)));
            None
        }
        Ok(Match::No(found)) => Some(differs(&entry.path, found.map(|(found, _)| found))),
        Err(error) => Some(problem(&entry.path, error::rejected(&error))),
    }
}

fn differs(path: &RelPath, found: Option<Found>) -> Differs {
    Differs { path: path.clone(), found, problem: None }
}

fn problem(path: &RelPath, rejected: Rejected) -> Differs {
    let reason = match rejected {
        Rejected::Unsafe { reason } | Rejected::Failed { reason } => reason,
        Rejected::Full => "the disk is full".into(),
        Rejected::Changed { .. } | Rejected::NotEmpty { .. } | Rejected::Torn | Rejected::TrashFull { .. } => {
            "it cannot be read".into()
        }
    };
    Differs { path: path.clone(), found: None, problem: Some(reason) }
}
