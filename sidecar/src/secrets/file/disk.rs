//! The secrets file on disk: read only when nobody else could have written or read it, replaced whole, locked meanwhile.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::FileError;

/// Largest file that is read: thousands of secrets.
const MAX_FILE: u64 = 8 << 20;
/// Longest wait for another process that changes the file, which takes it milliseconds.
const LOCKED: Duration = Duration::from_secs(10);
/// Pause before the lock is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// A lock on a secrets file, held as long as the value lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

/// Returns the text of the file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let failed = |source| FileError::Unusable { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe in its place must not hold us up.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    if about.len() > MAX_FILE {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    own_alone(path, &about)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not text")))
}

/// Makes the folder where it is missing, and refuses one in which others could put a file of theirs.
pub(super) fn prepare_folder(path: &Path) -> Result<PathBuf, FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = |source| FileError::Unusable { path: folder.to_owned(), source };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let about = fs::metadata(folder).map_err(failed)?;
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(FileError::Stranger { path: folder.to_owned(), owner: about.uid() });
        }
        let mode = about.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(FileError::Loose { path: folder.to_owned(), mode: mode & 0o7777, wanted: 0o700 });
        }
    }
    Ok(folder.to_owned())
}

/// Returns the file itself where `path` is a link to it, as those who keep their settings elsewhere have it.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Waits until no other process changes the file.
pub(super) fn lock(path: &Path) -> Result<Lock, FileError> {
    let path = path.with_extension("lock");
    let failed = |source| FileError::Unusable { path: path.clone(), source };
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(failed)?;
    let deadline = Instant::now() + LOCKED;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(AGAIN),
            Err(fs::TryLockError::WouldBlock) => return Err(FileError::Busy { path }),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Replaces the file: whatever happens meanwhile, the old text or the new one is there, whole.
pub(super) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let failed = |source| FileError::Unusable { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    // Made with 0600.
    let mut file = tempfile::Builder::new().prefix(".secrets-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    // The name has to be on the disk, too; Windows has no way to ask for it.
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(())
}

/// Refuses a file that others may read or write, or that is another's.
pub(super) fn own_alone(path: &Path, about: &fs::Metadata) -> Result<(), FileError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(FileError::Stranger { path: path.to_owned(), owner: about.uid() });
        }
        let mode = about.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(FileError::Loose { path: path.to_owned(), mode: mode & 0o7777, wanted: 0o600 });
        }
    }
    #[cfg(not(unix))]
    let _: (&Path, &fs::Metadata) = (path, about);
    Ok(())
}
