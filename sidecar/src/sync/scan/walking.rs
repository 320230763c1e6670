//! Lists and stats the synced paths, and says which files have to be hashed.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};

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
    base: &'w dyn Fn(&RelPath) -> Option<&'a Base>,
    /// When it began, in nanoseconds since the Unix epoch: every stat is later.
    moment: i64,
    /// Folders that have still to be listed.
    folders: Vec<RelPath>,
    /// Files that have to be hashed.
    to_hash: Vec<RelPath>,
    /// Whether an entry may be without the folders above it: some were only passed, or never listed.
    with_gaps: bool,
    scan: &'w mut Scan,
}

/// Fills `scan` and returns the files whose stamp does not tell what they hold.
pub(super) fn walk<'a>(
    root: &Root,
    rules: &Rules,
    under: Under<'_>,
    base: &dyn Fn(&RelPath) -> Option<&'a Base>,
    cancel: &CancellationToken,
    scan: &mut Scan,
) -> Result<Vec<RelPath>, ScanError> {
    let moment = now_ns();
    let mut walk = Walk { root, rules, base, moment, folders: Vec::new(), to_hash: Vec::new(), with_gaps: false, scan };
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
        if cancel.is_cancelled() {
            return Err(ScanError::Cancelled);
        }
        match walk.list(Some(&folder)) {
            Ok(()) => {}
            Err(Errno::NOENT) => {
                walk.with_gaps = true;
                walk.scan.entries.remove(&folder);
            }
            // Something else took its name since it was listed; the watcher reports it again.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                walk.with_gaps = true;
                walk.scan.entries.remove(&folder);
                walk.scan.unknown.insert(folder.clone());
                walk.scan.unsettled.insert(folder);
            }
            Err(error) => {
                let reason =
                    format!("the folder cannot be listed ({error}); make it readable with `chmod u+rx`, or ignore it");
                walk.scan.problems.push(SyncProblem { path: folder.to_string(), reason });
                walk.scan.unknown.insert(folder);
            }
        }
    }
    if walk.with_gaps {
        walk.add_leading_folders();
    }
    Ok(walk.to_hash)
}

impl Walk<'_, '_> {
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
