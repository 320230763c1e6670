//! How our types stand in rows. Reading checks everything: another program may have written the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use protocol::editor::{RemoteRow, SyncGit};
use protocol::path::RelPath;
use protocol::sync::{Content, Hash, Stamp};
use rusqlite::types::Type;
use rusqlite::{Result, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Base, Pair};

/// Columns of [`remote`].
pub(super) const REMOTE: &str =
    "name, host, port, user, jump, key, accept_new, agent_allowed, facts, last_reached, no_agent";
/// Columns of [`pair`].
pub(super) const PAIR: &str = "id, workspace, remote, remote_dir, copy, root_inode, root_device, exclude, include, \
     paused, wanted, last_visible, last_durable, append, pull, git, git_index";
/// Columns of [`base`].
pub(super) const BASE: &str = "path, kind, hash, size, executable, target, mode, local, remote";

/// Reads the columns [`REMOTE`].
pub(super) fn remote(row: &Row<'_>) -> Result<RemoteRow> {
    Ok(RemoteRow {
        name: row.get(0)?,
        host: row.get(1)?,
        port: row.get(2)?,
        user: row.get(3)?,
        jump: row.get(4)?,
        key: row.get(5)?,
        accept_new: row.get(6)?,
        agent_allowed: row.get(7)?,
        facts: row.get::<_, Option<String>>(8)?.map(|text| from_json(8, &text)).transpose()?,
        last_reached: row.get(9)?,
        no_agent: row.get::<_, Option<String>>(10)?.map(|text| from_json(10, &text)).transpose()?,
    })
}

/// Reads the columns [`PAIR`].
pub(super) fn pair(row: &Row<'_>) -> Result<Pair> {
    let inode: Option<i64> = row.get(5)?;
    let device: Option<i64> = row.get(6)?;
    Ok(Pair {
        id: row.get(0)?,
        workspace: path_of(row.get(1)?)?,
        remote: row.get(2)?,
        remote_dir: row.get(3)?,
        copy: row.get(4)?,
        root: inode.zip(device).map(|(inode, device)| (inode.cast_unsigned(), device.cast_unsigned())),
        exclude: from_json(7, &row.get::<_, String>(7)?)?,
        include: from_json(8, &row.get::<_, String>(8)?)?,
        paused: row.get(9)?,
        wanted: row.get(10)?,
        last_visible: row.get(11)?,
        last_durable: row.get(12)?,
        append: from_json(13, &row.get::<_, String>(13)?)?,
        pull: from_json(14, &row.get::<_, String>(14)?)?,
        git: if row.get(15)? { SyncGit::Push } else { SyncGit::Off },
        git_index: row.get::<_, Option<[u8; 32]>>(16)?.map(Hash),
        debounce: None,
    })
}

/// Reads the columns [`BASE`].
pub(super) fn base(row: &Row<'_>) -> Result<(RelPath, Base)> {
    let content = match row.get::<_, i64>(1)? {
        0 => Content::File {
            hash: Hash(row.get(2)?),
            size: row.get::<_, i64>(3)?.cast_unsigned(),
            executable: row.get(4)?,
        },
        1 => Content::Folder,
        2 => Content::Link { target: row.get(5)? },
        3 => Content::Special,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    let base = Base { content, mode: row.get(6)?, local: stamp(row, 7)?, remote: stamp(row, 8)? };
    Ok((rel_path(row, 0)?, base))
}

/// Reads a path inside a workspace.
pub(super) fn rel_path(row: &Row<'_>, column: usize) -> Result<RelPath> {
    RelPath::new(row.get::<_, String>(column)?).map_err(|error| mismatch(column, error))
}

/// A content as the columns kind, hash, size, executable and target.
pub(super) type ContentColumns<'a> = (i64, Option<&'a [u8; 32]>, Option<i64>, Option<bool>, Option<&'a str>);

/// Returns the columns of a content.
pub(super) fn content(content: &Content) -> ContentColumns<'_> {
    match content {
        Content::File { hash, size, executable } => {
            (0, Some(&hash.0), Some(size.cast_signed()), Some(*executable), None)
        }
        Content::Folder => (1, None, None, None, None),
        Content::Link { target } => (2, None, None, None, Some(target)),
        Content::Special => (3, None, None, None, None),
    }
}

/// Returns a stamp as five little-endian words: size, mtime, ctime, inode, device.
pub(super) fn stamp_bytes(stamp: &Stamp) -> [u8; 40] {
    let words = [stamp.size, stamp.mtime_ns.cast_unsigned(), stamp.ctime_ns.cast_unsigned(), stamp.inode, stamp.device];
    let mut bytes = [0; 40];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

fn stamp(row: &Row<'_>, column: usize) -> Result<Option<Stamp>> {
    let bytes: Option<[u8; 40]> = row.get(column)?;
    Ok(bytes.map(|bytes| {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().expect("forty bytes are five words");
        Stamp {
            size: next(),
            mtime_ns: next().cast_signed(),
            ctime_ns: next().cast_signed(),
            inode: next(),
            device: next(),
        }
    }))
}

/// Returns a value as JSON text.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn from_json<T: DeserializeOwned>(column: usize, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| mismatch(column, error))
}

fn mismatch(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

/// Returns the bytes of a path of this machine, which need not be UTF-8.
pub(super) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other platforms refuse some bytes")]
fn path_of(bytes: Vec<u8>) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> Result<PathBuf> {
    String::from_utf8(bytes).map(|text| PathBuf::from(OsString::from(text))).map_err(|error| mismatch(1, error))
}
