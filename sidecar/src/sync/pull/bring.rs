//! One pull from its first question to its last file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, StreamExt as _};
use protocol::editor::{SyncAction, SyncChange, SyncProblem};
use protocol::error::{Error, Result};
use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Expect, Found, Known};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::sync::watch as published;

use super::home::Home;
use super::plan::{self, Action, Candidate, Plan, Step, There};
use super::selection::Scope;
use super::{Ask, Brought, LISTED, PullError, Sides, walk};
use crate::frontend::Progress;
use crate::store::{Base, BaseChange};
use crate::sync::guard;
use crate::sync::ignored::{Rules, Verdict};
use crate::sync::look::{blocking, expected, verify};
use crate::sync::runner;
use crate::sync::target::SyncError;

/// Files that travel at a time: enough that small ones do not wait for the way there and back.
const READS: usize = 8;
/// How often a file is read that changes while it is read.
const ATTEMPTS: u32 = 3;
/// Bytes that are gathered before they are written.
const BUFFER: usize = 1024 * 1024;
/// Bytes that stay free on this machine's disk.
const SPARE: u64 = 16 * 1024 * 1024;

/// Brings home what is asked for; nothing here is lost by it, whenever it ends.
pub async fn bring(sides: Sides, ask: Ask) -> Result<Brought> {
    let cancel = ask.cancel.clone();
    let done = cancel.run_until_cancelled(Pull::run(sides, ask)).await;
    done.unwrap_or_else(|| Err(PullError::Cancelled.into()))
}

/// A pull under way.
struct Pull {
    sides: Sides,
    ask: Ask,
    home: Arc<Home>,
    brought: Brought,
}

impl Pull {
    async fn run(sides: Sides, ask: Ask) -> Result<Brought> {
        let (workspace, keep, cancel) = (sides.pair.workspace.clone(), sides.keep.clone(), ask.cancel.clone());
        let opened = blocking(move || Home::open(&workspace, &keep, cancel)).await.and_then(|opened| opened);
        let failed = |source| PullError::Home { workspace: sides.pair.workspace.clone(), source };
        let Some(home) = opened.map_err(failed)? else {
            return Err(PullError::Busy { workspace: sides.pair.workspace }.into());
        };
        let mut pull = Self { sides, ask, home: Arc::new(home), brought: Brought::default() };
        pull.say("Comparing", None);
        let (plan, known, emptied) = pull.decide().await?;
        // Whoever holds all of the base makes the next arrival copy it.
        pull.sides.base = Arc::default();
        let brake = guard::pulled(&plan.removed(), known, emptied, pull.ask.approved.as_deref());
        if pull.ask.dry_run || brake.is_some() {
            pull.list(plan);
            pull.brought.brake = brake;
        } else {
            pull.carry_out(plan).await?;
            pull.brought.kept = pull.home.kept();
        }
        let Self { home, brought, .. } = pull;
        // It clears its staging folder.
        blocking(move || drop(home)).await.map_err(io_error)?;
        Ok(brought)
    }

    fn say(&self, title: &str, total: Option<(u64, u64)>) {
        self.ask.progress.send_replace(Progress {
            title: title.to_owned(),
            total_bytes: total.map(|(bytes, _)| bytes),
            total_files: total.map(|(_, files)| files),
            ..Progress::default()
        });
    }

    fn problem(&mut self, path: &RelPath, reason: impl Into<String>) {
        self.brought.problems.push(SyncProblem { path: path.to_string(), reason: reason.into() });
    }

    /// Looks at both sides and decides. Returns the plan, how many paths are known, and whether the remote has lost
    /// all of them.
    async fn decide(&mut self) -> Result<(Plan, usize, bool)> {
        let rules = runner::rules(&self.sides.pair).await?;
        let selection = Arc::new(self.ask.selection.clone());
        let scope = selection.scope();
        let mut pulled: BTreeMap<RelPath, Base> = BTreeMap::new();
        if scope != Scope::Synced {
            pulled = self.sides.store.pulled(self.sides.pair.id).await?.into_iter().collect();
        }
        // A path that is synced by now is no business of the other list any more.
        pulled.retain(|path, _| !self.sides.base.contains_key(path));
        let wanted = {
            let (base, pulled, rules, selection) =
                (Arc::clone(&self.sides.base), pulled.clone(), Arc::clone(&rules), Arc::clone(&selection));
            blocking(move || wanted(&base, &pulled, &rules, &selection)).await.map_err(io_error)?
        };
        let questions = wanted.iter().map(|(path, (base, _))| Known { path: path.clone(), expect: expected(base) });
        let target = Arc::clone(&self.sides.target);
        let (differs, listed) =
            tokio::join!(verify(&*target, questions.collect()), walk::walk(&*target, &selection, &rules));
        let (differs, listed) = (differs?, listed?);
        self.brought.problems.extend(listed.problems);

        let mut there: BTreeMap<RelPath, There> = BTreeMap::new();
        let mut untold = BTreeSet::new();
        for Differs { path, found, problem } in differs {
            if let Some(problem) = problem {
                self.problem(&path, problem);
                untold.insert(path);
            } else {
                there.insert(path, found.map_or(There::Nothing, There::Found));
            }
        }
        let gone = |path: &RelPath| there.get(path) == Some(&There::Nothing);
        let emptied = !wanted.is_empty() && wanted.keys().all(gone);
        let mut synced: BTreeMap<RelPath, bool> = BTreeMap::new();
        for (path, (_, is_synced)) in &wanted {
            synced.insert(path.clone(), *is_synced);
        }
        for (path, (entry, is_synced)) in listed.entries {
            if !wanted.contains_key(&path) && !untold.contains(&path) {
                synced.insert(path.clone(), is_synced);
                there.insert(path, There::Listed { kind: entry.kind, mode: entry.mode });
            }
        }
        for path in selection.exact() {
            if !wanted.keys().chain(there.keys()).any(|known| known.starts_with(path)) {
                return Err(PullError::Missing { path: path.clone() }.into());
            }
        }
        let candidates = self.candidates(&wanted, there, &synced).await?;
        let plan = plan::plan(candidates, scope == Scope::Synced);
        Ok((plan, wanted.len(), emptied))
    }

