//! Why a hook did not do its work: where it stands, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use protocol::error::{Code, Example, Explain, word};

use super::Hook;
use crate::interpolate::TemplateError;
use crate::transport::TransportError;

/// Why a hook did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It ended with another status than 0.
    #[error("{} ended with status {status}{}", name(hook), said(last))]
    Failed {
        /// The hook.
        hook: Hook,
        /// Its status.
        status: i32,
        /// Its last lines.
        last: String,
    },
    /// A signal ended it.
    #[error("{} was ended by the signal {signal}{}", name(hook), said(last))]
    Killed {
        /// The hook.
        hook: Hook,
        /// The signal, by name or number.
        signal: String,
        /// Its last lines.
        last: String,
    },
    /// It did not end in its time.
    #[error("{} did not end within {} and was killed{}", name(hook), time(hook.timeout), said(last))]
    Hung {
        /// The hook.
        hook: Hook,
        /// Its last lines.
        last: String,
    },
    /// It wanted to read from the terminal.
    #[error("{} wanted something typed and was killed", name(hook))]
    WantedInput {
        /// The hook.
        hook: Hook,
    },
    /// Nobody wanted it any more.
    #[error("{} was cancelled", name(hook))]
    Cancelled {
        /// The hook.
        hook: Hook,
    },
    /// This machine could not start it.
    #[error("{} cannot be started", name(hook))]
    NotStarted {
        /// The hook.
        hook: Hook,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The connection did not carry it.
    #[error("{} could not be run on the remote", name(hook))]
    NotReached {
        /// The hook.
        hook: Hook,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// Nobody said that the project's commands may run here.
    #[error("{} is not run: nobody trusted the commands of this project", name(hook))]
    Untrusted {
        /// The hook.
        hook: Hook,
        /// The project's folder.
        workspace: PathBuf,
    },
    /// Something in its text cannot be replaced by a value.
    #[error("{} cannot be run: {source}", name(hook))]
    Template {
        /// The hook.
        hook: Hook,
        /// What, and where in its text.
        source: TemplateError,
    },
    /// It refers to a variable that is not for hooks.
    #[error("{} cannot be run: `{variable}` holds a secret or opens the store of secrets", name(hook))]
    OfSecrets {
        /// The hook.
        hook: Hook,
        /// The variable.
        variable: String,
    },
    /// There is no connection at that time.
    #[error("{} cannot run on the remote: no remote is connected at that time", name(hook))]
    NoRemote {
        /// The hook.
        hook: Hook,
    },
    /// There are no containers yet.
    #[error("{} is not run: this version has no containers", name(hook))]
    NoContainer {
        /// The hook.
        hook: Hook,
    },
}

/// Returns how a hook is called in a sentence: its point and its place.
fn name(hook: &Hook) -> String {
    format!("the hook `{}` of {}", hook.point, hook.said)
}

fn said(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!(": {last}") }
}

/// Returns a time as the configuration has it.
fn time(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (_, 1..) => format!("{}ms", time.as_millis()),
        (seconds, _) if seconds > 0 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        (seconds, _) if seconds > 0 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        (seconds, _) => format!("{seconds}s"),
    }
}

