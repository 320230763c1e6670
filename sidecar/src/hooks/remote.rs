//! A hook on the remote. What it is given travels on its standard input, so that no value stands among the arguments of
//! a process there.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::values::Rendered;
use super::{Ended, KILL_AFTER, Output, REST, Remote};
use crate::interpolate::Fact;
use crate::session::marked;
use crate::transport::{Exit, Process, TransportError};

/// How long a command that was killed may take to be gone there, over a slow link.
const GONE: Duration = Duration::from_secs(5);

/// Runs a command in the synced folder to its end, or ends it.
pub(super) async fn run(
    remote: &Remote,
    rendered: &Rendered,
    timeout: Duration,
    cancel: &CancellationToken,
    output: &Output,
) -> Result<Ended, TransportError> {
    let mark = marked::mark();
    // The login shell may be any; this line means the same to all of them.
    let line = format!("env {mark} sh -c 'eval \"$(cat)\"'");
    let transport = &*remote.transport;
    let late = tokio::time::sleep(timeout);
    tokio::pin!(late);
    let process = tokio::select! {
        process = transport.exec(&line, None) => process?,
        () = &mut late => return Ok(Ended::TimedOut),
        () = cancel.cancelled() => return Ok(Ended::Cancelled),
    };
    let Process { mut stdin, stdout, stderr, control: _control, exit } = process;
    let script = script(remote.folder.as_deref(), rendered);
    let sending = async move {
        let sent = match stdin.write_all(script.as_bytes()).await {
            Ok(()) => stdin.shutdown().await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // How it ended says more.
            tracing::debug!(%error, "the hook took no input");
        }
    };
    let work = async {
        tokio::pin!(exit);
        let hearing = async { tokio::join!(sending, output.hear(stdout), output.hear(stderr)) };
        tokio::pin!(hearing);
        tokio::select! {
            exit = &mut exit => {
                // What it left running may hold its output open.
                if tokio::time::timeout(REST, hearing).await.is_err() {
                    tracing::debug!("what a hook left running still holds its output");
                }
                exit
            }
            _ = &mut hearing => exit.await,
        }
    };
    tokio::pin!(work);
    let why = tokio::select! {
        exit = &mut work => return exit.map(ended),
        () = &mut late => Ended::TimedOut,
        () = cancel.cancelled() => Ended::Cancelled,
    };
    marked::signal(transport, &mark, "TERM").await;
    if tokio::time::timeout(KILL_AFTER, &mut work).await.is_err() {
        marked::signal(transport, &mark, "KILL").await;
        if tokio::time::timeout(GONE, &mut work).await.is_err() {
            tracing::info!("a hook that was killed on the remote does not end; it is left to itself");
        }
    }
    Ok(why)
}

fn ended(exit: Exit) -> Ended {
    match exit {
        Exit::Status(status) => Ended::Status(status),
        Exit::Signal(signal) => Ended::Signal(signal),
    }
}

/// Returns what the shell there is to do: go to the folder, set the variables, become the command.
fn script(folder: Option<&str>, rendered: &Rendered) -> String {
    let mut script = String::new();
    if let Some(folder) = folder {
        let folder = match folder.strip_prefix("~/") {
            Some(below) => format!("\"$HOME\"/{}", shell_words::quote(below)),
            None => shell_words::quote(folder).into_owned(),
        };
        // Before the first sync it is not there yet.
        writeln!(script, "cd -- {folder} 2>/dev/null || cd").expect("a string takes everything");
    }
    for (name, value) in &rendered.environment {
        writeln!(script, "export {name}={}", shell_words::quote(value.reveal())).expect("a string takes everything");
    }
    // The folder of the project where the hook runs.
    let (variable, command) = (Fact::WorkspacePath.variable(), shell_words::quote(&rendered.command));
    writeln!(script, "export {variable}=\"$PWD\"\nexec sh -c {command} </dev/null").expect("a string takes everything");
    script
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use protocol::path::RemotePath;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::hooks::HookPoint;
    use crate::secrets::Secret;
    use crate::transport::{About, Pty, Transport};

    /// A remote whose programs take a few bytes of input and then no more.
    #[derive(Debug, Default)]
    pub(crate) struct Full {
        about: About,
        held: Mutex<Vec<DuplexStream>>,
    }

    #[async_trait]
    impl Transport for Full {
        async fn exec(&self, _: &str, _: Option<&Pty>) -> Result<Process, TransportError> {
            let mut held = self.held.lock().expect("no test panics while it is locked");
            let [stdin, stdout, stderr] = [(); 3].map(|()| {
                let (ours, theirs) = tokio::io::duplex(4);
                held.push(theirs);
                ours
            });
            Ok(Process {
                stdin: Box::new(stdin),
                stdout: Box::new(stdout),
                stderr: Box::new(stderr),
                control: tokio::sync::mpsc::channel(1).0,
                exit: Box::pin(std::future::pending()),
            })
        }

        async fn upload(
            &self,
            _: &Path,
            _: &RemotePath,
            _: u32,
            _: &(dyn Fn(u64) + Send + Sync),
        ) -> Result<(), TransportError> {
            Err(TransportError::NoStatus { host: "full".to_owned() })
        }

        async fn remove(&self, _: &RemotePath) -> Result<(), TransportError> {
            Err(TransportError::NoStatus { host: "full".to_owned() })
        }

        async fn subsystem(&self, _: &str) -> Result<Process, TransportError> {
            Err(TransportError::NoStatus { host: "full".to_owned() })
        }

        async fn round_trip(&self) -> Result<Duration, TransportError> {
            Ok(Duration::ZERO)
        }

        fn about(&self) -> &About {
            &self.about
        }

        async fn closed(&self) {}

        async fn close(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_that_takes_no_input_is_left_in_time() {
        let rendered = Rendered { command: "true".to_owned(), environment: [].into(), hidden: Vec::new() };
        let remote = Remote { transport: Arc::new(Full::default()), folder: None };
        let output = Output::new(HookPoint::Connect, None, &[]);
        let (cancel, second) = (CancellationToken::new(), Duration::from_secs(1));
        let hour = Duration::from_hours(1);
        let ran = tokio::time::timeout(hour, run(&remote, &rendered, second, &cancel, &output));
        assert_eq!(ran.await.expect("it is left").expect("it was reached"), Ended::TimedOut);
        cancel.cancel();
        let ran = tokio::time::timeout(hour, run(&remote, &rendered, hour * 2, &cancel, &output));
        assert_eq!(ran.await.expect("it is left").expect("it was reached"), Ended::Cancelled);
    }

    #[test]
    fn the_script_is_read_by_a_shell_as_it_is_meant() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("it's a folder");
        std::fs::create_dir(&path).expect("a folder for the test");
        let rendered = Rendered {
            command: "printf '%s|' \"$A\" \"$(basename \"$PWD\")\" \"$(cat)\"".to_owned(),
            environment: [("A".to_owned(), Secret::new("a'b $HOME\n`c`".to_owned()))].into(),
            hidden: Vec::new(),
        };
        let script = script(path.to_str(), &rendered);
        let said = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&said.stdout), "a'b $HOME\n`c`|it's a folder||");
    }
}
