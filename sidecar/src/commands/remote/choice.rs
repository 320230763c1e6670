//! Which remote a command is for when several could be meant.

use std::path::PathBuf;

use protocol::editor::RemoteRow;
use protocol::error::{Code, Example, Explain, Result};

use crate::cx::Cx;
use crate::env;
use crate::sessions;

/// Why no remote is chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChoiceError {
    /// There are none.
    #[error("there is no remote yet")]
    None,
    /// There are several.
    #[error("there are {count} remotes and none was chosen")]
    Several {
        /// How many.
        count: usize,
        /// The first by name.
        first: String,
    },
}

impl Explain for ChoiceError {
    fn code(&self) -> Code {
        match self {
            Self::None | Self::Several { .. } => Code::RemoteMissing,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::None => "Add one with `mltoolbox-sidecar remote add gpu1 --host HOST`.".to_owned(),
            Self::Several { first, .. } => {
                format!("Name one with `--remote {first}`, or set `{}` to its name.", env::REMOTE)
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(crate) fn examples() -> Vec<Example> {
    vec![ChoiceError::None.into(), ChoiceError::Several { count: 3, first: "gpu1".to_owned() }.into()]
}

/// Returns the remote that a command is for: named, set in the environment, chosen for the workspace
/// before, or the only one there is.
pub(crate) async fn chosen(cx: &Cx) -> Result<RemoteRow> {
    if let Some(name) = cx.scope.remote.clone().or_else(|| env::text(env::REMOTE)) {
        return sessions::known(cx, &name).await;
    }
    if let Some(name) = cx.store.choice(&workspace(cx)).await?
        && let Some(remote) = cx.store.remote(&name).await?
    {
        return Ok(remote);
    }
    let mut remotes = cx.store.remotes().await?;
    match (remotes.len(), remotes.pop()) {
        (1, Some(only)) => Ok(only),
        (count, Some(last)) => {
            let first = remotes.into_iter().next().unwrap_or(last).name;
            Err(ChoiceError::Several { count, first }.into())
        }
        (_, None) => Err(ChoiceError::None.into()),
    }
}

/// Returns the folder that a command is for, with links resolved when it exists.
pub(crate) fn workspace(cx: &Cx) -> PathBuf {
    let folder = cx.scope.workspace.as_ref().map_or_else(|| cx.folder.clone(), |folder| cx.folder.join(folder));
    folder.canonicalize().unwrap_or(folder)
}
