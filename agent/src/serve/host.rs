//! What the links of one agent process share: facts, open roots, the wish to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::agent::Health;
use protocol::hello::Facts;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::roots::{LinkId, Roots};
use crate::facts;

/// How long a new link waits for one that is over: a queue of some megabytes is written in less.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

/// What an agent is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own log, for [`protocol::agent::Request::Log`]; `None` when it writes none.
    pub log: Option<PathBuf>,
}

/// One agent process, or the agent inside the sidecar.
#[derive(Debug)]
pub struct Agent {
    facts: Facts,
    started: Instant,
    log: Option<PathBuf>,
    pub(super) roots: Roots,
    newest: AtomicU64,
    links: watch::Sender<u32>,
    /// Links that are over and whose work is not.
    ending: watch::Sender<u32>,
    stop: CancellationToken,
}

/// A link that is over and whose work is not.
#[derive(Debug)]
pub(super) struct Ending(Arc<Agent>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.send_modify(|links| *links -= 1);
    }
}

/// A link's membership; dropping it is leaving.
#[derive(Debug)]
pub(super) struct Member {
    id: LinkId,
    agent: Arc<Agent>,
}

impl Agent {
    /// Looks at this machine and returns an agent without links.
    pub fn new(config: Config) -> Self {
        Self {
            facts: facts::gather(),
            started: Instant::now(),
            log: config.log,
            roots: Roots::default(),
            newest: AtomicU64::new(0),
            links: watch::Sender::new(0),
            ending: watch::Sender::new(0),
            stop: CancellationToken::new(),
        }
    }

    /// Returns what is known of this machine.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns where the log is.
    pub(super) fn log(&self) -> Option<PathBuf> {
        self.log.clone()
    }

    /// Returns the number of links, now and later.
    pub fn links(&self) -> watch::Receiver<u32> {
        self.links.subscribe()
    }

    /// Returns the token that is cancelled when the agent shall end.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Says how the agent is.
    pub fn health(&self) -> Health {
        Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: self.facts.hostname.clone(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            links: *self.links.borrow(),
            roots: self.roots.paths(),
        }
    }

    /// Notes that a link is over, until what it began is done and this is dropped.
    pub(super) fn ending(self: &Arc<Self>) -> Ending {
        self.ending.send_modify(|links| *links += 1);
        Ending(Arc::clone(self))
    }

    /// Waits until the links that are over have left everything as it will be, at most [`ENDED_WITHIN`].
    pub(super) async fn ended(&self) {
        let mut ending = self.ending.subscribe();
        // Past that time their disk is slow, and what they leave is not needed.
        tokio::time::timeout(ENDED_WITHIN, ending.wait_for(|links| *links == 0)).await.map(drop).ok();
    }

    pub(super) fn join(self: &Arc<Self>) -> Member {
        self.links.send_modify(|links| *links += 1);
        Member { id: self.newest.fetch_add(1, Ordering::Relaxed) + 1, agent: Arc::clone(self) }
    }
}

impl Member {
    pub(super) fn id(&self) -> LinkId {
        self.id
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let (id, agent) = (self.id, Arc::clone(&self.agent));
        let leave = move || {
            agent.roots.leave(id);
            agent.links.send_modify(|links| *links -= 1);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(leave)),
            Err(_) => leave(),
        }
    }
}
