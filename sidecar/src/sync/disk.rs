//! The workspace on disk. Every path is walked from the workspace folder without following a link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::path::RelPath;
use protocol::sync::{Content, Hash};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::ignored::{Rules, Verdict};
use super::plan::{Held, Local, below, folders_above, joined};
use super::scan::{self, Beginning, LocalContent, ReadError, Reader, Root, ScanError, Seal, Under};
use super::source::{Reading, Replacement, Scan, Source};
use crate::store::Base;

/// A workspace on disk.
pub struct Disk {
    path: PathBuf,
    rules: Arc<Rules>,
    cancel: CancellationToken,
    root: RwLock<Option<Arc<Root>>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Disk").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Disk {
    /// Returns the workspace at the absolute `path`. `cancel` ends a scan that is under way.
    pub fn new(path: PathBuf, rules: Arc<Rules>, cancel: CancellationToken) -> Self {
        Self { path, rules, cancel, root: RwLock::default() }
    }

    /// Opens the folder anew, so that a replaced one is noticed.
    fn reopen(&self) -> io::Result<Arc<Root>> {
        let root = Arc::new(Root::open(&self.path).map_err(scan_error)?);
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&root));
        Ok(root)
    }

    fn root(&self) -> io::Result<Arc<Root>> {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner).clone();
        root.map_or_else(|| self.reopen(), Ok)
    }

    /// A rule file decides about its folder, so that all of it has to be looked at.
    fn reload_rules(&self, paths: Option<&BTreeSet<RelPath>>) -> Option<BTreeSet<RelPath>> {
        let Some(paths) = paths else {
            self.rules.reload(None);
            return None;
        };
        let mut wider = paths.clone();
        let mut everything = false;
        for rules in paths.iter().filter(|path| Rules::is_rule_file(path)) {
            let folder = rules.parent();
            self.rules.reload(folder.as_ref());
            match folder {
                Some(folder) => drop(wider.insert(folder)),
                None => everything = true,
            }
        }
        (!everything).then_some(wider)
    }
}

