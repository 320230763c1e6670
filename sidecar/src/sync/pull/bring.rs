//! One pull from its first question to its last file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use protocol::editor::{SyncAction, SyncChange, SyncProblem};
use protocol::error::{Error, Result};
use protocol::path::RelPath;
use protocol::sync::Content;

use super::fetch::{Failed, file};
use super::home::Home;
use super::plan::{Action, Plan, Step};
use super::selection::Scope;
use super::{Ask, Brought, LISTED, PullError, Sides};
use crate::frontend::Progress;
use crate::store::{Base, BaseChange};
use crate::sync::guard;
use crate::sync::look::blocking;
use crate::sync::target::SyncError;

/// Files that travel at a time: enough that small ones do not wait for the way there and back.
const READS: usize = 8;
/// How long another pull is waited for; one that takes longer brings gigabytes, and a person wants to know.
const BUSY: Duration = Duration::from_secs(30);
/// Pause before it is looked again whether the other pull has ended: nobody tells.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that stay free on this machine's disk.
const SPARE: u64 = 16 * 1024 * 1024;

/// Brings home what is asked for; nothing here is lost by it, whenever it ends.
pub async fn bring(sides: Sides, ask: Ask) -> Result<Brought> {
    let mut brought = Brought::default();
    bring_more(sides, ask, &mut brought).await?;
    Ok(brought)
}

/// Brings home what is asked for and adds it to what came before the connection was lost. Whether it ends well or not,
/// everything that came is counted, once.
pub async fn bring_more(sides: Sides, ask: Ask, brought: &mut Brought) -> Result<()> {
    let cancel = ask.cancel.clone();
    // What is wrong now is found again.
    (brought.problems, brought.conflicts, brought.brake) = (Vec::new(), Vec::new(), None);
    let done = cancel.run_until_cancelled(Pull::run(sides, ask, brought)).await;
    done.unwrap_or_else(|| Err(PullError::Cancelled.into()))
}

/// A pull under way.
pub(super) struct Pull<'a> {
    pub(super) sides: Sides,
    pub(super) ask: Ask,
    pub(super) home: Arc<Home>,
    pub(super) brought: &'a mut Brought,
}

impl<'a> Pull<'a> {
    async fn run(sides: Sides, ask: Ask, brought: &'a mut Brought) -> Result<()> {
        let home = home(&sides, &ask).await?;
        let mut pull = Self { sides, ask, home: Arc::new(home), brought };
        pull.say("Comparing", None);
        let (plan, known, emptied) = pull.decide().await?;
        // Whoever holds all of the base makes the next arrival copy it.
        pull.sides.base = Arc::default();
        let brake = guard::pulled(&plan.removed(), known, emptied, pull.ask.approved.as_deref());
        if pull.ask.dry_run || brake.is_some() {
            pull.list(plan);
            pull.brought.brake = brake;
        } else {
            let carried_out = pull.carry_out(plan).await;
            pull.brought.kept = pull.home.kept().or(pull.brought.kept.take());
            carried_out?;
        }
        let Self { home, .. } = pull;
        // It clears its staging folder.
        blocking(move || drop(home)).await.map_err(io_error)
    }

    fn say(&self, title: &str, total: Option<(u64, u64)>) {
        self.ask.progress.send_replace(Progress {
            title: title.to_owned(),
            total_bytes: total.map(|(bytes, _)| bytes),
            total_files: total.map(|(_, files)| files),
            ..Progress::default()
        });
    }

    pub(super) fn problem(&mut self, path: &RelPath, reason: impl Into<String>) {
        self.brought.problems.push(SyncProblem { path: path.to_string(), reason: reason.into() });
    }

    /// Notes what would be done.
    fn list(&mut self, plan: Plan) {
        for step in plan.steps() {
            // The removal of something that is replaced in the same plan is only half of the way.
            if plan.blocking.contains(step) {
                continue;
            }
            let (action, bytes) = described(step);
            self.brought.files += u64::from(matches!(step.action, Action::File { .. }));
            self.brought.bytes = self.brought.bytes.saturating_add(bytes);
            self.brought.removed += u64::from(action == SyncAction::Remove);
            self.change(SyncChange { path: step.path.to_string(), action, bytes });
        }
        self.note(plan);
    }

