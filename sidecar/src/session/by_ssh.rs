//! A remote of the store, reached by SSH, with the agent installed there on consent.

use std::path::PathBuf;
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
use crate::transport::{Transport, ssh};

/// Reaches one remote.
#[derive(Debug)]
pub struct BySsh {
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
        let home = env::home().unwrap_or_else(|| PathBuf::from("/"));
        let options = ssh::Options {
            yes: self.yes,
            ..ssh::Options::new(&home, env::get(env::SSH_AUTH_SOCK).map(PathBuf::from), purpose)
        };
        if lane == Lane::Priority {
            let title = format!("Connecting to {}", self.remote.name);
            frontend.report(Progress { title, ..Progress::default() });
        }
        match ssh::connect(&self.remote, &options, frontend, cancel).await {
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
