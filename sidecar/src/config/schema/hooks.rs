//! The keys of `hooks`: which commands run when, where, for how long, and what their failure means.

use super::super::place::Place;
use super::super::setting::{Kind, Reading, Setting, choice, section};
use super::super::tree::{Node, Value};
use super::super::units::Interval;

section! {
    /// Commands that run when something happened. Each is a text, or a map with `run` and how it is to run.
    Hooks {
        /// After the configuration was read, on this machine unless said otherwise.
        on_config_loaded: Vec<HookCommand>, "[echo ready]";
        /// After a remote was connected, on the remote unless said otherwise.
        on_connect: Vec<HookCommand>, "[\"echo connected to {{ remote.host }}\"]";
        /// After changes arrived on the remote, on the remote unless said otherwise.
        on_sync: Vec<HookCommand>, "[{run: \"echo {{ sync.files_changed }} files\", where: local, timeout: 30s}]";
        /// After the container was started, in the container unless said otherwise.
        on_container_start: Vec<HookCommand>, "[pip install -e ., pre-commit install]";
        /// Before the container is stopped, in the container unless said otherwise.
        on_container_stop: Vec<HookCommand>, "[{run: python save.py, on_failure: fail}]";
        /// After a machine was rented, on that machine unless said otherwise.
        on_provision_complete: Vec<HookCommand>, "[nvidia-smi]";
    }
}

section! {
    /// A command with how it is to run.
    HookMap {
        /// The command, for a shell.
        run: Option<String>, "git status";
        /// Where it runs; each hook has a place of its own when nothing is said.
        place as "where": Option<Where>, "remote";
        /// How long it may run; five minutes when nothing is said.
        timeout: Option<Interval>, "30s";
        /// What its failure means; a warning when nothing is said.
        on_failure: Option<OnFailure>, "warn";
    }
}

choice! {
    /// Where a command runs.
    Where {
        /// On this machine, in the project's folder; one of a project file only in a workspace that was trusted.
        Local = "local";
        /// On the remote, in the folder that is synced.
        Remote = "remote";
        /// In the project's container.
        Container = "container";
    }
}

choice! {
    /// What a command's failure means.
    OnFailure {
        /// It is said, and all goes on.
        Warn = "warn";
        /// What the hook belongs to fails, too.
        Fail = "fail";
    }
}

/// One command of a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct HookCommand {
    /// The command, for a shell; may hold `{{ … }}`.
    pub run: String,
    /// Where it runs; `None` for the hook's own place.
    pub place: Option<Where>,
    /// How long it may run; `None` for the default.
    pub timeout: Option<Interval>,
    /// What its failure means; `None` for a warning.
    pub on_failure: Option<OnFailure>,
    /// Who said it, and where: what a project file says needs trust before it runs here.
    pub said: Place,
}

impl Setting for HookCommand {
    fn kind() -> Kind {
        Kind::Either(vec![String::kind(), HookMap::kind()])
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        let said = node.place.clone();
        if let Value::Map(_) = node.value {
            let HookMap { run, place, timeout, on_failure } = HookMap::read(node, reading)?;
            let Some(run) = run else {
                let fix = "Add the command: `run: git status`.";
                reading.problem(&said, "a hook without `run` runs nothing", fix);
                return None;
            };
            return Some(Self { run, place, timeout, on_failure, said });
        }
        let run = String::read(node, reading)?;
        Some(Self { run, place: None, timeout: None, on_failure: None, said })
    }
}
