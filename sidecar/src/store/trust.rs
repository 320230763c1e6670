//! What a person said about the commands that a project's files would run on this machine.

use rusqlite::OptionalExtension as _;

use super::{Store, StoreError, now};

/// What was said about the commands of one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTrust {
    /// Which commands: a hash of them.
    pub hash: String,
    /// Whether they may run.
    pub trusted: bool,
}

impl Store {
    /// Returns what was last said about the project in the folder `workspace`.
    pub async fn trust(&self, workspace: &str) -> Result<Option<StoredTrust>, StoreError> {
        let workspace = workspace.to_owned();
        self.read(move |read| {
            let row = |row: &rusqlite::Row<'_>| Ok(StoredTrust { hash: row.get(0)?, trusted: row.get(1)? });
            read.query_row("select hash, trusted from trust where workspace = ?1", [workspace], row).optional()
        })
        .await
    }

    /// Stores what was said in place of what was said before.
    pub async fn set_trust(&self, workspace: &str, said: StoredTrust) -> Result<(), StoreError> {
        let workspace = workspace.to_owned();
        self.write(move |write| {
            write.execute(
                "insert into trust (workspace, hash, trusted, said_at) values (?1, ?2, ?3, ?4) on conflict (workspace) \
                 do update set hash = excluded.hash, trusted = excluded.trusted, said_at = excluded.said_at",
                (workspace, said.hash, said.trusted, now()),
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets what was said.
    pub async fn remove_trust(&self, workspace: &str) -> Result<(), StoreError> {
        let workspace = workspace.to_owned();
        self.write(move |write| write.execute("delete from trust where workspace = ?1", [workspace]).map(|_| ())).await
    }
}
