//! Sessions over a scripted connector: attempts, losses, refusals, and the end.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use agent::serve::{Agent, Config};
use bytes::Bytes;
use protocol::agent::{Reply, Request};
use protocol::editor::OutputStream;
use protocol::path::RemotePath;
use tokio::time::Instant;

use super::*;
use crate::frontend::{Answer, Progress, Question, Terminal};
use crate::transport::{About, Process, Pty, TransportError, local};

/// Hears all, answers nothing.
#[derive(Debug, Default)]
struct Listener(Mutex<Vec<String>>);

#[async_trait]
impl Frontend for Listener {
    fn report(&self, _progress: Progress) {}

    fn tell(&self, line: String) {
        self.0.lock().expect("no test panics while it holds this").push(line);
    }

    async fn output(&self, _stream: OutputStream, _bytes: Bytes) {}

    async fn ask(&self, _question: &Question) -> Option<Answer> {
        None
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

/// A connection that can be cut.
#[derive(Debug, Default)]
struct Wire {
    about: About,
    cut: CancellationToken,
}

#[async_trait]
impl Transport for Wire {
    async fn exec(&self, _command: &str, _terminal: Option<&Pty>) -> Result<Process, TransportError> {
        Err(TransportError::Cancelled { host: "gpu1".to_owned() })
    }

    async fn upload(
        &self,
        _from: &Path,
        _to: &RemotePath,
        _mode: u32,
        _sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        Err(TransportError::Cancelled { host: "gpu1".to_owned() })
    }

    async fn remove(&self, _: &RemotePath) -> Result<(), TransportError> {
        Err(TransportError::Cancelled { host: "gpu1".to_owned() })
    }

    async fn subsystem(&self, _: &str) -> Result<Process, TransportError> {
        Err(TransportError::Cancelled { host: "gpu1".to_owned() })
    }
    async fn round_trip(&self) -> Result<Duration, TransportError> {
        Ok(Duration::ZERO)
    }

    fn about(&self) -> &About {
        &self.about
    }

    async fn closed(&self) {
        self.cut.cancelled().await;
    }

    async fn close(&self) {
        self.cut.cancel();
    }
}

/// Fails as often as the script says, then connects.
#[derive(Debug)]
struct Script {
    failures: Mutex<VecDeque<(Code, bool)>>,
    interactive: bool,
    attempts: Mutex<Vec<(Lane, Instant)>>,
    wires: Mutex<Vec<Arc<Wire>>>,
    agent: Arc<Agent>,
}

impl Script {
    fn new(failures: impl IntoIterator<Item = (Code, bool)>) -> Self {
        Self {
            failures: Mutex::new(failures.into_iter().collect()),
            interactive: false,
            attempts: Mutex::default(),
            wires: Mutex::default(),
            agent: Arc::new(Agent::new(Config { log: None })),
        }
    }

    fn attempts(&self) -> Vec<(Lane, Instant)> {
        self.attempts.lock().expect("no test panics while it holds this").clone()
    }

    /// Returns the seconds between attempts.
    fn pauses(&self) -> Vec<f64> {
        self.attempts().windows(2).map(|pair| (pair[1].1 - pair[0].1).as_secs_f64()).collect()
    }

    fn cut(&self) {
        let wires = self.wires.lock().expect("no test panics while it holds this");
        wires.iter().for_each(|wire| wire.cut.cancel());
    }
}

#[async_trait]
impl Connector for Script {
    async fn connect(
        &self,
        lane: Lane,
        _frontend: &dyn Frontend,
        _cancel: &CancellationToken,
    ) -> Result<Arc<dyn Transport>, Failed> {
        self.attempts.lock().expect("no test panics while it holds this").push((lane, Instant::now()));
        if let Some((code, transient)) = self.failures.lock().expect("no test panics while it holds this").pop_front() {
            let (message, help) = ("it failed".to_owned(), "Do something.".to_owned());
            return Err(Failed { error: Error { code, message, help, causes: Vec::new() }, transient });
        }
        let about = About { interactive: self.interactive, ..About::default() };
        let wire = Arc::new(Wire { about, ..Wire::default() });
        self.wires.lock().expect("no test panics while it holds this").push(Arc::clone(&wire));
        Ok(wire)
    }

    async fn agent(&self, _transport: &Arc<dyn Transport>, _frontend: &dyn Frontend) -> Result<Link> {
        let (reader, writer) = tokio::io::split(local::dial(&self.agent));
        Ok(Link::open(reader, writer).await?)
    }
}

const REFUSED: (Code, bool) = (Code::SshAuthRefused, false);
const AWAY: (Code, bool) = (Code::SshUnreachable, true);

fn start(script: Script) -> (Handle, Arc<Script>, Arc<Listener>) {
    let (script, listener) = (Arc::new(script), Arc::new(Listener::default()));
    let frontend: Arc<dyn Frontend> = Arc::clone(&listener) as _;
    (Handle::start(Arc::clone(&script) as _, &frontend), script, listener)
}

async fn until(handle: &Handle, wanted: fn(&State) -> bool) -> State {
    handle.state().wait_for(wanted).await.expect("the session says its end").clone()
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_is_tried_three_times() {
    let (handle, script, _) = start(Script::new([AWAY; 9]));
    let error = handle.transport().await.expect_err("nobody is there");
    assert_eq!((error.code, error.message.as_str()), (Code::SshUnreachable, "it failed after 3 tries"));
    let pauses: Vec<f64> = script.pauses().into_iter().map(f64::round).collect();
    assert_eq!(pauses, [1.0, 2.0]);
    assert!(matches!(until(&handle, |state| matches!(state, State::Closed { .. })).await, State::Closed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_tried_again() {
    let (handle, script, _) = start(Script::new([REFUSED; 3]));
    let error = handle.link(Lane::Priority).await.expect_err("we are refused");
    assert_eq!((error.code, error.message.as_str()), (Code::SshAuthRefused, "it failed"));
    assert_eq!(script.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_comes_back_and_says_so() {
    let (handle, script, listener) = start(Script::new([]));
    handle.transport().await.expect("a connection");
    script.failures.lock().expect("free").extend([AWAY; 8]);
    script.cut();
    until(&handle, |state| matches!(state, State::Waiting { .. })).await;
    until(&handle, |state| matches!(state, State::Ready)).await;
    let pauses = script.pauses();
    assert_eq!(pauses.len(), 9);
    assert!(pauses.iter().all(|pause| *pause < 5.1), "{pauses:?}");
    assert!(pauses.iter().rev().take(3).all(|pause| *pause > 4.9), "{pauses:?}");
    let told = listener.0.lock().expect("free").join("\n");
    assert!(told.contains("was lost") && told.contains("Connected again"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_that_is_refused_ends() {
    let (handle, script, _) = start(Script::new([]));
    handle.transport().await.expect("a connection");
    script.failures.lock().expect("free").push_back(REFUSED);
    script.cut();
    let state = until(&handle, |state| matches!(state, State::Closed { .. })).await;
    assert!(matches!(state, State::Closed { error } if error.code == Code::SshAuthRefused));
    assert_eq!(handle.transport().await.expect_err("it is over").code, Code::SshAuthRefused);
}

#[tokio::test]
async fn each_lane_has_its_link_and_bulk_its_connection() {
    let (handle, script, _) = start(Script::new([]));
    let (one, two, bulk) =
        tokio::join!(handle.link(Lane::Priority), handle.link(Lane::Priority), handle.link(Lane::Bulk));
    let (one, two, bulk) = (one.expect("a link"), two.expect("a link"), bulk.expect("a link"));
    assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &bulk));
    assert!(matches!(bulk.call(Request::Health).await, Ok(Reply::Health(health)) if health.links == 2));
    let lanes: Vec<Lane> = script.attempts().into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(lanes, [Lane::Priority, Lane::Bulk]);
}

#[tokio::test]
async fn a_person_is_not_asked_twice() {
    let (handle, script, _) = start(Script { interactive: true, ..Script::new([]) });
    handle.link(Lane::Bulk).await.expect("a link");
    assert_eq!(script.attempts().len(), 1);
}

#[tokio::test]
async fn a_dead_link_is_replaced_when_asked_for() {
    let (handle, script, _) = start(Script::new([]));
    let link = handle.link(Lane::Priority).await.expect("a link");
    script.agent.stopping().cancel();
    link.closed().await;
    // The agent in this process stays stopped, so the new link ends too; but it is another one.
    let again = handle.link(Lane::Priority).await;
    assert!(again.map_or(true, |again| !Arc::ptr_eq(&link, &again)));
}

#[tokio::test]
async fn the_last_handle_ends_the_session() {
    let (handle, script, _) = start(Script::new([]));
    handle.transport().await.expect("a connection");
    let mut state = handle.state();
    drop(handle);
    assert!(state.wait_for(|state| matches!(state, State::Closed { .. })).await.is_ok());
    drop(script);
}

#[tokio::test]
async fn an_ended_command_is_not_asked() {
    let (handle, _script, listener) = start(Script::new([]));
    handle.transport().await.expect("a connection");
    let weak = Arc::downgrade(&listener);
    drop(listener);
    assert!(weak.upgrade().is_none(), "the session keeps no front end alive");
}