impl Source for Disk {
    fn scan(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> io::Result<Scan> {
        let looked_at = self.reload_rules(paths);
        let root = self.reopen()?;
        let list: Option<Vec<RelPath>> = looked_at.as_ref().map(|paths| paths.iter().cloned().collect());
        let under = list.as_deref().map_or(Under::Everything, Under::Paths);
        let seen = scan::scan(&root, &self.rules, under, &|path| base.get(path), &self.cancel).map_err(scan_error)?;
        let ignored = ignored(&self.rules, &seen, looked_at.as_ref(), base);
        let mut problems: Vec<(String, String)> =
            seen.problems.into_iter().map(|problem| (problem.path, problem.reason)).collect();
        if looked_at.is_none() {
            problems.extend(self.rules.problems().into_iter().map(|problem| (problem.path, problem.reason)));
        }
        Ok(Scan {
            root: Some(seen.root),
            found: seen.entries.into_iter().map(|(path, local)| (path, held(local))).collect(),
            problems,
            unknown: seen.unknown,
            unsettled: seen.unsettled,
            ignored,
            linked: seen.linked,
            looked_at,
        })
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn Reading>> {
        let reader = self.root()?.reader(path).map_err(read_error)?;
        Ok(Box::new(Opened(reader)))
    }

    fn replace(&self, path: &RelPath, expected: Option<&Local>, with: &Replacement<'_>, keep: &Path) -> io::Result<()> {
        let folder = folder_of(&self.path, path)?;
        let Some(expected) = expected else { return create(&folder, path.name(), with) };
        let before = rustix::fs::statat(&folder, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
        self.keep_old(&folder, path, expected, keep)?;
        let temporary = write_beside(&folder, with, Some(expected))?;
        let after = rustix::fs::statat(&folder, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
        let same = (
            before.st_ino,
            before.st_size,
            before.st_mtime,
            before.st_mtime_nsec,
            before.st_ctime,
            before.st_ctime_nsec,
        ) == (
            after.st_ino,
            after.st_size,
            after.st_mtime,
            after.st_mtime_nsec,
            after.st_ctime,
            after.st_ctime_nsec,
        );
        let done = match (&temporary, same) {
            (_, false) => Err(changed()),
            (Some(name), true) => {
                rustix::fs::renameat(&folder, name.as_str(), &folder, path.name()).map_err(io::Error::from)
            }
            (None, true) => rustix::fs::unlinkat(&folder, path.name(), AtFlags::empty()).map_err(io::Error::from),
        };
        if done.is_err()
            && let Some(name) = temporary
        {
            rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::empty())?;
        }
        done
    }
}

impl Disk {
    /// Copies what is at `path` to `keep` when it is what was expected.
    fn keep_old(&self, folder: &OwnedFd, path: &RelPath, expected: &Local, keep: &Path) -> io::Result<()> {
        let parent = keep.parent().ok_or_else(changed)?;
        std::fs::create_dir_all(parent)?;
        match &expected.held {
            Held::Folder => Err(io::Error::other("a folder is not replaced")),
            Held::Link { target } => {
                let text = rustix::fs::readlinkat(folder, path.name(), Vec::new())?;
                if text.to_bytes() != target.as_bytes() {
                    return Err(changed());
                }
                std::fs::write(keep, target)
            }
            Held::File { hash: wanted, .. } => {
                let mut copy = tempfile::NamedTempFile::new_in(parent)?;
                let mut reading = self.open(path)?;
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let length = reading.read(&mut buffer)?;
                    if length == 0 {
                        break;
                    }
                    copy.write_all(buffer.get(..length).unwrap_or_default())?;
                }
                let seal = reading.finish()?.ok_or_else(changed)?;
                if *wanted != Some(seal.hash) {
                    return Err(changed());
                }
                copy.as_file().sync_all()?;
                copy.persist_noclobber(keep).map(drop).map_err(|failed| failed.error)
            }
        }
    }
}

pub(super) fn changed() -> io::Error {
    io::Error::other("it changed meanwhile")
}

/// Opens the folder that holds `path`, making what is missing; no component may be a link.
pub(super) fn folder_of(root: &Path, path: &RelPath) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let Some(parent) = path.parent() else { return Ok(folder) };
    for name in parent.components() {
        match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
    }
    Ok(folder)
}

/// Puts something where nothing is; fails when something is there after all.
fn create(folder: &OwnedFd, name: &str, with: &Replacement<'_>) -> io::Result<()> {
    match with {
        Replacement::Nothing => Ok(()),
        Replacement::Link(target) => rustix::fs::symlinkat(*target, folder, name).map_err(io::Error::from),
        Replacement::File { .. } => {
            let Some(temporary) = write_beside(folder, with, None)? else { return Ok(()) };
            let linked = rustix::fs::linkat(folder, temporary.as_str(), folder, name, AtFlags::empty());
            rustix::fs::unlinkat(folder, temporary.as_str(), AtFlags::empty())?;
            linked.map_err(io::Error::from)
        }
    }
}

/// Writes a replacement under a name of our own, and returns that; `None` when there is nothing to write.
/// A file keeps the permissions of the one it replaces, but for the execute bits: a private one stays private.
fn write_beside(folder: &OwnedFd, with: &Replacement<'_>, replaced: Option<&Local>) -> io::Result<Option<String>> {
    let unique = tempfile::Builder::new().rand_bytes(12).prefix("").make(|path| Ok(path.to_owned()))?;
    let unique = unique.path().file_name().and_then(|name| name.to_str()).unwrap_or("new").to_owned();
    let name = format!(".mltoolbox-{unique}");
    match with {
        Replacement::Nothing => return Ok(None),
        Replacement::Link(target) => rustix::fs::symlinkat(*target, folder, name.as_str())?,
        Replacement::File { from, executable } => {
            let replaced = replaced.filter(|local| matches!(local.held, Held::File { .. })).map(|local| {
                let kept = local.mode & !0o111;
                if *executable { kept | (kept & 0o444) >> 2 } else { kept }
            });
            let mode = match (replaced, *executable) {
                (Some(_), _) => 0o600,
                (None, true) => 0o777,
                (None, false) => 0o666,
            };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(folder, name.as_str(), flags, Mode::from_raw_mode(mode))?);
            let written = File::open(from).and_then(|mut from| {
                io::copy(&mut from, &mut file)?;
                if let Some(bits) = replaced {
                    file.set_permissions(Permissions::from_mode(bits))?;
                }
                file.sync_all()
            });
            if let Err(error) = written {
                rustix::fs::unlinkat(folder, name.as_str(), AtFlags::empty())?;
                return Err(error);
            }
        }
    }
    Ok(Some(name))
}

