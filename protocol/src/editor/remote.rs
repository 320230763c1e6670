//! Commands about remotes: the machines we reach.

use serde::{Deserialize, Serialize};

use super::agent::AgentState;
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
    /// Host name or address
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST"))]
    pub host: String,
    /// User to log in as; your own user name is the default
    #[cfg_attr(feature = "cli", arg(long, value_name = "USER"))]
    pub user: Option<String>,
    /// Port of the SSH server [default: 22]
    #[cfg_attr(feature = "cli", arg(long, value_name = "PORT"))]
    pub port: Option<u16>,
    /// Private key file; the SSH agent and the usual files are the default
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATH"))]
    pub key: Option<String>,
    /// Accept a host key that was never seen; a changed one is refused all the same
    #[cfg_attr(feature = "cli", arg(long))]
    pub accept_new: bool,
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
    /// Name of a remote, or `user@host:port` of one to add
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
    /// Host name or address.
    pub host: String,
    /// Port of the SSH server.
    pub port: u16,
    /// User to log in as.
    pub user: String,
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
    /// Milliseconds from the first packet to the end of authentication.
    pub connect_ms: f64,
    /// Milliseconds of one round trip over the live connection, median of several.
    pub round_trip_ms: f64,
    /// How the server accepted us: `agent` or `key` with the key's name.
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
