//! Commands about remotes: the machines we reach.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::agent::AgentState;
use crate::error::Error;
use crate::hello::Facts;

/// Parameters of `remote/add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteAddParams {
    /// Name for the remote: letters, digits, `-`, `_` and `.`
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub name: String,
    /// Alias of `~/.ssh/config`, host name or address; also as `user@host:port` and `ssh://user@host:port`
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST"))]
    pub host: String,
    /// User to log in as; what `~/.ssh/config` says, else your own user name, is the default
    #[cfg_attr(feature = "cli", arg(long, value_name = "USER"))]
    pub user: Option<String>,
    /// Port of the SSH server; what `~/.ssh/config` says, else 22, is the default
    #[cfg_attr(feature = "cli", arg(long, value_name = "PORT"))]
    pub port: Option<u16>,
    /// Hosts to jump over, in order, as in `ProxyJump`; `none` jumps over none of `~/.ssh/config`
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST[,HOST]"))]
    pub jump: Option<String>,
    /// Private key file; those of `~/.ssh/config`, the SSH agent and the usual files are the default
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATH"))]
    pub key: Option<String>,
    /// Accept a host key that was never seen; a changed one is refused all the same
    #[cfg_attr(feature = "cli", arg(long))]
    pub accept_new: bool,
    /// Install no agent there: the sync goes over SFTP, which is slower
    #[cfg_attr(feature = "cli", arg(long))]
    pub no_agent: bool,
}

/// Why no agent is used on a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum NoAgent {
    /// The person does not want one there.
    Refused,
    /// There is none for that kind of machine.
    Platform,
    /// It was put there and does not run.
    NoExec,
    /// The account runs no commands.
    NoShell,
}

impl fmt::Display for NoAgent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Refused => "none is wanted there",
            Self::Platform => "there is none for that kind of machine",
            Self::NoExec => "what is put into its home does not run, as where it is mounted `noexec`",
            Self::NoShell => "its account runs no commands",
        })
    }
}

/// Parameters of commands that take a remote's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteNameParams {
    /// Name of the remote
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub name: String,
}

/// Parameters of `remote/test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteTestParams {
    /// Name of the remote; the chosen or only one is the default
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub name: Option<String>,
}

/// Parameters of `remote/connect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteConnectParams {
    /// Name of a remote; to add one, `user@host:port` or an alias of `~/.ssh/config`
    #[cfg_attr(feature = "cli", arg(value_name = "HOST"))]
    pub host: String,
}

/// A remote as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteRow {
    /// Its name.
    pub name: String,
    /// Alias of `~/.ssh/config`, host name or address, as it was typed.
    pub host: String,
    /// Port of the SSH server, when one was named; else `~/.ssh/config` decides at each connection.
    pub port: Option<u16>,
    /// User to log in as, when one was named; else `~/.ssh/config` decides at each connection.
    pub user: Option<String>,
    /// Hosts to jump over, as in `ProxyJump`, when some were named; else `~/.ssh/config` decides at each connection.
    pub jump: Option<String>,
    /// Private key file, when one is set.
    pub key: Option<String>,
    /// Whether a host key that was never seen is accepted.
    pub accept_new: bool,
    /// Whether the person agreed to install the agent there.
    pub agent_allowed: bool,
    /// What the machine said of itself when it was last reached.
    pub facts: Option<Facts>,
    /// When it was last reached, in seconds since the Unix epoch.
    pub last_reached: Option<i64>,
    /// Why no agent is used there, when none is.
    pub no_agent: Option<NoAgent>,
}

/// How a remote is reached, with `~/.ssh/config` taken into account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteWay {
    /// Name or address that is dialled.
    pub host: String,
    /// Port of the SSH server.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// Hosts to jump over on the way, in order, each as `user@host:port`.
    pub jumps: Vec<String>,
    /// Command whose input and output are the connection to the first host.
    pub command: Option<String>,
    /// Private key files that are tried when they exist, in order.
    pub keys: Vec<String>,
    /// What `~/.ssh/config` says and is not honoured.
    pub warnings: Vec<String>,
}

/// Answer of `remote/show`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteShowOutput {
    /// The remote as it is stored.
    #[serde(flatten)]
    pub remote: RemoteRow,
    /// How it is reached; absent when that cannot be told.
    pub way: Option<RemoteWay>,
    /// Why it cannot be told how it is reached.
    pub problem: Option<Error>,
}

/// Parameters of `remote/import`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteImportParams {
    /// Hosts of `~/.ssh/config` to add as remotes; without any, all are listed
    #[cfg_attr(feature = "cli", arg(value_name = "HOST", conflicts_with = "all"))]
    pub hosts: Vec<String>,
    /// Add every host that is no remote yet
    #[cfg_attr(feature = "cli", arg(long))]
    pub all: bool,
}

/// A host of `~/.ssh/config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteImportRow {
    /// Its name there.
    pub alias: String,
    /// How it is reached; absent when that cannot be told.
    pub way: Option<RemoteWay>,
    /// The remote that it is.
    pub remote: Option<String>,
    /// Whether that was added just now.
    pub added: bool,
    /// Why it cannot be a remote.
    pub problem: Option<Error>,
}

/// Answer of `remote/import`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteImportOutput {
    /// The hosts that were asked for, in the order of the configuration.
    pub hosts: Vec<RemoteImportRow>,
}

/// Answer of `remote/list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteListOutput {
    /// Every remote, by name.
    pub remotes: Vec<RemoteRow>,
    /// The one that this workspace uses.
    pub chosen: Option<String>,
}

/// Answer of `remote/test`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteTestOutput {
    /// Its name.
    pub name: String,
    /// How it was reached.
    pub way: RemoteWay,
    /// Milliseconds from the first packet to the end of authentication.
    pub connect_ms: f64,
    /// Milliseconds of one round trip over the live connection, median of several.
    pub round_trip_ms: f64,
    /// How the server accepted us: `agent` or `key` with the key's name, `a password`, `answers to its questions`; several
    /// parts joined by `and`.
    pub authentication: String,
    /// SHA-256 fingerprint of the host key.
    pub host_key: String,
    /// Negotiated cipher.
    pub cipher: String,
    /// What `uname` and the shell say of the machine.
    pub facts: Option<Facts>,
    /// State of the agent there.
    pub agent: AgentState,
    /// What does not work over this connection, with the reason; empty when all does.
    pub limits: Vec<String>,
}
