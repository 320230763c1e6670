//! A remote folder in memory that honours preconditions, beside a workspace in memory. Both can be changed behind
//! the sync's back, and the remote can be cut and made to refuse at a chosen operation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::agent::Opened;
use protocol::sync::{Action, Expect, Hash, Rejected, Stamp};
use tokio::io::AsyncWriteExt;

use super::*;

mod workspace;

pub(crate) use workspace::FakeSource;

/// What stands at a path of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File { bytes: Vec<u8>, mode: u32, stamp: Stamp },
    Folder,
    Link(String),
}

impl Node {
    pub(crate) fn content(&self) -> Content {
        match self {
            Self::File { bytes, mode, .. } => Content::File {
                hash: Hash(*blake3::hash(bytes).as_bytes()),
                size: bytes.len() as u64,
                executable: mode & 0o100 != 0,
            },
            Self::Folder => Content::Folder,
            Self::Link(target) => Content::Link { target: target.clone() },
        }
    }

    fn found(&self) -> Found {
        let stamp = match self {
            Self::File { stamp, .. } => Some(*stamp),
            Self::Folder | Self::Link(_) => None,
        };
        Found { content: self.content(), stamp }
    }
}

/// A folder in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<RelPath, Node>,
    /// Bytes that were moved out of the way and kept.
    pub(crate) trash: Vec<Vec<u8>>,
    clock: i64,
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

impl Tree {
    pub(crate) fn put(&mut self, path: &RelPath, bytes: &[u8], mode: u32) {
        self.clock += 1;
        let stamp = Stamp {
            size: bytes.len() as u64,
            mtime_ns: self.clock,
            ctime_ns: self.clock,
            inode: self.clock.unsigned_abs(),
            device: 1,
        };
        self.nodes.insert(path.clone(), Node::File { bytes: bytes.to_vec(), mode, stamp });
    }

    /// Gives a file or link a name; that of a file counts as a change.
    fn give(&mut self, path: &RelPath, node: Node) {
        match node {
            Node::File { bytes, mode, .. } => self.put(path, &bytes, mode),
            Node::Folder | Node::Link(_) => drop(self.nodes.insert(path.clone(), node)),
        }
    }

    /// Renames a path with everything below it, as a person does; does nothing where it cannot be.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (path(from), path(to));
        if from == to || to.starts_with(&from) || from.starts_with(&to) || !self.nodes.contains_key(&from) {
            return;
        }
        let moved: Vec<RelPath> = self.nodes.keys().filter(|path| path.starts_with(&from)).cloned().collect();
        let over = self.nodes.get(&to);
        let folders: Vec<_> = crate::sync::plan::folders_above(&to).collect();
        let blocked = folders.iter().any(|folder| self.nodes.get(folder).is_some_and(|node| *node != Node::Folder));
        if blocked || over == Some(&Node::Folder) || (over.is_some() && self.nodes.get(&from) == Some(&Node::Folder)) {
            return;
        }
        for folder in folders {
            self.nodes.insert(folder, Node::Folder);
        }
        for path in moved {
            if let Some(node) = self.nodes.remove(&path) {
                let rest = path.as_str()[from.as_str().len()..].to_owned();
                let new = RelPath::new(format!("{to}{rest}")).expect("a plain path");
                self.nodes.insert(new, node);
            }
        }
    }

    /// Writes a file with its folders, as a person does; does nothing where a file stands in the way.
    pub(crate) fn write(&mut self, at: &str, bytes: &[u8]) {
        let at = path(at);
        let folders: Vec<_> = crate::sync::plan::folders_above(&at).collect();
        let blocked = folders.iter().any(|folder| self.nodes.get(folder).is_some_and(|node| *node != Node::Folder));
        if blocked || self.nodes.get(&at) == Some(&Node::Folder) {
            return;
        }
        for folder in folders {
            self.nodes.insert(folder, Node::Folder);
        }
        self.put(&at, bytes, 0o644);
    }

    /// Removes a path with everything below it.
    pub(crate) fn remove(&mut self, at: &str) {
        let at = path(at);
        self.nodes.retain(|path, _| !path.starts_with(&at));
    }

    pub(crate) fn text(&self, at: &str) -> Option<String> {
        match self.nodes.get(&path(at))? {
            Node::File { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
            Node::Folder => Some("/".to_owned()),
            Node::Link(target) => Some(format!("-> {target}")),
        }
    }

    fn parent_ok(&self, path: &RelPath) -> bool {
        path.parent().is_none_or(|folder| self.nodes.get(&folder) == Some(&Node::Folder))
    }

    fn children(&self, folder: &RelPath) -> u64 {
        self.nodes.keys().filter(|path| path.parent().as_ref() == Some(folder)).count() as u64
    }

    fn is(&self, path: &RelPath, expect: &Expect) -> bool {
        match (self.nodes.get(path).map(Node::content), expect) {
            (None, Expect::Absent) | (Some(Content::Folder), Expect::Folder) => true,
            (Some(Content::File { hash, .. }), Expect::File { hash: wanted, .. }) => hash == *wanted,
            (Some(Content::Link { target }), Expect::Link { target: wanted }) => target == *wanted,
            (None | Some(_), _) => false,
        }
    }
}

