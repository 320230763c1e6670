//! Signs for the login once the server has said that it would take the key: a passphrase is asked for then, and
//! not before.

use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey};
use tokio::sync::watch;

use super::agent::Client;
use crate::frontend::Frontend;
use crate::transport::TransportError;
use crate::transport::ssh::identity::Identity;

/// Who signs the one offer that is under way.
pub(super) enum Signer<'a> {
    /// The agent, with one of its keys.
    Agent { client: &'a mut Client, identity: AgentIdentity },
    /// We, with the key of a file, whose passphrase may have to be asked for.
    File { identity: &'a Identity, frontend: &'a dyn Frontend, typing: &'a watch::Sender<bool>, typed: &'a mut bool },
    /// We, with a key that is unlocked.
    Key(&'a PrivateKey),
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    /// The connection is gone.
    #[error(transparent)]
    Connection(#[from] russh::SendError),
    /// The agent does not sign: it is locked, or a touch was declined.
    #[error(transparent)]
    Agent(#[from] russh::keys::Error),
    /// The file's key cannot be used.
    #[error(transparent)]
    Key(#[from] TransportError),
    /// The key cannot make such a signature.
    #[error("the key cannot sign: {0}")]
    Unable(String),
}

impl russh::Signer for Signer<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _offered: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        match self {
            Self::Agent { client, identity } => Ok(client.sign_request(identity, hash, to_sign).await?),
            Self::Key(key) => sign(key, hash, to_sign),
            Self::File { identity, frontend, typing, typed } => {
                // The time that a person needs is not the server's.
                typing.send_replace(true);
                let unlocked = identity.unlock(*frontend).await;
                typing.send_replace(false);
                let (key, by_hand) = unlocked?;
                **typed |= by_hand;
                sign(&key, hash, to_sign)
            }
        }
    }
}

/// Returns the text with its signature behind it, as the library wants it.
fn sign(key: &PrivateKey, hash: Option<HashAlg>, mut text: Vec<u8>) -> Result<Vec<u8>, SignError> {
    let unable = |error: &dyn std::fmt::Display| SignError::Unable(error.to_string());
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(&text),
        pair => pair.try_sign(&text),
    }
    .map_err(|error| unable(&error))?;
    let signature = Vec::<u8>::try_from(signature).map_err(|error| unable(&error))?;
    let length = u32::try_from(signature.len()).map_err(|error| unable(&error))?;
    text.extend_from_slice(&length.to_be_bytes());
    text.extend_from_slice(&signature);
    Ok(text)
}