    /// Adds to what the remote holds what is here.
    async fn candidates(
        &mut self,
        wanted: &BTreeMap<RelPath, (Base, bool)>,
        mut there: BTreeMap<RelPath, There>,
        synced: &BTreeMap<RelPath, bool>,
    ) -> Result<Vec<Candidate>> {
        // What was brought home once and is gone here comes again when it is named; the remote has it unchanged.
        let named: BTreeSet<RelPath> = self.ask.selection.exact().cloned().collect();
        for (path, (base, is_synced)) in wanted {
            if (!is_synced || named.contains(path)) && !there.contains_key(path) {
                let found = Found { content: base.content.clone(), stamp: base.remote };
                there.insert(path.clone(), There::Found(found));
            }
        }
        let asked: Vec<(RelPath, Option<Base>)> =
            there.keys().map(|path| (path.clone(), wanted.get(path).map(|(base, _)| base.clone()))).collect();
        let home = Arc::clone(&self.home);
        let unchanged: BTreeSet<RelPath> = there
            .iter()
            .filter(|(path, there)| match (wanted.get(*path), there) {
                (Some((base, _)), There::Found(found)) => base.content == found.content,
                (Some(_) | None, _) => false,
            })
            .map(|(path, _)| path.clone())
            .collect();
        let looked = blocking(move || {
            let look = |(path, base): (RelPath, Option<Base>)| {
                let known = base.as_ref().and_then(|base| match (&base.local, &base.content) {
                    (Some(stamp), Content::File { hash, .. }) => Some((stamp, *hash)),
                    (Some(_) | None, _) => None,
                });
                // Of what the remote did not change it only matters whether it is here at all.
                let local = if unchanged.contains(&path) {
                    home.is_there(&path).map(|is_there| if is_there { Here::Untouched } else { Here::Is(None) })
                } else {
                    home.at(&path, known).map(Here::Is)
                };
                (path, base, local)
            };
            asked.into_iter().map(look).collect::<Vec<_>>()
        });
        let mut candidates = Vec::new();
        let mut unhashed = Vec::new();
        for (path, base, local) in looked.await.map_err(io_error)? {
            let local = match local {
                Ok(Here::Is(local)) => local,
                Ok(Here::Untouched) => continue,
                Err(error) => {
                    self.problem(&path, error.to_string());
                    continue;
                }
            };
            let Some(there) = there.remove(&path) else { continue };
            if local.is_some() && matches!(there, There::Listed { .. }) {
                unhashed.push(Known { path: path.clone(), expect: Expect::Absent });
            }
            let synced = synced.get(&path).copied().unwrap_or_default();
            let restore = !synced || named.contains(&path);
            candidates.push(Candidate { path, synced, restore, base, local, there });
        }
        // Both sides have it, and neither knows of the other: only the bytes tell.
        let answers = verify(&*self.sides.target, unhashed).await?;
        let mut found: BTreeMap<RelPath, There> = BTreeMap::new();
        for Differs { path, found: now, problem } in answers {
            match problem {
                Some(problem) => self.problem(&path, problem),
                None => drop(found.insert(path, now.map_or(There::Nothing, There::Found))),
            }
        }
        candidates.retain_mut(|candidate| {
            if candidate.local.is_none() || !matches!(candidate.there, There::Listed { .. }) {
                return true;
            }
            match found.remove(&candidate.path) {
                Some(there) => {
                    candidate.there = there;
                    true
                }
                // It cannot be told, which was said, or it is gone again.
                None => false,
            }
        });
        Ok(candidates)
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
            if self.brought.changes.len() < LISTED {
                self.brought.changes.push(SyncChange { path: step.path.to_string(), action, bytes });
            }
        }
        self.note(plan);
    }

    fn note(&mut self, plan: Plan) {
        for (path, reason) in &plan.problems {
            self.problem(path, reason.clone());
        }
        for conflict in plan.conflicts {
            if self.brought.changes.len() < LISTED {
                let path = conflict.path.to_string();
                self.brought.changes.push(SyncChange { path, action: SyncAction::Conflict, bytes: 0 });
            }
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
        let mut done = stream::iter(steps)
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
                Err(Failed::There(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn count(&mut self, step: &Step, bytes: u64) {
        let (action, _) = described(step);
        self.brought.files += u64::from(matches!(step.action, Action::File { .. }));
        self.brought.bytes += bytes;
        self.brought.removed += u64::from(action == SyncAction::Remove);
        if self.brought.changes.len() < LISTED {
            self.brought.changes.push(SyncChange { path: step.path.to_string(), action, bytes });
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

/// What a look at this side gives.
enum Here {
    /// What is here.
    Is(Option<crate::sync::plan::Local>),
    /// Something, of a path that the remote did not change.
    Untouched,
}

/// Why a file did not come home.
enum Failed {
    /// Something on this machine.
    Here(io::Error),
    /// Something on the remote.
    There(SyncError),
}

/// Returns the known paths that are asked for, with their base and whether they are synced.
fn wanted(
    base: &BTreeMap<RelPath, Base>,
    pulled: &BTreeMap<RelPath, Base>,
    rules: &Rules,
    selection: &super::Selection,
) -> BTreeMap<RelPath, (Base, bool)> {
    let known = base.iter().map(|known| (known, true)).chain(pulled.iter().map(|known| (known, false)));
    known
        .filter_map(|((path, base), synced)| {
            let is_folder = base.content == Content::Folder;
            let verdict = rules.verdict(path, is_folder);
            let is_ours = !synced || verdict != Verdict::Ignored;
            (is_ours && selection.takes(path, is_folder, verdict)).then(|| (path.clone(), (base.clone(), synced)))
        })
        .collect()
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

/// Brings one file home and returns what both sides hold now.
async fn file(
    step: &Step,
    home: &Arc<Home>,
    target: &dyn crate::sync::target::SyncTarget,
    progress: &published::Sender<Progress>,
    free: u64,
) -> Result<Base, Failed> {
    let (mut most, mode) = match step.action {
        Action::File { size, mode } => (size, mode.unwrap_or(0o666)),
        Action::Folder | Action::Link { .. } | Action::Remove => {
            return Err(Failed::Here(io::ErrorKind::Unsupported.into()));
        }
    };
    let mut attempt = 1;
    let (staged, found) = loop {
        let (place, at) = (Arc::clone(home), step.path.clone());
        let staged = blocking(move || place.stage(&at, mode)).await.and_then(|staged| staged).map_err(Failed::Here)?;
        let file = staged.file().map_err(Failed::Here)?;
        let mut writer =
            Counting { inner: BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file)), bytes: 0, progress };
        let read = target.read(&step.path, most, &mut writer).await;
        let written = writer.bytes;
        let flushed = writer.flush().await;
        let why = match read {
            Ok(found) => match found.content {
                // It grew since it was listed.
                Content::File { size, .. } if size > most => {
                    if size > free {
                        return Err(Failed::Here(io::ErrorKind::StorageFull.into()));
                    }
                    most = size;
                    SyncError::Protocol(format!("it has {size} bytes by now"))
                }
                Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special => {
                    flushed.map_err(Failed::Here)?;
                    break (staged, found);
                }
            },
            Err(SyncError::Store { source, .. }) => return Err(Failed::Here(source)),
            Err(error @ (SyncError::Protocol(_) | SyncError::Refused(_))) => error,
            Err(error) => return Err(Failed::There(error)),
        };
        progress.send_modify(|progress| progress.bytes = progress.bytes.saturating_sub(written));
        if attempt == ATTEMPTS {
            return Err(Failed::There(why));
        }
        attempt += 1;
    };
    let (place, at, expected) = (Arc::clone(home), step.path.clone(), step.expected.clone());
    let placed = blocking(move || place.place(staged, &at, expected.as_ref())).await.and_then(|placed| placed);
    let mode = placed.map_err(Failed::Here)?;
    Ok(Base { content: found.content, mode, local: None, remote: found.stamp })
}

/// Tells how many bytes were written.
struct Counting<'a> {
    inner: BufWriter<tokio::fs::File>,
    bytes: u64,
    progress: &'a published::Sender<Progress>,
}

impl AsyncWrite for Counting<'_> {
    fn poll_write(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(std::pin::Pin::new(&mut self.inner).poll_write(cx, buffer))?;
        self.bytes += written as u64;
        self.progress.send_modify(|progress| progress.bytes += written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn io_error(error: io::Error) -> Error {
    SyncError::Protocol(error.to_string()).into()
}
