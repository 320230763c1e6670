//! Runs commands: one job each, cancelled when its handle is dropped; a panic becomes an error.
//!
//! The only place where a [`Cx`] is made.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::editor::Scope;
use protocol::error::{Code, Error, Explain, Result};
use serde_json::Value;
use tokio::sync::{OnceCell, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::commands::{Command, State};
use crate::cx::Cx;
use crate::frontend::Frontend;
use crate::owner::{self, Route};
use crate::sessions::Sessions;
use crate::store::Store;
use crate::sync::Syncs;
use crate::{env, log};

/// Everything that the commands of one process share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    role: Role,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: PathBuf,
    store: OnceCell<Store>,
    sessions: Sessions,
    syncs: Syncs,
    running: TaskTracker,
    last_id: AtomicU64,
}

/// What this process is to a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A front end: asks the workspace's owner where there is one.
    Asker,
    /// The owner of a workspace: does the work itself.
    Owner,
}

/// A command that is to be run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The row.
    pub command: &'static Command,
    /// Its parameters; `null` for none.
    pub params: Value,
    /// What it applies to.
    pub scope: Scope,
    /// The folder against which its relative paths are resolved.
    pub folder: PathBuf,
}

/// A running command. Dropping it cancels the command.
#[derive(Debug)]
pub struct Job {
    /// Number of this job in this process.
    pub id: u64,
    cancel: CancellationToken,
    answer: oneshot::Receiver<Result<Value>>,
    _cancel_on_drop: DropGuard,
}

impl Jobs {
    /// Returns the jobs of a process of that role, with the user's own state database.
    pub fn new(role: Role) -> Self {
        Self::with_database(role, env::database())
    }

    /// Returns the jobs of a process of that role, with the state database at `database`.
    pub fn with_database(role: Role, database: PathBuf) -> Self {
        let shared = Shared {
            database,
            store: OnceCell::new(),
            sessions: Sessions::default(),
            syncs: Syncs::default(),
            running: TaskTracker::new(),
            last_id: AtomicU64::new(0),
        };
        Self { role, shared: Arc::new(shared) }
    }

    /// Returns the same jobs for another role of this process.
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// Starts a command at once; nothing is awaited before its place in the order is taken.
    pub fn submit(&self, request: Request, frontend: Arc<dyn Frontend>) -> Job {
        let id = self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let cancel = CancellationToken::new();
        let (tx, answer) = oneshot::channel();
        let Command { name, grace, .. } = *request.command;
        tracing::debug!(job = id, command = name, "begins");
        let work = tokio::spawn(self.clone().run(request, frontend, cancel.clone()));
        self.shared.running.spawn(supervise(id, name, grace, work, cancel.clone(), tx));
        Job { id, cancel: cancel.clone(), answer, _cancel_on_drop: cancel.drop_guard() }
    }

    /// Returns once no command runs; each ends within a second of its cancellation.
    pub async fn drain(&self) {
        self.shared.running.close();
        self.shared.running.wait().await;
    }

    /// Returns whether this process syncs anything.
    pub fn syncs_anything(&self) -> bool {
        !self.shared.syncs.all().is_empty()
    }

    /// Ends the syncs and the sessions of this process.
    pub async fn close(&self) {
        for sync in self.shared.syncs.all() {
            sync.stop().await;
        }
        self.shared.sessions.close();
    }

    async fn run(self, mut request: Request, frontend: Arc<dyn Frontend>, cancel: CancellationToken) -> Result<Value> {
        if request.params.is_null() {
            request.params = Value::Object(serde_json::Map::new());
        }
        let mut server = match self.role {
            Role::Owner => None,
            Role::Asker => match owner::route(&self, &request, &frontend, &cancel).await? {
                Route::Answered(answer) => return Ok(answer),
                Route::Here(server) => server,
            },
        };
        let Request { command, params, scope, folder } = request;
        let store = self.store(command).await?;
        let cx = Cx {
            scope,
            folder,
            store,
            sessions: self.shared.sessions.clone(),
            syncs: self.shared.syncs.clone(),
            frontend,
            cancel: cancel.clone(),
        };
        let mut work = (command.run)(cx, params);
        let Some(server) = &mut server else { return work.await };
        tokio::select! {
            answer = &mut work => return answer,
            () = server.stopped() => cancel.cancel(),
        }
        work.await
    }

