//! The user's `ProxyCommand`: a command whose input and output are the connection.
//!
//! It comes from the user's own SSH configuration and from nowhere else. It has no terminal: what it asks for goes
//! through `SSH_ASKPASS` or fails at once. It ends with the connection, and so does all that it started.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::wire::{Cut, Stream};
use crate::env;
use crate::transport::TransportError;
use crate::transport::ssh_config::Host;

/// What is kept of its complaints.
const COMPLAINT: usize = 4096;
/// A command whose connection broke off ends within this, and its last words are read.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What a command wrote before it ended is there to be read; only what it started and left running can take longer.
const STDERR_END: Duration = Duration::from_millis(500);
/// What was told to hang up gets this long before it is killed.
#[cfg(unix)]
const HANG_UP: Duration = Duration::from_secs(1);

/// A running command. It is ended when this is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    host: String,
    command: String,
    said: Arc<Mutex<Vec<u8>>>,
    /// Ends when everything is in `said`.
    listening: JoinHandle<()>,
    ended: watch::Receiver<Option<Ended>>,
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
    _life: DropGuard,
}

/// How the command ended.
#[derive(Clone, Debug)]
struct Ended {
    how: String,
    /// A shell's answer to what it cannot start; anything else may be the network's fault.
    for_good: bool,
}

impl Proxy {
    /// Starts the command.
    pub(super) fn start(host: &Host, command: &str) -> Result<(Stream, Cut, Self), TransportError> {
        let failed = |source: io::Error| TransportError::ProxyCommand {
            host: host.alias.clone(),
            command: command.to_owned(),
            reason: source.to_string(),
            transient: false,
        };
        let mut shell = by_shell(command);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = shell.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        #[cfg(unix)]
        let group = group(&child);
        let said = Arc::default();
        let listening = tokio::spawn(listen(stderr, Arc::clone(&said)));
        let life = CancellationToken::new();
        let (ended_tx, ended) = watch::channel(None);
        tokio::spawn(watch_over(child, life.clone(), ended_tx));
        let (stream, cut) = Cut::stream(tokio::io::join(stdout, stdin));
        let (host, command) = (host.alias.clone(), command.to_owned());
        let proxy = Self {
            host,
            command,
            said,
            listening,
            ended,
            #[cfg(unix)]
            group,
            _life: life.drop_guard(),
        };
        Ok((stream, cut, proxy))
    }

    /// Returns the error for a connection that did not come about, when it was the command's fault.
    pub(super) async fn fault(&mut self) -> Option<TransportError> {
        let ended = tokio::time::timeout(LAST_WORDS, self.ended.wait_for(Option::is_some)).await;
        let Ended { how, for_good } = ended.ok().and_then(Result::ok).and_then(|ended| ended.clone())?;
        match tokio::time::timeout(STDERR_END, &mut self.listening).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the words of a `ProxyCommand` are lost"),
            Err(_) => tracing::debug!("something that a `ProxyCommand` started still may speak"),
        }
        let said = said(&self.said.lock().unwrap_or_else(PoisonError::into_inner));
        let reason = if said.is_empty() { how } else { format!("{how} and said `{said}`") };
        let (host, command) = (self.host.clone(), self.command.clone());
        Some(TransportError::ProxyCommand { host, command, reason, transient: !for_good })
    }
}

#[cfg(unix)]
impl Drop for Proxy {
    /// Hangs up at once: when the program ends with the connection, nothing else will run any more.
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            signal(self.group, rustix::process::Signal::HUP);
        }
    }
}

#[cfg(unix)]
fn by_shell(command: &str) -> Command {
    // As OpenSSH does it: the user's own shell, replaced by the command.
    let mut shell = Command::new(env::get(env::SHELL).unwrap_or_else(|| "/bin/sh".into()));
    shell.arg("-c").arg(format!("exec {command}")).process_group(0);
    // In a group of its own it must not read the terminal: it would be stopped, silently.
    shell.env(env::SSH_ASKPASS_REQUIRE, "force");
    if env::get(env::SSH_ASKPASS).is_none() {
        shell.env(env::SSH_ASKPASS, "/bin/false");
    }
    shell
}

#[cfg(windows)]
fn by_shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").raw_arg(command).env(env::SSH_ASKPASS_REQUIRE, "force");
    shell
}

/// Ends the command and what it started when its connection is over, and tells how it ended.
async fn watch_over(mut child: Child, life: CancellationToken, ended: watch::Sender<Option<Ended>>) {
    let exited = tokio::select! {
        exited = child.wait() => exited,
        () = life.cancelled() => {
            end(&mut child).await;
            child.wait().await
        }
    };
    let (how, for_good) = match exited.map(|status| status.code()) {
        Ok(Some(code)) => (format!("it ended with status {code}"), matches!(code, 126 | 127)),
        Ok(None) => ("it was killed".to_owned(), false),
        Err(error) => (format!("it was lost sight of: {error}"), false),
    };
    ended.send_replace(Some(Ended { how, for_good }));
}

/// Kills what did not hang up.
#[cfg(unix)]
async fn end(child: &mut Child) {
    tokio::time::sleep(HANG_UP).await;
    signal(group(child), rustix::process::Signal::KILL);
}

/// Returns the command's process group. It has the child's number, which nobody else gets before the child was
/// waited for.
#[cfg(unix)]
fn group(child: &Child) -> Option<rustix::process::Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
}

#[cfg(unix)]
fn signal(group: Option<rustix::process::Pid>, signal: rustix::process::Signal) {
    if let Some(group) = group
        && let Err(error) = rustix::process::kill_process_group(group, signal)
    {
        tracing::trace!(%error, "the group of a `ProxyCommand` is gone");
    }
}

#[cfg(windows)]
async fn end(child: &mut Child) {
    if let Err(error) = child.start_kill() {
        tracing::debug!(%error, "a `ProxyCommand` is gone");
    }
}

/// Keeps the end of what the command complains of, and reads all of it.
async fn listen(mut stderr: impl AsyncRead + Unpin, said: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 1024];
    loop {
        match stderr.read(&mut chunk).await {
            Ok(length @ 1..) => {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.extend_from_slice(&chunk[..length]);
                let excess = said.len().saturating_sub(COMPLAINT);
                said.drain(..excess);
            }
            Ok(0) | Err(_) => return,
        }
    }
}

/// Returns the last lines of a complaint, without what could move a cursor.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    last.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn the_words_of_a_command_that_has_ended_are_waited_for() {
        use tokio::io::AsyncWriteExt as _;

        // Whoever speaks for it does so when it hears us, and by then the command itself is gone.
        let command = "sh -c 'exec 3<&0; cat <&3 >&2 & exit 1'";
        let host = Host::plain("gpu", 22, "ada", std::path::Path::new("/home/ada"));
        let (mut stream, _cut, mut proxy) = Proxy::start(&host, command).expect("there is a shell");
        proxy.ended.wait_for(Option::is_some).await.expect("it is watched");
        let speak = async move { stream.write_all(b"late words\n").await.expect("somebody listens") };
        let (fault, ()) = tokio::join!(proxy.fault(), speak);
        let Some(TransportError::ProxyCommand { reason, .. }) = fault else { panic!("{fault:?}") };
        assert_eq!(reason, "it ended with status 1 and said `late words`");
    }

    #[test]
    fn the_last_words_are_plain() {
        assert_eq!(said(b"one\n\ntwo\r\nthree\x1b[2J\nfour\n"), "two; three[2J; four");
        assert_eq!(said(b""), "");
    }
}
