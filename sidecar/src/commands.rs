//! THE TABLE: one row per command. Every front end is a projection of it; none knows a command by itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::Duration;

use protocol::editor::{
    AgentInstall, AgentLogs, AgentRestart, AgentShow, AgentStop, AgentUninstall, CliCompletions, CliMan, ConfigGet,
    ConfigInit, ConfigSchema, ConfigSet, ConfigShow, ConfigValidate, ContainerExec, DoctorRun, ProjectMigrate,
    RemoteAdd, RemoteConnect, RemoteImport, RemoteList, RemoteRemove, RemoteShow, RemoteTest, SecretGet, SecretImport,
    SecretList, SecretRemove, SecretSet, SyncApprove, SyncConflicts, SyncFlush, SyncList, SyncPause, SyncPull,
    SyncPush, SyncResolve, SyncResume, SyncShow, SyncStop, SyncWatch, TryRun, WorkspaceTrust,
};
use protocol::error::{Code, Explain, Result};
use protocol::method::Method;
use serde_json::Value;

use crate::cx::Cx;

pub mod agent;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod exec;
pub mod migrate;
pub mod reference;
pub mod remote;
pub mod secret;
pub mod show;
pub mod sync;
pub mod tree;
pub mod trust;
#[cfg_attr(not(unix), path = "commands/try_out/absent.rs")]
pub mod try_out;
mod work;

use show::Text;

/// Most commands have nothing to clear away, and nobody waits longer for one that hangs.
pub const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// Where a command does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In the process that was asked.
    Anywhere,
    /// In the workspace's background process when there is one, else in the process that was asked.
    Owner,
    /// In the workspace's background process, which is started when there is none.
    StartsOwner,
    /// As [`Where::Owner`]; with `all` set, in the background process of every workspace.
    Owners,
}

/// Which state database a command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The user's own.
    Own,
    /// The user's own, or a spare one that is forgotten when that cannot be opened.
    OwnOrSpare,
    /// A spare one: it has nothing to do with the user's, and must not make it.
    Spare,
}

/// A running command's future.
pub type Running = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

/// What runs a command.
pub type Run = Box<dyn Fn(Cx, Value) -> Running + Send + Sync>;

/// What writes an answer for a person.
pub type Show = Box<dyn Fn(&Value, &mut Text) + Send + Sync>;

/// One row: a command as every front end sees it.
pub struct Command {
    /// `noun/verb`; `mltoolbox/noun/verb` on the wire.
    pub name: &'static str,
    /// The name on the wire: [`WIRE_PREFIX`] and the name.
    pub method: String,
    /// The words of the command line.
    pub cli: &'static [&'static str],
    /// One line for help pages and menus.
    pub about: &'static str,
    /// Examples, one per line, as typed after the program's name.
    pub examples: &'static [&'static str],
    /// Where it does its work.
    pub runs: Where,
    /// Which state database it is given.
    pub state: State,
    /// Whether doing it a second time is another thing than doing it once, so that nobody but the person repeats it.
    pub once: bool,
    /// How long it may take to end after its cancellation; then it is left to itself.
    pub grace: Duration,
    /// Adds its arguments to a clap command.
    pub arguments: fn(clap::Command) -> clap::Command,
    /// Returns the parameters that clap read.
    pub parse: fn(&clap::ArgMatches) -> Value,
    /// Returns the JSON Schema of its parameters.
    pub params_schema: fn() -> Value,
    /// Returns the JSON Schema of its answer.
    pub output_schema: fn() -> Value,
    /// Runs it.
    pub run: Run,
    /// Writes its answer for a person.
    pub show: Show,
    /// Returns the exit status that its answer means.
    pub status: Box<dyn Fn(&Value) -> u8 + Send + Sync>,
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Command").field("name", &self.name).field("runs", &self.runs).finish_non_exhaustive()
    }
}

static TABLE: LazyLock<Vec<Command>> = LazyLock::new(rows);

