//! Lists and stats the synced paths, and says which files have to be hashed.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use protocol::editor::SyncProblem;
use protocol::path::RelPath;
use protocol::sync::{Content, Stamp};
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::reading::{mode, stamp};
use super::{Local, LocalContent, Root, Scan, ScanError, Under, now_ns, trusted};
use crate::store::Base;
use crate::sync::ignored::{RuleFiles, Rules, Verdict};
use crate::sync::plan::escapes;
use crate::sync::source::Linked;

/// A walk under way.
struct Walk<'w, 'a> {
    root: &'w Root,
    rules: &'w Rules,
    base: &'w (dyn Fn(&RelPath) -> Option<&'a Base> + Sync),
    /// When it began, in nanoseconds since the Unix epoch: every stat is later.
    moment: i64,
    /// Folders that have still to be listed.
    folders: Vec<RelPath>,
    /// Files that have to be hashed.
    to_hash: Vec<RelPath>,
    /// Folders that were not there any more when they were to be listed.
    gone: Vec<RelPath>,
    /// Whether an entry may be without the folders above it: some were only passed, or never listed.
    with_gaps: bool,
    scan: &'w mut Scan,
}

/// Fills `scan` and returns the files whose stamp does not tell what they hold.
pub(super) fn walk<'a>(
    root: &Root,
    rules: &Rules,
    under: Under<'_>,
    base: &(dyn Fn(&RelPath) -> Option<&'a Base> + Sync),
    cancel: &CancellationToken,
    scan: &mut Scan,
) -> Result<Vec<RelPath>, ScanError> {
    let moment = now_ns();
    let (folders, to_hash, gone) = (Vec::new(), Vec::new(), Vec::new());
    let mut walk = Walk { root, rules, base, moment, folders, to_hash, gone, with_gaps: false, scan };
    match under {
        Under::Everything => {
            walk.list(None)
                .map_err(|source| ScanError::Root { path: root.path().to_owned(), source: source.into() })?;
        }
        Under::Paths(paths) => {
            walk.with_gaps = true;
            walk.start_all(paths);
        }
    }
    while let Some(folder) = walk.folders.pop() {
        if walk.folders.len() >= MANY {
            walk.folders.push(folder);
            walk.share(cancel)?;
            break;
        }
        walk.enter(folder, cancel)?;
    }
    // One thread may have met them and another one missed them.
    for folder in std::mem::take(&mut walk.gone) {
        walk.scan.entries.remove(&folder);
    }
    if walk.with_gaps {
        walk.add_leading_folders();
    }
    Ok(walk.to_hash)
}

/// Open folders from which on several threads list them; fewer are listed before another thread runs.
const MANY: usize = 64;
/// Threads that list. What they ask the kernel for is in memory mostly, and the remote needs processors too.
const THREADS: usize = 2;

/// Folders that several threads list: those that nobody has begun, and how many threads may still find some.
#[derive(Debug)]
struct Open {
    folders: Vec<RelPath>,
    busy: usize,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a folder that nobody has begun; waits while another thread may find one.
fn next(open: &Mutex<Open>, found: &Condvar) -> Option<RelPath> {
    let waits = |open: &mut Open| open.folders.is_empty() && open.busy > 0;
    let mut open = found.wait_while(lock(open), waits).unwrap_or_else(PoisonError::into_inner);
    let folder = open.folders.pop()?;
    open.busy += 1;
    Some(folder)
}

impl Walk<'_, '_> {
    /// Lists what is left on several threads, and puts what they found together.
    fn share(&mut self, cancel: &CancellationToken) -> Result<(), ScanError> {
        let open = Mutex::new(Open { folders: std::mem::take(&mut self.folders), busy: 0 });
        let found = Condvar::new();
        let (root, rules, base, moment, with_gaps) = (self.root, self.rules, self.base, self.moment, self.with_gaps);
        let one = || {
            let mut scan = Scan::default();
            let (folders, to_hash, gone) = (Vec::new(), Vec::new(), Vec::new());
            let mut walk = Walk { root, rules, base, moment, folders, to_hash, gone, with_gaps, scan: &mut scan };
            while let Some(folder) = next(&open, &found) {
                let entered = walk.enter(folder, cancel);
                let mut open = lock(&open);
                open.busy -= 1;
                open.folders.append(&mut walk.folders);
                if entered.is_err() {
                    // Whoever waits for more is told that there is none.
                    open.folders.clear();
                }
                drop(open);
                found.notify_all();
                entered?;
            }
            let Walk { to_hash, gone, with_gaps, .. } = walk;
            Ok((scan, to_hash, gone, with_gaps))
        };
        let results = std::thread::scope(|threads| {
            let others: Vec<_> = (1..THREADS).map(|_| threads.spawn(one)).collect();
            let own = one();
            let others = others.into_iter().map(|other| other.join().expect("a scan does not panic"));
            std::iter::once(own).chain(others).collect::<Vec<_>>()
        });
        for result in results {
            let (mut scan, to_hash, gone, with_gaps) = result?;
            self.to_hash.extend(to_hash);
            self.gone.extend(gone);
            self.with_gaps |= with_gaps;
            self.scan.entries.append(&mut scan.entries);
            self.scan.unknown.append(&mut scan.unknown);
            self.scan.unsettled.append(&mut scan.unsettled);
            self.scan.linked.append(&mut scan.linked);
            self.scan.problems.append(&mut scan.problems);
        }
        // Which thread met them is chance.
        self.scan.problems.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(())
    }

