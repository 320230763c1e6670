//! How many times an opening waits for the server: over a line whose only delay is the clock's.

use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep_until};

use super::*;

/// The way there and back.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// Passes bytes on, half a round trip later each.
async fn delayed(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (sent, mut under_way) = mpsc::unbounded_channel();
    let take = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let packet = (Instant::now() + ROUND_TRIP / 2, bytes[..length].to_vec());
            sent.send(packet).expect("it is taken until this ends");
        }
    };
    let give = async move {
        while let Some((arrives, bytes)) = under_way.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // The rest is thrown away, as by a line that was cut.
        while under_way.recv().await.is_some() {}
    };
    tokio::join!(take, give);
}

/// Opens a root by a conversation of its own and returns how many round trips that took.
async fn trips(home: &Path, open: &OpenTarget) -> u32 {
    let Process { stdin, stdout, .. } = Server::Embedded.start(home);
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (from_us, to_us) = tokio::io::split(theirs);
    tokio::spawn(delayed(from_us, stdin));
    tokio::spawn(delayed(stdout, to_us));
    let (stdout, stdin) = tokio::io::split(ours);
    let began = Instant::now();
    let wire = Arc::new(Wire::begin(stdout, stdin).await.expect("it begins"));
    let (root, _) = Box::pin(Root::open(Arc::clone(&wire), wire, open)).await.expect("it opens");
    let trips = began.elapsed().as_millis().div_ceil(ROUND_TRIP.as_millis());
    root.end();
    u32::try_from(trips).expect("few")
}

#[tokio::test(start_paused = true)]
async fn opening_waits_for_few_answers() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let at = home.path().join("copy");
    let first = trips(home.path(), &open_as(&at, "me", false)).await;
    write(&at.join("a"), "something");
    let again = trips(home.path(), &open_as(&at, "me", false)).await;
    let by_tilde = trips(home.path(), &open_as(Path::new("~/copy"), "me", false)).await;
    assert!(first <= 27 && again <= 19 && by_tilde <= 19, "{first} to make it, {again} and {by_tilde} to find it");
}
