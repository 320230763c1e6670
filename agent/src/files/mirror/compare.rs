//! Answers how folders of the mirror stand: reckons their hashes, and looks at everything in them once.
//!
//! Never reads a file and never lists a folder.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;

use protocol::mirror::{Entry, Given, MAX_NAMED, Summarise, Summary};
use protocol::path::RelPath;
use protocol::sync::{Content, Hash};

use super::super::look::{self, Clock, Kind};
use super::super::walk::{Folders, Top};
use super::blocks::{self, Reader};
use super::{Kept, Mirror, Record, merge};
use crate::merkle::{Node, Tree, Visitor, order};

/// Blocks of the sorted file that are looked at together, half of them by each of two threads: half a megabyte,
/// or some five thousand paths.
const TOGETHER: usize = 8;
/// Bytes of names in one answer, far below the longest frame; a folder beyond them is told as unknown.
const MOST_TOLD: usize = 1024 * 1024;
/// Bytes that a name takes in an answer beside its own.
const ENTRY: usize = 128;

/// Returns how each folder that was asked about stands. Blocks.
pub(in super::super) fn summaries(mirror: &Mirror, top: &Top, clock: Clock, asked: &Summarise) -> Vec<Summary> {
    let unknown = || vec![Summary::Unknown; asked.folders.len()];
    match compared(mirror, top, clock, asked) {
        Ok(Some(summaries)) => summaries,
        Ok(None) => unknown(),
        Err(error) => {
            mirror.broken(&error);
            unknown()
        }
    }
}

fn compared(mirror: &Mirror, top: &Top, clock: Clock, asked: &Summarise) -> io::Result<Option<Vec<Summary>>> {
    let Some((mut sorted, changes)) = mirror.contents()? else { return Ok(None) };
    let names: Vec<&str> =
        asked.folders.iter().map(|(folder, _)| folder.as_ref().map_or("", RelPath::as_str)).collect();
    let looker = Looker { top, clock, folders: names.iter().copied().collect() };
    let mut told = Told { numbers: HashMap::new(), folders: vec![None; names.len()] };
    told.numbers.extend(names.iter().enumerate().map(|(number, name)| ((*name).to_owned(), number)));
    let mut tree = Tree::new(told);
    let mut folders = Folders::to_look(top);
    let mut changes = changes.into_iter().peekable();
    loop {
        let judged = sorted.as_mut().map_or_else(|| Ok(Vec::new()), |sorted| looker.next(sorted))?;
        let last = judged.last().map(|judged| judged.path.clone());
        let mut judged = judged.into_iter().peekable();
        // What came since and lies beyond these entries waits for the next ones.
        while judged.peek().is_some()
            || changes.peek().is_some_and(|change| last.as_ref().is_none_or(|last| !is_after(&change.path, last)))
        {
            let by_path = |one: &Judged, other: &Record| order(one.path.as_str(), other.path.as_str());
            let Some((old, change)) = merge::next(&mut judged, &mut changes, by_path) else { break };
            let entry = match change {
                None => old,
                Some(Record { path, change }) => merge::changed(old.as_ref().map(|old| &old.kept), change)
                    .map(|kept| Judged { intact: looker.intact(&mut folders, &path, &kept), path, kept }),
            };
            if let Some(entry) = entry {
                add(&mut tree, entry);
            }
        }
        if last.is_none() {
            break;
        }
    }
    let mut room = MOST_TOLD;
    let folders = asked.folders.iter().zip(tree.finish().folders);
    Ok(Some(folders.map(|((_, hash), folder)| summary(*hash, folder, &mut room)).collect()))
}

fn is_after(one: &RelPath, other: &RelPath) -> bool {
    order(one.as_str(), other.as_str()).is_gt()
}

/// An entry and whether it is still as it was when it was given.
#[derive(Debug)]
struct Judged {
    path: RelPath,
    kept: Kept,
    intact: bool,
}

/// Looks at entries.
struct Looker<'a> {
    top: &'a Top,
    clock: Clock,
    /// The folders that were asked about; nothing outside of them is looked at.
    folders: HashSet<&'a str>,
}

