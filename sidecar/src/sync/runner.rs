//! Puts the parts of a sync together: workspace on disk, watcher, session, agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::agent::Holder;
use protocol::editor::SyncGit;
use protocol::error::{Error, Result};
use tokio::sync::{mpsc, watch as published};

use super::ignored::{Options, Rules};
use super::logs::Logs;
use super::source::Source;
#[cfg(not(unix))]
use super::via_agent::ViaAgent;
#[cfg(unix)]
use super::via_either::ViaEither;
use super::watch::{Change, Health, Paths, Watch};
use super::{Config, Cookie, Handle, Notice, Watching, start};
use crate::cx::Cx;
use crate::session::{self, State};
use crate::store::Pair;

/// Notices that wait for the actor; the watcher gathers what does not fit.
const NOTICES: usize = 16;

/// How a sync is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Follows every save, instead of bringing the remote up to date once.
    pub watch: bool,
    /// Takes the remote folder's lease from another machine.
    pub take_over: bool,
}

/// Starts the sync of a pair over the session with its remote.
pub async fn run(cx: &Cx, pair: Pair, settings: Settings) -> Result<Handle> {
    let rules = rules(&pair).await?;
    let source = source(&pair, Arc::clone(&rules))?;
    let session = cx.sessions.get(cx, &pair.remote).await?;
    let watching = if settings.watch {
        let cookies = state_folder(cx).join("cookies");
        Some(watched(&pair.workspace, Arc::clone(&rules), &cookies, pair.debounce, session.state()).await?)
    } else {
        None
    };
    let config =
        Config { holder: holder(cx, &pair).await?, take_over: settings.take_over, keep: keep_folder(cx, &pair), pair };
    let target = target(session, !settings.watch).remembering(cx.store.clone(), Logs::new(&config.pair.append));
    Ok(start(config, cx.store.clone(), source, Arc::new(target), watching))
}

/// Returns the target behind a session; `one_link` is for work that nobody's save has to overtake.
#[cfg(unix)]
pub(crate) fn target(session: session::Handle, one_link: bool) -> ViaEither {
    ViaEither::new(session, one_link)
}

/// Returns the target behind a session; what is behind it is never opened, since there is no workspace.
#[cfg(not(unix))]
pub(crate) fn target(session: session::Handle, _: bool) -> ViaAgent {
    ViaAgent::new(session)
}

/// Returns the workspace of a pair.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it is an error")]
pub(crate) fn source(pair: &Pair, rules: Arc<Rules>) -> Result<Arc<dyn Source>> {
    let cancel = tokio_util::sync::CancellationToken::new();
    Ok(Arc::new(super::disk::Disk::new(pair.workspace.clone(), rules, cancel)))
}

/// Refuses: a workspace is read through folder descriptors, so that no link can lead out of it.
#[cfg(not(unix))]
pub(crate) fn source(pair: &Pair, _: Arc<Rules>) -> Result<Arc<dyn Source>> {
    Err(super::AskError::System { workspace: pair.workspace.clone() }.into())
}

/// Returns the rules of a pair's workspace.
pub(crate) async fn rules(pair: &Pair) -> Result<Arc<Rules>> {
    let options = Options {
        exclude: pair.exclude.clone(),
        include: pair.include.clone(),
        global: global_ignores(),
        git: pair.git == SyncGit::Push,
    };
    let workspace = pair.workspace.clone();
    let loaded = super::look::blocking(move || Rules::load(&workspace, &options)).await;
    loaded.map(Arc::new).map_err(|source| super::actor::workspace_gone(&pair.workspace, &source))
}

/// Git's default place of the person's own ignore file.
fn global_ignores() -> Option<PathBuf> {
    crate::env::config_dir().parent().map(|folder| folder.join("git/ignore"))
}

/// Returns who syncs: the same name for every start on this machine, another one for another workspace.
pub(crate) async fn holder(cx: &Cx, pair: &Pair) -> Result<Holder> {
    let machine = cx.store.machine().await?;
    let workspace = pair.workspace.to_string_lossy();
    let id = blake3::hash(format!("{machine}\0{workspace}").as_bytes()).to_hex()[..32].to_owned();
    let user = crate::env::text(crate::env::USER).unwrap_or_else(|| "somebody".to_owned());
    let host = agent::facts::gather().hostname;
    Ok(Holder { id, label: format!("{user}@{host}:{workspace}") })
}

/// Returns the folder in which versions are kept that were replaced or removed on this machine.
pub(crate) fn keep_folder(cx: &Cx, pair: &Pair) -> PathBuf {
    state_folder(cx).join("kept").join(pair.id.to_string())
}

/// Returns the folder of the state database, beside which everything else of ours is kept.
pub(crate) fn state_folder(cx: &Cx) -> PathBuf {
    cx.store.path().parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Watches a workspace; `cookies` is a folder of our own outside of it, `debounce` how long a change has to be quiet.
pub async fn watched(
    workspace: &Path,
    rules: Arc<Rules>,
    cookies: &Path,
    debounce: Option<Duration>,
    session: published::Receiver<State>,
) -> Result<Watching> {
    let watch = Arc::new(Watch::start(workspace, rules, cookies, debounce).await?);
    let (notices, receiver) = mpsc::channel(NOTICES);
    let (asks, asked) = mpsc::channel(NOTICES);
    tokio::spawn(pump(Arc::clone(&watch), session, notices, asked));
    let cookie: Cookie = Arc::new(move || {
        let (watch, asks) = (Arc::clone(&watch), asks.clone());
        Box::pin(async move {
            watch.cookie().await.map_err(Error::from)?;
            let (passed, has_passed) = tokio::sync::oneshot::channel();
            if asks.send(passed).await.is_ok() {
                // An ended pump has handed on all it had.
                has_passed.await.ok();
            }
            Ok(())
        })
    });
    Ok(Watching { notices: receiver, cookie })
}

/// Hands on what the watch says. Whoever asks is answered once everything that the watch had is handed on.
async fn pump(
    watch: Arc<Watch>,
    mut session: published::Receiver<State>,
    notices: mpsc::Sender<Notice>,
    mut asked: mpsc::Receiver<tokio::sync::oneshot::Sender<()>>,
) {
    let mut health = watch.health();
    loop {
        let notice = tokio::select! {
            biased;
            () = notices.closed() => return,
            change = watch.next() => match change {
                Some(change) => notice(change),
                None => return,
            },
            Ok(()) = health.changed() => match &*health.borrow_and_update() {
                Health::Watching => Notice::Trouble(String::new()),
                Health::Polling { reason } => Notice::Trouble(reason.clone()),
            },
            // A sync that has nothing to send would not meet the loss by itself.
            Ok(()) = session.changed() => match &*session.borrow_and_update() {
                State::Waiting { error, .. } => Notice::Lost(error.clone()),
                State::Connecting | State::Ready | State::Closed { .. } => continue,
            },
            Some(passed) = asked.recv() => {
                // The branch above it was tried first, and had nothing.
                passed.send(()).ok();
                continue;
            }
        };
        if notices.send(notice).await.is_err() {
            return;
        }
    }
}

fn notice(change: Change) -> Notice {
    match change {
        Change::Dirty(dirty) => match dirty.paths {
            Paths::Some(paths) => Notice::Dirty { paths: paths.into_iter().collect(), since: Some(dirty.first_event) },
            Paths::Everything => Notice::Everything,
        },
        Change::RootGone => Notice::RootGone,
    }
}
