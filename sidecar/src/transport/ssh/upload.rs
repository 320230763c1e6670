//! Puts one file on the other machine, whole or not at all: a temporary name beside it, then a rename.
//!
//! By SFTP; through the shell where the server has none. Not made for trees: those go through the agent.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::path::RemotePath;
use russh::keys::ssh_key::rand_core::Rng as _;
use russh_sftp::client::{Config, RawSftpSession, error::Error as SftpError};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, Status, StatusCode, Version};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Connection;
use super::channel::{self, Request};
use super::connect::printable;
use crate::transport::{Exit, Process, TransportError};

/// The largest write that every server takes.
const CHUNK: usize = 32 * 1024;
/// Writes under way: with [`CHUNK`] the usual window of a server, 2 MiB.
const DEPTH: usize = 64;
/// One SFTP answer may take this long; a busy disk makes the rename wait for all that was written before.
const ANSWER_TIMEOUT_SECONDS: u64 = 60;
/// What is kept of a failed command's complaint.
const COMPLAINT: u64 = 4096;
/// OpenSSH's rename that replaces, as everything on POSIX does.
const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// OpenSSH's order to the disk.
const FSYNC: &str = "fsync@openssh.com";

/// Copies `from` to `to`; missing folders of `to` are made.
pub(super) async fn upload(
    connection: &Arc<Connection>,
    from: &Path,
    to: &RemotePath,
    mode: u32,
    sent: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), TransportError> {
    let unreadable = |source| TransportError::LocalFile { path: from.to_owned(), source };
    let mut file = File::open(from).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let job = Job { connection, from, to: relative(to), length, mode: mode & 0o7777, sent };
    match open_sftp(connection).await? {
        Some((sftp, version)) => job.by_sftp(&sftp, &version, &mut file).await,
        None => job.by_shell(&mut file).await,
    }
}

/// Removes what [`upload`] put at `path`. A server without SFTP took it by the shell, which sees what it took.
pub(super) async fn remove(connection: &Arc<Connection>, path: &RemotePath) -> Result<(), TransportError> {
    let Some((sftp, _)) = open_sftp(connection).await? else { return Ok(()) };
    let removed = sftp.remove(relative(path)).await;
    if let Err(error) = sftp.close_session() {
        tracing::trace!(%error, "the SFTP session is closed already");
    }
    match removed {
        Ok(_) | Err(SftpError::Status(Status { status_code: StatusCode::NoSuchFile, .. })) => Ok(()),
        Err(error) => {
            let (host, path) = (connection.host.clone(), path.as_str().to_owned());
            Err(TransportError::RemoteFile { host, path, reason: error.to_string() })
        }
    }
}

/// Returns whether the server has an SFTP that works.
pub(super) async fn has_sftp(connection: &Arc<Connection>) -> Result<bool, TransportError> {
    let Some((sftp, _)) = open_sftp(connection).await? else { return Ok(false) };
    if let Err(error) = sftp.close_session() {
        tracing::trace!(%error, "the SFTP session is closed already");
    }
    Ok(true)
}

