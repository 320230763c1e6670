//! The program `mlt`: hands its arguments to the verbs.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    agent::cli::main(std::env::args_os())
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    use std::io::Write as _;
    let text = b"error: the agent runs on Linux and macOS only\n  help: Use this machine with `mltoolbox-sidecar`.\n";
    // Nobody is left to tell when that fails too.
    drop(std::io::stderr().write_all(text));
    ExitCode::FAILURE
}
