//! The mirror of a root: what its holder gave it, path by path, with the stamp right after our own rename, so that
//! a sync that comes back learns in one question that nothing changed.
//!
//! It proves nothing by itself: an entry counts only while the file still has its stamp. Losing some or all of it
//! costs a comparison and no more; therefore nothing here is flushed, and whatever cannot be read is thrown away.
//! Files of the side directory: `mirror`, sorted, and `mirror.log`, what came since. Not held in memory.

mod blocks;
mod compare;
mod merge;
mod notes;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use protocol::path::RelPath;
use protocol::sync::{Content, Stamp};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::side;
use blocks::{Reader, Writer};

pub(super) use compare::summaries;
pub(super) use notes::{confirmed, given};

const SORTED: &str = "mirror";
const FRESH: &str = "mirror.new";
const LOG: &str = "mirror.log";
/// Format of both files; another one is thrown away.
const FORMAT: u32 = 1;
/// Below this a log is not worth sorting; it is read into memory as a whole, at three times its length.
const SMALL_LOG: u64 = 8 * 1024 * 1024;
/// Part of the sorted file that the log may be as long as.
const LOG_PART: u64 = 8;
/// Longest wait for batches; one whose link is gone ends as soon as the machine hears of it.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);
/// Longest mirror, of some two million paths. A larger root has none and is compared path by path.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What was given at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) content: Content,
    pub(super) stamp: Option<Stamp>,
}

/// What the log says of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// It was given.
    Given(Kept),
    /// It was compared and is what its holder believes. Execute bits are not compared, so those of an entry with
    /// the same bytes stay.
    Confirmed(Kept),
    /// It was removed, or is not followed any more.
    Forgotten,
}

/// One line of either file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) path: RelPath,
    pub(super) change: Change,
}

/// What both files begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// The copy that it describes.
    copy: String,
    /// Who gave what it holds.
    holder: String,
    /// Random, so that the two files of different mirrors are never read as one.
    epoch: String,
    /// Whether the root has too many paths.
    given_up: bool,
}

/// The mirror of an open root, shared by those who have it open.
#[derive(Debug)]
pub(super) struct Mirror {
    side: File,
    copy: String,
    holder: String,
    /// Whether anybody asks; a sidecar of an older protocol never does, and comparing for it is not written down.
    asked: AtomicBool,
    log: Mutex<Option<Log>>,
    /// How many batches are being done, and whoever waits for their end.
    batches: Mutex<usize>,
    ended: Condvar,
    /// What batches under way have done and nobody wrote down yet, in order.
    unwritten: Mutex<Vec<Record>>,
}

/// A batch whose operations are not all noted yet.
#[derive(Debug)]
pub(super) struct Underway<'a>(&'a Mirror);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        *self.0.batches.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}

/// The open log.
#[derive(Debug)]
struct Log {
    file: File,
    header: Header,
    length: u64,
    sorted: u64,
}

impl Mirror {
    /// Returns the mirror of the copy in a side directory, as this holder gave it. Reads nothing yet.
    pub(super) fn new(side: &File, copy: &str, holder: &str) -> io::Result<Self> {
        Ok(Self {
            side: side.try_clone()?,
            copy: copy.to_owned(),
            holder: holder.to_owned(),
            asked: AtomicBool::new(false),
            log: Mutex::new(None),
            batches: Mutex::new(0),
            ended: Condvar::new(),
            unwritten: Mutex::default(),
        })
    }

