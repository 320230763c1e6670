//! What a command that works on a project does beside its work: it reads the configuration, asks for trust once, and runs
//! the hooks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use protocol::editor::SyncState;
use protocol::error::Result;
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::cx::Cx;
use crate::frontend::Frontend;
use crate::hooks::{self, Hook, HookPoint, Remote, Stage, Values};
use crate::secrets::Secrets;
use crate::session::audience::Present;
use crate::sync::Handle;
use crate::transport::Transport;
use crate::{migrate, sessions, trust};

/// After `on_sync` has run, the least time until it runs again: a hook that writes into the project is followed by
/// another round of the sync, and by itself, for ever.
const PAUSE: Duration = Duration::from_secs(1);

/// The live connection, once there is one.
type Connecting = BoxFuture<'static, Result<Arc<dyn Transport>>>;

/// The project that a command works on, and its hooks.
#[derive(Clone, Debug)]
pub(super) struct Work {
    project: PathBuf,
    hooks: Arc<[Hook]>,
    values: Values,
    secrets: Arc<Secrets>,
    trusted: bool,
}

/// Returns the folder of the project that a configuration is of, with links resolved.
pub(super) async fn project(loaded: &Loaded, folder: &Path) -> PathBuf {
    let named = loaded.project_folder().unwrap_or(folder).to_owned();
    let resolved = {
        let named = named.clone();
        tokio::task::spawn_blocking(move || named.canonicalize().ok()).await
    };
    resolved.ok().flatten().unwrap_or(named)
}

/// Begins to work on the project in `folder`: reads its configuration, and runs `on_config_loaded`.
pub(super) async fn begin(cx: &Cx, folder: &Path) -> Result<Work> {
    let loaded = cx.config(folder).await?;
    if loaded.project.is_none() {
        advise(cx, folder).await;
    }
    let project = project(&loaded, folder).await;
    let hooks = hooks::of(&loaded);
    let trusted = trust::ask(&cx.store, &*cx.frontend, &project, &trust::concerned(&hooks)).await?;
    let values = Values { workspace: project.clone(), ..Values::default() };
    // Rounds that go on after the command must not keep its front end.
    let secrets = Arc::new(Secrets::new(Arc::new(Present::new(&cx.frontend))));
    let work = Work { project, hooks: hooks.into(), values, secrets, trusted };
    work.run(cx, HookPoint::ConfigLoaded, None).await?;
    Ok(work)
}

/// Says once that the files of an older project could be one configuration; nothing is converted unasked.
async fn advise(cx: &Cx, folder: &Path) {
    let folder = folder.to_owned();
    let advised =
        tokio::task::spawn_blocking(move || migrate::is_advised(&folder).then(|| migrate::find(&folder).files));
    if let Ok(Some(files)) = advised.await {
        cx.frontend.tell(format!(
            "note: this project has {} and no mltoolbox.yaml; `mltoolbox-sidecar migrate --dry-run` shows what it would be",
            files.join(", ")
        ));
    }
}

impl Work {
    /// Whether there is a hook for that time.
    fn has(&self, point: HookPoint) -> bool {
        self.hooks.iter().any(|hook| hook.point == point)
    }

    /// Connects to the remote, and runs `on_connect` if that began the session.
    pub(super) async fn connected(&self, cx: &Cx, remote: &str) -> Result<()> {
        if !self.has(HookPoint::Connect) || cx.sessions.is_up(remote) {
            return Ok(());
        }
        let session = cx.sessions.get(cx, remote).await?;
        let work = self.with_remote(cx, remote).await?;
        let remote = Remote { transport: session.transport().await?, folder: self.folder(cx, remote).await? };
        work.run(cx, HookPoint::Connect, Some(remote)).await
    }

    /// Runs `on_sync` after `files` changed there.
    pub(super) async fn synced(&self, cx: &Cx, handle: &Handle, files: u64) -> Result<()> {
        if files == 0 || !self.has(HookPoint::Sync) {
            return Ok(());
        }
        let name = &handle.pair().remote;
        let session = cx.sessions.get(cx, name).await?;
        let mut work = self.with_remote(cx, name).await?;
        work.values.files_changed = Some(files);
        let remote = Remote { transport: session.transport().await?, folder: Some(folder_of(handle)) };
        work.run(cx, HookPoint::Sync, Some(remote)).await
    }

    /// Runs `on_sync` after each round of a sync that goes on, one after the other, as long as the sync lives. Whoever
    /// listens now is told; afterwards there is only the log.
    pub(super) async fn follow(&self, cx: &Cx, handle: &Handle) -> Result<()> {
        if !self.has(HookPoint::Sync) {
            return Ok(());
        }
        let session = cx.sessions.get(cx, &handle.pair().remote).await?;
        let work = self.with_remote(cx, &handle.pair().remote).await?;
        // A handle would keep the sync alive.
        let snapshots = handle.snapshots();
        let asked_folder = handle.pair().remote_dir.clone();
        let connection = move || -> Connecting {
            let session = session.clone();
            Box::pin(async move { session.transport().await })
        };
        tokio::spawn(work.rounds(connection, snapshots, asked_folder, Arc::downgrade(&cx.frontend)));
        Ok(())
    }

