//! The workspace as the sync sees it: looked at, read, and changed only where a person resolves a conflict.
//!
//! Everything here blocks; callers run it off the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use protocol::path::RelPath;
use protocol::sync::Hash;

use super::plan::Local;
use super::scan::{Beginning, Seal};
use crate::store::Base;

/// A workspace. Calls may run concurrently.
pub trait Source: Send + Sync + fmt::Debug {
    /// Looks at `paths` (folders with everything below them), or at everything. A file of which the base
    /// knows nothing is not read. An error says that the workspace itself cannot be looked at.
    fn scan(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> io::Result<Scan>;
    /// Opens a file for one consistent reading; never through a link.
    fn open(&self, path: &RelPath) -> io::Result<Box<dyn Reading>>;
    /// Puts `from` (a file beside nothing of the workspace), a link, or nothing at `path`, provided that the
    /// path still holds `expected`; what was there is kept in `keep` first. Folders are never replaced.
    fn replace(&self, path: &RelPath, expected: Option<&Local>, with: &Replacement<'_>, keep: &Path) -> io::Result<()>;
}

/// What takes the place of a path.
#[derive(Clone, Debug)]
pub enum Replacement<'a> {
    /// The bytes of this file.
    File {
        /// Where they are.
        from: &'a Path,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link with this text.
    Link(&'a str),
    /// Nothing.
    Nothing,
}

/// What the workspace holds.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Inode and device of the workspace folder.
    pub root: Option<(u64, u64)>,
    /// What was found, for what was looked at.
    pub found: BTreeMap<RelPath, Local>,
    /// Paths that cannot be synced, with the reason; their base stays as it is.
    pub problems: Vec<(String, String)>,
    /// Paths (and everything below them) of which nothing can be said.
    pub unknown: BTreeSet<RelPath>,
    /// Files that kept changing; to be looked at again.
    pub unsettled: BTreeSet<RelPath>,
    /// Paths of the base that are ignored now.
    pub ignored: BTreeSet<RelPath>,
    /// Files that have more than one name.
    pub linked: BTreeMap<RelPath, Linked>,
    /// What was looked at, which may be more than was asked for; `None` for all.
    pub looked_at: Option<BTreeSet<RelPath>>,
}

/// A file with more than one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Inode and device.
    pub inode: (u64, u64),
    /// How many names it has, wherever they are.
    pub names: u64,
}

/// A file that is being read.
pub trait Reading: Send {
    /// Returns its length when it was opened.
    fn size(&self) -> u64;
    /// Reads some bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Returns the hash of what was read so far.
    fn hash_so_far(&self) -> Hash;
    /// Returns what was read so far, for a later reading to go on behind it; `None` where that cannot be.
    fn beginning(&self) -> io::Result<Option<Beginning>> {
        Ok(None)
    }
    /// Goes on behind what an earlier reading left, when the file still seems to begin so; returns whether it does.
    /// Nothing may have been read before.
    fn go_on_behind(&mut self, _: &Beginning) -> io::Result<bool> {
        Ok(false)
    }
    /// Returns what was read, when it is one version of the file; `None` when the file changed meanwhile.
    fn finish(self: Box<Self>) -> io::Result<Option<Seal>>;
}

/// Bytes read at a time while hashing.
const CHUNK: usize = 256 * 1024;

/// Returns the hash of a file that did not change while it was read; `None` when it did.
pub fn hash(source: &dyn Source, path: &RelPath) -> io::Result<Option<Seal>> {
    let mut reading = source.open(path)?;
    let mut buffer = vec![0; CHUNK];
    while reading.read(&mut buffer)? > 0 {}
    reading.finish()
}
