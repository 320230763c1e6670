//! Which keys are offered, in which order: those of files that the agent holds, then the agent's others, then those
//! that only files hold; a certificate before its plain key.

use std::io;
use std::path::PathBuf;

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey};

use super::agent;
use crate::frontend::Frontend;
use crate::transport::TransportError;
use crate::transport::ssh::identity::{self, Identity};
use crate::transport::ssh_config::Host;

/// A key to offer, and who signs with it.
pub(super) struct Offer {
    /// What the server is shown instead of the plain key.
    pub(super) certificate: Option<Certificate>,
    pub(super) by: By,
}

/// Who signs.
pub(super) enum By {
    /// The agent, with what it calls so.
    Agent(AgentIdentity),
    /// We, with a key file.
    File(Box<Identity>),
}

impl Offer {
    /// Returns the offer as a person reads it.
    pub(super) fn name(&self) -> String {
        let with = if self.certificate.is_some() { " with its certificate" } else { "" };
        match &self.by {
            By::Agent(identity) => format!("agent `{}`{with}", identity.comment()),
            By::File(identity) => format!("key `{}`{with}", identity.path.display()),
        }
    }

    /// Returns the key that signs, as far as it is known without a passphrase.
    pub(super) fn key(&self) -> Option<PublicKey> {
        match &self.by {
            By::Agent(identity) => Some(identity.public_key().into_owned()),
            By::File(identity) => identity.public.clone(),
        }
    }
}

/// What there is to offer.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) offers: std::collections::VecDeque<Offer>,
    /// The first key that was wanted and cannot be used.
    pub(super) obstacle: Option<TransportError>,
}

/// What the key files hold.
struct Files {
    identities: Vec<Identity>,
    certificates: Vec<Certificate>,
}

/// Returns the keys to offer to a host. A key that the user named for it is the only one, and has to be usable.
pub(super) async fn gather(
    host: &Host,
    held: &[AgentIdentity],
    frontend: &dyn Frontend,
) -> Result<Keys, TransportError> {
    let mut keys = Keys::default();
    let files = read(host, frontend, &mut keys.obstacle).await?;
    keys.offers = order(&files, held, host.identities_only || host.key.is_some()).into();
    for identity in &files.identities {
        let is_held = keys.offers.iter().any(|offer| offer.key().is_some_and(|key| identity.is(&key)));
        if let (false, Some(obstacle)) = (is_held, identity.obstacle()) {
            if host.key.is_some() {
                return Err(obstacle);
            }
            tracing::debug!(%obstacle, "a key file is left out");
            keys.obstacle.get_or_insert(obstacle);
        }
    }
    Ok(keys)
}

/// Reads the key files, and tells of those that cannot be used.
async fn read(
    host: &Host,
    frontend: &dyn Frontend,
    first: &mut Option<TransportError>,
) -> Result<Files, TransportError> {
    let paths = match &host.key {
        Some(named) => vec![named.clone()],
        None => host.identity_files.clone(),
    };
    let configured = host.certificate_files.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let beside: Vec<PathBuf> = paths.iter().map(|path| identity::certificate_beside(path)).collect();
        let identities: Vec<_> = paths.iter().map(|path| Identity::read(path)).collect();
        let certificates: Vec<_> = configured.iter().chain(&beside).map(|path| identity::certificate(path)).collect();
        (identities, certificates)
    });
    let (read, certified) = reading.await.expect("reading keys does not panic");
    let mut files = Files { identities: Vec::new(), certificates: Vec::new() };
    for found in read {
        match found {
            Ok(identity) => files.identities.push(identity),
            Err(error) if host.key.is_some() => return Err(error),
            Err(TransportError::KeyUnreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            // A key that cannot be used must not keep the next one from being tried.
            Err(error) => {
                frontend.tell(format!("Skipped a key: {error}"));
                first.get_or_insert(error);
            }
        }
    }
    for found in certified {
        match found {
            Ok(Some(certificate)) if certificate.cert_type() == CertType::User => files.certificates.push(certificate),
            Ok(_) => {}
            Err(error) => frontend.tell(format!("Skipped a certificate: {error}")),
        }
    }
    Ok(files)
}

/// Puts the offers in order, as OpenSSH does it: an agent may hold more keys than a server lets one offer.
fn order(files: &Files, held: &[AgentIdentity], only_files: bool) -> Vec<Offer> {
    let is_named = |key: &PublicKey| files.identities.iter().any(|identity| identity.is(key));
    let mut offers = Vec::new();
    // Certificates, signed by whoever has the key.
    for certificate in &files.certificates {
        let by = match agent::find(held, certificate.public_key()) {
            Some(identity) => Some(By::Agent(identity.clone())),
            None => file_of(files, certificate.public_key()).map(|file| By::File(Box::new(file.clone()))),
        };
        offers.extend(by.map(|by| Offer { certificate: Some(certificate.clone()), by }));
    }
    let mut others = Vec::new();
    for identity in held {
        let offer = Offer {
            certificate: match identity {
                AgentIdentity::PublicKey { .. } => None,
                AgentIdentity::Certificate { certificate, .. } => Some(certificate.clone()),
            },
            by: By::Agent(identity.clone()),
        };
        if is_named(&identity.public_key()) {
            offers.push(offer);
        } else if !only_files {
            others.push(offer);
        }
    }
    offers.append(&mut others);
    for file in &files.identities {
        let is_held = file.public.as_ref().is_some_and(|key| agent::find(held, key.key_data()).is_some());
        if !is_held && file.obstacle().is_none() {
            offers.push(Offer { certificate: None, by: By::File(Box::new(file.clone())) });
        }
    }
    let mut seen: Vec<(bool, KeyData)> = Vec::new();
    offers.retain(|offer| {
        let Some(key) = offer.key() else { return true };
        let this = (offer.certificate.is_some(), key.key_data().clone());
        let is_new = !seen.contains(&this);
        seen.push(this);
        is_new
    });
    offers
}

fn file_of<'a>(files: &'a Files, key: &KeyData) -> Option<&'a Identity> {
    let is_it = |file: &&Identity| file.public.as_ref().is_some_and(|public| public.key_data() == key);
    files.identities.iter().filter(is_it).find(|file| file.obstacle().is_none())
}