    async fn rounds(
        mut self,
        connection: impl Fn() -> Connecting + Send,
        mut snapshots: tokio::sync::watch::Receiver<crate::sync::Snapshot>,
        asked_folder: String,
        frontend: Weak<dyn Frontend>,
    ) {
        let cancel = CancellationToken::new();
        let _ended = cancel.clone().drop_guard();
        let mut done = 0;
        loop {
            let arrived = snapshots.wait_for(|now| now.status.state == SyncState::Synced && changed(now) > done).await;
            let Ok((files, folder)) = arrived.map(|now| (changed(&now), now.status.remote_dir.clone())) else { return };
            let mut alive = snapshots.clone();
            let transport = tokio::select! {
                transport = connection() => transport,
                () = ended(&mut alive) => return,
            };
            let transport = match transport {
                Ok(transport) => transport,
                Err(error) => {
                    // What has changed is told once there is a connection again.
                    tracing::info!(%error, "`on_sync` waits for the connection");
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => continue,
                        () = ended(&mut alive) => return,
                    }
                }
            };
            self.values.files_changed = Some(files - done);
            let folder = Some(if folder.is_empty() { asked_folder.clone() } else { folder });
            let stage = Stage {
                project: &self.project,
                remote: Some(Remote { transport, folder }),
                trusted: self.trusted,
                frontend: frontend.upgrade(),
                secrets: &self.secrets,
                cancel: &cancel,
            };
            let running = hooks::run(&self.hooks, HookPoint::Sync, &self.values, &stage);
            tokio::pin!(running);
            let ran = tokio::select! {
                ran = &mut running => ran,
                () = ended(&mut alive) => {
                    cancel.cancel();
                    running.await
                }
            };
            done = files;
            if let Err(error) = ran {
                tracing::error!(%error, help = error.help, "`on_sync` failed");
                if let Some(frontend) = frontend.upgrade() {
                    frontend.tell(format!("error: {error}. {}", error.help));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = ended(&mut alive) => return,
            }
        }
    }

    async fn run(&self, cx: &Cx, point: HookPoint, remote: Option<Remote>) -> Result<()> {
        let stage = Stage {
            project: &self.project,
            remote,
            trusted: self.trusted,
            frontend: Some(Arc::clone(&cx.frontend)),
            secrets: &self.secrets,
            cancel: &cx.cancel,
        };
        hooks::run(&self.hooks, point, &self.values, &stage).await
    }

    async fn with_remote(&self, cx: &Cx, remote: &str) -> Result<Self> {
        let row = sessions::known(cx, remote).await?;
        let mut work = self.clone();
        work.values.remote_name = Some(row.name);
        work.values.remote_host = Some(row.host);
        Ok(work)
    }

    /// Returns the folder there that this project is synced to, if it ever was.
    async fn folder(&self, cx: &Cx, remote: &str) -> Result<Option<String>> {
        let pairs = cx.store.pairs().await?;
        let pair = pairs.into_iter().find(|pair| pair.remote == remote && pair.workspace == self.project);
        Ok(pair.map(|pair| pair.remote_dir))
    }
}

/// Returns how many paths a sync has changed there since it began.
fn changed(snapshot: &crate::sync::Snapshot) -> u64 {
    snapshot.files + snapshot.removed
}

/// Returns the folder as the agent names it, or as it was asked for.
fn folder_of(handle: &Handle) -> String {
    Some(handle.status().remote_dir)
        .filter(|opened| !opened.is_empty())
        .unwrap_or_else(|| handle.pair().remote_dir.clone())
}

/// Returns once the sync has ended.
async fn ended(snapshots: &mut tokio::sync::watch::Receiver<crate::sync::Snapshot>) {
    while snapshots.changed().await.is_ok() {}
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::schema::{OnFailure, Where};
    use crate::config::{Layer, Place, Source};
    use crate::hooks::Full;
    use crate::session::audience::Nobody;
    use crate::sync::Snapshot;
    use crate::transport::TransportError;

    #[tokio::test]
    async fn a_round_without_a_connection_is_not_lost() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let hook = Hook {
            point: HookPoint::Sync,
            run: "echo {{ sync.files_changed }} >> ran".to_owned(),
            place: Where::Local,
            timeout: Duration::from_mins(1),
            on_failure: OnFailure::Warn,
            said: Place { source: Source::file(Layer::User, Path::new("config.yaml")), line: 3, column: 5 },
        };
        let values = Values { workspace: folder.path().to_owned(), ..Values::default() };
        let secrets = Arc::new(Secrets::new(Arc::new(Nobody)));
        let work = Work { project: folder.path().to_owned(), hooks: [hook].into(), values, secrets, trusted: false };
        let asked = Arc::new(AtomicUsize::new(0));
        let connection = {
            let asked = Arc::clone(&asked);
            move || -> Connecting {
                let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
                Box::pin(async move {
                    let lost = TransportError::NoStatus { host: "gpu1".to_owned() };
                    if is_first { Err(lost.into()) } else { Ok(Arc::new(Full::default()) as Arc<dyn Transport>) }
                })
            }
        };
        let mut snapshot = Snapshot { files: 3, ..Snapshot::default() };
        snapshot.status.state = SyncState::Synced;
        let (sync, snapshots) = tokio::sync::watch::channel(snapshot);
        let nobody: Arc<dyn Frontend> = Arc::new(Nobody);
        let rounds = tokio::spawn(work.rounds(connection, snapshots, String::new(), Arc::downgrade(&nobody)));
        let ran = async {
            while !std::fs::read_to_string(folder.path().join("ran")).is_ok_and(|said| said == "3\n") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ran).await.expect("the hook runs");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        drop(sync);
        rounds.await.expect("it ends with the sync");
    }
}
