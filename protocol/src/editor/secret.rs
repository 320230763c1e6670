//! Commands about secrets. No parameter holds a value, and an answer only where it was asked for in a terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A store of secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SecretStoreKind {
    /// The keychain of the desktop or the operating system.
    #[default]
    Keychain,
    /// The encrypted file.
    File,
}

/// Where a secret can be found, in the order in which they are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SecretPlace {
    /// A variable of the environment.
    #[default]
    Environment,
    /// The keychain of the desktop or the operating system.
    Keychain,
    /// The encrypted file.
    File,
}

impl From<SecretStoreKind> for SecretPlace {
    fn from(store: SecretStoreKind) -> Self {
        match store {
            SecretStoreKind::Keychain => Self::Keychain,
            SecretStoreKind::File => Self::File,
        }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Environment => "environment",
            Self::Keychain => "keychain",
            Self::File => "file",
        })
    }
}

/// The value of a secret that a person asked to see. Its `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Revealed(pub String);

impl fmt::Debug for Revealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("****")
    }
}

/// Parameters of `secret/set`. The value is read from standard input, or asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretSetParams {
    /// Name of the secret: letters, digits, `-`, `_` and `.`; its value is read from standard input, or typed unseen
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub name: String,
    /// Where it is kept: `keychain` or `file` [default: where it is, else the keychain if there is one, else the file]
    #[cfg_attr(feature = "cli", arg(long, value_enum, value_name = "STORE", hide_possible_values = true))]
    pub store: Option<SecretStoreKind>,
}

/// Answer of `secret/set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretSetOutput {
    /// Its name.
    pub name: String,
    /// Where it is kept now.
    pub place: SecretPlace,
    /// The file, when it is that.
    pub file: Option<String>,
    /// What is worth knowing: why it is not in the keychain, and what wins over it.
    pub notes: Vec<String>,
}

/// Parameters of `secret/get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretGetParams {
    /// Name of the secret
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub name: String,
    /// Print its value; without this it is only said where it is
    #[cfg_attr(feature = "cli", arg(long))]
    pub reveal: bool,
}

/// Answer of `secret/get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretGetOutput {
    /// Its name.
    pub name: String,
    /// Every place that has it; the first one counts.
    pub places: Vec<SecretPlace>,
    /// The variable that gives it a value before any store is asked.
    pub variable: String,
    /// The file, when it is there.
    pub file: Option<String>,
    /// Places that cannot be used, with the reason.
    pub problems: Vec<String>,
    /// Its value, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Revealed>,
}

/// A secret, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// Every place that has it; the first one counts.
    pub places: Vec<SecretPlace>,
}

/// Answer of `secret/list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretListOutput {
    /// Every secret, by name.
    pub secrets: Vec<SecretRow>,
    /// Places that cannot be used, with the reason.
    pub problems: Vec<String>,
}

/// Parameters of `secret/remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretRemoveParams {
    /// Name of the secret
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub name: String,
    /// Remove it only there: `keychain` or `file` [default: wherever it is]
    #[cfg_attr(feature = "cli", arg(long, value_enum, value_name = "STORE", hide_possible_values = true))]
    pub store: Option<SecretStoreKind>,
}

/// Answer of `secret/remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretRemoveOutput {
    /// Its name.
    pub name: String,
    /// Where it was removed.
    pub places: Vec<SecretPlace>,
    /// What is worth knowing: where it could not be looked for, and what still gives it a value.
    pub notes: Vec<String>,
}

/// Parameters of `secret/import`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretImportParams {
    /// File of `NAME=value` lines, such as `.env`; it stays as it is
    #[cfg_attr(feature = "cli", arg(value_name = "FILE"))]
    pub file: String,
    /// Import only these names
    #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
    pub names: Vec<String>,
    /// Where they are kept: `keychain` or `file` [default: where each is, else the keychain if there is one, else the file]
    #[cfg_attr(feature = "cli", arg(long, value_enum, value_name = "STORE", hide_possible_values = true))]
    pub store: Option<SecretStoreKind>,
}

/// Answer of `secret/import`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretImportOutput {
    /// What was imported, and where it is kept now.
    pub imported: Vec<SecretRow>,
    /// What was left out, with the reason.
    pub skipped: Vec<SecretSkipped>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A variable that was not imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretSkipped {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}
