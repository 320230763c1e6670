//! Ends conflicts as a person decided, and what changed on the remote alone when it is named. Whatever loses is kept: on the remote in its trash, here in a folder
//! beside the state database.
//!
//! `local` makes the remote's version the base, so that ours is pushed over it like any save. `remote` puts
//! the remote's version here. `both` does the first and puts the remote's version beside ours as
//! `NAME.mltoolbox-conflict-SECONDS`, which is synced like every file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::editor::{SyncResolveOutput, Take};
use protocol::error::{Code, Error, Example, Explain, Result, word};
use protocol::path::RelPath;
use protocol::sync::{Content, Found};
use tokio::sync::oneshot;

use super::actor::{Actor, report_seconds};
use super::git;
use super::look::blocking;
use super::plan::{Conflict, Held, equal};
use super::source::{Replacement, Source};
use super::target::SyncTarget;
use super::{AskError, Which};
use crate::store::Base;

/// A conflict that is decided.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) path: RelPath,
    /// What both sides are now measured against.
    pub(super) base: Option<Base>,
    /// A copy of a version that lost, if one was made here.
    pub(super) kept_as: Option<String>,
    /// Another path that has to be looked at.
    pub(super) beside: Option<RelPath>,
}

/// Why a conflict cannot be ended like that.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The kinds do not allow it.
    #[error("the remote's version of `{path}` cannot be taken: it is {what}")]
    Kind { path: RelPath, what: String },
    /// The remote changed again.
    #[error("`{path}` changed again on the remote")]
    Again { path: RelPath },
    /// A repository is no file.
    #[error("the remote's repository cannot be taken as a whole")]
    Repository {
        /// The line that brings its branches here.
        command: String,
    },
    /// A version cannot be written here.
    #[error("cannot write `{path}` here")]
    Write { path: RelPath, source: std::io::Error },
}

impl Explain for ResolveError {
    fn code(&self) -> Code {
        match self {
            Self::Kind { .. } | Self::Again { .. } | Self::Repository { .. } => Code::SyncConflict,
            Self::Write { .. } => Code::FileFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Kind { path, .. } => {
                format!("Rename one of the two, or run `mltoolbox-sidecar sync resolve {} --take local`.", word(path))
            }
            Self::Again { path } => format!(
                "Look at it with `mltoolbox-sidecar sync conflicts`, then decide again with `mltoolbox-sidecar sync resolve {} --take remote`.",
                word(path)
            ),
            Self::Repository { command } => format!(
                "Fetch its branches with `{command}` and merge what you want of them; then let yours go there with `mltoolbox-sidecar sync resolve .git --take local`, which keeps theirs in the remote's trash."
            ),
            Self::Write { path, .. } => {
                format!(
                    "Run `ls -l {0}` to see whether you may write there; if it was only saved meanwhile, decide again with `mltoolbox-sidecar sync resolve {0} --take remote`.",
                    word(path)
                )
            }
        }
    }
}

impl Actor {
    pub(super) fn resolve(&mut self, which: &Which, take: Take, answer: oneshot::Sender<Result<SyncResolveOutput>>) {
        let chosen = match self.chosen(which) {
            Ok(chosen) => chosen,
            Err(error) => return super::actor::reply(answer, Err(error.into())),
        };
        let (of_unit, chosen): (Vec<Conflict>, Vec<Conflict>) =
            chosen.into_iter().partition(|conflict| git::is_of_unit(&conflict.path));
        let mut unit = Vec::new();
        let mut refused = None;
        if !of_unit.is_empty() {
            match take {
                Take::Local => unit = self.unit_as_ours(),
                Take::Remote | Take::Both => refused = Some(self.unit_at()),
            }
        }
        let (keep, source, target) = self.resolving(chosen.len());
        let store = self.store().clone();
        self.spawn_resolve(
            async move {
                let mut resolved = unit;
                for conflict in chosen {
                    match one(&conflict, take, &keep, &source, &*target).await {
                        Ok(one) => resolved.push(one),
                        Err(error) => return (resolved, Some(error)),
                    }
                }
                match refused {
                    Some(at) => (resolved, Some(at.error(&store).await)),
                    None => (resolved, None),
                }
            },
            answer,
        );
    }

    fn chosen(&self, which: &Which) -> Result<Vec<Conflict>, AskError> {
        let conflicts = self.conflicts();
        let mut chosen: Vec<Conflict> = match which {
            Which::All => conflicts.values().cloned().collect(),
            Which::Matching(patterns) => {
                let mut builder = ignore::gitignore::GitignoreBuilder::new("");
                for pattern in patterns {
                    builder
                        .add_line(None, pattern)
                        .map_err(|source| AskError::Pattern { pattern: pattern.clone(), source })?;
                }
                let rules =
                    builder.build().map_err(|source| AskError::Pattern { pattern: patterns.join(" "), source })?;
                let named = |path: &RelPath| patterns.iter().any(|pattern| pattern == path.as_str());
                let matches =
                    |path: &RelPath| named(path) || rules.matched_path_or_any_parents(path.as_str(), false).is_ignore();
                let drifted = self.drifted().filter(|drifted| matches(&drifted.path));
                conflicts.values().filter(|conflict| matches(&conflict.path)).cloned().chain(drifted).collect()
            }
        };
        chosen.sort_by(|one, other| one.path.cmp(&other.path));
        match which {
            Which::Matching(patterns) if chosen.is_empty() => Err(AskError::NoConflict { patterns: patterns.clone() }),
            Which::Matching(_) | Which::All => Ok(chosen),
        }
    }
}

