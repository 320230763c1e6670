//! Which paths of a workspace may have changed. An event is a hint, never the truth.
//!
//! A thread of its own owns the watches, one per synced folder, and gathers events until a save is complete.
//! Ignored folders cost nothing. Events that were lost, or folders that could not be watched, turn into
//! "look at all of it". Start the watch first and scan then: what changes in between is reported.

mod actor;
mod folders;
mod inbox;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::error::{Code, Example, Explain, word};
use protocol::path::RelPath;
use tokio::sync::{Notify, oneshot, watch};

use self::inbox::Inbox;
use super::ignored::Rules;

/// How long [`Watch::cookie`] waits for its own event. It comes within milliseconds; a storm that fills the
/// kernel's queue is worked off in less than a second.
pub const COOKIE_DEADLINE: Duration = Duration::from_secs(10);
/// Most paths that are listed; more are "everything".
pub const MAX_PATHS: usize = 100_000;

/// Paths that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// These, each with all below it.
    Some(BTreeSet<RelPath>),
    /// All of the workspace.
    Everything,
}

/// Paths that may have changed, gathered until they were quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Which.
    pub paths: Paths,
    /// When the first event was seen.
    pub first_event: Instant,
    /// When they were quiet.
    pub settled_at: Instant,
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Paths have to be scanned.
    Dirty(Dirty),
    /// The workspace folder was deleted, moved or unmounted; the watch sees nothing any more.
    RootGone,
}

/// How well a watch sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every synced folder is watched.
    Watching,
    /// The system allows no more watches; the folders without one are looked at from time to time.
    Polling {
        /// Why, and what to do.
        reason: String,
    },
}

/// Why there is no watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system gives us no watch at all.
    #[error("`{}` cannot be watched", path.display())]
    Start {
        /// The workspace.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: notify::Error,
    },
    /// The folder for cookies, or a file in it, cannot be made.
    #[error("`{}` cannot be written", path.display())]
    Cookie {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// No event came in time.
    #[error("no file event came within {} s", COOKIE_DEADLINE.as_secs())]
    Silent,
    /// The watching thread ended.
    #[error("the watch has ended")]
    Ended,
}

impl Explain for WatchError {
    fn code(&self) -> Code {
        Code::SyncWatch
    }

    fn help(&self) -> String {
        match self {
            Self::Start { .. } => {
                format!("{} `mltoolbox-sidecar sync push` works without a watch.", folders::LIMIT_ADVICE)
            }
            Self::Cookie { path, .. } => {
                format!(
                    "Run `ls -ld {0}` to see whose it is, and `chmod u+rwx {0}` if it is yours.",
                    word(path.display())
                )
            }
            Self::Silent | Self::Ended => {
                "Run `mltoolbox-sidecar sync stop`, then `mltoolbox-sidecar sync watch` to start it anew.".to_owned()
            }
        }
    }
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    health: watch::Receiver<Health>,
}

/// What the handle and the thread share.
#[derive(Debug)]
struct Shared {
    inbox: Inbox,
    outbox: Mutex<Outbox>,
    filled: Notify,
    cookies: Mutex<BTreeMap<String, oneshot::Sender<()>>>,
    cookie_folder: PathBuf,
    next_cookie: AtomicU64,
    audit_cost: AtomicU64,
}

/// What was not taken yet. New changes are merged into it, so a slow reader costs no memory.
#[derive(Debug, Default)]
struct Outbox {
    dirty: Option<Dirty>,
    root_gone: bool,
    ended: bool,
}

