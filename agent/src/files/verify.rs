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

/// Returns the entries at which something else was found, in their order.
pub(super) fn differences(top: &Top, clock: Clock, mirror: &Mirror, entries: &[Known]) -> Vec<Differs> {
    if entries.len() <= MANY {
        return some(top, clock, mirror, entries);
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| some(top, clock, mirror, second));
        let mut differences = some(top, clock, mirror, first);
        match other.join() {
            Ok(more) => differences.extend(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        differences
    })
}

fn some(top: &Top, clock: Clock, mirror: &Mirror, entries: &[Known]) -> Vec<Differs> {
    let mut folders = Folders::to_look(top);
    let mut confirmed = Vec::new();
    let differences = entries.iter().filter_map(|entry| one(&mut folders, clock, entry, &mut confirmed)).collect();
    if mirror.is_asked() {
        mirror.note(&confirmed);
    }
    differences
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
