//! The command line: reads arguments, shows answers and errors, and turns them into an exit status.
//!
//! Standard output carries data only; all talk goes to standard error.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use protocol::error::{Code, Error, Explain, Family, Result};
use serde_json::{Value, json};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::show::{self, Text};
use crate::commands::tree::{self, Asked, Globals, Invocation};
use crate::jobs::{Jobs, Request, Role};
use crate::{env, log, owner};

mod line;
mod person;
#[cfg_attr(not(unix), path = "cli/no_terminal.rs")]
mod terminal;
mod usage;

use person::Person;
use usage::UsageError;

/// A second Ctrl-C within this time ends the process at once.
const SECOND_SIGNAL: Duration = Duration::from_secs(2);
/// A cancelled program on the remote is asked to end and then killed; see [`crate::commands::exec`].
const LEFTOVERS: Duration = Duration::from_secs(12);
/// How often the progress is drawn anew while nothing is reported, so that a stall is seen as one.
const TICK: Duration = Duration::from_millis(500);
/// What a shell reports of a program whose reader went away (128 + SIGPIPE).
const READER_GONE: u8 = 141;

/// Runs the command line `arguments` (the program's name first) and returns the exit status.
pub fn main(mut arguments: Vec<OsString>) -> ExitCode {
    if arguments.len() < 2 {
        arguments.push(if std::io::stdin().is_terminal() { "--help" } else { "lsp" }.into());
    }
    let wants_json = wants_json(&arguments);
    let status = match tree::parse(arguments) {
        Ok(Asked::Serve(globals)) => super::lsp::main(globals.verbose),
        Ok(Asked::Own { workspace, remote }) => owner::main(Path::new(&workspace), &remote),
        Ok(Asked::Run(invocation)) => run(*invocation),
        Err(refused) => refuse(&refused, wants_json),
    };
    terminal::restore();
    ExitCode::from(status)
}

/// Returns whether JSON is wanted, of a line that may make no sense otherwise.
fn wants_json(arguments: &[OsString]) -> bool {
    let ours: Vec<_> = arguments.iter().take_while(|argument| *argument != "--").collect();
    ours.iter().any(|argument| *argument == "--json" || *argument == "--format=json")
        || ours.windows(2).any(|two| two[0] == "--format" && two[1] == "json")
}

fn refuse(refused: &clap::Error, wants_json: bool) -> u8 {
    let asks_for_help = refused.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !wants_json;
    if refused.use_stderr() && !asks_for_help {
        return print_error(&UsageError::of(refused).into(), wants_json);
    }
    // The reader of a help text may have left; there is nobody to tell.
    drop(refused.print());
    u8::try_from(refused.exit_code()).unwrap_or(Family::Usage.exit_code())
}

fn run(invocation: Invocation) -> u8 {
    log::start(match invocation.globals.verbose {
        0 => log::Also::Nowhere,
        verbose => log::Also::Stderr(verbose),
    });
    let json = invocation.globals.json();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return print_error(&CliError::Start { source }.into(), json),
    };
    // A defect in a command is the job's to report; this is for one of the front end itself.
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(execute(invocation))));
    let status = ran.unwrap_or_else(|_| print_error(&CliError::Panicked.into(), json));
    // A thread may still wait for something typed; the process ends without it.
    runtime.shutdown_background();
    status
}

