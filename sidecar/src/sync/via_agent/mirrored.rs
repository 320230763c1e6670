//! The handshake with the mirror of an agent: one question when nothing changed, and a way down to what did.
//!
//! What the agent says is believed of its own copy only: of what it calls unchanged nothing is read, of the rest
//! every path is asked about.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use agent::merkle::{self, Node, Tree, Visitor};
use protocol::agent::{MAX_BATCH, Reply, Request};
use protocol::mirror::{Entry, Given, Summarise, Summary};
use protocol::path::RelPath;
use protocol::sync::{Content, Hash, Known, Stamp};

use super::super::look::blocking;
use super::super::plan::below;
use super::super::target::{SyncError, about_base};
use super::{Root, died, unexpected};
use crate::store::Base;

/// Most names that are taken from the answers of one comparison beside those of the base. A mirror that differs
/// more is of little use, and one that never ends is a lie.
const MOST_UNKNOWN: usize = 64 * 1024;
/// Wanted of a folder of which the base knows nothing: no folder has this hash.
const NO_HASH: Hash = Hash([0; 32]);

/// What came of the handshake.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What has still to be asked, path by path.
    pub(super) ask: Vec<Known>,
    /// See [`super::Compared::given`].
    pub(super) given: Vec<(RelPath, protocol::sync::Found)>,
    /// See [`super::Compared::unknown`].
    pub(super) unknown: Vec<RelPath>,
}

/// Compares the base with the agent's mirror.
pub(super) async fn compare(root: &Root, base: &Arc<BTreeMap<RelPath, Base>>) -> Result<Found, SyncError> {
    let own = Arc::clone(base);
    let hashes = blocking(move || hashes(&own)).await.map_err(died)?;
    let mut descent = Descent { base, hashes: &hashes, ask: BTreeSet::new(), found: Found::default() };
    let mut folders = vec![(None, hashes.get("").copied().unwrap_or(NO_HASH))];
    while !folders.is_empty() {
        // In small trees what has to be asked is soon asked, in large ones nobody changes this many folders.
        if folders.len() > MAX_BATCH || descent.found.unknown.len() > MOST_UNKNOWN {
            return Ok(Found { ask: about_base(base.iter()), ..Found::default() });
        }
        let summaries = summarise(root, folders.clone(), Vec::new()).await?;
        if summaries.len() != folders.len() {
            return Err(SyncError::Protocol("it spoke of other folders than it was asked about".to_owned()));
        }
        let mut deeper = Vec::new();
        for ((folder, _), summary) in folders.iter().zip(summaries) {
            descent.take(folder.as_ref(), summary, &mut deeper)?;
        }
        folders = deeper;
    }
    let Descent { ask, mut found, .. } = descent;
    found.ask = about_base(ask.into_iter().filter_map(|path| base.get_key_value(path)));
    Ok(found)
}

/// Asks about folders of the mirror and has it forget some paths.
pub(super) async fn summarise(
    root: &Root,
    folders: Vec<(Option<RelPath>, Hash)>,
    forget: Vec<RelPath>,
) -> Result<Vec<Summary>, SyncError> {
    match root.call(Request::Summarise(Summarise { root: root.id, folders, forget })).await? {
        Reply::Summarised(summaries) => Ok(summaries),
        other => Err(unexpected(other)),
    }
}

/// Returns the hash of every folder of the base.
fn hashes(base: &BTreeMap<RelPath, Base>) -> HashMap<String, Hash> {
    struct Hashes(HashMap<String, Hash>);
    impl Visitor for Hashes {
        type Of = ();
        fn begin(&mut self, _: &str) {}
        fn end(&mut self, folder: &str, hash: Hash, (): (), _: Option<&mut ()>) {
            self.0.insert(folder.to_owned(), hash);
        }
    }
    let mut sorted: Vec<(&RelPath, &Base)> = base.iter().collect();
    sorted.sort_by(|(one, _), (other, _)| merkle::order(one.as_str(), other.as_str()));
    let mut tree = Tree::new(Hashes(HashMap::new()));
    for (path, base) in sorted {
        tree.add(path.as_str(), Node::from(&base.content));
    }
    tree.finish().0
}