    fn note(&mut self, plan: Plan) {
        for (path, reason) in &plan.problems {
            self.problem(path, reason.clone());
        }
        for conflict in plan.conflicts {
            self.change(SyncChange { path: conflict.path.to_string(), action: SyncAction::Conflict, bytes: 0 });
            self.brought.conflicts.push(conflict);
        }
    }

    async fn carry_out(&mut self, mut plan: Plan) -> Result<()> {
        let (bytes, files) = (plan.bytes(), plan.files.len() as u64);
        let free = self.home.free_bytes().map_err(|source| self.cannot_write(source))?;
        if bytes > free.saturating_sub(SPARE) {
            return Err(PullError::Space { bytes, free }.into());
        }
        let adopt = std::mem::take(&mut plan.adopt);
        self.tell(adopt).await?;
        self.say("Downloading", Some((bytes, files)));
        for step in std::mem::take(&mut plan.blocking) {
            self.here(step, true).await?;
        }
        for step in std::mem::take(&mut plan.folders) {
            self.here(step, false).await?;
        }
        self.files(std::mem::take(&mut plan.files)).await?;
        for step in std::mem::take(&mut plan.links).into_iter().chain(std::mem::take(&mut plan.removals)) {
            self.here(step, false).await?;
        }
        self.note(plan);
        Ok(())
    }

    /// Does what needs no bytes of the remote.
    async fn here(&mut self, step: Step, is_half: bool) -> Result<()> {
        let home = Arc::clone(&self.home);
        let todo = step.clone();
        let done = blocking(move || match &todo.action {
            Action::Folder => home.make_folder(&todo.path).map(|mode| Some((Content::Folder, mode))),
            Action::Link { target } => home
                .link(&todo.path, target, todo.expected.as_ref())
                .map(|()| Some((Content::Link { target: target.clone() }, 0o777))),
            Action::Remove => match &todo.expected {
                Some(expected) if !home.remove(&todo.path, expected)? => {
                    Err(io::Error::other("it holds something that is not synced"))
                }
                Some(_) | None => Ok(None),
            },
            Action::File { .. } => Err(io::Error::other("a file needs its bytes")),
        });
        match done.await.map_err(io_error)? {
            Ok(now) => {
                let base = now.map(|(content, mode)| Base { content, mode, local: None, remote: None });
                if !is_half {
                    self.count(&step, 0);
                }
                self.tell(vec![(step.path, step.synced, base)]).await
            }
            Err(error) => self.refused(&step.path, error),
        }
    }

