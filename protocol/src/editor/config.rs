//! Commands about the configuration: what holds, who said it, what is wrong with it, and changing it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of `config/init`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigInitParams {
    /// What the container is made of [default: what the folder holds]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_enum, value_name = "devcontainer|dockerfile|image", hide_possible_values = true)
    )]
    pub from: Option<ConfigFrom>,
}

/// What a container is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ConfigFrom {
    /// A `devcontainer.json`.
    Devcontainer,
    /// A Dockerfile.
    Dockerfile,
    /// An image.
    Image,
}

/// Answer of `config/init`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigInitOutput {
    /// Absolute path of the file that was written.
    pub file: String,
    /// The key that says what the container is made of.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Parameters of `config/show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigShowParams {
    /// Name the file and line, the variable or the flag that each value comes from
    #[cfg_attr(feature = "cli", arg(long))]
    pub origin: bool,
    /// Show the configuration of the agent, `agent.yaml`, in place of the project's
    #[cfg_attr(feature = "cli", arg(long))]
    pub agent: bool,
}

/// Answer of `config/show`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigShowOutput {
    /// What holds, in canonical spelling; references to secrets stay references.
    pub config: Value,
    /// With `--origin`: where each value comes from, by its key.
    pub origins: Vec<ConfigOrigin>,
    /// The files that were read, the strongest first.
    pub files: Vec<String>,
    /// The project's file.
    pub project: Option<String>,
    /// All of it as YAML.
    pub text: String,
}

/// Where the value of a key comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigOrigin {
    /// The key, its parts joined by dots.
    pub key: String,
    /// `flag`, `variable`, `project`, `local`, `user`, `system` or `default`.
    pub layer: String,
    /// The flag or variable.
    pub name: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The column in the line, in characters from 1.
    pub column: Option<usize>,
}

/// Parameters of `config/validate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigValidateParams {
    /// The file to check [default: all that hold here]
    #[cfg_attr(feature = "cli", arg(value_name = "FILE"))]
    pub file: Option<String>,
}

/// Answer of `config/validate`; with problems the command line ends with 3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigValidateOutput {
    /// The files that were checked, the strongest first.
    pub files: Vec<String>,
    /// All that is wrong.
    pub problems: Vec<ConfigProblem>,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigProblem {
    /// Where, as a person reads it: `FILE:LINE:COLUMN`, or the variable or flag.
    pub place: String,
    /// Where, for a program.
    pub origin: ConfigOrigin,
    /// What is wrong.
    pub reason: String,
    /// What to write or run instead.
    pub fix: String,
}

/// Parameters of `config/schema`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigSchemaParams {
    /// The schema of `agent.yaml` in place of the project's
    #[cfg_attr(feature = "cli", arg(long))]
    pub agent: bool,
}

/// Answer of `config/schema`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ConfigSchemaOutput {
    /// The JSON Schema, draft-07.
    pub schema: Value,
}

/// Parameters of `config/get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigGetParams {
    /// The key, its parts joined by dots: `sync.debounce`
    #[cfg_attr(feature = "cli", arg(value_name = "KEY", required = true))]
    pub key: String,
}

/// Answer of `config/get`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigGetOutput {
    /// The key in canonical spelling.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: ConfigOrigin,
    /// The value as YAML; a text as it is.
    pub text: String,
}

/// Parameters of `config/set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigSetParams {
    /// The key, its parts joined by dots: `sync.debounce`
    #[cfg_attr(feature = "cli", arg(value_name = "KEY", required = true))]
    pub key: String,
    /// Its value; a list as `[a, b]`, `null` takes back what a weaker file says
    #[cfg_attr(feature = "cli", arg(value_name = "VALUE", required = true, allow_hyphen_values = true))]
    pub value: String,
    /// Write to the user's file, `~/.config/mltoolbox/config.yaml`
    #[cfg_attr(feature = "cli", arg(long, conflicts_with = "project"))]
    pub user: bool,
    /// Write to the project's file; the default
    #[cfg_attr(feature = "cli", arg(long))]
    pub project: bool,
}

/// Answer of `config/set`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigSetOutput {
    /// Absolute path of the file.
    pub file: String,
    /// The key in canonical spelling.
    pub key: String,
    /// The value that the file has now.
    pub value: Value,
    /// A stronger place that says another value, which holds.
    pub hidden_by: Option<ConfigOrigin>,
    /// Both as a sentence.
    pub text: String,
}