impl Looker<'_> {
    /// Returns the next entries of the sorted file; none at its end.
    fn next(&self, sorted: &mut Reader) -> io::Result<Vec<Judged>> {
        let mut blocks = Vec::new();
        while blocks.len() < TOGETHER
            && let Some(block) = sorted.block()?
        {
            blocks.push(block);
        }
        let (first, second) = blocks.split_at(blocks.len().div_ceil(2));
        if second.is_empty() {
            return self.judged(first);
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.judged(second));
            let mut judged = self.judged(first)?;
            match other.join() {
                Ok(more) => judged.extend(more?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            Ok(judged)
        })
    }

    fn judged(&self, blocks: &[Vec<u8>]) -> io::Result<Vec<Judged>> {
        let mut folders = Folders::to_look(self.top);
        let mut judged = Vec::new();
        for block in blocks {
            for Record { path, change } in blocks::records(block)? {
                if let Some(kept) = merge::changed(None, change) {
                    judged.push(Judged { intact: self.intact(&mut folders, &path, &kept), path, kept });
                }
            }
        }
        Ok(judged)
    }

    fn is_asked(&self, path: &RelPath) -> bool {
        let folders = || path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]);
        self.folders.contains("")
            || self.folders.contains(path.as_str())
            || folders().any(|folder| self.folders.contains(folder))
    }

    /// Returns whether what stands at a path is what was given there; only a stamp says so of a file.
    fn intact(&self, folders: &mut Folders<'_>, path: &RelPath, kept: &Kept) -> bool {
        if !self.is_asked(path) {
            return true;
        }
        let Ok(parent) = folders.parent_of(path) else { return false };
        let Ok(Some(seen)) = look::at(parent.as_fd(), path.name()) else { return false };
        match (&kept.content, seen.kind) {
            (Content::File { .. }, Kind::File) => {
                kept.stamp.is_some_and(|stamp| self.clock.trusts(&stamp, &seen.stamp))
            }
            (Content::Folder, Kind::Folder) => true,
            (Content::Link { target }, Kind::Link) => {
                look::target(parent.as_fd(), path.name()).is_ok_and(|text| text == *target)
            }
            (Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special, _) => false,
        }
    }
}

/// Gathers what is told of the folders that were asked about.
struct Told {
    numbers: HashMap<String, usize>,
    folders: Vec<Option<(Hash, Folder)>>,
}

/// What is known of a folder so far.
#[derive(Clone, Debug)]
struct Folder {
    /// Whether it and everything below it is as it was.
    intact: bool,
    /// What is told of it, when it was asked about.
    asked: Option<Answer>,
}

#[derive(Clone, Debug, Default)]
struct Answer {
    number: usize,
    entries: Vec<Entry>,
    changed: Vec<RelPath>,
}

impl Answer {
    /// Takes up one more than may be told, which says that there are too many.
    fn take<T>(list: &mut Vec<T>, more: T) {
        if list.len() <= MAX_NAMED {
            list.push(more);
        }
    }
}

impl Visitor for Told {
    type Of = Folder;

    fn begin(&mut self, folder: &str) -> Folder {
        let asked = self.numbers.get(folder).map(|number| Answer { number: *number, ..Answer::default() });
        Folder { intact: true, asked }
    }

    fn end(&mut self, folder: &str, hash: Hash, of: Folder, parent: Option<&mut Folder>) {
        if let Some(parent) = parent {
            parent.intact &= of.intact;
            if let Some(answer) = &mut parent.asked {
                let name = folder.rsplit_once('/').map_or(folder, |(_, name)| name).to_owned();
                Answer::take(&mut answer.entries, Entry { name, given: Given::Folder(hash), intact: of.intact });
            }
        }
        if let Some(number) = of.asked.as_ref().map(|answer| answer.number)
            && let Some(place) = self.folders.get_mut(number)
        {
            *place = Some((hash, of));
        }
    }
}

fn add(tree: &mut Tree<Told>, entry: Judged) {
    let Judged { path, kept, intact } = entry;
    let is_folder = kept.content == Content::Folder;
    tree.add(path.as_str(), Node::from(&kept.content));
    let mut folders = tree.open().rev();
    let Some(innermost) = folders.next() else { return };
    if !intact {
        for folder in folders {
            folder.intact = false;
            if let Some(answer) = &mut folder.asked {
                Answer::take(&mut answer.changed, path.clone());
            }
        }
        innermost.intact = false;
        if let Some(answer) = &mut innermost.asked {
            Answer::take(&mut answer.changed, path.clone());
        }
    }
    if !is_folder && let Some(answer) = &mut innermost.asked {
        let name = path.name().to_owned();
        Answer::take(&mut answer.entries, Entry { name, given: Given::Leaf(kept.content, kept.stamp), intact });
    }
}

fn summary(wanted: Hash, folder: Option<(Hash, Folder)>, room: &mut usize) -> Summary {
    let Some((hash, Folder { intact, asked: Some(mut answer) })) = folder else { return Summary::Unknown };
    let of_entry = |entry: &Entry| {
        ENTRY
            + entry.name.len()
            + match &entry.given {
                Given::Leaf(Content::Link { target }, _) => target.len(),
                Given::Leaf(Content::File { .. } | Content::Folder | Content::Special, _) | Given::Folder(_) => 0,
            }
    };
    let (count, bytes) = match hash == wanted {
        true if intact => return Summary::Same,
        true => (answer.changed.len(), answer.changed.iter().map(|path| path.as_str().len() + ENTRY).sum()),
        false => (answer.entries.len(), answer.entries.iter().map(of_entry).sum::<usize>()),
    };
    let Some(left) = room.checked_sub(bytes).filter(|_| count <= MAX_NAMED) else { return Summary::Unknown };
    *room = left;
    if hash == wanted {
        return Summary::Changed(answer.changed);
    }
    answer.entries.sort_by(|one, other| one.name.cmp(&other.name));
    Summary::Different(answer.entries)
}