/// Returns every command, in the order of the help page.
pub fn table() -> &'static [Command] {
    &TABLE
}

/// Returns the command of that name, with or without the prefix of the wire.
pub fn find(name: &str) -> Option<&'static Command> {
    let name = name.strip_prefix(WIRE_PREFIX).unwrap_or(name);
    table().iter().find(|command| command.name == name)
}

/// What stands before a command's name on the wire.
pub const WIRE_PREFIX: &str = "mltoolbox/";

#[rustfmt::skip] // One row, one line.
fn rows() -> Vec<Command> {
    vec![
        on::<TryRun, _>(&["try"], "Show on this machine what MLToolbox does; leaves nothing behind", try_out::run, show::tried).grace(try_out::GRACE).examples(&["try", "try ~/project --keep"]).state(State::Spare),
        on::<RemoteAdd, _>(&["remote", "add"], "Add a remote", remote::add, show::remote).examples(&["remote add gpu1 --host ubuntu@203.0.113.7", "remote add gpu2 --host alias-of-ssh-config", "remote add gpu3 --host 10.0.0.7 --jump ada@gate.example.org"]),
        on::<RemoteList, _>(&["remote", "list"], "List the remotes", remote::list, show::remotes),
        on::<RemoteImport, _>(&["remote", "import"], "List the hosts of ~/.ssh/config, or add them as remotes", remote::import, show::imported).examples(&["remote import", "remote import gpu1 gpu2", "remote import --all"]),
        on::<RemoteShow, _>(&["remote", "show"], "Show all that is known about a remote", remote::show, show::shown),
        on::<RemoteTest, _>(&["remote", "test"], "Connect to a remote and measure it", remote::test, show::tested),
        on::<RemoteRemove, _>(&["remote", "remove"], "Forget a remote; nothing is changed on it", remote::remove, show::removed),
        on::<RemoteConnect, _>(&["remote", "connect"], "Add a remote if it is new, and keep the workspace synced to it", remote::connect, show::status).runs(Where::StartsOwner).examples(&["remote connect ubuntu@203.0.113.7:22"]),
        on::<AgentInstall, _>(&["agent", "install"], "Install or update the agent on a remote", agent::install, show::agent),
        on::<AgentShow, _>(&["agent", "status"], "Show how the agent on a remote is", agent::status, show::agent),
        on::<AgentLogs, _>(&["agent", "logs"], "Show the agent's last log lines", agent::logs, show::agent_logs),
        on::<AgentRestart, _>(&["agent", "restart"], "Restart the agent", agent::restart, show::agent),
        on::<AgentStop, _>(&["agent", "stop"], "Stop the agent", agent::stop, show::agent),
        on::<AgentUninstall, _>(&["agent", "uninstall"], "Remove the agent and all it made for itself", agent::uninstall, show::agent),
        on::<SyncPush, _>(&["sync", "push"], "Bring the remote up to date once", sync::push, show::pushed).runs(Where::Owner).examples(&["sync push", "sync push ~/project --to /data/project --dry-run"]),
        on::<SyncPull, _>(&["sync", "pull"], "Bring home what the remote wrote: edits, results, logs", sync::pull, show::pulled).runs(Where::Owner).status::<SyncPull>(pull_status).examples(&["sync pull", "sync pull checkpoints/ 'runs/*.csv'"]),
        on::<SyncWatch, _>(&["sync", "watch"], "Keep the remote up to date with every save", sync::watch, show::status).runs(Where::StartsOwner).examples(&["sync watch --remote gpu1", "sync watch --foreground"]),
        on::<SyncShow, _>(&["sync", "status"], "Show how the sync of this workspace stands", sync::status, show::status).runs(Where::Owner),
        on::<SyncList, _>(&["sync", "list"], "List every workspace that is synced", sync::list, show::syncs),
        on::<SyncFlush, _>(&["sync", "flush"], "Wait until every change is on the remote", sync::flush, show::status).runs(Where::Owner),
        on::<SyncConflicts, _>(&["sync", "conflicts"], "List what changed on both sides", sync::conflicts, show::conflicts).runs(Where::Owner),
        on::<SyncResolve, _>(&["sync", "resolve"], "Decide which side of a conflict wins", sync::resolve, show::resolved).runs(Where::Owner).once().examples(&["sync resolve train.py --take local", "sync resolve --all --take both"]),
        on::<SyncApprove, _>(&["sync", "approve"], "Allow what a brake stopped", sync::approve, show::status).runs(Where::Owner).once(),
        on::<SyncPause, _>(&["sync", "pause"], "Pause the sync; changes are remembered", sync::pause, show::status).runs(Where::Owner),
        on::<SyncResume, _>(&["sync", "resume"], "Go on after a pause", sync::resume, show::status).runs(Where::Owner),
        on::<SyncStop, _>(&["sync", "stop"], "Stop the sync; nothing is removed", sync::stop, show::stopped).runs(Where::Owners),
        on::<ContainerExec, _>(&["exec"], "Run a command on the remote", exec::run, show::nothing).status::<ContainerExec>(exec_status).examples(&["exec --host -- nvidia-smi", "exec --host -- bash"]),
        on::<ProjectMigrate, _>(&["migrate"], "Write an mltoolbox.yaml from .env, Dockerfile and compose file", migrate::run, migrate::show).examples(&["migrate --dry-run", "migrate"]).state(State::Spare),
        on::<WorkspaceTrust, _>(&["trust"], "Let a project's own commands run on this machine", trust::run, trust::show).examples(&["trust --status", "trust", "trust --revoke"]),
        on::<SecretSet, _>(&["secret", "set"], "Store a secret; its value is read from standard input, or typed unseen", secret::set, secret::show::set).state(State::Spare).examples(&["secret set hf-token", "secret set hf-token < token.txt", "secret set hf-token --store file"]),
        on::<SecretGet, _>(&["secret", "get"], "Say where a secret is, or print it", secret::get, secret::show::got).state(State::Spare).examples(&["secret get hf-token", "secret get hf-token --reveal"]),
        on::<SecretList, _>(&["secret", "list"], "List the names of the secrets, and where each is", secret::list, secret::show::list).state(State::Spare),
        on::<SecretRemove, _>(&["secret", "remove"], "Forget a secret", secret::remove, secret::show::removed).state(State::Spare),
        on::<SecretImport, _>(&["secret", "import"], "Store the variables of a file as secrets", secret::import, secret::show::imported).state(State::Spare).examples(&["secret import .env", "secret import .env HF_TOKEN WANDB_API_KEY"]),
        on::<ConfigInit, _>(&["init"], "Write a commented mltoolbox.yaml for this project", config::init, show::config::begun).state(State::Spare).examples(&["init", "init --from dockerfile"]),
        on::<ConfigShow, _>(&["config", "show"], "Show the configuration that holds here", config::show, show::config::shown).state(State::Spare).examples(&["config show", "config show --origin"]),
        on::<ConfigValidate, _>(&["config", "validate"], "Check the configuration: all that is wrong, where, and what to write instead", config::validate, show::config::checked).status::<ConfigValidate>(config::status).state(State::Spare).examples(&["config validate", "config validate other/mltoolbox.yaml"]),
        on::<ConfigSchema, _>(&["config", "schema"], "Print the JSON Schema of mltoolbox.yaml", config::schema, show::config::schema).state(State::Spare).examples(&["config schema > mltoolbox.schema.json"]),
        on::<ConfigGet, _>(&["config", "get"], "Print the value of a key", config::get, show::config::got).state(State::Spare).examples(&["config get sync.exclude"]),
        on::<ConfigSet, _>(&["config", "set"], "Set a key in the project's or the user's file; comments stay", config::set, show::config::set).state(State::Spare).examples(&["config set sync.debounce 2s", "config set --user remote.default gpu1"]),
        on::<DoctorRun, _>(&["doctor"], "Check everything and say what to mend", doctor::run, show::doctor).status::<DoctorRun>(doctor::status).state(State::OwnOrSpare),
        on::<CliCompletions, _>(&["completions"], "Print a completion script for a shell", cli::completions, show::text).examples(&["completions bash > ~/.local/share/bash-completion/completions/mltoolbox-sidecar"]).state(State::Spare),
        on::<CliMan, _>(&["man"], "Print the manual page", cli::man, show::text).examples(&["man | man -l -"]).state(State::Spare),
    ]
}

