//! The thread of a watch: takes events, keeps the watches right, hands on what is quiet.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RemoveKind, RenameMode};
use protocol::path::RelPath;
use tokio::sync::{oneshot, watch};

use super::folders::Folders;
use super::settling::Settling;
use super::{Dirty, Health, Paths, Shared, WatchError};
use crate::sync::ignored::{Rules, Verdict};

/// Quiet time after which the whole workspace is looked at: events do get lost, on network disks above all.
const AUDIT: Duration = Duration::from_mins(1);
/// An audit may take one part in so many of the time between two, which is half a percent.
const AUDIT_SHARE: u32 = 200;
/// How often folders without a watch are looked at.
const POLL: Duration = Duration::from_secs(5);
/// Such a look may take one part in so many of the time between two.
const POLL_SHARE: u32 = 20;
/// How often events are waited for when nothing is due.
const IDLE: Duration = Duration::from_hours(1);

/// What the thread knows.
struct Actor<'s> {
    root: &'s Path,
    rules: Arc<Rules>,
    shared: &'s Arc<Shared>,
    health: watch::Sender<Health>,
    folders: Folders,
    settling: Settling,
    next_audit: Instant,
    next_poll: Instant,
}

/// Runs the watch until its handle is dropped.
pub(super) fn run(
    root: &Path,
    rules: Arc<Rules>,
    shared: &Arc<Shared>,
    health: watch::Sender<Health>,
    debounce: Option<Duration>,
    started: oneshot::Sender<Result<(), WatchError>>,
) {
    let made = std::fs::create_dir_all(&shared.cookie_folder)
        .map_err(|source| WatchError::Cookie { path: shared.cookie_folder.clone(), source });
    match made.and_then(|()| Folders::start(root, Arc::clone(&rules), shared)) {
        Err(error) => drop(started.send(Err(error))),
        Ok(folders) => {
            let now = Instant::now();
            let (next_audit, next_poll, settling) = (now + AUDIT, now + POLL, Settling::new(debounce));
            let mut actor = Actor { root, rules, shared, health, folders, settling, next_audit, next_poll };
            actor.publish_health();
            if started.send(Ok(())).is_ok() {
                actor.serve();
            }
        }
    }
    shared.end();
}