/// A walk down to where both sides differ.
struct Descent<'a> {
    base: &'a BTreeMap<RelPath, Base>,
    hashes: &'a HashMap<String, Hash>,
    /// Paths of the base that have to be asked about.
    ask: BTreeSet<&'a RelPath>,
    found: Found,
}

impl Descent<'_> {
    fn take(
        &mut self,
        folder: Option<&RelPath>,
        summary: Summary,
        deeper: &mut Vec<(Option<RelPath>, Hash)>,
    ) -> Result<(), SyncError> {
        match summary {
            Summary::Same => {}
            Summary::Changed(paths) => {
                for path in paths {
                    if !folder.is_none_or(|folder| path.starts_with(folder)) {
                        return Err(elsewhere(&path));
                    }
                    self.ask.extend(self.base.get_key_value(&path).map(|(path, _)| path));
                }
            }
            Summary::Unknown => match folder {
                None => self.ask.extend(self.base.keys()),
                Some(folder) => self.ask.extend(below(self.base, folder).map(|(path, _)| path)),
            },
            Summary::Different(entries) => self.different(folder, entries, deeper)?,
        }
        Ok(())
    }

    fn different(
        &mut self,
        folder: Option<&RelPath>,
        entries: Vec<Entry>,
        deeper: &mut Vec<(Option<RelPath>, Hash)>,
    ) -> Result<(), SyncError> {
        let mut told = HashSet::new();
        for Entry { name, given, intact } in entries {
            let path = match folder {
                None => RelPath::new(name),
                Some(folder) => folder.join(&name),
            };
            let path = path.map_err(|error| SyncError::Protocol(error.to_string()))?;
            if path.parent().as_ref() != folder {
                return Err(elsewhere(&path));
            }
            let known = self.base.get_key_value(&path);
            if known.is_none() && !self.hashes.contains_key(path.as_str()) {
                self.found.unknown.push(path.clone());
            }
            match given {
                Given::Folder(hash) => {
                    let wanted = self.hashes.get(path.as_str()).copied();
                    if known.is_some_and(|(_, base)| base.content != Content::Folder) {
                        self.ask.extend(known.map(|(path, _)| path));
                    }
                    if !intact || wanted != Some(hash) {
                        deeper.push((Some(path.clone()), wanted.unwrap_or(NO_HASH)));
                    }
                }
                Given::Leaf(content, stamp) => {
                    if !can_be_given(&content, stamp) {
                        return Err(SyncError::Protocol(format!("it says that `{path}` was given, which cannot be")));
                    }
                    // With the execute bit: a chmod that was not written down may have been taken back here since.
                    let same = known.is_some_and(|(_, base)| base.content == content);
                    if self.hashes.contains_key(path.as_str()) {
                        self.ask.extend(below(self.base, &path).map(|(path, _)| path));
                    } else if intact && !same {
                        self.found.given.push((path.clone(), protocol::sync::Found { content, stamp }));
                    } else if !intact {
                        self.ask.extend(known.map(|(path, _)| path));
                    }
                }
            }
            told.insert(path.as_str().to_owned());
        }
        // What the mirror does not have at all was never given, as far as it knows.
        let begin = folder.map_or(0, |folder| folder.as_str().len() + 1);
        let is_told = |path: &&RelPath| {
            let path = path.as_str();
            let end = path[begin..].find('/').map_or(path.len(), |at| begin + at);
            told.contains(&path[..end])
        };
        let mine: Vec<&RelPath> = match folder {
            None => self.base.keys().collect(),
            Some(folder) => below(self.base, folder).map(|(path, _)| path).filter(|path| *path != folder).collect(),
        };
        self.ask.extend(mine.into_iter().filter(|path| !is_told(path)));
        Ok(())
    }
}

/// Returns whether a file or link is what an agent may have been given.
fn can_be_given(content: &Content, stamp: Option<Stamp>) -> bool {
    match content {
        Content::File { size, .. } => stamp.is_some_and(|stamp| stamp.size == *size),
        Content::Link { .. } => stamp.is_none(),
        Content::Folder | Content::Special => false,
    }
}

fn elsewhere(path: &RelPath) -> SyncError {
    SyncError::Protocol(format!("it spoke of `{path}`, which was not asked for"))
}
