//! Commands about remotes: name them, look at them, reach them, forget them.

use std::time::Duration;

use protocol::editor::{
    NoParams, RemoteAddParams, RemoteConnectParams, RemoteListOutput, RemoteNameParams, RemoteRow, RemoteShowOutput,
    RemoteTestOutput, RemoteTestParams, SyncPushParams, SyncStartParams, SyncStatus, SyncWatchParams,
};
use protocol::error::{Code, Result};

pub(crate) mod address;
pub(crate) mod choice;
pub(crate) mod import;
mod machine;
mod way;

pub(super) use import::import;

use super::agent::Found;
use super::work::{self, Work};
use crate::cx::Cx;
use crate::frontend::{Question, confirm};
use crate::sessions;
use crate::sync::target::WITHOUT_AGENT;
use crate::transport::ssh_config::{self, Address};
use crate::transport::{Limit, TransportError};
use address::RemoteError;

/// Round trips whose median is shown: enough to leave out a single slow one.
const ROUND_TRIPS: usize = 5;

/// Adds a remote; the same settings again change nothing.
pub(super) async fn add(cx: Cx, params: RemoteAddParams) -> Result<RemoteRow> {
    let row = address::row(&cx, params).await?;
    put(&cx, row).await
}

/// Returns every remote and the one that this workspace uses.
pub(super) async fn list(cx: Cx, _params: NoParams) -> Result<RemoteListOutput> {
    let remotes = cx.store.remotes().await?;
    let chosen = choice::chosen(&cx).await.ok().map(|remote| remote.name);
    Ok(RemoteListOutput { remotes, chosen })
}

/// Returns all that is known about a remote without reaching it.
pub(super) async fn show(cx: Cx, params: RemoteNameParams) -> Result<RemoteShowOutput> {
    let remote = sessions::known(&cx, &params.name).await?;
    Ok(match cx.sessions.identity().resolve(&remote).await {
        Ok(host) => RemoteShowOutput { remote, way: Some(way::of(&host)), problem: None },
        Err(error) => RemoteShowOutput { remote, way: None, problem: Some(error.into()) },
    })
}

/// Connects to a remote and measures it. Installs nothing.
pub(super) async fn test(cx: Cx, params: RemoteTestParams) -> Result<RemoteTestOutput> {
    let remote = match params.name {
        Some(name) => sessions::known(&cx, &name).await?,
        None => choice::chosen(&cx).await?,
    };
    let way = way::of(&cx.sessions.identity().resolve(&remote).await?);
    let session = cx.sessions.get(&cx, &remote.name).await?;
    let transport = session.transport().await?;
    let mut trips = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        trips.push(transport.round_trip().await?);
    }
    let about = transport.about().clone();
    let forbidden = transport.limits().await?;
    let runs_commands = TransportError::of_limits(&remote.host, &forbidden).is_none();
    let found =
        if runs_commands { super::agent::look(&*transport, remote.facts.as_ref()).await? } else { Found::default() };
    let facts = match found.facts {
        None if runs_commands => machine::facts(&*transport).await?,
        facts => facts,
    };
    if let Some(facts) = &facts {
        cx.store.reached(&remote.name, Some(facts)).await?;
    }
    let mut limits: Vec<String> = forbidden.iter().map(Limit::text).collect();
    limits.extend(found.status.problem.iter().map(ToString::to_string));
    if found.status.problem.is_some() || remote.no_agent.is_some() {
        limits.extend(remote.no_agent.map(|why| format!("No agent is used, because {why}.")));
        limits.extend(WITHOUT_AGENT.iter().map(ToString::to_string));
    }
    if about.interactive {
        limits.push("A person had to answer to log in, so large transfers share the one connection.".to_owned());
    }
    Ok(RemoteTestOutput {
        name: remote.name,
        way,
        connect_ms: milliseconds(about.connect),
        round_trip_ms: milliseconds(median(trips)),
        authentication: about.authentication,
        host_key: about.host_key,
        cipher: about.cipher,
        facts: facts.or(remote.facts),
        agent: found.status.state,
        limits,
    })
}