/// A tree that several sides hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Tree>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Race = Box<dyn FnOnce(&mut Tree) + Send>;

/// What goes wrong on the remote, and when.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a fault of its own.
pub(crate) struct Faults {
    /// Operations until the link is cut; the last of them is done but never acknowledged.
    pub(crate) cut_after: Option<usize>,
    /// Answers that are given instead of doing the operation, in order.
    pub(crate) reject: BTreeMap<RelPath, VecDeque<Rejected>>,
    /// Done to the remote just before the next operation.
    pub(crate) race: Option<Race>,
    /// Whether opening fails because another machine is here.
    pub(crate) leased: bool,
    /// Whether names are compared without case.
    pub(crate) ignores_case: bool,
    /// Answers of `apply` that are swallowed, so that the number of answers is wrong.
    pub(crate) mute: bool,
    /// Whether it leaves everything to its disk.
    pub(crate) never_durable: bool,
    /// Whether it can neither move nor copy.
    pub(crate) plain: bool,
    /// Whether what came of a batch is told before what came of the batches in front of it.
    pub(crate) backwards: bool,
}

/// A remote folder in memory.
#[derive(Clone)]
pub(crate) struct FakeTarget {
    pub(crate) tree: Shared,
    pub(crate) faults: Arc<Mutex<Faults>>,
    pub(crate) copy: Arc<Mutex<String>>,
    open: Arc<Mutex<bool>>,
    pub(crate) applied: Arc<Mutex<Vec<RelPath>>>,
    /// Files whose bytes travelled.
    pub(crate) sent: Arc<Mutex<usize>>,
}

impl fmt::Debug for FakeTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeTarget").finish_non_exhaustive()
    }
}

impl Default for FakeTarget {
    fn default() -> Self {
        Self {
            tree: Shared::default(),
            faults: Arc::default(),
            copy: Arc::new(Mutex::new("copy-1".to_owned())),
            open: Arc::default(),
            applied: Arc::default(),
            sent: Arc::default(),
        }
    }
}

pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost() -> SyncError {
    SyncError::Lost(Error {
        code: Code::AgentLost,
        message: "the agent's connection ended".to_owned(),
        help: "Connect again.".to_owned(),
        causes: Vec::new(),
    })
}

impl FakeTarget {
    pub(crate) fn cut(&self) {
        *locked(&self.open) = false;
    }

    fn alive(&self) -> Result<(), SyncError> {
        if *locked(&self.open) { Ok(()) } else { Err(lost()) }
    }

    fn one(&self, op: &Op, body: Option<(Vec<u8>, u32)>) -> Outcome {
        let mut faults = locked(&self.faults);
        let mut tree = self.tree.lock();
        if let Some(race) = faults.race.take() {
            race(&mut tree);
        }
        if let Some(rejected) = faults.reject.get_mut(&op.path).and_then(VecDeque::pop_front) {
            return Outcome::Rejected(rejected);
        }
        if faults.ignores_case && op.expect == Expect::Absent {
            let spelling =
                |path: &RelPath| *path != op.path && path.as_str().to_lowercase() == op.path.as_str().to_lowercase();
            if let Some((_, node)) = tree.nodes.iter().find(|(path, _)| spelling(path)) {
                return Outcome::Rejected(Rejected::Changed { found: Some(node.found()) });
            }
        }
        apply(&mut tree, op, body)
    }
}

