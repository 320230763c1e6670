//! The process that runs a workspace's sync, and the socket on which others reach it.
//!
//! One process per workspace: a lock makes it so. It runs the same table as everyone else; a front end
//! that finds an owner passes the command on and relays what comes back.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::editor::{Scope, SyncStatus};
use protocol::error::{Code, Error, Explain, Result, word};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::commands::Where;
use crate::config::layers::project_folder;
use crate::cx::Cx;
use crate::frontend::Frontend;
use crate::jobs::{Jobs, Request, Role};
use crate::log;

mod client;
mod place;
mod relay;
mod server;
mod words;

#[cfg(test)]
mod tests;

use client::Failed;
use place::Place;

/// How long a command looks for an owner that answers: longer than one takes to end and another to start.
const PERSIST: Duration = Duration::from_secs(15);
/// Pause before an owner that is gone is looked for again; a killed process is gone within milliseconds.
const AGAIN: Duration = Duration::from_millis(20);
/// Longest wait for an owner that is ending to be gone: a little more than it gives itself.
const ENDING: Duration = Duration::from_secs(8);

/// What is to become of a command.
#[derive(Debug)]
pub enum Route {
    /// An owner did it.
    Answered(Value),
    /// It is done in this process, which is the workspace's owner meanwhile if a server is given.
    Here(Option<server::Server>),
}

/// Passes a command on to the workspace's owner, when there is one or when the command starts one.
pub async fn route(
    jobs: &Jobs,
    request: &Request,
    frontend: &Arc<dyn Frontend>,
    cancel: &CancellationToken,
) -> Result<Route> {
    let workspace = match request.command.runs {
        Where::Anywhere => return Ok(Route::Here(None)),
        Where::Owners if request.params["all"] == true => {
            return client::call_all(request, frontend, cancel).await;
        }
        Where::Owner | Where::Owners | Where::StartsOwner => workspace(request),
    };
    // A folder that is not there has no owner; the command itself says what is wrong.
    let Some(workspace) = workspace else { return Ok(Route::Here(None)) };
    let starts = request.command.runs == Where::StartsOwner;
    let deadline = Instant::now() + PERSIST;
    loop {
        let found = match Place::of(&workspace) {
            place if place.is_served().await => Some((workspace.clone(), place)),
            _ if starts || names_folder(request) => None,
            _ => served_above(&workspace).await,
        };
        let (workspace, place) = match found {
            Some(found) => found,
            None if !starts => return Ok(Route::Here(None)),
            None => {
                let place = Place::of(&workspace);
                if request.params["foreground"] == true {
                    let jobs = jobs.clone().with_role(Role::Owner);
                    return Ok(Route::Here(Some(server::Server::start(jobs, &workspace, &place).await?)));
                }
                client::start(&workspace, request.scope.remote.as_deref(), &place).await?;
                (workspace.clone(), place)
            }
        };
        let failed = match client::call(&place, &within(request, &workspace), frontend, cancel).await {
            Ok(answer) => return Ok(Route::Answered(answer)),
            Err(failed) => failed,
        };
        // An owner that was killed or is ending is as good as none; what it may have done already is done
        // again only where that changes nothing.
        let again = match failed {
            Failed::Gone { begun, .. } => !(begun && request.command.once) && Instant::now() < deadline,
            Failed::Error(_) => false,
        };
        if !again || cancel.is_cancelled() {
            return Err(failed.into_error(request.command));
        }
        tracing::info!(workspace = %workspace.display(), "the owner is gone; asking again");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Returns what the owner of a workspace, another process, says about its sync; `None` when there is none.
pub async fn status(cx: &Cx, workspace: &Path, remote: &str) -> Result<Option<SyncStatus>> {
    let said = client::status(workspace, remote, &cx.frontend, &cx.cancel).await?;
    let status = said.map(serde_json::from_value::<SyncStatus>).transpose();
    // An owner of another version may say what we cannot read; then we know no more than without it.
    Ok(status.unwrap_or_default().filter(|status| status.remote == remote))
}

/// Runs the owner of `workspace` until its sync is stopped; returns the exit status.
pub fn main(workspace: &Path, remote: &str) -> u8 {
    log::start(log::Also::Nowhere);
    match server::run(workspace, remote) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, causes = ?error.causes, "the owner ends");
            error.code.family().exit_code()
        }
    }
}

/// Returns the folder that a command is about, with links resolved.
fn workspace(request: &Request) -> Option<PathBuf> {
    let named = request.params["dir"].as_str().or(request.scope.workspace.as_deref());
    let folder = match named {
        Some(named) => request.folder.join(named),
        None => project_folder(request.folder.clone()),
    };
    // One that is not text cannot be named to an owner, and is not synced anyway.
    folder.canonicalize().ok().filter(|folder| folder.is_dir() && folder.to_str().is_some())
}

