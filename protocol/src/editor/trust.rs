//! The command by which a person trusts the commands that a project brings along.

use serde::{Deserialize, Serialize};

/// Parameters of `workspace/trust`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceTrustParams {
    /// Take the trust back; the commands are not run any more
    #[cfg_attr(feature = "cli", arg(long, conflicts_with = "status"))]
    pub revoke: bool,
    /// Show the commands and whether they are trusted, and change nothing
    #[cfg_attr(feature = "cli", arg(long))]
    pub status: bool,
}

/// Answer of `workspace/trust`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceTrustOutput {
    /// The project's folder.
    pub workspace: String,
    /// The commands of its files that would run on this machine or get values of it.
    pub commands: Vec<TrustCommand>,
    /// Whether they are trusted.
    pub state: TrustState,
}

/// A command of a project's file that would run on this machine or get values of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TrustCommand {
    /// When it runs: the hook's name.
    pub hook: String,
    /// What runs.
    pub command: String,
    /// Where it stands: file, line and column.
    pub place: String,
}

/// Whether the commands of a project are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum TrustState {
    /// There are none that would run on this machine or get values of it.
    #[default]
    Nothing,
    /// A person trusted just these.
    Trusted,
    /// A person said no to just these.
    Refused,
    /// Others were trusted or refused before; these were changed since.
    Changed,
    /// Nobody was asked yet.
    Unknown,
}
