//! The asking side: starts an owner, passes a command on to it, and relays what comes back.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use protocol::editor::{Scope, SyncShow};
use protocol::error::{Error, Result};
use protocol::method::Method;
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::place::Place;
use super::words::{self, FromOwner, Hello, Said, ToOwner};
use super::{OwnerError, Route};
use crate::commands::{self, Command};
use crate::frontend::{Frontend, base64};
use crate::jobs::Request;

/// An owner that does not greet within this time hangs.
const HELLO: Duration = Duration::from_secs(5);
/// An owner that does not listen this long after its start has failed.
const START: Duration = Duration::from_secs(10);
/// How often we try to reach an owner that another process is starting at this moment.
const RETRY: Duration = Duration::from_millis(20);
/// Owners that are asked at a time.
const OWNERS: usize = 16;
/// Lines that wait to be shown.
const LINES: usize = 256;

/// Why an owner did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failed {
    /// It ended before it answered.
    Gone {
        /// Whether it may have begun with the command.
        begun: bool,
        /// Its socket.
        socket: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It said no, or is there and does not answer.
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failed {
    /// Tells an owner that is gone from one that is there.
    fn of(socket: &Path, begun: bool, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::NotFound
            | io::ErrorKind::UnexpectedEof => Self::Gone { begun, socket: socket.to_owned(), source },
            _ => Self::Error(OwnerError::Silent { socket: socket.to_owned(), source }.into()),
        }
    }

    /// Returns the error for a person who asked for `command`.
    pub(super) fn into_error(self, command: &Command) -> Error {
        match self {
            Self::Gone { begun: true, source, .. } => {
                OwnerError::Lost { command: command.cli.join(" "), once: command.once, source }.into()
            }
            Self::Gone { begun: false, socket, source } => OwnerError::Silent { socket, source }.into(),
            Self::Error(error) => error,
        }
    }
}

/// Starts the owner of `workspace` and waits until it listens. Two that start at once end up with one.
pub(super) async fn start(workspace: &Path, remote: Option<&str>, place: &Place) -> Result<()> {
    // What would keep it from listening is better said here than in its log.
    place.sockets()?;
    let failed = |source| OwnerError::Start { workspace: workspace.to_owned(), source };
    let mut command = process::Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("owner").arg(workspace).args(remote).current_dir("/").envs(agent::env::ALLOCATOR);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (ended_tx, ended) = oneshot::channel();
    let ready = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn()?;
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut Vec::new())?;
        }
        // Reaps it when it ends while this process lives (the language server lives long).
        std::thread::spawn(move || ended_tx.send(child.wait()));
        io::Result::Ok(())
    });
    let ready = tokio::time::timeout(START, ready).await.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
    ready.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
    let listens = async {
        while !place.is_served().await {
            tokio::time::sleep(RETRY).await;
        }
    };
    let fails = async {
        match ended.await {
            Ok(Ok(status)) if !status.success() => io::Error::other(format!("it ended with {status}")),
            // It found another one, which may still be starting.
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        listens = tokio::time::timeout(START, listens) => listens.map_err(|_| failed(io::ErrorKind::TimedOut.into())),
        error = fails => Err(failed(error)),
    }?;
    Ok(())
}

