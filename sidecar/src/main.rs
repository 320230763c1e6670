//! Starts what the command line asks for; the agent, when called by the agent's name.

use std::ffi::OsString;
#[cfg(unix)]
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(unix)]
    {
        // The one file is both programs, so that an agent that is put on a remote is always of the same version.
        let name = arguments.first().and_then(|name| Path::new(name).file_name()?.to_str());
        if name.is_some_and(agent::cli::is_agent_name) {
            return agent::cli::main(arguments);
        }
    }
    sidecar::frontend::cli::main(arguments)
}