impl Explain for HookError {
    fn code(&self) -> Code {
        match self {
            Self::Failed { .. }
            | Self::Killed { .. }
            | Self::Hung { .. }
            | Self::WantedInput { .. }
            | Self::NotStarted { .. }
            | Self::NoRemote { .. }
            | Self::NoContainer { .. } => Code::HookFailed,
            Self::Cancelled { .. } => Code::Cancelled,
            Self::NotReached { source, .. } => source.code(),
            Self::Template { source, .. } => source.code(),
            Self::OfSecrets { .. } => Code::ConfigInvalid,
            Self::Untrusted { .. } => Code::TrustNeeded,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Failed { hook, status: 126 | 127, .. } => {
                format!(
                    "Check that the program is installed on the machine where it runs (`where: {}`) and in its `PATH`, or mend the command in {}.",
                    hook.place.name(),
                    hook.said
                )
            }
            Self::Failed { hook, .. } => format!(
                "Run the command by itself to see what fails, and mend it in {}; its standard input is empty.",
                hook.said
            ),
            Self::Killed { hook, .. } => format!(
                "Run the command by itself and look with `dmesg` whether the machine ran out of memory; it stands in {}.",
                hook.said
            ),
            Self::Hung { hook, .. } => format!(
                "Run the command by itself to see what it waits for, or give it more time in {} with `timeout: {}`.",
                hook.said,
                time(hook.timeout.saturating_mul(2).max(Duration::from_secs(1)))
            ),
            Self::WantedInput { hook } => format!(
                "Give the command in {} what it asks for as an argument, or the flag that makes it ask nothing: a hook has no input.",
                hook.said
            ),
            Self::Cancelled { .. } => "Run the command again to let it finish.".to_owned(),
            Self::NotStarted { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                "Write `where: remote` for it; on this system no hook runs on the machine itself.".to_owned()
            }
            Self::NotStarted { .. } => {
                "Run `ls -l /bin/sh` and `ulimit -u` to see whether a shell can be started here.".to_owned()
            }
            Self::NotReached { source, .. } => source.help(),
            Self::Untrusted { workspace, .. } => {
                format!(
                    "Look at them with `mltoolbox-sidecar trust --status`, then run `mltoolbox-sidecar trust --workspace {}`.",
                    word(workspace.display())
                )
            }
            Self::Template { source, .. } => source.help(),
            Self::OfSecrets { hook, .. } => {
                format!("Write `${{secret:NAME}}` in {} for the secret that the command needs.", hook.said)
            }
            Self::NoRemote { hook } => {
                format!("Move it to `on_connect` in {}, or write `where: local` for it.", hook.said)
            }
            Self::NoContainer { hook } => format!(
                "Leave it as it is until there are containers, or write `where: remote` for it in {}.",
                hook.said
            ),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    use super::HookPoint;
    use crate::config::schema::{OnFailure, Where};
    use crate::config::{Layer, Place, Source};
    let hook = |point: HookPoint, run: &str| {
        let source = Source::file(Layer::Project, "/home/ada/project/mltoolbox.yaml".as_ref());
        Hook {
            point,
            run: run.to_owned(),
            place: Where::Local,
            timeout: Duration::from_secs(30),
            on_failure: OnFailure::Fail,
            said: Place { source, line: 12, column: 7 },
        }
    };
    let pull = || hook(HookPoint::Connect, "git pull");
    let template = crate::interpolate::Command::parse("echo {{ remote.hots }}").expect_err("there is none");
    let last = || "fatal: not a git repository".to_owned();
    vec![
        HookError::Failed { hook: pull(), status: 128, last: last() }.into(),
        HookError::Failed { hook: pull(), status: 127, last: "sh: 1: gti: not found".to_owned() }.into(),
        HookError::Killed { hook: pull(), signal: "KILL".to_owned(), last: String::new() }.into(),
        HookError::Hung { hook: pull(), last: String::new() }.into(),
        HookError::WantedInput { hook: pull() }.into(),
        HookError::Cancelled { hook: pull() }.into(),
        HookError::NotStarted { hook: pull(), source: io::ErrorKind::NotFound.into() }.into(),
        HookError::NotStarted { hook: pull(), source: io::ErrorKind::Unsupported.into() }.into(),
        HookError::NotReached { hook: pull(), source: TransportError::NoStatus { host: "203.0.113.7".to_owned() } }
            .into(),
        HookError::Untrusted { hook: hook(HookPoint::ConfigLoaded, "make"), workspace: "/home/ada/project".into() }
            .into(),
        HookError::Template { hook: pull(), source: template }.into(),
        HookError::OfSecrets { hook: pull(), variable: "MLTOOLBOX_SECRETS_PASSPHRASE".to_owned() }.into(),
        HookError::NoRemote { hook: hook(HookPoint::ConfigLoaded, "make") }.into(),
        HookError::NoContainer { hook: hook(HookPoint::Sync, "pip install -e .") }.into(),
    ]
}
