//! Commands on a remote that have to be found again, to be ended: by a mark in their environment, which everything that
//! they start inherits.

use std::time::Duration;

use super::command;
use crate::transport::Transport;

/// The variable that marks a command.
const MARK: &str = "MLTOOLBOX_EXEC";

/// How long the machine may take to look through its processes.
const SIGNALLED_WITHIN: Duration = Duration::from_secs(5);

/// Returns a word `NAME=value` that no other process has in its environment.
pub fn mark() -> String {
    let unique = (std::process::id(), std::time::SystemTime::now(), std::thread::current().id());
    format!("{MARK}={}", &blake3::hash(format!("{unique:?}").as_bytes()).to_hex()[..32])
}

/// Signals every process that has the mark; `signal` is its name without `SIG`. OpenSSH itself passes no signals on for
/// root, nor for a key with a forced command.
pub async fn signal(transport: &dyn Transport, mark: &str, signal: &str) {
    let script = format!(
        "for folder in /proc/[0-9]*; do grep -qs {mark} \"$folder/environ\" && kill -{signal} \"${{folder#/proc/}}\"; done"
    );
    let line = format!("sh -c {}", shell_words::quote(&script));
    match tokio::time::timeout(SIGNALLED_WITHIN, command::run(transport, &line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::info!(%error, signal, "the command on the remote was not signalled"),
        Err(_) => tracing::info!(signal, "the remote does not say whether the command was signalled"),
    }
}
