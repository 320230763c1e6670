//! Keeps one remote folder equal to one workspace: collect, scan, plan, guard, apply, record.
//!
//! One task ([`start`]) owns each pair. It never overwrites or removes what it did not put on the remote
//! itself, and it never says `synced` while something is left to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use protocol::agent::Holder;
use protocol::editor::{SyncChange, SyncConflict, SyncResolveOutput, SyncState, SyncStatus, Take};
use protocol::error::{Code, Error, Explain, Result};
use protocol::path::RelPath;
use tokio::sync::{broadcast, mpsc, oneshot, watch as published};
use tokio_util::sync::CancellationToken;

mod actor;
#[cfg(test)]
mod agent_tests;
mod candidates;
#[cfg(test)]
mod contract_tests;
#[cfg(unix)]
pub mod disk;
pub mod git;
pub mod guard;
#[cfg(test)]
mod hostile_tests;
pub mod ignored;
pub mod index;
#[cfg(all(test, unix))]
mod large_tests;
mod links;
pub mod logs;
mod look;
#[cfg(test)]
mod looks_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod moves_tests;
mod pending;
pub mod plan;
mod preview;
pub mod pull;
mod resolve;
#[cfg(all(test, unix))]
mod roads_tests;
mod runner;
pub mod scan;
pub mod source;
pub mod target;
pub mod via_agent;
#[cfg(unix)]
pub mod via_either;
#[cfg(unix)]
pub mod via_sftp;
pub mod watch;

use crate::frontend::Progress;
use crate::store::{BaseChange, Pair, Store};
use guard::Large;
pub use preview::{conflicts, preview};
pub use runner::{Settings, run, watched};
use source::Source;
use target::SyncTarget;

/// Commands that wait for the actor; a person types them, so a few are plenty.
const COMMANDS: usize = 16;
/// Arrivals that wait for a slow listener; one that falls behind misses some.
const ARRIVALS: usize = 1024;
/// Longest time a stopping sync may take to undo what is half done and give its lease back.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What a sync is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is synced, and what was remembered of it.
    pub pair: Pair,
    /// Who syncs.
    pub holder: Holder,
    /// Takes the remote folder's lease from another machine.
    pub take_over: bool,
    /// Where versions of files are kept that lost a conflict on this machine.
    pub keep: PathBuf,
}

/// What the watcher of a workspace, and of the connection to its remote, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// These paths may have changed.
    Dirty {
        /// Which, each with all below it.
        paths: Vec<RelPath>,
        /// When the first of them was seen to change.
        since: Option<std::time::Instant>,
    },
    /// Anything may have changed.
    Everything,
    /// The workspace folder itself is gone or another one.
    RootGone,
    /// Not everything can be watched; what, and what to do.
    Trouble(String),
    /// The connection to the remote is lost and is being made again.
    Lost(Error),
}

/// A way to learn that every earlier change was noticed.
pub type Cookie = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A watcher's two ends.
pub struct Watching {
    /// What it says.
    pub notices: mpsc::Receiver<Notice>,
    /// Resolves once everything that happened before is in `notices`.
    pub cookie: Cookie,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watching").finish_non_exhaustive()
    }
}

/// How a sync stands, for everyone who wants to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// For people and editors.
    pub status: SyncStatus,
    /// How far it is.
    pub progress: Progress,
    /// What changed on both sides.
    pub conflicts: Vec<SyncConflict>,
    /// What to ask about a very large first push.
    pub large: Option<Large>,
    /// Files written since the start.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Paths removed since the start.
    pub removed: u64,
    /// Some of the paths that are not on the remote yet.
    pub pending: Vec<String>,
    /// Whether its remote folder was opened.
    pub opened: bool,
    /// Whether its remote folder cannot be opened for another reason than a lost connection.
    pub stuck: bool,
    /// Whether it cannot go on by itself, or has nothing left to do.
    pub settled: bool,
}

/// One path that arrived on the remote.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// What was done.
    pub change: SyncChange,
    /// From the save to its being visible there; `None` when nobody saved it while the sync ran.
    pub latency: Option<Duration>,
}