    /// Returns the state database that a command is given; the user's own is opened at first use.
    async fn store(&self, command: &Command) -> Result<Store> {
        if command.state == State::Spare {
            return Self::spare_store().await;
        }
        let opened = self.shared.store.get_or_try_init(|| async { Store::open(&self.shared.database).await }).await;
        match opened {
            Ok(store) => Ok(store.clone()),
            Err(error) if command.state == State::OwnOrSpare => {
                tracing::warn!(%error, "the state database cannot be opened; a spare one is used");
                Self::spare_store().await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a database in a folder that is gone as soon as it is open.
    async fn spare_store() -> Result<Store> {
        let folder = tempfile::tempdir().map_err(|source| JobError::Spare { source })?;
        Ok(Store::open(&folder.path().join("spare.db")).await?)
    }
}

impl Job {
    /// Asks the command to end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the answer; may be called again after it was dropped while waiting.
    pub async fn answer(&mut self) -> Result<Value> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => Err(JobError::Panicked { command: "supervisor", panic: "it vanished".to_owned() }.into()),
        }
    }
}

async fn supervise(
    id: u64,
    name: &'static str,
    grace: Duration,
    mut work: tokio::task::JoinHandle<Result<Value>>,
    cancel: CancellationToken,
    tx: oneshot::Sender<Result<Value>>,
) {
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let answer = tokio::select! {
        joined = &mut work => match joined {
            Ok(Err(error)) if cancel.is_cancelled() && error.code != Code::Cancelled => Err(cancelled(name, Some(&error))),
            Ok(answer) => answer,
            Err(error) => Err(panicked(name, error)),
        },
        () = overdue => {
            tracing::warn!(job = id, command = name, "does not end after its cancellation; it is left to itself");
            Err(cancelled(name, None))
        }
    };
    tracing::debug!(job = id, command = name, ok = answer.is_ok(), "ends");
    if tx.send(answer).is_err() {
        tracing::debug!(job = id, "nobody waits for the answer any more");
    }
}

fn cancelled(name: &'static str, because: Option<&Error>) -> Error {
    let mut error = Error::from(JobError::Cancelled { command: name });
    error.causes.extend(because.map(|because| because.message.clone()));
    error
}

fn panicked(command: &'static str, error: tokio::task::JoinError) -> Error {
    let panic = error.try_into_panic().map_or_else(|error| error.to_string(), |panic| words(panic.as_ref()));
    tracing::error!(command, panic, "panicked");
    JobError::Panicked { command, panic }.into()
}

/// Returns what a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Why a job has no answer of its own.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was cancelled.
    #[error("`{command}` was cancelled")]
    Cancelled {
        /// The command.
        command: &'static str,
    },
    /// Its code is wrong.
    #[error("`{command}` failed because of a defect: {panic}")]
    Panicked {
        /// The command.
        command: &'static str,
        /// What the panic said.
        panic: String,
    },
    /// There is no place for the spare database.
    #[error("no temporary folder can be made")]
    Spare {
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Explain for JobError {
    fn code(&self) -> Code {
        match self {
            Self::Cancelled { .. } => Code::Cancelled,
            Self::Panicked { .. } => Code::Bug,
            Self::Spare { .. } => Code::StoreOpen,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Cancelled { .. } => "Run it again to go on; what was done so far is kept.".to_owned(),
            Self::Panicked { .. } => {
                format!("Report this as a defect, with the last lines of `{}` as its evidence.", log::path().display())
            }
            Self::Spare { .. } => {
                format!("Make room in `{}`, or set `TMPDIR` to a folder that has some.", env::temporary().display())
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    vec![
        JobError::Cancelled { command: "sync/push" }.into(),
        JobError::Panicked { command: "sync/push", panic: "a queue was closed".to_owned() }.into(),
        JobError::Spare { source: std::io::ErrorKind::StorageFull.into() }.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;
    use crate::frontend::{Answer, Progress, Question, Terminal};

    #[derive(Debug)]
    struct Nobody;

    #[async_trait::async_trait]
    impl Frontend for Nobody {
        fn report(&self, _: Progress) {}
        fn tell(&self, _: String) {}
        async fn output(&self, _: protocol::editor::OutputStream, _: bytes::Bytes) {}
        async fn ask(&self, _: &Question) -> Option<Answer> {
            None
        }
        fn terminal(&self) -> Option<Terminal> {
            None
        }
    }

    fn supervised(
        work: impl Future<Output = Result<Value>> + Send + 'static,
        cancel: &CancellationToken,
    ) -> oneshot::Receiver<Result<Value>> {
        let (tx, rx) = oneshot::channel();
        tokio::spawn(supervise(1, "test/run", commands::CANCEL_GRACE, tokio::spawn(work), cancel.clone(), tx));
        rx
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_hear_its_cancellation_is_left_to_itself() {
        let cancel = CancellationToken::new();
        let answer = supervised(std::future::pending(), &cancel);
        let cancelled_at = tokio::time::Instant::now();
        cancel.cancel();
        let error = answer.await.expect("an answer").expect_err("cancelled");
        assert_eq!((error.code, cancelled_at.elapsed()), (Code::Cancelled, commands::CANCEL_GRACE));
    }

    #[tokio::test]
    async fn whatever_a_cancelled_command_fails_with_it_was_cancelled() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let failure = JobError::Spare { source: std::io::ErrorKind::Other.into() };
        let error =
            supervised(async { Err(failure.into()) }, &cancel).await.expect("an answer").expect_err("cancelled");
        assert_eq!((error.code, error.causes), (Code::Cancelled, vec!["no temporary folder can be made".to_owned()]));
    }

    #[tokio::test]
    async fn a_panic_becomes_a_defect_that_names_the_log() {
        let answer = supervised(async { panic!("boom {}", 1) }, &CancellationToken::new());
        let error = answer.await.expect("an answer").expect_err("a defect");
        assert_eq!(error.code, Code::Bug);
        assert!(error.message.contains("boom 1") && error.help.contains("mltoolbox.log"), "{error:?}");
    }

    #[tokio::test]
    async fn what_works_without_a_database_works_without_one() {
        let nowhere = PathBuf::from("/proc/nowhere/state.db");
        for (name, works) in [("cli/man", true), ("remote/list", false)] {
            let command = commands::find(name).expect("a row");
            let request = Request { command, params: Value::Null, scope: Scope::default(), folder: "/".into() };
            let jobs = Jobs::with_database(Role::Owner, nowhere.clone());
            let answer = jobs.submit(request, Arc::new(Nobody)).answer().await;
            assert_eq!(answer.is_ok(), works, "{name}: {answer:?}");
        }
    }
}