/// Forgets a remote; nothing is changed on it.
pub(super) async fn remove(cx: Cx, params: RemoteNameParams) -> Result<RemoteRow> {
    let remote = sessions::known(&cx, &params.name).await?;
    let pairs = cx.store.pairs().await?;
    let used: Vec<String> = pairs
        .into_iter()
        .filter(|pair| pair.remote == remote.name)
        .map(|pair| pair.workspace.display().to_string())
        .collect();
    if !used.is_empty() {
        let folders = used.join("`, `");
        let text = format!("`{}` is used by the sync of `{folders}`. Forget both?", remote.name);
        if !confirm(&*cx.frontend, cx.scope.yes, &Question::Confirm { text }).await? {
            return Err(RemoteError::InUse { name: remote.name, folders }.into());
        }
    }
    cx.sessions.end(&remote.name);
    cx.store.remove_remote(&remote.name).await?;
    Ok(remote)
}

/// Adds a remote when it is new, brings the agent there, and starts the sync of the workspace.
pub(super) async fn connect(mut cx: Cx, params: RemoteConnectParams) -> Result<SyncStatus> {
    let work = work::begin(&cx, &choice::workspace(&cx).await).await?;
    let mut is_new = false;
    let remote = match cx.store.remote(&params.host).await? {
        Some(remote) => remote,
        None => match Address::parse(&params.host) {
            Some(address) if address::looks_like_one(&address) || is_alias(&cx, &address).await => {
                let row = address::row(&cx, address::params(address)).await?;
                let known = same_account(&cx, &row).await?;
                is_new = known.is_none();
                match known {
                    Some(known) => known,
                    None => put(&cx, row).await?,
                }
            }
            Some(_) | None => sessions::known(&cx, &params.host).await?,
        },
    };
    if let Err(error) = reach(&cx, &remote.name, &work).await {
        // One that never worked would only be in the way of the next attempt.
        if is_new {
            cx.store.remove_remote(&remote.name).await?;
        }
        return Err(error);
    }
    cx.store.choose(&choice::workspace(&cx).await, &remote.name).await?;
    cx.scope.remote = Some(remote.name);
    let workspace = choice::workspace(&cx).await;
    if !cx.config(&workspace).await?.config.sync.watch {
        let pushed = super::sync::push_in(cx, SyncPushParams::default(), Some(work)).await?;
        return Ok(pushed.status);
    }
    let params = SyncWatchParams { start: SyncStartParams::default(), foreground: false };
    super::sync::watch_in(cx, params, Some(work)).await
}

async fn reach(cx: &Cx, remote: &str, work: &Work) -> Result<()> {
    work.connected(cx, remote).await?;
    let session = cx.sessions.get(cx, remote).await?;
    match session.link(crate::session::Lane::Priority).await {
        Ok(_) => Ok(()),
        // The sync goes without one.
        Err(error) if error.code == Code::AgentNone => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns whether the configuration of SSH has a host of that name.
async fn is_alias(cx: &Cx, address: &Address) -> bool {
    let names = ssh_config::aliases(&cx.sessions.identity().settings()).await;
    names.is_ok_and(|names| names.contains(&address.host))
}

/// Returns the remote that logs in to the same account of the same machine as `row`; their keys may differ.
async fn same_account(cx: &Cx, row: &RemoteRow) -> Result<Option<RemoteRow>> {
    let identity = cx.sessions.identity();
    let account = |row: &RemoteRow| {
        let row = row.clone();
        async move { identity.resolve(&row).await.ok().map(|host| (host.hostname, host.port, host.user)) }
    };
    let new = account(row).await;
    for known in cx.store.remotes().await? {
        let typed_alike = (&known.host, known.port, &known.user) == (&row.host, row.port, &row.user);
        if typed_alike || new.is_some() && known.host.eq_ignore_ascii_case(&row.host) && account(&known).await == new {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Stores a new remote, or returns the one that is there with the same settings.
async fn put(cx: &Cx, row: RemoteRow) -> Result<RemoteRow> {
    if let Some(there) = cx.store.remote(&row.name).await? {
        let same = (&there.host, there.port, &there.user, &there.jump, &there.key, there.accept_new)
            == (&row.host, row.port, &row.user, &row.jump, &row.key, row.accept_new);
        if !same {
            return Err(RemoteError::Exists { there: Box::new(there) }.into());
        }
        if row.no_agent.is_none() || row.no_agent == there.no_agent {
            return Ok(there);
        }
        cx.store.no_agent(&row.name, row.no_agent).await?;
        return Ok(RemoteRow { no_agent: row.no_agent, ..there });
    }
    cx.store.put_remote(&row).await?;
    Ok(row)
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