/// What can be asked of a running sync.
#[derive(Debug)]
enum Command {
    Flush { durable: bool, answer: oneshot::Sender<Result<()>> },
    Resolve { which: Which, take: Take, answer: oneshot::Sender<Result<SyncResolveOutput>> },
    Approve { plan: Option<String>, answer: oneshot::Sender<Result<()>> },
    Again { take_over: bool, answer: oneshot::Sender<Result<()>> },
    Compare { answer: oneshot::Sender<Result<bool>> },
    Pause { paused: bool, answer: oneshot::Sender<Result<()>> },
    Touch { paths: Vec<RelPath> },
    Sides { answer: oneshot::Sender<Result<pull::Sides>> },
    Home { copy: String, changes: Vec<BaseChange>, answer: oneshot::Sender<Result<()>> },
}

/// Which conflicts are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Those that match one of these paths or patterns (as in `.gitignore`).
    Matching(Vec<String>),
}

/// A running sync, reached over its task. Cheap to clone; the sync stops when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    pair: Arc<Pair>,
    commands: mpsc::Sender<Command>,
    snapshots: published::Receiver<Snapshot>,
    arrivals: broadcast::Sender<Arrival>,
    cancel: CancellationToken,
}

/// Starts the sync of a pair.
pub fn start(
    config: Config,
    store: Store,
    source: Arc<dyn Source>,
    target: Arc<dyn SyncTarget>,
    watching: Option<Watching>,
) -> Handle {
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let (publisher, snapshots) = published::channel(Snapshot::default());
    let cancel = CancellationToken::new();
    let (arrivals, _) = broadcast::channel(ARRIVALS);
    let pair = Arc::new(config.pair.clone());
    let actor = actor::Actor::new(config, store, source, target, publisher, arrivals.clone());
    tokio::spawn(actor.run(receiver, watching, cancel.clone()));
    Handle { pair, commands, snapshots, arrivals, cancel }
}

/// Why a running sync does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It ended.
    #[error("the sync has ended")]
    Ended,
    /// It did not arrive in time.
    #[error("{count} {} not on the remote yet: `{}`", if *count == 1 { "path is" } else { "paths are" }, paths.join("`, `"))]
    Pending {
        /// How many.
        count: u64,
        /// Some of them.
        paths: Vec<String>,
        /// What keeps it.
        source: Option<Error>,
    },
    /// A person paused it.
    #[error("the sync is paused")]
    Paused,
    /// Its remote folder cannot be used now.
    #[error("the remote folder is not open")]
    NotOpen,
    /// There is no brake.
    #[error("nothing waits for an approval")]
    NoBrake,
    /// The brake is about another plan.
    #[error("the sync would now do something else than plan `{asked}`")]
    OtherPlan {
        /// The plan that was approved.
        asked: String,
        /// The plan that waits.
        present: String,
    },
    /// This system has no folder descriptors, through which no link can lead out of the workspace.
    #[error("`{}` cannot be synced from this system", workspace.display())]
    System {
        /// The workspace.
        workspace: PathBuf,
    },
    /// A pattern cannot be read.
    #[error("`{pattern}` is not a pattern")]
    Pattern {
        /// It.
        pattern: String,
        /// Why.
        source: ignore::Error,
    },
    /// There is no such conflict.
    #[error("no conflict matches `{}`", patterns.join("`, `"))]
    NoConflict {
        /// What was asked for.
        patterns: Vec<String>,
    },
}

impl Explain for AskError {
    fn code(&self) -> Code {
        match self {
            Self::Ended => Code::SyncNotRunning,
            Self::Pending { .. } | Self::Paused | Self::NotOpen => Code::SyncPending,
            Self::NoBrake | Self::Pattern { .. } | Self::System { .. } => Code::ParamsInvalid,
            Self::OtherPlan { .. } => Code::SyncBrake,
            Self::NoConflict { .. } => Code::SyncConflict,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Ended => "Run `mltoolbox-sidecar sync watch` to start it again.".to_owned(),
            Self::Pending { .. } => "Run `mltoolbox-sidecar sync status` to see what keeps them, or wait longer with \
                 `mltoolbox-sidecar sync flush --timeout 600`."
                .to_owned(),
            Self::Paused => {
                "Run `mltoolbox-sidecar sync resume` to go on; what was saved meanwhile is remembered.".to_owned()
            }
            Self::NotOpen => {
                "See with `mltoolbox-sidecar sync status` what keeps it, then run the command again.".to_owned()
            }
            Self::NoBrake => "Run `mltoolbox-sidecar sync status` to see how the sync stands.".to_owned(),
            Self::OtherPlan { present, .. } => {
                format!(
                    "Look at it with `mltoolbox-sidecar sync status`, then run `mltoolbox-sidecar sync approve {present}`."
                )
            }
            Self::System { .. } => "Run MLToolbox on Linux or macOS; on Windows, that is inside WSL 2.".to_owned(),
            Self::Pattern { .. } => "Give a path, or a pattern as in `.gitignore`: `src/*.py`, `*.log`.".to_owned(),
            Self::NoConflict { .. } => "Run `mltoolbox-sidecar sync conflicts` to see which there are.".to_owned(),
        }
    }
}

