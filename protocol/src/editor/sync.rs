//! Commands about sync: keeping a remote copy equal to the workspace.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What `sync/push` and `sync/watch` sync, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStartParams {
    /// Project folder; the current one is the default
    #[cfg_attr(feature = "cli", arg(value_name = "DIR"))]
    pub dir: Option<String>,
    /// Folder on the remote [default: ~/mltoolbox/NAME-ID]
    #[cfg_attr(feature = "cli", arg(long, value_name = "REMOTE_DIR"))]
    pub to: Option<String>,
    /// Say what would be done and do nothing
    #[cfg_attr(feature = "cli", arg(long))]
    pub dry_run: bool,
    /// Leave out what matches this pattern (as in .gitignore); kept for later syncs, '' clears
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATTERN"))]
    pub exclude: Vec<String>,
    /// Sync what matches this pattern even when it is ignored; kept for later syncs, '' clears
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATTERN"))]
    pub include: Vec<String>,
    /// Write additions to files that match this pattern in place (logs); kept for later syncs, '' clears
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATTERN"))]
    pub append: Vec<String>,
    /// While watching, bring home what matches this pattern, every five minutes; kept for later syncs, '' clears
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATTERN"))]
    pub pull: Vec<String>,
    /// Whether the project's `.git` folder is sent, as a whole and when git is quiet [default: off]; kept for later syncs
    #[cfg_attr(feature = "cli", arg(long, value_enum, value_name = "off|push", hide_possible_values = true))]
    pub git: Option<SyncGit>,
    /// Take the remote folder over from another machine
    #[cfg_attr(feature = "cli", arg(long))]
    pub take_over: bool,
}

/// What a sync does with the `.git` folder of the project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SyncGit {
    /// It stays here.
    #[default]
    Off,
    /// It is sent as a whole whenever git is quiet.
    Push,
}

/// Parameters of `sync/push`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPushParams {
    /// What to sync and where to.
    #[cfg_attr(feature = "cli", command(flatten))]
    #[serde(flatten)]
    pub start: SyncStartParams,
    /// Then move to the remote's trash what stands there and is neither here nor ignored; lists it and asks
    #[cfg_attr(feature = "cli", arg(long))]
    pub mirror: bool,
}

/// Parameters of `sync/pull`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPullParams {
    /// Files, folders or patterns in the workspace, ignored ones too [default: all that is synced]
    #[cfg_attr(feature = "cli", arg(value_name = "PATH"))]
    pub paths: Vec<String>,
    /// Say what would be done and do nothing
    #[cfg_attr(feature = "cli", arg(long))]
    pub dry_run: bool,
}

/// Answer of `sync/pull`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPullOutput {
    /// Absolute path of the workspace.
    pub workspace: String,
    /// The remote.
    pub remote: String,
    /// Absolute folder on the remote.
    pub remote_dir: String,
    /// What was done here, or would be done with `--dry-run`: one line per path, at most 1000.
    pub changes: Vec<SyncChange>,
    /// Whether nothing was done because only the plan was asked for.
    pub dry_run: bool,
    /// Files written here.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Paths removed here.
    pub removed: u64,
    /// Paths that changed on both sides; nothing was done to them.
    pub conflicts: u64,
    /// Paths that could not be brought home, with the reason.
    pub problems: Vec<SyncProblem>,
    /// Folder of this machine with the versions that were replaced or removed here, for 30 days.
    pub kept: Option<String>,
    /// With `--dry-run`: why it would be stopped.
    pub brake: Option<SyncBrake>,
    /// Milliseconds from the command to the last byte.
    pub milliseconds: f64,
}

/// Parameters of `sync/watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncWatchParams {
    /// What to sync and where to.
    #[cfg_attr(feature = "cli", command(flatten))]
    #[serde(flatten)]
    pub start: SyncStartParams,
    /// Stay in the foreground and show what happens
    #[cfg_attr(feature = "cli", arg(long))]
    pub foreground: bool,
}

/// Answer of `sync/push`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPushOutput {
    /// How the sync stands afterwards.
    pub status: SyncStatus,
    /// What was done, or would be done with `--dry-run`: one line per path, at most 1000.
    pub changes: Vec<SyncChange>,
    /// Whether nothing was done because only the plan was asked for.
    pub dry_run: bool,
    /// Files written on the remote.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Paths removed on the remote.
    pub removed: u64,
    /// With `--mirror`: what stayed there, with the reason.
    pub kept: Vec<SyncProblem>,
    /// Milliseconds from the command to the last acknowledged byte.
    pub milliseconds: f64,
}

/// One path and what is done to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncChange {
    /// Relative to the workspace.
    pub path: String,
    /// What is done.
    pub action: SyncAction,
    /// Bytes of content that travel.
    pub bytes: u64,
}

/// What is done to a path on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SyncAction {
    /// A new file, link or folder.
    #[default]
    Create,
    /// New content or permissions.
    Update,
    /// To the trash.
    Remove,
    /// Both sides changed; nothing is done.
    Conflict,
}

