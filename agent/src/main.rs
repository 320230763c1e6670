//! The program `mlt`: hands its arguments to the verbs.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::cli::main(std::env::args_os())
}