/// Passes the command's own status through; what does not fit into a byte is cut as the shell does.
fn exec_status(ended: &protocol::editor::ContainerExecOutput) -> u8 {
    ended.status.to_le_bytes()[0]
}

/// Whether something did not come home.
fn pull_status(output: &protocol::editor::SyncPullOutput) -> u8 {
    u8::from(!output.problems.is_empty())
}

fn on<M: Method, F>(
    cli: &'static [&'static str],
    about: &'static str,
    handler: fn(Cx, M::Params) -> F,
    show: fn(&M::Output, &mut Text),
) -> Command
where
    F: Future<Output = Result<M::Output>> + Send + 'static,
{
    Command {
        name: M::NAME,
        method: format!("{WIRE_PREFIX}{}", M::NAME),
        cli,
        about,
        examples: &[],
        runs: Where::Anywhere,
        state: State::Own,
        once: false,
        grace: CANCEL_GRACE,
        arguments: <M::Params as clap::Args>::augment_args,
        parse: |matches| {
            let params =
                <M::Params as clap::FromArgMatches>::from_arg_matches(matches).expect("clap checked the arguments");
            serde_json::to_value(params).expect("parameters are plain data")
        },
        params_schema: || with_required(schemars::schema_for!(M::Params).to_value(), &required::<M>()),
        output_schema: || schemars::schema_for!(M::Output).to_value(),
        run: Box::new(move |cx, params| match params_of::<M>(params) {
            Ok(params) => {
                let work = handler(cx, params);
                Box::pin(async move { Ok(serde_json::to_value(work.await?).expect("outputs are plain data")) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }),
        show: Box::new(move |output, text| match serde_json::from_value(output.clone()) {
            Ok(output) => show(&output, text),
            // An owner of another version may answer what we cannot read; its words are still worth showing.
            Err(_) => text.line(&output.to_string()),
        }),
        status: Box::new(|_| 0),
    }
}

/// Returns the parameters that JSON gives, once nothing is missing that the command line would ask for.
fn params_of<M: Method>(params: Value) -> Result<M::Params, ParamsError> {
    let is_given = |name: &String| match &params[name] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    let missing: Vec<String> = match &params {
        Value::Object(_) => required::<M>().into_iter().filter(|name| !is_given(name)).collect(),
        // What is no object is wrong in itself.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Vec::new(),
    };
    if !missing.is_empty() {
        return Err(ParamsError::Missing { method: M::NAME, names: missing });
    }
    serde_json::from_value(params).map_err(|source| ParamsError::Invalid { method: M::NAME, source })
}

/// Returns the names, as in JSON, of the parameters that the command line requires.
fn required<M: Method>() -> Vec<String> {
    let arguments = <M::Params as clap::Args>::augment_args(clap::Command::new(M::NAME));
    arguments
        .get_arguments()
        .filter(|argument| argument.is_required_set())
        .map(|argument| camel(argument.get_id().as_str()))
        .collect()
}

/// Returns the name of a Rust field as JSON has it.
fn camel(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (head, tail) = word.split_at(word.len().min(1));
        name + &head.to_uppercase() + tail
    })
}

fn with_required(mut schema: Value, names: &[String]) -> Value {
    if !names.is_empty() {
        schema["required"] = names.into();
    }
    schema
}

impl Command {
    fn runs(self, runs: Where) -> Self {
        Self { runs, ..self }
    }

    fn state(self, state: State) -> Self {
        Self { state, ..self }
    }

    fn once(self) -> Self {
        Self { once: true, ..self }
    }

    fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    fn examples(self, examples: &'static [&'static str]) -> Self {
        Self { examples, ..self }
    }

    fn status<M: Method>(self, status: fn(&M::Output) -> u8) -> Self {
        Self {
            status: Box::new(move |output| serde_json::from_value(output.clone()).map_or(1, |output| status(&output))),
            ..self
        }
    }
}

