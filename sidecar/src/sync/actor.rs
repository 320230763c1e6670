//! The task that owns one pair. It waits for commands, notices and the ends of its own work, and never
//! blocks: looking, sending, flushing and fetching are tasks that report back as [`Event`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::agent::Opened;
use protocol::editor::{SyncProblem, SyncResolveOutput};
use protocol::error::{Code, Error, Result};
use protocol::path::RelPath;
use protocol::sync::Hash;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guard::{Brake, Large};
use super::index::Index;
use super::links::Links;
use super::logs::Logs;
use super::look::{self, Ask, Look};
use super::pending::Pending;
use super::plan::{Conflict, Overlay};
use super::pull::Brought;
use super::resolve::Resolved;
use super::source::Source;
use super::target::{Done, Flushed, SyncError, SyncTarget};
use super::{Arrival, Command, Config, Cookie, Notice, Snapshot, Watching};
use crate::store::{Base, BaseChange, Store};

pub(super) use answers::based_on;
use commits::{Committed, ended};
pub(super) use decide::would_stop;
pub(super) use report::{conflict, seconds as report_seconds, unit_conflict};
use transfer::Transfer;
use waiters::Waiter;

mod answers;
mod commits;
mod decide;
mod home;
mod link;
mod looking;
mod moves;
mod report;
mod repository;
mod requests;
mod transfer;
mod waiters;

/// Ends of work that wait for the actor; the tasks that report wait when it is busy.
const EVENTS: usize = 1024;
/// Wait before a folder that could not be opened, or a workspace that is gone, is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How often a quiet sync asks the remote whether it still holds what was brought there: nobody tells when
/// somebody edits a file there, and a comparison by stamps costs little.
const COMPARE_EVERY: Duration = Duration::from_mins(5);
/// Longest wait for the lease to be given back at the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The end of some work.
#[derive(Debug)]
enum Event {
    Opened(Result<Opened, SyncError>),
    Looked(Box<Look>),
    Steps { transfer: u64, steps: Vec<(usize, Done)> },
    Ended { transfer: u64, result: Result<(), SyncError> },
    Cookie { flush: u64, result: Result<()> },
    Flushed { generation: u64, result: Result<Flushed, SyncError> },
    TrashEmptied(Result<(), SyncError>),
    Home { copy: String, changes: Vec<BaseChange> },
    Brought(Box<Result<Brought>>),
    Resolved { resolved: Vec<Resolved>, error: Option<Error>, answer: oneshot::Sender<Result<SyncResolveOutput>> },
}

/// How the link to the target stands.
#[derive(Debug)]
enum Link {
    /// Not open; not tried before then.
    Closed {
        not_before: Option<Instant>,
    },
    Opening,
    Open,
}

/// Why nothing is sent until a person says so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Halt {
    Brake(Brake),
    Large { plan: String, large: Large },
    Trash { held: u64 },
}

impl Halt {
    fn large(large: Large) -> Self {
        Self::Large { plan: format!("large-{}-{}", large.files, large.bytes), large }
    }
}

/// What one pair's task owns.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
#[derive(Debug)]
pub(super) struct Actor {
    config: Config,
    store: Store,
    source: Arc<dyn Source>,
    target: Arc<dyn SyncTarget>,
    publisher: watch::Sender<Snapshot>,
    arrivals: broadcast::Sender<Arrival>,
    events: mpsc::Sender<Event>,
    received: mpsc::Receiver<Event>,
    work: CancellationToken,

    /// Files that only grow.
    logs: Logs,
    base: Arc<BTreeMap<RelPath, Base>>,
    overlay: Overlay,
    conflicts: BTreeMap<RelPath, Conflict>,
    since: BTreeMap<RelPath, i64>,
    drift: BTreeSet<RelPath>,
    /// What was sent without an answer, by path.
    doubts: BTreeMap<RelPath, Vec<Hash>>,
    /// What was to be moved and may have been.
    moved: Vec<moves::Moved>,
    /// Paths that the target refused to make of what it has; their bytes are sent.
    apart: BTreeSet<RelPath>,
    /// What the base holds, counted.
    index: Index,
    /// Which paths are one file here.
    links: Links,
    /// What a look says cannot be synced.
    unseen: Vec<(String, String)>,
    /// What the remote refuses, by path.
    refused: BTreeMap<RelPath, String>,
    trouble: Option<String>,
    uncommitted: Vec<BaseChange>,
    /// Changes of the base since it was laid out in one piece.
    scattered: usize,
    /// Whether the pair's own row is older than what is known.
    pair_unsaved: bool,
    /// When the database is tried again after it refused.
    commit_not_before: Option<Instant>,
    /// Earlier changes on their way into the database; one transaction at a time keeps their order.
    committing: Option<JoinHandle<Committed>>,

