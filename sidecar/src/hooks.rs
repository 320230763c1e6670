//! Commands that run when something happened: which, where, for how long, and what their failure means.
//!
//! A hook never asks and gets no input. One of a project's file runs on this machine, or gets secrets and variables of it,
//! only after a person trusted it; that is decided in [`crate::trust`], and what is not allowed is not even started here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::error::Error;
use tokio_util::sync::CancellationToken;

use crate::config::schema::{HookCommand, OnFailure, Where};
use crate::config::{Layer, Loaded, Place};
use crate::frontend::Frontend;
use crate::secrets::Secrets;
use crate::transport::Transport;

mod error;
#[cfg_attr(not(unix), path = "hooks/local_absent.rs")]
mod local;
mod output;
mod remote;
mod values;

pub use error::{HookError, examples};
use output::Output;
pub use values::Values;

/// How long a hook may run when its file does not say: as long as an installation of packages takes.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Between the request to end and the end by force; a cancelled command has a second in all.
const KILL_AFTER: Duration = Duration::from_millis(500);

/// How long the rest of the output of a hook that has ended is waited for: what it left running may hold it open.
const REST: Duration = Duration::from_millis(500);

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// After a command has read the configuration of the project that it works on.
    ConfigLoaded,
    /// After a session with a remote has begun; not again when a lost connection was made anew.
    Connect,
    /// After changes arrived on the remote.
    Sync,
    /// After the container was started.
    ContainerStart,
    /// Before the container is stopped.
    ContainerStop,
    /// After a machine was rented.
    ProvisionComplete,
}

impl HookPoint {
    /// Every point, in the order of their keys.
    pub const ALL: [Self; 6] = [
        Self::ConfigLoaded,
        Self::Connect,
        Self::Sync,
        Self::ContainerStart,
        Self::ContainerStop,
        Self::ProvisionComplete,
    ];

    /// Returns its key in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigLoaded => "on_config_loaded",
            Self::Connect => "on_connect",
            Self::Sync => "on_sync",
            Self::ContainerStart => "on_container_start",
            Self::ContainerStop => "on_container_stop",
            Self::ProvisionComplete => "on_provision_complete",
        }
    }

    /// Returns where its hooks run unless they say it themselves.
    pub fn place(self) -> Where {
        match self {
            Self::ConfigLoaded => Where::Local,
            Self::Connect | Self::Sync | Self::ProvisionComplete => Where::Remote,
            Self::ContainerStart | Self::ContainerStop => Where::Container,
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One command and all that is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// When it runs.
    pub point: HookPoint,
    /// The command as it is written.
    pub run: String,
    /// Where it runs.
    pub place: Where,
    /// How long it may run.
    pub timeout: Duration,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Who said it, and where.
    pub said: Place,
}

impl Hook {
    /// Whether a person has to trust it first: a file of the project says so, and it would run here, or take a secret or
    /// a variable of this machine elsewhere. `mltoolbox.local.yaml` is such a file, too, since whoever hands on a folder
    /// can put one there.
    pub fn needs_trust(&self) -> bool {
        let is_of_project = matches!(self.said.source.layer(), Some(Layer::Project | Layer::Local));
        is_of_project && (self.place == Where::Local || self.takes_values())
    }

    /// Whether it refers to secrets or variables of this machine. One that merely looks so counts, too.
    fn takes_values(&self) -> bool {
        ["${secret:", "${env:"].iter().any(|begin| self.run.contains(begin))
    }
}

/// Returns the hooks of a configuration, in its order.
pub fn of(loaded: &Loaded) -> Vec<Hook> {
    let hooks = &loaded.config.hooks;
    let commands = |point: HookPoint| -> &[HookCommand] {
        match point {
            HookPoint::ConfigLoaded => &hooks.on_config_loaded,
            HookPoint::Connect => &hooks.on_connect,
            HookPoint::Sync => &hooks.on_sync,
            HookPoint::ContainerStart => &hooks.on_container_start,
            HookPoint::ContainerStop => &hooks.on_container_stop,
            HookPoint::ProvisionComplete => &hooks.on_provision_complete,
        }
    };
    let hook = |point: HookPoint, command: &HookCommand| Hook {
        point,
        run: command.run.clone(),
        place: command.place.unwrap_or(point.place()),
        timeout: command.timeout.map_or(TIMEOUT, |timeout| timeout.0),
        on_failure: command.on_failure.unwrap_or(OnFailure::Warn),
        said: command.said.clone(),
    };
    HookPoint::ALL
        .into_iter()
        .flat_map(|point| commands(point).iter().map(move |command| hook(point, command)))
        .collect()
}

/// Where hooks run, and who hears of them.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The project's folder here.
    pub project: &'a Path,
    /// The remote, once it is connected.
    pub remote: Option<Remote>,
    /// Whether hooks of the project's files may run here, or get values of this machine.
    pub trusted: bool,
    /// Who hears; `None` when there is only the log.
    pub frontend: Option<Arc<dyn Frontend>>,
    /// Where their secrets are: the same for all of them, so that what opens them is asked for once.
    pub secrets: &'a Secrets,
    /// Ends the hook that runs.
    pub cancel: &'a CancellationToken,
}

