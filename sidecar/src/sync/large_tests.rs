//! Large files against a real agent, over a wire that counts and can be cut: only what is new travels, and what
//! arrived once does not travel again.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use agent::delta::cut_all;
use agent::serve::Agent;
use async_trait::async_trait;
use protocol::agent::Request;
use protocol::sync::{Action, Hash};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::agent_tests::{Wire, World, settled, write};
use super::hostile_tests::converse;
use super::*;
use crate::frontend::Frontend;
use crate::session::link::Link;
use crate::session::{Connector, Failed, Lane};
use crate::store::StoredChunks;
use crate::transport::Transport;

/// Bytes that repeat nowhere.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// Bytes that passed, and how many may pass up before the wire is cut.
#[derive(Debug, Default)]
struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    cut_at: Mutex<Vec<u64>>,
}

impl Meter {
    fn take(&self) -> (u64, u64) {
        (self.up.swap(0, Ordering::SeqCst), self.down.swap(0, Ordering::SeqCst))
    }
}

/// Reaches an agent of this process over a wire with a meter.
#[derive(Debug)]
struct Metered {
    agent: Arc<Agent>,
    meter: Arc<Meter>,
}

#[async_trait]
impl Connector for Metered {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Wire::default()))
    }

    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, near) = tokio::io::duplex(64 * 1024);
        let (far, theirs) = tokio::io::duplex(64 * 1024);
        let agent = Arc::clone(&self.agent);
        tokio::spawn(async move { agent::serve::serve(theirs, agent).await });
        tokio::spawn(pass(near, far, Arc::clone(&self.meter)));
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}

