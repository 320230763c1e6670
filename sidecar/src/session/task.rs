//! The task that owns a session: connect, serve, lose, connect again.

use std::sync::Arc;
use std::time::Duration;

use protocol::error::{Code, Error, Result};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::{Ask, Audience, Connector, Failed, Lane, SessionError, State, policy, wake};
use crate::frontend::Progress;
use crate::transport::Transport;

/// After a wake-up a healthy connection answers within this time; one that does not is given up.
const ANSWERS_AFTER_SLEEP: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Task {
    connector: Arc<dyn Connector>,
    audience: Audience,
    state: watch::Sender<State>,
    end: CancellationToken,
}

/// What an opened link comes with.
type Opening = (Lane, Result<(Link, Arc<dyn Transport>)>);

/// A connection and what hangs on it.
struct Live {
    transport: Arc<dyn Transport>,
    bulk: Option<Arc<dyn Transport>>,
    /// The second connection in the making, or the first where there is to be no second; at most one.
    connecting: JoinSet<Arc<dyn Transport>>,
    /// What it came to, until the bulk lane's link is opened on it.
    connected: Option<Arc<dyn Transport>>,
    priority: Slot,
    bulk_slot: Slot,
    /// At most one: both lanes need the same agent, and only one of them shall install it.
    opening: JoinSet<Opening>,
    /// Links beside those of the lanes in the making.
    others: JoinSet<()>,
}

/// One lane's link and those who wait for it.
#[derive(Default)]
struct Slot {
    link: Option<Arc<Link>>,
    waiting: Vec<oneshot::Sender<Result<Arc<Link>>>>,
}

impl Task {
    pub(super) fn new(
        connector: Arc<dyn Connector>,
        audience: Audience,
        state: watch::Sender<State>,
        end: CancellationToken,
    ) -> Self {
        Self { connector, audience, state, end }
    }

    /// Runs until the last handle is gone, or the machine refuses us.
    pub(super) async fn run(self, mut asks: mpsc::Receiver<Ask>) {
        let end = self.end.clone();
        let error = match end.run_until_cancelled(self.live(&mut asks)).await {
            Some(error) => error,
            None => SessionError::Closed.into(),
        };
        // First the state, then the questions: who finds its question unanswered looks at the state.
        self.state.send_replace(State::Closed { error: error.clone() });
        asks.close();
        refuse_all(&mut asks, &error);
    }

    /// Returns why it cannot go on.
    async fn live(&self, asks: &mut mpsc::Receiver<Ask>) -> Error {
        let mut transport = match self.first().await {
            Ok(transport) => transport,
            Err(error) => return error,
        };
        loop {
            self.state.send_replace(State::Ready);
            let began = tokio::time::Instant::now();
            Live::new(transport).serve(self, asks).await;
            // A machine that drops us at once is not asked again at once.
            let attempt = u32::from(began.elapsed() < policy::LONGEST_PAUSE);
            self.audience.now().tell("The connection was lost; connecting again.".to_owned());
            transport = match self.again(asks, attempt).await {
                Ok(transport) => transport,
                Err(error) => return error,
            };
            self.audience.now().tell("Connected again.".to_owned());
        }
    }

    /// The first connection: a few tries, and none after a refusal.
    async fn first(&self) -> Result<Arc<dyn Transport>> {
        let mut tries = 0;
        loop {
            let Failed { error, transient } = match self.attempt().await {
                Ok(transport) => return Ok(transport),
                Err(failed) => failed,
            };
            tries += 1;
            if !transient || tries == policy::TRIES {
                return Err(if tries > 1 { after_tries(error, tries) } else { error });
            }
            let pause = policy::pause_after(tries - 1);
            let title = format!("{error}; trying again in {} s", pause.as_secs());
            self.audience.now().report(Progress { title, ..Progress::default() });
            self.pause(error, pause).await;
        }
    }