    /// Notes that a batch is being done, until the guard is dropped.
    pub(super) fn underway(&self) -> Underway<'_> {
        *self.batches.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Underway(self)
    }

    /// Takes what an operation of a batch under way did. It is written with the batch's end, or before somebody asks:
    /// a batch whose link fell silent ends much later.
    pub(super) fn note_later(&self, records: Vec<Record>) {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).extend(records);
    }

    /// Writes down what was taken so far.
    pub(super) fn note_now(&self) {
        let records = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        self.note(&records);
    }

    /// Waits until what is being done is noted: a sidecar that was killed and started again asks while the last
    /// batch of the link that is gone comes to its end.
    fn settle(&self) {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        // Past that time the mirror lags, which costs comparisons.
        drop(self.ended.wait_timeout_while(batches, SETTLE_WITHIN, |batches| *batches > 0));
    }

    /// Returns whether this is of the same copy and holder as another one.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (&self.copy, &self.holder) == (&other.copy, &other.holder)
    }

    /// Notes that somebody asks, so that what is compared from now on is worth writing down.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Returns whether somebody asked.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Writes down what changed; a failure only makes the mirror lag.
    pub(super) fn note(&self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.opened(&mut log).and_then(|log| {
            if log.header.given_up {
                return Ok(());
            }
            log.append(records)?;
            if log.length > SMALL_LOG.max(log.sorted / LOG_PART) { self.sort(log) } else { Ok(()) }
        });
        if let Err(error) = done {
            tracing::debug!(%error, "the mirror lags");
            *log = None;
        }
    }

    /// Returns what there is to read: the sorted file, when there is one, and what came since, in order and each
    /// path once. `None` when the root has too many paths.
    fn contents(&self) -> io::Result<Option<(Option<Reader>, Vec<Record>)>> {
        self.settle();
        self.note_now();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.opened(&mut log)?;
        if open.header.given_up {
            return Ok(None);
        }
        if open.length > open.sorted / LOG_PART
            && let Err(error) = self.sort(open)
        {
            *log = None;
            return Err(error);
        }
        let changes = merge::in_order(open.changes()?);
        Ok(Some((self.sorted(&open.header)?, changes)))
    }

    /// Throws everything away.
    fn reset(&self) -> io::Result<()> {
        for name in [LOG, SORTED, FRESH] {
            match rustix::fs::unlinkat(&self.side, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Forgets everything after something could not be read.
    fn broken(&self, error: &io::Error) {
        tracing::info!(%error, "the mirror cannot be read and is begun anew");
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(error) = self.reset() {
            tracing::info!(%error, "the mirror cannot be removed");
        }
    }

    /// Opens the log, or begins a new one where there is none of this copy and holder.
    fn opened<'a>(&self, log: &'a mut Option<Log>) -> io::Result<&'a mut Log> {
        if log.is_none() {
            *log = Some(match self.open()? {
                Some(log) => log,
                None => self.begin(false)?,
            });
        }
        log.as_mut().ok_or_else(|| Errno::INVAL.into())
    }

    fn open(&self) -> io::Result<Option<Log>> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(&self.side, LOG, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(header) = blocks::header(&file)?.filter(|header| self.is_ours(header)) else { return Ok(None) };
        let sorted = match self.sorted(&header)? {
            Some(_) => rustix::fs::statat(&self.side, SORTED, AtFlags::SYMLINK_NOFOLLOW)?.st_size,
            None => 0,
        };
        let length = file.metadata()?.len();
        Ok(Some(Log { file, header, length, sorted: u64::try_from(sorted).unwrap_or(0) }))
    }

    fn is_ours(&self, header: &Header) -> bool {
        header.format == FORMAT && header.copy == self.copy && header.holder == self.holder
    }

    fn begin(&self, given_up: bool) -> io::Result<Log> {
        self.reset()?;
        let (copy, holder) = (self.copy.clone(), self.holder.clone());
        let header = Header { format: FORMAT, copy, holder, epoch: side::random()?, given_up };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = rustix::fs::openat(&self.side, LOG, flags, Mode::RUSR | Mode::WUSR)?.into();
        let length = blocks::begin(&mut file, &header)?;
        Ok(Log { file, header, length, sorted: 0 })
    }

    /// Opens the sorted file that belongs to a log.
    fn sorted(&self, header: &Header) -> io::Result<Option<Reader>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.side, SORTED, flags, Mode::empty()) {
            Ok(file) => Reader::open(file.into(), header).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the sorted file anew with all that is in the log, and empties the log. Whoever is killed between
    /// the two reads the same changes twice, which changes nothing.
    fn sort(&self, log: &mut Log) -> io::Result<()> {
        let changes = merge::in_order(log.changes()?);
        if changes.is_empty() {
            return Ok(());
        }
        match rustix::fs::unlinkat(&self.side, FRESH, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut writer = Writer::begin(side::create(self.side.as_fd(), FRESH)?, &log.header)?;
        let mut failed = None;
        let old = self.sorted(&log.header)?.into_iter().flatten();
        let old = old.map_while(|records| records.map_err(|error| failed = Some(error)).ok()).flatten();
        for record in merge::merged(old, changes) {
            writer.add(&record)?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let length = writer.finish()?;
        if length > MAX_BYTES {
            tracing::info!("the root has too many paths for a mirror");
            *log = self.begin(true)?;
            return Ok(());
        }
        rustix::fs::renameat(&self.side, FRESH, &self.side, SORTED)?;
        log.sorted = length;
        log.length = blocks::cut(&log.file, &log.header)?;
        Ok(())
    }
}

impl Log {
    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.length += blocks::append(&mut self.file, &self.header, records)?;
        Ok(())
    }

    /// Returns everything in the log, in the order of writing; cuts off what was written only half.
    fn changes(&mut self) -> io::Result<Vec<Record>> {
        let (records, length) = blocks::all(&self.file, &self.header)?;
        if self.file.metadata()?.len() > length {
            self.file.set_len(length)?;
        }
        self.length = length;
        Ok(records)
    }
}

#[cfg(test)]
mod tests;