/// Returns each kind of error of a sync once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let patterns = || vec!["*.py".to_owned()];
    let paths = vec!["src/train.py".to_owned(), "data/set.csv".to_owned()];
    let mut builder = ignore::gitignore::GitignoreBuilder::new("");
    let source = builder.add_line(None, "a{b").expect_err("an open brace is no pattern");
    let own = vec![
        AskError::Ended.into(),
        AskError::Paused.into(),
        AskError::Pending { count: 7, paths, source: None }.into(),
        AskError::NotOpen.into(),
        AskError::NoBrake.into(),
        AskError::OtherPlan { asked: "3f9a61c2".to_owned(), present: "b01d77e4".to_owned() }.into(),
        AskError::System { workspace: "/home/ada/project".into() }.into(),
        AskError::Pattern { pattern: "a{b".to_owned(), source }.into(),
        AskError::NoConflict { patterns: patterns() }.into(),
    ];
    [own, pull::examples(), resolve::examples(), scan::examples(), target::examples(), watch::examples(), over_sftp()]
        .concat()
}

#[cfg(unix)]
fn over_sftp() -> Vec<protocol::error::Example> {
    via_sftp::examples()
}

/// Elsewhere there is no sync.
#[cfg(not(unix))]
fn over_sftp() -> Vec<protocol::error::Example> {
    Vec::new()
}

impl Handle {
    /// Returns the pair as the sync was started with it.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Returns how the sync stands, now and later.
    pub fn snapshots(&self) -> published::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    /// Returns how the sync stands now.
    pub fn status(&self) -> SyncStatus {
        self.snapshots.borrow().status.clone()
    }

