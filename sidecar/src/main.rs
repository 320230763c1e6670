//! Starts what the command line asks for; the agent, when called by the agent's name.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.first().is_some_and(|name| is_agent(name)) {
        return agent::cli::main();
    }
    sidecar::frontend::cli::main(arguments)
}

/// The one file is both programs, so that the agent that is installed is always of the same version.
fn is_agent(name: &OsString) -> bool {
    let name = Path::new(name).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == "mlt" || name.starts_with("mlt-"))
}
