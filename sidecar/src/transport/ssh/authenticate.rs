//! Logs in: the named key, or the agent's, or the usual files; never a password, never more than five offers.

use std::sync::Arc;
use std::time::Duration;

use protocol::editor::RemoteRow;
use russh::MethodKind;
use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey};
use tokio::time::timeout;

use super::identity::{self, Identity};
use super::{Connection, Options};
use crate::frontend::Frontend;
use crate::transport::TransportError;

/// OpenSSH hangs up at the sixth failure (`MaxAuthTries`).
const MAX_OFFERS: usize = 5;
/// A server answers an offer within this, even one that looks the user up over a network.
const OFFER_TIMEOUT: Duration = Duration::from_secs(30);
/// An agent answers within this; some ask a person to touch a device.
const AGENT_TIMEOUT: Duration = Duration::from_mins(1);
/// An agent that lists its keys asks nobody.
const AGENT_LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// The files that are tried when no key is named, in this order.
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// How the login went.
pub(super) struct Login {
    /// `agent` or `key` with the key's name.
    pub(super) name: String,
    /// Whether a person had to type something.
    pub(super) interactive: bool,
}

/// Logs in with what there is.
pub(super) async fn log_in(
    connection: &mut Connection,
    remote: &RemoteRow,
    options: &Options,
    frontend: &dyn Frontend,
) -> Result<Login, TransportError> {
    let mut agent = Agent::open(connection, options).await;
    let mut attempt = Attempt { connection, remote, frontend, tried: Vec::new(), offered: Vec::new(), accepted: None };
    if let Some(named) = &remote.key {
        let path = identity::expand(named, &options.home);
        let identity = read(path).await?;
        return match attempt.file(identity, &mut agent).await? {
            Some(login) => Ok(login),
            None => Err(attempt.refused()),
        };
    }
    let mut usual = Vec::new();
    for name in USUAL_KEYS {
        match read(options.home.join(".ssh").join(name)).await {
            Err(TransportError::KeyUnreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            identity => usual.push(identity),
        }
    }
    let mut held = agent.as_ref().map(|agent| agent.identities.clone()).unwrap_or_default();
    // As OpenSSH does it: an agent may hold more keys than a server lets one offer.
    held.sort_by_key(|held| !usual.iter().flatten().any(|usual| usual.is(&held.key)));
    for identity in held {
        if attempt.is_over() {
            break;
        }
        if let Some(agent) = &mut agent
            && let Some(login) = attempt.agent(agent, &identity).await?
        {
            return Ok(login);
        }
    }
    let mut obstacle = None;
    for identity in usual {
        if attempt.is_over() {
            break;
        }
        let found = match identity {
            Ok(identity) => attempt.file(identity, &mut None).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(login)) => return Ok(login),
            Ok(None) => {}
            Err(error) if error.is_transient() => return Err(error),
            // A key that cannot be used must not keep the next one from being tried.
            Err(error) => {
                frontend.tell(format!("Skipped a key: {error}"));
                obstacle.get_or_insert(error);
            }
        }
    }
    Err(match obstacle {
        Some(error) if attempt.tried.is_empty() => error,
        None if attempt.tried.is_empty() => TransportError::NoKey { host: remote.host.clone() },
        Some(_) | None => attempt.refused(),
    })
}

async fn read(path: std::path::PathBuf) -> Result<Identity, TransportError> {
    let read = tokio::task::spawn_blocking(move || Identity::read(&path)).await;
    read.expect("reading a key does not panic")
}

/// One login, key after key.
struct Attempt<'a> {
    connection: &'a mut Connection,
    remote: &'a RemoteRow,
    frontend: &'a dyn Frontend,
    tried: Vec<String>,
    offered: Vec<PublicKey>,
    /// What the server would accept, as of its last answer.
    accepted: Option<russh::MethodSet>,
}

