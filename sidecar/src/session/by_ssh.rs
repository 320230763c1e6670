//! A remote of the store, reached by SSH, with the agent installed there on consent.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::editor::RemoteRow;
use protocol::error::{Code, Error, Result};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::{Connector, Failed, Lane, install};
use crate::env;
use crate::frontend::{Frontend, Progress};
use crate::store::Store;
use crate::transport::ssh_config::{self, ConfigError, Host, Overrides, Settings};
use crate::transport::{Transport, TransportError, ssh};

/// Whose keys and known hosts are used.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The folder that holds `.ssh`.
    pub home: PathBuf,
    /// The socket of an SSH agent.
    pub agent: Option<PathBuf>,
    /// The SSH configuration to read instead of the usual files; `none` for none at all.
    pub config: Option<PathBuf>,
}

impl Identity {
    /// Returns where the configuration of SSH is.
    pub fn settings(&self) -> Settings {
        Settings { file: self.config.clone(), ..Settings::new(&self.home) }
    }

    /// Returns how a remote is reached now: what the user said of it, and the configuration of SSH for the rest.
    pub async fn resolve(&self, remote: &RemoteRow) -> Result<Host, ConfigError> {
        let overrides = Overrides {
            user: remote.user.clone(),
            port: remote.port,
            jump: remote.jump.clone(),
            key: remote.key.as_deref().map(|key| match key.strip_prefix("~/") {
                Some(below) => self.home.join(below),
                None => PathBuf::from(key),
            }),
            accept_new: remote.accept_new,
        };
        ssh_config::resolve(&remote.host, &overrides, &self.settings()).await
    }
}

impl Default for Identity {
    /// Returns the user's own.
    fn default() -> Self {
        Self {
            home: env::home().unwrap_or_else(|| PathBuf::from("/")),
            agent: env::get(env::SSH_AUTH_SOCK).map(PathBuf::from),
            config: env::ssh_config(),
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
        let Identity { home, agent, .. } = &self.identity;
        let options = ssh::Options { yes: self.yes, ..ssh::Options::new(home, agent.clone(), purpose) };
        if lane == Lane::Priority {
            let title = format!("Connecting to {}", self.remote.name);
            frontend.report(Progress { title, ..Progress::default() });
        }
        let resolved = self.identity.resolve(&self.remote);
        let cancelled = || TransportError::Cancelled { host: self.remote.host.clone() };
        let mut host = match cancel.run_until_cancelled(resolved).await {
            Some(Ok(host)) => host,
            Some(Err(error)) => return Err(Failed { transient: false, error: error.into() }),
            None => return Err(Failed { transient: false, error: cancelled().into() }),
        };
        if lane == Lane::Bulk {
            // They were told for the first connection.
            host.warnings.clear();
        }
        match ssh::connect(&host, &options, frontend, cancel).await {
            Ok(connected) => Ok(Arc::new(connected)),
            Err(error) => Err(Failed { transient: error.is_transient(), error: error.into() }),
        }
    }

    async fn agent(&self, transport: &Arc<dyn Transport>, frontend: &dyn Frontend) -> Result<Link> {
        let link = match install::agent(&**transport, &self.remote.name, &self.store, frontend, self.yes).await {
            Ok(link) => link,
            // The one is a person's affair; the other knows the account already, and the sync goes over SFTP.
            Err(error) if matches!(error.code, Code::QuestionUnanswered | Code::AgentNone) => return Err(error),
            // An account that runs no commands fails in odd ways; what it is comes first.
            Err(error) => {
                let limits = transport.limits().await.unwrap_or_default();
                return Err(TransportError::of_limits(&self.remote.host, &limits).map_or(error, Error::from));
            }
        };
        self.store.reached(&self.remote.name, Some(link.facts())).await?;
        Ok(link)
    }
}
