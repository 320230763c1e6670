//! A link that is slow, and one that is not: what travels packed on the one travels as it is on the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

/// Bytes of the file that travels; several times what it takes to find out how fast a link is.
const LENGTH: usize = 16 << 20;
/// Bytes that a slow link lets through at a time.
const PIECE: usize = 64 * 1024;
/// And how long it needs for them: 20 MB/s.
const NEEDED: Duration = Duration::from_micros(3200);

/// Bytes that went each way.
#[derive(Debug, Default)]
struct Counted {
    up: AtomicU64,
    down: AtomicU64,
}

/// Carries bytes one way, counts them, and takes its time when the link is slow.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(&Counted) -> &AtomicU64,
    counted: Arc<Counted>,
    is_slow: bool,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if is_slow {
            tokio::time::sleep(NEEDED.mul_f64(f64::from(u32::try_from(length).expect("a piece")) / 65_536.0)).await;
        }
        count(&counted).fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// Returns a link to an agent in this process, and what goes over it.
async fn counted_link(is_slow: bool) -> (Link, Arc<Counted>) {
    let agent = Arc::new(Agent::new(Config { log: None }));
    let (theirs_in, theirs_out) = tokio::io::split(local::dial(&agent));
    let (ours, middle) = tokio::io::duplex(256 * 1024);
    let (middle_in, middle_out) = tokio::io::split(middle);
    let counted = Arc::new(Counted::default());
    tokio::spawn(carry(middle_in, theirs_out, |counted| &counted.up, Arc::clone(&counted), is_slow));
    tokio::spawn(carry(theirs_in, middle_out, |counted| &counted.down, Arc::clone(&counted), is_slow));
    let (reader, writer) = tokio::io::split(ours);
    (Link::open(reader, writer).await.expect("the agent in this process answers"), counted)
}

/// Sends a file and reads it back; returns the bytes that travelled for that, up and down.
async fn there_and_back(link: &Link, counted: &Counted, bytes: &Bytes) -> (u64, u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = root(link, folder.path()).await;
    let before = (counted.up.load(Ordering::Relaxed), counted.down.load(Ordering::Relaxed));
    let mut exchange = link.exchange(put(root, "f", bytes, false)).await.expect("the link is open");
    exchange.send(bytes.clone()).await.expect("it is taken");
    exchange.finish(Trailer::default()).await.expect("it is taken");
    let reply = exchange.reply().await.expect("an answer");
    assert!(matches!(&reply, Reply::Applied(done) if matches!(done[..], [Outcome::Applied { .. }])), "{reply:?}");
    let path = RelPath::new("f").expect("a plain path");
    let mut exchange = link.exchange(Request::Read { root, path }).await.expect("the link is open");
    assert!(matches!(exchange.reply().await, Ok(Reply::Reading(_))));
    let mut hasher = blake3::Hasher::new();
    while let Piece::Data(piece) = exchange.data().await.expect("data") {
        hasher.update(&piece);
    }
    assert_eq!(hasher.finalize(), blake3::hash(bytes));
    (counted.up.load(Ordering::Relaxed) - before.0, counted.down.load(Ordering::Relaxed) - before.1)
}

fn text() -> Bytes {
    let mut number = 0_u64;
    let words = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ["let ", "mut ", "fn ", "self.", "return ", "None;\n", "x", "y"]
            [usize::try_from(number >> 61).expect("three bits")]
    });
    let mut text: Vec<u8> = Vec::with_capacity(LENGTH + 8);
    words
        .take_while(|word| {
            text.extend_from_slice(word.as_bytes());
            text.len() < LENGTH
        })
        .for_each(drop);
    text.truncate(LENGTH);
    text.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_link_carries_fewer_bytes_both_ways() {
    let (link, counted) = counted_link(true).await;
    let (up, down) = there_and_back(&link, &counted, &text()).await;
    let most = LENGTH as u64 * 2 / 3;
    assert!(up < most && down < most, "{up} up and {down} down of {LENGTH}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_packed_travels_as_it_is() {
    let (link, counted) = counted_link(true).await;
    let mut noise = vec![0; LENGTH / 4];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let (up, down) = there_and_back(&link, &counted, &noise.into()).await;
    let least = LENGTH as u64 / 4;
    assert!((least..least + least / 50).contains(&up), "{up} up of {least}");
    assert!((least..least + least / 50).contains(&down), "{down} down of {least}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_link_carries_them_as_they_are() {
    let (link, counted) = counted_link(false).await;
    let (up, down) = there_and_back(&link, &counted, &text()).await;
    assert!(up >= LENGTH as u64 && down >= LENGTH as u64, "{up} up and {down} down of {LENGTH}");
}