    async fn files(&mut self, steps: Vec<Step>) -> Result<()> {
        let (home, target, progress) =
            (Arc::clone(&self.home), Arc::clone(&self.sides.target), self.ask.progress.clone());
        let free = self.home.free_bytes().map_err(|source| self.cannot_write(source))?.saturating_sub(SPARE);
        let lost = AtomicBool::new(false);
        let mut failure = None;
        let mut done = stream::iter(steps)
            .take_while(|_| std::future::ready(!lost.load(Ordering::Relaxed)))
            .map(|step| {
                let (home, target, progress) = (Arc::clone(&home), Arc::clone(&target), progress.clone());
                async move {
                    let came = file(&step, &home, &*target, &progress, free).await;
                    (step, came)
                }
            })
            .buffer_unordered(READS);
        while let Some((step, came)) = done.next().await {
            match came {
                Ok(base) => {
                    let size = match base.content {
                        Content::File { size, .. } => size,
                        Content::Folder | Content::Link { .. } | Content::Special => 0,
                    };
                    self.count(&step, size);
                    self.ask.progress.send_modify(|progress| progress.files += 1);
                    self.tell(vec![(step.path, step.synced, Some(base))]).await?;
                }
                Err(Failed::Here(error)) => self.refused(&step.path, error)?,
                Err(Failed::There(SyncError::Refused(error))) => {
                    self.problem(
                        &step.path,
                        [error.message].into_iter().chain(error.causes).collect::<Vec<_>>().join(": "),
                    );
                }
                Err(Failed::There(SyncError::Protocol(reason))) => {
                    self.problem(&step.path, format!("it keeps changing on the remote: {reason}"));
                }
                // No more are begun; those that are may have come home and are counted.
                Err(Failed::There(error)) => {
                    lost.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    fn count(&mut self, step: &Step, bytes: u64) {
        let (action, _) = described(step);
        self.brought.files += u64::from(matches!(step.action, Action::File { .. }));
        self.brought.bytes += bytes;
        self.brought.removed += u64::from(action == SyncAction::Remove);
        self.change(SyncChange { path: step.path.to_string(), action, bytes });
    }

    fn change(&mut self, change: SyncChange) {
        if self.brought.changes.len() < LISTED {
            self.brought.changes.push(change);
        }
    }

    /// Notes what this machine refuses; a full disk ends the pull.
    fn refused(&mut self, path: &RelPath, error: io::Error) -> Result<()> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem => {
                Err(self.cannot_write(error))
            }
            io::ErrorKind::Interrupted => Err(PullError::Cancelled.into()),
            io::ErrorKind::AlreadyExists => {
                self.problem(path, "something came to stand here meanwhile; pull again");
                Ok(())
            }
            _ => {
                self.problem(path, error.to_string());
                Ok(())
            }
        }
    }

    fn cannot_write(&self, source: io::Error) -> Error {
        PullError::Home { workspace: self.sides.pair.workspace.clone(), source }.into()
    }

    /// Remembers what is equal on both sides by now.
    async fn tell(&self, changes: Vec<(RelPath, bool, Option<Base>)>) -> Result<()> {
        let mut base: Vec<BaseChange> = Vec::new();
        let mut pulled: Vec<BaseChange> = Vec::new();
        for (path, synced, now) in changes {
            if synced { base.push((path, now)) } else { pulled.push((path, now)) }
        }
        if !pulled.is_empty() {
            self.sides.store.commit_pulled(self.sides.pair.id, pulled).await?;
        }
        if !base.is_empty() {
            // Without a listener the sync has ended; the next look finds both sides equal.
            self.ask.told.send(base).await.ok();
        }
        Ok(())
    }
}

/// Opens the workspace, after the pull that writes there now.
async fn home(sides: &Sides, ask: &Ask) -> Result<Home> {
    let busy = Instant::now() + BUSY;
    loop {
        let (workspace, keep, cancel) = (sides.pair.workspace.clone(), sides.keep.clone(), ask.cancel.clone());
        let unasked = ask.selection.scope() == Scope::Automatic;
        let opened = blocking(move || Home::open(&workspace, &keep, unasked, cancel)).await.and_then(|opened| opened);
        let failed = |source| PullError::Home { workspace: sides.pair.workspace.clone(), source };
        if let Some(home) = opened.map_err(failed)? {
            return Ok(home);
        }
        // What is brought home unasked tries again by itself.
        if ask.selection.scope() == Scope::Automatic || Instant::now() > busy {
            return Err(PullError::Busy { workspace: sides.pair.workspace.clone() }.into());
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

fn described(step: &Step) -> (SyncAction, u64) {
    let bytes = match step.action {
        Action::File { size, .. } => size,
        Action::Folder | Action::Link { .. } | Action::Remove => 0,
    };
    let action = match (&step.action, &step.expected) {
        (Action::Remove, _) => SyncAction::Remove,
        (_, Some(_)) => SyncAction::Update,
        (_, None) => SyncAction::Create,
    };
    (action, bytes)
}

/// A part of ours that died.
#[allow(clippy::needless_pass_by_value, reason = "`map_err` gives it by value")]
pub(super) fn io_error(error: io::Error) -> Error {
    SyncError::Protocol(error.to_string()).into()
}
