//! Logs in: by keys first, then by what a person types, in the order that the host's configuration wants and as far
//! as the server goes along; at most five keys, and nothing is asked while a key may still do.

use std::time::Duration;

use russh::client::AuthResult;
use russh::keys::{HashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::connect::printable;
use super::identity::is_hardware;
use super::{Connection, Options};
use crate::frontend::{Frontend, Unanswered};
use crate::transport::TransportError;
use crate::transport::ssh_config::{Authentication, Host};

mod agent;
mod keys;
mod questions;
mod signer;

use agent::Agent;
use keys::{By, Keys, Offer};
use signer::{SignError, Signer};

/// OpenSSH hangs up at the sixth failure (`MaxAuthTries`).
const MAX_OFFERS: usize = 5;
/// A server that wants more than these one after the other makes no sense.
const MAX_PARTS: usize = 8;
/// A server answers an offer within this, even one that looks the user up over a network.
const OFFER_TIMEOUT: Duration = Duration::from_secs(30);
/// An agent answers within this; some ask a person to touch a device.
const AGENT_TIMEOUT: Duration = Duration::from_mins(1);
/// What a server has to say while one logs in fits into these many lines.
const BANNER_LINES: usize = 40;

/// How the login went.
pub(super) struct Login {
    /// `agent` or `key` with the key's name, `password`; several with `and`.
    pub(super) name: String,
    /// Whether a person had to type something.
    pub(super) interactive: bool,
}

/// Logs in with what there is.
pub(super) async fn log_in(
    connection: &mut Connection,
    host: &Host,
    options: &Options,
    frontend: &dyn Frontend,
    banners: &mut mpsc::Receiver<String>,
) -> Result<Login, TransportError> {
    let by_key = host.authentications.contains(&Authentication::PublicKey);
    let mut agent = if by_key { Agent::open(connection, host, options).await } else { None };
    let held = agent.as_ref().map(|agent| agent.identities.clone()).unwrap_or_default();
    let keys = if by_key { keys::gather(host, &held, frontend).await? } else { Keys::default() };
    let mut attempt = Attempt::new(connection, host, frontend, banners);
    if keys.offers.is_empty() && attempt.without_anything().await? == Part::All {
        return Ok(attempt.login());
    }
    let Keys { mut offers, mut obstacle } = keys;
    let mut parts = 0;
    'parts: while parts < MAX_PARTS {
        parts += 1;
        for way in &host.authentications {
            if !attempt.may(*way) {
                continue;
            }
            let part = match way {
                Authentication::PublicKey => attempt.by_keys(&mut offers, &mut agent, &mut obstacle).await?,
                Authentication::KeyboardInteractive => attempt.by_answers().await?,
                Authentication::Password => attempt.by_password().await?,
            };
            match part {
                Part::All => return Ok(attempt.login()),
                Part::Some => continue 'parts,
                Part::None => {}
            }
        }
        break;
    }
    Err(attempt.failure(obstacle))
}

/// How far a way to log in led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The server lets us in.
    All,
    /// The server took it and wants more.
    Some,
    /// It led nowhere.
    None,
}

/// One login, way after way.
struct Attempt<'a> {
    connection: &'a mut Connection,
    host: &'a Host,
    frontend: &'a dyn Frontend,
    banners: &'a mut mpsc::Receiver<String>,
    /// Lines of the server that may still be shown.
    lines: usize,
    /// Every key and way that was refused.
    tried: Vec<String>,
    offered: usize,
    /// Keys that are left.
    untried: usize,
    /// What the server took.
    passed: Vec<String>,
    /// What the server would accept, as of its last answer.
    accepted: Option<MethodSet>,
    /// Wrong answers so far.
    wrong: u32,
    interactive: bool,
    unanswered: Option<Unanswered>,
}

impl<'a> Attempt<'a> {
    fn new(
        connection: &'a mut Connection,
        host: &'a Host,
        frontend: &'a dyn Frontend,
        banners: &'a mut mpsc::Receiver<String>,
    ) -> Self {
        Self {
            connection,
            host,
            frontend,
            banners,
            lines: BANNER_LINES,
            tried: Vec::new(),
            offered: 0,
            untried: 0,
            passed: Vec::new(),
            accepted: None,
            wrong: 0,
            interactive: false,
            unanswered: None,
        }
    }

    fn login(&self) -> Login {
        Login { name: self.passed.join(" and "), interactive: self.interactive }
    }

