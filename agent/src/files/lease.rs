//! Who may change a root: one holder at a time, kept in `lease.json`.
//!
//! It outlives the agent on purpose: a machine that lost its link still holds its root.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::agent::Holder;
use protocol::sync::Stamp;
use rustix::fs::AtFlags;

use super::error::RootError;
use super::layout::{FORMAT, LEASE as NAME, LeaseRecord as Record};
use super::look;
use super::side::{Locked, Side};

/// The lease that one open root holds.
#[derive(Debug)]
pub(super) struct Lease {
    holder: Holder,
    /// The file we wrote; another one means that somebody opened the root after us.
    stamp: Mutex<Option<Stamp>>,
}

impl Lease {
    /// Takes the lease, from another holder only when asked.
    pub(super) fn take(side: &Side, locked: &Locked, holder: &Holder, take_over: bool) -> Result<Self, RootError> {
        if let Some(record) = side.record::<Record>(NAME)?
            && record.holder != holder.id
            && !take_over
        {
            return Err(RootError::Leased { path: side.path.clone(), label: record.label });
        }
        let lease = Self { holder: holder.clone(), stamp: Mutex::new(None) };
        lease.write(side, locked)?;
        Ok(lease)
    }

    /// Fails when somebody else has taken the lease since; costs one `stat` while nobody has.
    pub(super) fn check(&self, side: &Side) -> Result<(), RootError> {
        if self.is_ours(side)? {
            return Ok(());
        }
        let locked = side.lock()?;
        match side.record::<Record>(NAME)? {
            Some(record) if record.holder != self.holder.id => {
                Err(RootError::Leased { path: side.path.clone(), label: record.label })
            }
            // An older link of the same holder closed, or a newer one opened.
            None => self.write(side, &locked),
            Some(_) => self.remember(side),
        }
    }

    /// Gives the lease back unless a newer one has taken its place.
    pub(super) fn release(&self, side: &Side) -> Result<(), RootError> {
        let _locked = side.lock()?;
        if self.is_ours(side)? {
            rustix::fs::unlinkat(&side.folder, NAME, AtFlags::empty()).map_err(|error| side.failed(error))?;
        }
        Ok(())
    }

    fn is_ours(&self, side: &Side) -> Result<bool, RootError> {
        let present = look::at(side.folder.as_fd(), NAME).map_err(|error| side.failed(error))?;
        let ours = *self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(present.is_some() && present.map(|seen| seen.stamp) == ours)
    }

    fn write(&self, side: &Side, _: &Locked) -> Result<(), RootError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let record =
            Record { version: FORMAT, holder: self.holder.id.clone(), label: self.holder.label.clone(), since };
        side.put_record(NAME, &record)?;
        self.remember(side)
    }

    fn remember(&self, side: &Side) -> Result<(), RootError> {
        let present = look::at(side.folder.as_fd(), NAME).map_err(|error| side.failed(error))?;
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = present.map(|seen| seen.stamp);
        Ok(())
    }
}
