//! One large file on its way: whole, as pieces of what the agent holds, or as an addition to a log.
//!
//! It is read once, on a thread of its own, and cut into chunks meanwhile, which tell its next version.

use std::io;
use std::sync::Arc;

use agent::delta::{Basis, ChunkList, differ};
use bytes::{Bytes, BytesMut};
use protocol::agent::{Reply, Trailer};
use protocol::delta::{MAX_APPEND, PatchSource};
use protocol::path::RelPath;
use protocol::sync::{Action, Expect, Hash, Op, Outcome, Rejected};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::logs::{self, Read};
use super::super::look::blocking;
use super::super::scan::{Beginning, Seal};
use super::super::source::{Reading, Source};
use super::super::target::{Batch, Done, SyncError, Unread};
use super::known::{Knowledge, Known, speaks_pieces};
use super::packets::{answers, frame_size, in_doubt, tell, unreadable};
use super::{Root, apply_request, died, frames, link_error, unexpected};
use crate::session::link::Exchange;

/// Pieces of a large file that wait between the reader and the link.
const READ_AHEAD: usize = 4;

/// A large file that is on its way.
pub(super) struct Large {
    root: Root,
    batch: Batch,
    op: Op,
    /// Its place among all operations.
    index: usize,
    known: Known,
    knowledge: Arc<Knowledge>,
    done: mpsc::Sender<(usize, Done)>,
    opened: Opened,
}

enum Opened {
    Stream(Exchange, Box<dyn Reading>),
    /// An addition, with what was read.
    Addition(Exchange, Bytes, Seal),
}

impl Large {
    /// Asks the agent to take the file. `None` when it cannot be read, of which `done` was told.
    pub(super) async fn open(
        root: &Root,
        batch: &Batch,
        (index, op): (usize, Op),
        knowledge: &Arc<Knowledge>,
        done: mpsc::Sender<(usize, Done)>,
    ) -> Result<Option<Self>, SyncError> {
        let mut known = Known::default();
        let opened = if let Some((addition, bytes, seal)) = addition(root, batch, &op, knowledge).await? {
            let request = apply_request(root.id, batch, vec![addition]);
            let exchange = root.link.exchange(request).await.map_err(|error| link_error(&error))?;
            Opened::Addition(exchange, bytes, seal)
        } else {
            known = knowledge.of(root, &op).await?;
            match begin(root, batch, &op, &known.sources).await? {
                Ok((exchange, reading)) => Opened::Stream(exchange, reading),
                Err(unread) => {
                    tell(&done, index, Done::Unread(unread)).await;
                    return Ok(None);
                }
            }
        };
        let (root, knowledge) = (root.clone(), Arc::clone(knowledge));
        Ok(Some(Self { root, batch: batch.clone(), op, index, known, knowledge, done, opened }))
    }

    /// Sends the file and tells what came of it.
    pub(super) async fn run(self) -> Result<(), SyncError> {
        let Self { root, batch, op, index, known, knowledge, done, opened } = self;
        let most = frame_size(batch.lane);
        let (exchange, reading) = match opened {
            Opened::Stream(exchange, reading) => (exchange, reading),
            Opened::Addition(exchange, bytes, seal) => return add(exchange, bytes, most, index, seal, &done).await,
        };
        let Known { basis, sources, base } = known;
        let whole = sources.is_empty();
        let stream = Stream { most, knowledge: &knowledge, path: &op.path, index, done: &done };
        let Some((exchange, seal)) = stream.send(exchange, reading, basis, whole).await? else { return Ok(()) };
        if whole {
            return answers(exchange, vec![(index, Some(seal))], &done).await;
        }
        let outcome = match outcome(exchange).await {
            Ok(outcome) => outcome,
            Err(error) => {
                in_doubt(vec![(index, Some(seal))], &done).await;
                return Err(error);
            }
        };
        if sources.contains(&PatchSource::Partial) {
            knowledge.used(&op.path);
        }
        if let Some(base) = base.filter(|base| *base != seal.hash) {
            match outcome {
                // What was believed of the remote's pieces is wrong, or they are.
                Outcome::Applied { .. } | Outcome::Rejected(Rejected::Torn) => knowledge.forget(base).await,
                Outcome::Already { .. } | Outcome::Rejected(_) => {}
            }
        }
        if outcome != Outcome::Rejected(Rejected::Torn) {
            tell(&done, index, Done::Answered(outcome, Some(seal))).await;
            return Ok(());
        }
        tracing::debug!(path = %op.path, "the remote's pieces are not the expected ones; the file travels whole");
        let (exchange, reading) = match begin(&root, &batch, &op, &[]).await? {
            Ok(begun) => begun,
            Err(unread) => {
                tell(&done, index, Done::Unread(unread)).await;
                return Ok(());
            }
        };
        match stream.send(exchange, reading, Basis::default(), true).await? {
            Some((exchange, seal)) => answers(exchange, vec![(index, Some(seal))], &done).await,
            None => Ok(()),
        }
    }
}

