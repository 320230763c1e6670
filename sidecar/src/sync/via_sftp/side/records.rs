//! The records of a root: read in as few round trips as can be, written whole or not at all.

use agent::files::layout::{self, MAX_RECORD};
use serde::Serialize;

use super::super::error::RootError;
use super::super::look;
use super::super::seen::{Kind, Seen};
use super::super::wire::{Fault, Finish, Wire};
use super::{Side, under};

impl Side {
    /// Reads a record; `None` when there is none or when it is no record at all (it is then written anew).
    pub(in super::super) async fn record<T: serde::de::DeserializeOwned>(
        &self,
        wire: &Wire,
        name: &'static str,
    ) -> Result<Option<T>, RootError> {
        Ok(self.record_and_look(wire, name).await?.0)
    }

    /// Reads a record and returns with it what its file was right before.
    pub(in super::super) async fn record_and_look<T: serde::de::DeserializeOwned>(
        &self,
        wire: &Wire,
        name: &'static str,
    ) -> Result<(Option<T>, Option<Seen>), RootError> {
        let (text, seen) = self.text(wire, name).await.map_err(|fault| self.failed(fault))?;
        let newer = |version| RootError::Newer { path: self.root.clone(), file: name, version };
        Ok((layout::record(&text).map_err(newer)?, seen))
    }

    /// Returns what a record holds; nothing when it is not there or too long to be one.
    async fn text(&self, wire: &Wire, name: &str) -> Result<(Vec<u8>, Option<Seen>), Fault> {
        let path = under(&self.path, name);
        // Looked at first, since a pipe in its place would hold up the server.
        let seen = wire.look(&path).await?;
        if seen.is_none_or(|seen| seen.kind != Kind::File || seen.size > MAX_RECORD) {
            return Ok((Vec::new(), seen));
        }
        let file = match wire.open(&path).await {
            Ok(file) => file,
            Err(Fault::Missing) => return Ok((Vec::new(), None)),
            Err(fault) => return Err(fault),
        };
        if let Some(text) = wire.read_small(file).await? {
            return Ok((text, seen));
        }
        // Longer than a piece, or the server gives less at once.
        let file = wire.open(&path).await?;
        let mut text = Vec::new();
        let read = look::read(wire, &self.clock, &file, MAX_RECORD, |bytes| {
            text.extend_from_slice(&bytes);
            std::future::ready(Ok::<(), Fault>(()))
        });
        let read = read.await;
        let closed = wire.close(file).await;
        read?;
        closed?;
        Ok((text, seen))
    }

    /// Writes a record in one step where the server can, in two that leave no half where it cannot.
    pub(in super::super) async fn put_record<T: Serialize>(
        &self,
        wire: &Wire,
        name: &str,
        record: &T,
    ) -> Result<(), RootError> {
        let written = async {
            let fresh = self.write_record(wire, record).await?;
            let path = under(&self.path, name);
            if wire.offers.posix_rename {
                return wire.rename_over(&fresh, &path).await;
            }
            match wire.remove(&path).await {
                Ok(()) | Err(Fault::Missing) => wire.rename_new(&fresh, &path).await,
                Err(fault) => Err(fault),
            }
        };
        written.await.map_err(|fault| self.failed(fault))
    }

    /// Writes a record that must not be there yet; returns whether nobody was quicker.
    pub(in super::super) async fn put_new_record<T: Serialize>(
        &self,
        wire: &Wire,
        name: &str,
        record: &T,
    ) -> Result<bool, RootError> {
        let written = async {
            let fresh = self.write_record(wire, record).await?;
            let path = under(&self.path, name);
            match wire.rename_new(&fresh, &path).await {
                Ok(()) => Ok(true),
                Err(fault @ Fault::Lost { .. }) => Err(fault),
                Err(fault) => {
                    wire.remove(&fresh).await?;
                    if wire.look(&path).await?.is_some() { Ok(false) } else { Err(fault) }
                }
            }
        };
        written.await.map_err(|fault| self.failed(fault))
    }

    async fn write_record<T: Serialize>(&self, wire: &Wire, record: &T) -> Result<String, Fault> {
        let text = serde_json::to_vec(record).expect("a record of texts and numbers is JSON");
        let fresh = self.temporary();
        put(wire, &fresh, &text).await?;
        Ok(fresh)
    }
}

/// Writes a small file that is not there yet.
pub(super) async fn put(wire: &Wire, path: &str, text: &[u8]) -> Result<(), Fault> {
    let file = wire.create(path, 0o600).await?;
    let mut offset = 0;
    let mut rest = text;
    while let Some((piece, more)) = rest.split_at_checked(wire.chunk).filter(|(_, more)| !more.is_empty()) {
        wire.write(&file, offset, piece.to_vec()).await?;
        offset += piece.len() as u64;
        rest = more;
    }
    if offset > 0 {
        wire.write(&file, offset, rest.to_vec()).await?;
        rest = &[];
    }
    let written = wire.fill(file, rest.to_vec(), Finish { mode: None, mtime: None, sync: false }).await?;
    if written.size != text.len() as u64 {
        return Err(Fault::Failed(format!("{} bytes arrived of {}", written.size, text.len())));
    }
    Ok(())
}