impl Attempt<'_> {
    /// Returns whether another offer makes no sense.
    fn is_over(&self) -> bool {
        let no_keys = self.accepted.as_ref().is_some_and(|methods| !methods.contains(&MethodKind::PublicKey));
        self.tried.len() >= MAX_OFFERS || no_keys || self.connection.is_closed()
    }

    /// Offers the key of a file; through the agent when that holds it, which spares the passphrase.
    async fn file(&mut self, identity: Identity, agent: &mut Option<Agent>) -> Result<Option<Login>, TransportError> {
        if let Some(public) = &identity.public {
            if self.offered.iter().any(|offered| offered.key_data() == public.key_data()) {
                return Ok(None);
            }
            if let Some(agent) = agent
                && let Some(held) = agent.find(public)
                && let Some(login) = self.agent(agent, &held).await?
            {
                return Ok(Some(login));
            }
            if self.offered.iter().any(|offered| offered.key_data() == public.key_data()) {
                return Ok(None);
            }
        }
        let name = format!("key `{}`", identity.path.display());
        let (key, interactive) = identity.unlock(self.frontend).await?;
        let hash = self.hash(key.public_key()).await?;
        self.offered.push(key.public_key().clone());
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        let offer = self.connection.handle.authenticate_publickey(&self.remote.user, key);
        let result = timeout(OFFER_TIMEOUT, offer).await;
        let result = result.map_err(|_| self.connection.lost(Some("the server stopped answering")))?;
        let result = result.map_err(|error| self.connection.failed(&error))?;
        self.judge(result, name, interactive)
    }

    /// Offers a key that the agent holds.
    async fn agent(&mut self, agent: &mut Agent, identity: &Held) -> Result<Option<Login>, TransportError> {
        let hash = self.hash(&identity.key).await?;
        let offer = self.connection.handle.authenticate_publickey_with(
            &self.remote.user,
            identity.key.clone(),
            hash,
            &mut agent.client,
        );
        let name = format!("agent `{}`", identity.comment);
        match timeout(AGENT_TIMEOUT, offer).await {
            Ok(Ok(result)) => {
                self.offered.push(identity.key.clone());
                self.judge(result, name, false)
            }
            Ok(Err(error)) => {
                if self.connection.is_closed() {
                    return Err(self.connection.lost(None));
                }
                // A locked agent or a declined touch: the next key may do.
                tracing::debug!(%error, name, "the agent did not sign");
                Ok(None)
            }
            Err(_) => Err(self.connection.lost(Some("the agent or the server stopped answering"))),
        }
    }

    fn judge(&mut self, result: AuthResult, name: String, interactive: bool) -> Result<Option<Login>, TransportError> {
        match result {
            AuthResult::Success => Ok(Some(Login { name, interactive })),
            AuthResult::Failure { remaining_methods, partial_success } => {
                self.tried.push(if partial_success { format!("{name} alone") } else { name });
                if remaining_methods.is_empty() && self.connection.is_closed() {
                    // Refusal by hanging up is refusal; a cut line is not.
                    return match self.connection.farewell_said() {
                        Some(said) if said.starts_with("the server said") => Err(self.refused()),
                        Some(_) | None => Err(self.connection.lost(None)),
                    };
                }
                self.accepted = Some(remaining_methods);
                Ok(None)
            }
        }
    }

    /// Returns the hash that an RSA key signs with: what the server prefers, and never SHA-1.
    async fn hash(&self, key: &PublicKey) -> Result<Option<HashAlg>, TransportError> {
        if !key.algorithm().is_rsa() {
            return Ok(None);
        }
        let asked = timeout(OFFER_TIMEOUT, self.connection.handle.best_supported_rsa_hash()).await;
        let asked = asked.map_err(|_| self.connection.lost(Some("the server stopped answering")))?;
        let best = asked.map_err(|error| self.connection.failed(&error))?;
        Ok(Some(best.flatten().unwrap_or(HashAlg::Sha512)))
    }

    fn refused(&self) -> TransportError {
        let accepted = self.accepted.iter().flat_map(|methods| methods.iter()).map(String::from);
        TransportError::Refused {
            host: self.remote.host.clone(),
            port: self.remote.port,
            user: self.remote.user.clone(),
            tried: self.tried.clone(),
            accepted: accepted.collect::<Vec<_>>().join(", "),
        }
    }
}

/// A key that the agent holds.
#[derive(Clone, Debug)]
struct Held {
    key: PublicKey,
    comment: String,
}

/// The SSH agent with the keys it said it holds.
struct Agent {
    client: AgentClient<Box<dyn AgentStream + Send + Unpin>>,
    identities: Vec<Held>,
}

impl Agent {
    /// Returns the agent, or `None` when there is none that answers: it is a help and no condition.
    async fn open(connection: &Connection, options: &Options) -> Option<Self> {
        let socket = options.agent.as_ref()?;
        let opened = timeout(AGENT_LIST_TIMEOUT, Self::list(connection, socket)).await;
        match opened {
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
    async fn list(connection: &Connection, socket: &std::path::Path) -> Result<Self, russh::keys::Error> {
        let mut client = AgentClient::connect_uds(socket).await?.dynamic();
        if let Some(binding) = connection.handle.agent_session_binding()
            && let Err(error) = client.bind_session(binding, false).await
        {
            tracing::trace!(%error, "the SSH agent knows no session binding");
        }
        Self::ask(client).await
    }

    #[cfg(windows)]
    async fn list(_connection: &Connection, socket: &std::path::Path) -> Result<Self, russh::keys::Error> {
        Self::ask(AgentClient::connect_named_pipe(socket).await?.dynamic()).await
    }

    async fn ask(mut client: AgentClient<Box<dyn AgentStream + Send + Unpin>>) -> Result<Self, russh::keys::Error> {
        let identities = client.request_identities().await?;
        let identities = identities.into_iter().filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, comment } => Some(Held { key, comment }),
            // A certificate needs its own offer; its plain key is listed beside it.
            AgentIdentity::Certificate { .. } => None,
        });
        Ok(Self { identities: identities.collect(), client })
    }

    fn find(&self, key: &PublicKey) -> Option<Held> {
        self.identities.iter().find(|held| held.key.key_data() == key.key_data()).cloned()
    }
}
