//! Which remote a command is for when several could be meant.

use std::path::{Path, PathBuf};

use protocol::editor::RemoteRow;
use protocol::error::{Code, Example, Explain, Result, word};

use crate::config::units::Name;
use crate::cx::Cx;
use crate::env;
use crate::sessions;

/// Why no remote is chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChoiceError {
    /// There are none.
    #[error("there is no remote yet")]
    None,
    /// The configuration names one that there is not.
    #[error("there is no remote `{name}`, which the configuration names ({place})")]
    Configured {
        /// Its name.
        name: String,
        /// Where it is named.
        place: String,
        /// One that is called almost the same.
        nearest: Option<String>,
    },
    /// There are several.
    #[error("there are several remotes, and none was chosen for `{}`", workspace.display())]
    Several {
        /// For which folder.
        workspace: PathBuf,
        /// All of them.
        names: Vec<String>,
    },
}

impl Explain for ChoiceError {
    fn code(&self) -> Code {
        match self {
            Self::Configured { .. } => Code::RemoteUnknown,
            Self::None | Self::Several { .. } => Code::RemoteMissing,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::None => "Add one with `mltoolbox-sidecar remote add NAME --host HOST`.".to_owned(),
            Self::Configured { nearest: Some(nearest), .. } => {
                format!("Write `{nearest}` there, or add it with `mltoolbox-sidecar remote add`.")
            }
            Self::Configured { name, nearest: None, .. } => {
                format!("Add it with `mltoolbox-sidecar remote add {} --host HOST`, or name another there.", word(name))
            }
            Self::Several { names, .. } => {
                format!("Name one with `--remote` or `{}`: {}.", env::REMOTE, names.join(", "))
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(crate) fn examples() -> Vec<Example> {
    let names = vec!["gpu1".to_owned(), "gpu2".to_owned()];
    let configured = |nearest: Option<&str>| ChoiceError::Configured {
        name: "gpu7".to_owned(),
        place: "/home/ada/project/mltoolbox.yaml:4:12".to_owned(),
        nearest: nearest.map(str::to_owned),
    };
    vec![
        configured(Some("gpu1")).into(),
        configured(None).into(),
        ChoiceError::None.into(),
        ChoiceError::Several { workspace: "/home/ada/project".into(), names }.into(),
    ]
}

/// Returns the remote that a command is for: named, chosen for its folder before, or the only one.
pub(crate) async fn chosen(cx: &Cx) -> Result<RemoteRow> {
    chosen_for(cx, &workspace(cx).await).await
}

/// Returns the remote that a command about `workspace` is for.
pub(crate) async fn chosen_for(cx: &Cx, workspace: &Path) -> Result<RemoteRow> {
    if let Some(name) = &cx.scope.remote {
        return sessions::known(cx, name).await;
    }
    if let Some(remote) = configured(cx, workspace).await? {
        return Ok(remote);
    }
    if let Some(name) = cx.store.choice(workspace).await?
        && let Some(remote) = cx.store.remote(&name).await?
    {
        return Ok(remote);
    }
    let mut remotes = cx.store.remotes().await?;
    if remotes.len() > 1 {
        let names = remotes.into_iter().map(|remote| remote.name).collect();
        return Err(ChoiceError::Several { workspace: workspace.to_owned(), names }.into());
    }
    remotes.pop().ok_or_else(|| ChoiceError::None.into())
}

/// Returns the remote that the configuration names.
async fn configured(cx: &Cx, workspace: &Path) -> Result<Option<RemoteRow>> {
    let loaded = cx.config(workspace).await?;
    let Some(Name(name)) = &loaded.config.remote.default else { return Ok(None) };
    if let Some(remote) = cx.store.remote(name).await? {
        return Ok(Some(remote));
    }
    let names = cx.store.remotes().await?.into_iter().map(|remote| remote.name);
    let place = loaded.origin("remote.default").map_or_else(String::new, ToString::to_string);
    Err(ChoiceError::Configured { name: name.clone(), place, nearest: sessions::nearest(name, names) }.into())
}

/// Returns the folder that a command is for, with links resolved when it exists.
pub(crate) async fn workspace(cx: &Cx) -> PathBuf {
    let folder = cx.scope.workspace.as_ref().map_or_else(|| cx.folder.clone(), |folder| cx.folder.join(folder));
    let named = folder.clone();
    // A folder of a network that hangs must not hold up anything else.
    let resolved = tokio::task::spawn_blocking(move || named.canonicalize().ok()).await;
    resolved.ok().flatten().unwrap_or(folder)
}
