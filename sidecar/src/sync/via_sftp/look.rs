//! What is at a path: a stat that follows no link, and the hash of a file that held still while it was read.

use std::future::Future;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use protocol::sync::{Content, Expect, Found, Hash};

use super::seen::{Kind, Seen, trusts};
use super::side::Clock;
use super::wire::{Fault, OpenFile, Wire};

/// Pieces of one file that are asked for ahead: with the largest piece as much as may be under way at all.
const READ_AHEAD: usize = 16;
/// How often a file that changes while it is read is read again.
const ATTEMPTS: u32 = 3;
/// Longest file that is read only to be compared: an hour on a fast line, and an end to what a server may send.
const MOST_COMPARED: u64 = 16 << 30;

/// Whether a place holds what was expected.
#[derive(Debug)]
pub(super) enum Match {
    /// Yes; this is what is there (`None`: nothing, as expected), and whether it had to be read for that: then this is
    /// the full answer about it.
    Yes(Option<Seen>, Option<Found>),
    /// No; this is there instead.
    No(Option<(Found, Seen)>),
}

/// Compares what is at `path` with what is expected; reads a file only when its stamp proves nothing.
pub(super) async fn compare(wire: &Wire, clock: &Clock, path: &str, expect: &Expect) -> Result<Match, Fault> {
    let Some(seen) = wire.look(path).await? else {
        return Ok(if *expect == Expect::Absent { Match::Yes(None, None) } else { Match::No(None) });
    };
    match (expect, seen.kind) {
        (Expect::File { stamp: Some(stamp), .. }, Kind::File) if trusts(stamp, &seen) => {
            return Ok(Match::Yes(Some(seen), None));
        }
        (Expect::File { hash: expected, .. }, Kind::File) => {
            let (found, seen) = found_file(wire, clock, path).await?;
            let same = matches!(&found.content, Content::File { hash, .. } if hash == expected);
            return Ok(if same { Match::Yes(Some(seen), Some(found)) } else { Match::No(Some((found, seen))) });
        }
        (Expect::Folder, Kind::Folder) => return Ok(Match::Yes(Some(seen), None)),
        (Expect::Link { target: expected }, Kind::Link) if wire.target(path).await? == *expected => {
            return Ok(Match::Yes(Some(seen), None));
        }
        (Expect::Absent | Expect::File { .. } | Expect::Folder | Expect::Link { .. }, _) => {}
    }
    found(wire, clock, path, &seen).await.map(|(found, seen)| Match::No(Some((found, seen))))
}

/// Returns the full answer about what is at `path`, which `seen` was about.
pub(super) async fn found(wire: &Wire, clock: &Clock, path: &str, seen: &Seen) -> Result<(Found, Seen), Fault> {
    let content = match seen.kind {
        Kind::File => return found_file(wire, clock, path).await,
        Kind::Folder => Content::Folder,
        Kind::Link => Content::Link { target: wire.target(path).await? },
        Kind::Special => Content::Special,
    };
    Ok((Found { content, stamp: None }, *seen))
}

async fn found_file(wire: &Wire, clock: &Clock, path: &str) -> Result<(Found, Seen), Fault> {
    let file = wire.open(path).await?;
    let hashed = hash(wire, clock, &file).await;
    let closed = wire.close(file).await;
    let (hash, seen, now) = hashed?;
    closed?;
    let content = Content::File { hash, size: seen.size, executable: seen.mode & 0o100 != 0 };
    Ok((Found { content, stamp: Some(seen.stamp(now)) }, seen))
}

async fn hash(wire: &Wire, clock: &Clock, file: &OpenFile<'_>) -> Result<(Hash, Seen, i64), Fault> {
    for _ in 0..ATTEMPTS {
        let mut hasher = blake3::Hasher::new();
        let read = read(wire, clock, file, MOST_COMPARED, |bytes| {
            hasher.update(&bytes);
            std::future::ready(Ok::<(), Fault>(()))
        });
        match read.await? {
            Read::Whole(seen, now) => return Ok((Hash(*hasher.finalize().as_bytes()), seen, now)),
            Read::TooLong(_) => return Err(Fault::Failed("too long to be compared over SFTP".to_owned())),
            Read::Changed => {}
        }
    }
    Err(Fault::Failed("it keeps changing while it is read".to_owned()))
}

/// What came of reading a file.
pub(super) enum Read {
    /// All of it, in one version that was so at this time of the server, in nanoseconds.
    Whole(Seen, i64),
    /// It changed meanwhile.
    Changed,
    /// It is longer than allowed, and nothing was read.
    TooLong(Seen),
}

/// Reads an open file from its beginning and hands over its bytes in order.
pub(super) async fn read<E: From<Fault>, F: Future<Output = Result<(), E>>>(
    wire: &Wire,
    clock: &Clock,
    file: &OpenFile<'_>,
    most: u64,
    mut take: impl FnMut(Bytes) -> F,
) -> Result<Read, E> {
    // Before the first byte, so that a change in the second of the last look is seen by the next one.
    let now = clock.now();
    let before = wire.look_through(file).await?;
    if before.kind != Kind::File {
        return Err(Fault::Failed("it is no regular file any more".to_owned()).into());
    }
    if before.size > most {
        return Ok(Read::TooLong(before));
    }
    let chunk = wire.chunk as u64;
    let pieces = (0..before.size.div_ceil(chunk)).map(|number| {
        let offset = number * chunk;
        piece(wire, file, offset, before.size.saturating_sub(offset).min(chunk))
    });
    let mut pieces = stream::iter(pieces).buffered(READ_AHEAD);
    while let Some(bytes) = pieces.next().await {
        match bytes? {
            Some(bytes) => take(bytes.into()).await?,
            None => return Ok(Read::Changed),
        }
    }
    let after = wire.look_through(file).await?;
    Ok(if after.is_still(&before) { Read::Whole(after, now) } else { Read::Changed })
}

/// Reads `length` bytes, `None` when the file ends before; servers may give less at once than was asked for.
async fn piece(wire: &Wire, file: &OpenFile<'_>, offset: u64, length: u64) -> Result<Option<Vec<u8>>, Fault> {
    let length = usize::try_from(length).expect("a chunk is small");
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let more = wire.read(file, offset + bytes.len() as u64, length - bytes.len()).await?;
        if more.is_empty() {
            return Ok(None);
        }
        if bytes.is_empty() {
            bytes = more;
        } else {
            bytes.extend_from_slice(&more);
        }
    }
    Ok(Some(bytes))
}
