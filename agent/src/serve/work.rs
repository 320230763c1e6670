//! Does what requests ask, off the link's loop: files on blocking threads, the rest at once.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use protocol::agent::{MAX_BATCH, Reply, Request, RootId, Trailer};
use protocol::delta::Chunks;
use protocol::error::Error;
use protocol::frame::{Kind, MAX_BULK_DATA, MAX_PAYLOAD, cost};
use protocol::path::RelPath;
use protocol::sync::{Hash, Known};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bodies::Bodies;
use super::error::RequestError;
use super::host::Agent;
use super::roots::LinkId;
use crate::delta::ChunkList;
use crate::files::Root;
use crate::log;
use crate::wire::{Frame, Outbox, packed};

/// Threads that one link may keep busy beside its batches.
const MAX_THREADS: usize = 8;

/// Most lines of the log that are sent.
const MAX_LOG_LINES: u32 = 4096;

/// A request and all that its answering takes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) bodies: Bodies,
    pub(super) credit: Arc<Semaphore>,
    pub(super) cancel: CancellationToken,
}

/// The workers of one link. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Work {
    agent: Arc<Agent>,
    link: LinkId,
    outbox: Outbox,
    finished: mpsc::UnboundedSender<u64>,
    threads: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Work {
    pub(super) fn new(agent: Arc<Agent>, link: LinkId, outbox: Outbox, finished: mpsc::UnboundedSender<u64>) -> Self {
        Self {
            agent,
            link,
            outbox,
            finished,
            threads: Arc::new(Semaphore::new(MAX_THREADS)),
            tasks: TaskTracker::new(),
        }
    }

    /// Starts a job; its stream is reported as finished just before the last frame is queued.
    pub(super) fn start(&self, id: u64, job: Job) {
        let work = self.clone();
        self.tasks.spawn(async move {
            if let Request::Read { root, path } = job.request {
                work.send_file(id, root, (path, 0), job.credit, job.cancel).await;
            } else if let Request::ReadOn { root, path, after } = job.request {
                work.send_file(id, root, (path, after), job.credit, job.cancel).await;
            } else if let Request::Chunks(chunks) = job.request {
                work.send_chunks(id, chunks, job.credit, job.cancel).await;
            } else {
                let reply = work.answer(job).await;
                work.last_reply(id, &reply.unwrap_or_else(Reply::Failed)).await;
            }
        });
    }

    /// Answers a request that is not worked on.
    pub(super) fn refuse(&self, id: u64, error: RequestError) {
        let reply = Reply::Failed(error.into());
        let work = self.clone();
        self.tasks.spawn(async move { work.last_reply(id, &reply).await });
    }

    /// Waits until nothing is worked on any more.
    pub(super) async fn wait(self) {
        self.tasks.close();
        let tasks = self.tasks.clone();
        // The outbox must not be kept open by the one who waits for it to drain.
        drop(self);
        tasks.wait().await;
    }

    async fn answer(&self, job: Job) -> Result<Reply, Error> {
        let Job { request, mut bodies, credit: _, cancel } = job;
        match request {
            Request::Health => Ok(Reply::Health(self.agent.health())),
            Request::Stop => {
                self.agent.stopping().cancel();
                Ok(Reply::Done)
            }
            Request::Open(open) => {
                let (agent, link) = (Arc::clone(&self.agent), self.link);
                self.blocking(&cancel, move || agent.roots.open(link, &open).map(Reply::Opened)).await
            }
            Request::Verify { root, entries } => {
                let root = self.root(root)?;
                limit(entries.len())?;
                let wanted = cancel.clone();
                self.blocking(&cancel, move || verify(&root, &entries, &wanted)).await
            }
            Request::Apply(apply) => {
                let root = self.root(apply.root)?;
                limit(apply.ops.len())?;
                // Batches have their own limit; they must not wait behind the threads of other requests.
                off_runtime(move || root.apply(&apply, &mut bodies).map(Reply::Applied)).await
            }
            Request::Flush { root } => {
                let root = self.root(root)?;
                self.blocking(&cancel, move || root.flush().map(|()| Reply::Done)).await
            }
            Request::EmptyTrash { root } => {
                let root = self.root(root)?;
                self.blocking(&cancel, move || root.empty_trash().map(|()| Reply::Done)).await
            }
            Request::Close { root } => {
                let agent = Arc::clone(&self.agent);
                self.blocking(&cancel, move || {
                    if agent.roots.close(root) { Ok(Reply::Done) } else { Err(RequestError::RootUnknown(root).into()) }
                })
                .await
            }
            Request::Log { lines } => {
                let path = self.agent.log();
                self.blocking(&cancel, move || {
                    let lines = path.map_or(Ok(Vec::new()), |path| log::tail(&path, lines.min(MAX_LOG_LINES)));
                    lines.map(Reply::Log).map_err(|source| RequestError::Log(source).into())
                })
                .await
            }
            Request::Partials { root } => {
                let root = self.root(root)?;
                // What a link left that was just cut is only known when its last bytes are written.
                self.agent.ended().await;
                self.blocking(&cancel, move || root.partials().map(Reply::Partials)).await
            }
            Request::List(list) => {
                let root = self.root(list.root)?;
                limit(list.folders.len())?;
                let wanted = cancel.clone();
                self.blocking(&cancel, move || {
                    let listed = root.list(&list.folders, list.after.as_deref(), &|| !wanted.is_cancelled())?;
                    listed.map(Reply::Listed).ok_or_else(|| RequestError::Cancelled.into())
                })
                .await
            }
            Request::Summarise(asked) => {
                let root = self.root(asked.root)?;
                limit(asked.folders.len().max(asked.forget.len()))?;
                self.blocking(&cancel, move || root.summarise(&asked).map(Reply::Summarised)).await
            }
            Request::Read { .. } | Request::ReadOn { .. } | Request::Chunks(_) => {
                unreachable!("they are answered with data")
            }
        }
    }

    fn root(&self, id: RootId) -> Result<Arc<Root>, RequestError> {
        self.agent.roots.get(self.link, id).ok_or(RequestError::RootUnknown(id))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        cancel: &CancellationToken,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let thread = cancel.run_until_cancelled(Arc::clone(&self.threads).acquire_owned()).await;
        let Some(Ok(_thread)) = thread else { return Err(RequestError::Cancelled.into()) };
        off_runtime(work).await
    }

    /// Sends a file behind its first `after` bytes.
    async fn send_file(
        &self,
        id: u64,
        root: RootId,
        (path, after): (RelPath, u64),
        credit: Arc<Semaphore>,
        cancel: CancellationToken,
    ) {
        let opened = match self.root(root) {
            Ok(root) => self.blocking(&cancel, move || root.read(&path)).await,
            Err(error) => Err(error.into()),
        };
        let (found, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.last_reply(id, &Reply::Failed(error)).await,
        };
        // What was appended since is another version.
        let size = found.stamp.map_or(u64::MAX, |stamp| stamp.size);
        self.reply(id, &Reply::Reading(found)).await;
        let sender = Sender { id, outbox: self.outbox.clone(), credit };
        let wanted = cancel.clone();
        let sent = self.blocking(&cancel, move || {
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(after)).map_err(RequestError::File)?;
            sender.run(file.take(size.saturating_sub(after)), &wanted)
        });
        // The hash is that of what was sent, which a part does not need: its reader knows that of the whole.
        self.end_data(id, sent.await.map(|hash| Some(hash).filter(|_| after == 0))).await;
    }

    async fn send_chunks(&self, id: u64, chunks: Chunks, credit: Arc<Semaphore>, cancel: CancellationToken) {
        let opened = match self.root(chunks.root) {
            Ok(root) => {
                let wanted = cancel.clone();
                self.blocking(&cancel, move || root.chunks(&chunks, &|| !wanted.is_cancelled())).await
            }
            Err(error) => Err(error.into()),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return self.last_reply(id, &Reply::Failed(error)).await,
        };
        let (found, list) = opened.unzip();
        self.reply(id, &Reply::Chunking(found)).await;
        let sender = Sender { id, outbox: self.outbox.clone(), credit };
        let wanted = cancel.clone();
        let sent = match list {
            Some(list) => self.blocking(&cancel, move || sender.chunks(&list, &wanted)).await,
            None => Ok(()),
        };
        self.end_data(id, sent.map(|()| None)).await;
    }

    async fn end_data(&self, id: u64, sent: Result<Option<Hash>, Error>) {
        let trailer = match sent {
            Ok(hash) => Trailer { hash, error: None },
            Err(error) => Trailer { hash: None, error: Some(error) },
        };
        self.finish(id);
        let payload = postcard::to_stdvec(&trailer).expect("trailers are plain data").into();
        if self.outbox.send_data(Frame { kind: Kind::End, stream: id, payload }).await.is_err() {
            tracing::trace!(id, "the link ended before its answer");
        }
    }

    async fn last_reply(&self, id: u64, reply: &Reply) {
        self.finish(id);
        self.reply(id, reply).await;
    }

    async fn reply(&self, id: u64, reply: &Reply) {
        let mut payload = postcard::to_stdvec(reply).expect("replies are plain data");
        if payload.len() > MAX_PAYLOAD {
            let failed = Reply::Failed(RequestError::AnswerTooLong.into());
            payload = postcard::to_stdvec(&failed).expect("replies are plain data");
        }
        let frame = Frame { kind: Kind::Reply, stream: id, payload: payload.into() };
        let sent = match self.outbox.place(frame.payload.len()).await {
            Ok(place) => self.outbox.send(place, frame),
            Err(over) => Err(over),
        };
        if sent.is_err() {
            tracing::trace!(id, "the link ended before its answer");
        }
    }

    fn finish(&self, id: u64) {
        if self.finished.send(id).is_err() {
            tracing::trace!(id, "the link ended before its answer");
        }
    }
}

