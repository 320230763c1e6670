//! The first tour: the main job, on this machine alone.
//!
//! An SSH server of our own stands in for the remote; from there on everything is what any remote gets.
//! Nothing of the user's is changed: the state, the keys, the server's home and the project live in one
//! temporary folder that is removed at the end, however the end comes about.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use protocol::editor::{NoParams, RemoteAddParams, RemoteTestParams, SyncStatus, TryOutput, TryParams};
use protocol::error::Result;

use super::show::text::{bytes, count, milliseconds};
use super::{agent, remote};
use crate::cx::Cx;
use crate::frontend::Progress;
use crate::session::command;
use crate::sync::{self, Handle, Settings};

mod edits;
mod error;
mod project;
mod quiet;
mod stage;

pub use error::TryError;
#[doc(hidden)]
pub use error::examples;
use stage::{REMOTE, Stage};

/// A cancelled tour stops its agent and removes what it made.
pub(super) const GRACE: Duration = Duration::from_secs(8);
/// Longest wait for the first sync; a stand-in on this machine that takes longer is stuck.
const FIRST_SYNC: Duration = Duration::from_mins(10);
/// How often the progress of the first sync is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(cx: Cx, params: TryParams) -> Result<TryOutput> {
    let stage = Stage::build(&cx, &params).await?;
    let mut output = TryOutput::default();
    let told = cx.cancel.run_until_cancelled(story(&stage, &params, &mut output)).await;
    stage.clear().await;
    match told {
        Some(told) => told.map(|()| output),
        // With `--keep`, Ctrl-C is how it ends.
        None if params.keep && output.first_sync_ms > 0.0 => Ok(output),
        None => Err(TryError::Cancelled.into()),
    }
}

/// Tells the story; each step is told as it happens.
async fn story(stage: &Stage, params: &TryParams, output: &mut TryOutput) -> Result<()> {
    let cx = &stage.cx;
    stage.tell("MLToolbox, tried on this machine alone. Nothing of yours is changed.");
    connect(stage, output).await?;

    let began = Instant::now();
    agent::install(cx.clone(), NoParams {}).await?;
    output.install_ms = began.elapsed().as_secs_f64() * 1e3;
    stage.step(format!("The agent is installed there, without root, in {}.", milliseconds(output.install_ms)));

    let pair = cx.store.pair(&stage.workspace, REMOTE, &stage.remote_dir()).await?;
    let began = Instant::now();
    let sync = sync::run(cx, pair, Settings { watch: true, take_over: false }).await?;
    let status = first_sync(cx, &sync).await?;
    output.first_sync_ms = began.elapsed().as_secs_f64() * 1e3;
    let done = sync.snapshots().borrow().clone();
    (output.files, output.bytes) = (done.files, done.bytes);
    stage.step(format!(
        "The first sync brought {} ({}) there in {}.",
        count(output.files, "file"),
        bytes(output.bytes),
        milliseconds(output.first_sync_ms)
    ));

    let remote_dir = PathBuf::from(&status.remote_dir);
    if stage.may_edit {
        stage.step("Some edits, timed from the save to the file being there:");
        output.edits_ms = edits::make(stage, &remote_dir).await?;
    }
    run_there(stage, &status.remote_dir, output).await?;
    if params.keep {
        keep(stage, &sync).await?;
    }
    sync.stop().await;
    Ok(())
}

/// Adds the stand-in as any remote is added, and connects to it.
async fn connect(stage: &Stage, output: &mut TryOutput) -> Result<()> {
    let cx = &stage.cx;
    let address = stage.server.address();
    stage.step(format!("An SSH server with fresh keys stands in for your machine, on {address}."));
    let added = RemoteAddParams {
        name: REMOTE.to_owned(),
        host: address.ip().to_string(),
        port: Some(address.port()),
        user: Some(REMOTE.to_owned()),
        key: Some(stage.key.to_string_lossy().into_owned()),
        accept_new: true,
        ..RemoteAddParams::default()
    };
    remote::add(cx.clone(), added).await?;
    let tested = remote::test(cx.clone(), RemoteTestParams { name: Some(REMOTE.to_owned()) }).await?;
    output.connect_ms = tested.connect_ms;
    stage.step(format!("Connected in {:.0} ms ({}).", tested.connect_ms, tested.cipher));
    stage.tell(format!("   host key {}", tested.host_key));
    Ok(())
}

async fn first_sync(cx: &Cx, sync: &Handle) -> Result<SyncStatus> {
    let settled = async {
        let settled = sync.settled();
        tokio::pin!(settled);
        loop {
            match tokio::time::timeout(LOOK, &mut settled).await {
                Ok(snapshot) => return snapshot,
                Err(_) => cx.frontend.report(sync.snapshots().borrow().progress.clone()),
            }
        }
    };
    let snapshot = tokio::time::timeout(FIRST_SYNC, settled).await.map_err(|_| TryError::Stuck)??;
    cx.frontend.report(Progress::default());
    match snapshot.status.error {
        Some(error) => Err(error),
        None => Ok(snapshot.status),
    }
}

/// Runs a command in the copy, as proof that it is a project like any other.
async fn run_there(stage: &Stage, remote_dir: &str, output: &mut TryOutput) -> Result<()> {
    let cx = &stage.cx;
    let command = stage.command;
    stage.step(format!("`{command}`, run over there:"));
    let session = cx.sessions.get(cx, REMOTE).await?;
    let line = format!("cd {} && {command}", shell_words::quote(remote_dir));
    let ran = command::run(&*session.transport().await?, &line).await?;
    for line in ran.stdout.lines() {
        stage.tell(format!("   | {line}"));
    }
    output.command_output = ran.stdout;
    Ok(())
}

/// Shows every sync until the person has seen enough.
async fn keep(stage: &Stage, sync: &Handle) -> Result<()> {
    stage.step(format!("Watching `{}`: edit it. Ctrl-C ends.", stage.workspace.display()));
    stage.tell(format!("   The copy is `{}`.", sync.status().remote_dir));
    let mut snapshots = sync.snapshots();
    let mut seen = snapshots.borrow_and_update().clone();
    loop {
        if snapshots.changed().await.is_err() {
            return Err(TryError::Stuck.into());
        }
        let now = snapshots.borrow_and_update().clone();
        if now.status.pending == 0 && (now.files, now.removed) != (seen.files, seen.removed) {
            stage.tell(format!(
                "   {} written, {} removed, {}, {} from the save",
                now.files.saturating_sub(seen.files),
                now.removed.saturating_sub(seen.removed),
                bytes(now.bytes.saturating_sub(seen.bytes)),
                milliseconds(now.status.last_latency_ms.unwrap_or_default())
            ));
            seen = now;
        }
    }
}

/// Runs `work` off the runtime.
async fn off<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}
