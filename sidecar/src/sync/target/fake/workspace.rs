//! A workspace in memory, which can be changed in the middle of a reading and held up in the middle of a look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use protocol::path::RelPath;
use protocol::sync::{Hash, Stamp};

use super::{Node, Race, Shared, locked};
use crate::store::Base;
use crate::sync::plan::{Held, Local};
use crate::sync::scan::Seal;
use crate::sync::source::{Reading, Replacement, Scan, Source};

/// A look that takes its time.
pub(crate) struct Hold {
    /// A path that it is asked for.
    pub(crate) path: RelPath,
    /// Told once it has seen what there is.
    pub(crate) reached: tokio::sync::oneshot::Sender<()>,
    /// What it waits for then.
    pub(crate) go_on: std::sync::mpsc::Receiver<()>,
}

/// A workspace in memory.
#[derive(Clone, Default)]
pub(crate) struct FakeSource {
    pub(crate) tree: Shared,
    /// Done to the workspace in the middle of the next reading.
    pub(crate) race: Arc<Mutex<Option<Race>>>,
    /// What holds up the next look at a path, when that has been looked at already.
    pub(crate) hold: Arc<Mutex<Option<Hold>>>,
    /// Whether a reading says that it did not read all.
    pub(crate) partly: Arc<Mutex<bool>>,
    pub(crate) gone: Arc<Mutex<bool>>,
    pub(crate) inode: Arc<Mutex<u64>>,
}

impl fmt::Debug for FakeSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeSource").finish_non_exhaustive()
    }
}

struct FakeReading {
    source: FakeSource,
    path: RelPath,
    stamp: Stamp,
    mode: u32,
    bytes: Vec<u8>,
}

impl FakeSource {
    /// Has the next look at `path` wait once it has seen what there is. Returns what tells that it has, and what lets
    /// it go on.
    pub(crate) fn hold_look(&self, path: RelPath) -> (tokio::sync::oneshot::Receiver<()>, std::sync::mpsc::Sender<()>) {
        let (reached, is_reached) = tokio::sync::oneshot::channel();
        let (go, go_on) = std::sync::mpsc::channel();
        *locked(&self.hold) = Some(Hold { path, reached, go_on });
        (is_reached, go)
    }

    fn found(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> BTreeMap<RelPath, Local> {
        let tree = self.tree.lock();
        let asked = |path: &RelPath| {
            paths.is_none_or(|paths| {
                paths.contains(path) || crate::sync::plan::folders_above(path).any(|folder| paths.contains(&folder))
            })
        };
        let found = tree.nodes.iter().filter(|(path, _)| asked(path)).map(|(path, node)| {
            let local = match node {
                Node::File { bytes, mode, stamp } => Local {
                    held: Held::File {
                        hash: base.contains_key(path).then(|| Hash(*blake3::hash(bytes).as_bytes())),
                        size: bytes.len() as u64,
                    },
                    mode: *mode,
                    stamp: Some(*stamp),
                },
                Node::Folder => Local { held: Held::Folder, mode: 0o755, stamp: None },
                Node::Link(target) => Local { held: Held::Link { target: target.clone() }, mode: 0o777, stamp: None },
            };
            (path.clone(), local)
        });
        found.collect()
    }
}

impl Source for FakeSource {
    fn scan(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> io::Result<Scan> {
        if *locked(&self.gone) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let found = self.found(paths, base);
        let held = locked(&self.hold).take_if(|hold| paths.is_some_and(|paths| paths.contains(&hold.path)));
        if let Some(Hold { reached, go_on, .. }) = held {
            // A test that has ended waits for nothing.
            reached.send(()).ok();
            go_on.recv().ok();
        }
        Ok(Scan { root: Some((*locked(&self.inode), 1)), found, looked_at: paths.cloned(), ..Scan::default() })
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn Reading>> {
        match self.tree.lock().nodes.get(path) {
            Some(Node::File { mode, stamp, .. }) => Ok(Box::new(FakeReading {
                source: self.clone(),
                path: path.clone(),
                stamp: *stamp,
                mode: *mode,
                bytes: Vec::new(),
            })),
            Some(Node::Folder | Node::Link(_)) | None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn replace(&self, path: &RelPath, expected: Option<&Local>, with: &Replacement<'_>, _: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let present = tree.nodes.get(path).cloned();
        let as_expected = match (&present, expected) {
            (None, None) => true,
            (Some(Node::File { bytes, .. }), Some(Local { held: Held::File { hash, .. }, .. })) => {
                *hash == Some(Hash(*blake3::hash(bytes).as_bytes()))
            }
            (Some(Node::Link(target)), Some(Local { held: Held::Link { target: wanted }, .. })) => target == wanted,
            (None | Some(_), _) => false,
        };
        if !as_expected {
            return Err(io::Error::other("it changed meanwhile"));
        }
        if let Some(Node::File { bytes, .. }) = present {
            tree.trash.push(bytes);
        }
        match with {
            Replacement::File { from, executable } => {
                let bytes = std::fs::read(from)?;
                tree.put(path, &bytes, if *executable { 0o755 } else { 0o644 });
            }
            Replacement::Link(target) => {
                tree.nodes.insert(path.clone(), Node::Link((*target).to_owned()));
            }
            Replacement::Nothing => {
                tree.nodes.remove(path);
            }
        }
        Ok(())
    }
}

impl Reading for FakeReading {
    fn size(&self) -> u64 {
        self.stamp.size
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.bytes.is_empty()
            && let Some(race) = locked(&self.source.race).take()
        {
            race(&mut self.source.tree.lock());
        }
        let tree = self.source.tree.lock();
        let Some(Node::File { bytes, .. }) = tree.nodes.get(&self.path) else { return Ok(0) };
        let rest = bytes.get(self.bytes.len()..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.bytes.extend_from_slice(&rest[..length]);
        Ok(length)
    }

    fn hash_so_far(&self) -> Hash {
        Hash(*blake3::hash(&self.bytes).as_bytes())
    }

    fn finish(self: Box<Self>) -> io::Result<Option<Seal>> {
        let tree = self.source.tree.lock();
        let unchanged = matches!(tree.nodes.get(&self.path), Some(Node::File { stamp, .. }) if *stamp == self.stamp);
        Ok(unchanged.then(|| Seal {
            hash: Hash(*blake3::hash(&self.bytes).as_bytes()),
            size: self.bytes.len() as u64,
            mode: self.mode,
            mtime_ns: self.stamp.mtime_ns,
            stamp: Some(self.stamp),
            whole: !*locked(&self.source.partly),
        }))
    }
}