    link: Link,
    opened: Option<Opened>,
    ask: Ask,
    was_lost: bool,
    /// Whether another machine took the remote folder; it is not taken back unasked.
    leased: bool,
    compare_at: Option<Instant>,
    pending: Pending,
    looking: bool,
    /// What was recorded from outside of the look under way, which knows nothing of it.
    recorded: BTreeSet<RelPath>,
    /// A scan that began while the link was being opened, and when; dropped as soon as something changes.
    ahead: Option<(look::Ahead, Instant)>,
    look_not_before: Option<Instant>,
    /// Logs of which only the end was read, and when all of them is.
    audits: BTreeMap<RelPath, Instant>,
    transfers: BTreeMap<u64, Transfer>,
    resolving: usize,
    /// The `.git` folder.
    repository: repository::Repository,
    /// Whether the workspace is followed, and not only brought up to date once.
    watches: bool,
    /// Whether the remote was compared since its patterns last brought something home.
    home_due: bool,
    bringing: bool,
    /// What they could not bring home.
    home_problems: Vec<SyncProblem>,
    ids: u64,
    halt: Option<Halt>,
    approved: Option<String>,
    error: Option<Error>,
    first: bool,

    waiters: Vec<Waiter>,
    flushing: bool,
    flushed: u64,
    flush_not_before: Option<Instant>,
    tally: report::Tally,
}

impl Actor {
    pub(super) fn new(
        config: Config,
        store: Store,
        source: Arc<dyn Source>,
        target: Arc<dyn SyncTarget>,
        publisher: watch::Sender<Snapshot>,
        arrivals: broadcast::Sender<Arrival>,
    ) -> Self {
        let (events, received) = mpsc::channel(EVENTS);
        let logs = Logs::new(&config.pair.append);
        Self {
            config,
            store,
            source,
            target,
            publisher,
            arrivals,
            events,
            received,
            work: CancellationToken::new(),
            logs,
            base: Arc::default(),
            overlay: Overlay::new(),
            conflicts: BTreeMap::new(),
            since: BTreeMap::new(),
            drift: BTreeSet::new(),
            doubts: BTreeMap::new(),
            moved: Vec::new(),
            apart: BTreeSet::new(),
            index: Index::default(),
            links: Links::default(),
            unseen: Vec::new(),
            refused: BTreeMap::new(),
            trouble: None,
            uncommitted: Vec::new(),
            scattered: 0,
            pair_unsaved: false,
            commit_not_before: None,
            committing: None,
            link: Link::Closed { not_before: None },
            opened: None,
            ask: Ask::All,
            was_lost: false,
            leased: false,
            compare_at: None,
            pending: Pending::default(),
            looking: false,
            recorded: BTreeSet::new(),
            ahead: None,
            look_not_before: None,
            audits: BTreeMap::new(),
            transfers: BTreeMap::new(),
            resolving: 0,
            repository: repository::Repository::default(),
            watches: false,
            home_due: false,
            bringing: false,
            home_problems: Vec::new(),
            ids: 0,
            halt: None,
            approved: None,
            error: None,
            first: true,
            waiters: Vec::new(),
            flushing: false,
            flushed: 0,
            flush_not_before: None,
            tally: report::Tally::default(),
        }
    }