/// Why a command could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// The JSON does not fit.
    #[error("the parameters of `{method}` are not valid")]
    Invalid {
        /// The command.
        method: &'static str,
        /// Where it does not fit.
        source: serde_json::Error,
    },
    /// Something that the command cannot do without is not there.
    #[error("`{method}` needs `{}`", names.join("` and `"))]
    Missing {
        /// The command.
        method: &'static str,
        /// The parameters.
        names: Vec<String>,
    },
    /// No row has that name.
    #[error("there is no command `{name}`")]
    UnknownMethod {
        /// The name that was asked for.
        name: String,
    },
}

impl Explain for ParamsError {
    fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } | Self::Missing { .. } => Code::ParamsInvalid,
            Self::UnknownMethod { .. } => Code::MethodUnknown,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Invalid { method, .. } | Self::Missing { method, .. } => {
                format!("Give `{method}` the parameters that `protocol/methods.md` lists for it.")
            }
            Self::UnknownMethod { .. } => {
                "Use one of the names that the answer to `initialize` announces; `protocol/methods.md` lists them."
                    .to_owned()
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let source =
        serde_json::from_str::<protocol::editor::RemoteAddParams>("{\"port\":\"ssh\"}").expect_err("no number");
    let own = vec![
        ParamsError::Invalid { method: RemoteAdd::NAME, source }.into(),
        ParamsError::Missing { method: RemoteAdd::NAME, names: vec!["name".to_owned(), "host".to_owned()] }.into(),
        ParamsError::UnknownMethod { name: "mltoolbox/remote/fly".to_owned() }.into(),
    ];
    [
        own,
        remote::address::examples(),
        remote::choice::examples(),
        remote::import::examples(),
        sync::examples(),
        exec::examples(),
        secret::examples(),
        doctor::machine::examples(),
        crate::config::examples(),
        try_out::examples(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_are_unique() {
        let names: std::collections::BTreeSet<_> = table().iter().map(|command| command.name).collect();
        let words: std::collections::BTreeSet<_> = table().iter().map(|command| command.cli).collect();
        assert_eq!((names.len(), words.len()), (table().len(), table().len()));
    }

    #[test]
    fn a_name_is_found_with_and_without_its_prefix() {
        assert_eq!(find("remote/add").map(|command| command.name), Some("remote/add"));
        assert_eq!(find("mltoolbox/remote/add").map(|command| command.name), Some("remote/add"));
        assert!(find("remote/fly").is_none());
    }

    #[test]
    fn the_command_line_and_json_require_the_same() {
        assert_eq!(required::<RemoteAdd>(), ["name", "host"]);
        assert_eq!(required::<ContainerExec>(), ["command"]);
        assert_eq!(required::<SyncPush>(), Vec::<String>::new());
        for command in table() {
            let schema = (command.params_schema)();
            let required = schema["required"].as_array().into_iter().flatten();
            for name in required.filter_map(Value::as_str) {
                assert!(schema["properties"][name].is_object(), "{} requires `{name}`, which it has not", command.name);
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = params_of::<RemoteAdd>(serde_json::json!({ "name": "" })).expect_err("nothing is given");
        assert_eq!(error.to_string(), "`remote/add` needs `name` and `host`");
        params_of::<RemoteAdd>(serde_json::json!({ "name": "gpu1", "host": "h" })).expect("all is given");
    }
}
