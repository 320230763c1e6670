//! Pairs of a workspace and a remote folder, what both held when they were last equal, and their conflicts.

use std::path::Path;

use protocol::editor::SyncGit;
use protocol::path::RelPath;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Base, BaseChange, Pair, Store, StoreError, naming, now, rows};

impl Store {
    /// Returns every pair.
    pub async fn pairs(&self) -> Result<Vec<Pair>, StoreError> {
        self.read(|read| {
            let mut query =
                read.prepare_cached(&format!("select {} from pair order by workspace, remote", rows::PAIR))?;
            query.query_map([], rows::pair)?.collect()
        })
        .await
    }

    /// Returns the pair of a workspace and a remote, made with `remote_dir` when there is none.
    /// Another `remote_dir` than the stored one starts with an empty base.
    pub async fn pair(&self, workspace: &Path, remote: &str, remote_dir: &str) -> Result<Pair, StoreError> {
        let (workspace, name, remote_dir) = (rows::path_bytes(workspace), remote.to_owned(), remote_dir.to_owned());
        let pair = self.write(move |write| {
            let find = format!("select {} from pair where workspace = ? and remote = ?", rows::PAIR);
            let find = || write.query_row(&find, params![workspace, name], rows::pair).optional();
            match find()? {
                Some(pair) if pair.remote_dir == remote_dir => return Ok(pair),
                Some(pair) => {
                    forget_base(write, pair.id)?;
                    write.execute(
                        "update pair set remote_dir = ?, last_visible = null, last_durable = null where id = ?",
                        params![remote_dir, pair.id],
                    )?;
                }
                None => {
                    write.execute(
                        "insert into pair (workspace, remote, remote_dir) values (?, ?, ?)",
                        params![workspace, name, remote_dir],
                    )?;
                }
            }
            find()?.ok_or(rusqlite::Error::QueryReturnedNoRows)
        });
        pair.await.map_err(|error| naming(error, remote))
    }

    /// Stores a pair's settings and marks (everything but its id, workspace, remote and folder).
    pub async fn update_pair(&self, pair: &Pair) -> Result<(), StoreError> {
        let pair = pair.clone();
        self.write(move |write| {
            write.execute(
                "update pair set copy = ?, root_inode = ?, root_device = ?, exclude = ?, include = ?, paused = ?,
                     wanted = ?, last_visible = ?, last_durable = ?, append = ?,
                     pull = ?, git = ?, git_index = ? where id = ?",
                params![
                    pair.copy,
                    pair.root.map(|(inode, _)| inode.cast_signed()),
                    pair.root.map(|(_, device)| device.cast_signed()),
                    rows::to_json(&pair.exclude)?,
                    rows::to_json(&pair.include)?,
                    pair.paused,
                    pair.wanted,
                    pair.last_visible,
                    pair.last_durable,
                    rows::to_json(&pair.append)?,
                    rows::to_json(&pair.pull)?,
                    pair.git == SyncGit::Push,
                    pair.git_index.map(|hash| hash.0),
                    pair.id
                ],
            )
        })
        .await
        .map(drop)
    }

    /// Stores a pair's marks, and none of its settings: those that a sync runs with may come from the configuration.
    pub async fn update_marks(&self, pair: &Pair) -> Result<(), StoreError> {
        let pair = pair.clone();
        self.write(move |write| {
            write.execute(
                "update pair set copy = ?, root_inode = ?, root_device = ?, paused = ?, wanted = ?, last_visible = ?,
                     last_durable = ?, git_index = ? where id = ?",
                params![
                    pair.copy,
                    pair.root.map(|(inode, _)| inode.cast_signed()),
                    pair.root.map(|(_, device)| device.cast_signed()),
                    pair.paused,
                    pair.wanted,
                    pair.last_visible,
                    pair.last_durable,
                    pair.git_index.map(|hash| hash.0),
                    pair.id
                ],
            )
        })
        .await
        .map(drop)
    }

    /// Stores whether a pair is paused, and nothing else of it.
    pub async fn pause_pair(&self, pair: i64, paused: bool) -> Result<(), StoreError> {
        self.write(move |write| write.execute("update pair set paused = ? where id = ?", params![paused, pair]))
            .await
            .map(drop)
    }