fn apply(tree: &mut Tree, op: &Op, body: Option<(Vec<u8>, u32)>) -> Outcome {
    let present = tree.nodes.get(&op.path).cloned();
    let applied = |stamp| Outcome::Applied { stamp, kept_as: None };
    let stamp = |node: Option<&Node>| node.and_then(|node| node.found().stamp);
    if !tree.parent_ok(&op.path) {
        return Outcome::Rejected(Rejected::Unsafe { reason: "its folder is not there".to_owned() });
    }
    let wanted = match (&op.action, &body) {
        (Action::MakeFolder { .. }, _) => Some(Content::Folder),
        (Action::Put { .. }, Some((bytes, mode))) => {
            Some(Node::File { bytes: bytes.clone(), mode: *mode, stamp: zero() }.content())
        }
        (Action::Link { target }, _) => Some(Content::Link { target: target.clone() }),
        (_, _) => None,
    };
    let there = present.as_ref().map(Node::content);
    if wanted.is_some() && wanted == there {
        return Outcome::Already { stamp: stamp(present.as_ref()) };
    }
    if op.action == Action::Remove && present.is_none() {
        return Outcome::Already { stamp: None };
    }
    if let Action::Move { from, source } | Action::Copy { from, source, .. } = &op.action
        && matches!(source, Expect::File { .. } | Expect::Link { .. })
        && tree.is(&op.path, source)
        && (matches!(op.action, Action::Copy { .. }) || !tree.nodes.contains_key(from))
    {
        return Outcome::Already { stamp: stamp(present.as_ref()) };
    }
    if matches!(op.action, Action::Move { .. } | Action::Copy { .. }) && present == Some(Node::Folder) {
        return match op.expect {
            Expect::Folder => Outcome::Rejected(Rejected::Failed { reason: "a folder has to be removed first".into() }),
            _ => Outcome::Rejected(Rejected::Changed { found: present.map(|node| node.found()) }),
        };
    }
    if !tree.is(&op.path, &op.expect) {
        return Outcome::Rejected(Rejected::Changed { found: present.map(|node| node.found()) });
    }
    match (&op.action, body) {
        (Action::MakeFolder { .. }, _) => {
            tree.nodes.insert(op.path.clone(), Node::Folder);
        }
        (Action::Put { .. }, Some((bytes, mode))) => {
            if let Some(Node::File { bytes, .. }) = present {
                tree.trash.push(bytes);
            }
            tree.put(&op.path, &bytes, mode);
        }
        (Action::Put { .. }, None) => return Outcome::Rejected(Rejected::Torn),
        (Action::Link { target }, _) => {
            if let Some(Node::File { bytes, .. }) = present {
                tree.trash.push(bytes);
            }
            tree.nodes.insert(op.path.clone(), Node::Link(target.clone()));
        }
        (Action::SetMode { mode: new }, _) => {
            if let Some(Node::File { mode, .. }) = tree.nodes.get_mut(&op.path) {
                *mode = *new;
            }
        }
        (Action::Move { from, source }, _) => {
            let Some(node) = tree.nodes.get(from).filter(|_| tree.is(from, source)).cloned() else {
                return Outcome::Rejected(Rejected::Failed { reason: format!("`{from}` is not what was expected") });
            };
            if let Some(Node::File { bytes, .. }) = present {
                tree.trash.push(bytes);
            }
            tree.nodes.remove(from);
            tree.give(&op.path, node);
        }
        (Action::Copy { from, source, mode, .. }, _) => match tree.nodes.get(from).cloned() {
            Some(Node::File { bytes, .. }) if tree.is(from, source) => {
                if let Some(Node::File { bytes, .. }) = present {
                    tree.trash.push(bytes);
                }
                tree.put(&op.path, &bytes, *mode);
            }
            Some(_) | None => {
                return Outcome::Rejected(Rejected::Failed { reason: format!("`{from}` is not what was expected") });
            }
        },
        (Action::Patch { .. } | Action::Append { .. }, _) => {
            return Outcome::Rejected(Rejected::Failed { reason: "not supported".to_owned() });
        }
        (Action::Remove, _) => match present {
            Some(Node::Folder) if tree.children(&op.path) > 0 => {
                return Outcome::Rejected(Rejected::NotEmpty { kept: tree.children(&op.path) });
            }
            Some(Node::File { bytes, .. }) => {
                tree.trash.push(bytes);
                tree.nodes.remove(&op.path);
            }
            Some(Node::Folder | Node::Link(_)) | None => {
                tree.nodes.remove(&op.path);
            }
        },
    }
    applied(stamp(tree.nodes.get(&op.path)))
}

fn zero() -> Stamp {
    Stamp { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, device: 0 }
}