/// Passes bytes in both directions until either side ends, or as many went up as one wire bears.
async fn pass(mut near: DuplexStream, mut far: DuplexStream, meter: Arc<Meter>) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut passed = 0;
    loop {
        tokio::select! {
            read = near.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                passed += count as u64;
                meter.up.fetch_add(count as u64, Ordering::SeqCst);
                let cut = {
                    let mut cuts = meter.cut_at.lock().expect("nobody panics");
                    let cut = cuts.last().is_some_and(|cut| passed > *cut);
                    if cut {
                        cuts.pop();
                    }
                    cut
                };
                if cut || far.write_all(&up[..count]).await.is_err() {
                    return;
                }
            }
            read = far.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                meter.down.fetch_add(count as u64, Ordering::SeqCst);
                if near.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A world and what passed on its wire.
struct Bed {
    world: World,
    meter: Arc<Meter>,
}

impl Bed {
    async fn new() -> Self {
        Self { world: World::new().await, meter: Arc::default() }
    }

    fn save(&self, at: &str, bytes: &[u8]) {
        fs::write(self.world.here(at), bytes).expect("a writable file");
    }

    /// Syncs once, and returns how it stands with the bytes that went up and down.
    async fn push(&self) -> (Snapshot, u64, u64) {
        let connector = Metered { agent: self.world.agent(), meter: Arc::clone(&self.meter) };
        let handle = self.world.start_with("me", false, Arc::new(connector)).await;
        let snapshot = settled(&handle).await;
        handle.stop().await;
        let (up, down) = self.meter.take();
        (snapshot, up, down)
    }

    /// Syncs once and sees that everything arrived.
    async fn pushed(&self, at: &str) -> (u64, u64) {
        let (snapshot, up, down) = self.push().await;
        assert_eq!(
            (snapshot.status.state, snapshot.status.conflicts),
            (SyncState::Synced, 0),
            "{:#?}",
            snapshot.status
        );
        let (here, there) = (fs::read(self.world.here(at)).expect("it is here"), fs::read(self.world.there(at)));
        assert!(there.expect("it is there") == here, "{at} is not equal");
        (up, down)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_changed_travels() {
    let bed = Bed::new().await;
    let mut bytes = noise(6_000_000, 1);
    bed.save("a", &bytes);
    let (up, _) = bed.pushed("a").await;
    assert!(up > 6_000_000);
    bytes.splice(100_000..100_000, noise(4096, 2));
    bytes[3_000_000..3_100_000].copy_from_slice(&noise(100_000, 3));
    bed.save("a", &bytes);
    let (up, down) = bed.pushed("a").await;
    assert!(up < 800_000, "{up} bytes went up");
    assert!(down < 10_000, "{down} bytes came down");
    bytes.truncate(5_000_000);
    bytes.extend(noise(30_000, 4));
    bed.save("a", &bytes);
    let (up, down) = bed.pushed("a").await;
    assert!(up < 400_000 && down < 10_000, "{up} bytes went up, {down} down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_index_the_agent_is_asked() {
    let bed = Bed::new().await;
    let mut bytes = noise(6_000_000, 1);
    bed.save("a", &bytes);
    bed.pushed("a").await;
    bed.world.store().forget_chunk_list(hash(&bytes)).await.expect("the database works");
    bytes[3_000_000..3_000_010].fill(0);
    bed.save("a", &bytes);
    let (up, down) = bed.pushed("a").await;
    assert!(up < 400_000, "{up} bytes went up");
    assert!(down > 2_000 && down < 40_000, "{down} bytes came down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_index_costs_a_transfer_and_nothing_else() {
    let bed = Bed::new().await;
    let (old, mut other) = (noise(6_000_000, 1), noise(6_000_000, 2));
    bed.save("a", &old);
    bed.pushed("a").await;
    // It says of the old version what is true of another one.
    let mut rest = &other[..];
    let list = cut_all(&mut |buffer| std::io::Read::read(&mut rest, buffer)).expect("memory can be read");
    let lie = StoredChunks { size: list.size(), list: list.encode().expect("it is short") };
    bed.world.store().put_chunk_list(hash(&old), lie).await.expect("the database works");
    other[10] ^= 1;
    bed.save("a", &other);
    let (up, _) = bed.pushed("a").await;
    assert!(up > 6_000_000, "{up} bytes went up");
    assert_eq!(bed.world.store().chunk_list(hash(&old)).await.expect("the database works"), None);
    other[3_000_000] ^= 1;
    bed.save("a", &other);
    let (up, _) = bed.pushed("a").await;
    assert!(up < 400_000, "{up} bytes went up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_before_a_cut_does_not_travel_again() {
    // A new file, and the change of one that is there.
    for is_new in [true, false] {
        let bed = Bed::new().await;
        if !is_new {
            bed.save("a", &noise(2_000_000, 1));
            bed.pushed("a").await;
        }
        bed.save("a", &noise(12_000_000, 2));
        *bed.meter.cut_at.lock().expect("nobody panics") = vec![3_000_000, 6_000_000];
        let (up, _) = bed.pushed("a").await;
        assert_eq!(bed.meter.cut_at.lock().expect("nobody panics").as_slice(), [] as [u64; 0], "it was cut twice");
        // What was on the way at a cut, and the chunk that broke off there, are all that is sent twice.
        assert!(up < 12_000_000 + 2 * 1_500_000, "{up} bytes went up");
        let (up, _) = bed.pushed("a").await;
        assert!(up < 10_000, "{up} bytes went up for nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_serves_another_version_too() {
    let bed = Bed::new().await;
    let mut bytes = noise(8_000_000, 1);
    bed.save("a", &bytes);
    *bed.meter.cut_at.lock().expect("nobody panics") = vec![6_000_000];
    let connector = Metered { agent: bed.world.agent(), meter: Arc::clone(&bed.meter) };
    let handle = bed.world.start_with("me", false, Arc::new(connector)).await;
    tokio::time::timeout(agent_tests::SOON, async {
        while !bed.meter.cut_at.lock().expect("nobody panics").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is cut");
    handle.stop().await;
    bed.meter.take();
    bytes[1_000_000..1_000_100].fill(0);
    bed.save("a", &bytes);
    let (up, _) = bed.pushed("a").await;
    assert!(up < 4_500_000, "{up} bytes went up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_addition_to_a_log_is_written_in_place() {
    let mut bed = Bed::new().await;
    bed.world.append = vec!["*.log".to_owned()];
    let mut log = noise(3_000_000, 1);
    for name in ["a.log", "a.bin"] {
        bed.save(name, &log);
    }
    bed.pushed("a.log").await;
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(bed.world.there(name)).expect("it is there"));
    let before = (inode("a.log"), inode("a.bin"));
    log.extend(noise(64 * 1024, 2));
    for name in ["a.log", "a.bin"] {
        bed.save(name, &log);
    }
    let (up, down) = bed.pushed("a.log").await;
    assert!(up < 500_000 && down < 10_000, "{up} bytes went up, {down} down");
    bed.pushed("a.bin").await;
    assert_eq!(inode("a.log"), before.0, "a log grows");
    assert_ne!(inode("a.bin"), before.1, "another file is replaced");
    // A log that was written anew is no addition.
    log[0] ^= 1;
    log.extend(noise(1000, 3));
    bed.save("a.log", &log);
    bed.pushed("a.log").await;
    assert_ne!(inode("a.log"), before.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_end_of_a_log_is_read_and_in_time_all_of_it() {
    let mut bed = Bed::new().await;
    bed.world.append = vec!["*.log".to_owned()];
    let old = noise(3_000_000, 1);
    bed.save("a.log", &old);
    bed.save("short.log", b"1\n");
    let handle = bed.world.start("me", true).await;
    settled(&handle).await;
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(bed.world.there(name)).expect("it is there"));
    let before = (inode("a.log"), inode("short.log"));
    // Changes a byte in place and adds some, so that one look finds both.
    let change = async |at: usize, tail: &[u8]| {
        use std::os::unix::fs::FileExt as _;
        handle.pause(true).await.expect("it runs");
        let file = fs::OpenOptions::new().write(true).open(bed.world.here("a.log")).expect("it is here");
        let end = file.metadata().expect("it is open").len();
        let byte = [fs::read(bed.world.here("a.log")).expect("it is here")[at] ^ 1];
        file.write_all_at(&byte, at as u64).expect("it can be written");
        file.write_all_at(tail, end).expect("it can be written");
        drop(file);
        bed.save("short.log", b"1\n2\n");
        handle.pause(false).await.expect("it runs");
        handle.flush(false, agent_tests::SOON).await.expect("it arrives");
    };
    let tail = noise(64 * 1024, 2);
    change(1_500_000, &tail).await;
    let there = fs::read(bed.world.there("a.log")).expect("it is there");
    assert!(there == [&old[..], &tail[..]].concat(), "the middle was not looked at");
    assert_eq!((inode("a.log"), inode("short.log")), before, "both grow");
    // One that begins otherwise was cut and written anew.
    change(0, &tail).await;
    assert!(fs::read(bed.world.there("a.log")).ok() == fs::read(bed.world.here("a.log")).ok());
    change(1_500_000, &tail).await;
    assert!(fs::read(bed.world.there("a.log")).ok() != fs::read(bed.world.here("a.log")).ok());
    handle.stop().await;
    // No stamp vouches for what was not looked at.
    bed.pushed("a.log").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_addition_that_broke_off_is_continued() {
    for is_log in [true, false] {
        let mut bed = Bed::new().await;
        bed.world.append = if is_log { vec!["*.log".to_owned()] } else { Vec::new() };
        let mut log = noise(3_000_000, 1);
        bed.save("a.log", &log);
        bed.pushed("a.log").await;
        log.extend(noise(100_000, 2));
        bed.save("a.log", &log);
        fs::write(bed.world.there("a.log"), &log[..3_050_000]).expect("the remote can be written");
        if is_log {
            let (up, _) = bed.pushed("a.log").await;
            assert!(up < 200_000, "{up} bytes went up");
            // What is there and is no beginning of ours stays in conflict.
            let theirs = [&log[..], b"theirs"].concat();
            fs::write(bed.world.there("a.log"), theirs).expect("the remote can be written");
            bed.save("a.log", &[&log[..], b"ours, and more of it"].concat());
        }
        let (snapshot, ..) = bed.push().await;
        assert_eq!(snapshot.status.conflicts, 1, "{:#?}", snapshot.status);
    }
}

/// Reaches an agent that speaks the first protocol, and notes what it is asked.
#[derive(Debug)]
struct First(Arc<Mutex<Vec<Request>>>);

#[async_trait]
impl Connector for First {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Wire::default()))
    }

    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let asked = Arc::clone(&self.0);
        let note = move |request: &Request, _: u64| {
            asked.lock().expect("nobody panics").push(request.clone());
            None
        };
        tokio::spawn(async move { converse(theirs, 1, note).await });
        let (reader, writer) = tokio::io::split(ours);
        Ok(Link::open(reader, writer).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_the_first_protocol_gets_whole_files() {
    let mut world = World::new().await;
    world.append = vec!["*".to_owned()];
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut bytes = noise(3_000_000, 1);
    for turn in 0..3_u64 {
        bytes.extend(noise(1000, turn));
        fs::write(world.here("a"), &bytes).expect("a writable file");
        write(&world.here("b"), &turn.to_string());
        let handle = world.start_with("me", false, Arc::new(First(Arc::clone(&asked)))).await;
        let snapshot = settled(&handle).await;
        assert_eq!(snapshot.status.state, SyncState::Synced, "{:#?}", snapshot.status);
        handle.stop().await;
    }
    let asked = asked.lock().expect("nobody panics");
    let mut puts = 0;
    for request in &*asked {
        match request {
            Request::Apply(apply) => {
                for op in &apply.ops {
                    assert!(matches!(op.action, Action::Put { .. }), "{op:?}");
                    puts += 1;
                }
            }
            Request::Open(_) | Request::Verify { .. } | Request::Flush { .. } | Request::Close { .. } => {}
            other => panic!("it was asked {other:?}"),
        }
    }
    assert_eq!(puts, 6);
}
