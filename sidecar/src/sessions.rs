//! From a remote's name to its live session. Callers that ask at the same time share one attempt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::editor::RemoteRow;
use protocol::error::{Code, Error, Explain, Result, word};

use crate::cx::Cx;
pub use crate::session::by_ssh::Identity;

use crate::session::by_ssh::BySsh;
use crate::session::{Handle, State};

/// The sessions of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    identity: Identity,
    open: Arc<Mutex<HashMap<String, Session>>>,
}

#[derive(Debug)]
struct Session {
    remote: RemoteRow,
    handle: Handle,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// No remote has that name.
    #[error("there is no remote `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// The name that looks most like it.
        nearest: Option<String>,
    },
    /// The person no longer wants it.
    #[error("connecting to `{name}` was cancelled")]
    Cancelled {
        /// The remote.
        name: String,
    },
}

impl Explain for SessionsError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::RemoteUnknown,
            Self::Cancelled { .. } => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Unknown { nearest: Some(nearest), .. } => {
                format!("Did you mean `{nearest}`? `mltoolbox-sidecar remote list` shows all.")
            }
            Self::Unknown { name, nearest: None } => {
                format!("Add it with `mltoolbox-sidecar remote add {} --host HOST`.", word(name))
            }
            Self::Cancelled { .. } => "Run the command again to connect.".to_owned(),
        }
    }
}

impl Sessions {
    /// Returns sessions that use the keys and known hosts of `identity` instead of the user's own.
    pub fn of(identity: Identity) -> Self {
        Self { identity, ..Self::default() }
    }

    /// Returns the session with the remote of that name, connecting when there is none yet. Questions
    /// (host key, passphrase, consent to install) go to the context's front end.
    pub async fn get(&self, cx: &Cx, remote: &str) -> Result<Handle> {
        let remote = known(cx, remote).await?;
        let name = remote.name.clone();
        let handle = self.handle(cx, remote);
        let mut state = handle.state();
        let settled = state.wait_for(|state| matches!(state, State::Ready | State::Closed { .. }));
        let settled = cx.cancel.run_until_cancelled(settled).await;
        let error: Error = match settled.map(|settled| settled.map(|state| state.clone())) {
            Some(Ok(State::Ready)) => {
                cx.store.reached(&name, None).await?;
                return Ok(handle);
            }
            Some(Ok(State::Closed { error })) => error,
            Some(Ok(State::Connecting | State::Waiting { .. }) | Err(_)) | None => {
                SessionsError::Cancelled { name: name.clone() }.into()
            }
        };
        self.forget(&name, &handle);
        Err(error)
    }

    /// Returns whose keys, known hosts and configuration are used.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns whether there is a session with the remote of that name that is connected now.
    pub fn is_up(&self, remote: &str) -> bool {
        self.table().get(remote).is_some_and(|session| *session.handle.state().borrow() == State::Ready)
    }

    /// Ends every session of this process.
    pub fn close(&self) {
        self.table().clear();
    }

    /// Ends the session with one remote, if there is one.
    pub fn end(&self, remote: &str) {
        self.table().remove(remote);
    }

    /// Returns the session that is open or being opened, or starts one.
    fn handle(&self, cx: &Cx, remote: RemoteRow) -> Handle {
        let mut table = self.table();
        if let Some(session) = table.get(&remote.name)
            && is_same_machine(&session.remote, &remote)
            && !matches!(*session.handle.state().borrow(), State::Closed { .. })
        {
            session.handle.speak_to(&cx.frontend);
            return session.handle.clone();
        }
        let connector = BySsh {
            identity: self.identity.clone(),
            remote: remote.clone(),
            store: cx.store.clone(),
            yes: cx.scope.yes,
        };
        let handle = Handle::start(Arc::new(connector), &cx.frontend);
        table.insert(remote.name.clone(), Session { remote, handle: handle.clone() });
        handle
    }

    /// Forgets a session that failed, unless another one has taken its place; one for which others still
    /// wait goes on for them.
    fn forget(&self, name: &str, handle: &Handle) {
        let mut table = self.table();
        if table.get(name).is_some_and(|session| session.handle.is(handle)) {
            table.remove(name);
        }
    }

    /// Nothing can panic while the table is locked, so a poisoned one is still whole.
    fn table(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the remote of that name, or an error that names the nearest one.
pub async fn known(cx: &Cx, name: &str) -> Result<RemoteRow> {
    if let Some(remote) = cx.store.remote(name).await? {
        return Ok(remote);
    }
    let names = cx.store.remotes().await?.into_iter().map(|remote| remote.name);
    Err(SessionsError::Unknown { name: name.to_owned(), nearest: nearest(name, names) }.into())
}

/// Returns whether two rows are reached in the same way.
fn is_same_machine(one: &RemoteRow, other: &RemoteRow) -> bool {
    (&one.host, one.port, &one.user, &one.jump, &one.key)
        == (&other.host, other.port, &other.user, &other.jump, &other.key)
}

/// Returns the name that differs least, when it differs little enough to have been meant.
pub(crate) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let length = name.chars().count();
    let close = if length < 4 { 1 } else { (length / 3).max(2) };
    let ranked = names.map(|candidate| (distance(name, &candidate), candidate));
    ranked.filter(|(distance, _)| *distance <= close).min().map(|(_, candidate)| candidate)
}

/// Returns the number of characters to insert, delete, replace, or swap with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for line in 1..=from.len() {
        let mut row = vec![line];
        for column in 1..=to.len() {
            let replaced = above[column - 1] + usize::from(from[line - 1] != to[column - 1]);
            let mut least = replaced.min(above[column] + 1).min(row[column - 1] + 1);
            let is_swap =
                line > 1 && column > 1 && (from[line - 1], from[line - 2]) == (to[column - 2], to[column - 1]);
            if is_swap {
                least = least.min(before[column - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let name = || "gpu2".to_owned();
    vec![
        SessionsError::Unknown { name: name(), nearest: Some("gpu1".to_owned()) }.into(),
        SessionsError::Unknown { name: name(), nearest: None }.into(),
        SessionsError::Cancelled { name: name() }.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_meant_and_nothing_else() {
        let names = || ["gpu1", "gpu22", "lab"].into_iter().map(str::to_owned);
        assert_eq!(nearest("gpu2", names()).as_deref(), Some("gpu1"));
        assert_eq!(nearest("gpu222", names()).as_deref(), Some("gpu22"));
        // A swap of neighbours is one slip of the fingers, not two.
        assert_eq!(nearest("gup1", names()).as_deref(), Some("gpu1"));
        assert_eq!(nearest("lba", names()).as_deref(), Some("lab"));
        assert_eq!(nearest("bxo2", std::iter::once("box2".to_owned())).as_deref(), Some("box2"));
        // Two slips are forgiven in four letters, not in three.
        assert_eq!(nearest("gpx2", names()).as_deref(), Some("gpu1"));
        assert_eq!(nearest("lxx", names()), None);
        assert_eq!(nearest("wxyz", names()), None);
        assert_eq!(nearest("workstation", names()), None);
    }

    #[test]
    fn distances_are_counted_in_characters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ünï", "uni"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("abcd", "badc"), 2);
        // Nothing is edited twice: after a swap, nothing goes between the two.
        assert_eq!(distance("ca", "abc"), 3);
    }
}
