//! The files that a person said only ever grow: their additions are written in place, and what of one broke off
//! there is continued.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ignore::gitignore::Gitignore;
use protocol::path::RelPath;
use protocol::sync::{Content, Found, Hash};
use tokio::time::Instant;

use super::ignored::matcher;
use super::look::blocking;
use super::plan::{Held, Local, Overlay};
use super::scan::Beginning;
use super::source::Source;
use crate::store::Base;

/// How long a log is believed to begin as when it was last read whole, while additions to it are written in place:
/// reading 200 MB for each line would hold every line up. After that it is read again, whether it has grown or not.
pub(super) const TRUST: Duration = Duration::from_secs(30);
/// Least length of a log that is believed; a shorter one is read in no time.
const WORTH: u64 = 1024 * 1024;
/// Most logs whose beginnings are remembered, at two kilobytes each; the one that was read longest ago goes first.
const MOST: usize = 256;
/// Bytes that are read at a time.
const CHUNK: usize = 256 * 1024;

/// Which files only grow. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<Gitignore>);

impl Default for Logs {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Logs").field(&self.0.num_ignores()).finish()
    }
}

impl Logs {
    /// Returns those that match one of `patterns`, which are as in `.gitignore`.
    pub fn new(patterns: &[String]) -> Self {
        Self(Arc::new(matcher(patterns)))
    }

    /// Returns whether a file only grows.
    pub fn holds(&self, path: &RelPath) -> bool {
        !self.0.is_empty() && self.0.matched_path_or_any_parents(path.as_str(), false).is_ignore()
    }
}

/// The beginnings of logs as they were when they were last read whole.
#[derive(Debug, Default)]
pub(super) struct Beginnings(Mutex<BTreeMap<RelPath, Read>>);

/// The beginning of a log, and when all of it was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) beginning: Beginning,
    pub(super) at: Instant,
}

impl Beginnings {
    /// Returns the beginning of the log at `path`, if it is of that length and has that hash, and can be believed now.
    pub(super) fn of(&self, path: &RelPath, length: u64, hash: Hash, now: Instant) -> Option<Read> {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()?;
        let is_fresh = now < read.at + TRUST;
        (is_fresh && read.beginning.length() == length && read.beginning.hash() == hash).then_some(read)
    }

    /// Remembers the beginning of a log.
    pub(super) fn put(&self, path: RelPath, read: Read) {
        let mut beginnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if read.beginning.length() < WORTH {
            beginnings.remove(&path);
            return;
        }
        beginnings.insert(path, read);
        if beginnings.len() > MOST
            && let Some(oldest) = beginnings.iter().min_by_key(|(_, read)| read.at).map(|(path, _)| path.clone())
        {
            beginnings.remove(&oldest);
        }
    }
}

/// Reads the beginning of a file and returns its hash; `None` when the file is shorter. Blocks.
pub(super) fn hash_beginning(reading: &mut dyn super::source::Reading, length: u64) -> io::Result<Option<Hash>> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match reading.read(&mut buffer[..most])? {
            0 => return Ok(None),
            count => left -= count as u64,
        }
    }
    Ok(Some(reading.hash_so_far()))
}

/// Returns the files whose remote version is longer than the base and a beginning of the one here: an addition
/// that broke off. It is ours, and the next one begins behind it.
pub(super) async fn broken_off(
    logs: &Logs,
    source: &Arc<dyn Source>,
    here: &BTreeMap<RelPath, Local>,
    base: &BTreeMap<RelPath, Base>,
    remote: &Overlay,
) -> Vec<(RelPath, Found)> {
    let size_of = |content: &Content| match content {
        Content::File { size, hash, .. } => Some((*size, *hash)),
        Content::Folder | Content::Link { .. } | Content::Special => None,
    };
    let candidates: Vec<(RelPath, Found, u64, Hash)> = remote
        .iter()
        .filter(|(path, _)| logs.holds(path))
        .filter_map(|(path, found)| {
            let (there, hash) = size_of(&found.as_ref()?.content)?;
            let (before, _) = size_of(&base.get(path)?.content)?;
            let Held::File { size: now, .. } = here.get(path)?.held else { return None };
            (before < there && there < now).then(|| Some((path.clone(), found.clone()?, there, hash)))?
        })
        .collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let source = Arc::clone(source);
    let read = blocking(move || {
        let begins = |path: &RelPath, length, hash| {
            let begins = source.open(path).and_then(|mut reading| hash_beginning(&mut *reading, length));
            begins.is_ok_and(|found| found == Some(hash))
        };
        let ours = candidates.into_iter().filter(|(path, _, length, hash)| begins(path, *length, *hash));
        ours.map(|(path, found, _, _)| (path, found)).collect()
    });
    read.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_a_log() {
        let path = |text: &str| RelPath::new(text).expect("a plain path");
        let logs = Logs::new(&["*.log".to_owned(), "/runs/".to_owned()]);
        assert!(logs.holds(&path("a.log")) && logs.holds(&path("deep/b.log")) && logs.holds(&path("runs/x/events")));
        assert!(!logs.holds(&path("a.txt")) && !logs.holds(&path("deep/runs.txt")));
        assert!(!Logs::default().holds(&path("a.log")));
    }
}