fn ignored(
    rules: &Rules,
    seen: &scan::Scan,
    looked_at: Option<&BTreeSet<RelPath>>,
    base: &BTreeMap<RelPath, Base>,
) -> BTreeSet<RelPath> {
    let is_ignored = |path: &RelPath, base: &Base| match rules.verdict(path, base.content == Content::Folder) {
        Verdict::Ignored | Verdict::Pass => true,
        Verdict::Synced => false,
    };
    let Some(asked) = looked_at else {
        let gone = joined(base, &seen.entries).filter(|(_, _, found)| found.is_none());
        let gone = gone.filter(|(path, base, _)| base.is_some_and(|base| is_ignored(path, base)));
        return gone.map(|(path, ..)| path.clone()).collect();
    };
    let gone = |(path, base): &(&RelPath, &Base)| !seen.entries.contains_key(*path) && is_ignored(path, base);
    // Not the whole base: a save must not cost more in a larger workspace.
    let mut ignored = BTreeSet::new();
    for path in asked.iter().filter(|path| !folders_above(path).any(|folder| asked.contains(&folder))) {
        ignored.extend(below(base, path).filter(gone).map(|(path, _)| path.clone()));
    }
    ignored
}

fn held(local: scan::Local) -> Local {
    let held = match local.content {
        LocalContent::File { hash, size, .. } => Held::File { hash, size },
        LocalContent::Folder => Held::Folder,
        LocalContent::Link { target } => Held::Link { target },
    };
    Local { held, mode: local.mode, stamp: local.stamp }
}

fn scan_error(error: ScanError) -> io::Error {
    match error {
        ScanError::Root { source, .. } => source,
        ScanError::Cancelled => io::Error::from(io::ErrorKind::Interrupted),
    }
}

fn read_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Gone(_) | ReadError::NotAFile(_) => io::Error::from(io::ErrorKind::NotFound),
        ReadError::TooLong { .. } | ReadError::Changed(_) => changed(),
        ReadError::Failed { source, .. } => source,
    }
}

struct Opened(Reader);