impl Watch {
    /// Watches the workspace at the absolute path `root`. `cookie_folder` is a folder of our own, outside of
    /// the workspace; it is made when it is missing. `debounce` is how long a change has to be quiet, if longer than
    /// usual. Returns when every folder is watched.
    pub async fn start(
        root: &Path,
        rules: Arc<Rules>,
        cookie_folder: &Path,
        debounce: Option<Duration>,
    ) -> Result<Self, WatchError> {
        let shared = Arc::new(Shared {
            inbox: Inbox::default(),
            outbox: Mutex::default(),
            filled: Notify::new(),
            cookies: Mutex::default(),
            cookie_folder: cookie_folder.to_owned(),
            next_cookie: AtomicU64::new(0),
            audit_cost: AtomicU64::new(0),
        });
        let (started, answer) = oneshot::channel();
        let (health, seen) = watch::channel(Health::Watching);
        let own = Arc::clone(&shared);
        let path = root.to_owned();
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || actor::run(&path, rules, &own, health, debounce, started))
            .map_err(|error| WatchError::Start { path: root.to_owned(), source: notify::Error::io(error) })?;
        // From here on a dropped future ends the thread, too.
        let watch = Self { shared, health: seen };
        answer.await.map_err(|_| WatchError::Ended)??;
        Ok(watch)
    }

    /// Returns the next change; `None` when the watch has ended. Nothing is lost when the future is dropped.
    pub async fn next(&self) -> Option<Change> {
        loop {
            let filled = self.shared.filled.notified();
            {
                let mut outbox = lock(&self.shared.outbox);
                if std::mem::take(&mut outbox.root_gone) {
                    return Some(Change::RootGone);
                }
                if let Some(dirty) = outbox.dirty.take() {
                    return Some(Change::Dirty(dirty));
                }
                if outbox.ended {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// Waits until everything that changed before the call is in what [`Watch::next`] returns.
    pub async fn cookie(&self) -> Result<(), WatchError> {
        let number = self.shared.next_cookie.fetch_add(1, Ordering::Relaxed);
        let name = format!("cookie-{}-{number}", std::process::id());
        let path = self.shared.cookie_folder.join(&name);
        let (seen, answer) = oneshot::channel();
        lock(&self.shared.cookies).insert(name.clone(), seen);
        let result = async {
            let failed = |source| WatchError::Cookie { path: self.shared.cookie_folder.clone(), source };
            if *self.health.borrow() != Health::Watching {
                // What is not watched sends no events, so it is marked before the cookie is seen.
                self.shared.inbox.poll();
            }
            tokio::fs::write(&path, "").await.map_err(failed)?;
            let answer = tokio::time::timeout(COOKIE_DEADLINE, answer).await.map_err(|_| WatchError::Silent)?;
            answer.map_err(|_| WatchError::Ended)
        };
        let result = result.await;
        lock(&self.shared.cookies).remove(&name);
        if let Err(error) = tokio::fs::remove_file(&path).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "a cookie stays behind");
        }
        result
    }

    /// Returns how well the watch sees, now and in future.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Tells what a scan of the whole workspace costs, so that audits stay below half a percent of a processor.
    pub fn audited(&self, cost: Duration) {
        self.shared.audit_cost.store(u64::try_from(cost.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.inbox.stop();
    }
}

impl Shared {
    /// Adds to what the reader has not taken yet.
    fn send(&self, dirty: Dirty) {
        let mut outbox = lock(&self.outbox);
        outbox.dirty = Some(match outbox.dirty.take() {
            None => dirty,
            Some(before) => before.merged(dirty),
        });
        drop(outbox);
        self.filled.notify_one();
    }

    fn send_root_gone(&self) {
        lock(&self.outbox).root_gone = true;
        self.filled.notify_one();
    }

    fn end(&self) {
        lock(&self.outbox).ended = true;
        lock(&self.cookies).clear();
        self.filled.notify_one();
    }

    /// Answers the caller who waits for a cookie.
    fn seen(&self, name: &str) {
        let waiting = lock(&self.cookies).remove(name);
        if waiting.is_some_and(|waiting| waiting.send(()).is_err()) {
            tracing::debug!(name, "nobody waits for this cookie any more");
        }
    }

    fn is_waiting(&self, name: &str) -> bool {
        lock(&self.cookies).contains_key(name)
    }

    /// Returns the cookies that are waited for now.
    fn waiting(&self) -> Vec<String> {
        lock(&self.cookies).keys().cloned().collect()
    }
}

impl Dirty {
    fn merged(self, later: Self) -> Self {
        let paths = match (self.paths, later.paths) {
            (Paths::Some(mut paths), Paths::Some(more)) => {
                paths.extend(more);
                if paths.len() > MAX_PATHS { Paths::Everything } else { Paths::Some(paths) }
            }
            (Paths::Everything, _) | (_, Paths::Everything) => Paths::Everything,
        };
        Self {
            paths,
            first_event: self.first_event.min(later.first_event),
            settled_at: self.settled_at.max(later.settled_at),
        }
    }
}

/// Locks; what a panicking thread left behind is still whole, as every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let workspace = || PathBuf::from("/home/ada/project");
    let cookies = PathBuf::from("/home/ada/.config/mltoolbox/cookies");
    vec![
        WatchError::Start { path: workspace(), source: notify::Error::new(notify::ErrorKind::MaxFilesWatch) }.into(),
        WatchError::Cookie { path: cookies, source: std::io::ErrorKind::PermissionDenied.into() }.into(),
        WatchError::Silent.into(),
        WatchError::Ended.into(),
    ]
}