fn names_folder(request: &Request) -> bool {
    request.params["dir"].is_string() || request.scope.workspace.is_some()
}

/// Returns the nearest folder above that has an owner: a person may stand deep in a project.
async fn served_above(folder: &Path) -> Option<(PathBuf, Place)> {
    for above in folder.ancestors().skip(1) {
        let place = Place::of(above);
        if place.is_served().await {
            return Some((above.to_owned(), place));
        }
    }
    None
}

/// Returns the request with its workspace named, as the owner stands in another folder.
fn within(request: &Request, workspace: &Path) -> Request {
    let scope = Scope { workspace: Some(workspace.to_string_lossy().into_owned()), ..request.scope.clone() };
    Request { scope, ..request.clone() }
}

/// Why the owner of a workspace cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A folder of sockets or locks is not ours alone.
    #[error("the folder `{}` belongs to somebody else or is open to others", folder.display())]
    UnsafeFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the owner cannot be used.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It cannot be started.
    #[error("the background process for `{}` cannot be started", workspace.display())]
    Start {
        /// The workspace.
        workspace: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has become the owner.
    #[error("another process syncs `{}`", workspace.display())]
    Taken {
        /// The workspace.
        workspace: PathBuf,
    },
    /// It does not answer.
    #[error("the background process of this workspace does not answer on `{}`", socket.display())]
    Silent {
        /// Its socket.
        socket: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended while it did what was asked.
    #[error("the background process of this workspace ended during `{command}`")]
    Lost {
        /// The words of the command.
        command: String,
        /// Whether doing it a second time would be another thing.
        once: bool,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It speaks another version.
    #[error("the background process {pid} of this workspace is of version {theirs}, this program of {ours}")]
    Version {
        /// Its process id.
        pid: u32,
        /// Its version.
        theirs: String,
        /// Ours.
        ours: &'static str,
    },
}

impl Explain for OwnerError {
    fn code(&self) -> Code {
        Code::OwnerUnavailable
    }

    fn help(&self) -> String {
        match self {
            Self::UnsafeFolder { folder } => {
                format!(
                    "Run `ls -ld {0}`: if it is yours, run `chmod 700 {0}`; else run the command as the user it belongs to, \
                     or remove it.",
                    word(folder.display())
                )
            }
            Self::File { path, .. } => format!(
                "Run `ls -ld {}` to see who may write there; it has to be you.",
                word(path.parent().unwrap_or(path).display())
            ),
            Self::Start { .. } => format!(
                "Run `mltoolbox-sidecar sync watch --foreground` to go without it, and read the last lines of `{}` for the reason.",
                log::path().display()
            ),
            Self::Taken { .. } => "Run the command again; it will be passed on to that process.".to_owned(),
            Self::Silent { socket, .. } => format!(
                "Run `fuser -k {}` to end it, then run the command again; nothing is lost by it.",
                word(socket.display())
            ),
            Self::Lost { once: true, .. } => {
                "It may have been done: look with `mltoolbox-sidecar sync status`, then run the command again if it was not."
                    .to_owned()
            }
            Self::Lost { once: false, .. } => {
                format!("Run the command again; if that does not help, read the last lines of `{}`.", log::path().display())
            }
            Self::Version { pid, .. } => {
                format!("Run `kill {pid}`, then `mltoolbox-sidecar sync watch`; nothing is lost by it.")
            }
        }
    }
}

/// Returns the error of a file operation.
fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| OwnerError::File { path, source }.into()
}

/// A lock that is held as long as the value lives.
type Lock = OwnedFd;

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let folder = || PathBuf::from("/run/user/1000/mltoolbox");
    let workspace = || PathBuf::from("/home/ada/project");
    vec![
        OwnerError::UnsafeFolder { folder: folder() }.into(),
        OwnerError::File { path: folder().join("0a1b.lock"), source: std::io::ErrorKind::PermissionDenied.into() }
            .into(),
        OwnerError::Start { workspace: workspace(), source: std::io::ErrorKind::NotFound.into() }.into(),
        OwnerError::Taken { workspace: workspace() }.into(),
        OwnerError::Silent { socket: folder().join("0a1b.sock"), source: refused() }.into(),
        OwnerError::Lost { command: "sync approve".to_owned(), once: true, source: refused() }.into(),
        OwnerError::Version { pid: 4711, theirs: "0.9.0".to_owned(), ours: "0.1.0" }.into(),
    ]
}
