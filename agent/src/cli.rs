//! The agent's verbs: `proxy` and `serve` for the sidecar, the rest for people.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use protocol::error::{Error, Result};

mod ask;
mod proxy;

use crate::daemon::error::DaemonError;
use crate::daemon::place::Place;
use crate::daemon::{self, StartedBy, clean};
use crate::log;
use crate::version::version_line;

/// The agent of MLToolbox: what the sidecar needs on a remote machine.
#[derive(Debug, clap::Parser)]
#[command(name = "mlt", arg_required_else_help = true, disable_version_flag = true)]
struct Arguments {
    /// Print version and protocol
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Connect standard input and output to the running agent, starting it when there is none
    Proxy,
    /// Run the agent; ends by itself when nobody called for half an hour
    Serve {
        /// Who keeps it running
        #[arg(long, value_enum, default_value = "setsid")]
        started_by: StartedBy,
    },
    /// Say how the running agent is, as JSON
    Health,
    /// Print the last lines of the agent's log
    Logs {
        /// Number of lines
        #[arg(long, default_value_t = 100)]
        tail: u32,
    },
    /// Stop the running agent
    Stop {
        /// Those of other builds too
        #[arg(long)]
        all: bool,
    },
    /// End other builds' agents that nobody uses, and remove old builds that nobody runs
    Clean,
    /// Print the BLAKE3 hash of a file
    Hash {
        /// The file
        file: PathBuf,
    },
}

/// Returns whether a program of this file name is to act as the agent.
pub fn is_agent_name(name: &str) -> bool {
    name == "mlt" || name.starts_with("mlt-")
}

/// Runs the verb that `arguments` name, the program's own name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { 2 } else { 0 };
            return if error.print().is_ok() { ExitCode::from(status) } else { ExitCode::FAILURE };
        }
    };
    let done = match arguments.verb {
        _ if arguments.version => say(&version_line()),
        None => Ok(()),
        Some(verb) => run(verb),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.code.family().exit_code())
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    let place = Place::find()?;
    match verb {
        Verb::Proxy => proxy::run(&place)?,
        Verb::Serve { started_by } => {
            if !daemon::run(&place, started_by)? {
                tracing::debug!("another agent is running already");
            }
        }
        Verb::Health => return say(&ask::health(&place)?.to_string()),
        Verb::Logs { tail } => {
            let lines =
                log::tail(&place.log(), tail).map_err(|source| DaemonError::Folder { path: place.log(), source })?;
            return lines.iter().try_for_each(|line| say(line));
        }
        Verb::Stop { all: false } => ask::stop(&place)?,
        Verb::Stop { all: true } => ask::stop_all(&place)?,
        Verb::Clean => {
            ask::retire_others(&place);
            return clean::programs(&place)?.iter().try_for_each(|file| say(&file.display().to_string()));
        }
        Verb::Hash { file } => {
            let mut hasher = blake3::Hasher::new();
            std::fs::File::open(&file)
                .and_then(|opened| hasher.update_reader(opened).map(drop))
                .map_err(|source| DaemonError::Folder { path: file, source })?;
            return say(hasher.finalize().to_hex().as_str());
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|source| DaemonError::Pipe(source).into())
}

/// Tells a person what failed; nobody is left to tell when that fails too.
fn complain(error: &Error) {
    let causes: String = error.causes.iter().flat_map(|cause| ["  caused by: ", cause, "\n"]).collect();
    let text = format!("error: {error}\n{causes}  help: {}\n", error.help);
    if io::stderr().write_all(text.as_bytes()).is_err() {
        tracing::debug!("standard error is closed");
    }
}
