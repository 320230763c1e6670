//! From a remote's name to its live session. Callers that ask at the same time share one attempt.

use protocol::error::Result;

use crate::cx::Cx;
use crate::session::Handle;

/// The sessions of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sessions {}

impl Sessions {
    /// Returns the session with the remote of that name, connecting when there is none yet. Questions
    /// (host key, passphrase, consent to install) go to the context's front end.
    pub async fn get(&self, cx: &Cx, remote: &str) -> Result<Handle> {
        let _ = (cx, remote);
        todo!("session helper")
    }

    /// Ends every session of this process.
    pub async fn close(&self) {}
}
