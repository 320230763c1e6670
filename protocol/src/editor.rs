//! Every command: its name, what it takes and what it answers.
//!
//! One struct serves JSON-RPC and the command line; its doc comments are the help text, the menu text and
//! the reference page. JSON keys are camelCase. Unknown keys are ignored, missing ones have the default
//! that the comment names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::method::{Method, Notice};

mod agent;
mod config;
mod container;
mod migrate;
mod remote;
mod secret;
mod sync;
mod tool;
mod trust;

pub use agent::*;
pub use config::*;
pub use container::*;
pub use migrate::*;
pub use remote::*;
pub use secret::*;
pub use sync::*;
pub use tool::*;
pub use trust::*;

macro_rules! methods {
    ($($name:ident = $method:literal : $params:ident => $output:ident;)*) => {
        $(
            #[doc = concat!("The command `", $method, "`.")]
            #[derive(Debug)]
            pub enum $name {}
            impl Method for $name {
                const NAME: &'static str = $method;
                type Params = $params;
                type Output = $output;
            }
        )*
    };
}

methods! {
    TryRun = "try/run": TryParams => TryOutput;
    RemoteAdd = "remote/add": RemoteAddParams => RemoteRow;
    RemoteList = "remote/list": NoParams => RemoteListOutput;
    RemoteImport = "remote/import": RemoteImportParams => RemoteImportOutput;
    RemoteShow = "remote/show": RemoteNameParams => RemoteShowOutput;
    RemoteTest = "remote/test": RemoteTestParams => RemoteTestOutput;
    RemoteRemove = "remote/remove": RemoteNameParams => RemoteRow;
    RemoteConnect = "remote/connect": RemoteConnectParams => SyncStatus;
    AgentInstall = "agent/install": NoParams => AgentStatus;
    AgentShow = "agent/status": NoParams => AgentStatus;
    AgentLogs = "agent/logs": AgentLogsParams => AgentLogsOutput;
    AgentRestart = "agent/restart": NoParams => AgentStatus;
    AgentStop = "agent/stop": NoParams => AgentStatus;
    AgentUninstall = "agent/uninstall": NoParams => AgentStatus;
    SecretSet = "secret/set": SecretSetParams => SecretSetOutput;
    SecretGet = "secret/get": SecretGetParams => SecretGetOutput;
    SecretList = "secret/list": NoParams => SecretListOutput;
    SecretRemove = "secret/remove": SecretRemoveParams => SecretRemoveOutput;
    SecretImport = "secret/import": SecretImportParams => SecretImportOutput;
    SyncPush = "sync/push": SyncPushParams => SyncPushOutput;
    SyncPull = "sync/pull": SyncPullParams => SyncPullOutput;
    SyncWatch = "sync/watch": SyncWatchParams => SyncStatus;
    SyncShow = "sync/status": NoParams => SyncStatus;
    SyncList = "sync/list": NoParams => SyncListOutput;
    SyncFlush = "sync/flush": SyncFlushParams => SyncStatus;
    SyncConflicts = "sync/conflicts": NoParams => SyncConflictsOutput;
    SyncResolve = "sync/resolve": SyncResolveParams => SyncResolveOutput;
    SyncApprove = "sync/approve": SyncApproveParams => SyncStatus;
    SyncPause = "sync/pause": NoParams => SyncStatus;
    SyncResume = "sync/resume": NoParams => SyncStatus;
    SyncStop = "sync/stop": SyncStopParams => SyncStopOutput;
    ContainerExec = "container/exec": ContainerExecParams => ContainerExecOutput;
    ProjectMigrate = "project/migrate": ProjectMigrateParams => ProjectMigrateOutput;
    WorkspaceTrust = "workspace/trust": WorkspaceTrustParams => WorkspaceTrustOutput;
    ConfigInit = "config/init": ConfigInitParams => ConfigInitOutput;
    ConfigShow = "config/show": ConfigShowParams => ConfigShowOutput;
    ConfigValidate = "config/validate": ConfigValidateParams => ConfigValidateOutput;
    ConfigSchema = "config/schema": ConfigSchemaParams => ConfigSchemaOutput;
    ConfigGet = "config/get": ConfigGetParams => ConfigGetOutput;
    ConfigSet = "config/set": ConfigSetParams => ConfigSetOutput;
    DoctorRun = "doctor/run": NoParams => DoctorOutput;
    CliCompletions = "cli/completions": CliCompletionsParams => TextOutput;
    CliMan = "cli/man": NoParams => TextOutput;
}

/// A message about a job's output; sent in order, at most 64 KiB of data each.
#[derive(Debug)]
pub enum OutputNotice {}
impl Notice for OutputNotice {
    const NAME: &'static str = "mltoolbox/output";
    type Params = OutputParams;
}

/// One piece of a job's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputParams {
    /// The job whose output this is: the id of the JSON-RPC request as text.
    pub job: String,
    /// `stdout` or `stderr`.
    pub stream: OutputStream,
    /// The bytes when they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64 when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// Which of a command's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a command applies to; accepted beside the parameters of every command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    /// Remote to use, by name (also `MLTOOLBOX_REMOTE`); the only one is the default
    #[cfg_attr(feature = "cli", arg(long, global = true, value_name = "NAME"))]
    pub remote: Option<String>,
    /// Project folder; the current one is the default
    #[cfg_attr(feature = "cli", arg(long, global = true, value_name = "DIR"))]
    pub workspace: Option<String>,
    /// Project's configuration file; the nearest `mltoolbox.yaml` above is the default
    #[cfg_attr(feature = "cli", arg(long, global = true, value_name = "FILE"))]
    pub config: Option<String>,
    /// Set a key of the configuration for this command (`--set sync.debounce=2s`)
    #[cfg_attr(feature = "cli", arg(long, global = true, value_name = "KEY=VALUE"))]
    pub set: Vec<String>,
    /// Variables that set keys of the configuration, by name; the command line takes those of its environment
    #[cfg_attr(feature = "cli", arg(skip))]
    pub variables: BTreeMap<String, String>,
    /// Answer yes to every question
    #[cfg_attr(feature = "cli", arg(long, short = 'y', global = true))]
    pub yes: bool,
}

/// For commands that take nothing of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NoParams {}

/// A text that is the whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TextOutput {
    /// The text.
    pub text: String,
}
