//! The files that a person said only ever grow: their additions are written in place, and what of one broke off
//! there is continued.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use ignore::gitignore::Gitignore;
use protocol::path::RelPath;
use protocol::sync::{Content, Found, Hash};

use super::ignored::matcher;
use super::look::blocking;
use super::plan::{Held, Local, Overlay};
use super::source::Source;
use crate::store::Base;

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
