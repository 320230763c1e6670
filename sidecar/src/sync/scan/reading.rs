//! Opens and reads files of the workspace without following a link, and notices when one changes meanwhile.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use protocol::error::{Code, Example, Explain, word};
use protocol::path::RelPath;
use protocol::sync::{Hash, Stamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beginning::{Beginning, PROBE};
use super::{ScanError, Seal, now_ns, trusted};

/// Bytes that are read at once; more does not make hashing faster.
const CHUNK: usize = 64 * 1024;
/// How often a file that changes while it is read is read anew.
const ATTEMPTS: u32 = 3;

/// The workspace folder, held open: it stays the same folder when its name is given to another.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
    identity: (u64, u64),
}

/// A file that was read whole, and did not change meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What [`Reader::finish`] says of them.
    pub seal: Seal,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there any more.
    #[error("`{0}` is gone")]
    Gone(RelPath),
    /// Something else has its name now.
    #[error("`{0}` is no regular file")]
    NotAFile(RelPath),
    /// It is longer than the reader takes.
    #[error("`{path}` has {size} bytes, which is too long to read at once")]
    TooLong {
        /// The file.
        path: RelPath,
        /// Its length.
        size: u64,
    },
    /// It changed while it was read.
    #[error("`{0}` keeps changing while it is read")]
    Changed(RelPath),
    /// The system refuses.
    #[error("`{path}` cannot be read")]
    Failed {
        /// The file.
        path: RelPath,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

impl ReadError {
    fn of(path: &RelPath, error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Gone(path.clone()),
            // A link or a file where a folder was, or a socket.
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::ISDIR => Self::NotAFile(path.clone()),
            error => Self::Failed { path: path.clone(), source: error.into() },
        }
    }
}

impl Explain for ReadError {
    fn code(&self) -> Code {
        Code::FileFailed
    }

