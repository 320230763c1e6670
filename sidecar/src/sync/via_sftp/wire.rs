//! One SFTP conversation: requests that travel one behind the other without waiting, within a bound, and answers
//! that are checked before anybody sees them.
//!
//! Protocol 3 with OpenSSH's extensions (draft-ietf-secsh-filexfer-02 and OpenSSH's `PROTOCOL`, section 4). Knows
//! nothing of roots and syncs.

use std::future::Future;
use std::time::{Duration, Instant};

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::rawsession::Limits;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, Status, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::seen::Seen;

mod fault;
mod listing;
mod small;

pub(super) use fault::Fault;
use fault::{fault, over};
pub(super) use small::Finish;

/// Requests under way: at a round trip of 100 ms and three requests per small file more than 400 files a second.
const DEPTH: usize = 128;
/// Bytes of files under way: 40 MB/s at a round trip of 100 ms.
const WINDOW: usize = 4 * 1024 * 1024;
/// The largest piece that every server takes.
const LEAST_CHUNK: u64 = 32 * 1024;
/// The largest piece that is used where a server tells its limits: OpenSSH's, whose packets hold 256 KiB.
const MOST_CHUNK: u64 = 255 * 1024;
/// Longest answer: OpenSSH's packets hold 256 KiB; what is announced longer ends the conversation.
const MAX_PACKET: u32 = 256 * 1024 + 1024;
/// One answer may take this long: a whole window may be ahead of it on a line of 40 KB/s, and a busy disk.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_mins(2);
/// Longest text of a link (`PATH_MAX` of Linux).
const MAX_LINK: usize = 4096;
/// Files that may be open at a time where the server tells no limit.
const OPEN_FILES: usize = 64;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const LIMITS: &str = "limits@openssh.com";

/// What a server can do beyond the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is one extension")]
pub(super) struct Offers {
    pub(super) posix_rename: bool,
    pub(super) hardlink: bool,
    pub(super) fsync: bool,
    pub(super) statvfs: bool,
}

/// What is free on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) bytes: u64,
    pub(super) no_inodes: bool,
}

/// An open conversation. Calls may run concurrently; those about one file are made one after the other.
pub(super) struct Wire {
    sftp: RawSftpSession,
    pub(super) offers: Offers,
    /// Bytes per read and write.
    pub(super) chunk: usize,
    slots: Semaphore,
    window: Semaphore,
    /// Places for open files.
    files: Semaphore,
    begun: Instant,
    /// Cancelled when no answer can come any more; the library may keep a request waiting that was made meanwhile.
    ended: CancellationToken,
    _end: DropGuard,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Wire").field("offers", &self.offers).finish_non_exhaustive()
    }
}

/// A file that is open there.
#[derive(Debug)]
pub(super) struct OpenFile<'a> {
    handle: String,
    _place: SemaphorePermit<'a>,
}

