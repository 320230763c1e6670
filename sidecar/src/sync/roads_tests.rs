//! Long transfers to a machine that is far away: how many links they open, and that the order is kept between them.

use std::path::Path;

use agent::serve::Agent;
use async_trait::async_trait;
use protocol::path::RemotePath;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::agent_tests::{Wire, World, read, settled, write};
use super::*;
use crate::frontend::Frontend;
use crate::session::link::Link;
use crate::session::{Connector, Failed, Lane};
use crate::transport::{About, Process, Pty, Transport, TransportError};

/// Bytes of each file of a long transfer.
const FILE: usize = 512 * 1024;
/// Files of a long transfer; half as much again as may be on the way.
const FILES: usize = 48;
/// Bytes that go on the lanes' own links before more are there.
const AT_FIRST: usize = 1024 * 1024;

/// A connection whose round trips take a while.
#[derive(Debug, Default)]
struct Distant {
    wire: Wire,
    trip: Duration,
}

#[async_trait]
impl Transport for Distant {
    async fn exec(&self, command: &str, terminal: Option<&Pty>) -> Result<Process, TransportError> {
        self.wire.exec(command, terminal).await
    }
    async fn upload(
        &self,
        from: &Path,
        to: &RemotePath,
        mode: u32,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        self.wire.upload(from, to, mode, sent).await
    }
    async fn remove(&self, path: &RemotePath) -> Result<(), TransportError> {
        self.wire.remove(path).await
    }
    async fn subsystem(&self, name: &str) -> Result<Process, TransportError> {
        self.wire.subsystem(name).await
    }
    async fn round_trip(&self) -> Result<Duration, TransportError> {
        Ok(self.trip)
    }
    fn about(&self) -> &About {
        self.wire.about()
    }
    async fn closed(&self) {
        self.wire.closed().await;
    }
    async fn close(&self) {
        self.wire.close().await;
    }
}

/// Reaches an agent of this process, and counts the links to it. A link lets [`AT_FIRST`] bytes pass until there are
/// `wanted` links.
#[derive(Debug)]
struct Far {
    agent: Arc<Agent>,
    trip: Duration,
    wanted: usize,
    links: watch::Sender<usize>,
}

impl Far {
    fn new(world: &World, trip: Duration, wanted: usize) -> Arc<Self> {
        let (links, _) = watch::channel(0);
        Arc::new(Self { agent: world.agent(), trip, wanted, links })
    }
}

#[async_trait]
impl Connector for Far {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Distant { wire: Wire::default(), trip: self.trip }))
    }
    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, near) = tokio::io::duplex(64 * 1024);
        let (far, theirs) = tokio::io::duplex(64 * 1024);
        let agent = Arc::clone(&self.agent);
        tokio::spawn(async move { agent::serve::serve(theirs, agent).await });
        self.links.send_modify(|links| *links += 1);
        let (mut from, mut back) = tokio::io::split(near);
        let (mut answers, mut to) = tokio::io::split(far);
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
        let (mut links, wanted) = (self.links.subscribe(), self.wanted);
        tokio::spawn(async move {
            let (mut buffer, mut passed) = (vec![0; 64 * 1024], 0);
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                passed += length;
                if passed > AT_FIRST && links.wait_for(|links| *links >= wanted).await.is_err() {
                    return;
                }
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        });
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}

/// Bytes that cannot be packed, other ones for each `number`.
fn noise(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; FILE];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes a long tree, and returns what compares it with what is there.
fn long_tree(world: &World) -> impl Fn(&World) {
    let at = |number: usize| format!("d{}/e{}/f{number}.bin", number % 5, number % 3);
    for number in 0..FILES {
        let path = world.here(&at(number));
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder can be made");
        std::fs::write(path, noise(number)).expect("a file can be written");
    }
    move |world| {
        for number in 0..FILES {
            let there = std::fs::read(world.there(&at(number))).expect("it arrived");
            assert!(there == noise(number), "{}", at(number));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transfer_to_far_away_goes_on_more_links() {
    let world = World::new().await;
    let arrived = long_tree(&world);
    std::os::unix::fs::symlink("d0", world.here("link")).expect("a link can be made");
    let far = Far::new(&world, Duration::from_millis(100), 4);
    let handle = world.start_with("a", false, Arc::clone(&far) as _).await;
    settled(&handle).await;
    arrived(&world);
    assert_eq!(std::fs::read_link(world.there("link")).expect("it arrived"), Path::new("d0"));
    assert_eq!(*far.links.borrow(), 4);
    // What comes behind what was spread waits for it, and the links are closed with the transfer.
    write(&world.here("later"), "text");
    std::fs::remove_dir_all(world.here("d0")).expect("a folder can be removed");
    assert!(handle.compare().await.expect("it runs"));
    settled(&handle).await;
    assert_eq!(read(&world.there("later")), "text");
    assert!(!world.there("d0").exists());
    assert_eq!(*far.links.borrow(), 4);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transfer_nearby_goes_on_one() {
    let world = World::new().await;
    let arrived = long_tree(&world);
    let near = Far::new(&world, Duration::from_millis(1), 0);
    let handle = world.start_with("a", false, Arc::clone(&near) as _).await;
    settled(&handle).await;
    arrived(&world);
    handle.stop().await;
    assert_eq!(*near.links.borrow(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_transfer_opens_no_link() {
    let world = World::new().await;
    write(&world.here("a/b"), "text");
    let far = Far::new(&world, Duration::from_millis(100), 0);
    let handle = world.start_with("a", false, Arc::clone(&far) as _).await;
    settled(&handle).await;
    assert_eq!(read(&world.there("a/b")), "text");
    handle.stop().await;
    assert_eq!(*far.links.borrow(), 2);
}