async fn one(
    conflict: &Conflict,
    take: Take,
    keep: &Path,
    source: &Arc<dyn Source>,
    target: &dyn SyncTarget,
) -> Result<Resolved> {
    let path = &conflict.path;
    let kind = |what: &str| Error::from(ResolveError::Kind { path: path.clone(), what: what.to_owned() });
    let Some(found) = &conflict.remote else {
        // Without a base, what is here is new and will be written there again.
        let resolved = Resolved { path: path.clone(), base: None, kept_as: None, beside: None };
        return if take == Take::Local { Ok(resolved) } else { Err(kind("gone")) };
    };
    if found.content == Content::Special {
        return Err(kind("a socket, pipe or device"));
    }
    let mode = conflict.local.as_ref().map_or(0o644, |local| local.mode);
    let base = Base { content: found.content.clone(), mode, local: None, remote: found.stamp };
    let mut resolved = Resolved { path: path.clone(), base: Some(base), kept_as: None, beside: None };
    let to_take = match (take, &conflict.local) {
        (Take::Local, _) => return Ok(resolved),
        (Take::Both, Some(_)) => {
            let name = format!("{path}.mltoolbox-conflict-{}", report_seconds());
            let beside = RelPath::new(name).map_err(|_| kind("too long a name for a copy beside it"))?;
            resolved.kept_as = Some(beside.to_string());
            resolved.beside = Some(beside.clone());
            beside
        }
        (Take::Remote, _) | (Take::Both, None) => path.clone(),
    };
    let expected = if to_take == *path { conflict.local.clone() } else { None };
    if expected.as_ref().is_some_and(|local| local.held == Held::Folder) {
        return Err(kind("not a folder, and a folder stands here"));
    }
    let keep = keep.join(report_seconds().to_string());
    if to_take == *path && expected.is_some() {
        resolved.kept_as = Some(keep.join(path.as_str()).to_string_lossy().into_owned());
    }
    let taken = fetch(path, found, &keep, target).await?;
    let (source, at, kept) = (Arc::clone(source), to_take, keep.join(path.as_str()));
    let replaced = blocking(move || {
        let with = match &taken {
            Taken::File { file, executable } => Replacement::File { from: file.path(), executable: *executable },
            Taken::Link(text) => Replacement::Link(text),
        };
        source.replace(&at, expected.as_ref(), &with, &kept)
    });
    let write = |source| Error::from(ResolveError::Write { path: path.clone(), source });
    replaced.await.map_err(write)?.map_err(write)?;
    Ok(resolved)
}

enum Taken {
    File { file: tempfile::NamedTempFile, executable: bool },
    Link(String),
}

async fn fetch(path: &RelPath, found: &Found, keep: &Path, target: &dyn SyncTarget) -> Result<Taken> {
    let kind = |what: String| Error::from(ResolveError::Kind { path: path.clone(), what });
    match &found.content {
        Content::Folder => Err(kind("a folder".to_owned())),
        Content::Special => Err(kind("a socket, pipe or device".to_owned())),
        Content::Link { target: text } if text.starts_with('/') || text.split('/').any(|name| name == "..") => {
            Err(kind(format!("a link to `{text}`, which may lead out of the workspace")))
        }
        Content::Link { target: text } => Ok(Taken::Link(text.clone())),
        Content::File { executable, size, .. } => {
            let write = |source| Error::from(ResolveError::Write { path: path.clone(), source });
            let folder: PathBuf = keep.to_path_buf();
            let file = blocking(move || {
                std::fs::create_dir_all(&folder)?;
                tempfile::NamedTempFile::new_in(&folder)
            });
            let file = file.await.map_err(write)?.map_err(write)?;
            let mut writer = tokio::fs::File::from_std(file.reopen().map_err(write)?);
            let read = target.read(path, *size, &mut writer).await?;
            writer.sync_all().await.map_err(write)?;
            if !equal(&read.content, &found.content) {
                return Err(ResolveError::Again { path: path.clone() }.into());
            }
            Ok(Taken::File { file, executable: *executable })
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(super) fn examples() -> Vec<Example> {
    let path = || RelPath::new("src/train.py").expect("a path");
    vec![
        ResolveError::Kind { path: path(), what: "a folder".to_owned() }.into(),
        ResolveError::Again { path: path() }.into(),
        ResolveError::Repository {
            command: "git fetch ssh://ada@gpu.lab:2222/data/project '+refs/heads/*:refs/remotes/gpu1/*'".to_owned(),
        }
        .into(),
        ResolveError::Write { path: path(), source: std::io::ErrorKind::PermissionDenied.into() }.into(),
    ]
}
