//! The embedded server's SFTP: files, folders and links below the home and nowhere else.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, ReadDir};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode,
    Version,
};
use russh_sftp::server::{Handler, StatusReply};

/// Files and folders that one session may hold open; a sync holds half as many.
const MAX_OPEN: usize = 128;
/// Most bytes that one read gives.
const MAX_READ: u32 = 255 * 1024;
/// Entries of a folder that one answer holds.
const ENTRIES: usize = 64;
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// One SFTP session.
#[derive(Debug)]
pub(super) struct Files {
    home: PathBuf,
    /// Whether it knows nothing but the protocol itself, as other makers' servers do.
    plain: bool,
    open: HashMap<String, Arc<File>>,
    listed: HashMap<String, Arc<Mutex<ReadDir>>>,
    next: u64,
}

impl Files {
    /// Returns a session below `home`, which is canonical.
    pub(super) fn new(home: PathBuf) -> Self {
        Self { home, plain: false, open: HashMap::new(), listed: HashMap::new(), next: 0 }
    }

    /// Returns a session of a server without extensions, which takes the paths of a link as the draft says.
    #[cfg(test)]
    pub(super) fn plain(home: PathBuf) -> Self {
        Self { plain: true, ..Self::new(home) }
    }

    /// Returns the file a client means. Its folder must be below the home with all links followed.
    fn path(&self, text: &str) -> Result<PathBuf, StatusReply> {
        let asked = self.home.join(text);
        let outside = || StatusCode::PermissionDenied.with_message("it is not below the home folder");
        if asked.components().any(|component| component == Component::ParentDir) {
            return Err(outside());
        }
        if asked == self.home || asked == self.home.join(".") {
            return Ok(self.home.clone());
        }
        let (Some(folder), Some(name)) = (asked.parent(), asked.file_name()) else { return Err(outside()) };
        let folder = folder.canonicalize().map_err(|error| failed(&error))?;
        if folder.starts_with(&self.home) { Ok(folder.join(name)) } else { Err(outside()) }
    }

    /// Gives out a handle, unless too much is open.
    fn handle(&mut self) -> Result<String, StatusReply> {
        if self.open.len() + self.listed.len() >= MAX_OPEN {
            return Err(StatusCode::Failure.with_message("too many open files"));
        }
        self.next += 1;
        Ok(self.next.to_string())
    }

    fn file(&self, handle: &str) -> Result<Arc<File>, StatusReply> {
        self.open.get(handle).cloned().ok_or_else(|| StatusCode::BadMessage.with_message("no such handle"))
    }
}

