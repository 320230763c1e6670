//! Commands about the agent on a remote.

use std::time::Instant;

use protocol::editor::{AgentLogsOutput, AgentLogsParams, AgentState, AgentStatus, NoParams, RemoteRow};
use protocol::error::{Code, Result};
use protocol::hello::Facts;
use serde::Deserialize;

use super::remote::choice;
use super::remote::milliseconds;
use crate::cx::Cx;
use crate::frontend::{Question, confirm};
use crate::session::command;
use crate::session::install::{self, Build, FOLDER, InstallError};
use crate::session::{Lane, policy};
use crate::transport::Transport;

/// What was found of the agent without starting it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) status: AgentStatus,
    pub(super) facts: Option<Facts>,
}

/// What `mlt health` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    version: String,
    hostname: String,
    pid: u32,
    uptime_seconds: u64,
    #[serde(default)]
    roots: Vec<String>,
    #[serde(default)]
    started_by: Option<String>,
    #[serde(default)]
    facts: Option<Facts>,
}

/// Installs or updates the agent and starts it.
pub(super) async fn install(cx: Cx, _params: NoParams) -> Result<AgentStatus> {
    let (remote, transport) = reach(&cx).await?;
    install::install(&*transport, &remote.name, &cx.store, &*cx.frontend, cx.scope.yes).await?;
    started(&cx, &remote).await
}

/// Says how the agent is; does not start it.
pub(super) async fn status(cx: Cx, _params: NoParams) -> Result<AgentStatus> {
    let (remote, transport) = reach(&cx).await?;
    let found = look(&*transport, remote.facts.as_ref()).await?;
    Ok(AgentStatus { remote: remote.name, ..found.status })
}

/// Returns the agent's last log lines; does not start it.
pub(super) async fn logs(cx: Cx, params: AgentLogsParams) -> Result<AgentLogsOutput> {
    let (remote, transport) = reach(&cx).await?;
    let platform = install::platform_of(&*transport, remote.facts.as_ref()).await?;
    let build = Build::here(platform).await?.ok_or(InstallError::Missing)?;
    let lines = params.tail.unwrap_or(policy::LOG_LINES);
    let ran = install::verb(&*transport, &build, &format!("logs --tail {lines}")).await?;
    if !ran.is_success() {
        return Err(InstallError::Missing.into());
    }
    Ok(AgentLogsOutput { lines: ran.stdout.lines().map(str::to_owned).collect() })
}

/// Stops the agent and starts it again.
pub(super) async fn restart(cx: Cx, _params: NoParams) -> Result<AgentStatus> {
    let (remote, transport) = reach(&cx).await?;
    let build = install::build_for(&*transport, remote.facts.as_ref(), &*cx.frontend).await?;
    if !install::verb(&*transport, &build, "stop").await?.is_success() {
        tracing::debug!("no agent of this build was stopped");
    }
    started(&cx, &remote).await
}

/// Stops the agent; the next sync starts it again.
pub(super) async fn stop(cx: Cx, _params: NoParams) -> Result<AgentStatus> {
    let (remote, transport) = reach(&cx).await?;
    end(&*transport, remote.facts.as_ref()).await?;
    let found = look(&*transport, remote.facts.as_ref()).await?;
    Ok(AgentStatus { remote: remote.name, ..found.status })
}

/// Removes the agent and what it made for itself; files of the user stay.
pub(super) async fn uninstall(cx: Cx, _params: NoParams) -> Result<AgentStatus> {
    let (remote, transport) = reach(&cx).await?;
    let text = format!("Stop the agent on `{}` and remove `~/{FOLDER}` there, but no synced file?", remote.name);
    if !confirm(&*cx.frontend, cx.scope.yes, &Question::Confirm { text }).await? {
        return Err(InstallError::Kept { remote: remote.name }.into());
    }
    end(&*transport, remote.facts.as_ref()).await?;
    install::uninstall(&*transport).await?;
    cx.store.allow_agent(&remote.name, false).await?;
    let found = look(&*transport, remote.facts.as_ref()).await?;
    Ok(AgentStatus { remote: remote.name, ..found.status })
}

