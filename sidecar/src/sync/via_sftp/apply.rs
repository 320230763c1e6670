//! One transfer: each operation is done completely or not at all, and one that fails stops no other.
//!
//! Preconditions are looked at right before, and what was displaced is looked at right after. Between the two a server
//! can be told nothing, so that a change of somebody else within that round trip is kept and reported, but may lose
//! its name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use agent::files::mode;
use protocol::path::RelPath;
use protocol::sync::{Action, Content, Expect, Found, Op, Outcome, Rejected};

use super::super::scan::Seal;
use super::super::source::Source;
use super::super::target::{Batch, Done};
use super::Root;
use super::error::{is_full, rejected};
use super::folders::{Folders, Stop};
use super::look::{self, Match};
use super::place::{self, Replaced};
use super::put;
use super::seen::{Kind, Seen};
use super::trash::Shelf;
use super::wire::{Fault, Wire};

/// What is free when a server's failure is taken for a full disk: less than a file system keeps for itself.
const FULL: u64 = 64 * 1024;
/// Most entries of a folder that are counted to say how many keep it.
const MOST_COUNTED: usize = 100_000;

/// Why an operation ended without an outcome of its own.
#[derive(Debug)]
pub(super) enum Halt {
    /// It was not done; the next one may be.
    Rejected(Rejected),
    /// The server failed; whether that is a full disk has to be asked.
    Fault(Fault),
    /// The file here was not read to its end.
    Unread(super::super::target::Unread),
    /// The conversation ended after this was sent.
    InDoubt(Seal, Fault),
}

