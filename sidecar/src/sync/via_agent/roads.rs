//! The links that the packets of a transfer travel on: one, and some more when it is long and goes far.
//!
//! An SSH server takes so much of a channel and no more until it has said so: 2 MiB with OpenSSH
//! (`CHAN_SES_WINDOW_DEFAULT`), which is 20 MB/s at a round trip of 100 ms, whatever the line could carry. An agent
//! keeps the order of what comes on one link. Between links there is none, so whoever needs it waits for the answers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::super::target::{Batch, OpenTarget, SyncError};
use super::{Root, open_on};
use crate::session::{Handle, Lane};

/// Bytes from which more links pay: until they are open, one channel carries about this much.
const WORTH: u64 = 8 * 1024 * 1024;
/// Round trip from which they do: below it a channel carries 100 MB/s and more, which is what the ciphers of both ends
/// can do.
const FAR: Duration = Duration::from_millis(20);
/// Links beside the first. With them a transfer uses what one TCP connection has on the way at most, by the usual
/// limits of Linux (`tcp_rmem`): 6 MiB.
const MORE: usize = 2;

/// Returns whether batches are long enough for more than one link.
pub(super) fn pay(batches: &[Batch]) -> bool {
    let ops = batches.iter().filter(|batch| spreads(batch)).flat_map(|batch| &batch.ops);
    ops.fold(0_u64, |sum, op| sum.saturating_add(op.action.bytes())) >= WORTH
}

/// Returns whether a batch's packets may arrive in any order, and nobody waits for single ones.
fn spreads(batch: &Batch) -> bool {
    batch.lane == Lane::Bulk && !batch.barrier
}

/// The links of one transfer. Without any, packets travel on the link of their batch.
#[derive(Debug, Default)]
pub(super) struct Roads {
    open: Vec<Road>,
    coming: Option<Coming>,
    /// Whether the present batch may use all of them.
    spreads: bool,
    /// Whether more than the first one was used since all of them met.
    apart: bool,
    /// Held by each packet of the present batch.
    batch: Arc<()>,
    /// The same of those before that are not answered.
    earlier: Vec<Weak<()>>,
}

#[derive(Debug)]
struct Road {
    root: Root,
    /// Held by each packet that is on it.
    load: Arc<()>,
}

/// Those that are being opened; nobody opens them any more when this is dropped.
#[derive(Debug)]
struct Coming {
    roots: mpsc::Receiver<Root>,
    _opening: AbortOnDropHandle<()>,
}

/// What a packet holds while it travels.
#[derive(Debug)]
pub(super) struct Ticket {
    _window: OwnedSemaphorePermit,
    _batch: Arc<()>,
    _road: Option<Arc<()>>,
}

impl Roads {
    /// Begins with one, and opens others beside it if it leads far; `opened` says to which copy of what.
    pub(super) fn beside(root: Root, session: Handle, lane: Lane, opened: Arc<(OpenTarget, String)>) -> Self {
        let (found, roots) = mpsc::channel(MORE);
        let opening = tokio::spawn(async move {
            if is_far(&session).await {
                let one = || async {
                    match another(&session, lane, &opened).await {
                        // The transfer may have ended meanwhile.
                        Ok(root) => drop(found.send(root).await),
                        Err(error) => tracing::info!(%error, "a long transfer goes on with the links it has"),
                    }
                };
                join_all((0..MORE).map(|_| one())).await;
            }
        });
        let coming = Coming { roots, _opening: AbortOnDropHandle::new(opening) };
        Self { open: vec![Road::new(root)], coming: Some(coming), ..Self::default() }
    }

    /// Begins with a batch; returns whether everything before has to be answered first.
    pub(super) fn must_meet(&mut self, batch: &Batch) -> bool {
        self.earlier.push(Arc::downgrade(&std::mem::take(&mut self.batch)));
        self.spreads = spreads(batch);
        // On the first link it would overtake what is on the others.
        !self.spreads && std::mem::take(&mut self.apart)
    }

