//! Runs a command on the remote machine itself, as if it were typed there.

mod hint;

use std::time::Duration;

use bytes::Bytes;
use protocol::editor::{ContainerExecOutput, ContainerExecParams, OutputStream};
use protocol::error::{Code, Example, Explain, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::hint::Words;
use super::remote::choice;
use super::work;
use crate::cx::Cx;
use crate::env;
use crate::frontend::{Frontend, Terminal};
use crate::session::marked;
use crate::transport::{Control, Exit, Process, Pty, Transport, TransportError};

/// Most bytes of one piece of output.
const PIECE: usize = 64 * 1024;

/// A cancelled command gets this long to end by itself, and then as long to be killed.
const GRACE: Duration = Duration::from_secs(5);

/// The terminal type when the person's own is not known.
const DEFAULT_TERM: &str = "xterm-256color";

/// Why a command was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// Without `--host` it would run in a container.
    #[error("commands run in containers in a later version only")]
    NoContainer {
        /// What was asked for, as typed.
        command: String,
    },
    /// Nothing to run.
    #[error("there is no command to run")]
    Empty,
    /// A NUL byte cannot be passed on.
    #[error("a command's arguments cannot hold a NUL byte")]
    Nul,
    /// The person no longer wants it.
    #[error("the command was cancelled")]
    Cancelled,
}

impl Explain for ExecError {
    fn code(&self) -> Code {
        match self {
            Self::NoContainer { .. } => Code::ContainerAbsent,
            Self::Empty | Self::Nul => Code::ParamsInvalid,
            Self::Cancelled => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NoContainer { command } => {
                format!("Run it on the remote machine itself: `mltoolbox-sidecar exec --host -- {command}`.")
            }
            Self::Empty => "Name a command after `--`: `mltoolbox-sidecar exec --host -- uname -a`.".to_owned(),
            Self::Nul => "Pass such bytes to the command's standard input instead.".to_owned(),
            Self::Cancelled => "Run it again to let it finish.".to_owned(),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    vec![
        ExecError::NoContainer { command: "nvidia-smi -L".to_owned() }.into(),
        ExecError::Empty.into(),
        ExecError::Nul.into(),
        ExecError::Cancelled.into(),
    ]
}

pub(super) async fn run(cx: Cx, params: ContainerExecParams) -> Result<ContainerExecOutput> {
    if !params.host {
        return Err(ExecError::NoContainer { command: shell_words::join(&params.command) }.into());
    }
    let remote = choice::chosen(&cx).await?;
    let work = work::begin(&cx, &choice::workspace(&cx).await).await?;
    work.connected(&cx, &remote.name).await?;
    let session = cx.sessions.get(&cx, &remote.name).await?;
    let transport = session.transport().await?;
    let terminal = cx.frontend.terminal();
    let size = terminal.as_ref().and_then(|terminal| terminal.size.clone());
    let pty = size.as_ref().map(|size| Pty {
        term: env::text(env::TERM).unwrap_or_else(|| DEFAULT_TERM.to_owned()),
        size: *size.borrow(),
    });
    // A terminal that is gone ends what ran in it; anything else has to be found again.
    let mark = pty.is_none().then(marked::mark);
    let line = line(&params, mark.as_deref())?;
    let process = transport.exec(&line, pty.as_ref()).await?;
    let ending = Ending { transport: &*transport, mark: mark.as_deref(), cancel: &cx.cancel };
    let words = Words::default();
    let exit = attend(process, terminal, &*cx.frontend, &words, &ending).await?;
    if cx.cancel.is_cancelled() {
        return Err(ExecError::Cancelled.into());
    }
    let mut output = output(exit);
    if output.status != 0 && words.wants_repository() {
        output.note = hint::no_repository(&cx, &remote.name).await;
        if let Some(note) = &output.note {
            cx.frontend.tell(note.clone());
        }
    }
    Ok(output)
}

/// Returns the line that the remote's shell takes apart into exactly these words again. Without a terminal
/// the command has a mark in its environment, by which [`Ending`] finds it and what it started.
fn line(params: &ContainerExecParams, mark: Option<&str>) -> Result<String, ExecError> {
    if params.command.is_empty() {
        return Err(ExecError::Empty);
    }
    if params.command.iter().any(|word| word.contains('\0')) {
        return Err(ExecError::Nul);
    }
    let command = shell_words::join(&params.command);
    Ok(match (params.sudo, mark) {
        (false, None) => command,
        (true, None) => format!("sudo -- {command}"),
        (false, Some(mark)) => format!("env {mark} {command}"),
        // Nobody could type a password.
        (true, Some(mark)) => format!("env {mark} sudo -n -- {command}"),
    })
}

/// Passes input, output, sizes and cancellation on until the command has ended.
async fn attend(
    process: Process,
    terminal: Option<Terminal>,
    frontend: &dyn Frontend,
    words: &Words,
    ending: &Ending<'_>,
) -> Result<Exit, TransportError> {
    let Process { mut stdin, stdout, stderr, control, exit } = process;
    let (input, size) = terminal.map_or((None, None), |terminal| (Some(terminal.input), terminal.size));
    let typed = async move {
        if let Some(mut input) = input
            && let Err(error) = tokio::io::copy(&mut input, &mut stdin).await
        {
            tracing::debug!(%error, "the command takes no more input");
        }
        if let Err(error) = stdin.shutdown().await {
            tracing::debug!(%error, "the command took no end of input");
        }
        std::future::pending().await
    };
    let resized = async {
        if let Some(mut size) = size {
            while size.changed().await.is_ok() {
                let now = *size.borrow_and_update();
                if control.send(Control::Resize(now)).await.is_err() {
                    break;
                }
            }
        }
        std::future::pending().await
    };
    let outputs = async {
        let ((), (), exit) = tokio::join!(
            show(stdout, OutputStream::Stdout, frontend, words),
            show(stderr, OutputStream::Stderr, frontend, words),
            exit
        );
        exit
    };
    tokio::select! {
        exit = outputs => exit,
        never = typed => never,
        never = resized => never,
        given_up = ending.end(&control) => Ok(given_up),
    }
}

/// How a command is ended that nobody wants any more.
struct Ending<'a> {
    transport: &'a dyn Transport,
    mark: Option<&'a str>,
    cancel: &'a CancellationToken,
}

impl Ending<'_> {
    /// Ends the command once it is cancelled: asks, then kills, then gives up waiting for it.
    async fn end(&self, control: &mpsc::Sender<Control>) -> Exit {
        self.cancel.cancelled().await;
        for signal in ["TERM", "KILL"] {
            if control.send(Control::Signal(signal.to_owned())).await.is_err() {
                tracing::debug!(signal, "the command is gone already");
            }
            if let Some(mark) = self.mark {
                marked::signal(self.transport, mark, signal).await;
            }
            tokio::time::sleep(GRACE).await;
        }
        Exit::Signal("KILL".to_owned())
    }
}