/// The remote that hooks run on.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The live connection.
    pub transport: Arc<dyn Transport>,
    /// The folder that is synced; the home directory when it is not there yet.
    pub folder: Option<String>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// By itself, with this status.
    Status(i32),
    /// By a signal, by its name or number.
    Signal(String),
    /// It did not, and was killed.
    TimedOut,
    /// It wanted something typed, and was killed.
    WantedInput,
    /// It was killed because nobody wants it any more.
    Cancelled,
}

/// Runs the hooks of one point one after the other. The first whose failure is not to be passed over ends it; of any
/// other failure a line is said.
pub async fn run(hooks: &[Hook], point: HookPoint, values: &Values, stage: &Stage<'_>) -> Result<(), Error> {
    for hook in hooks.iter().filter(|hook| hook.point == point) {
        let Err(error) = one(hook, values, stage).await else { continue };
        if stage.cancel.is_cancelled() || hook.on_failure == OnFailure::Fail {
            return Err(error);
        }
        tracing::warn!(hook = hook.point.name(), place = %hook.said, %error, causes = ?error.causes, "a hook failed");
        if let Some(frontend) = &stage.frontend {
            let words: Vec<&str> = std::iter::once(&error.message).chain(&error.causes).map(String::as_str).collect();
            frontend.tell(format!("warning: {}. {}", words.join(": "), error.help));
        }
    }
    Ok(())
}

/// Runs one hook to its end.
async fn one(hook: &Hook, values: &Values, stage: &Stage<'_>) -> Result<(), Error> {
    if hook.needs_trust() && !stage.trusted {
        return Err(HookError::Untrusted { hook: hook.clone(), workspace: stage.project.to_owned() }.into());
    }
    if hook.place == Where::Container {
        return Err(HookError::NoContainer { hook: hook.clone() }.into());
    }
    // A keychain that is locked waits for a person, and an encrypted file for what opens it.
    let rendered = tokio::select! {
        biased;
        () = stage.cancel.cancelled() => return Err(HookError::Cancelled { hook: hook.clone() }.into()),
        rendered = values.render(hook, stage.secrets) => rendered?,
        () = tokio::time::sleep(hook.timeout) => {
            return Err(HookError::Hung { hook: hook.clone(), last: String::new() }.into());
        }
    };
    tracing::info!(hook = hook.point.name(), place = %hook.said, on = hook.place.name(), "a hook begins");
    let output = Output::new(hook.point, stage.frontend.clone(), &rendered.hidden);
    let ended = match (hook.place, &stage.remote) {
        (Where::Local, _) => local::run(&rendered, stage.project, hook.timeout, stage.cancel, &output)
            .await
            .map_err(|source| HookError::NotStarted { hook: hook.clone(), source })?,
        (Where::Remote, Some(remote)) => remote::run(remote, &rendered, hook.timeout, stage.cancel, &output)
            .await
            .map_err(|source| HookError::NotReached { hook: hook.clone(), source })?,
        (Where::Remote, None) => return Err(HookError::NoRemote { hook: hook.clone() }.into()),
        (Where::Container, _) => return Err(HookError::NoContainer { hook: hook.clone() }.into()),
    };
    tracing::info!(hook = hook.point.name(), place = %hook.said, ?ended, "a hook ended");
    let hook = || hook.clone();
    let last = output.last_words();
    Err(match ended {
        Ended::Status(0) => return Ok(()),
        Ended::Status(status) => HookError::Failed { hook: hook(), status, last },
        Ended::Signal(signal) => HookError::Killed { hook: hook(), signal, last },
        Ended::TimedOut => HookError::Hung { hook: hook(), last },
        Ended::WantedInput => HookError::WantedInput { hook: hook() },
        Ended::Cancelled => HookError::Cancelled { hook: hook() },
    }
    .into())
}

#[cfg(test)]
pub(crate) use remote::tests::Full;
#[cfg(test)]
mod tests;