/// Opens the file here and asks the agent to take it, from `sources` if there are any.
async fn begin(
    root: &Root,
    batch: &Batch,
    op: &Op,
    sources: &[PatchSource],
) -> Result<Result<(Exchange, Box<dyn Reading>), Unread>, SyncError> {
    let (source, path) = (Arc::clone(&batch.bodies), op.path.clone());
    let reading = match blocking(move || source.open(&path)).await.map_err(died)? {
        Ok(reading) => reading,
        Err(error) => return Ok(Err(unreadable(&error))),
    };
    let mut op = op.clone();
    if let Action::Put { mode, mtime_ns, .. } = op.action {
        let size = reading.size();
        op.action = if sources.is_empty() {
            Action::Put { size, hash: None, mode, mtime_ns }
        } else {
            Action::Patch { size, mode, mtime_ns, sources: sources.to_vec() }
        };
    }
    let request = apply_request(root.id, batch, vec![op]);
    let exchange = root.link.exchange(request).await.map_err(|error| link_error(&error))?;
    Ok(Ok((exchange, reading)))
}

struct Stream<'a> {
    most: usize,
    knowledge: &'a Knowledge,
    path: &'a RelPath,
    index: usize,
    done: &'a mpsc::Sender<(usize, Done)>,
}

impl Stream<'_> {
    /// Streams a file while it is read. One that changes meanwhile is cancelled, so that no mixture arrives;
    /// `None` is returned then.
    async fn send(
        &self,
        mut exchange: Exchange,
        reading: Box<dyn Reading>,
        basis: Basis,
        whole: bool,
    ) -> Result<Option<(Exchange, Seal)>, SyncError> {
        let (pieces, mut read) = mpsc::channel(READ_AHEAD);
        let most = self.most;
        let is_log = self.knowledge.logs.holds(self.path);
        let at = Instant::now();
        let reader = tokio::task::spawn_blocking(move || {
            let frames = Frames { most, whole, is_log, out: BytesMut::new(), pieces };
            frames.tell(reading, &basis)
        });
        while let Some(piece) = read.recv().await {
            exchange.send(piece).await.map_err(|error| link_error(&error))?;
        }
        let Told { seal, list, beginning } = match reader.await.map_err(died)? {
            Ok(told) => told,
            Err(unread) => {
                drop(exchange);
                tell(self.done, self.index, Done::Unread(unread)).await;
                return Ok(None);
            }
        };
        let trailer = Trailer { hash: Some(seal.hash), error: None };
        let finished = exchange.finish(trailer).await;
        // It is right whatever becomes of the file there.
        self.knowledge.learn(seal.hash, &list).await;
        if let Some(beginning) = beginning {
            self.knowledge.beginnings.put(self.path.clone(), Read { beginning, at });
        }
        if let Err(error) = finished {
            in_doubt(vec![(self.index, Some(seal))], self.done).await;
            return Err(link_error(&error));
        }
        Ok(Some((exchange, seal)))
    }
}

/// What a file was while it was sent.
struct Told {
    seal: Seal,
    list: ChunkList,
    beginning: Option<Beginning>,
}

/// The bytes of a body on their way to the link.
struct Frames {
    most: usize,
    /// Whether all bytes of the file are the body, and not records.
    whole: bool,
    /// Whether additions to it will be read by themselves.
    is_log: bool,
    out: BytesMut,
    pieces: mpsc::Sender<Bytes>,
}

impl Frames {
    /// Reads a file to its end. Blocks.
    fn tell(mut self, mut reading: Box<dyn Reading>, basis: &Basis) -> Result<Told, Unread> {
        let size = reading.size();
        let told = differ(size, basis, &mut |buffer| reading.read(buffer), &mut |record| {
            match record {
                agent::delta::Record::Data(bytes) if self.whole => self.out.extend_from_slice(bytes),
                agent::delta::Record::Data(_) | agent::delta::Record::Copy { .. } => record.encode(&mut self.out),
            }
            // A copy keeps the other side busy, so it is told at once.
            self.ship(matches!(record, agent::delta::Record::Copy { .. }))
        });
        let list = told.and_then(|list| self.ship(true).map(|()| list)).map_err(|error| unreadable(&error))?;
        let beginning = if self.is_log { reading.beginning().map_err(|error| unreadable(&error))? } else { None };
        let seal = reading.finish().map_err(|error| unreadable(&error))?.ok_or(Unread::Changing)?;
        Ok(Told { seal, list, beginning })
    }

