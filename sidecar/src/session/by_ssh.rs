//! A remote of the store, reached by SSH, with the agent installed there on consent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use protocol::editor::RemoteRow;
use protocol::error::Result;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::{Connector, Failed, Lane, install};
use crate::env;
use crate::frontend::{Frontend, Progress};
use crate::store::Store;
use crate::transport::ssh_config::{Host, StrictHostKey};
use crate::transport::{Transport, ssh};

/// Whose keys and known hosts are used.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The folder that holds `.ssh`.
    pub home: PathBuf,
    /// The socket of an SSH agent.
    pub agent: Option<PathBuf>,
}

impl Default for Identity {
    /// Returns the user's own.
    fn default() -> Self {
        Self {
            home: env::home().unwrap_or_else(|| PathBuf::from("/")),
            agent: env::get(env::SSH_AUTH_SOCK).map(PathBuf::from),
        }
    }
}

/// Reaches one remote.
#[derive(Debug)]
pub struct BySsh {
    /// Who connects.
    pub identity: Identity,
    /// The remote as it was when the session began.
    pub remote: RemoteRow,
    /// Where consent and facts are recorded.
    pub store: Store,
    /// Whether every question is answered with yes.
    pub yes: bool,
}

#[async_trait]
impl Connector for BySsh {
    async fn connect(
        &self,
        lane: Lane,
        frontend: &dyn Frontend,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Transport>, Failed> {
        let purpose = match lane {
            Lane::Priority => ssh::Purpose::Control,
            Lane::Bulk => ssh::Purpose::Bulk,
        };
        let Identity { home, agent } = &self.identity;
        let options = ssh::Options { yes: self.yes, ..ssh::Options::new(home, agent.clone(), purpose) };
        if lane == Lane::Priority {
            let title = format!("Connecting to {}", self.remote.name);
            frontend.report(Progress { title, ..Progress::default() });
        }
        let host = plain(&self.remote, home);
        match ssh::connect(&host, &options, frontend, cancel).await {
            Ok(connected) => Ok(Arc::new(connected)),
            Err(error) => Err(Failed { transient: error.is_transient(), error: error.into() }),
        }
    }

    async fn agent(&self, transport: &Arc<dyn Transport>, frontend: &dyn Frontend) -> Result<Link> {
        let link = install::agent(&**transport, &self.remote.name, &self.store, frontend, self.yes).await?;
        self.store.reached(&self.remote.name, Some(link.facts())).await?;
        Ok(link)
    }
}

/// Returns how a remote is reached without any configuration of SSH.
fn plain(remote: &RemoteRow, home: &Path) -> Host {
    let mut host = Host::plain(&remote.host, remote.port, &remote.user, home);
    host.key = remote.key.as_deref().map(|key| match key.strip_prefix("~/") {
        Some(below) => home.join(below),
        None => PathBuf::from(key),
    });
    if remote.accept_new {
        host.strict_host_key = StrictHostKey::AcceptNew;
    }
    host
}
