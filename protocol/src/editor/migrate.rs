//! The command that turns the files of an older project into one configuration.

use serde::{Deserialize, Serialize};

/// Parameters of `project/migrate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectMigrateParams {
    /// Show what would be written, and write nothing
    #[cfg_attr(feature = "cli", arg(long))]
    pub dry_run: bool,
}

/// Answer of `project/migrate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectMigrateOutput {
    /// The new file.
    pub path: String,
    /// Whether it was written now.
    pub written: bool,
    /// Whether it was only asked what would be written.
    pub dry_run: bool,
    /// The files of the older project that were read.
    pub found: Vec<String>,
    /// The text of the new file; empty when one stands there already.
    pub text: String,
    /// What looks like a secret; the new file refers to it by name.
    pub secrets: Vec<MigratedSecret>,
    /// What was not carried over.
    pub left: Vec<MigrateLeft>,
}

/// A value that looks like a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MigratedSecret {
    /// Its name in the secret store.
    pub name: String,
    /// The variable whose value it is.
    pub variable: String,
    /// Where it stands: the file, and the line behind a colon.
    pub place: String,
    /// Whether it is in the secret store now.
    pub stored: bool,
}

/// Something that was not carried over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MigrateLeft {
    /// Where it stands: the file, and the line behind a colon.
    pub place: String,
    /// What it is.
    pub what: String,
    /// Why it was left, and what to do instead.
    pub why: String,
}
