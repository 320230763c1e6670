//! The watched folders. A folder is watched before it is listed, so nothing falls between.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{
    Config, ErrorKind, EventKindMask, PathOp, RecommendedWatcher, RecursiveMode, WatchPathConfig, Watcher as _,
};
use protocol::path::RelPath;

use super::actor::rel_path;
use super::{Health, Shared, WatchError};
use crate::sync::ignored::{RuleFiles, Rules, Verdict};

/// What to do when the system allows no more watches.
pub(super) const LIMIT_ADVICE: &str = if cfg!(target_os = "linux") {
    "Run `sudo sysctl fs.inotify.max_user_watches=1048576 \
     fs.inotify.max_user_instances=1024` to allow more, or ignore large folders in `.mltignore`."
} else {
    "Close programs that watch the same folder, or ignore large folders in `.mltignore`."
};

/// Whether one watch covers all below it (macOS, Windows) or every folder needs its own (Linux).
const RECURSIVE: bool = !cfg!(target_os = "linux");

/// The watches of one workspace.
pub(super) struct Folders {
    root: PathBuf,
    /// The folder that was at `root` when the watches were made.
    identity: Option<(u64, u64)>,
    rules: Arc<Rules>,
    /// `None` when the system gives not even the watch of the workspace itself.
    system: Option<RecommendedWatcher>,
    watched: BTreeSet<RelPath>,
    /// Folders that could not be watched, so nothing below them is.
    unwatched: BTreeSet<RelPath>,
    /// Why the last one could not.
    reason: Option<String>,
}

impl Folders {
    /// Watches the workspace and the folder for cookies.
    pub(super) fn start(root: &Path, rules: Arc<Rules>, shared: &Arc<Shared>) -> Result<Self, WatchError> {
        let failed = |source| WatchError::Start { path: root.to_owned(), source };
        // Before the watch: a folder that comes between is another than this one.
        let identity = identity(root);
        let (system, reason) = match watcher(root, shared) {
            Ok(system) => (Some(system), None),
            Err(error) if is_limit(&error) => (None, Some(advice(&error))),
            Err(error) => return Err(failed(error)),
        };
        let (watched, unwatched) = (BTreeSet::new(), BTreeSet::new());
        let mut folders = Self { root: root.to_owned(), identity, rules, system, watched, unwatched, reason };
        folders.add_below(vec![None]);
        Ok(folders)
    }

    /// Returns whether nothing at all is watched, cookies neither.
    pub(super) fn is_blind(&self) -> bool {
        self.system.is_none()
    }

    /// Returns whether another folder than the watched one is at the workspace's place, or none.
    pub(super) fn are_elsewhere(&self) -> bool {
        identity(&self.root) != self.identity
    }

    /// Returns how well the workspace is seen.
    pub(super) fn health(&self) -> Health {
        match &self.reason {
            Some(reason) if self.is_blind() || !self.unwatched.is_empty() => Health::Polling { reason: reason.clone() },
            _ => Health::Watching,
        }
    }

    /// Returns the folders that send no events.
    pub(super) fn unwatched(&self) -> impl Iterator<Item = &RelPath> {
        self.unwatched.iter()
    }

    /// Watches a folder that appeared, and all below it.
    pub(super) fn add(&mut self, folder: &RelPath) {
        if RECURSIVE {
            return;
        }
        // A watch of that name may still belong to a folder that was moved away.
        self.remove(folder);
        let found = self.watch(vec![folder.clone()]);
        self.add_below(found.into_iter().map(Some).collect());
    }

    /// Watches what is newly synced below a folder, and forgets what is not any more.
    pub(super) fn renew(&mut self, folder: Option<&RelPath>) {
        if RECURSIVE {
            return;
        }
        let gone: Vec<RelPath> = (self.below(folder).into_iter())
            .filter(|path| self.rules.verdict(path, true) == Verdict::Ignored)
            .collect();
        self.unwatch(&gone);
        self.add_below(vec![folder.cloned()]);
    }

    /// Forgets a folder that is gone, with all below it.
    pub(super) fn remove(&mut self, folder: &RelPath) {
        if RECURSIVE {
            return;
        }
        let gone = self.below(Some(folder));
        self.unwatch(&gone);
        self.unwatched.retain(|path| !path.starts_with(folder));
    }

    /// Tries again to watch what could not be watched.
    pub(super) fn retry(&mut self) {
        for folder in std::mem::take(&mut self.unwatched) {
            self.add(&folder);
        }
    }

    /// Returns the watched folders in `folder`, itself among them.
    fn below(&self, folder: Option<&RelPath>) -> Vec<RelPath> {
        let Some(folder) = folder else { return self.watched.iter().cloned().collect() };
        (self.watched.range(folder.clone()..))
            .take_while(|path| path.as_str().starts_with(folder.as_str()))
            .filter(|path| path.starts_with(folder))
            .cloned()
            .collect()
    }