    /// Returns what arrives from now on.
    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.arrivals.subscribe()
    }

    /// Waits until the sync has nothing left to do or cannot go on by itself, and returns how it stands.
    pub async fn settled(&self) -> Result<Snapshot> {
        let mut snapshots = self.snapshots.clone();
        let settled = snapshots.wait_for(|snapshot| snapshot.settled).await;
        settled.map(|snapshot| snapshot.clone()).map_err(|_| AskError::Ended.into())
    }

    /// Waits until everything that was saved before this call is on the remote.
    pub async fn flush(&self, durable: bool, within: Duration) -> Result<()> {
        let asked = self.ask(|answer| Command::Flush { durable, answer });
        match tokio::time::timeout(within, asked).await {
            Ok(result) => result,
            Err(_) => Err(self.pending().into()),
        }
    }

    fn pending(&self) -> AskError {
        let snapshot = self.snapshots.borrow();
        let paths = snapshot.pending.clone();
        AskError::Pending { count: snapshot.status.pending, paths, source: snapshot.status.error.clone() }
    }

    /// Decides conflicts.
    pub async fn resolve(&self, which: Which, take: Take) -> Result<SyncResolveOutput> {
        self.ask(|answer| Command::Resolve { which, take, answer }).await
    }

    /// Lets go what a brake stopped.
    pub async fn approve(&self, plan: Option<String>) -> Result<()> {
        self.ask(|answer| Command::Approve { plan, answer }).await
    }

    /// Pauses the sync, or goes on.
    pub async fn pause(&self, paused: bool) -> Result<()> {
        self.ask(|answer| Command::Pause { paused, answer }).await
    }

    /// Opens the remote folder now if it is not open, and takes it from another machine if asked to.
    pub async fn again(&self, take_over: bool) -> Result<()> {
        self.ask(|answer| Command::Again { take_over, answer }).await
    }

    /// Has both sides compared as a whole, so that what was edited on the remote is seen; returns whether
    /// that began, which takes an open remote folder.
    pub async fn compare(&self) -> Result<bool> {
        self.ask(|answer| Command::Compare { answer }).await
    }

    /// Returns both sides as they are open, for what is done beside the sync; fails while the remote folder is not.
    pub async fn sides(&self) -> Result<pull::Sides> {
        self.ask(|answer| Command::Sides { answer }).await
    }

    /// Makes what came home from the copy of that id the base.
    pub async fn home(&self, copy: String, changes: Vec<BaseChange>) -> Result<()> {
        self.ask(|answer| Command::Home { copy, changes, answer }).await
    }

    /// Returns the error because of which the remote folder cannot be opened, unless it is a lost connection.
    pub fn stuck(&self) -> Option<Error> {
        let snapshot = self.snapshots.borrow();
        snapshot.status.error.clone().filter(|_| snapshot.stuck)
    }

    /// Says that paths may have changed; for front ends that see a save before the file system tells.
    pub async fn touch(&self, paths: Vec<RelPath>) {
        // A sync that has ended needs no hint.
        self.commands.send(Command::Touch { paths }).await.ok();
    }

    /// Returns whether both are handles of one sync.
    pub fn is(&self, other: &Self) -> bool {
        self.commands.same_channel(&other.commands)
    }

    /// Returns whether the sync got as far as having its remote folder open.
    pub fn can_go_on(&self) -> bool {
        let snapshot = self.snapshots.borrow();
        snapshot.opened && !self.commands.is_closed()
    }

    /// Ends the sync and waits until its lease is given back.
    pub async fn stop(&self) {
        self.cancel.cancel();
        // Past that time the link is dead, and the agent frees the lease by itself.
        tokio::time::timeout(STOP_WITHIN, self.commands.closed()).await.ok();
    }

    /// Returns once the sync has ended, however it ended.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| AskError::Ended)?;
        answered.await.map_err(|_| AskError::Ended)?
    }
}

/// The syncs that run in this process, by workspace. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Syncs {
    running: Arc<Mutex<BTreeMap<PathBuf, Handle>>>,
    /// Commands that are about to start a sync, perhaps in place of a running one.
    starting: Arc<published::Sender<usize>>,
}

/// A command that is about to start a sync, until this is dropped.
#[derive(Debug)]
pub struct Starting(Arc<published::Sender<usize>>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Syncs {
    /// Returns the sync of a workspace.
    pub fn get(&self, workspace: &std::path::Path) -> Option<Handle> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, handle| !handle.commands.is_closed());
        running.get(workspace).cloned()
    }

    /// Adds a sync, unless there is one of that workspace: that one is returned then.
    pub fn add(&self, workspace: PathBuf, start: impl FnOnce() -> Handle) -> Handle {
        if let Some(handle) = self.get(&workspace) {
            return handle;
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(workspace).or_insert_with(start).clone()
    }

    /// Notes that a sync is about to be started, so that whoever sees another one end waits for it.
    pub fn starting(&self) -> Starting {
        self.starting.send_modify(|count| *count += 1);
        Starting(Arc::clone(&self.starting))
    }

    /// Waits until no command is about to start a sync.
    pub async fn started(&self) {
        // It cannot be closed: its sender is ours.
        self.starting.subscribe().wait_for(|count| *count == 0).await.ok();
    }

    /// Forgets a workspace's sync.
    pub fn remove(&self, workspace: &std::path::Path) -> Option<Handle> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(workspace)
    }

    /// Returns every running sync.
    pub fn all(&self) -> Vec<Handle> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, handle| !handle.commands.is_closed());
        running.values().cloned().collect()
    }
}

/// Returns whether a state is one in which nothing changes without a person.
fn needs_person(state: SyncState) -> bool {
    match state {
        SyncState::Halted | SyncState::Paused | SyncState::Stopped => true,
        SyncState::Connecting | SyncState::Scanning | SyncState::Syncing | SyncState::Synced | SyncState::Waiting => {
            false
        }
    }
}
