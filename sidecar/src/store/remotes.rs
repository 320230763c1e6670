//! Remotes, and which one a workspace uses.

use std::path::Path;

use protocol::editor::{NoAgent, RemoteRow};
use protocol::hello::Facts;
use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError, naming, now, rows};

impl Store {
    /// Returns every remote, by name.
    pub async fn remotes(&self) -> Result<Vec<RemoteRow>, StoreError> {
        self.read(|read| {
            let mut query = read.prepare_cached(&format!("select {} from remote order by name", rows::REMOTE))?;
            query.query_map([], rows::remote)?.collect()
        })
        .await
    }

    /// Returns the remote of that name.
    pub async fn remote(&self, name: &str) -> Result<Option<RemoteRow>, StoreError> {
        let name = name.to_owned();
        self.read(move |read| {
            let mut query = read.prepare_cached(&format!("select {} from remote where name = ?", rows::REMOTE))?;
            query.query_row([name], rows::remote).optional()
        })
        .await
    }

    /// Adds a remote or replaces the one of that name.
    pub async fn put_remote(&self, remote: &RemoteRow) -> Result<(), StoreError> {
        let remote = remote.clone();
        self.write(move |write| {
            let facts = remote.facts.as_ref().map(rows::to_json).transpose()?;
            let no_agent = remote.no_agent.as_ref().map(rows::to_json).transpose()?;
            // Not `insert or replace`, which would delete the row and with it its pairs.
            write.execute(
                "insert into remote (name, host, port, user, jump, key, accept_new, agent_allowed, facts, last_reached,
                     no_agent)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                 on conflict (name) do update set host = excluded.host, port = excluded.port, user = excluded.user,
                     jump = excluded.jump, key = excluded.key, accept_new = excluded.accept_new, agent_allowed = excluded.agent_allowed,
                     facts = excluded.facts, last_reached = excluded.last_reached, no_agent = excluded.no_agent",
                params![
                    remote.name,
                    remote.host,
                    remote.port,
                    remote.user,
                    remote.jump,
                    remote.key,
                    remote.accept_new,
                    remote.agent_allowed,
                    facts,
                    remote.last_reached,
                    no_agent
                ],
            )
        })
        .await
        .map(drop)
    }

    /// Forgets a remote with its pairs and choices.
    pub async fn remove_remote(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |write| write.execute("delete from remote where name = ?", [name])).await.map(drop)
    }

    /// Records that a remote was reached and what it said of itself; `None` keeps what it said before.
    pub async fn reached(&self, name: &str, facts: Option<&Facts>) -> Result<(), StoreError> {
        let (name, facts) = (name.to_owned(), facts.cloned());
        self.write(move |write| {
            let facts = facts.as_ref().map(rows::to_json).transpose()?;
            write.execute(
                "update remote set last_reached = ?, facts = coalesce(?, facts) where name = ?",
                params![now(), facts, name],
            )
        })
        .await
        .map(drop)
    }

    /// Records the person's consent to install the agent on a remote.
    pub async fn allow_agent(&self, name: &str, allowed: bool) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |write| {
            write.execute("update remote set agent_allowed = ? where name = ?", params![allowed, name])
        })
        .await
        .map(drop)
    }

    /// Records why no agent is used on a remote; `None` that one is.
    pub async fn no_agent(&self, name: &str, why: Option<NoAgent>) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |write| {
            let why = why.as_ref().map(rows::to_json).transpose()?;
            write.execute("update remote set no_agent = ? where name = ?", params![why, name])
        })
        .await
        .map(drop)
    }

    /// Returns the remote that was last chosen for a workspace.
    pub async fn choice(&self, workspace: &Path) -> Result<Option<String>, StoreError> {
        let workspace = rows::path_bytes(workspace);
        self.read(move |read| {
            let mut query = read.prepare_cached("select remote from choice where workspace = ?")?;
            query.query_row([workspace], |row| row.get(0)).optional()
        })
        .await
    }

    /// Remembers the remote chosen for a workspace.
    pub async fn choose(&self, workspace: &Path, remote: &str) -> Result<(), StoreError> {
        let (workspace, name) = (rows::path_bytes(workspace), remote.to_owned());
        let chosen = self.write(move |write| {
            write.execute(
                "insert into choice (workspace, remote) values (?, ?)
                 on conflict (workspace) do update set remote = excluded.remote",
                params![workspace, name],
            )
        });
        chosen.await.map(drop).map_err(|error| naming(error, remote))
    }
}
