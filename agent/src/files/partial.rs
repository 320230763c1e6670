//! What is left of large transfers that were cut off, in `partial/` of the side directory: the bytes that arrived
//! under a name made of the path, and beside them the path.
//!
//! They are only ever sources of bytes that are hashed again: nothing here is believed. What a link receives counts
//! from the beginning, since nobody may have told this machine yet that the other end is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::agent::MAX_BATCH;
use protocol::delta::Partial;
use protocol::path::RelPath;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::RootError;
use super::look::{self, Kind};
use super::side::{self, Side};
use super::trash;

/// Fewest bytes that are worth keeping: fewer are sent again in less time than it takes to ask for them.
pub(super) const WORTH: u64 = 1024 * 1024;
/// How long they are kept.
const KEEP: Duration = Duration::from_hours(7 * 24);
/// Most bytes that are kept; the oldest go first.
const CAP: u64 = 16 << 30;
/// Ending of the name of the file that holds the path.
pub(super) const NAMED: &str = ".path";
/// Longest path that is read.
const MAX_PATH: u64 = 64 * 1024;

/// The folder of what is left.
#[derive(Debug)]
pub(super) struct Partials {
    folder: File,
    /// Where transfers are under way, each link's in a folder of its own.
    workshops: File,
}

impl Partials {
    /// Opens the folder and purges what is old.
    pub(super) fn open(side: &Side) -> Result<Self, RootError> {
        side::make_folder(side.folder.as_fd(), "partial").map_err(|error| side.failed(error))?;
        let partials = Self { folder: side.subfolder("partial")?, workshops: side.subfolder("tmp")? };
        partials.purge(SystemTime::now(), CAP).map_err(|error| side.failed(error))?;
        Ok(partials)
    }

    /// Takes over the file at `name`, which was to go to `path`. What was left before is replaced, unless it is
    /// longer and `continued` says that the file was made from it.
    pub(super) fn keep(&self, from: BorrowedFd<'_>, name: &str, path: &RelPath, continued: bool) -> io::Result<()> {
        let key = key(path);
        let Some(fresh) = look::at(from, name)? else { return Ok(()) };
        let before = look::at(self.folder.as_fd(), &key)?;
        if fresh.stamp.size < WORTH || continued && before.is_some_and(|old| old.stamp.size >= fresh.stamp.size) {
            return Ok(());
        }
        write_path(self.folder.as_fd(), &format!("{key}{NAMED}"), path)?;
        rustix::fs::renameat(from, name, &self.folder, &key)?;
        self.purge(SystemTime::now(), CAP)
    }

    /// Takes over what a killed agent left in its workshop.
    pub(super) fn rescue(&self, workshop: &File) -> io::Result<()> {
        for name in trash::names(workshop)? {
            let Some(file) = name.strip_suffix(NAMED) else { continue };
            if let Some(path) = read_path(workshop, &name)? {
                self.keep(workshop.as_fd(), file, &path, true)?;
            }
        }
        Ok(())
    }

