//! One file on its way here: hashed while it is copied, and in one version.

use bytes::Bytes;
use protocol::path::RelPath;
use protocol::sync::{Content, Found, Hash};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::super::target::SyncError;
use super::error::RootError;
use super::folders::{Folders, Stop};
use super::look::{self, Read};
use super::root::Root;
use super::seen::Kind;
use super::wire::{self, Fault};

impl Root {
    /// Copies a file of at most `most` bytes to `to`; a longer one is told and not read.
    pub(super) async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        let unreadable = |reason: String| {
            RootError::Unreadable { path: format!("{}/{path}", self.side.root), reason }.of_sync(&self.asked)
        };
        let failed = |fault: Fault| match fault {
            Fault::Lost { .. } => self.lost(fault),
            other => unreadable(other.to_string()),
        };
        self.check(&self.bulk).await?;
        let there = match Folders::new(&self.bulk, &self.side).reach(path).await {
            Ok(there) => there,
            Err(Stop::Missing) => return Err(unreadable("its folder is not there".to_owned())),
            Err(Stop::Unsafe(reason)) => return Err(unreadable(reason)),
            Err(Stop::Fault(fault)) => return Err(failed(fault)),
        };
        match self.bulk.look(&there).await.map_err(failed)?.map(|seen| seen.kind) {
            Some(Kind::File) => {}
            Some(Kind::Folder) => return Err(unreadable("it is a folder".to_owned())),
            Some(Kind::Link) => return Err(unreadable("it is a symbolic link".to_owned())),
            Some(Kind::Special) => return Err(unreadable("it is a socket, pipe or device".to_owned())),
            None => return Err(unreadable("it is not there".to_owned())),
        }
        let file = self.bulk.open(&there).await.map_err(failed)?;
        let (hash, read) = self.copy(&file, most, to).await;
        let closed = self.bulk.close(file).await;
        let (seen, stamp) = match read {
            Ok(Read::Whole(seen, now)) => (seen, seen.stamp(now)),
            Ok(Read::TooLong(seen)) => (seen, seen.stamp(seen.mtime)),
            Ok(Read::Changed) => return Err(unreadable("it changes while it is read".to_owned())),
            Err(Stopped::Fault(fault)) => return Err(failed(fault)),
            Err(Stopped::Store(source)) => return Err(SyncError::Store { path: path.clone(), source }),
        };
        closed.map_err(failed)?;
        let content = Content::File { hash, size: seen.size, executable: seen.mode & 0o100 != 0 };
        Ok(Found { content, stamp: Some(stamp) })
    }

    /// Copies an open file and returns the hash of what was copied.
    async fn copy(
        &self,
        file: &wire::OpenFile<'_>,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> (Hash, Result<Read, Stopped>) {
        let (pieces, mut taken) = mpsc::channel::<Bytes>(1);
        let reading = async move {
            look::read(&self.bulk, &self.side.clock, file, most, |bytes| {
                let pieces = pieces.clone();
                // Without a taker the bytes could not be stored, which is told below.
                async move { pieces.send(bytes).await.map_err(|_| Stopped::Fault(Fault::Nonsense("nobody reads"))) }
            })
            .await
        };
        let storing = async move {
            let mut hasher = blake3::Hasher::new();
            while let Some(bytes) = taken.recv().await {
                hasher.update(&bytes);
                if let Err(error) = to.write_all(&bytes).await {
                    return (hasher, Err(error));
                }
            }
            (hasher, Ok(()))
        };
        let (read, (hasher, stored)) = tokio::join!(reading, storing);
        let hash = Hash(*hasher.finalize().as_bytes());
        (hash, stored.map_err(Stopped::Store).and(read))
    }
}

/// Why a file was not copied.
enum Stopped {
    /// The server failed.
    Fault(Fault),
    /// It could not be stored here.
    Store(std::io::Error),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