    /// Runs until `cancel`, or until nobody holds a handle.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        watching: Option<Watching>,
        cancel: CancellationToken,
    ) {
        self.watches = watching.is_some();
        let (mut notices, cookie) = match watching {
            Some(watching) => (Some(watching.notices), Some(watching.cookie)),
            None => (None, None),
        };
        // Connecting, reading the base and looking at the workspace take their time side by side.
        self.open();
        match self.store.base(self.config.pair.id).await {
            Ok(base) => {
                self.base = Arc::new(base.into_iter().collect());
                self.index = Index::of(&self.base, false);
            }
            Err(error) => {
                self.work.cancel();
                self.error = Some(error.into());
                self.publish();
                return;
            }
        }
        self.pending.touch_everything();
        if !self.config.pair.paused {
            self.ahead = Some((look::ahead(&self.source, &self.base), Instant::now()));
        }
        loop {
            self.advance();
            let next = self.next();
            tokio::select! {
                () = cancel.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command, cookie.as_ref()),
                    None => break,
                },
                notice = receive(&mut notices) => self.notice(notice),
                Some(event) = self.received.recv() => {
                    self.event(event, &mut notices).await;
                    while let Ok(event) = self.received.try_recv() {
                        self.event(event, &mut notices).await;
                    }
                }
                result = ended(&mut self.committing) => self.committed(result),
                () = sleep_until(next) => {}
            }
        }
        self.end().await;
        drop(commands);
    }

    async fn end(&mut self) {
        self.work.cancel();
        self.commit_rest().await;
        if matches!(self.link, Link::Open) {
            match tokio::time::timeout(CLOSE_WITHIN, self.target.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "the lease was not given back"),
                Err(_) => tracing::info!("the lease was not given back in time"),
            }
        }
    }

    fn command(&mut self, command: Command, cookie: Option<&Cookie>) {
        match command {
            Command::Flush { durable, answer } => self.flush(durable, answer, cookie),
            Command::Resolve { which, take, answer } => self.resolve(&which, take, answer),
            // Whoever has an answer may look at once, so what it changed is published before.
            Command::Approve { plan, answer } => {
                let approved = self.approve(plan);
                self.publish();
                reply(answer, approved);
            }
            Command::Again { take_over, answer } => {
                self.again(take_over);
                self.publish();
                reply(answer, Ok(()));
            }
            Command::Compare { answer } => {
                let begun = self.compare();
                self.publish();
                reply(answer, Ok(begun));
            }
            Command::Pause { paused, answer } => {
                self.config.pair.paused = paused;
                self.publish();
                let (store, pair) = (self.store.clone(), self.config.pair.clone());
                tokio::spawn(async move {
                    reply(answer, store.pause_pair(pair.id, pair.paused).await.map_err(Error::from));
                });
            }
            Command::Touch { paths } => self.touch(paths, Some(Instant::now())),
            Command::Sides { answer } => reply(answer, self.sides()),
            Command::Home { copy, changes, answer } => {
                self.home(&copy, changes);
                self.publish();
                reply(answer, Ok(()));
            }
        }
    }

    /// Has both sides compared as a whole, if that can be done now.
    fn compare(&mut self) -> bool {
        let can = matches!(self.link, Link::Open) && self.halt.is_none() && !self.config.pair.paused;
        if can {
            self.ask = Ask::All;
            self.pending.touch_everything();
        }
        can
    }

    fn touch(&mut self, paths: Vec<RelPath>, since: Option<Instant>) {
        self.ahead = None;
        for path in paths {
            let path = self.looked_at_as(path);
            self.pending.touch(path, since);
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Dirty { paths, since } => self.touch(paths, since.map(Instant::from_std)),
            Notice::Everything | Notice::RootGone => {
                self.ahead = None;
                self.pending.touch_everything();
            }
            Notice::Trouble(text) => self.trouble = Some(text).filter(|text| !text.is_empty()),
            Notice::Lost(error) if matches!(self.link, Link::Open) => self.failed(SyncError::Lost(error)),
            Notice::Lost(_) => {}
        }
    }

    async fn event(&mut self, event: Event, notices: &mut Option<mpsc::Receiver<Notice>>) {
        match event {
            Event::Opened(result) => self.opened(result).await,
            Event::Looked(look) => self.looked(*look),
            Event::Steps { transfer, steps } => {
                for (index, done) in steps {
                    self.answered(transfer, index, done);
                }
            }
            Event::Ended { transfer, result } => self.ended(transfer, result),
            Event::Cookie { flush, result } => {
                // Everything that was noticed before the cookie is in the queue by now.
                while let Some(notice) = notices.as_mut().and_then(|notices| notices.try_recv().ok()) {
                    self.notice(notice);
                }
                let generation = self.pending.generation();
                let Some(at) = self.waiters.iter().position(|waiter| waiter.id == flush) else { return };
                match result {
                    Ok(()) => self.waiters[at].after = Some(generation),
                    Err(error) => reply(self.waiters.swap_remove(at).answer, Err(error)),
                }
            }
            Event::Flushed { generation, result } => self.flushed(generation, result),
            Event::TrashEmptied(Ok(())) => {
                self.halt = None;
                self.pending.touch_everything();
            }
            Event::TrashEmptied(Err(error)) => self.failed(error),
            Event::Home { copy, changes } => self.home(&copy, changes),
            Event::Brought(brought) => self.brought(*brought),
            Event::Resolved { resolved, error, answer } => self.resolved(resolved, error, answer),
        }
    }

    /// Starts everything that can be started now, answers who waits, and publishes how it stands.
    fn advance(&mut self) {
        self.commit();
        let now = Instant::now();
        for (path, _) in self.audits.extract_if(.., |_, then| *then <= now) {
            self.pending.touch(path, None);
        }
        let idle = self.transfers.is_empty()
            && !self.looking
            && !self.repository.looking
            && self.resolving == 0
            && !self.flushing
            && self.committing.is_none();
        match self.link {
            // What was under way ends first, so that nothing old is taken for an answer of the new link.
            Link::Closed { .. } if self.leased => {}
            Link::Closed { not_before } if idle && not_before.is_none_or(|then| then <= now) => self.open(),
            Link::Closed { .. } | Link::Opening => {}
            Link::Open => {
                if idle && self.pending.is_empty() {
                    self.pack();
                }
                if idle && self.pending.is_empty() && self.compare_at.is_some_and(|then| then <= now) {
                    self.compare_at = Some(now + COMPARE_EVERY);
                    self.compare();
                }
                if self.may_look(now) {
                    self.start_look_at_unit(now);
                    self.start_look(now);
                }
                self.start_home();
                self.start_flush(now);
            }
        }
        if self.transfers.is_empty() && self.pending.is_empty() {
            self.apart.clear();
            self.tally.settled();
        }
        let arrived = self.arrived_waiters();
        // Whoever has an answer may look at once, so how it stands is published before.
        self.publish();
        for waiter in arrived {
            reply(waiter.answer, Ok(()));
        }
    }

    fn next(&self) -> Option<Instant> {
        let link = match self.link {
            Link::Closed { .. } if self.leased => None,
            Link::Closed { not_before } => not_before,
            Link::Opening | Link::Open => None,
        };
        let flush = self.flush_not_before.filter(|_| self.tally.undurable() && !self.flushing);
        let now = Instant::now();
        let quiet = matches!(self.link, Link::Open) && self.halt.is_none() && !self.config.pair.paused;
        let compare = self.compare_at.filter(|_| quiet);
        let times = [
            link,
            flush,
            compare,
            self.commit_not_before,
            self.audits.values().min().copied(),
            self.look_not_before.filter(|_| !self.pending.is_empty()),
            self.pending.next(),
        ];
        times.into_iter().flatten().filter(|then| *then > now).min()
    }

    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) {
        let (events, cancel) = (self.events.clone(), self.work.clone());
        tokio::spawn(async move {
            if let Some(event) = cancel.run_until_cancelled(work).await {
                // Without an actor nobody wants to know.
                events.send(event).await.ok();
            }
        });
    }
}

pub(super) fn reply<T>(answer: oneshot::Sender<Result<T>>, result: Result<T>) {
    if answer.send(result).is_err() {
        tracing::debug!("nobody waited for the answer");
    }
}

/// A workspace that cannot be looked at, as the error that a person sees.
pub(super) fn workspace_gone(workspace: &Path, source: &io::Error) -> Error {
    Error {
        code: Code::WorkspaceMissing,
        message: format!("cannot read the workspace `{}`", workspace.display()),
        help: "Bring the folder back, or run `mltoolbox-sidecar sync stop`.".to_owned(),
        causes: vec![source.to_string()],
    }
}

async fn receive(notices: &mut Option<mpsc::Receiver<Notice>>) -> Notice {
    if let Some(receiver) = notices {
        if let Some(notice) = receiver.recv().await {
            return notice;
        }
        *notices = None;
        return Notice::Trouble("the workspace is no longer watched; start the sync again".to_owned());
    }
    std::future::pending().await
}

async fn sleep_until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}