/// Sends the bytes of one file from a blocking thread, as credit comes in.
struct Sender {
    id: u64,
    outbox: Outbox,
    credit: Arc<Semaphore>,
}

impl Sender {
    fn run(self, mut file: std::io::Take<std::fs::File>, cancel: &CancellationToken) -> Result<Hash, Error> {
        let runtime = tokio::runtime::Handle::current();
        let mut hasher = blake3::Hasher::new();
        loop {
            let mut chunk = vec![0; MAX_BULK_DATA];
            let length = file.read(&mut chunk).map_err(RequestError::File)?;
            if length == 0 {
                return Ok(Hash(*hasher.finalize().as_bytes()));
            }
            chunk.truncate(length);
            hasher.update(&chunk);
            let packed = if self.outbox.packs() { packed::pack(&chunk) } else { None };
            let (kind, payload) = packed.map_or_else(|| (Kind::Data, chunk.into()), |packed| (Kind::Packed, packed));
            let sent = runtime.block_on(cancel.run_until_cancelled(self.send(kind, payload, length)));
            if sent != Some(true) {
                return Err(RequestError::Cancelled.into());
            }
        }
    }

    fn chunks(self, list: &ChunkList, cancel: &CancellationToken) -> Result<(), Error> {
        let bytes = list.encode().ok_or(RequestError::AnswerTooLong)?;
        let runtime = tokio::runtime::Handle::current();
        for part in bytes.chunks(MAX_BULK_DATA) {
            let (part, length) = (Bytes::copy_from_slice(part), part.len());
            if runtime.block_on(cancel.run_until_cancelled(self.send(Kind::Data, part, length))) != Some(true) {
                return Err(RequestError::Cancelled.into());
            }
        }
        Ok(())
    }

    /// Sends a frame that holds `length` bytes when it is unpacked.
    async fn send(&self, kind: Kind, payload: Bytes, length: usize) -> bool {
        let cost = u32::try_from(cost(length)).expect("chunks are far below 4 GiB");
        let Ok(credit) = self.credit.acquire_many(cost).await else { return false };
        credit.forget();
        self.outbox.send_data(Frame { kind, stream: self.id, payload }).await.is_ok()
    }
}

fn verify(root: &Root, entries: &[Known], cancel: &CancellationToken) -> Result<Reply, Error> {
    root.in_place()?;
    let differs = root.verify(entries, &|| !cancel.is_cancelled()).ok_or(RequestError::Cancelled)?;
    Ok(Reply::Verified(differs))
}

fn limit(entries: usize) -> Result<(), RequestError> {
    if entries > MAX_BATCH { Err(RequestError::TooLarge(entries)) } else { Ok(()) }
}

async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(RequestError::Panicked.into()))
}
