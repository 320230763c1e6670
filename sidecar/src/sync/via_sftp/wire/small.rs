//! Files of one piece: all that is to be done with one goes out at once, and one wait is for all the answers.

use futures_util::future::{join, join4, join5};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, Status, StatusCode};

use super::fault::{fault, over};
use super::{Fault, OpenFile, Wire, permissions};
use crate::sync::via_sftp::seen::{Kind, Seen};

/// Requests that [`Wire::fill`] makes at once.
const FILLING: u32 = 6;
/// Requests that [`Wire::read_small`] makes at once.
const READING: u32 = 4;

/// What a file is given after its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Finish {
    /// Permission bits.
    pub(in super::super) mode: Option<u32>,
    /// Modification time in seconds since the Unix epoch.
    pub(in super::super) mtime: Option<u32>,
    /// Whether it has to survive a power cut.
    pub(in super::super) sync: bool,
}

impl Wire {
    /// Writes the only piece of a file, or nothing to one that was written, finishes and closes it, and returns what it
    /// is then. All of it is sent without waiting: a server does what is about one file in its order.
    pub(in super::super) async fn fill(
        &self,
        file: OpenFile<'_>,
        bytes: Vec<u8>,
        finish: Finish,
    ) -> Result<Seen, Fault> {
        let _bytes = self.bytes(bytes.len()).await;
        // All before the first is sent, so that none of them overtakes another.
        let _slots = self.slots.acquire_many(FILLING).await.expect("the slots are never closed");
        let handle = file.handle.as_str();
        let set = |attributes: Option<FileAttributes>| async move {
            match attributes {
                Some(attributes) => self.sftp.fsetstat(handle, attributes).await.map(drop),
                None => Ok(()),
            }
        };
        let write = async { if bytes.is_empty() { Ok(()) } else { self.sftp.write(handle, 0, bytes).await.map(drop) } };
        let times = finish.mtime.map(|mtime| FileAttributes {
            atime: Some(mtime),
            mtime: Some(mtime),
            ..FileAttributes::empty()
        });
        let sync =
            async { if finish.sync && self.offers.fsync { self.sftp.fsync(handle).await.map(drop) } else { Ok(()) } };
        let look = self.sftp.fstat(handle);
        let all = join5(write, set(finish.mode.map(permissions)), set(times), sync, look);
        let all = self.ended.run_until_cancelled(join(all, self.sftp.close(handle))).await;
        let Some(((written, mode, times, synced, seen), closed)) = all else {
            return Err(fault(over(), self.begun));
        };
        for done in [written, mode, synced] {
            done.map_err(|error| fault(error, self.begun))?;
        }
        closed.map_err(|error| fault(error, self.begun))?;
        if let Err(error) = times {
            // Its content is right, and a server that keeps no times keeps none of anybody's.
            tracing::debug!(%error, "a file does not keep its time");
        }
        Seen::of(&seen.map_err(|error| fault(error, self.begun))?.attrs)
    }

    /// Returns the bytes of a file that fits into one piece, and closes it; `None` when they are not all of one version.
    /// All of it is sent without waiting: a server does what is about one file in its order.
    pub(in super::super) async fn read_small(&self, file: OpenFile<'_>) -> Result<Option<Vec<u8>>, Fault> {
        let _bytes = self.bytes(self.chunk).await;
        let _slots = self.slots.acquire_many(READING).await.expect("the slots are never closed");
        let handle = file.handle.as_str();
        let most = u32::try_from(self.chunk).expect("a chunk is small");
        let all = join4(
            self.sftp.fstat(handle),
            self.sftp.read(handle, 0, most),
            self.sftp.fstat(handle),
            self.sftp.close(handle),
        );
        let Some((before, read, after, closed)) = self.ended.run_until_cancelled(all).await else {
            return Err(fault(over(), self.begun));
        };
        let failed = |error| fault(error, self.begun);
        let (before, after) = (Seen::of(&before.map_err(failed)?.attrs)?, Seen::of(&after.map_err(failed)?.attrs)?);
        let bytes = match read {
            Ok(answer) => answer.data,
            Err(SftpError::Status(Status { status_code: StatusCode::Eof, .. })) => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        closed.map_err(failed)?;
        let is_whole = before.kind == Kind::File && after.is_still(&before) && bytes.len() as u64 == after.size;
        Ok(is_whole.then_some(bytes))
    }
}