async fn execute(invocation: Invocation) -> u8 {
    let Invocation { command, params, mut scope, globals } = invocation;
    let json = globals.json();
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(source) => return print_error(&CliError::Start { source }.into(), json),
    };
    let folder = match std::env::current_dir() {
        Ok(folder) => folder,
        Err(source) => return print_error(&CliError::NoFolder { source }.into(), json),
    };
    scope.remote = scope.remote.or_else(|| env::text(env::REMOTE));
    scope.variables = crate::config::layers::from_environment();
    let person = Arc::new(Person::new(&globals));
    let jobs = Jobs::new(Role::Asker);
    let request = Request { command, params, scope, folder };
    let mut job = jobs.submit(request, person.clone());
    let mut first_signal: Option<Instant> = None;
    let mut tick = tokio::time::interval(TICK);
    let answer = loop {
        tokio::select! {
            answer = job.answer() => break answer,
            () = signals.next() => {
                if first_signal.is_some_and(|first| first.elapsed() < SECOND_SIGNAL) {
                    terminal::restore();
                    return Family::Cancelled.exit_code();
                }
                first_signal = Some(Instant::now());
                person.interrupted();
                job.cancel();
            }
            () = person.reader_gone() => {
                job.cancel();
                return READER_GONE;
            }
            _ = tick.tick() => person.tick(),
        }
    };
    person.finish();
    terminal::restore();
    let status = print(command, answer, &globals);
    // A command that was left to itself may still be ending what it began on the remote.
    tokio::select! {
        () = jobs.drain() => {}
        () = tokio::time::sleep(LEFTOVERS) => tracing::warn!("a cancelled command did not end"),
        () = signals.next() => return status,
    }
    // What the sessions still have to say is not worth more than the grace of a signal.
    if tokio::time::timeout(SECOND_SIGNAL, jobs.close()).await.is_err() {
        tracing::warn!("the sessions did not close in time");
    }
    status
}

fn print(command: &crate::commands::Command, answer: Result<Value>, globals: &Globals) -> u8 {
    match answer {
        Ok(output) if globals.json() => written(&format!("{output}\n"), (command.status)(&output)),
        Ok(output) => {
            let mut text = Text::default();
            (command.show)(&output, &mut text);
            written(text.as_str(), (command.status)(&output))
        }
        Err(error) => print_error(&error, globals.json()),
    }
}

/// Shows an error and returns its exit status.
fn print_error(error: &Error, json: bool) -> u8 {
    let status = error.code.family().exit_code();
    if json {
        return written(&format!("{}\n", json!({ "error": error })), status);
    }
    let mut text = Text::default();
    show::error(error, &mut text);
    // Without a reader of standard error nobody can be told; the status says it.
    drop(std::io::stderr().write_all(text.as_str().as_bytes()));
    status
}

fn written(text: &str, status: u8) -> u8 {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => status,
        Err(_) => READER_GONE,
    }
}

/// What asks a command to end.
#[cfg(unix)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What asks a command to end: Ctrl-C alone.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Why the command line could not begin.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No threads or no signal handlers.
    #[error("the program cannot start")]
    Start {
        /// The system's reason.
        source: std::io::Error,
    },
    /// The front end itself is wrong.
    #[error("the command line failed because of a defect")]
    Panicked,
    /// The current folder was removed.
    #[error("the current folder cannot be found")]
    NoFolder {
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Explain for CliError {
    fn code(&self) -> Code {
        match self {
            Self::Start { .. } | Self::Panicked => Code::Bug,
            Self::NoFolder { .. } => Code::WorkspaceMissing,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Start { .. } => "Run `ulimit -a` to see how many processes and open files you may have.".to_owned(),
            Self::Panicked => {
                format!("Report this as a defect, with the last lines of `{}` as its evidence.", log::path().display())
            }
            Self::NoFolder { .. } => "Change into a folder that exists, or give `--workspace DIR`.".to_owned(),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let usage = |words: &[&str]| {
        let words = std::iter::once(tree::PROGRAM).chain(words.iter().copied()).map(OsString::from).collect();
        tree::parse(words).err().map(|refused| UsageError::of(&refused).into())
    };
    let wrong: [&[&str]; 5] =
        [&["snyc"], &["remote", "add"], &["completions", "bsh"], &["sync", "push", "--dryrun"], &["sync", "--json"]];
    let mut errors: Vec<protocol::error::Example> = wrong.into_iter().filter_map(usage).collect();
    errors.extend([
        CliError::Start { source: std::io::ErrorKind::OutOfMemory.into() }.into(),
        CliError::Panicked.into(),
        CliError::NoFolder { source: std::io::ErrorKind::NotFound.into() }.into(),
    ]);
    errors
}