    /// Stores whether a workspace is to be watched, and nothing else of its pair.
    pub async fn want_pair(&self, pair: i64, wanted: bool) -> Result<(), StoreError> {
        self.write(move |write| write.execute("update pair set wanted = ? where id = ?", params![wanted, pair]))
            .await
            .map(drop)
    }

    /// Returns the base of a pair, by path.
    pub async fn base(&self, pair: i64) -> Result<Vec<(RelPath, Base)>, StoreError> {
        self.read(move |read| entries(read, "base", pair)).await
    }

    /// Returns how many paths the base of a pair has.
    pub async fn base_len(&self, pair: i64) -> Result<u64, StoreError> {
        self.read(move |read| {
            let mut query = read.prepare_cached("select count(*) from base where pair = ?")?;
            query.query_row([pair], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        })
        .await
    }

    /// Changes the base of a pair in one transaction.
    pub async fn commit(&self, pair: i64, changes: Vec<BaseChange>) -> Result<(), StoreError> {
        self.write(move |write| change(write, "base", pair, &changes)).await
    }

    /// Forgets the base of a pair (its remote copy was replaced).
    pub async fn clear_base(&self, pair: i64) -> Result<(), StoreError> {
        self.write(move |write| forget_base(write, pair)).await
    }

    /// Makes `paths` the conflicts of a pair and returns them with the time since when each is known, in
    /// seconds since the Unix epoch. One that was known keeps its time.
    pub async fn conflicts(&self, pair: i64, paths: Vec<RelPath>) -> Result<Vec<(RelPath, i64)>, StoreError> {
        self.write(move |write| {
            let names = rows::to_json(&paths)?;
            write.execute(
                "delete from conflict where pair = ? and path not in (select value from json_each(?))",
                params![pair, names],
            )?;
            write.execute(
                "insert into conflict (pair, path, since) select ?, value, ? from json_each(?) where true
                 on conflict do nothing",
                params![pair, now(), names],
            )?;
            let mut query = write.prepare_cached("select path, since from conflict where pair = ? order by path")?;
            query.query_map([pair], |row| Ok((rows::rel_path(row, 0)?, row.get(1)?)))?.collect()
        })
        .await
    }
}

/// Returns what a table of the base's columns holds of a pair.
pub(super) fn entries(read: &Connection, table: &'static str, pair: i64) -> rusqlite::Result<Vec<(RelPath, Base)>> {
    let mut query = read.prepare_cached(&format!("select {} from {table} where pair = ? order by path", rows::BASE))?;
    query.query_map([pair], rows::base)?.collect()
}

/// Changes what a table of the base's columns holds of a pair.
pub(super) fn change(
    write: &Transaction<'_>,
    table: &'static str,
    pair: i64,
    changes: &[BaseChange],
) -> rusqlite::Result<()> {
    let mut forget = write.prepare_cached(&format!("delete from {table} where pair = ? and path = ?"))?;
    let mut put = write.prepare_cached(&format!(
        "insert or replace into {table} (pair, path, kind, hash, size, executable, target, mode, local, remote)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))?;
    for (path, base) in changes {
        let Some(base) = base else {
            forget.execute(params![pair, path.as_str()])?;
            continue;
        };
        let (kind, hash, size, executable, target) = rows::content(&base.content);
        let local = base.local.as_ref().map(rows::stamp_bytes);
        let remote = base.remote.as_ref().map(rows::stamp_bytes);
        let path = path.as_str();
        put.execute(params![pair, path, kind, hash, size, executable, target, base.mode, local, remote])?;
    }
    Ok(())
}

fn forget_base(write: &Transaction<'_>, pair: i64) -> rusqlite::Result<()> {
    write.execute("delete from base where pair = ?", [pair])?;
    write.execute("delete from pulled where pair = ?", [pair])?;
    write.execute("delete from conflict where pair = ?", [pair])?;
    write.execute(
        "update pair set copy = null, root_inode = null, root_device = null, git_index = null where id = ?",
        [pair],
    )?;
    Ok(())
}