/// Looks for the agent on a machine without starting it, and downloads none. Where there can be none, that is what
/// was found.
pub(super) async fn look(transport: &dyn Transport, known: Option<&Facts>) -> Result<Found> {
    let here = async { Result::<_>::Ok(Build::here(install::platform_of(transport, known).await?).await?) };
    let build = match here.await {
        Ok(Some(build)) => build,
        Ok(None) => return Ok(Found { status: of_others(transport).await?, facts: None }),
        Err(problem) if matches!(problem.code, Code::AgentPlatform | Code::AgentInstall) => {
            let status = AgentStatus { problem: Some(problem), ..AgentStatus::default() };
            return Ok(Found { status, facts: None });
        }
        Err(error) => return Err(error),
    };
    let mut found = look_for(transport, &build).await?;
    found.status.program = Some(build.about());
    Ok(found)
}

async fn look_for(transport: &dyn Transport, build: &Build) -> Result<Found> {
    let path = format!("~/{}", build.path());
    let ran = install::verb(transport, build, "health").await?;
    let health = ran.stdout.lines().rev().find_map(|line| serde_json::from_str::<Health>(line.trim()).ok());
    if let Some(health) = health {
        let status = AgentStatus {
            state: AgentState::Running,
            version: Some(health.version),
            path: Some(path),
            hostname: Some(health.hostname),
            pid: Some(health.pid),
            uptime_seconds: Some(health.uptime_seconds),
            started_by: health.started_by,
            roots: health.roots,
            ..AgentStatus::default()
        };
        return Ok(Found { status, facts: health.facts });
    }
    let status = if install::verb(transport, build, "--version").await?.is_success() {
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        AgentStatus { state: AgentState::Stopped, version, path: Some(path), ..AgentStatus::default() }
    } else {
        of_others(transport).await?
    };
    Ok(Found { status, facts: None })
}

/// Says how far a machine is where our build is not installed.
async fn of_others(transport: &dyn Transport) -> Result<AgentStatus> {
    let others = command::run(transport, &format!("sh -c 'ls -t ~/{FOLDER}/bin'")).await?;
    let newest = others.stdout.lines().map(str::trim).find_map(|name| name.strip_prefix("mlt-"));
    let Some(rest) = newest.filter(|_| others.is_success()) else { return Ok(AgentStatus::default()) };
    let version = rest.rsplit_once('-').map_or(rest, |(version, _)| version).to_owned();
    let path = Some(format!("~/{FOLDER}/bin/mlt-{rest}"));
    Ok(AgentStatus { state: AgentState::Outdated, version: Some(version), path, ..AgentStatus::default() })
}

async fn reach(cx: &Cx) -> Result<(RemoteRow, std::sync::Arc<dyn Transport>)> {
    let remote = choice::chosen(cx).await?;
    let session = cx.sessions.get(cx, &remote.name).await?;
    Ok((remote, session.transport().await?))
}

/// Starts the agent, or finds it running, and says how it is.
async fn started(cx: &Cx, remote: &RemoteRow) -> Result<AgentStatus> {
    let session = cx.sessions.get(cx, &remote.name).await?;
    let began = Instant::now();
    session.link(Lane::Priority).await?;
    let start_ms = milliseconds(began.elapsed());
    let transport = session.transport().await?;
    let found = look(&*transport, remote.facts.as_ref()).await?;
    Ok(AgentStatus { remote: remote.name.clone(), start_ms: Some(start_ms), ..found.status })
}

/// Stops the agents that run, of whatever build; downloads none for it.
pub(super) async fn end(transport: &dyn Transport, known: Option<&Facts>) -> Result<()> {
    // A machine that there is no build for may have been given one by another sidecar.
    let ours = match install::platform_of(transport, known).await {
        Ok(platform) => Build::here(platform).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the build on this machine cannot be told");
            None
        }),
        Err(error) if error.code == Code::AgentPlatform => None,
        // An account that runs no commands runs no agent.
        Err(error) if error.code == Code::AgentInstall => return Ok(()),
        Err(error) => return Err(error),
    };
    install::stop(transport, ours.as_ref()).await
}
