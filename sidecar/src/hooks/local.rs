//! A hook on this machine: a shell in a process group of its own, without input, ended as a whole.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::values::Rendered;
use super::{Ended, KILL_AFTER, Output, REST};
use crate::env;

/// How often it is looked whether the hook was stopped because it wants to read from the terminal; nobody tells.
const LOOK: Duration = Duration::from_millis(500);

/// Ends the whole group when it is dropped, however that came about.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::debug!(%error, "the hook's processes are gone already");
        }
    }

    /// Leaves alone what is still there: the hook has ended by itself, and what it started may be meant to stay.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs a command in `folder` to its end, or ends it.
pub(super) async fn run(
    rendered: &Rendered,
    folder: &Path,
    timeout: Duration,
    cancel: &CancellationToken,
    output: &Output,
) -> io::Result<Ended> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&rendered.command).current_dir(folder).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What opens the secret store is for us alone.
    for name in env::names(env::OF_SECRETS) {
        command.env_remove(name);
    }
    for (name, value) in &rendered.environment {
        command.env(name, value.reveal());
    }
    let mut child = command.spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(id);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let hearing = async {
        tokio::join!(
            async {
                if let Some(stdout) = stdout {
                    output.hear(stdout).await;
                }
            },
            async {
                if let Some(stderr) = stderr {
                    output.hear(stderr).await;
                }
            }
        )
    };
    tokio::pin!(hearing);
    let mut is_heard = false;
    let ended = {
        let ending = attend(&mut child, id, timeout, cancel, &group);
        tokio::pin!(ending);
        loop {
            tokio::select! {
                ended = &mut ending => break ended?,
                _ = &mut hearing, if !is_heard => is_heard = true,
            }
        }
    };
    if matches!(ended, Ended::Status(_) | Ended::Signal(_)) {
        group.release();
    }
    if !is_heard && tokio::time::timeout(REST, hearing).await.is_err() {
        tracing::debug!("what a hook left running still holds its output");
    }
    Ok(ended)
}

/// Waits for the end, and brings it about when it is time.
async fn attend(
    child: &mut Child,
    id: Option<Pid>,
    timeout: Duration,
    cancel: &CancellationToken,
    group: &Group,
) -> io::Result<Ended> {
    let stopped = async {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            if id.is_some_and(is_stopped) {
                return;
            }
        }
    };
    let why = tokio::select! {
        status = child.wait() => return status.map(ended),
        () = tokio::time::sleep(timeout) => Ended::TimedOut,
        () = stopped => Ended::WantedInput,
        () = cancel.cancelled() => Ended::Cancelled,
    };
    group.signal(Signal::TERM);
    if tokio::time::timeout(KILL_AFTER, child.wait()).await.is_err() {
        group.signal(Signal::KILL);
        child.wait().await?;
    }
    // What ignored the request is not its first process.
    group.signal(Signal::KILL);
    Ok(why)
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Status(code),
        (None, Some(signal)) => Ended::Signal(signal.to_string()),
        (None, None) => Ended::Signal("unknown".to_owned()),
    }
}

/// Whether a process was stopped, as the kernel does to one of the background that reads from the terminal.
#[cfg(target_os = "linux")]
fn is_stopped(id: Pid) -> bool {
    let facts = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())).unwrap_or_default();
    // The name, which may hold anything, ends at the last parenthesis (proc(5)).
    facts.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
}

/// Unknown here, so that only the time ends it.
#[cfg(not(target_os = "linux"))]
fn is_stopped(_: Pid) -> bool {
    false
}