impl From<Rejected> for Halt {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A transfer in the making.
pub(super) struct Work<'a> {
    pub(super) root: &'a Root,
    pub(super) wire: &'a Wire,
    pub(super) folders: Folders<'a>,
    pub(super) removed: Shelf<'a>,
    pub(super) replaced: Shelf<'a>,
    pub(super) durable: bool,
    pub(super) bodies: Arc<dyn Source>,
    /// Written and not known to survive a power cut.
    pub(super) unsynced: &'a Mutex<BTreeSet<RelPath>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(root: &'a Root, wire: &'a Wire, batch: &Batch) -> Self {
        Self {
            root,
            wire,
            folders: Folders::new(wire, &root.side),
            removed: Shelf::new(&root.trash.removed, wire),
            replaced: Shelf::new(&root.trash.replaced, wire),
            durable: batch.durable,
            bodies: Arc::clone(&batch.bodies),
            unsynced: &root.unsynced,
        }
    }

    /// Does one operation. An error says that the conversation ended; with what may have been done, if anything.
    pub(super) async fn run(&self, op: Op) -> Result<Done, (Option<Seal>, Fault)> {
        let (done, sent) = match &op.action {
            Action::MakeFolder { mode } => (self.make_folder(&op.path, *mode).await, None),
            Action::Put { mode, mtime_ns, .. } => {
                let put = put::Put { mode: *mode, mtime_ns: *mtime_ns };
                match self.put(&op.path, &op.expect, &put).await {
                    Ok((outcome, seal)) => (Ok(outcome), Some(seal)),
                    Err(halt) => (Err(halt), None),
                }
            }
            Action::Link { target } => (self.link(&op.path, &op.expect, target).await, None),
            Action::SetMode { mode } => (self.set_mode(&op.path, &op.expect, *mode).await, None),
            Action::Remove => (self.remove(&op.path, &op.expect).await, None),
            // The planner was told that these cannot be done here.
            Action::Patch { .. } | Action::Move { .. } | Action::Copy { .. } | Action::Append { .. } => {
                (Err(Rejected::Failed { reason: "SFTP cannot do that".to_owned() }.into()), None)
            }
        };
        let why = match done {
            Ok(outcome) => return Ok(Done::Answered(outcome, sent)),
            Err(Halt::Rejected(rejected)) => rejected,
            Err(Halt::Unread(unread)) => return Ok(Done::Unread(unread)),
            Err(Halt::InDoubt(seal, fault)) => return Err((Some(seal), fault)),
            Err(Halt::Fault(fault @ Fault::Lost { .. })) => return Err((None, fault)),
            Err(Halt::Fault(fault)) => self.why(fault).await.map_err(|fault| (None, fault))?,
        };
        Ok(Done::Answered(Outcome::Rejected(why), sent))
    }

    /// Returns what a failure means. Servers say no more than that something failed, so the disk is asked.
    async fn why(&self, fault: Fault) -> Result<Rejected, Fault> {
        let Fault::Failed(text) = &fault else { return Ok(rejected(&fault)) };
        if is_full(text) {
            return Ok(Rejected::Full);
        }
        match self.wire.space(&self.root.side.root).await {
            Ok(Some(space)) if space.bytes < FULL || space.no_inodes => Ok(Rejected::Full),
            Err(lost @ Fault::Lost { .. }) => Err(lost),
            Ok(_) | Err(_) => Ok(rejected(&fault)),
        }
    }

    pub(super) async fn reach(&self, path: &RelPath) -> Result<String, Halt> {
        match self.folders.reach(path).await {
            Ok(there) => Ok(there),
            Err(stop) => Err(stop.rejected(path)?.into()),
        }
    }

    pub(super) async fn compare(&self, there: &str, expect: &Expect) -> Result<Match, Fault> {
        look::compare(self.wire, &self.root.side.clock, there, expect).await
    }

    pub(super) async fn found(&self, there: &str, seen: &Seen) -> Result<Found, Fault> {
        Ok(look::found(self.wire, &self.root.side.clock, there, seen).await?.0)
    }

    async fn make_folder(&self, path: &RelPath, local: u32) -> Result<Outcome, Halt> {
        let there = self.reach(path).await?;
        if self.wire.make_folder(&there, mode::created_folder(local)).await? {
            return Ok(Outcome::Applied { stamp: None, kept_as: None });
        }
        match self.wire.look(&there).await? {
            Some(seen) if seen.kind == Kind::Folder => Ok(Outcome::Already { stamp: None }),
            Some(seen) => Err(changed(Some(self.found(&there, &seen).await?))),
            None => Err(changed(None)),
        }
    }

    async fn link(&self, path: &RelPath, expect: &Expect, target: &str) -> Result<Outcome, Halt> {
        let there = self.reach(path).await?;
        let wanted = Content::Link { target: target.to_owned() };
        let before = match self.compare(&there, expect).await? {
            Match::Yes(Some(seen), _) if seen.kind == Kind::Folder => return Err(folder_first()),
            Match::Yes(Some(_), _) if *expect == (Expect::Link { target: target.to_owned() }) => {
                return Ok(Outcome::Already { stamp: None });
            }
            Match::No(Some((found, _))) if found.content == wanted => return Ok(Outcome::Already { stamp: None }),
            Match::No(found) => return Err(changed(found.map(|(found, _)| found))),
            Match::Yes(before, _) => before,
        };
        let side = &self.root.side;
        let Some(before) = before else {
            return match side.link(self.wire, &there, target).await {
                Ok(()) => Ok(Outcome::Applied { stamp: None, kept_as: None }),
                Err(fault) => match self.wire.look(&there).await? {
                    Some(seen) => Err(changed(Some(self.found(&there, &seen).await?))),
                    None => Err(fault.into()),
                },
            };
        };
        let temporary = side.temporary();
        if let Err(fault) = side.link(self.wire, &temporary, target).await {
            // An agent that opened the root since took the folder away.
            if fault != Fault::Missing {
                return Err(fault.into());
            }
            side.make_workshop(self.wire).await?;
            side.link(self.wire, &temporary, target).await?;
        }
        match place::replace(self, &temporary, &there, path, &before).await {
            Ok(Replaced::Done { kept_as }) => Ok(Outcome::Applied { stamp: None, kept_as }),
            Ok(Replaced::Changed) => {
                self.discard(&temporary).await;
                Err(self.changed_now(&there).await?)
            }
            Err(fault) => {
                self.discard(&temporary).await;
                Err(fault.into())
            }
        }
    }

    async fn set_mode(&self, path: &RelPath, expect: &Expect, local: u32) -> Result<Outcome, Halt> {
        let there = self.reach(path).await?;
        let now = self.root.side.clock.now();
        let seen = match self.compare(&there, expect).await? {
            Match::Yes(Some(seen), _) => seen,
            Match::Yes(None, _) => return Err(changed(None)),
            Match::No(found) => return Err(changed(found.map(|(found, _)| found))),
        };
        let stamp = (seen.kind == Kind::File).then(|| seen.stamp(now));
        if self.update_mode(&there, &seen, local).await? {
            return Ok(Outcome::Applied { stamp, kept_as: None });
        }
        Ok(Outcome::Already { stamp })
    }

    /// Takes over execute bits and narrowing; returns whether anything had to be done.
    pub(super) async fn update_mode(&self, there: &str, seen: &Seen, local: u32) -> Result<bool, Fault> {
        let bits = match seen.kind {
            Kind::File => mode::updated(seen.mode, local),
            Kind::Folder => mode::updated_folder(seen.mode, local),
            Kind::Link | Kind::Special => return Ok(false),
        };
        if bits == seen.mode & 0o777 {
            return Ok(false);
        }
        self.wire.set_mode(there, bits).await?;
        Ok(true)
    }

    async fn remove(&self, path: &RelPath, expect: &Expect) -> Result<Outcome, Halt> {
        let there = match self.folders.reach(path).await {
            Ok(there) => there,
            Err(Stop::Missing) => return Ok(Outcome::Already { stamp: None }),
            Err(stop) => return Err(stop.rejected(path)?.into()),
        };
        let seen = match self.compare(&there, expect).await? {
            Match::Yes(None, _) | Match::No(None) => return Ok(Outcome::Already { stamp: None }),
            Match::Yes(Some(seen), _) => seen,
            Match::No(found) => return Err(changed(found.map(|(found, _)| found))),
        };
        let applied = Outcome::Applied { stamp: None, kept_as: None };
        if seen.kind == Kind::Folder {
            self.folders.forget();
            let Err(fault) = self.wire.remove_folder(&there).await else { return Ok(applied) };
            if matches!(fault, Fault::Lost { .. }) {
                return Err(fault.into());
            }
            return match self.wire.list(&there, MOST_COUNTED).await {
                Ok(entries) if entries.is_empty() => Err(fault.into()),
                Ok(entries) => Err(Rejected::NotEmpty { kept: entries.len() as u64 }.into()),
                Err(Fault::Nonsense(_)) => Err(Rejected::NotEmpty { kept: MOST_COUNTED as u64 }.into()),
                Err(Fault::Missing) => Ok(applied),
                Err(other) => Err(other.into()),
            };
        }
        let bin = self.removed.bin;
        if !bin.has_room(seen.size) {
            return Err(Rejected::TrashFull { held: bin.held() }.into());
        }
        let place = place::move_away(self.wire, &self.removed, &there, path).await?;
        // `None`: the trash was emptied meanwhile.
        if self.wire.look(&place).await?.is_none_or(|moved| moved.is_still(&seen)) {
            bin.added(seen.size);
            self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
            return Ok(applied);
        }
        // Somebody wrote it between the look and the move: it goes back, or beside what took its place.
        place::put_back(self, &place, &there, path).await?;
        Err(self.changed_now(&there).await?)
    }

    /// Returns the rejection that tells what is there now.
    pub(super) async fn changed_now(&self, there: &str) -> Result<Halt, Halt> {
        Ok(changed(match self.wire.look(there).await? {
            Some(seen) => Some(self.found(there, &seen).await?),
            None => None,
        }))
    }

    /// Removes what was in the making.
    pub(super) async fn discard(&self, temporary: &str) {
        if let Err(fault) = self.wire.remove(temporary).await {
            tracing::debug!(%fault, "a temporary file is left to the next opening");
        }
    }
}

