//! Checks everything that MLToolbox stands on, and says what to mend. Changes nothing and asks nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::{
    AgentState, DoctorCheck, DoctorLevel, DoctorOutput, NoParams, OutputStream, RemoteTestParams, Scope,
};
use protocol::error::{Error, Result};
use tokio::task::JoinSet;

use super::remote;
use super::show::text::milliseconds;
use crate::cx::Cx;
use crate::frontend::{Answer, Frontend, Progress, Question, Terminal};
use crate::store::Store;
use crate::{env, log, sessions};

mod agents;
pub mod machine;

use machine::DoctorError;

/// A remote that is not reached within this time is reported as such; the doctor must come to an end.
const REMOTE: Duration = Duration::from_secs(20);

pub(super) async fn run(cx: Cx, _: NoParams) -> Result<DoctorOutput> {
    let mut checks = vec![
        machine::writable("configuration folder", &env::config_dir()),
        database().await,
        machine::writable("log folder", &env::log_dir()),
        machine::space(&env::config_dir()),
        machine::ssh_agent().await,
        agents::programs().await,
    ];
    checks.extend(machine::keys());
    checks.extend(machine::watch_limits());
    checks.extend(remotes(&cx).await?);
    Ok(DoctorOutput { checks })
}

/// Returns the exit status: 1 when something does not work.
pub(super) fn status(output: &DoctorOutput) -> u8 {
    u8::from(output.checks.iter().any(|check| check.level == DoctorLevel::Bad))
}

fn good(name: &str, found: String) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), level: DoctorLevel::Good, found, error: None }
}

fn not_well(name: &str, level: DoctorLevel, found: &str, error: Error) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), level, found: found.to_owned(), error: Some(error) }
}

async fn database() -> DoctorCheck {
    let path = env::database();
    match Store::open(&path).await {
        Ok(_) => good("state database", path.display().to_string()),
        Err(error) => not_well("state database", DoctorLevel::Bad, "cannot be opened", error.into()),
    }
}

/// Tests the remote that was named, else every remote, all at a time.
async fn remotes(cx: &Cx) -> Result<Vec<DoctorCheck>> {
    let mut tests = JoinSet::new();
    let rows = match &cx.scope.remote {
        Some(name) => vec![sessions::known(cx, name).await?],
        None => cx.store.remotes().await?,
    };
    for row in rows {
        let scope = Scope { remote: Some(row.name.clone()), yes: false, ..cx.scope.clone() };
        let cx = Cx { scope, frontend: Arc::new(Nobody), ..cx.clone() };
        tests.spawn(async move {
            let name = format!("remote `{}`", row.name);
            let params = RemoteTestParams { name: Some(row.name.clone()) };
            match tokio::time::timeout(REMOTE, remote::test(cx, params)).await {
                Ok(Ok(tested)) => {
                    let agent = match tested.agent {
                        AgentState::Missing => "no agent yet",
                        AgentState::Outdated => "agent of another version",
                        AgentState::Stopped => "agent stopped",
                        AgentState::Running => "agent running",
                    };
                    good(&name, format!("round trip {}, {agent}", milliseconds(tested.round_trip_ms)))
                }
                Ok(Err(error)) => not_well(&name, DoctorLevel::Bad, "does not work", error),
                Err(_) => {
                    let error = DoctorError::RemoteSilent { remote: row.name, seconds: REMOTE.as_secs() };
                    not_well(&name, DoctorLevel::Bad, "does not answer", error.into())
                }
            }
        });
    }
    let mut checks = Vec::new();
    while let Some(tested) = tests.join_next().await {
        match tested {
            Ok(check) => checks.push(check),
            Err(error) => tracing::error!(%error, log = %log::path().display(), "the test of a remote failed"),
        }
    }
    checks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(checks)
}

/// Answers nothing: a check must not change what it checks.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Frontend for Nobody {
    fn report(&self, _: Progress) {}

    fn tell(&self, _: String) {}

    async fn output(&self, _: OutputStream, bytes: Bytes) {
        tracing::debug!(length = bytes.len(), "output of a check");
    }

    async fn ask(&self, _: &Question) -> Option<Answer> {
        None
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}