    /// Takes up everything in a folder that was met.
    fn enter(&mut self, folder: RelPath, cancel: &CancellationToken) -> Result<(), ScanError> {
        if cancel.is_cancelled() {
            return Err(ScanError::Cancelled);
        }
        match self.list(Some(&folder)) {
            Ok(()) => {}
            Err(Errno::NOENT) => {
                self.with_gaps = true;
                self.gone.push(folder);
            }
            // Something else took its name since it was listed; the watcher reports it again.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.with_gaps = true;
                self.scan.unknown.insert(folder.clone());
                self.scan.unsettled.insert(folder.clone());
                self.gone.push(folder);
            }
            Err(error) => {
                let reason =
                    format!("the folder cannot be listed ({error}); make it readable with `chmod u+rx`, or ignore it");
                self.scan.problems.push(SyncProblem { path: folder.to_string(), reason });
                self.scan.unknown.insert(folder);
            }
        }
        Ok(())
    }

    /// Takes up the paths that were asked for; one below another comes with it.
    fn start_all(&mut self, paths: &[RelPath]) {
        let all: BTreeSet<&RelPath> = paths.iter().collect();
        for path in &all {
            let above = std::iter::successors(path.parent(), RelPath::parent);
            if !above.into_iter().any(|folder| all.contains(&folder)) {
                self.start(path);
            }
        }
    }

