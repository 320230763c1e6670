//! One file on its way home: read, checked, and given its name.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use protocol::sync::Content;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::sync::watch as published;

use super::home::{Home, PART, Staged};
use super::plan::{Action, Step};
use crate::frontend::Progress;
use crate::store::Base;
use crate::sync::look::blocking;
use crate::sync::target::{Before, SyncError, SyncTarget};

/// How often a file is read that changes while it is read.
const ATTEMPTS: u32 = 3;
/// Bytes that are gathered before they are written.
const BUFFER: usize = 1024 * 1024;

/// Why a file did not come home.
pub(super) enum Failed {
    /// Something on this machine.
    Here(io::Error),
    /// Something on the remote.
    There(SyncError),
}

/// Brings one file home and returns what both sides hold now.
pub(super) async fn file(
    step: &Step,
    home: &Arc<Home>,
    target: &dyn SyncTarget,
    progress: &published::Sender<Progress>,
    free: u64,
) -> Result<Base, Failed> {
    let (mut most, mode) = match step.action {
        Action::File { size, mode } => (size, mode.unwrap_or(0o666)),
        Action::Folder | Action::Link { .. } | Action::Remove => {
            return Err(Failed::Here(io::ErrorKind::Unsupported.into()));
        }
    };
    let mut attempt = 1;
    let goes_on = most >= PART && target.reads_on();
    let (staged, found) = loop {
        let (place, at) = (Arc::clone(home), step.path.clone());
        let stage = move || {
            if goes_on { place.stage_part(&at, mode) } else { Ok((place.stage(&at, mode)?, Before::default())) }
        };
        let (mut staged, before) = blocking(stage).await.and_then(|staged| staged).map_err(Failed::Here)?;
        let file = staged.file().map_err(Failed::Here)?;
        let inner = BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file));
        let mut writer = Counting { inner, bytes: before.length, progress };
        progress.send_modify(|progress| progress.bytes += before.length);
        let read = if before.length > 0 {
            target.read_on(&step.path, most, &before, &mut writer).await
        } else {
            target.read(&step.path, most, &mut writer).await
        };
        let written = writer.bytes;
        let flushed = writer.flush().await;
        let why = match read {
            Ok(found) => match found.content {
                // It grew since it was listed.
                Content::File { size, .. } if size > most => {
                    if size > free {
                        return Err(Failed::Here(io::ErrorKind::StorageFull.into()));
                    }
                    most = size;
                    SyncError::Protocol(format!("it has {size} bytes by now"))
                }
                Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special => match flushed {
                    Ok(()) => break (staged, found),
                    Err(error) => return Err(discard(staged, error).await),
                },
            },
            Err(SyncError::Store { source, .. }) => return Err(discard(staged, source).await),
            Err(error @ (SyncError::Protocol(_) | SyncError::Refused(_))) => error,
            Err(error) => return Err(Failed::There(error)),
        };
        progress.send_modify(|progress| progress.bytes = progress.bytes.saturating_sub(written));
        // It is the beginning of another version, or a mixture of two.
        blocking(move || staged.begin_anew()).await.and_then(|begun| begun).map_err(Failed::Here)?;
        if attempt == ATTEMPTS {
            return Err(Failed::There(why));
        }
        attempt += 1;
    };
    let (place, at, expected) = (Arc::clone(home), step.path.clone(), step.expected.clone());
    // What is not synced and is replaced came home by a pull, and was not changed since.
    let keeps = step.synced;
    let placed = blocking(move || place.place(staged, &at, expected.as_ref(), keeps)).await.and_then(|placed| placed);
    let mode = placed.map_err(Failed::Here)?;
    Ok(Base { content: found.content, mode, local: None, remote: found.stamp })
}

/// Removes what came of a file that cannot be written: a part of it would keep a full disk full.
async fn discard(mut staged: Staged, error: io::Error) -> Failed {
    match blocking(move || staged.begin_anew()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) | Err(error) => tracing::info!(%error, "a part of a file is left over"),
    }
    Failed::Here(error)
}

/// Tells how many bytes were written.
struct Counting<'a> {
    inner: BufWriter<tokio::fs::File>,
    bytes: u64,
    progress: &'a published::Sender<Progress>,
}

impl AsyncWrite for Counting<'_> {
    fn poll_write(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(std::pin::Pin::new(&mut self.inner).poll_write(cx, buffer))?;
        self.bytes += written as u64;
        self.progress.send_modify(|progress| progress.bytes += written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