/// Opens an SFTP session, or returns `None` where the server has none that works.
async fn open_sftp(connection: &Arc<Connection>) -> Result<Option<(RawSftpSession, Version)>, TransportError> {
    let process = match channel::start(connection, Request::Subsystem("sftp")).await {
        Ok(process) => process,
        Err(TransportError::Forbidden { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let config =
        Config { max_concurrent_writes: DEPTH, request_timeout_secs: ANSWER_TIMEOUT_SECONDS, ..Config::default() };
    let sftp = RawSftpSession::new_with_config(tokio::io::join(process.stdout, process.stdin), config);
    match sftp.init().await {
        Ok(version) => Ok(Some((sftp, version))),
        Err(_) if connection.is_closed() => Err(connection.lost(None)),
        Err(error) => {
            // A configured program that is not there, or a login shell that chats into the protocol.
            tracing::debug!(%error, "the server's SFTP does not work");
            Ok(None)
        }
    }
}

/// Returns the path as a server takes it: absolute, or relative to the home it starts in.
fn relative(path: &RemotePath) -> &str {
    match path.as_str() {
        "~" => ".",
        text => text.strip_prefix("~/").unwrap_or(text),
    }
}

struct Job<'a> {
    connection: &'a Arc<Connection>,
    from: &'a Path,
    to: &'a str,
    length: u64,
    mode: u32,
    sent: &'a (dyn Fn(u64) + Send + Sync),
}

impl Job<'_> {
    async fn by_sftp(&self, sftp: &RawSftpSession, version: &Version, file: &mut File) -> Result<(), TransportError> {
        let temporary = self.temporary();
        let placed = async {
            let handle = self.create(sftp, &temporary).await?;
            self.write(sftp, &handle, file).await?;
            if version.extensions.contains_key(FSYNC) {
                sftp.fsync(handle.clone()).await.map_err(|error| self.failed(error))?;
            }
            sftp.close(handle).await.map_err(|error| self.failed(error))?;
            let attributes = sftp.stat(temporary.clone()).await.map_err(|error| self.failed(error))?.attrs;
            self.check_length(attributes.size)?;
            let mode = FileAttributes { permissions: Some(self.mode), ..FileAttributes::empty() };
            sftp.setstat(temporary.clone(), mode).await.map_err(|error| self.failed(error))?;
            self.rename(sftp, &temporary, version.extensions.contains_key(POSIX_RENAME)).await
        };
        let placed = placed.await;
        if placed.is_err()
            && let Err(error) = sftp.remove(temporary).await
        {
            tracing::debug!(%error, "a temporary file may have stayed on the remote");
        }
        if let Err(error) = sftp.close_session() {
            tracing::trace!(%error, "the SFTP session is closed already");
        }
        placed
    }

    /// Creates the temporary file, and its folder if that is missing.
    async fn create(&self, sftp: &RawSftpSession, temporary: &str) -> Result<String, TransportError> {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
        let private = || FileAttributes { permissions: Some(0o600), ..FileAttributes::empty() };
        match sftp.open(temporary, flags, private()).await {
            Ok(opened) => return Ok(opened.handle),
            Err(SftpError::Status(Status { status_code: StatusCode::NoSuchFile, .. })) => {}
            Err(error) => return Err(self.failed(error)),
        }
        for (at, _) in self.to.match_indices('/').filter(|(at, _)| *at > 0) {
            // A folder that is there is what is wanted; anything else shows when the file is made.
            if let Err(error) = sftp.mkdir(&self.to[..at], FileAttributes::empty()).await {
                tracing::trace!(%error, folder = &self.to[..at], "not made");
            }
        }
        let opened = sftp.open(temporary, flags, private()).await;
        Ok(opened.map_err(|error| self.failed(error))?.handle)
    }

    async fn write(&self, sftp: &RawSftpSession, handle: &str, file: &mut File) -> Result<(), TransportError> {
        let mut under_way = FuturesUnordered::new();
        let (mut offset, mut confirmed) = (0, 0);
        loop {
            let chunk = self.read(file).await?;
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len() as u64;
            under_way.push(async move { sftp.write(handle, offset, chunk).await.map(|_| length) });
            offset += length;
            while under_way.len() >= DEPTH
                && let Some(written) = under_way.next().await
            {
                confirmed += written.map_err(|error| self.failed(error))?;
                (self.sent)(confirmed);
            }
        }
        while let Some(written) = under_way.next().await {
            confirmed += written.map_err(|error| self.failed(error))?;
            (self.sent)(confirmed);
        }
        Ok(())
    }

    async fn rename(&self, sftp: &RawSftpSession, temporary: &str, replaces: bool) -> Result<(), TransportError> {
        if !replaces {
            // The old protocol's rename refuses to replace.
            if let Err(error) = sftp.remove(self.to).await {
                tracing::trace!(%error, "there is nothing to replace");
            }
            return sftp.rename(temporary, self.to).await.map(drop).map_err(|error| self.failed(error));
        }
        let mut names = Vec::new();
        for name in [temporary, self.to] {
            let length = u32::try_from(name.len()).expect("a remote path is short");
            names.extend_from_slice(&length.to_be_bytes());
            names.extend_from_slice(name.as_bytes());
        }
        match sftp.extended(POSIX_RENAME, names).await {
            Ok(Packet::Status(Status { status_code: StatusCode::Ok, .. })) => Ok(()),
            Ok(Packet::Status(status)) => Err(self.failed(SftpError::Status(status))),
            Ok(_) => Err(self.failed(SftpError::UnexpectedPacket)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The way for servers without SFTP: `cat` into the temporary name, counted on both sides.
    async fn by_shell(&self, file: &mut File) -> Result<(), TransportError> {
        let path = if self.to.starts_with('/') { self.to.to_owned() } else { format!("./{}", self.to) };
        let temporary = if path.starts_with("./") { format!("./{}", self.temporary()) } else { self.temporary() };
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder });
        let [path, temporary, folder] = [path.as_str(), &temporary, folder].map(shell_words::quote);
        let (length, mode) = (self.length, self.mode);
        let script = format!(
            "mkdir -p {folder} && (umask 077 && cat > {temporary}) && [ \"$(wc -c < {temporary})\" -eq {length} ] && \
             chmod {mode:o} {temporary} && mv -f {temporary} {path} || {{ rm -f {temporary}; exit 1; }}"
        );
        let command = format!("/bin/sh -c {}", shell_words::quote(&script));
        let Process { mut stdin, stdout: _stdout, stderr, control: _control, exit } =
            channel::start(self.connection, Request::Command(&command, None)).await?;
        let feed = async {
            let mut confirmed = 0;
            loop {
                let chunk = self.read(file).await?;
                // A failed write means that the command ended; its complaint says why.
                if chunk.is_empty() || stdin.write_all(&chunk).await.is_err() {
                    break;
                }
                confirmed += chunk.len() as u64;
                (self.sent)(confirmed);
            }
            if let Err(error) = stdin.shutdown().await {
                tracing::debug!(%error, "the command ended before its input");
            }
            Ok(())
        };
        let mut complaint = Vec::new();
        let mut stderr = stderr.take(COMPLAINT);
        let (sent, complained, exit) = tokio::join!(feed, stderr.read_to_end(&mut complaint), exit);
        sent?;
        if let Err(error) = complained {
            tracing::debug!(%error, "the complaint was cut");
        }
        match exit? {
            Exit::Status(0) => Ok(()),
            Exit::Status(_) | Exit::Signal(_) => Err(self.remote(&String::from_utf8_lossy(&complaint))),
        }
    }

    async fn read(&self, file: &mut File) -> Result<Vec<u8>, TransportError> {
        let mut chunk = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            let read = file.read(&mut chunk[filled..]).await;
            match read.map_err(|source| TransportError::LocalFile { path: self.from.to_owned(), source })? {
                0 => break,
                length => filled += length,
            }
        }
        chunk.truncate(filled);
        Ok(chunk)
    }

    /// Returns a name beside the target that nothing else has.
    fn temporary(&self) -> String {
        let mut random = [0; 8];
        russh::keys::key::safe_rng().fill_bytes(&mut random);
        let random = u64::from_le_bytes(random);
        match self.to.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/.mltoolbox-{random:016x}.tmp"),
            None => format!(".mltoolbox-{random:016x}.tmp"),
        }
    }

    fn check_length(&self, there: Option<u64>) -> Result<(), TransportError> {
        match there {
            Some(length) if length != self.length => {
                let here = self.length;
                Err(self.remote(&format!(
                    "{length} bytes arrived of {here}, which happens when the file changes meanwhile"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn failed(&self, error: SftpError) -> TransportError {
        if self.connection.is_closed() {
            return self.connection.lost(None);
        }
        match error {
            SftpError::Status(status) => self.remote(&format!("{} ({})", status.error_message, status.status_code)),
            SftpError::Timeout => self.connection.lost(Some("the server stopped answering")),
            SftpError::IO(text) | SftpError::Limited(text) | SftpError::UnexpectedBehavior(text) => self.remote(&text),
            SftpError::UnexpectedPacket => self.remote("the server's SFTP answer makes no sense"),
        }
    }

    fn remote(&self, reason: &str) -> TransportError {
        let (host, path) = (self.connection.host.clone(), self.to.to_owned());
        if reason.contains("No space left") || reason.contains("quota exceeded") {
            return TransportError::RemoteFull { host, path };
        }
        TransportError::RemoteFile { host, path, reason: printable(reason.trim()) }
    }
}
