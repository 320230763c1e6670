//! The chunks of large files, by the hash of the file: what they are told by when they change.
//!
//! A list that is missing costs a question or a longer transfer, and a wrong one no more: whatever is made from it
//! is hashed as a whole.

use protocol::sync::Hash;
use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError, now};

/// Most bytes of all lists, which are those of about a hundred GiB of files; the oldest go first.
const CAP: i64 = 64 * 1024 * 1024;

/// The chunks of a file as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChunks {
    /// The file's bytes.
    pub size: u64,
    /// The list as it travels.
    pub list: Vec<u8>,
}

impl Store {
    /// Returns the chunks of the file with that hash.
    pub async fn chunk_list(&self, file: Hash) -> Result<Option<StoredChunks>, StoreError> {
        self.read(move |read| {
            let mut query = read.prepare_cached("select size, list from chunk_list where hash = ?")?;
            query
                .query_row([file.0], |row| {
                    Ok(StoredChunks { size: row.get::<_, i64>(0)?.cast_unsigned(), list: row.get(1)? })
                })
                .optional()
        })
        .await
    }

    /// Remembers the chunks of a file.
    pub async fn put_chunk_list(&self, file: Hash, chunks: StoredChunks) -> Result<(), StoreError> {
        self.put_chunk_list_within(CAP, file, chunks).await
    }

    /// Remembers the chunks of a file, and forgets the oldest lists above `cap` bytes.
    pub(super) async fn put_chunk_list_within(
        &self,
        cap: i64,
        file: Hash,
        chunks: StoredChunks,
    ) -> Result<(), StoreError> {
        self.write(move |write| {
            write.execute(
                "insert or replace into chunk_list (hash, size, list, stored) values (?, ?, ?, ?)",
                params![file.0, chunks.size.cast_signed(), chunks.list, now()],
            )?;
            write.execute(
                "delete from chunk_list where rowid in (
                     select id from (
                         select rowid as id, sum(length(list)) over (order by stored desc, rowid desc) as held
                         from chunk_list
                     ) where held > ?
                 )",
                [cap],
            )
        })
        .await
        .map(drop)
    }

    /// Forgets the chunks of a file.
    pub async fn forget_chunk_list(&self, file: Hash) -> Result<(), StoreError> {
        self.write(move |write| write.execute("delete from chunk_list where hash = ?", [file.0])).await.map(drop)
    }
}
