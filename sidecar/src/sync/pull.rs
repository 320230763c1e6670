//! Brings home what is on the remote: results, logs, edits made there. The other direction of the same safety.
//!
//! Looks at what is known, lists what is not, decides in [`plan`], and writes here only over what both sides held when
//! they were last equal. Files of this machine alone are never touched. A long file that was cut off is continued; one
//! that is home is known as such and does not travel again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::agent::Opened;
use protocol::editor::{SyncChange, SyncGit, SyncProblem};
use protocol::error::{Code, Example, Explain, word};
use protocol::path::RelPath;
use tokio::sync::{mpsc, watch as published};
use tokio_util::sync::CancellationToken;

use super::guard::Brake;
use super::plan::Conflict;
use super::target::SyncTarget;
use crate::frontend::Progress;
use crate::store::{Base, BaseChange, Pair, Store};

mod access;
#[cfg(unix)]
mod bring;
#[cfg(unix)]
mod fetch;
#[cfg(unix)]
mod home;
mod mirror;
pub mod plan;
pub mod selection;
#[cfg(unix)]
mod survey;
mod walk;

#[cfg(all(test, unix))]
mod tests;

pub use access::Access;
#[cfg(unix)]
pub use bring::{bring, bring_more};
pub use mirror::{Extra, Mirrored, extras, remove};
pub use selection::Selection;

/// What a pull, or a look at extras, works on: both sides as they are open.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The pair; its rules are loaded anew.
    pub pair: Pair,
    /// What both sides held when they were last equal.
    pub base: Arc<BTreeMap<RelPath, Base>>,
    /// The remote folder.
    pub target: Arc<dyn SyncTarget>,
    /// What it was when it was opened.
    pub opened: Opened,
    /// Where it is remembered what came home beside the base.
    pub store: Store,
    /// Where versions are kept that are replaced or removed here.
    pub keep: PathBuf,
}

impl Sides {
    /// Leaves out the `.git` folder: a repository comes home by git's own way, or not at all. What the base says of it is
    /// ignored then.
    pub(crate) fn without_unit(mut self) -> Self {
        self.pair.git = SyncGit::Off;
        self
    }
}

/// What a pull is to do.
#[derive(Debug)]
pub struct Ask {
    /// The paths.
    pub selection: Selection,
    /// Decides only.
    pub dry_run: bool,
    /// The plan that a person let go although it looks like an accident.
    pub approved: Option<String>,
    /// Who is told of paths that are equal on both sides now, to be made the base.
    pub told: mpsc::Sender<Vec<BaseChange>>,
    /// Who is told how far it is.
    pub progress: published::Sender<Progress>,
    /// Ends it.
    pub cancel: CancellationToken,
}

/// What came of a pull.
#[derive(Clone, Debug, Default)]
pub struct Brought {
    /// What was done here, or would be: one per path, at most [`LISTED`].
    pub changes: Vec<SyncChange>,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths removed.
    pub removed: u64,
    /// What changed on both sides.
    pub conflicts: Vec<Conflict>,
    /// What could not be brought home.
    pub problems: Vec<SyncProblem>,
    /// Where the versions are that were replaced or removed here.
    pub kept: Option<PathBuf>,
    /// Why nothing was done.
    pub brake: Option<Brake>,
}

/// Most changes that are listed.
const LISTED: usize = 1000;

/// Why a pull does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A path that is not in the workspace.
    #[error("`{text}` is no path inside of the workspace")]
    Escapes {
        /// It.
        text: String,
    },
    /// A pattern that cannot be read.
    #[error("`{text}` is not a pattern")]
    Pattern {
        /// It.
        text: String,
        /// Why.
        why: String,
    },
    /// Nothing has that name.
    #[error("there is no `{path}` on the remote")]
    Missing {
        /// It.
        path: RelPath,
    },
    /// More than fits.
    #[error("{bytes} bytes would come home, and {free} are free here")]
    Space {
        /// Bytes to come.
        bytes: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Another one is at it.
    #[error("another pull writes to `{}`", workspace.display())]
    Busy {
        /// The workspace.
        workspace: PathBuf,
    },
    /// The workspace cannot be written.
    #[error("cannot write to `{}`", workspace.display())]
    Home {
        /// The workspace.
        workspace: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A person ended it.
    #[error("the pull was cancelled")]
    Cancelled,
}

impl Explain for PullError {
    fn code(&self) -> Code {
        match self {
            Self::Escapes { .. } | Self::Pattern { .. } => Code::ParamsInvalid,
            Self::Missing { .. } | Self::Space { .. } | Self::Home { .. } | Self::Busy { .. } => Code::FileFailed,
            Self::Cancelled => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Escapes { .. } => {
                "Name it as it is called from the workspace folder: `checkpoints/`, `runs/1/metrics.csv`.".to_owned()
            }
            Self::Pattern { .. } => "Give a path, or a pattern as in `.gitignore`: `runs/*.csv`, `*.log`.".to_owned(),
            Self::Missing { path } => format!(
                "Look at what is there with `mltoolbox-sidecar exec --host -- ls -la`, or see what a pull would do with \
                 `mltoolbox-sidecar sync pull {} --dry-run`.",
                word(path.parent().map_or_else(|| ".".to_owned(), |parent| parent.to_string()))
            ),
            Self::Space { .. } => {
                "Make room on this disk, or name a part of it: `mltoolbox-sidecar sync pull PATH`.".to_owned()
            }
            Self::Busy { .. } => {
                "Wait until it has ended, then pull again; what is home does not travel twice.".to_owned()
            }
            Self::Home { workspace, .. } => format!(
                "Run `ls -ld {0}` and `df {0}` to see whether you may write there and whether the disk is full.",
                word(workspace.display())
            ),
            Self::Cancelled => {
                "Run it again to go on; what is home stays, and a long file that was cut off is continued.".to_owned()
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(super) fn examples() -> Vec<Example> {
    let workspace = || PathBuf::from("/home/ada/project");
    let path = RelPath::new("runs/3/best.pt").expect("a path");
    vec![
        PullError::Escapes { text: "../other".to_owned() }.into(),
        PullError::Pattern { text: "a[".to_owned(), why: "unclosed character class".to_owned() }.into(),
        PullError::Missing { path }.into(),
        PullError::Space { bytes: 50_000_000_000, free: 2_000_000_000 }.into(),
        PullError::Busy { workspace: workspace() }.into(),
        PullError::Home { workspace: workspace(), source: std::io::ErrorKind::PermissionDenied.into() }.into(),
        PullError::Cancelled.into(),
    ]
}

/// Refuses: a workspace is written through folder descriptors, so that no link can lead out of it.
#[cfg(not(unix))]
pub async fn bring(sides: Sides, _: Ask) -> protocol::error::Result<Brought> {
    Err(super::AskError::System { workspace: sides.pair.workspace }.into())
}
