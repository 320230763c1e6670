//! Writing one file: look, send, and only then give it its name. What travels is hashed while it is read.

use std::sync::{Arc, PoisonError};

use agent::files::mode;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use protocol::path::RelPath;
use protocol::sync::{Content, Expect, Hash, Outcome, Rejected, Stamp};
use tokio::sync::mpsc;

use super::super::look::blocking;
use super::super::scan::Seal;
use super::super::source::Reading;
use super::super::target::Unread;
use super::apply::{Halt, Work, changed, folder_first};
use super::look::Match;
use super::place::{self, Replaced};
use super::seen::{Kind, Seen};
use super::wire::{Fault, Finish, OpenFile};

/// Pieces of a large file that were read and wait to be sent.
const READ_AHEAD: usize = 2;

/// How a file is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put {
    pub(super) mode: u32,
    pub(super) mtime_ns: Option<i64>,
}

/// A file as it was read here.
enum Body {
    /// All of it.
    Small(Vec<u8>, Seal),
    /// It is read while it travels.
    Large(Box<dyn Reading>),
}

/// A body in its temporary file.
struct Sent {
    /// Where.
    temporary: String,
    /// What it is there.
    seen: Seen,
    /// Vouches for its bytes.
    stamp: Stamp,
    /// What was sent.
    seal: Seal,
}

/// What came of looking at the place of a file.
enum Examined {
    /// Nothing is left to do.
    Settled(Outcome),
    /// The file may be written over what is there.
    Ready(Option<Seen>),
}