    /// Returns whether the server would listen to this way, as far as is known.
    fn may(&self, way: Authentication) -> bool {
        let kind = match way {
            Authentication::PublicKey => MethodKind::PublicKey,
            Authentication::KeyboardInteractive => MethodKind::KeyboardInteractive,
            Authentication::Password => MethodKind::Password,
        };
        self.accepted.as_ref().is_none_or(|methods| methods.contains(&kind)) && !self.connection.is_closed()
    }

    /// Asks to be let in without anything, which tells what the server wants.
    async fn without_anything(&mut self) -> Result<Part, TransportError> {
        let offer = self.connection.handle.authenticate_none(&self.host.user);
        let result = timeout(OFFER_TIMEOUT, offer).await.map_err(|_| silent(self.connection))?;
        let result = result.map_err(|error| self.connection.failed(&error))?;
        let tried = self.tried.len();
        let part = self.judge(result, "no key at all".to_owned())?;
        self.tried.truncate(tried);
        Ok(part)
    }

    /// Offers key after key.
    async fn by_keys(
        &mut self,
        offers: &mut std::collections::VecDeque<Offer>,
        agent: &mut Option<Agent>,
        obstacle: &mut Option<TransportError>,
    ) -> Result<Part, TransportError> {
        while self.offered < MAX_OFFERS && self.may(Authentication::PublicKey) {
            let Some(offer) = offers.pop_front() else { break };
            self.untried = offers.len();
            match self.offer(&offer, agent).await {
                Ok(Part::None) => {}
                Ok(part) => return Ok(part),
                Err(error) if error.is_transient() || self.host.key.is_some() => return Err(error),
                // A key that cannot be used must not keep the next one from being tried.
                Err(error) => {
                    self.frontend.tell(format!("Skipped a key: {error}"));
                    obstacle.get_or_insert(error);
                }
            }
        }
        Ok(Part::None)
    }

