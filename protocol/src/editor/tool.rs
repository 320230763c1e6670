//! Commands about MLToolbox itself.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Parameters of `try/run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TryParams {
    /// Folder to try it with; a generated sample project is the default
    #[cfg_attr(feature = "cli", arg(value_name = "DIR"))]
    pub dir: Option<String>,
    /// Go on watching until Ctrl-C
    #[cfg_attr(feature = "cli", arg(long))]
    pub keep: bool,
}

/// Answer of `try/run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TryOutput {
    /// Files of the first sync.
    pub files: u64,
    /// Bytes of the first sync.
    pub bytes: u64,
    /// Milliseconds from dialling to an open connection.
    pub connect_ms: f64,
    /// Milliseconds of the agent's installation and start.
    pub install_ms: f64,
    /// Milliseconds of the first sync.
    pub first_sync_ms: f64,
    /// Milliseconds from each edit to its being visible on the remote.
    pub edits_ms: Vec<f64>,
    /// What the command on the remote printed.
    pub command_output: String,
}

/// Answer of `doctor/run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DoctorOutput {
    /// Every check, in order.
    pub checks: Vec<DoctorCheck>,
}

/// One thing the doctor looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DoctorCheck {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub level: DoctorLevel,
    /// What was found.
    pub found: String,
    /// What to do about it, when it is not well.
    pub error: Option<Error>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum DoctorLevel {
    /// Well.
    #[default]
    Good,
    /// Works, with a limit.
    Limited,
    /// Does not work.
    Bad,
}

/// Parameters of `cli/completions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct CliCompletionsParams {
    /// Shell to complete in
    #[cfg_attr(feature = "cli", arg(value_enum, value_name = "SHELL"))]
    pub shell: Shell,
}

/// A shell that completions can be made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Shell {
    /// GNU bash.
    #[default]
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// Elvish.
    Elvish,
}