impl Handler for Files {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _version: u32, _extensions: HashMap<String, String>) -> Result<Version, Self::Error> {
        let mut version = Version::new();
        if !self.plain {
            let offered = [POSIX_RENAME, HARDLINK, FSYNC].map(|name| (name.to_owned(), "1".to_owned()));
            version.extensions = offered.into();
            version.extensions.insert(STATVFS.to_owned(), "2".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let path = self.path(&filename)?;
        let handle = self.handle()?;
        let mode = attributes.permissions.unwrap_or(0o644) & 0o777;
        let file = blocking(move || {
            let mut options = OpenOptions::new();
            // A pipe without a writer must not hold up the session.
            let careful = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            options.mode(mode).custom_flags(careful.bits().cast_signed());
            options.read(flags.contains(OpenFlags::READ)).write(flags.contains(OpenFlags::WRITE));
            options.create(flags.contains(OpenFlags::CREATE)).truncate(flags.contains(OpenFlags::TRUNCATE));
            options.create_new(flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUDE));
            options.open(path)
        });
        let file = file.await?;
        self.open.insert(handle.clone(), Arc::new(file));
        Ok(Handle { id, handle })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        if self.listed.remove(&handle).is_none() {
            self.file(&handle)?;
            self.open.remove(&handle);
        }
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Self::Error> {
        let file = self.file(&handle)?;
        let data = blocking(move || {
            let mut data = vec![0; usize::try_from(len.min(MAX_READ)).expect("a small number")];
            let length = file.read_at(&mut data, offset)?;
            data.truncate(length);
            Ok(data)
        });
        let data = data.await?;
        if data.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Data { id, data }) }
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Self::Error> {
        let path = self.path(&path)?;
        let handle = self.handle()?;
        let listed = blocking(move || {
            if path.symlink_metadata()?.is_symlink() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            std::fs::read_dir(path)
        });
        self.listed.insert(handle.clone(), Arc::new(Mutex::new(listed.await?)));
        Ok(Handle { id, handle })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Self::Error> {
        let listed = self.listed.get(&handle).cloned();
        let listed = listed.ok_or_else(|| StatusCode::BadMessage.with_message("no such handle"))?;
        let files = blocking(move || {
            let mut files = Vec::new();
            let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in listed.by_ref().take(ENTRIES) {
                let entry = entry?;
                // One that vanished meanwhile is not there.
                if let Ok(metadata) = entry.metadata() {
                    files.push(Entry::new(entry.file_name().to_string_lossy(), FileAttributes::from(&metadata)));
                }
            }
            Ok(files)
        });
        let files = files.await?;
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, Self::Error> {
        let file = self.file(&handle)?;
        blocking(move || file.write_all_at(&data, offset)).await?;
        Ok(done(id))
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let file = self.file(&handle)?;
        let metadata = blocking(move || file.metadata()).await?;
        Ok(Attrs { id, attrs: FileAttributes::from(&metadata) })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        self.lstat(id, path).await
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let path = self.path(&path)?;
        let metadata = blocking(move || path.symlink_metadata()).await?;
        Ok(Attrs { id, attrs: FileAttributes::from(&metadata) })
    }

    async fn setstat(&mut self, id: u32, path: String, attributes: FileAttributes) -> Result<Status, Self::Error> {
        let path = self.path(&path)?;
        blocking(move || {
            if path.symlink_metadata()?.is_symlink() {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            if let Some(mode) = attributes.permissions {
                std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o777))?;
            }
            if attributes.mtime.is_some() {
                set_time(&File::open(path)?, &attributes)?;
            }
            Ok(())
        })
        .await?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attributes: FileAttributes) -> Result<Status, Self::Error> {
        let file = self.file(&handle)?;
        blocking(move || {
            if let Some(mode) = attributes.permissions {
                file.set_permissions(Permissions::from_mode(mode & 0o777))?;
            }
            set_time(&file, &attributes)
        })
        .await?;
        Ok(done(id))
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Self::Error> {
        let path = self.path(&filename)?;
        blocking(move || std::fs::remove_file(path)).await?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attributes: FileAttributes) -> Result<Status, Self::Error> {
        let path = self.path(&path)?;
        let mode = attributes.permissions.unwrap_or(0o777) & 0o777;
        blocking(move || DirBuilder::new().mode(mode).create(path)).await?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        let path = self.path(&path)?;
        blocking(move || std::fs::remove_dir(path)).await?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let path = self.path(&path)?;
        let target = blocking(move || std::fs::read_link(path)).await?;
        Ok(Name { id, files: vec![Entry::dummy(target.to_string_lossy())] })
    }

    /// OpenSSH takes the link's text first, against the draft, and everybody follows it.
    async fn symlink(&mut self, id: u32, first: String, second: String) -> Result<Status, Self::Error> {
        let (text, name) = if self.plain { (second, first) } else { (first, second) };
        let name = self.path(&name)?;
        blocking(move || std::os::unix::fs::symlink(text, name)).await?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let path = self.path(&path)?;
        let text = path.to_str().ok_or_else(|| StatusReply::from(StatusCode::Failure))?;
        Ok(Name { id, files: vec![Entry::dummy(text)] })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Self::Error> {
        let (from, to) = (self.path(&from)?, self.path(&to)?);
        blocking(move || {
            // The protocol's own rename does not replace.
            if to.symlink_metadata().is_ok() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            std::fs::rename(from, to)
        })
        .await?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Self::Error> {
        let mut rest = data.as_slice();
        if self.plain {
            return Err(self.unimplemented());
        }
        match request.as_str() {
            POSIX_RENAME => {
                let (from, to) = (self.path(&text(&mut rest)?)?, self.path(&text(&mut rest)?)?);
                blocking(move || std::fs::rename(from, to)).await?;
            }
            HARDLINK => {
                let (from, to) = (self.path(&text(&mut rest)?)?, self.path(&text(&mut rest)?)?);
                blocking(move || std::fs::hard_link(from, to)).await?;
            }
            STATVFS => {
                let path = self.path(&text(&mut rest)?)?;
                let space = blocking(move || Ok(rustix::fs::statvfs(path)?)).await?;
                let data = [
                    space.f_bsize,
                    space.f_frsize,
                    space.f_blocks,
                    space.f_bfree,
                    space.f_bavail,
                    space.f_files,
                    space.f_ffree,
                    space.f_favail,
                    space.f_fsid,
                    0,
                    space.f_namemax,
                ];
                let data = data.iter().flat_map(|number| number.to_be_bytes()).collect();
                return Ok(Packet::ExtendedReply(ExtendedReply { id, data }));
            }
            FSYNC => {
                let file = self.file(&text(&mut rest)?)?;
                blocking(move || file.sync_all()).await?;
            }
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(done(id)))
    }
}

/// Gives a file the modification time of `attributes`, if they have one.
fn set_time(file: &File, attributes: &FileAttributes) -> io::Result<()> {
    let Some(mtime) = attributes.mtime else { return Ok(()) };
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(mtime.into()))
}

/// Takes one string of the protocol from the front of `bytes`.
fn text(bytes: &mut &[u8]) -> Result<String, StatusReply> {
    let bad = || StatusReply::from(StatusCode::BadMessage);
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| bad())?;
    let (taken, rest) = rest.split_at_checked(length).ok_or_else(bad)?;
    *bytes = rest;
    String::from_utf8(taken.to_vec()).map_err(|_| bad())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, StatusReply> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(&error)),
        Err(_) => Err(StatusCode::Failure.into()),
    }
}

fn failed(error: &io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: "Ok".to_owned(), language_tag: "en-US".to_owned() }
}
