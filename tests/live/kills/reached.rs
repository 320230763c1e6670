//! A sync of the sidecar's library in this process with a real agent in a process of its own, reached over the
//! pipes of `mlt proxy` instead of SSH: all that is killed is real, and nothing waits for a log-in.

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
use sidecar::sync::via_agent::ViaAgent;
use sidecar::sync::{self, Config, Handle};
use sidecar::transport::{About, Process, Pty, Transport, TransportError};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

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
pub(super) struct ByProxy {
    home: Arc<Work>,
    reached: AtomicU64,
}

impl ByProxy {
    pub(super) fn new(home: &Arc<Work>) -> Arc<Self> {
        Arc::new(Self { home: Arc::clone(home), reached: AtomicU64::new(0) })
    }

    /// Returns how many links to an agent were opened so far.
    pub(super) fn reached(&self) -> u64 {
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
pub(super) async fn start(here: &Work, connector: &Arc<ByProxy>, watch: bool) -> Handle {
    let store = Store::open(&here.path().join("state.db")).await.expect("a database in our own folder");
    let row = RemoteRow { name: "box".to_owned(), ..RemoteRow::default() };
    store.put_remote(&row).await.expect("a remote can be added");
    let remote = connector.home.home().join("copy").display().to_string();
    let pair = store.pair(&here.workspace(), "box", &remote).await.expect("the pair is stored");
    let options = Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false };
    let rules = Arc::new(Rules::load(&pair.workspace, &options));
    let frontend: Arc<dyn Frontend> = Arc::new(Nobody);
    let own: Arc<dyn Connector> = Arc::<ByProxy>::clone(connector);
    let session = session::Handle::start(own, &frontend);
    let watching = if watch {
        let cookies = here.path().join("cookies");
        let watching = sync::watched(&pair.workspace, Arc::clone(&rules), &cookies, session.state()).await;
        Some(watching.expect("it can be watched"))
    } else {
        None
    };
    let source = Arc::new(Disk::new(pair.workspace.clone(), rules, CancellationToken::new()));
    let holder = Holder { id: "me".to_owned(), label: "me".to_owned() };
    let config = Config { pair, holder, take_over: false, keep: here.path().join("kept") };
    sync::start(config, store, source, Arc::new(ViaAgent::new(session)), watching)
}

/// Returns the process id of the agent of a home, from the lock that makes it the one.
pub(super) fn agent_of(home: &Path) -> Option<i32> {
    let entries = fs::read_dir(home.join(".mltoolbox/run")).ok()?;
    let lock = entries.flatten().find(|entry| entry.path().extension().is_some_and(|suffix| suffix == "lock"))?;
    let words: serde_json::Value = serde_json::from_str(&fs::read_to_string(lock.path()).ok()?).ok()?;
    words["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}