async fn show(mut from: impl AsyncRead + Unpin, stream: OutputStream, frontend: &dyn Frontend, words: &Words) {
    let mut listener = words.listener();
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(length) => {
                listener.hear(&buffer[..length]);
                frontend.output(stream, Bytes::copy_from_slice(&buffer[..length])).await;
            }
            Err(error) => return tracing::debug!(%error, "an output broke off"),
        }
    }
}

fn output(exit: Exit) -> ContainerExecOutput {
    match exit {
        Exit::Status(status) => ContainerExecOutput { status, signal: None, note: None },
        Exit::Signal(signal) => ContainerExecOutput { status: 128 + number(&signal), signal: Some(signal), note: None },
    }
}

/// Returns the number of a signal named without `SIG`, as on Linux; 0 for one that has none everywhere.
fn number(signal: &str) -> i32 {
    match signal {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "TRAP" => 5,
        "ABRT" => 6,
        "BUS" => 7,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sudo: bool, words: &[&str]) -> ContainerExecParams {
        ContainerExecParams { host: true, sudo, command: words.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn words_arrive_as_they_are() {
        let words = ["printf", "%s\n", "a b", "", "it's", "$HOME", "*", "\"", "\\", ";", "ü\n"];
        let line = line(&asked(false, &words), Some("MARK=1")).expect("a line");
        let said = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
        let expected = words[2..].join("\n") + "\n";
        assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
    }

    #[test]
    fn sudo_asks_for_a_password_only_where_one_can_be_typed() {
        assert_eq!(line(&asked(true, &["id"]), None).expect("a line"), "sudo -- id");
        assert_eq!(line(&asked(true, &["id"]), Some("A=1")).expect("a line"), "env A=1 sudo -n -- id");
        assert!(matches!(line(&asked(true, &[]), None), Err(ExecError::Empty)));
        assert!(matches!(line(&asked(false, &["a\0b"]), None), Err(ExecError::Nul)));
    }

    #[test]
    fn signals_are_counted_as_a_shell_does() {
        assert_eq!(output(Exit::Signal("KILL".to_owned())).status, 137);
        assert_eq!(output(Exit::Status(3)).status, 3);
    }
}