impl Work<'_> {
    /// Writes a file; what is there must be what is expected, before and after its bytes arrived.
    pub(super) async fn put(&self, path: &RelPath, expect: &Expect, put: &Put) -> Result<(Outcome, Seal), Halt> {
        let there = self.reach(path).await?;
        // Bounds the bytes of small files that are held at a time.
        let _memory = self.root.memory.acquire().await.expect("the places are never closed");
        let body = self.body(path).await?;
        let mut before = None;
        if let (Body::Small(_, seal), true) = (&body, *expect != Expect::Absent) {
            match self.examine(&there, expect, put, Some(seal.hash)).await? {
                Examined::Settled(outcome) => return Ok((outcome, *seal)),
                Examined::Ready(seen) => before = seen,
            }
        } else if matches!(body, Body::Large(_)) {
            match self.examine(&there, expect, put, None).await? {
                // Without a hash nothing is taken for equal.
                Examined::Settled(_) => {}
                Examined::Ready(seen) => before = seen,
            }
        }
        // A replaced file's mode is given after the bytes; until then nobody else may read them.
        let replaced = before.filter(|seen| seen.kind == Kind::File).map(|seen| mode::updated(seen.mode, put.mode));
        let bits = replaced.map_or(mode::created(put.mode), |_| 0o600);
        let mtime = put.mtime_ns.filter(|_| before.is_none());
        let finish = Finish { mode: replaced, mtime: mtime.map(seconds), sync: self.durable };
        let is_large = matches!(body, Body::Large(_));
        let Sent { temporary, seen: fresh, stamp, seal } = self.send(body, bits, finish).await?;
        if is_large && let Err(stop) = self.folders.reach_anew(path).await {
            // The upload took its time, and a folder above may be a link out of the root by now.
            self.discard(&temporary).await;
            return Err(stop.rejected(path)?.into());
        }
        if fresh.size != seal.size {
            self.discard(&temporary).await;
            // A full disk shows so where a server does not say that a write failed.
            return Err(Fault::Failed(format!("{} bytes arrived of {}", fresh.size, seal.size)).into());
        }
        match self.place(&temporary, &there, path, before.as_ref()).await {
            Ok(Replaced::Done { kept_as }) => {
                if !self.durable || !self.wire.offers.fsync {
                    self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
                }
                Ok((Outcome::Applied { stamp: Some(stamp), kept_as }, seal))
            }
            Ok(Replaced::Changed) => {
                self.discard(&temporary).await;
                match self.examine(&there, expect, put, Some(seal.hash)).await? {
                    Examined::Settled(outcome) => Ok((outcome, seal)),
                    // It changed and changed back while we looked: the next pass finds it quiet.
                    Examined::Ready(Some(seen)) => Err(changed(Some(self.found(&there, &seen).await?))),
                    Examined::Ready(None) => Err(changed(None)),
                }
            }
            Err(fault @ Fault::Lost { .. }) => Err(Halt::InDoubt(seal, fault)),
            Err(fault) => {
                self.discard(&temporary).await;
                Err(fault.into())
            }
        }
    }

    async fn place(
        &self,
        temporary: &str,
        there: &str,
        path: &RelPath,
        before: Option<&Seen>,
    ) -> Result<Replaced, Fault> {
        if let Some(before) = before {
            return place::replace(self, temporary, there, path, before).await;
        }
        // A server's rename may replace a link that leads nowhere, so its place is looked at.
        if self.wire.look(there).await?.is_none() && place::rename_new(self.wire, temporary, there).await? {
            return Ok(Replaced::Done { kept_as: None });
        }
        Ok(Replaced::Changed)
    }

    /// Decides whether a file may be written; `hash` is that of its bytes where they are known.
    async fn examine(&self, there: &str, expect: &Expect, put: &Put, hash: Option<Hash>) -> Result<Examined, Halt> {
        // Before anything is looked at, so that a change in the second of the look is seen by the next one.
        let now = self.root.side.clock.now();
        let seen = match self.compare(there, expect).await? {
            Match::Yes(None, _) => return Ok(Examined::Ready(None)),
            Match::No(None) => return Err(changed(None)),
            Match::Yes(Some(seen), _) => match expect {
                Expect::File { hash: there, .. } if Some(*there) == hash => seen,
                Expect::File { .. } | Expect::Link { .. } | Expect::Absent => return Ok(Examined::Ready(Some(seen))),
                Expect::Folder => return Err(folder_first()),
            },
            Match::No(Some((found, seen))) => match found.content {
                Content::File { hash: there, .. } if Some(there) == hash => seen,
                Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special => {
                    return Err(changed(Some(found)));
                }
            },
        };
        // The bytes are there; the execute bits may not be.
        self.update_mode(there, &seen, put.mode).await?;
        if self.durable {
            // They may have arrived in a transfer that was not durable.
            let file = self.wire.open(there).await?;
            self.wire.sync(&file).await?;
            self.wire.close(file).await?;
        }
        Ok(Examined::Settled(Outcome::Already { stamp: Some(seen.stamp(now)) }))
    }

    /// Opens a file here, and reads it when it fits into one piece.
    async fn body(&self, path: &RelPath) -> Result<Body, Halt> {
        let (source, path, most) = (Arc::clone(&self.bodies), path.clone(), self.wire.chunk);
        let opened = blocking(move || -> Result<Body, Unread> {
            let mut reading = source.open(&path).map_err(|error| unreadable(&error))?;
            let size = reading.size();
            if size > most as u64 {
                return Ok(Body::Large(reading));
            }
            let mut bytes = vec![0; usize::try_from(size).expect("a small file fits into memory")];
            let mut filled = 0;
            while let Some(place) = bytes.get_mut(filled..).filter(|place| !place.is_empty()) {
                match reading.read(place).map_err(|error| unreadable(&error))? {
                    // It was cut meanwhile, which the end of the reading tells.
                    0 => break,
                    length => filled += length,
                }
            }
            let seal = reading.finish().map_err(|error| unreadable(&error))?.ok_or(Unread::Changing)?;
            Ok(Body::Small(bytes, seal))
        });
        opened.await.map_err(|error| died(&error))?.map_err(Halt::Unread)
    }

    /// Writes a body to a temporary file.
    async fn send(&self, body: Body, bits: u32, finish: Finish) -> Result<Sent, Halt> {
        let temporary = self.root.side.temporary();
        let file = match self.wire.create(&temporary, bits).await {
            Ok(file) => file,
            // An agent that opened the root since took the folder away.
            Err(Fault::Missing) => {
                self.root.side.make_workshop(self.wire).await?;
                self.wire.create(&temporary, bits).await?
            }
            Err(fault) => return Err(fault.into()),
        };
        let streamed = match body {
            Body::Small(bytes, seal) => Ok((bytes, seal)),
            Body::Large(reading) => self.stream(&file, reading).await.map(|seal| (Vec::new(), seal)),
        };
        let halt = match streamed {
            Ok((bytes, seal)) => {
                let now = self.root.side.clock.now();
                match self.wire.fill(file, bytes, finish).await {
                    Ok(seen) => return Ok(Sent { temporary, seen, stamp: seen.stamp(now), seal }),
                    Err(fault) => fault.into(),
                }
            }
            Err(halt) => {
                if let Err(fault) = self.wire.close(file).await {
                    tracing::debug!(%fault, "a file stays open there");
                }
                halt
            }
        };
        self.discard(&temporary).await;
        Err(halt)
    }

    /// Sends a file while it is read, several pieces at a time.
    async fn stream(&self, file: &OpenFile<'_>, reading: Box<dyn Reading>) -> Result<Seal, Halt> {
        let (pieces, mut read) = mpsc::channel(READ_AHEAD);
        let most = self.wire.chunk;
        let reader = tokio::task::spawn_blocking(move || read_pieces(reading, most, &pieces));
        let mut writes = FuturesUnordered::new();
        let mut offset = 0;
        let mut failed = None;
        // The wire lets no more bytes go than may be under way, so the pieces that wait here are bounded by hand.
        let at_once = self.wire.pieces();
        while failed.is_none() {
            tokio::select! {
                Some(written) = writes.next() => {
                    let written: Result<(), Fault> = written;
                    failed = written.err();
                }
                piece = read.recv(), if writes.len() < at_once => {
                    let Some(piece) = piece else { break };
                    let length = piece.len() as u64;
                    writes.push(self.wire.write(file, offset, piece));
                    offset += length;
                }
            }
        }
        while let Some(written) = writes.next().await {
            failed = failed.or(written.err());
        }
        // The reader ends when nobody takes its pieces.
        drop(read);
        let sealed = reader.await.map_err(|error| died(&std::io::Error::other(error)))?;
        match failed {
            Some(fault) => Err(fault.into()),
            None => sealed.map_err(Halt::Unread),
        }
    }
}