impl Reading for Opened {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.next(buffer).map_err(read_error)
    }

    fn hash_so_far(&self) -> Hash {
        self.0.hash_so_far()
    }

    fn beginning(&self) -> io::Result<Option<Beginning>> {
        self.0.beginning().map(Some).map_err(read_error)
    }

    fn go_on_behind(&mut self, beginning: &Beginning) -> io::Result<bool> {
        self.0.go_on_behind(beginning).map_err(read_error)
    }

    fn finish(self: Box<Self>) -> io::Result<Option<Seal>> {
        match self.0.finish() {
            Ok(seal) => Ok(Some(seal)),
            Err(ReadError::Changed(_)) => Ok(None),
            Err(error) => Err(read_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ignored::Options;
    use super::super::source::hash;
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn disk(root: &Path) -> Disk {
        let options = Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false };
        Disk::new(root.to_owned(), Arc::new(Rules::load(root, &options)), CancellationToken::new())
    }

    fn file(disk: &Disk, at: &str) -> Local {
        let seal = hash(disk, &path(at)).expect("it can be read").expect("it is quiet");
        Local { held: Held::File { hash: Some(seal.hash), size: seal.size }, mode: seal.mode, stamp: None }
    }

    #[test]
    fn a_replaced_file_is_kept_and_an_unexpected_one_stays() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let root = folder.path().join("w");
        std::fs::create_dir(&root).expect("a folder can be made");
        std::fs::write(root.join("a"), "ours").expect("a file can be written");
        std::fs::write(folder.path().join("new"), "theirs").expect("a file can be written");
        let (disk, new, keep) = (disk(&root), folder.path().join("new"), folder.path().join("kept/a"));
        let with = Replacement::File { from: &new, executable: false };
        let expected = file(&disk, "a");
        std::fs::write(root.join("a"), "newer").expect("a file can be written");
        disk.replace(&path("a"), Some(&expected), &with, &keep).expect_err("it changed");
        disk.replace(&path("a"), None, &with, &keep).expect_err("something is there");
        assert_eq!(std::fs::read_to_string(root.join("a")).expect("it is there"), "newer");
        disk.replace(&path("a"), Some(&file(&disk, "a")), &with, &keep).expect("it is as expected");
        assert_eq!(std::fs::read_to_string(root.join("a")).expect("it is there"), "theirs");
        assert_eq!(std::fs::read_to_string(keep).expect("it is kept"), "newer");
        assert_eq!(std::fs::read_dir(&root).expect("it is a folder").count(), 1, "nothing is left beside");
    }

    #[test]
    fn a_private_file_stays_private_when_it_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        for (mode, executable, want) in [(0o600, false, 0o600), (0o600, true, 0o700), (0o755, false, 0o644)] {
            let folder = tempfile::tempdir().expect("a folder can be made");
            let (root, new) = (folder.path().join("w"), folder.path().join("new"));
            std::fs::create_dir(&root).expect("a folder can be made");
            std::fs::write(root.join("a"), "ours").expect("a file can be written");
            std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(mode)).expect("it is ours");
            std::fs::write(&new, "theirs").expect("a file can be written");
            let (disk, with) = (disk(&root), Replacement::File { from: &new, executable });
            let keep = folder.path().join("kept/a");
            disk.replace(&path("a"), Some(&file(&disk, "a")), &with, &keep).expect("it is as expected");
            let now = std::fs::metadata(root.join("a")).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(now, want, "{mode:o} {executable}");
        }
    }

    #[test]
    fn a_link_on_the_way_is_never_followed() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (root, outside) = (folder.path().join("w"), folder.path().join("outside"));
        std::fs::create_dir(&root).expect("a folder can be made");
        std::fs::create_dir(&outside).expect("a folder can be made");
        std::os::unix::fs::symlink(&outside, root.join("d")).expect("a link can be made");
        std::fs::write(folder.path().join("new"), "theirs").expect("a file can be written");
        let new = folder.path().join("new");
        let with = Replacement::File { from: &new, executable: false };
        disk(&root).replace(&path("d/a"), None, &with, &folder.path().join("kept")).expect_err("d is a link");
        assert_eq!(std::fs::read_dir(&outside).expect("it is a folder").count(), 0);
    }

    #[test]
    fn what_became_ignored_is_told_apart_from_what_is_gone() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::write(folder.path().join("a.log"), "x").expect("a file can be written");
        std::fs::write(folder.path().join(".mltignore"), "*.log\n").expect("a file can be written");
        let base = Base { content: Content::Folder, mode: 0o755, local: None, remote: None };
        let base = BTreeMap::from([(path("a.log"), base.clone()), (path("gone"), base)]);
        let scan = disk(folder.path()).scan(None, &base).expect("the folder is there");
        assert_eq!(scan.ignored, BTreeSet::from([path("a.log")]));
        assert!(scan.found.contains_key(&path(".mltignore")));
    }
}