    /// Returns the link for the next packet of the batch, whose own is `own`.
    pub(super) fn take(&mut self, own: &Root, window: OwnedSemaphorePermit) -> (Root, Ticket) {
        while let Some(Ok(root)) = self.coming.as_mut().map(|coming| coming.roots.try_recv()) {
            self.open.push(Road::new(root));
        }
        // What was sent before may make the folders of what comes now.
        self.earlier.retain(|batch| batch.strong_count() > 0);
        let all = self.spreads && self.earlier.is_empty();
        let usable = if all { self.open.len() } else { 1 };
        let road = self.open.iter().enumerate().take(usable).min_by_key(|(_, road)| Arc::strong_count(&road.load));
        self.apart |= road.is_some_and(|(index, _)| index > 0);
        let ticket = |road| Ticket { _window: window, _batch: Arc::clone(&self.batch), _road: road };
        match road.filter(|_| self.spreads) {
            Some((_, road)) => (road.root.clone(), ticket(Some(Arc::clone(&road.load)))),
            None => (own.clone(), ticket(None)),
        }
    }
}

impl Road {
    fn new(root: Root) -> Self {
        Self { root, load: Arc::default() }
    }
}

/// Returns whether a machine is so far away that one channel holds up a transfer.
async fn is_far(session: &Handle) -> bool {
    let Ok(transport) = session.transport().await else { return false };
    transport.round_trip().await.is_ok_and(|trip| trip >= FAR)
}

/// Opens the folder on one more link.
async fn another(session: &Handle, lane: Lane, opened: &(OpenTarget, String)) -> Result<Root, SyncError> {
    let link = Arc::new(session.another(lane).await.map_err(SyncError::Session)?);
    let (open, copy) = opened;
    let other = open_on(&link, open, false, false).await?;
    if other.copy == *copy {
        Ok(Root { link, id: other.root })
    } else {
        Err(SyncError::Protocol("its links lead to different folders".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::sync::agent_tests::World;
    use crate::sync::target::fake::FakeSource;

    /// Returns packets' links by their number, and keeps what they hold.
    struct Packets {
        roads: Roads,
        window: Arc<Semaphore>,
    }

    impl Packets {
        async fn next(&mut self) -> (u32, Ticket) {
            let permit = Arc::clone(&self.window).acquire_owned().await.expect("it is never closed");
            let own = self.roads.open[0].root.clone();
            let (root, ticket) = self.roads.take(&own, permit);
            (root.id, ticket)
        }
    }

    #[tokio::test]
    async fn links_are_used_alike_and_the_order_is_kept() {
        let world = World::new().await;
        let session = world.session();
        let link = session.link(Lane::Bulk).await.expect("a link");
        let road = |id| Road::new(Root { link: Arc::clone(&link), id });
        let batch = |barrier| {
            let bodies = Arc::new(FakeSource::default());
            Batch { lane: Lane::Bulk, barrier, durable: false, ops: Vec::new(), bodies }
        };
        let roads = Roads { open: (1..=3).map(road).collect(), ..Roads::default() };
        let mut packets = Packets { roads, window: Arc::new(Semaphore::new(100)) };

        // Folders, and files behind them while nothing is known of the folders.
        assert!(!packets.roads.must_meet(&batch(true)));
        let (first, folder) = packets.next().await;
        assert!(!packets.roads.must_meet(&batch(false)));
        let (second, file) = packets.next().await;
        assert_eq!((first, second), (1, 1));
        // They are there; the link that has least to do is the next one's.
        drop(folder);
        let mut held = vec![packets.next().await, packets.next().await, packets.next().await, packets.next().await];
        assert_eq!(held.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 3, 1, 2]);
        held.retain(|(id, _)| *id != 3);
        assert_eq!(packets.next().await.0, 3);
        drop((file, held));

        // Removals wait once for all links, and go on the first one.
        assert!(packets.roads.must_meet(&batch(true)));
        assert_eq!((packets.next().await.0, packets.next().await.0), (1, 1));
        assert!(!packets.roads.must_meet(&batch(true)));
    }
}