    /// Watches everything below folders that are watched themselves; `None` is the workspace.
    fn add_below(&mut self, folders: Vec<Option<RelPath>>) {
        if RECURSIVE || self.is_blind() {
            return;
        }
        let mut listed = folders;
        while !listed.is_empty() {
            let found: Vec<RelPath> = listed.iter().flat_map(|folder| self.subfolders(folder.as_ref())).collect();
            let (known, new): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| self.watched.contains(path));
            listed = self.watch(new).into_iter().chain(known).map(Some).collect();
        }
    }

    fn subfolders(&self, folder: Option<&RelPath>) -> Vec<RelPath> {
        let place = folder.map_or_else(|| self.root.clone(), |folder| self.root.join(folder.as_str()));
        // A folder that is gone or shut has nothing to watch; the scan says so.
        let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
        let entries: Vec<_> = entries.flatten().map(|entry| (entry.file_name(), entry)).collect();
        let files = RuleFiles::among(entries.iter().map(|(name, _)| name.as_encoded_bytes()));
        let rules = self.rules.folder_with(folder, files);
        (entries.into_iter())
            .filter(|(_, entry)| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|(name, _)| {
                let name = name.into_string().ok()?;
                folder.map_or_else(|| RelPath::new(name.clone()), |folder| folder.join(&name)).ok()
            })
            .filter(|path| self.rules.verdict_in(&rules, path, true) != Verdict::Ignored)
            .collect()
    }

    /// Watches folders and returns those that are.
    fn watch(&mut self, folders: Vec<RelPath>) -> Vec<RelPath> {
        let config = WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
        let mut todo: Vec<PathOp> =
            folders.iter().map(|path| PathOp::Watch(self.root.join(path.as_str()), config.clone())).collect();
        let mut left_out = BTreeSet::new();
        let Some(system) = &mut self.system else { return Vec::new() };
        while !todo.is_empty() {
            let Err(failure) = system.update_paths(std::mem::take(&mut todo)) else { break };
            let rest = failure.remaining;
            let failed = failure.origin.map(PathOp::into_path).and_then(|path| rel_path(&self.root, &path));
            if is_limit(&failure.source) {
                self.reason = Some(advice(&failure.source));
                let rest = rest.iter().filter_map(|op| rel_path(&self.root, op.as_path()));
                let all: Vec<RelPath> = failed.into_iter().chain(rest).collect();
                self.unwatched.extend(all.iter().cloned());
                left_out.extend(all);
                break;
            }
            // It vanished, or may not be read; the scan says which.
            left_out.extend(failed);
            todo = rest;
        }
        let watched: Vec<RelPath> = folders.into_iter().filter(|path| !left_out.contains(path)).collect();
        self.watched.extend(watched.iter().cloned());
        watched
    }

    fn unwatch(&mut self, folders: &[RelPath]) {
        let mut todo: Vec<PathOp> = folders.iter().map(|path| PathOp::unwatch(self.root.join(path.as_str()))).collect();
        for folder in folders {
            self.watched.remove(folder);
        }
        // The system forgets the watch of a deleted folder by itself and then says that there is none.
        let Some(system) = &mut self.system else { return };
        while !todo.is_empty() {
            todo = system.update_paths(todo).err().map(|failure| failure.remaining).unwrap_or_default();
        }
    }
}

/// Returns a watcher that sees the workspace folder and the cookies.
fn watcher(root: &Path, shared: &Arc<Shared>) -> notify::Result<RecommendedWatcher> {
    // Opens and reads are left out: our own scans would drown the rest.
    let config = Config::default()
        .with_event_kinds(EventKindMask::CORE | EventKindMask::ACCESS_CLOSE)
        .with_follow_symlinks(false);
    let own = Arc::clone(shared);
    let mut watcher = RecommendedWatcher::new(move |event| own.inbox.push(event), config)?;
    watcher.watch(&shared.cookie_folder, RecursiveMode::NonRecursive)?;
    watcher.watch(root, if RECURSIVE { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive })?;
    Ok(watcher)
}

/// Returns what tells a folder from every other one; `None` when there is none, or the system has no such thing.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        // Told by events alone.
        let _: &Path = folder;
        None
    }
}

fn advice(error: &notify::Error) -> String {
    format!(
        "the system gives no more watches ({error}), so that edits are looked for every few seconds. {LIMIT_ADVICE}"
    )
}

/// Returns whether the system has no more watches to give.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => {
            matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::OutOfMemory)
                || error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
        }
        ErrorKind::Generic(_) | ErrorKind::PathNotFound | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => {
            false
        }
    }
}