impl Actor<'_> {
    fn serve(&mut self) {
        loop {
            let content = self.shared.inbox.take(self.wake_up());
            if content.stop {
                return;
            }
            if content.overflow {
                self.start_over();
            }
            // Before the events: a cookie among them covers what is not watched, too.
            if content.poll || (self.is_polling() && Instant::now() >= self.next_poll) {
                self.poll(Instant::now());
            }
            for event in content.events {
                self.take(event);
            }
            let now = Instant::now();
            if now >= self.next_audit {
                self.audit(now);
            }
            let lock = self.root.join(".git").join("index.lock");
            if let Some(dirty) = self.settling.take(now, || lock.exists()) {
                self.hand_on(dirty);
            }
        }
    }

    /// Looks at everything, and for watches that the system can give by now.
    fn audit(&mut self, now: Instant) {
        self.next_audit = now + AUDIT;
        if self.folders.is_blind() {
            self.start_over();
        } else {
            self.folders.retry();
            self.publish_health();
        }
        self.settling.everything(now);
    }

    fn wake_up(&self) -> Instant {
        let poll = self.is_polling().then_some(self.next_poll);
        let due = self.settling.due();
        due.into_iter().chain(poll).fold(self.next_audit.min(Instant::now() + IDLE), Instant::min)
    }

    fn is_polling(&self) -> bool {
        *self.health.borrow() != Health::Watching
    }

    /// Takes one event as a hint.
    fn take(&mut self, event: Event) {
        let now = Instant::now();
        // A rename comes as From and To, too; those say all of it.
        if event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both)) && cfg!(target_os = "linux") {
            return;
        }
        for path in event.paths {
            if path.parent() == Some(&self.shared.cookie_folder) {
                let name = path.file_name().and_then(|name| name.to_str());
                if let Some(name) = name.filter(|name| self.shared.is_waiting(name)) {
                    self.flush(now);
                    self.shared.seen(name);
                }
            } else if path == self.root {
                self.take_root(event.kind);
            } else if let Some(path) = rel_path(self.root, &path) {
                self.take_path(event.kind, path, now);
            }
        }
    }

    fn take_root(&self, kind: EventKind) {
        match kind {
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => self.shared.send_root_gone(),
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Access(_) | EventKind::Any | EventKind::Other => {}
        }
    }

    fn take_path(&mut self, kind: EventKind, path: RelPath, now: Instant) {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => self.complete(path, false, now),
            EventKind::Access(_) => {}
            EventKind::Modify(ModifyKind::Data(_)) => {
                if self.rules.verdict(&path, false) != Verdict::Ignored {
                    self.settling.written(path, now);
                }
            }
            EventKind::Modify(ModifyKind::Metadata(_)) => {
                if self.rules.verdict(&path, false) != Verdict::Ignored {
                    self.settling.touched(path, now);
                }
            }
            EventKind::Remove(kind) => self.gone(path, kind == RemoveKind::Folder, now),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => self.gone(path, false, now),
            EventKind::Create(CreateKind::File) => self.created(path, now),
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => self.appeared(path, now),
        }
    }

    /// A file was made. Its close follows, unless it is a link.
    fn created(&mut self, path: RelPath, now: Instant) {
        if self.rules.verdict(&path, false) == Verdict::Ignored {
            return;
        }
        let facts = self.root.join(path.as_str()).symlink_metadata();
        if facts.is_ok_and(|facts| facts.is_file() && !has_other_names(&facts)) {
            self.settling.written(path, now);
        } else {
            self.complete(path, false, now);
        }
    }

    /// Something has this name now: made, moved here, or changed in a way that is not told.
    fn appeared(&mut self, path: RelPath, now: Instant) {
        let facts = self.root.join(path.as_str()).symlink_metadata();
        let is_folder = facts.is_ok_and(|facts| facts.is_dir());
        self.rules.reload(Some(&path));
        if is_folder && self.rules.verdict(&path, true) != Verdict::Ignored {
            self.folders.add(&path);
            self.publish_health();
        }
        self.complete(path, is_folder, now);
    }

    fn gone(&mut self, path: RelPath, is_folder: bool, now: Instant) {
        self.rules.reload(Some(&path));
        self.folders.remove(&path);
        self.complete(path, is_folder, now);
    }

    fn complete(&mut self, path: RelPath, is_folder: bool, now: Instant) {
        if self.rules.verdict(&path, is_folder) != Verdict::Ignored {
            self.settling.complete(path, now);
        }
    }

    /// Hands on all there is, quiet or not.
    fn flush(&mut self, now: Instant) {
        if let Some(dirty) = self.settling.take_all(now) {
            self.hand_on(dirty);
        }
    }

    fn hand_on(&mut self, mut dirty: Dirty) {
        dirty.paths = match dirty.paths {
            Paths::Everything => Paths::Everything,
            Paths::Some(paths) => self.with_new_rules(paths),
        };
        self.next_audit = dirty.settled_at + AUDIT.max(self.cost().saturating_mul(AUDIT_SHARE).min(IDLE));
        self.shared.send(dirty);
    }

    /// Puts changed rules into force; what they may concern has changed, too.
    fn with_new_rules(&mut self, mut paths: BTreeSet<RelPath>) -> Paths {
        let files: Vec<RelPath> = paths.iter().filter(|path| Rules::is_rule_file(path)).cloned().collect();
        let mut everything = false;
        for file in files {
            let folder = file.parent();
            self.rules.reload(folder.as_ref());
            self.folders.renew(folder.as_ref());
            match folder {
                None => everything = true,
                Some(folder) => drop(paths.insert(folder)),
            }
        }
        self.publish_health();
        if everything { Paths::Everything } else { Paths::Some(paths) }
    }

    /// Marks what sends no events.
    fn poll(&mut self, now: Instant) {
        let waiting = self.shared.waiting();
        self.next_poll = now + POLL.max(self.cost().saturating_mul(POLL_SHARE).min(IDLE));
        if self.folders.is_blind() {
            // No cookie is ever seen either, so a look at everything answers for it.
            self.rules.reload(None);
            self.settling.everything(now);
            self.flush(now);
            self.answer(&waiting);
            return;
        }
        let unwatched: Vec<RelPath> = self.folders.unwatched().cloned().collect();
        for path in unwatched {
            self.rules.reload(Some(&path));
            self.settling.complete(path, now);
        }
    }

    fn answer(&self, waiting: &[String]) {
        for name in waiting {
            self.shared.seen(name);
        }
    }

    /// Returns what a scan of everything costs.
    fn cost(&self) -> Duration {
        Duration::from_millis(self.shared.audit_cost.load(Ordering::Relaxed))
    }

    /// Events were lost: watches everything anew and marks everything. Whoever waits for a cookie, whose event
    /// may be among the lost, gets all of it.
    fn start_over(&mut self) {
        self.rules.reload(None);
        match Folders::start(self.root, Arc::clone(&self.rules), self.shared) {
            Ok(folders) => self.folders = folders,
            // The old watches go on; the next audit finds what they miss.
            Err(error) => tracing::warn!(%error, "the watch cannot be renewed"),
        }
        self.publish_health();
        // Only now: the event of a cookie may have been in the queue of the old watches.
        let waiting = self.shared.waiting();
        let now = Instant::now();
        self.settling.everything(now);
        if !waiting.is_empty() {
            self.flush(now);
            self.answer(&waiting);
        }
    }

    fn publish_health(&self) {
        let health = self.folders.health();
        self.health.send_if_modified(|published| {
            let is_new = *published != health;
            *published = health;
            is_new
        });
    }
}

/// Returns where an event's path is in the workspace; `None` outside of it and for names that are not UTF-8.
pub(super) fn rel_path(root: &Path, path: &Path) -> Option<RelPath> {
    let inside = path.strip_prefix(root).ok()?.to_str()?;
    RelPath::new(inside.replace(std::path::MAIN_SEPARATOR, "/")).ok()
}

#[cfg(unix)]
fn has_other_names(facts: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    facts.nlink() > 1
}

#[cfg(not(unix))]
fn has_other_names(_: &std::fs::Metadata) -> bool {
    false
}