    /// A lost connection: for ever, and at once after a wake-up; a refusal ends it.
    async fn again(&self, asks: &mut mpsc::Receiver<Ask>, mut attempt: u32) -> Result<Arc<dyn Transport>> {
        if attempt > 0 {
            self.pause(SessionError::Lost.into(), policy::reconnect_pause(attempt - 1)).await;
        }
        loop {
            let Failed { error, transient } = match self.attempt().await {
                Ok(transport) => return Ok(transport),
                Err(failed) => failed,
            };
            // A server that is being restarted may say nonsense; a refusal is a refusal.
            if !transient && error.code != Code::SshProtocol {
                return Err(error);
            }
            refuse_all(asks, &error);
            self.pause(error, policy::reconnect_pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self) -> Result<Arc<dyn Transport>, Failed> {
        self.state.send_replace(State::Connecting);
        let frontend = self.audience.now();
        self.connector.connect(Lane::Priority, &*frontend, &self.end).await
    }

    async fn pause(&self, error: Error, pause: Duration) {
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.state.send_replace(State::Waiting { error, retry_ms });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wake::woke() => {}
        }
    }
}

impl Live {
    fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            bulk: None,
            connecting: JoinSet::new(),
            connected: None,
            priority: Slot::default(),
            bulk_slot: Slot::default(),
            opening: JoinSet::new(),
            others: JoinSet::new(),
        }
    }

    /// Answers questions until the connection is lost.
    async fn serve(mut self, task: &Task, asks: &mut mpsc::Receiver<Ask>) {
        let transport = Arc::clone(&self.transport);
        let closed = transport.closed();
        let woke = wake::woke();
        tokio::pin!(closed, woke);
        loop {
            tokio::select! {
                biased;
                () = &mut closed => break,
                () = &mut woke => {
                    woke.set(wake::woke());
                    let answer = tokio::time::timeout(ANSWERS_AFTER_SLEEP, transport.round_trip()).await;
                    if !matches!(answer, Ok(Ok(_))) {
                        tracing::info!("the connection did not survive a sleep");
                        break;
                    }
                }
                Some(opened) = self.opening.join_next() => self.opened(task, opened),
                Some(_) = self.others.join_next() => {}
                Some(connected) = self.connecting.join_next() => {
                    // One that panicked is as one that failed.
                    self.connected = Some(connected.unwrap_or_else(|_| Arc::clone(&transport)));
                    self.open_next(task);
                }
                ask = asks.recv() => match ask {
                    // The task is cancelled when the last handle goes; this is the same a moment earlier.
                    None => std::future::pending().await,
                    Some(Ask::Transport(answer)) => reply(answer, Ok(Arc::clone(&transport))),
                    Some(Ask::Link(lane, answer)) => self.link(task, lane, answer),
                    Some(Ask::Another(lane, answer)) => self.another(task, lane, answer),
                },
            }
        }
        self.opening.shutdown().await;
        self.others.shutdown().await;
        self.connecting.shutdown().await;
        for slot in [&mut self.priority, &mut self.bulk_slot] {
            slot.refuse(&SessionError::Lost.into());
        }
        transport.close().await;
        for second in self.bulk.into_iter().chain(self.connected) {
            second.close().await;
        }
    }

    fn slot(&mut self, lane: Lane) -> &mut Slot {
        match lane {
            Lane::Priority => &mut self.priority,
            Lane::Bulk => &mut self.bulk_slot,
        }
    }

    fn link(&mut self, task: &Task, lane: Lane, answer: oneshot::Sender<Result<Arc<Link>>>) {
        let slot = self.slot(lane);
        if let Some(link) = slot.link.as_ref().filter(|link| !link.is_closed()) {
            reply(answer, Ok(Arc::clone(link)));
        } else {
            slot.link = None;
            slot.waiting.push(answer);
            self.open_next(task);
        }
    }

    /// Opens a link beside the one of a lane. Since that one is there, so is the agent: nothing is installed by two.
    fn another(&mut self, task: &Task, lane: Lane, answer: oneshot::Sender<Result<Link>>) {
        let bulk = if lane == Lane::Bulk { self.bulk.clone() } else { None };
        let transport = bulk.unwrap_or_else(|| Arc::clone(&self.transport));
        let (connector, frontend) = (Arc::clone(&task.connector), task.audience.now());
        self.others.spawn(async move { reply(answer, connector.agent(&transport, &*frontend).await) });
    }

    /// Starts to open the link that somebody waits for, unless one is being opened. The second connection is
    /// made meanwhile.
    fn open_next(&mut self, task: &Task) {
        let bulk = if self.bulk_slot.waiting.is_empty() { None } else { self.bulk.clone().or(self.connected.clone()) };
        if bulk.is_none() && !self.bulk_slot.waiting.is_empty() {
            self.connect_second(task);
        }
        if !self.opening.is_empty() {
            return;
        }
        let (lane, transport) = match bulk {
            _ if !self.priority.waiting.is_empty() => (Lane::Priority, Arc::clone(&self.transport)),
            Some(bulk) => (Lane::Bulk, bulk),
            None => return,
        };
        if lane == Lane::Bulk {
            self.connected = None;
        }
        let (connector, frontend) = (Arc::clone(&task.connector), task.audience.now());
        self.opening.spawn(async move {
            let link = connector.agent(&transport, &*frontend).await;
            (lane, link.map(|link| (link, transport)))
        });
    }

    fn connect_second(&mut self, task: &Task) {
        if !self.connecting.is_empty() {
            return;
        }
        let (connector, frontend, end) = (Arc::clone(&task.connector), task.audience.now(), task.end.clone());
        let first = Arc::clone(&self.transport);
        self.connecting.spawn(async move {
            // A person would have to answer again; two links on one connection are the smaller evil.
            if first.about().interactive {
                return first;
            }
            match connector.connect(Lane::Bulk, &*frontend, &end).await {
                Ok(second) => second,
                Err(failed) => {
                    tracing::info!(error = %failed.error, "no second connection; one carries all");
                    first
                }
            }
        });
    }

    fn opened(&mut self, task: &Task, opened: Result<Opening, tokio::task::JoinError>) {
        match opened {
            Ok((lane, Ok((link, transport)))) => {
                if lane == Lane::Bulk && !Arc::ptr_eq(&transport, &self.transport) {
                    self.bulk = Some(transport);
                }
                self.slot(lane).give(Arc::new(link));
            }
            Ok((lane, Err(error))) => {
                // A second connection that died with its link is made anew when the next one is wanted.
                if lane == Lane::Bulk {
                    self.bulk = None;
                }
                self.slot(lane).refuse(&error);
            }
            Err(failed) => {
                tracing::error!(%failed, "opening a link failed");
                self.priority.refuse(&SessionError::Lost.into());
                self.bulk_slot.refuse(&SessionError::Lost.into());
            }
        }
        self.open_next(task);
    }
}

impl Slot {
    fn give(&mut self, link: Arc<Link>) {
        self.waiting.drain(..).for_each(|answer| reply(answer, Ok(Arc::clone(&link))));
        self.link = Some(link);
    }

    fn refuse(&mut self, error: &Error) {
        self.waiting.drain(..).for_each(|answer| reply(answer, Err(error.clone())));
    }
}

fn refuse_all(asks: &mut mpsc::Receiver<Ask>, error: &Error) {
    while let Ok(ask) = asks.try_recv() {
        match ask {
            Ask::Transport(answer) => reply(answer, Err(error.clone())),
            Ask::Link(_, answer) => reply(answer, Err(error.clone())),
            Ask::Another(_, answer) => reply(answer, Err(error.clone())),
        }
    }
}

/// Who no longer waits needs no answer.
fn reply<T>(answer: oneshot::Sender<Result<T>>, value: Result<T>) {
    if answer.send(value).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

fn after_tries(error: Error, tries: u32) -> Error {
    Error { message: format!("{} after {tries} tries", error.message), ..error }
}
