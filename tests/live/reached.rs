//! A sync of the sidecar's library in this process, and the ways to an agent that need no log-in: a real one in a
//! process of its own behind `mlt proxy`, or one in this process behind a wire that breaks after an exact byte.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use harness::binary;
use harness::work::Work;
use protocol::agent::Holder;
use protocol::editor::{OutputStream, RemoteRow};
use protocol::error::Result;
use protocol::path::RemotePath;
use sidecar::frontend::{Answer, Frontend, Progress, Question, Terminal};
use sidecar::session::link::Link;
use sidecar::session::{self, Connector, Failed, Lane};
use sidecar::store::Store;
use sidecar::sync::disk::Disk;
use sidecar::sync::ignored::{Options, Rules};
use sidecar::sync::logs::Logs;
use sidecar::sync::via_agent::ViaAgent;
use sidecar::sync::{self, Config, Handle, Snapshot};
use sidecar::transport::{About, Process, Pty, Transport, TransportError};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::story::ARRIVES;

mod near;

pub(crate) use near::{Broken, Near, ToNear};

/// Nobody who could be asked.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Frontend for Nobody {
    fn report(&self, _: Progress) {}
    fn tell(&self, _: String) {}
    async fn output(&self, _: OutputStream, _: Bytes) {}
    async fn ask(&self, _: &Question) -> Option<Answer> {
        None
    }
    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

/// A way that is never lost by itself: only the agent at its end is.
#[derive(Debug, Default)]
struct Road {
    about: About,
    closed: CancellationToken,
}

fn unused() -> TransportError {
    TransportError::Cancelled { host: "box".to_owned() }
}

#[async_trait]
impl Transport for Road {
    async fn exec(&self, _: &str, _: Option<&Pty>) -> Result<Process, TransportError> {
        Err(unused())
    }
    async fn upload(
        &self,
        _: &Path,
        _: &RemotePath,
        _: u32,
        _: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        Err(unused())
    }
    async fn remove(&self, _: &RemotePath) -> Result<(), TransportError> {
        Err(unused())
    }
    async fn subsystem(&self, _: &str) -> Result<Process, TransportError> {
        Err(unused())
    }
    async fn round_trip(&self) -> Result<Duration, TransportError> {
        Ok(Duration::ZERO)
    }
    fn about(&self) -> &About {
        &self.about
    }
    async fn closed(&self) {
        self.closed.cancelled().await;
    }
    async fn close(&self) {
        self.closed.cancel();
    }
}

/// Reaches the agent of a home through `mlt proxy`, which starts one when there is none.
#[derive(Debug)]
pub(crate) struct ByProxy {
    home: Arc<Work>,
    reached: AtomicU64,
}

impl ByProxy {
    pub(crate) fn new(home: &Arc<Work>) -> Arc<Self> {
        Arc::new(Self { home: Arc::clone(home), reached: AtomicU64::new(0) })
    }

    /// Returns how many links to an agent were opened so far.
    pub(crate) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Connector for ByProxy {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Road::default()))
    }

    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let mut command = Command::from(self.home.command(binary::mlt()));
        command.arg("proxy").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut proxy = command.spawn().expect("the program starts");
        let (stdin, stdout) = (proxy.stdin.take().expect("a pipe"), proxy.stdout.take().expect("a pipe"));
        // It ends with its pipes, and has to be waited for.
        tokio::spawn(async move { proxy.wait().await });
        let link = Link::open(stdout, stdin).await?;
        self.reached.fetch_add(1, Ordering::Relaxed);
        Ok(link)
    }
}

/// Starts the sync of the workspace of `here` with `copy` in the home that the connector reaches.
pub(crate) async fn start(here: &Work, connector: &Arc<ByProxy>, watch: bool) -> Handle {
    let copy = connector.home.home().join("copy");
    let own: Arc<dyn Connector> = Arc::<ByProxy>::clone(connector);
    start_by(here, own, &copy, watch).await
}

/// Starts the sync of the workspace of `here` with the folder `copy` of whatever machine the connector reaches.
pub(crate) async fn start_by(here: &Work, connector: Arc<dyn Connector>, copy: &Path, watch: bool) -> Handle {
    let store = Store::open(&here.path().join("state.db")).await.expect("a database in our own folder");
    let row = RemoteRow { name: "box".to_owned(), ..RemoteRow::default() };
    store.put_remote(&row).await.expect("a remote can be added");
    let pair = store.pair(&here.workspace(), "box", &copy.display().to_string()).await.expect("the pair is stored");
    let options = Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false };
    let rules = Arc::new(Rules::load(&pair.workspace, &options));
    let frontend: Arc<dyn Frontend> = Arc::new(Nobody);
    let session = session::Handle::start(connector, &frontend);
    let watching = if watch {
        let cookies = here.path().join("cookies");
        let watching = sync::watched(&pair.workspace, Arc::clone(&rules), &cookies, None, session.state()).await;
        Some(watching.expect("it can be watched"))
    } else {
        None
    };
    let source = Arc::new(Disk::new(pair.workspace.clone(), rules, CancellationToken::new()));
    let holder = Holder { id: "me".to_owned(), label: "me".to_owned() };
    let config = Config { pair, holder, take_over: false, keep: here.path().join("kept") };
    let target = ViaAgent::new(session).remembering(store.clone(), Logs::new(&[]));
    sync::start(config, store, source, Arc::new(target), watching)
}

/// Waits until a sync has nothing left to do or cannot go on, and returns how it stands.
pub(crate) async fn settled(handle: &Handle) -> Snapshot {
    let settled = tokio::time::timeout(ARRIVES, handle.settled()).await;
    settled.unwrap_or_else(|_| panic!("it does not settle: {:#?}", handle.status())).expect("the sync runs")
}

/// Syncs once and returns how it ended; a brake is let go, as a person would.
pub(crate) async fn once(here: &Work, connector: Arc<dyn Connector>, copy: &Path) -> Snapshot {
    let handle = start_by(here, connector, copy, false).await;
    let mut snapshot = settled(&handle).await;
    if snapshot.status.brake.is_some() {
        handle.approve(None).await.expect("it waits for that");
        handle.flush(false, ARRIVES).await.expect("it arrives");
        snapshot = settled(&handle).await;
    }
    handle.stop().await;
    snapshot
}

/// Returns the process id of the agent of a home, from the lock that makes it the one.
pub(crate) fn agent_of(home: &Path) -> Option<i32> {
    let entries = fs::read_dir(home.join(".mltoolbox/run")).ok()?;
    let lock = entries.flatten().find(|entry| entry.path().extension().is_some_and(|suffix| suffix == "lock"))?;
    let words: serde_json::Value = serde_json::from_str(&fs::read_to_string(lock.path()).ok()?).ok()?;
    words["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}