fn read_pieces(mut reading: Box<dyn Reading>, most: usize, pieces: &mpsc::Sender<Vec<u8>>) -> Result<Seal, Unread> {
    loop {
        let mut piece = vec![0; most];
        let length = reading.read(&mut piece).map_err(|error| unreadable(&error))?;
        if length == 0 {
            break;
        }
        piece.truncate(length);
        if pieces.blocking_send(piece).is_err() {
            // The server failed, which says more.
            return Err(Unread::Changing);
        }
    }
    reading.finish().map_err(|error| unreadable(&error))?.ok_or(Unread::Changing)
}

fn unreadable(error: &std::io::Error) -> Unread {
    match error.kind() {
        std::io::ErrorKind::NotFound => Unread::Gone,
        _ => Unread::Failed(error.to_string()),
    }
}

/// A task of ours that died.
fn died(error: &std::io::Error) -> Halt {
    Rejected::Failed { reason: error.to_string() }.into()
}

/// Returns a modification time as the protocol counts it: until 2106, in whole seconds.
fn seconds(nanoseconds: i64) -> u32 {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    u32::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { u32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fit_the_protocol() {
        let second = 1_000_000_000;
        for (nanoseconds, want) in [(0, 0), (-1, 0), (second - 1, 0), (7 * second, 7), (i64::MAX, u32::MAX)] {
            assert_eq!(seconds(nanoseconds), want, "{nanoseconds}");
        }
    }
}