    /// Offers one key.
    async fn offer(&mut self, offer: &Offer, agent: &mut Option<Agent>) -> Result<Part, TransportError> {
        let (typing, typed_now) = watch::channel(false);
        let mut typed = false;
        let mut unlocked = None;
        let key = match (&offer.by, offer.key()) {
            (_, Some(key)) => key,
            // An old container shows nothing of its key while it is locked.
            (By::File(identity), None) => {
                let (key, by_hand) = identity.unlock(self.frontend).await?;
                self.interactive |= by_hand;
                unlocked.insert(key).public_key().clone()
            }
            (By::Agent(_), None) => return Ok(Part::None),
        };
        let hash = self.hash(&key).await?;
        let (mut signer, limit) = match (&offer.by, &unlocked, agent) {
            (By::File(_), Some(key), _) => (Signer::Key(key), OFFER_TIMEOUT),
            (By::File(identity), None, _) => {
                let frontend = self.frontend;
                (Signer::File { identity, frontend, typing: &typing, typed: &mut typed }, OFFER_TIMEOUT)
            }
            (By::Agent(identity), _, Some(agent)) => {
                if is_hardware(&key) {
                    self.frontend.tell(format!("Touch the hardware key `{}` if it blinks.", identity.comment()));
                }
                (Signer::Agent { client: &mut agent.client, identity }, AGENT_TIMEOUT)
            }
            (By::Agent(_), _, None) => return Ok(Part::None),
        };
        self.offered += 1;
        let user = &self.host.user;
        let handle = &mut self.connection.handle;
        let offering = async {
            match &offer.certificate {
                Some(certificate) => {
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut signer).await
                }
                None => handle.authenticate_publickey_with(user, key, hash, &mut signer).await,
            }
        };
        let (frontend, lines) = (self.frontend, &mut self.lines);
        let result = answered(offering, typed_now, self.banners, lines, frontend, limit).await;
        self.interactive |= typed;
        match result {
            Some(Ok(result)) => self.judge(result, offer.name()),
            Some(Err(_)) if self.connection.is_closed() => Err(self.connection.lost(None)),
            Some(Err(SignError::Key(error))) => Err(error),
            Some(Err(error @ (SignError::Agent(_) | SignError::Unable(_) | SignError::Connection(_)))) => {
                // A locked agent or a declined touch: the next key may do.
                tracing::debug!(%error, name = offer.name(), "there is no signature");
                self.tried.push(format!("{}, which did not sign", offer.name()));
                Ok(Part::None)
            }
            None => Err(self.connection.lost(Some("the agent or the server stopped answering"))),
        }
    }

    /// Notes the server's answer to what goes by `name`.
    fn judge(&mut self, result: AuthResult, name: String) -> Result<Part, TransportError> {
        match result {
            AuthResult::Success => {
                self.passed.push(name);
                Ok(Part::All)
            }
            AuthResult::Failure { remaining_methods, partial_success: true } => {
                self.passed.push(name);
                self.accepted = Some(remaining_methods);
                self.wrong = 0;
                Ok(Part::Some)
            }
            AuthResult::Failure { remaining_methods, partial_success: false } => {
                self.tried.push(name);
                if remaining_methods.is_empty() && self.connection.is_closed() {
                    // Refusal by hanging up is refusal; a cut line is not.
                    return match self.connection.farewell_said() {
                        Some(said) if said.starts_with("the server said") => Err(self.refused()),
                        Some(_) | None => Err(self.connection.lost(None)),
                    };
                }
                self.accepted = Some(remaining_methods);
                Ok(Part::None)
            }
        }
    }

    /// Returns the hash that an RSA key signs with: what the server prefers, and never SHA-1.
    async fn hash(&self, key: &PublicKey) -> Result<Option<HashAlg>, TransportError> {
        if !key.algorithm().is_rsa() {
            return Ok(None);
        }
        let asked = timeout(OFFER_TIMEOUT, self.connection.handle.best_supported_rsa_hash()).await;
        let asked = asked.map_err(|_| silent(self.connection))?;
        let best = asked.map_err(|error| self.connection.failed(&error))?;
        Ok(Some(best.flatten().unwrap_or(HashAlg::Sha512)))
    }

    /// Returns why nobody was let in.
    fn failure(mut self, obstacle: Option<TransportError>) -> TransportError {
        let nothing = self.tried.is_empty() && self.passed.is_empty();
        match (obstacle, self.unanswered.take()) {
            // Nobody is asked for a password either where nobody can be asked for the passphrase; the key is what is
            // to be mended.
            (Some(obstacle @ TransportError::KeyEncrypted { .. }), _) => obstacle,
            (_, Some(unanswered)) => TransportError::LoginUnanswered(unanswered),
            (Some(obstacle), None) if nothing => obstacle,
            (None, None) if nothing && self.accepts_keys() => TransportError::NoKey { host: self.host.alias.clone() },
            (Some(_) | None, None) => self.refused(),
        }
    }

    fn accepts_keys(&self) -> bool {
        self.host.authentications.contains(&Authentication::PublicKey) && self.may(Authentication::PublicKey)
    }

    fn refused(&self) -> TransportError {
        let accepted = self.accepted.iter().flat_map(|methods| methods.iter()).map(String::from);
        let passed = self.passed.iter().map(|name| format!("{name} alone"));
        let takes_keys = self.accepted.as_ref().is_none_or(|methods| methods.contains(&MethodKind::PublicKey));
        TransportError::Refused {
            host: self.host.alias.clone(),
            port: self.host.port,
            user: self.host.user.clone(),
            tried: passed.chain(self.tried.iter().cloned()).collect(),
            accepted: accepted.collect::<Vec<_>>().join(", "),
            untried: if takes_keys { self.untried } else { 0 },
        }
    }
}

fn silent(connection: &Connection) -> TransportError {
    connection.lost(Some("the server stopped answering"))
}

/// Waits for the server's answer and returns `None` when it takes longer than `limit`, without the time in which a
/// person types. What the server has to say meanwhile is shown.
async fn answered<T>(
    answer: impl Future<Output = T>,
    mut typing: watch::Receiver<bool>,
    banners: &mut mpsc::Receiver<String>,
    lines: &mut usize,
    frontend: &dyn Frontend,
    limit: Duration,
) -> Option<T> {
    tokio::pin!(answer);
    let mut deadline = Instant::now() + limit;
    let mut asks = true;
    loop {
        let is_typing = *typing.borrow_and_update();
        tokio::select! {
            answer = &mut answer => return Some(answer),
            Some(banner) = banners.recv() => show(&banner, lines, frontend),
            changed = typing.changed(), if asks => {
                asks = changed.is_ok();
                deadline = Instant::now() + limit;
            }
            () = sleep_until(deadline), if !is_typing => return None,
        }
    }
}

/// Shows a text of the server, as far as it has not said enough.
fn show(text: &str, lines: &mut usize, frontend: &dyn Frontend) {
    for line in text.lines().map(printable) {
        if *lines == 0 {
            return;
        }
        *lines -= 1;
        if !line.trim().is_empty() {
            frontend.tell(line);
        }
    }
}
