//! All that the tour needs, in one temporary folder: a project, a state database, keys, and an SSH server
//! whose home is in it, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use protocol::editor::{Scope, TryParams};
use protocol::error::Result;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::error::TryError;
use super::quiet::Quiet;
use super::{agent, off, project};
use crate::cx::Cx;
use crate::env;
use crate::frontend::Frontend;
use crate::sessions::{Identity, Sessions};
use crate::store::Store;
use crate::sync::Syncs;
use crate::transport::ssh_server::{self, Server};

/// Name of the stand-in.
pub(super) const REMOTE: &str = "try";
/// What is run in the copy of a folder that we know nothing about.
const COUNT: &str = "uname -sm; find . -type f | wc -l";
/// Time to stop the agent, which takes a few milliseconds; it ends by itself when its folder is gone.
const STOP_AGENT: Duration = Duration::from_secs(2);

/// The tour's stage.
#[derive(Debug)]
pub(super) struct Stage {
    /// The context of everything that happens on it: nothing in it is the user's but the front end.
    pub(super) cx: Cx,
    /// The person who watches.
    pub(super) person: Arc<dyn Frontend>,
    /// The project to sync.
    pub(super) workspace: PathBuf,
    /// Whether the project is ours to edit.
    pub(super) may_edit: bool,
    /// The command to run in the copy.
    pub(super) command: &'static str,
    /// The stand-in.
    pub(super) server: Server,
    /// The key it lets in.
    pub(super) key: PathBuf,
    steps: AtomicU32,
    folder: TempDir,
}

impl Stage {
    /// Builds the stage.
    pub(super) async fn build(cx: &Cx, params: &TryParams) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mltoolbox-try-").tempdir();
        let folder = folder.map_err(|source| TryError::Folder { path: env::temporary(), source })?;
        let root =
            folder.path().canonicalize().map_err(|source| TryError::Folder { path: folder.path().into(), source })?;
        let (here, there) = (root.join("here"), root.join("there"));
        for path in [&here, &there] {
            std::fs::create_dir(path).map_err(|source| TryError::Folder { path: path.clone(), source })?;
        }
        let (workspace, may_edit, command) = workspace(cx, params, &root).await?;
        let key = here.join("id_ed25519");
        let public = ssh_server::write_key(&key).map_err(|source| TryError::Folder { path: key.clone(), source })?;
        let server = Server::start(&there, &public).await.map_err(|source| TryError::Server { source })?;
        let store = Store::open(&here.join("mltoolbox.db")).await?;
        let scope = Scope {
            remote: Some(REMOTE.to_owned()),
            workspace: Some(workspace.to_string_lossy().into_owned()),
            yes: true,
            ..Scope::default()
        };
        let person = Arc::clone(&cx.frontend);
        let cx = Cx {
            scope,
            folder: workspace.clone(),
            store,
            sessions: Sessions::of(Identity { home: here, agent: None, config: Some("none".into()) }),
            syncs: Syncs::default(),
            frontend: Arc::new(Quiet(Arc::clone(&cx.frontend))),
            // The end of the tour is told by the tour, which then has something to clear away.
            cancel: CancellationToken::new(),
        };
        Ok(Self { cx, person, workspace, may_edit, command, server, key, steps: AtomicU32::new(0), folder })
    }

    /// Returns the folder on the stand-in to sync to.
    pub(super) fn remote_dir(&self) -> String {
        let name = self.workspace.file_name().map_or_else(|| "project".into(), |name| name.to_string_lossy());
        format!("~/mltoolbox/{name}")
    }

    /// Tells the person about the next step.
    pub(super) fn step(&self, line: impl AsRef<str>) {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(format!("{number}. {}", line.as_ref()));
    }

    /// Tells the person what just happened.
    pub(super) fn tell(&self, line: impl Into<String>) {
        self.person.tell(line.into());
    }

    async fn stop_agent(&self) -> Result<()> {
        let session = self.cx.sessions.get(&self.cx, REMOTE).await?;
        agent::end(&*session.transport().await?, None).await
    }

    /// Removes everything.
    pub(super) async fn clear(self) {
        match tokio::time::timeout(STOP_AGENT, self.stop_agent()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "no agent of the tour was stopped"),
            Err(_) => tracing::warn!("the agent of the tour did not say that it stopped"),
        }
        self.cx.sessions.close();
        self.server.stop().await;
        let path = self.folder.path().to_path_buf();
        if let Err(error) = off(move || self.folder.close()).await {
            tracing::warn!(path = %path.display(), %error, "a temporary folder is left behind");
        }
    }
}

/// Returns the folder to sync, whether it is ours to edit, and the command to run in its copy.
async fn workspace(cx: &Cx, params: &TryParams, root: &Path) -> Result<(PathBuf, bool, &'static str)> {
    let Some(dir) = &params.dir else {
        let path = root.join("sample");
        let made = path.clone();
        off(move || project::sample(&made)).await.map_err(|source| TryError::Folder { path: path.clone(), source })?;
        return Ok((path, true, project::COMMAND));
    };
    let asked = cx.folder.join(dir);
    let theirs = asked.canonicalize().map_err(|source| TryError::NoFolder { path: asked.clone(), source })?;
    if params.keep {
        // To be watched, it has to be the folder itself; then the edits are the user's.
        return Ok((theirs, false, COUNT));
    }
    let name = theirs.file_name().map_or_else(|| "project".into(), std::ffi::OsStr::to_os_string);
    let path = root.join("copy").join(name);
    let (from, to) = (theirs.clone(), path.clone());
    off(move || project::copy(&from, &to)).await.map_err(|source| TryError::Folder { path: path.clone(), source })?;
    Ok((path, true, COUNT))
}
