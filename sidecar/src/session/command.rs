//! Runs a short command on a remote and returns all it said: for probes, never for the user's programs.

use std::time::Duration;

use protocol::error::{Code, Example, Explain};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::transport::{Exit, Transport, TransportError};

/// Most bytes that are kept of each output; a chatty login shell says less.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// A remote shell with a slow start-up file on a loaded machine needs some seconds.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// What a command said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How it ended.
    pub exit: Exit,
}

/// Why a short command did not run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The connection did not carry it.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It did not end.
    #[error("`{command}` does not end on the remote")]
    Endless {
        /// The command.
        command: String,
    },
}

impl Explain for CommandError {
    fn code(&self) -> Code {
        match self {
            Self::Transport(error) => error.code(),
            Self::Endless { .. } => Code::CommandFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Transport(error) => error.help(),
            Self::Endless { command } => {
                format!("Run `{command}` there in an SSH terminal; its login shell or its disk seems to hang.")
            }
        }
    }
}

impl Ran {
    /// Returns whether it ended well.
    pub fn is_success(&self) -> bool {
        self.exit == Exit::Status(0)
    }

    /// Returns what it said last, for an error's cause.
    pub fn last_words(&self) -> String {
        let words = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join("; ")
    }
}

/// Runs `command` to its end.
pub async fn run(transport: &dyn Transport, command: &str) -> Result<Ran, CommandError> {
    tokio::time::timeout(ENDS_WITHIN, to_end(transport, command))
        .await
        .unwrap_or_else(|_| Err(CommandError::Endless { command: command.to_owned() }))
}

async fn to_end(transport: &dyn Transport, command: &str) -> Result<Ran, CommandError> {
    let mut process = transport.exec(command, None).await?;
    if let Err(error) = process.stdin.shutdown().await {
        tracing::debug!(%error, "the command took no input");
    }
    let (stdout, stderr) = tokio::join!(collect(process.stdout), collect(process.stderr));
    Ok(Ran { stdout, stderr, exit: process.exit.await? })
}

/// Returns the beginning of a stream and reads the rest away, so that its writer never waits for us.
async fn collect(mut from: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let mut rest = tokio::io::sink();
    if let Err(error) = (&mut from).take(MAX_OUTPUT).read_to_end(&mut bytes).await {
        tracing::debug!(%error, "an output broke off");
    }
    if let Err(error) = tokio::io::copy(&mut from, &mut rest).await {
        tracing::debug!(%error, "an output broke off");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    vec![
        CommandError::Transport(TransportError::NoStatus { host: "203.0.113.7".to_owned() }).into(),
        CommandError::Endless { command: "uname -sm".to_owned() }.into(),
    ]
}
