//! Cuts a batch into packets and keeps several of them on the way.

use std::sync::Arc;

use agent::wire::blocks::{Block, Blocks};
use bytes::Bytes;
use protocol::agent::{Reply, Trailer};
use protocol::frame::{MAX_BULK_DATA, MAX_PRIORITY_DATA};
use protocol::sync::{Action, Expect, Op};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::super::look::blocking;
use super::super::scan::Seal;
use super::super::source::Source;
use super::super::target::{Batch, Done, SyncError, Unread};
use super::known::{Knowledge, speaks_pieces};
use super::large::Large;
use super::roads::{Roads, Ticket};
use super::{Root, apply_request, died, frames, link_error, unexpected};
use crate::session::Lane;
use crate::session::link::Exchange;

/// Longest file that travels together with others.
const SMALL: u64 = 1024 * 1024;
/// Most bytes of files in one packet.
const PACKET_BYTES: u64 = PACKET_LENGTH as u64;
const PACKET_LENGTH: usize = 1024 * 1024;
/// Most operations in one packet: a lost link leaves no more than these in doubt.
const PACKET_OPS: usize = 512;
/// Bytes that may be on the way unacknowledged; enough for 160 MB/s at a round trip of 100 ms.
const BULK_WINDOW: usize = 16 * 1024 * 1024;
/// The same where people wait: more would only queue before their next save.
const PRIORITY_WINDOW: usize = 2 * 1024 * 1024;
/// What a packet costs of the window at least, so that thousands of empty ones do not pile up.
const LEAST_COST: usize = 256 * 1024;

/// Batches on their way, one behind the other on one lane. The next one does not wait for the answers to the
/// one before: the agent keeps the order, and a barrier holds up what comes behind it there.
#[derive(Debug)]
pub(super) struct Sending {
    done: mpsc::Sender<(usize, Done)>,
    bulk: Arc<Semaphore>,
    priority: Arc<Semaphore>,
    travelling: JoinSet<Result<(), SyncError>>,
    roads: Roads,
    knowledge: Arc<Knowledge>,
    blocks: Blocks,
    /// Operations of the batches before.
    before: usize,
}

impl Sending {
    /// Begins; `done` is told of each operation what came of it.
    pub(super) fn new(done: mpsc::Sender<(usize, Done)>, knowledge: Arc<Knowledge>, roads: Roads) -> Self {
        Self {
            done,
            bulk: Arc::new(Semaphore::new(BULK_WINDOW)),
            priority: Arc::new(Semaphore::new(PRIORITY_WINDOW)),
            travelling: JoinSet::new(),
            roads,
            knowledge,
            blocks: Blocks::new(PACKET_LENGTH),
            before: 0,
        }
    }

    /// Sends a batch; returns when the last of it is on its way.
    pub(super) async fn send(&mut self, root: Root, batch: Batch) -> Result<(), SyncError> {
        let window = match batch.lane {
            Lane::Priority => Arc::clone(&self.priority),
            Lane::Bulk => Arc::clone(&self.bulk),
        };
        if self.roads.must_meet(&batch) {
            self.answered().await?;
        }
        let speaks_pieces = speaks_pieces(&root);
        let is_log = |op: &Op| speaks_pieces && self.knowledge.logs.holds(&op.path);
        for mut packet in cut(&batch.ops, is_log) {
            let cost = usize::try_from(packet.bytes).unwrap_or(usize::MAX).clamp(LEAST_COST, PRIORITY_WINDOW);
            let cost = u32::try_from(cost).expect("a packet's cost is clamped to 2 MiB");
            let permit = Arc::clone(&window).acquire_many_owned(cost).await.expect("the window is never closed");
            while let Some(ended) = self.travelling.try_join_next() {
                ended.map_err(died)??;
            }
            packet.before = self.before;
            let (root, ticket) = self.roads.take(&root, permit);
            if packet.large {
                self.large(&root, &batch, &packet, ticket).await?;
            } else {
                self.small(&root, &batch, packet, ticket).await?;
            }
        }
        self.before += batch.ops.len();
        Ok(())
    }

    async fn large(&mut self, root: &Root, batch: &Batch, packet: &Packet, ticket: Ticket) -> Result<(), SyncError> {
        let first = packet.indexes.first().and_then(|&index| Some((index, batch.ops.get(index)?.clone())));
        let Some((index, op)) = first else { return Ok(()) };
        let op = (packet.before + index, op);
        if let Some(large) = Large::open(root, batch, op, &self.knowledge, self.done.clone()).await? {
            self.travelling.spawn(async move {
                let sent = large.run().await;
                drop(ticket);
                sent
            });
        }
        Ok(())
    }