/// What a sync is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SyncState {
    /// No process syncs this workspace.
    #[default]
    Stopped,
    /// Waiting for the remote.
    Connecting,
    /// Reading the workspace or comparing with the remote.
    Scanning,
    /// Changes travel.
    Syncing,
    /// Every path that can be synced is on the remote.
    Synced,
    /// Something cannot be sent now and is tried again.
    Waiting,
    /// Paused by a person.
    Paused,
    /// Stopped by a brake until somebody approves.
    Halted,
}

/// How the sync of one workspace stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStatus {
    /// Absolute path of the workspace.
    pub workspace: String,
    /// The remote.
    pub remote: String,
    /// Absolute folder on the remote, once known.
    pub remote_dir: String,
    /// What it is doing.
    pub state: SyncState,
    /// Paths that have still to travel.
    pub pending: u64,
    /// Bytes that have still to travel, as far as known.
    pub pending_bytes: u64,
    /// Paths that are equal on both sides.
    pub synced: u64,
    /// Paths that changed on both sides.
    pub conflicts: u64,
    /// Paths that changed on the remote only; listed, not touched.
    pub drift: Vec<String>,
    /// Paths that cannot be synced, with the reason; at most 100 are listed.
    pub problems: Vec<SyncProblem>,
    /// What does not work as usual over this connection, in full sentences; empty when all does.
    pub limits: Vec<String>,
    /// Why it halts.
    pub brake: Option<SyncBrake>,
    /// When all was last visible on the remote, in seconds since the Unix epoch.
    pub last_visible: Option<i64>,
    /// When all was last safe from a power cut there, in seconds since the Unix epoch.
    pub last_durable: Option<i64>,
    /// Milliseconds from the last save to its being visible on the remote.
    pub last_latency_ms: Option<f64>,
    /// With `--dry-run`: what would be done, one line per path, at most 1000.
    pub changes: Vec<SyncChange>,
    /// Process id of the background owner.
    pub owner: Option<u32>,
    /// What keeps it from going on.
    pub error: Option<Error>,
}

/// A path that cannot be synced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncProblem {
    /// Relative to the workspace; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Why, and what to do.
    pub reason: String,
}

/// Why a sync stopped before doing something that looks like an accident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncBrake {
    /// What to give to `sync approve`.
    pub plan: String,
    /// What it would do.
    pub reason: String,
    /// Paths it would remove.
    pub removals: u64,
    /// Some of those paths.
    pub examples: Vec<String>,
}

/// Answer of `sync/stop`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStopOutput {
    /// The syncs that were asked about, as they stand now.
    pub syncs: Vec<SyncStatus>,
    /// Workspaces of those that were running.
    pub stopped: Vec<String>,
}

/// Answer of `sync/list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncListOutput {
    /// Every workspace that was ever synced from this machine.
    pub syncs: Vec<SyncStatus>,
}

/// Parameters of `sync/flush`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncFlushParams {
    /// Wait until the remote's disk holds it, too
    #[cfg_attr(feature = "cli", arg(long))]
    pub durable: bool,
    /// Give up after this many seconds [default: 60]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SECONDS"))]
    pub timeout: Option<u64>,
}

/// Answer of `sync/conflicts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncConflictsOutput {
    /// Every conflict, by path.
    pub conflicts: Vec<SyncConflict>,
}

/// A path that changed on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncConflict {
    /// Relative to the workspace.
    pub path: String,
    /// What is here.
    pub local: String,
    /// What is on the remote.
    pub remote: String,
    /// Since when it is known, in seconds since the Unix epoch.
    pub since: i64,
}

/// Which side of a conflict wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Take {
    /// This machine's version.
    #[default]
    Local,
    /// The remote's version.
    Remote,
    /// Both: the remote's version is kept beside as a copy.
    Both,
}

/// Parameters of `sync/resolve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncResolveParams {
    /// Paths or patterns of conflicts
    #[cfg_attr(feature = "cli", arg(value_name = "PATH", required_unless_present = "all"))]
    pub paths: Vec<String>,
    /// Every conflict
    #[cfg_attr(feature = "cli", arg(long))]
    pub all: bool,
    /// Which version wins
    #[cfg_attr(feature = "cli", arg(long, value_enum, value_name = "SIDE"))]
    pub take: Take,
}

/// Answer of `sync/resolve`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncResolveOutput {
    /// Paths that were resolved.
    pub resolved: Vec<String>,
    /// Copies that were made of versions that lost.
    pub kept_as: Vec<String>,
    /// Conflicts that are left.
    pub left: u64,
}

/// Parameters of `sync/approve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncApproveParams {
    /// The plan that the brake named; the present one is the default
    #[cfg_attr(feature = "cli", arg(value_name = "PLAN"))]
    pub plan: Option<String>,
}

/// Parameters of `sync/stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStopParams {
    /// Stop the sync of every workspace
    #[cfg_attr(feature = "cli", arg(long))]
    pub all: bool,
}