    fn help(&self) -> String {
        match self {
            Self::Gone(path) | Self::NotAFile(path) => {
                format!("Nothing has to be done: the next scan takes `{path}` as it is then.")
            }
            Self::TooLong { path, .. } => {
                format!("Leave it out with `--exclude {}`, or let the program that writes it finish.", word(path))
            }
            Self::Changed(path) => {
                format!("Let the program that writes `{path}` finish, or leave it out with `--exclude {}`.", word(path))
            }
            Self::Failed { path, .. } => {
                format!(
                    "Make it readable with `chmod u+r {}`, or leave it out with a line in `.mltignore`.",
                    word(path)
                )
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(super) fn examples() -> Vec<Example> {
    let path = || RelPath::new("data/set.csv").expect("a path");
    vec![
        ReadError::Gone(path()).into(),
        ReadError::NotAFile(path()).into(),
        ReadError::TooLong { path: path(), size: 5_000_000_000 }.into(),
        ReadError::Changed(path()).into(),
        ReadError::Failed { path: path(), source: io::ErrorKind::PermissionDenied.into() }.into(),
    ]
}

impl Root {
    /// Opens the workspace folder. Blocks shortly.
    pub fn open(path: &Path) -> Result<Self, ScanError> {
        let failed = |source: Errno| ScanError::Root { path: path.to_owned(), source: source.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&folder).map_err(failed)?;
        Ok(Self { folder, path: path.to_owned(), identity: identity(&stat) })
    }

    /// Returns the path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its inode and device.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Returns whether its path still leads to the same folder.
    pub fn is_in_place(&self) -> bool {
        rustix::fs::stat(&self.path).is_ok_and(|stat| identity(&stat) == self.identity)
    }

    /// Reads a whole file of at most `limit` bytes; one that changes meanwhile is read up to three times.
    pub fn read(&self, path: &RelPath, limit: u64) -> Result<Snapshot, ReadError> {
        let mut attempt = 1;
        loop {
            let mut reader = self.reader(path)?;
            if reader.size() > limit {
                return Err(ReadError::TooLong { path: path.clone(), size: reader.size() });
            }
            let mut bytes = Vec::with_capacity(usize::try_from(reader.size()).unwrap_or_default());
            match reader.read_to_end(&mut bytes).and_then(|()| reader.finish()) {
                Ok(seal) => return Ok(Snapshot { bytes, seal }),
                Err(ReadError::Changed(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Hashes a file of any length; one that changes meanwhile is read up to three times. `go_on` is asked
    /// before every chunk; `None` is returned when it says no.
    pub fn hash(&self, path: &RelPath, go_on: &dyn Fn() -> bool) -> Result<Option<Seal>, ReadError> {
        let mut buffer = vec![0; CHUNK];
        let mut attempt = 1;
        loop {
            let mut reader = self.reader(path)?;
            let sealed = loop {
                if !go_on() {
                    return Ok(None);
                }
                match reader.next(&mut buffer) {
                    Ok(0) => break reader.finish(),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            match sealed {
                Ok(seal) => return Ok(Some(seal)),
                Err(ReadError::Changed(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a file to be read in chunks.
    pub fn reader(&self, path: &RelPath) -> Result<Reader, ReadError> {
        // Without NONBLOCK a pipe that took the name would hold us up for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = self.open_below(path, flags).map_err(|error| ReadError::of(path, error))?;
        let moment = now_ns();
        let before = rustix::fs::fstat(&file).map_err(|error| ReadError::of(path, error))?;
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return Err(ReadError::NotAFile(path.clone()));
        }
        let hasher = blake3::Hasher::new();
        Ok(Reader {
            path: path.clone(),
            file: File::from(file),
            before: stamp(&before),
            mode: mode(&before),
            moment,
            hasher,
            read: 0,
            whole: true,
        })
    }

    /// Returns the facts of a path; a link's own, not its target's.
    pub(in crate::sync) fn stat(&self, path: &RelPath) -> rustix::io::Result<Stat> {
        match path.parent() {
            None => rustix::fs::statat(&self.folder, path.as_str(), AtFlags::SYMLINK_NOFOLLOW),
            Some(parent) => {
                let folder = self.open_below(&parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
                rustix::fs::statat(&folder, path.name(), AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Opens a folder; `None` is the workspace itself.
    pub(in crate::sync) fn folder(&self, path: Option<&RelPath>) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match path {
            // Not a duplicate, which would share its reading position.
            None => rustix::fs::openat(&self.folder, ".", flags | OFlags::CLOEXEC, Mode::empty()),
            Some(path) => self.open_below(path, flags),
        }
    }

    /// Opens what is at `path`; no component may be a link.
    fn open_below(&self, path: &RelPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.folder, path.as_str(), flags, Mode::empty(), resolve) {
                // Old kernels, and sandboxes that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => {}
                other => return other,
            }
        }
        self.open_by_steps(path, flags)
    }

    fn open_by_steps(&self, path: &RelPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder: Option<OwnedFd> = None;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let from = folder.as_ref().map_or(self.folder.as_fd(), |folder| folder.as_fd());
            let flags = if names.peek().is_some() { step } else { flags };
            folder = Some(rustix::fs::openat(from, name, flags, Mode::empty())?);
        }
        folder.ok_or(Errno::NOENT)
    }
}

/// Reads a file in chunks, hashes them, and says at the end whether they belong together.
#[derive(Debug)]
pub struct Reader {
    path: RelPath,
    file: File,
    before: Stamp,
    mode: u32,
    moment: i64,
    hasher: blake3::Hasher,
    read: u64,
    whole: bool,
}

impl Reader {
    /// Returns the file's length when it was opened.
    pub fn size(&self) -> u64 {
        self.before.size
    }

    /// Returns the file's permission bits (`0o777`) when it was opened.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Reads the next bytes into `buffer`; zero is the end. A file that grows is cut at the length it had, and
    /// [`Reader::finish`] then says that it changed. Blocks.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let left = usize::try_from(self.before.size - self.read).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let Some(place) = buffer.get_mut(..wanted) else { return Ok(0) };
        let count = loop {
            match self.file.read(place) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Failed { path: self.path.clone(), source }),
            }
        };
        self.hasher.update(place.get(..count).unwrap_or_default());
        self.read += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }

    /// Returns the hash of what was read so far.
    pub fn hash_so_far(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }

    /// Returns what was read so far, for a later reading to go on behind it. Blocks.
    pub fn beginning(&self) -> Result<Beginning, ReadError> {
        let probe = self.probe(self.read)?;
        let identity = (self.before.inode, self.before.device);
        Ok(Beginning { identity, length: self.read, hasher: self.hasher.clone(), probe })
    }

    /// Goes on behind what an earlier reading left, when the file still seems to begin so: it is the same one, not
    /// shorter, and the first and last of those bytes are the same. Returns whether it does. Blocks.
    pub fn go_on_behind(&mut self, beginning: &Beginning) -> Result<bool, ReadError> {
        let is_same = beginning.identity == (self.before.inode, self.before.device);
        if !is_same || self.read > 0 || beginning.length > self.before.size {
            return Ok(false);
        }
        if self.probe(beginning.length)? != beginning.probe {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(beginning.length)).map_err(|source| self.failed(source))?;
        (self.read, self.hasher, self.whole) = (beginning.length, beginning.hasher.clone(), false);
        Ok(true)
    }

    /// Returns the hash of the first and last bytes of the first `length` ones.
    fn probe(&self, length: u64) -> Result<Hash, ReadError> {
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(PROBE);
        let mut buffer = vec![0; most];
        let mut hasher = blake3::Hasher::new();
        for offset in [0, length - most as u64] {
            self.file.read_exact_at(&mut buffer, offset).map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => ReadError::Changed(self.path.clone()),
                _ => self.failed(source),
            })?;
            hasher.update(&buffer);
        }
        Ok(Hash(*hasher.finalize().as_bytes()))
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Failed { path: self.path.clone(), source }
    }

    /// Returns what was read, when it is one version of the file.
    pub fn finish(self) -> Result<Seal, ReadError> {
        let after = rustix::fs::fstat(&self.file).map_err(|error| ReadError::of(&self.path, error))?;
        if self.read != self.before.size || stamp(&after) != self.before {
            return Err(ReadError::Changed(self.path));
        }
        Ok(Seal {
            hash: Hash(*self.hasher.finalize().as_bytes()),
            size: self.read,
            mode: self.mode,
            mtime_ns: self.before.mtime_ns,
            // A stamp would vouch for bytes that nobody looked at.
            stamp: trusted(self.before, self.moment).filter(|_| self.whole),
            whole: self.whole,
        })
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(self.size()).unwrap_or(CHUNK))];
        loop {
            match self.next(&mut buffer)? {
                0 => return Ok(()),
                count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    }
}

/// Returns the inode and the device of a path.
#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    reason = "field types differ by platform"
)]
fn identity(stat: &Stat) -> (u64, u64) {
    (u64::try_from(stat.st_ino).unwrap_or_default(), u64::try_from(stat.st_dev).unwrap_or_default())
}

/// Returns the stamp of a file.
#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    reason = "field types differ by platform"
)]
pub(in crate::sync) fn stamp(stat: &Stat) -> Stamp {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let (inode, device) = identity(stat);
    Stamp {
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: nanoseconds(stat.st_mtime.into(), i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        ctime_ns: nanoseconds(stat.st_ctime.into(), i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        inode,
        device,
    }
}

/// Returns the permission bits of a path.
#[allow(clippy::useless_conversion, reason = "the field's type differs by platform")]
pub(in crate::sync) fn mode(stat: &Stat) -> u32 {
    u32::from(stat.st_mode) & 0o777
}