    async fn small(&mut self, root: &Root, batch: &Batch, packet: Packet, ticket: Ticket) -> Result<(), SyncError> {
        let (before, done) = (packet.before, self.done.clone());
        let taken = packet.indexes.into_iter().filter_map(|index| batch.ops.get(index).map(|op| (before + index, op)));
        let wanted: Vec<(usize, Op)> = taken.map(|(index, op)| (index, op.clone())).collect();
        let (source, block) = (Arc::clone(&batch.bodies), self.blocks.take(PACKET_LENGTH));
        let (ready, bytes, unread) = blocking(move || read_all(&*source, wanted, block)).await.map_err(died)?;
        for (index, unread) in unread {
            tell(&done, index, Done::Unread(unread)).await;
        }
        if ready.is_empty() {
            return Ok(());
        }
        let ops = ready.iter().map(|(_, op, _)| op.clone()).collect();
        let request = apply_request(root.id, batch, ops);
        let mut exchange = root.link.exchange(request).await.map_err(|error| link_error(&error))?;
        let most = frame_size(batch.lane);
        self.travelling.spawn(async move {
            let asked: Vec<(usize, Option<Seal>)> = ready.into_iter().map(|(index, _, seal)| (index, seal)).collect();
            let sent = async {
                for frame in frames(bytes, most) {
                    exchange.send(frame).await.map_err(|error| link_error(&error))?;
                }
                exchange.finish(Trailer::default()).await.map_err(|error| link_error(&error))?;
                answers(exchange, asked.clone(), &done).await
            };
            let sent = sent.await;
            if sent.is_err() {
                in_doubt(asked, &done).await;
            }
            drop(ticket);
            sent
        });
        Ok(())
    }

    /// Waits until every operation was answered, or is known to be in doubt.
    pub(super) async fn end(mut self) -> Result<(), SyncError> {
        self.answered().await
    }

    async fn answered(&mut self) -> Result<(), SyncError> {
        let mut result = Ok(());
        while let Some(ended) = self.travelling.join_next().await {
            result = result.and(ended.map_err(died).flatten());
        }
        result
    }
}

/// Operations that travel in one request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Packet {
    /// Places in the batch.
    indexes: Vec<usize>,
    /// Operations of the batches before.
    before: usize,
    bytes: u64,
    large: bool,
}

/// Cuts operations into packets. A file of more than a megabyte travels alone, and so does a log that grew, whatever
/// its length: only its end is sent.
fn cut(ops: &[Op], is_log: impl Fn(&Op) -> bool) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut open = Packet::default();
    for (index, op) in ops.iter().enumerate() {
        let size = op.action.bytes();
        let large = size > SMALL || grew(op) && is_log(op);
        if large || open.indexes.len() >= PACKET_OPS || open.bytes + size > PACKET_BYTES {
            packets.push(std::mem::take(&mut open));
        }
        if large {
            packets.push(Packet { indexes: vec![index], bytes: size, large, ..Packet::default() });
        } else {
            open.indexes.push(index);
            open.bytes += size;
        }
    }
    packets.push(open);
    packets.retain(|packet| !packet.indexes.is_empty());
    packets
}

/// Returns whether a file is to be replaced by a longer one.
fn grew(op: &Op) -> bool {
    match (&op.action, &op.expect) {
        (Action::Put { size, .. }, Expect::File { stamp: Some(stamp), .. }) => *size > stamp.size,
        (_, Expect::Absent | Expect::File { .. } | Expect::Folder | Expect::Link { .. }) => false,
    }
}

type Ready = Vec<(usize, Op, Option<Seal>)>;

/// Reads the files of a packet; each consistently, or not at all.
fn read_all(source: &dyn Source, wanted: Vec<(usize, Op)>, mut block: Block) -> (Ready, Bytes, Vec<(usize, Unread)>) {
    let (mut ready, mut unread) = (Vec::with_capacity(wanted.len()), Vec::new());
    let bytes = &mut block.bytes;
    for (index, mut op) in wanted {
        let Action::Put { size, hash, .. } = &mut op.action else {
            ready.push((index, op, None));
            continue;
        };
        let start = bytes.len();
        match read_small(source, &op.path, bytes) {
            Ok(seal) => {
                (*size, *hash) = (seal.size, Some(seal.hash));
                ready.push((index, op, Some(seal)));
            }
            Err(reason) => {
                bytes.truncate(start);
                unread.push((index, reason));
            }
        }
    }
    (ready, block.freeze(), unread)
}