pub(super) fn changed(found: Option<Found>) -> Halt {
    Rejected::Changed { found }.into()
}

pub(super) fn folder_first() -> Halt {
    Rejected::Failed { reason: "a folder has to be removed first".to_owned() }.into()
}

/// Cuts the operations of a barrier into runs within which nothing lies above or below another: those of one run may
/// be done at the same time, and their order among each other does not matter.
pub(super) fn runs(ops: &[Op]) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut open: BTreeSet<&RelPath> = BTreeSet::new();
    let mut begin = 0;
    for (index, op) in ops.iter().enumerate() {
        let above = std::iter::successors(Some(op.path.clone()), RelPath::parent).any(|path| open.contains(&path));
        // Between a folder and what is below it stand only names that begin as the folder's does.
        let below = open
            .range::<RelPath, _>(&op.path..)
            .take_while(|other| other.as_str().starts_with(op.path.as_str()))
            .any(|other| other.starts_with(&op.path));
        if above || below {
            runs.push(begin..index);
            begin = index;
            open.clear();
        }
        open.insert(&op.path);
    }
    runs.push(begin..ops.len());
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_above_or_below_waits() {
        let runs = |paths: &[&str]| {
            let op = |path: &&str| Op {
                path: RelPath::new(*path).expect("a plain path"),
                expect: Expect::Absent,
                action: Action::Remove,
            };
            super::runs(&paths.iter().map(op).collect::<Vec<_>>())
        };
        assert_eq!(runs(&["a", "b", "c/d", "c.d"]).as_slice(), std::slice::from_ref(&(0..4)));
        assert_eq!(runs(&["a", "b", "a/x", "b/x", "a/x/y"]), [0..2, 2..4, 4..5]);
        assert_eq!(runs(&["a/x", "a/y", "a", "a"]), [0..2, 2..3, 3..4]);
        assert_eq!(runs(&["a/b/c", "a!", "a"]), [0..2, 2..3]);
        assert_eq!(runs(&[]), [] as [std::ops::Range<usize>; 0]);
    }
}
