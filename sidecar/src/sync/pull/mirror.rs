//! Extras: what stands in the remote folder and is neither in the workspace nor ignored. Looked for and removed only
//! when a person asks; what is removed goes to the remote's trash.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::editor::SyncProblem;
use protocol::error::Result;
use protocol::listing::ListedKind;
use protocol::path::RelPath;
use protocol::sync::{Action, Content, Differs, Expect, Found, Known, Op, Outcome};
use tokio::sync::mpsc;

use super::{Selection, Sides, walk};
use crate::session::Lane;
use crate::sync::look::blocking;
use crate::sync::plan::expect;
use crate::sync::runner;
use crate::sync::target::verify_all;
use crate::sync::target::{Batch, Done, refusal};

/// Outcomes that wait to be counted.
const OUTCOMES: usize = 256;

/// Something on the remote that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Where.
    pub path: RelPath,
    /// What, by its bytes.
    pub found: Found,
}

/// What came of removing extras.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirrored {
    /// Paths that were removed.
    pub removed: Vec<RelPath>,
    /// Paths that stay, with the reason.
    pub problems: Vec<SyncProblem>,
}

/// Returns what is on the remote, would be synced, and is not in the workspace: never what is ignored, never what lies
/// on another file system, never what a sync still has to decide.
pub async fn extras(sides: &Sides) -> Result<Vec<Extra>> {
    let rules = runner::rules(&sides.pair).await?;
    let listed = walk::walk(&*sides.target, &Arc::new(Selection::synced()), &rules).await?;
    let (base, workspace) = (Arc::clone(&sides.base), sides.pair.workspace.clone());
    let unknown = blocking(move || {
        let wanted = |kind: &ListedKind| match kind {
            ListedKind::File(_) | ListedKind::Folder | ListedKind::Link { .. } => true,
            ListedKind::Special | ListedKind::Mount => false,
        };
        let is_here = |path: &RelPath| {
            // What cannot be told is taken for here.
            !matches!(workspace.join(path.as_str()).symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
        };
        let unknown = listed
            .entries
            .into_iter()
            .filter(|(path, (entry, _))| wanted(&entry.kind) && !base.contains_key(path) && !is_here(path));
        unknown.map(|(path, _)| Known { path, expect: Expect::Absent }).collect::<Vec<_>>()
    });
    let unknown = unknown.await.map_err(|error| super::super::actor::workspace_gone(&sides.pair.workspace, &error))?;
    let found = verify_all(&*sides.target, unknown).await?;
    let told = |Differs { path, found, problem }: Differs| match (found, problem) {
        (Some(found), None) if found.content != Content::Special => Some(Extra { path, found }),
        (Some(_) | None, _) => None,
    };
    Ok(found.into_iter().filter_map(told).collect())
}

/// Moves extras to the remote's trash, each only while it is still what was looked at; a folder goes when nothing is
/// left in it.
pub async fn remove(sides: &Sides, extras: &[Extra]) -> Result<Mirrored> {
    let bodies = runner::source(&sides.pair, runner::rules(&sides.pair).await?)?;
    let op = |extra: &Extra| {
        let expect = expect(&extra.found.content, extra.found.stamp);
        Op { path: extra.path.clone(), expect, action: Action::Remove }
    };
    let (mut folders, files): (Vec<&Extra>, Vec<&Extra>) =
        extras.iter().partition(|extra| extra.found.content == Content::Folder);
    folders.sort_by_key(|extra| std::cmp::Reverse(extra.path.depth()));
    let batch = |extras: &[&Extra]| Batch {
        lane: Lane::Bulk,
        barrier: true,
        durable: true,
        ops: extras.iter().map(|extra| op(extra)).collect(),
        bodies: Arc::clone(&bodies),
    };
    let batches: Vec<Batch> =
        [&files, &folders].into_iter().filter(|some| !some.is_empty()).map(|some| batch(some)).collect();
    let (told, mut outcomes) = mpsc::channel(OUTCOMES);
    let order: Vec<&Extra> = files.into_iter().chain(folders).collect();
    let mut mirrored = Mirrored::default();
    let mut answered = BTreeSet::new();
    let count = async {
        while let Some((index, done)) = outcomes.recv().await {
            let Some(extra) = order.get(index).filter(|_: &&&Extra| answered.insert(index)) else { continue };
            match done {
                Done::Answered(Outcome::Applied { .. } | Outcome::Already { .. }, _) => {
                    mirrored.removed.push(extra.path.clone());
                }
                Done::Answered(Outcome::Rejected(rejected), _) => {
                    let (path, reason) = (extra.path.to_string(), refusal(&rejected));
                    mirrored.problems.push(SyncProblem { path, reason });
                }
                // Nothing is sent for a removal.
                Done::Unread(_) | Done::InDoubt(_) => {}
            }
        }
    };
    let (applied, ()) = tokio::join!(sides.target.apply(batches, told), count);
    applied?;
    Ok(mirrored)
}