impl FakeTarget {
    async fn batch(&self, batch: Batch, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        for (index, op) in batch.ops.iter().enumerate() {
            self.alive()?;
            let (body, sent) = match &op.action {
                Action::Put { mode, .. } => match read(&*batch.bodies, &op.path) {
                    Ok((bytes, sent)) => (Some((bytes, *mode)), Some(sent)),
                    Err(unread) => {
                        // The receiver is the engine; without it nobody wants to know.
                        done.send((index, Done::Unread(unread))).await.ok();
                        continue;
                    }
                },
                Action::MakeFolder { .. }
                | Action::Link { .. }
                | Action::SetMode { .. }
                | Action::Remove
                | Action::Patch { .. }
                | Action::Move { .. }
                | Action::Copy { .. }
                | Action::Append { .. } => (None, None),
            };
            let outcome = self.one(op, body);
            locked(&self.applied).push(op.path.clone());
            if matches!(op.action, Action::Put { .. }) {
                *locked(&self.sent) += 1;
            }
            let cut = {
                let mut faults = locked(&self.faults);
                match &mut faults.cut_after {
                    Some(0) => {
                        faults.cut_after = None;
                        true
                    }
                    Some(left) => {
                        *left -= 1;
                        false
                    }
                    None => false,
                }
            };
            if cut {
                self.cut();
                return Err(lost());
            }
            if !locked(&self.faults).mute {
                done.send((index, Done::Answered(outcome, sent))).await.ok();
            }
        }
        Ok(())
    }
}

#[async_trait]
impl SyncTarget for FakeTarget {
    async fn open(&self, open: &OpenTarget) -> Result<Opened, SyncError> {
        let faults = locked(&self.faults);
        if faults.leased && !open.take_over {
            let error = |code| Error { code, message: "in use".to_owned(), help: String::new(), causes: Vec::new() };
            return Err(SyncError::Leased(error(Code::SyncLeased)));
        }
        *locked(&self.open) = true;
        let empty = self.tree.lock().nodes.is_empty();
        Ok(Opened {
            root: 1,
            path: open.path.as_str().to_owned(),
            copy: locked(&self.copy).clone(),
            created: false,
            empty,
            free_bytes: u64::MAX,
            ignores_case: faults.ignores_case,
        })
    }

    async fn verify(&self, entries: Vec<Known>) -> Result<Vec<Differs>, SyncError> {
        self.alive()?;
        let tree = self.tree.lock();
        let differs = entries.into_iter().filter(|known| !tree.is(&known.path, &known.expect));
        Ok(differs
            .map(|known| Differs {
                found: tree.nodes.get(&known.path).map(Node::found),
                path: known.path,
                problem: None,
            })
            .collect())
    }

    async fn apply(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError> {
        let mut first = 0;
        let mut told = Vec::new();
        for batch in batches {
            let count = batch.ops.len();
            let (outcomes, mut inbox) = mpsc::channel(count.max(1));
            let applied = self.batch(batch, outcomes).await;
            let mut of_batch = Vec::new();
            while let Ok((index, what)) = inbox.try_recv() {
                of_batch.push((first + index, what));
            }
            told.push(of_batch);
            first += count;
            if applied.is_err() {
                tell(told, &done).await;
                return applied;
            }
        }
        if locked(&self.faults).backwards {
            told.reverse();
        }
        tell(told, &done).await;
        Ok(())
    }

    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        self.alive()?;
        let node = self.tree.lock().nodes.get(path).cloned();
        match node {
            Some(node @ Node::File { .. }) if node.found().stamp.is_some_and(|stamp| stamp.size > most) => {
                Ok(node.found())
            }
            Some(Node::File { bytes, .. }) => {
                to.write_all(&bytes).await.map_err(|source| SyncError::Store { path: path.clone(), source })?;
                Ok(Node::File { bytes, mode: 0o644, stamp: zero() }.found())
            }
            Some(Node::Folder | Node::Link(_)) | None => Err(SyncError::Protocol("no file".to_owned())),
        }
    }

    async fn flush(&self) -> Result<Flushed, SyncError> {
        self.alive()?;
        let is_left = locked(&self.faults).never_durable;
        Ok(if is_left { Flushed::LeftToDisk } else { Flushed::Durable })
    }

    async fn empty_trash(&self) -> Result<(), SyncError> {
        self.alive()
    }

    async fn close(&self) -> Result<(), SyncError> {
        self.cut();
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        let able = !locked(&self.faults).plain;
        Abilities { moves: able, copies: able }
    }
}

async fn tell(told: Vec<Vec<(usize, Done)>>, done: &mpsc::Sender<(usize, Done)>) {
    for outcome in told.into_iter().flatten() {
        // The receiver is the engine; without it nobody wants to know.
        done.send(outcome).await.ok();
    }
}

fn read(source: &dyn Source, path: &RelPath) -> Result<(Vec<u8>, Seal), Unread> {
    let mut reading = source.open(path).map_err(|_| Unread::Gone)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 3];
    loop {
        let length = reading.read(&mut buffer).map_err(|error| Unread::Failed(error.to_string()))?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..length]);
    }
    match reading.finish() {
        Ok(Some(seal)) => Ok((bytes, seal)),
        Ok(None) => Err(Unread::Changing),
        Err(error) => Err(Unread::Failed(error.to_string())),
    }
}
