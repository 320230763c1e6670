//! Commands about the agent: our helper on a remote.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How far the agent is on a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum AgentState {
    /// Nothing is installed.
    #[default]
    Missing,
    /// A build of another version is installed.
    Outdated,
    /// Installed, not running.
    Stopped,
    /// Running and healthy.
    Running,
}

/// Where the program comes from that is put on a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum AgentOrigin {
    /// A file beside `mltoolbox-sidecar`.
    #[default]
    Beside,
    /// A part of `mltoolbox-sidecar`.
    Embedded,
    /// Downloaded, and kept on this machine.
    Downloaded,
    /// `mltoolbox-sidecar` itself.
    Sidecar,
}

/// The program that is put on a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentProgram {
    /// Where it comes from.
    pub origin: AgentOrigin,
    /// Its file on this machine; none when it is a part of `mltoolbox-sidecar`.
    pub file: Option<String>,
    /// What it is built for.
    pub platform: String,
    /// Whether the remote has to have a C library of its own.
    pub needs_libc: bool,
}

/// Answer of the commands `agent/…`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStatus {
    /// The remote.
    pub remote: String,
    /// How far it is.
    pub state: AgentState,
    /// Version of the program that is installed or running.
    pub version: Option<String>,
    /// Where it is installed.
    pub path: Option<String>,
    /// The program on this machine that is put there.
    pub program: Option<AgentProgram>,
    /// Why no agent can be put there.
    pub problem: Option<Error>,
    /// The machine's own name.
    pub hostname: Option<String>,
    /// Process id of the running agent.
    pub pid: Option<u32>,
    /// Seconds since it started.
    pub uptime_seconds: Option<u64>,
    /// How it was started: `systemd` or `setsid`.
    pub started_by: Option<String>,
    /// Milliseconds from asking for the agent to its first healthy answer.
    pub start_ms: Option<f64>,
    /// Folders whose lease is held now.
    pub roots: Vec<String>,
}

/// Parameters of `agent/logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentLogsParams {
    /// Number of lines from the end [default: 100]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    pub tail: Option<u32>,
}

/// Answer of `agent/logs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentLogsOutput {
    /// The lines, oldest first.
    pub lines: Vec<String>,
}