fn read_small(source: &dyn Source, path: &protocol::path::RelPath, bytes: &mut Vec<u8>) -> Result<Seal, Unread> {
    let mut reading = source.open(path).map_err(|error| unreadable(&error))?;
    if reading.size() > SMALL {
        // It grew since it was looked at; the next look sends it alone.
        return Err(Unread::Changing);
    }
    let size = usize::try_from(reading.size()).expect("a small file fits into memory");
    let mut filled = bytes.len();
    bytes.resize(filled + size, 0);
    while let Some(place) = bytes.get_mut(filled..).filter(|place| !place.is_empty()) {
        match reading.read(place).map_err(|error| unreadable(&error))? {
            // It was cut meanwhile, which the end of the reading tells.
            0 => break,
            length => filled += length,
        }
    }
    reading.finish().map_err(|error| unreadable(&error))?.ok_or(Unread::Changing)
}

pub(super) fn unreadable(error: &std::io::Error) -> Unread {
    match error.kind() {
        std::io::ErrorKind::NotFound => Unread::Gone,
        _ => Unread::Failed(error.to_string()),
    }
}

/// Says what was sent without an answer; what was answered meanwhile is not changed by it.
pub(super) async fn in_doubt(asked: Vec<(usize, Option<Seal>)>, done: &mpsc::Sender<(usize, Done)>) {
    for (index, seal) in asked {
        if let Some(seal) = seal {
            tell(done, index, Done::InDoubt(seal)).await;
        }
    }
}

pub(super) async fn answers(
    mut exchange: Exchange,
    asked: Vec<(usize, Option<Seal>)>,
    done: &mpsc::Sender<(usize, Done)>,
) -> Result<(), SyncError> {
    let outcomes = match exchange.reply().await.map_err(|error| link_error(&error))? {
        Reply::Applied(outcomes) => outcomes,
        other => return Err(unexpected(other)),
    };
    if outcomes.len() != asked.len() {
        let text = format!("{} answers to {} operations", outcomes.len(), asked.len());
        return Err(SyncError::Protocol(text));
    }
    for ((index, seal), outcome) in asked.into_iter().zip(outcomes) {
        tell(done, index, Done::Answered(outcome, seal)).await;
    }
    Ok(())
}

pub(super) async fn tell(done: &mpsc::Sender<(usize, Done)>, index: usize, what: Done) {
    // Without a receiver the sync has ended, and the remote is compared anew at the next start.
    done.send((index, what)).await.ok();
}

pub(super) fn frame_size(lane: Lane) -> usize {
    match lane {
        Lane::Priority => MAX_PRIORITY_DATA,
        Lane::Bulk => MAX_BULK_DATA,
    }
}

#[cfg(test)]
mod tests {
    use protocol::path::RelPath;
    use protocol::sync::{Hash, Stamp};

    use super::*;

    fn put(size: u64) -> Op {
        Op {
            path: RelPath::new("f").expect("a plain path"),
            expect: Expect::Absent,
            action: Action::Put { size, hash: None, mode: 0o644, mtime_ns: None },
        }
    }

    #[test]
    fn a_log_that_grew_travels_alone_however_short_it_is() {
        let stamp = Stamp { size: 5, mtime_ns: 1, ctime_ns: 1, inode: 1, device: 1 };
        let grown = |size| Op { expect: Expect::File { hash: Hash([1; 32]), stamp: Some(stamp) }, ..put(size) };
        let ops = [put(5), grown(6), grown(5), put(5)];
        let large = |is_log| cut(&ops, |_| is_log).iter().map(|packet| packet.large).collect::<Vec<_>>();
        assert_eq!(large(true), [false, true, false]);
        assert_eq!(large(false), [false]);
    }

    #[test]
    fn packets_are_bounded_and_keep_the_order() {
        let sizes = [10, SMALL, 5, SMALL + 1, 7, 0];
        let packets = cut(&sizes.map(put), |_| false);
        let indexes: Vec<_> = packets.iter().map(|packet| packet.indexes.clone()).collect();
        assert_eq!(indexes, [vec![0], vec![1], vec![2], vec![3], vec![4, 5]]);
        assert_eq!(packets.iter().map(|packet| packet.large).collect::<Vec<_>>(), [false, false, false, true, false]);
        let many = cut(&vec![put(0); PACKET_OPS * 2 + 1], |_| false);
        assert_eq!(many.iter().map(|packet| packet.indexes.len()).collect::<Vec<_>>(), [PACKET_OPS, PACKET_OPS, 1]);
    }
}
