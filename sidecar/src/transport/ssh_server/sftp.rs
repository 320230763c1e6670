//! The embedded server's SFTP: what an upload needs, below the home and nowhere else.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, PathBuf};
use std::sync::Arc;

use russh_sftp::protocol::{
    Attrs, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};

/// Files that one session may hold open; an upload needs one.
const MAX_OPEN: usize = 16;
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// One SFTP session.
#[derive(Debug)]
pub(super) struct Files {
    home: PathBuf,
    open: HashMap<String, Arc<File>>,
    next: u64,
}

impl Files {
    /// Returns a session below `home`, which is canonical.
    pub(super) fn new(home: PathBuf) -> Self {
        Self { home, open: HashMap::new(), next: 0 }
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
        version.extensions = [POSIX_RENAME, FSYNC].map(|name| (name.to_owned(), "1".to_owned())).into();
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        if self.open.len() >= MAX_OPEN {
            return Err(StatusCode::Failure.with_message("too many open files"));
        }
        if !flags.contains(OpenFlags::WRITE) {
            return Err(StatusCode::OpUnsupported.with_message("files are only written here"));
        }
        let path = self.path(&filename)?;
        let mode = attributes.permissions.unwrap_or(0o644) & 0o777;
        let file = blocking(move || {
            let mut options = OpenOptions::new();
            options.write(true).mode(mode).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
            options.create(flags.contains(OpenFlags::CREATE)).truncate(flags.contains(OpenFlags::TRUNCATE));
            options.create_new(flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUDE));
            options.open(path)
        });
        let file = file.await?;
        self.next += 1;
        let handle = self.next.to_string();
        self.open.insert(handle.clone(), Arc::new(file));
        Ok(Handle { id, handle })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        self.file(&handle)?;
        self.open.remove(&handle);
        Ok(done(id))
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
        let Some(mode) = attributes.permissions else { return Ok(done(id)) };
        blocking(move || {
            if path.symlink_metadata()?.is_symlink() {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            std::fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
        })
        .await?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attributes: FileAttributes) -> Result<Status, Self::Error> {
        let file = self.file(&handle)?;
        let Some(mode) = attributes.permissions else { return Ok(done(id)) };
        blocking(move || file.set_permissions(Permissions::from_mode(mode & 0o777))).await?;
        Ok(done(id))
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Self::Error> {
        let path = self.path(&filename)?;
        blocking(move || std::fs::remove_file(path)).await?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, _attributes: FileAttributes) -> Result<Status, Self::Error> {
        let path = self.path(&path)?;
        blocking(move || std::fs::create_dir(path)).await?;
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
        match request.as_str() {
            POSIX_RENAME => {
                let (from, to) = (self.path(&text(&mut rest)?)?, self.path(&text(&mut rest)?)?);
                blocking(move || std::fs::rename(from, to)).await?;
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