    /// Takes up a path that was asked for.
    fn start(&mut self, path: &RelPath) {
        match self.root.stat(path) {
            Ok(stat) => {
                let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                self.take(path.clone(), self.rules.verdict(path, is_folder), &stat, None);
            }
            // Gone, or below something that is no folder any more: not in the entries says so.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => {
                self.scan.cannot(path.clone(), format!("it cannot be looked at ({error}); make its folder readable"));
            }
        }
    }

    /// Takes up everything in a folder; `None` is the workspace.
    fn list(&mut self, folder: Option<&RelPath>) -> rustix::io::Result<()> {
        let descriptor = self.root.folder(folder)?;
        let entries = Dir::read_from(&descriptor)?.collect::<rustix::io::Result<Vec<_>>>()?;
        let files = RuleFiles::among(entries.iter().map(|entry| entry.file_name().to_bytes()));
        let rules = self.rules.folder_with(folder, files);
        for entry in &entries {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(path) = self.path_of(folder, name) else { continue };
            // Saves the stat of what is ignored, wherever the file system tells the kind.
            let kind = entry.file_type();
            let listed = (kind != FileType::Unknown).then_some(kind == FileType::Directory);
            let judged = listed.map(|is_folder| (is_folder, self.rules.verdict_in(&rules, &path, is_folder)));
            if judged.is_some_and(|(_, verdict)| verdict == Verdict::Ignored) {
                continue;
            }
            match rustix::fs::statat(&descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    let verdict = match judged {
                        Some((listed, verdict)) if listed == is_folder => verdict,
                        _ => self.rules.verdict_in(&rules, &path, is_folder),
                    };
                    self.take(path, verdict, &stat, Some((descriptor.as_fd(), name)));
                }
                // It vanished since it was listed.
                Err(Errno::NOENT) => {}
                Err(error) => {
                    self.scan.cannot(path, format!("it cannot be looked at ({error}); make its folder readable"));
                }
            }
        }
        Ok(())
    }

    /// Returns the path of a name, or notes why it has none.
    fn path_of(&mut self, folder: Option<&RelPath>, name: &CStr) -> Option<RelPath> {
        let shown = |name: &str| folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"));
        let Ok(text) = name.to_str() else {
            let reason = "its name is not UTF-8; rename it, or put it into a folder that is ignored".to_owned();
            self.scan.problems.push(SyncProblem { path: shown(&name.to_string_lossy()), reason });
            return None;
        };
        match RelPath::new(shown(text)) {
            Ok(path) => Some(path),
            Err(error) => {
                let reason = format!("{error}; rename or move it");
                self.scan.problems.push(SyncProblem { path: shown(text), reason });
                None
            }
        }
    }

    /// Takes up one path with its facts. `place` is where it can be looked up without walking down again.
    fn take(&mut self, path: RelPath, verdict: Verdict, stat: &Stat, place: Option<(BorrowedFd<'_>, &CStr)>) {
        match verdict {
            Verdict::Ignored => return,
            Verdict::Pass => {
                self.with_gaps = true;
                return self.folders.push(path);
            }
            Verdict::Synced => {}
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let content = match kind {
            FileType::Directory => {
                self.folders.push(path.clone());
                LocalContent::Folder
            }
            FileType::RegularFile => return self.take_file(path, stat),
            FileType::Symlink => match self.link(&path, place) {
                Ok(target) => LocalContent::Link { target },
                Err(reason) => return self.scan.cannot(path, reason),
            },
            other => {
                let word = match other {
                    FileType::Socket => "a socket",
                    FileType::Fifo => "a named pipe",
                    _ => "a device",
                };
                return self.scan.cannot(path, format!("{word} is not sent; ignore it to be rid of this line"));
            }
        };
        self.scan.entries.insert(path, Local { content, mode: mode(stat), stamp: None });
    }

    #[allow(clippy::useless_conversion, reason = "the field's type differs by platform")]
    fn take_file(&mut self, path: RelPath, stat: &Stat) {
        let stamp = stamp(stat);
        let hash = match (self.base)(&path) {
            Some(Base { content: Content::File { hash, size, .. }, local, .. }) if *size == stamp.size => {
                if *local == Some(stamp) {
                    Some(*hash)
                } else {
                    self.to_hash.push(path.clone());
                    None
                }
            }
            _ => None,
        };
        let names = u64::from(stat.st_nlink);
        if names > 1 {
            self.scan.linked.insert(path.clone(), Linked { inode: (stamp.inode, stamp.device), names });
        }
        let content = LocalContent::File { hash, size: stamp.size, executable: stat.st_mode & 0o100 != 0 };
        self.scan.entries.insert(path, Local { content, mode: mode(stat), stamp: self.trusted(stamp) });
    }

    fn trusted(&self, stamp: Stamp) -> Option<Stamp> {
        trusted(stamp, self.moment)
    }

    /// Returns a link's text, or why it is not sent.
    fn link(&self, path: &RelPath, place: Option<(BorrowedFd<'_>, &CStr)>) -> Result<String, String> {
        let target = match place {
            Some((folder, name)) => rustix::fs::readlinkat(folder, name, Vec::new()),
            None => self
                .root
                .folder(path.parent().as_ref())
                .and_then(|folder| rustix::fs::readlinkat(&folder, path.name(), Vec::new())),
        };
        let target = target.map_err(|error| format!("the link cannot be read ({error}); make it anew or ignore it"))?;
        let target =
            target.into_string().map_err(|_| "the link's target is not UTF-8; rename the target".to_owned())?;
        if target.starts_with('/') {
            return Err(format!("a link to the absolute path `{target}` is not sent; make it relative or ignore it"));
        }
        if escapes(path, &target) {
            return Err(format!(
                "a link to `{target}`, outside of the workspace, is not sent; ignore it to be rid of this line"
            ));
        }
        Ok(target)
    }

    /// Adds the folders above every entry, which an include override or a partial scan leaves out.
    fn add_leading_folders(&mut self) {
        let mut missing = BTreeSet::new();
        for path in self.scan.entries.keys() {
            let mut parent = path.parent();
            while let Some(folder) = parent {
                if self.scan.entries.contains_key(&folder) || missing.contains(&folder) {
                    break;
                }
                parent = folder.parent();
                missing.insert(folder);
            }
        }
        for folder in missing {
            if let Ok(stat) = self.root.stat(&folder) {
                self.scan
                    .entries
                    .insert(folder, Local { content: LocalContent::Folder, mode: mode(&stat), stamp: None });
            }
        }
    }
}
