//! Commands about running things. This version runs them on the remote machine itself.

use serde::{Deserialize, Serialize};

/// Parameters of `container/exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerExecParams {
    /// Run on the remote machine itself
    #[cfg_attr(feature = "cli", arg(long))]
    pub host: bool,
    /// Run as root through sudo
    #[cfg_attr(feature = "cli", arg(long))]
    pub sudo: bool,
    /// Command and arguments, passed on as they are
    #[cfg_attr(feature = "cli", arg(trailing_var_arg = true, required = true, value_name = "CMD"))]
    pub command: Vec<String>,
}

/// Answer of `container/exec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerExecOutput {
    /// The command's exit status; 128 + N when signal N ended it.
    pub status: i32,
    /// Name of the signal that ended it, without `SIG`.
    pub signal: Option<String>,
    /// What probably made it fail and what to do about it, in full sentences, when that is known.
    pub note: Option<String>,
}