    fn ship(&mut self, all: bool) -> io::Result<()> {
        while self.out.len() >= self.most || all && !self.out.is_empty() {
            let piece = self.out.split_to(self.out.len().min(self.most)).freeze();
            if self.pieces.blocking_send(piece).is_err() {
                // The link is gone, and with it whoever wanted to know.
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

async fn outcome(mut exchange: Exchange) -> Result<Outcome, SyncError> {
    match exchange.reply().await.map_err(|error| link_error(&error))? {
        Reply::Applied(mut outcomes) if outcomes.len() == 1 => Ok(outcomes.remove(0)),
        other => Err(unexpected(other)),
    }
}

/// Returns the addition that brings a log up to date, if nothing but its end is new: the operation, its bytes, and
/// what was read.
async fn addition(
    root: &Root,
    batch: &Batch,
    op: &Op,
    knowledge: &Knowledge,
) -> Result<Option<(Op, Bytes, Seal)>, SyncError> {
    let (Action::Put { mode, .. }, Expect::File { hash, stamp: Some(stamp) }) = (&op.action, &op.expect) else {
        return Ok(None);
    };
    if !speaks_pieces(root) || !knowledge.logs.holds(&op.path) {
        return Ok(None);
    }
    let (source, path, base, length) = (Arc::clone(&batch.bodies), op.path.clone(), *hash, stamp.size);
    let now = Instant::now();
    let before = knowledge.beginnings.of(&path, length, base, now);
    let read = blocking(move || read_addition(&*source, &path, length, base, before, now)).await.map_err(died)?;
    // What cannot be read is met again, and told, by whoever sends the whole.
    let Some(Addition { bytes, tail, seal, read }) = read.ok().flatten() else { return Ok(None) };
    if let Some(read) = read {
        knowledge.beginnings.put(op.path.clone(), read);
    }
    let size = bytes.len() as u64;
    let action = Action::Append { length, size, tail, hash: seal.hash, mode: *mode };
    Ok(Some((Op { action, ..op.clone() }, bytes, seal)))
}

/// What was added to a log.
struct Addition {
    bytes: Bytes,
    /// Their hash.
    tail: Hash,
    seal: Seal,
    /// The log as it is now, for the next addition.
    read: Option<Read>,
}

/// Reads what was added to a log behind its first `length` bytes, whose hash must be `base`; `before` spares the
/// reading of those. Blocks.
fn read_addition(
    source: &dyn Source,
    path: &RelPath,
    length: u64,
    base: Hash,
    before: Option<Read>,
    now: Instant,
) -> io::Result<Option<Addition>> {
    let mut reading = source.open(path)?;
    let Some(size) = reading.size().checked_sub(length).filter(|size| (1..=MAX_APPEND).contains(size)) else {
        return Ok(None);
    };
    let before = match before {
        Some(before) if reading.go_on_behind(&before.beginning)? => Some(before),
        Some(_) | None => None,
    };
    if before.is_none() && logs::hash_beginning(&mut *reading, length)? != Some(base) {
        return Ok(None);
    }
    let mut bytes = BytesMut::zeroed(usize::try_from(size).expect("an addition is at most 16 MiB"));
    let mut filled = 0;
    while let Some(place) = bytes.get_mut(filled..).filter(|place| !place.is_empty()) {
        match reading.read(place)? {
            0 => return Ok(None),
            count => filled += count,
        }
    }
    let at = before.map_or(now, |before| before.at);
    let read = reading.beginning()?.map(|beginning| Read { beginning, at });
    let tail = Hash(*blake3::hash(&bytes).as_bytes());
    Ok(reading.finish()?.map(|seal| Addition { bytes: bytes.freeze(), tail, seal, read }))
}

async fn add(
    mut exchange: Exchange,
    bytes: Bytes,
    most: usize,
    index: usize,
    seal: Seal,
    done: &mpsc::Sender<(usize, Done)>,
) -> Result<(), SyncError> {
    let asked = vec![(index, Some(seal))];
    let sent = async {
        for frame in frames(bytes, most) {
            exchange.send(frame).await.map_err(|error| link_error(&error))?;
        }
        exchange.finish(Trailer::default()).await.map_err(|error| link_error(&error))?;
        answers(exchange, asked.clone(), done).await
    };
    let sent = sent.await;
    if sent.is_err() {
        in_doubt(asked, done).await;
    }
    sent
}
