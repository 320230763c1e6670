//! Every key of `mltoolbox.yaml`, declared once: its type, what it is for, its default and an example. The JSON Schema, the
//! reference page and the checks are made of these declarations.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::setting::{Field, Kind, Setting, Whole, section};
use super::units::{Name, RemoteFolder, Version};

mod agent;
mod environment;
mod hooks;
mod provision;
mod sync;

pub use agent::{Agent, AgentLogging, AgentMetrics, AgentProject, AgentRelay, AgentSsh, Level};
pub use environment::{EnvFiles, Environment, Gpu, NetworkMode, Profile};
pub use hooks::{HookCommand, HookMap, Hooks, OnFailure, Where};
pub use provision::{Actions, Backend, OnAvailable, Provision, ProvisionStrategy, Requirements, Watch};
pub use sync::{Git, Strategy, Sync};

section! {
    /// All of a project's configuration.
    Config {
        /// The version of this format. A file of a newer version is refused.
        version: Version = "\"3.0\"", "\"3.0\"";
        /// What the project is called.
        project: Project, "{name: myproject}";
        /// Which remote is meant when none is named, and which folder there.
        remote: Remote, "{default: gpu1, dir: /data/myproject}";
        /// The container that the project runs in. Exactly one of `base_image`, `dockerfile` and `devcontainer` says what it is made of.
        environment: Environment, "{base_image: python:3.12}";
        /// Sets of environment variables to choose from with `environment.profile`. For the user's and the machine's file only.
        profiles: BTreeMap<String, Profile>, "{ml-research: {env: {HF_HOME: /data/huggingface}}}";
        /// Ray, started in the container by the plugin `ray`.
        ray: Ray, "{enabled: true}";
        /// What is synced to the remote, and how.
        sync: Sync, "{exclude: [\"*.pyc\", data/raw/]}";
        /// How a machine is rented when there is none.
        provision: Provision, "{requirements: {gpu_type: A100}}";
        /// Waiting for a machine that is not to be had now.
        watch: Watch, "{enabled: true, instance_types: [gpu_1x_a100_sxm4]}";
        /// Commands that run when something happened.
        hooks: Hooks, "{on_connect: [git status]}";
        /// The plugins to use, by name.
        plugins: Vec<Name>, "[wandb, slack-notifications]";
        /// What editors do by themselves.
        editors: Editors, "{autostart: true}";
    }
}

section! {
    /// What the project is called.
    Project {
        /// The project's name; that of its folder when none is given.
        name: Option<Name>, "myproject";
    }
}

section! {
    /// Which remote, and where on it.
    Remote {
        /// The remote to use when `--remote` names none.
        default: Option<Name>, "gpu1";
        /// The folder on the remote; a folder of its own below `~/mltoolbox` when none is given.
        dir: Option<RemoteFolder>, "/data/myproject";
    }
}

section! {
    /// Ray.
    Ray {
        /// Whether Ray is started.
        enabled: bool = "false", "true";
        /// The port of Ray's head node.
        port: Whole<1, 65535> = "6379", "6379";
        /// The port of Ray's dashboard.
        dashboard_port: Whole<1, 65535> = "8265", "8265";
    }
}

section! {
    /// What editors do by themselves.
    Editors {
        /// Whether an editor that opens the project starts its sync unasked; not honoured in a file of the project.
        autostart: bool = "false", "true";
    }
}

/// Which file a text is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Document {
    /// `mltoolbox.yaml`, and `config.yaml` of the user and the machine.
    #[default]
    Project,
    /// `agent.yaml`.
    Agent,
}

static PROJECT: LazyLock<Vec<Field>> = LazyLock::new(|| fields(Config::kind()));
static AGENT: LazyLock<Vec<Field>> = LazyLock::new(|| fields(Agent::kind()));

fn fields(kind: Kind) -> Vec<Field> {
    match kind {
        Kind::Section(fields) => fields,
        Kind::Bool
        | Kind::Whole { .. }
        | Kind::Text { .. }
        | Kind::Choice(_)
        | Kind::List(_)
        | Kind::Map(_)
        | Kind::Either(_) => Vec::new(),
    }
}

impl Document {
    /// Returns the keys at the top of the file.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Project => &PROJECT,
            Self::Agent => &AGENT,
        }
    }

    /// Returns every key, its parts joined by dots, `*` for a name that a person chooses; sections before what is in them.
    pub fn keys(self) -> Vec<(String, &'static Field)> {
        let mut keys = Vec::new();
        gather("", self.fields(), &mut keys);
        keys
    }

    /// Returns the key of that name; a part of it may be a name that a person chooses.
    pub fn find(self, key: &str) -> Option<Found> {
        let mut parts = key.split('.');
        let field = self.fields().iter().find(|field| Some(field.name) == parts.clone().next())?;
        parts.next();
        let mut found = Found { field, kind: &field.kind };
        for part in parts {
            found = match found.kind {
                Kind::Section(fields) => {
                    let field = fields.iter().find(|field| field.name == part)?;
                    Found { field, kind: &field.kind }
                }
                Kind::Map(values) if !part.is_empty() => Found { kind: values, ..found },
                Kind::Either(kinds) => kinds
                    .iter()
                    .find_map(|kind| match kind {
                        Kind::Section(fields) => fields.iter().find(|field| field.name == part),
                        _ => None,
                    })
                    .map(|field| Found { field, kind: &field.kind })?,
                Kind::Bool
                | Kind::Whole { .. }
                | Kind::Text { .. }
                | Kind::Choice(_)
                | Kind::List(_)
                | Kind::Map(_) => return None,
            };
        }
        Some(found)
    }
}

/// A key that was found by its name.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The nearest key that has a description.
    pub field: &'static Field,
    /// What the key takes: that of the field, or of the values in it.
    pub kind: &'static Kind,
}

fn gather(above: &str, fields: &'static [Field], keys: &mut Vec<(String, &'static Field)>) {
    for field in fields {
        let key = if above.is_empty() { field.name.to_owned() } else { format!("{above}.{}", field.name) };
        keys.push((key.clone(), field));
        below(&key, &field.kind, keys);
    }
}

fn below(key: &str, kind: &'static Kind, keys: &mut Vec<(String, &'static Field)>) {
    match kind {
        Kind::Section(fields) => gather(key, fields, keys),
        Kind::Map(values) => below(&format!("{key}.*"), values, keys),
        Kind::List(items) => below(&format!("{key}[]"), items, keys),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| below(key, kind, keys)),
        Kind::Bool | Kind::Whole { .. } | Kind::Text { .. } | Kind::Choice(_) => {}
    }
}
