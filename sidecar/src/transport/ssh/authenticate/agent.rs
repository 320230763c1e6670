//! The SSH agent: which keys and certificates it holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_key::public::KeyData;
use tokio::time::timeout;

use super::super::{Connection, Options};
use crate::transport::ssh_config::{Host, IdentityAgent};

/// An agent that lists its keys asks nobody.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// How an agent is spoken to.
pub(super) type Client = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// The SSH agent with the keys it said it holds.
pub(super) struct Agent {
    pub(super) client: Client,
    pub(super) identities: Vec<AgentIdentity>,
}

impl Agent {
    /// Returns the agent, or `None` when there is none that answers: it is a help and no condition.
    pub(super) async fn open(connection: &Connection, host: &Host, options: &Options) -> Option<Self> {
        let socket = socket(host, options)?;
        match timeout(LIST_TIMEOUT, Self::list(connection, &socket)).await {
            Ok(Ok(agent)) => Some(agent),
            Ok(Err(error)) => {
                tracing::debug!(%error, socket = %socket.display(), "the SSH agent cannot be used");
                None
            }
            Err(_) => {
                tracing::debug!(socket = %socket.display(), "the SSH agent does not answer");
                None
            }
        }
    }

    #[cfg(unix)]
    async fn list(connection: &Connection, socket: &Path) -> Result<Self, russh::keys::Error> {
        let mut client = AgentClient::connect_uds(socket).await?.dynamic();
        if let Some(binding) = connection.handle.agent_session_binding()
            && let Err(error) = client.bind_session(binding, false).await
        {
            tracing::trace!(%error, "the SSH agent knows no session binding");
        }
        Self::ask(client).await
    }

    #[cfg(windows)]
    async fn list(_connection: &Connection, socket: &Path) -> Result<Self, russh::keys::Error> {
        Self::ask(AgentClient::connect_named_pipe(socket).await?.dynamic()).await
    }

    async fn ask(mut client: Client) -> Result<Self, russh::keys::Error> {
        let identities = client.request_identities().await?;
        Ok(Self { identities, client })
    }
}

/// Returns the plain key among what an agent holds, if it does.
pub(super) fn find<'a>(held: &'a [AgentIdentity], key: &KeyData) -> Option<&'a AgentIdentity> {
    held.iter().find(|identity| match identity {
        AgentIdentity::PublicKey { key: held, .. } => held.key_data() == key,
        AgentIdentity::Certificate { .. } => false,
    })
}

fn socket(host: &Host, options: &Options) -> Option<PathBuf> {
    match &host.identity_agent {
        IdentityAgent::Environment => options.agent.clone(),
        IdentityAgent::Socket(socket) => Some(socket.clone()),
        IdentityAgent::None => None,
    }
}