/// Passes a command on to the owner at `place`.
pub(super) async fn call(
    place: &Place,
    request: &Request,
    frontend: &Arc<dyn Frontend>,
    cancel: &CancellationToken,
) -> Result<Value, Failed> {
    let socket = place.socket().await;
    let early = |source| Failed::of(&socket, false, source);
    let stream = place.connect().await.map_err(early)?;
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    words::write(&mut writing, &Hello::ours()).await.map_err(early)?;
    let hello = tokio::time::timeout(HELLO, words::read::<Hello>(&mut reading, words::REPLY_LIMIT)).await;
    let hello = hello.map_err(|_| early(io::ErrorKind::TimedOut.into()))?.map_err(early)?;
    let hello = hello.ok_or_else(|| early(io::ErrorKind::UnexpectedEof.into()))?;
    if hello.protocol != words::VERSION {
        let theirs = hello.program;
        return Err(Error::from(OwnerError::Version { pid: hello.pid, theirs, ours: env!("CARGO_PKG_VERSION") }).into());
    }
    let run = ToOwner::Run {
        method: request.command.name.to_owned(),
        params: request.params.clone(),
        scope: request.scope.clone(),
        folder: request.folder.to_string_lossy().into_owned(),
    };
    let late = |source| Failed::of(&socket, true, source);
    words::write(&mut writing, &run).await.map_err(late)?;

    // Reading a line must not be given up half way, so it has a task of its own.
    let (lines_tx, mut lines) = mpsc::channel(LINES);
    let reader = tokio::spawn(async move {
        loop {
            let line = words::read::<FromOwner>(&mut reading, words::REPLY_LIMIT).await;
            let last = !matches!(line, Ok(Some(_)));
            if lines_tx.send(line).await.is_err() || last {
                return;
            }
        }
    });
    let mut cancelled = false;
    let answer = loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = cancel.cancelled(), if !cancelled => {
                cancelled = true;
                words::write(&mut writing, &ToOwner::Cancel).await.map_err(late)?;
                continue;
            }
        };
        let line = line.unwrap_or(Ok(None)).map_err(late)?;
        match line.ok_or_else(|| late(io::ErrorKind::UnexpectedEof.into()))? {
            FromOwner::Progress(progress) => frontend.report(progress),
            FromOwner::Tell(line) => frontend.tell(line),
            FromOwner::Output(stream, bytes) => {
                let bytes = base64::decode(&bytes).ok_or_else(|| late(io::ErrorKind::InvalidData.into()))?;
                frontend.output(stream, bytes.into()).await;
            }
            FromOwner::Ask(question) => {
                let answer = tokio::select! {
                    answer = frontend.ask(&question) => answer,
                    () = cancel.cancelled() => None,
                };
                words::write(&mut writing, &ToOwner::Answer(answer.map(Said::from))).await.map_err(late)?;
            }
            FromOwner::Done(answer) => break Ok(answer),
            FromOwner::Failed(error) => break Err(Failed::Error(error)),
        }
    };
    reader.abort();
    answer
}

/// Passes `sync stop --all` on to every owner; their answers become one. Each of them also forgets which
/// workspaces without an owner were to be watched; where there is no owner, this process does.
pub(super) async fn call_all(
    request: &Request,
    frontend: &Arc<dyn Frontend>,
    cancel: &CancellationToken,
) -> Result<Route> {
    let places = Place::served().await?;
    if places.is_empty() {
        return Ok(Route::Here(None));
    }
    call_each(&places, request, frontend, cancel).await.map(Route::Answered)
}

/// Passes a command on to the owners at `places`, all at once; what they stopped becomes one answer.
pub(super) async fn call_each(
    places: &[Place],
    request: &Request,
    frontend: &Arc<dyn Frontend>,
    cancel: &CancellationToken,
) -> Result<Value> {
    let asked: Vec<_> = places.iter().map(|place| call(place, request, frontend, cancel)).collect();
    // One that does not answer must keep neither the others running nor us from asking them.
    let answers: Vec<_> = stream::iter(asked).buffered(OWNERS).collect().await;
    let (mut syncs, mut ended) = (Vec::new(), Vec::new());
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok(mut answer) => {
                if let Value::Array(workspaces) = answer["stopped"].take() {
                    ended.extend(workspaces);
                }
                if let Value::Array(stopped) = answer["syncs"].take() {
                    syncs.extend(stopped);
                }
            }
            // Another command stops it at this moment, or it was killed: it syncs no more.
            Err(Failed::Gone { .. }) => {}
            Err(failed) => failure = failure.or_else(|| Some(failed.into_error(request.command))),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(json!({ "syncs": syncs, "stopped": ended })),
    }
}

/// Returns what the owner of a workspace says about its sync, or `None` when there is no owner.
pub(super) async fn status(
    workspace: &Path,
    remote: &str,
    frontend: &Arc<dyn Frontend>,
    cancel: &CancellationToken,
) -> Result<Option<Value>> {
    let place = Place::of(workspace);
    if !place.is_served().await {
        return Ok(None);
    }
    let command = commands::find(SyncShow::NAME).expect("a row of the table");
    let scope = Scope {
        remote: Some(remote.to_owned()),
        workspace: Some(workspace.to_string_lossy().into_owned()),
        ..Scope::default()
    };
    let request = Request { command, params: json!({}), scope, folder: workspace.to_owned() };
    let socket = place.socket().await;
    let silent = |_| OwnerError::Silent { socket, source: io::ErrorKind::TimedOut.into() };
    match tokio::time::timeout(HELLO, call(&place, &request, frontend, cancel)).await.map_err(silent)? {
        Ok(answer) => Ok(Some(answer)),
        Err(Failed::Gone { .. }) => Ok(None),
        Err(failed) => Err(failed.into_error(command)),
    }
}