impl Wire {
    /// Begins a conversation over the streams of an SFTP server.
    pub(super) async fn begin(
        stdout: impl AsyncRead + Send + Unpin + 'static,
        stdin: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, Fault> {
        let config = Config {
            max_packet_len: MAX_PACKET,
            request_timeout_secs: ANSWER_WITHIN.as_secs(),
            max_write_packet_len: u32::try_from(MOST_CHUNK).expect("255 KiB"),
            ..Config::default()
        };
        let mut sftp = RawSftpSession::new_with_config(tokio::io::join(stdout, stdin), config);
        let begun = Instant::now();
        let Version { version, extensions } = sftp.init().await.map_err(|error| fault(error, begun))?;
        if version < 3 {
            return Err(Fault::Nonsense("it speaks a version before 3"));
        }
        let has = |name: &str| extensions.contains_key(name);
        let offers = Offers {
            posix_rename: has(POSIX_RENAME),
            hardlink: has(HARDLINK),
            fsync: has(FSYNC),
            statvfs: has(STATVFS),
        };
        let (mut chunk, mut files) = (LEAST_CHUNK, OPEN_FILES);
        if has(LIMITS) {
            let limits = Limits::from(sftp.limits().await.map_err(|error| fault(error, begun))?);
            if let (Some(read), Some(write)) = (limits.read_len, limits.write_len) {
                chunk = read.min(write).clamp(1024, MOST_CHUNK);
            }
            if let Some(most) = limits.open_handles {
                files = usize::try_from(most / 2).unwrap_or(OPEN_FILES).clamp(2, DEPTH);
            }
            sftp.set_limits(limits);
        }
        let ended = CancellationToken::new();
        Ok(Self {
            _end: ended.clone().drop_guard(),
            ended,
            sftp,
            offers,
            chunk: usize::try_from(chunk).expect("at most 255 KiB"),
            slots: Semaphore::new(DEPTH),
            window: Semaphore::new(WINDOW),
            files: Semaphore::new(files),
            begun,
        })
    }

    /// Returns what to cancel when no answer can come any more; it is cancelled with the conversation, too.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Returns the fault of whatever would be asked from now on, when the conversation has ended.
    pub(super) fn over(&self) -> Option<Fault> {
        self.ended.is_cancelled().then(|| fault(over(), self.begun))
    }

    /// Ends the conversation; what was not answered is answered as lost.
    pub(super) fn end(&self) {
        self.ended.cancel();
        if let Err(error) = self.sftp.close_session() {
            tracing::trace!(%error, "the SFTP session is closed already");
        }
    }

    /// Returns what is at `path`, following no link; `None` for nothing.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Seen>, Fault> {
        match self.ask(self.sftp.lstat(path)).await {
            Ok(answer) => Seen::of(&answer.attrs).map(Some),
            Err(Fault::Missing) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Returns what an open file is.
    pub(super) async fn look_through(&self, file: &OpenFile<'_>) -> Result<Seen, Fault> {
        let answer = self.ask(self.sftp.fstat(file.handle.as_str())).await?;
        Seen::of(&answer.attrs)
    }

    /// Returns the absolute path that the server means by `path`.
    pub(super) async fn resolve(&self, path: &str) -> Result<String, Fault> {
        self.one_name(self.sftp.realpath(path)).await
    }

    /// Returns the text of a link.
    pub(super) async fn target(&self, path: &str) -> Result<String, Fault> {
        self.one_name(self.sftp.readlink(path)).await
    }

    async fn one_name(
        &self,
        request: impl Future<Output = Result<russh_sftp::protocol::Name, SftpError>>,
    ) -> Result<String, Fault> {
        let mut files = self.ask(request).await?.files;
        match files.pop() {
            Some(file) if files.is_empty() && file.filename.len() <= MAX_LINK && !file.filename.contains('\0') => {
                Ok(file.filename)
            }
            Some(_) | None => Err(Fault::Nonsense("a path is no path")),
        }
    }

    /// Makes a folder; the server's umask narrows `mode`. Returns whether it was not there before.
    pub(super) async fn make_folder(&self, path: &str, mode: u32) -> Result<bool, Fault> {
        match self.ask(self.sftp.mkdir(path, permissions(mode))).await {
            Ok(_) => Ok(true),
            // Servers say only that it failed.
            Err(error @ (Fault::Failed(_) | Fault::Denied)) => match self.look(path).await? {
                Some(_) => Ok(false),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes an empty file that is not there yet; the server's umask narrows `mode`.
    pub(super) async fn create(&self, path: &str, mode: u32) -> Result<OpenFile<'_>, Fault> {
        self.open_file(path, OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE, permissions(mode)).await
    }

    /// Opens a file for reading. The protocol cannot tell it to follow no link, so the caller has looked.
    pub(super) async fn open(&self, path: &str) -> Result<OpenFile<'_>, Fault> {
        self.open_file(path, OpenFlags::READ, FileAttributes::empty()).await
    }

    async fn open_file(&self, path: &str, flags: OpenFlags, with: FileAttributes) -> Result<OpenFile<'_>, Fault> {
        let place = self.files.acquire().await.expect("the places are never closed");
        let handle = self.ask(self.sftp.open(path, flags, with)).await?.handle;
        Ok(OpenFile { handle, _place: place })
    }

    /// Writes bytes, at most [`Wire::chunk`] of them.
    pub(super) async fn write(&self, file: &OpenFile<'_>, offset: u64, bytes: Vec<u8>) -> Result<(), Fault> {
        let _bytes = self.bytes(bytes.len()).await;
        self.ask(self.sftp.write(file.handle.as_str(), offset, bytes)).await.map(drop)
    }

    /// Returns how many pieces of one file are worth sending ahead.
    pub(super) fn pieces(&self) -> usize {
        (WINDOW / self.chunk).clamp(1, DEPTH / 2)
    }

    /// Reads at most `length` bytes; none at the end.
    pub(super) async fn read(&self, file: &OpenFile<'_>, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        let _bytes = self.bytes(length).await;
        let most = u32::try_from(length).expect("a chunk is small");
        match self.raw(self.sftp.read(file.handle.as_str(), offset, most)).await {
            Ok(answer) if answer.data.is_empty() || answer.data.len() > length => {
                Err(Fault::Nonsense("a read gave no bytes, or more than were asked for"))
            }
            Ok(answer) => Ok(answer.data),
            Err(SftpError::Status(Status { status_code: StatusCode::Eof, .. })) => Ok(Vec::new()),
            Err(error) => Err(fault(error, self.begun)),
        }
    }

    /// Gives what is at `path` permission bits. A link there would be followed, so the caller has looked.
    pub(super) async fn set_mode(&self, path: &str, mode: u32) -> Result<(), Fault> {
        self.ask(self.sftp.setstat(path, permissions(mode))).await.map(drop)
    }

    /// Makes an open file survive a power cut; nothing where the server cannot.
    pub(super) async fn sync(&self, file: &OpenFile<'_>) -> Result<(), Fault> {
        if !self.offers.fsync {
            return Ok(());
        }
        self.ask(self.sftp.fsync(file.handle.as_str())).await.map(drop)
    }

    /// Closes a file; what the server could not write shows now at the latest.
    pub(super) async fn close(&self, file: OpenFile<'_>) -> Result<(), Fault> {
        self.ask(self.sftp.close(file.handle)).await.map(drop)
    }

    /// Removes a file or link.
    pub(super) async fn remove(&self, path: &str) -> Result<(), Fault> {
        self.ask(self.sftp.remove(path)).await.map(drop)
    }

    /// Removes an empty folder.
    pub(super) async fn remove_folder(&self, path: &str) -> Result<(), Fault> {
        self.ask(self.sftp.rmdir(path)).await.map(drop)
    }

    /// Renames to a name that is free: the protocol's own rename never replaces a file.
    pub(super) async fn rename_new(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.ask(self.sftp.rename(from, to)).await.map(drop)
    }

    /// Renames over what has the name, in one step; only with [`Offers::posix_rename`].
    pub(super) async fn rename_over(&self, from: &str, to: &str) -> Result<(), Fault> {
        let mut names = Vec::with_capacity(from.len() + to.len() + 8);
        for name in [from, to] {
            let length = u32::try_from(name.len()).map_err(|_| Fault::Failed("the name is too long".to_owned()))?;
            names.extend_from_slice(&length.to_be_bytes());
            names.extend_from_slice(name.as_bytes());
        }
        let request = async {
            match self.sftp.extended(POSIX_RENAME, names).await? {
                Packet::Status(Status { status_code: StatusCode::Ok, .. }) => Ok(()),
                Packet::Status(status) => Err(SftpError::Status(status)),
                _ => Err(SftpError::UnexpectedPacket),
            }
        };
        self.ask(request).await
    }

    /// Gives a file a second name; only with [`Offers::hardlink`].
    pub(super) async fn hard_link(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.ask(self.sftp.hardlink(from, to)).await.map(drop)
    }

    /// Sends the two paths of a symbolic link in this order. OpenSSH takes the text first and most follow it; the
    /// draft says otherwise, so the caller tries.
    pub(super) async fn symlink(&self, first: &str, second: &str) -> Result<(), Fault> {
        self.ask(self.sftp.symlink(first, second)).await.map(drop)
    }

    /// Returns what is free where `path` is; `None` where the server cannot tell.
    pub(super) async fn space(&self, path: &str) -> Result<Option<Space>, Fault> {
        if !self.offers.statvfs {
            return Ok(None);
        }
        let told = self.ask(self.sftp.statvfs(path)).await?;
        Ok(Some(Space {
            bytes: told.blocks_avail.saturating_mul(told.fragment_size),
            no_inodes: told.inodes > 0 && told.inodes_avail == 0,
        }))
    }

    /// Waits until `count` bytes more may be under way.
    async fn bytes(&self, count: usize) -> SemaphorePermit<'_> {
        let count = u32::try_from(count.min(WINDOW)).expect("the window is small");
        self.window.acquire_many(count).await.expect("the window is never closed")
    }

    async fn raw<T>(&self, request: impl Future<Output = Result<T, SftpError>>) -> Result<T, SftpError> {
        let _slot = self.slots.acquire().await.expect("the slots are never closed");
        let answer = self.ended.run_until_cancelled(request).await.unwrap_or_else(|| Err(over()));
        if let Err(SftpError::IO(_) | SftpError::Timeout | SftpError::UnexpectedBehavior(_)) = &answer {
            self.ended.cancel();
        }
        answer
    }

    async fn ask<T>(&self, request: impl Future<Output = Result<T, SftpError>>) -> Result<T, Fault> {
        self.raw(request).await.map_err(|error| fault(error, self.begun))
    }
}

fn permissions(mode: u32) -> FileAttributes {
    FileAttributes { permissions: Some(mode & 0o777), ..FileAttributes::empty() }
}
