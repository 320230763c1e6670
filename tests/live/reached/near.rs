//! An agent of this process behind a wire that counts, and that breaks after exactly so many bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::serve::{Agent, Config};
use async_trait::async_trait;
use harness::proxy::Way;
use protocol::error::Result;
use sidecar::frontend::Frontend;
use sidecar::session::link::Link;
use sidecar::session::{Connector, Failed, Lane};
use sidecar::transport::Transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Road;

/// Bytes on the way in each direction: those of a real pipe.
const ON_THE_WAY: usize = 64 * 1024;
/// A peer that says nothing for so long waits for an answer; nothing announces that.
const SAYS_NOTHING: Duration = Duration::from_millis(30);

/// How a link breaks, once.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Both ends of every link see the end right after that byte.
    Cut(Way, u64),
    /// The sidecar sees the end; what it had sent after that many bytes reaches the agent when it is let go.
    Late(u64, oneshot::Receiver<()>),
}

/// Reaches one agent of this process, whose links break as they are told.
#[derive(Debug)]
pub(crate) struct Near {
    agent: Arc<Agent>,
    next: Mutex<Option<Broken>>,
    all: Mutex<CancellationToken>,
    passed: [AtomicU64; 2],
    broke: watch::Sender<u64>,
    served: Arc<Notify>,
}

impl Near {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            agent: Arc::new(Agent::new(Config { log: None })),
            next: Mutex::default(),
            all: Mutex::default(),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            broke: watch::Sender::new(0),
            served: Arc::default(),
        })
    }

    /// Counts from here on, and lets a link break once so many bytes went its way, over all links.
    pub(crate) fn break_after(&self, broken: Broken) {
        self.passed();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(broken);
    }

    /// Returns what changes whenever a link broke.
    pub(crate) fn broke(&self) -> watch::Receiver<u64> {
        self.broke.subscribe()
    }

    /// Lets nothing break any more.
    pub(crate) fn mend(&self) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until the agent has done with a link whose last bytes came late.
    pub(crate) async fn served(&self) {
        self.served.notified().await;
    }

    /// Returns the bytes that went up and down since this was asked last.
    pub(crate) fn passed(&self) -> [u64; 2] {
        [&self.passed[0], &self.passed[1]].map(|count| count.swap(0, Ordering::SeqCst))
    }

    /// Opens a link of bytes alone, for those who want to say something strange.
    pub(crate) fn raw(&self) -> (DuplexStream, tokio::task::JoinHandle<bool>) {
        let (ours, theirs) = tokio::io::duplex(ON_THE_WAY);
        let agent = Arc::clone(&self.agent);
        (ours, tokio::spawn(async move { agent::serve::serve(theirs, agent).await.is_ok() }))
    }

    /// Counts up to `count` bytes that go one way; fewer when something is to break after them.
    fn allow(&self, way: usize, count: usize) -> (usize, Option<Broken>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = match &*next {
            Some(Broken::Cut(Way::Up, at) | Broken::Late(at, _)) if way == 0 => *at,
            Some(Broken::Cut(Way::Down, at)) if way == 1 => *at,
            Some(Broken::Cut(..) | Broken::Late(..)) | None => u64::MAX,
        };
        let passed = self.passed[way].load(Ordering::SeqCst);
        let allowed = usize::try_from(limit.saturating_sub(passed)).map_or(count, |left| left.min(count));
        self.passed[way].fetch_add(allowed as u64, Ordering::SeqCst);
        (allowed, if allowed < count { next.take() } else { None })
    }

    /// Passes bytes on until either end closes, or the link breaks.
    async fn pass(self: Arc<Self>, mut near: DuplexStream, mut far: DuplexStream, served: Served) {
        let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut rest = Vec::new();
        let broken = loop {
            let (way, read) = tokio::select! {
                read = near.read(&mut up) => (0, read),
                read = far.read(&mut down) => (1, read),
                () = all.cancelled() => return,
            };
            let Ok(count @ 1..) = read else { return };
            let (bytes, to) = if way == 0 { (&up[..count], &mut far) } else { (&down[..count], &mut near) };
            let (allowed, broken) = self.allow(way, count);
            if to.write_all(&bytes[..allowed]).await.is_err() {
                return;
            }
            if let Some(broken) = broken {
                rest.extend_from_slice(&bytes[allowed..]);
                break broken;
            }
        };
        if let Broken::Late(_, let_go) = broken {
            while let Ok(Ok(count @ 1..)) = tokio::time::timeout(SAYS_NOTHING, near.read(&mut up)).await {
                rest.extend_from_slice(&up[..count]);
            }
            drop(near);
            self.broke.send_modify(|count| *count += 1);
            let_go.await.ok();
            far.write_all(&rest).await.ok();
            far.shutdown().await.ok();
            // Its replies are read, or it would wait for somebody to do so.
            while let Ok(1..) = far.read(&mut down).await {}
            served.await.ok();
            self.served.notify_one();
        } else {
            drop((near, far));
            // Its neighbours are on the same road.
            std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
            self.broke.send_modify(|count| *count += 1);
        }
    }
}

/// Resolves once the agent has left a link.
type Served = tokio::task::JoinHandle<()>;

/// The connector that hands out the links of a [`Near`].
#[derive(Clone, Debug)]
pub(crate) struct ToNear(pub(crate) Arc<Near>);

#[async_trait]
impl Connector for ToNear {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Road::default()))
    }

    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, near) = tokio::io::duplex(ON_THE_WAY);
        let (far, theirs) = tokio::io::duplex(ON_THE_WAY);
        let agent = Arc::clone(&self.0.agent);
        let served = tokio::spawn(async move {
            // A link that breaks is an error to the agent, and what the test is about.
            agent::serve::serve(theirs, agent).await.ok();
        });
        tokio::spawn(Arc::clone(&self.0).pass(near, far, served));
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}