    /// Forgets what is left for `path`, because it was written.
    pub(super) fn forget(&self, path: &RelPath) {
        let key = key(path);
        for name in [format!("{key}{NAMED}"), key] {
            match rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => tracing::debug!(%error, "what is left of a transfer is purged later"),
            }
        }
    }

    /// Opens what is left for `path`; the longest, if several were cut off.
    pub(super) fn file(&self, path: &RelPath) -> io::Result<Option<File>> {
        let mut longest: Option<(u64, File)> = None;
        self.visit(&mut |folder, name, size, found| {
            if found == *path && longest.as_ref().is_none_or(|(length, _)| *length < size) {
                longest = Some((size, look::open(folder.as_fd(), name)?));
            }
            Ok(())
        })?;
        Ok(longest.map(|(_, file)| file))
    }

    /// Returns what is left, at most [`MAX_BATCH`].
    pub(super) fn list(&self) -> io::Result<Vec<Partial>> {
        let mut partials = BTreeMap::new();
        self.visit(&mut |_, _, size, path| {
            let length = partials.entry(path).or_insert(size);
            *length = size.max(*length);
            Ok(())
        })?;
        Ok(partials.into_iter().map(|(path, size)| Partial { path, size }).take(MAX_BATCH).collect())
    }

    /// Shows everything that is left, with the folder and name that it has.
    fn visit(&self, show: &mut dyn FnMut(&File, &str, u64, RelPath) -> io::Result<()>) -> io::Result<()> {
        show_folder(&self.folder, show)?;
        for name in trash::names(&self.workshops)? {
            match side::open_folder(self.workshops.as_fd(), &name).and_then(|folder| show_folder(&folder, show)) {
                // It ended meanwhile, and what it left is in our folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => show_folder(&self.folder, show)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes what is older than [`KEEP`] at `now`, then the oldest until at most `cap` bytes are held.
    fn purge(&self, now: SystemTime, cap: u64) -> io::Result<()> {
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let oldest = nanoseconds(now.duration_since(UNIX_EPOCH).unwrap_or_default()).saturating_sub(nanoseconds(KEEP));
        let mut files = Vec::new();
        for name in trash::names(&self.folder)? {
            if let Some(seen) = look::at(self.folder.as_fd(), &name)? {
                files.push((seen.stamp.mtime_ns, name, seen.stamp.size));
            }
        }
        files.sort();
        let mut held: u64 = files.iter().map(|(_, _, size)| size).sum();
        for (modified, name, size) in files {
            if modified < oldest || held > cap {
                trash::remove_tree(self.folder.as_fd(), &name, 0)?;
                held -= size;
            }
        }
        Ok(())
    }
}

fn show_folder(folder: &File, show: &mut dyn FnMut(&File, &str, u64, RelPath) -> io::Result<()>) -> io::Result<()> {
    for name in trash::names(folder)? {
        let Some(file) = name.strip_suffix(NAMED) else { continue };
        let Some(seen) = look::at(folder.as_fd(), file)? else { continue };
        if seen.kind == Kind::File
            && seen.stamp.size >= WORTH
            && let Some(path) = read_path(folder, &name)?
        {
            show(folder, file, seen.stamp.size, path)?;
        }
    }
    Ok(())
}

/// Writes the path of a transfer beside it.
pub(super) fn write_path(folder: BorrowedFd<'_>, name: &str, path: &RelPath) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    side::create(folder, name)?.write_all(path.as_str().as_bytes())
}

fn read_path(folder: &File, name: &str) -> io::Result<Option<RelPath>> {
    let file = match look::open(folder.as_fd(), name) {
        Ok(file) => file,
        // It was finished or purged since its folder was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    match file.take(MAX_PATH).read_to_string(&mut text) {
        Ok(_) => Ok(RelPath::new(text).ok()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn key(path: &RelPath) -> String {
    blake3::hash(path.as_str().as_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_bounded_by_age_and_bytes() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let other = tempfile::tempdir().expect("a temporary folder");
        let open = |place: &tempfile::TempDir| File::open(place.path()).expect("a folder");
        let partials = Partials { folder: open(&place), workshops: open(&other) };
        let path = |name: &str| RelPath::new(name).expect("a path");
        let put = |name: &str, length: u64, continued: bool| {
            let file = File::create(place.path().join("fresh")).expect("a file");
            file.set_len(length).expect("room");
            partials.keep(partials.folder.as_fd(), "fresh", &path(name), continued).expect("kept");
            std::fs::remove_file(place.path().join("fresh")).ok();
        };
        put("a", WORTH - 1, false);
        assert_eq!(partials.list().expect("a list"), []);
        put("a", 2 * WORTH, false);
        put("a", WORTH, true);
        assert_eq!(partials.list().expect("a list"), [Partial { path: path("a"), size: 2 * WORTH }]);
        put("a", WORTH, false);
        assert_eq!(partials.list().expect("a list"), [Partial { path: path("a"), size: WORTH }]);
        put("b", WORTH, false);
        partials.purge(SystemTime::now(), WORTH + 100).expect("purged");
        assert_eq!(partials.list().expect("a list"), [Partial { path: path("b"), size: WORTH }]);
        partials.purge(SystemTime::now() + KEEP + KEEP, CAP).expect("purged");
        assert_eq!(partials.list().expect("a list"), []);
        put("c", WORTH, false);
        partials.forget(&path("c"));
        assert!(partials.file(&path("c")).expect("looked").is_none());
        assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 0);
        // One that was purged while the folder was being listed is none.
        assert_eq!(read_path(&partials.folder, "gone.path").expect("looked"), None);
        // What is under way counts, too.
        let shop = other.path().join("shop");
        std::fs::create_dir(&shop).expect("a folder");
        std::fs::write(shop.join("3"), vec![0; 3 << 20]).expect("a file");
        std::fs::write(shop.join("3.path"), "d").expect("a file");
        put("d", WORTH, false);
        assert_eq!(partials.list().expect("a list"), [Partial { path: path("d"), size: 3 << 20 }]);
        let found = partials.file(&path("d")).expect("looked").expect("it is there");
        assert_eq!(found.metadata().expect("a file").len(), 3 << 20);
    }
}
