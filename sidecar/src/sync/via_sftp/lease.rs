//! Who may change a root, in the agent's own record: one holder at a time, and it outlives the connection.
//!
//! Two who take it at the same moment are told apart by who made the file; there is no lock that SFTP could take.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use agent::files::layout::{FORMAT, LEASE, LeaseRecord};
use protocol::agent::Holder;
use protocol::sync::Stamp;

use super::error::RootError;
use super::seen::trusts;
use super::side::{Side, under};
use super::wire::{Fault, Wire};

/// The lease that one open root holds.
#[derive(Debug)]
pub(super) struct Lease {
    holder: Holder,
    /// The file when it was last read and ours.
    stamp: Mutex<Option<Stamp>>,
}

impl Lease {
    /// Takes the lease, from another holder only when asked.
    pub(super) async fn take(wire: &Wire, side: &Side, holder: &Holder, take_over: bool) -> Result<Self, RootError> {
        let lease = Self { holder: holder.clone(), stamp: Mutex::new(None) };
        let present = side.record::<LeaseRecord>(wire, LEASE).await?;
        if let Some(record) = &present
            && record.holder != holder.id
            && !take_over
        {
            return Err(leased(side, record.label.clone()));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let ours = LeaseRecord { version: FORMAT, holder: holder.id.clone(), label: holder.label.clone(), since };
        if present.is_none() {
            // Only one can make it; its stamp would say nothing while it is this young.
            if side.put_new_record(wire, LEASE, &ours).await? {
                return Ok(lease);
            }
            match side.record::<LeaseRecord>(wire, LEASE).await? {
                Some(record) if record.holder != holder.id && !take_over => return Err(leased(side, record.label)),
                Some(_) | None => {}
            }
        }
        // What is there is ours, taken over, or no record at all; and what is written stays only if nobody writes at
        // the same moment.
        side.put_record(wire, LEASE, &ours).await?;
        lease.remember(wire, side).await?;
        Ok(lease)
    }

    /// Fails when somebody else has taken the lease since; costs one `stat` while nobody has.
    pub(super) async fn check(&self, wire: &Wire, side: &Side) -> Result<(), RootError> {
        let present = wire.look(&under(&side.path, LEASE)).await.map_err(|fault| side.failed(fault))?;
        let stamp = *self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        match (present, stamp) {
            (Some(seen), Some(stamp)) if trusts(&stamp, &seen) => return Ok(()),
            (Some(_) | None, _) => {}
        }
        if self.remember(wire, side).await? {
            return Ok(());
        }
        // An older link of the same holder closed.
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) =
            *Self::take(wire, side, &self.holder, false).await?.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    /// Gives the lease back when it is still ours.
    pub(super) async fn release(&self, wire: &Wire, side: &Side) -> Result<(), RootError> {
        let is_ours = match self.remember(wire, side).await {
            Ok(is_there) => is_there,
            Err(RootError::Leased { .. }) => false,
            Err(error) => return Err(error),
        };
        if !is_ours {
            return Ok(());
        }
        match wire.remove(&under(&side.path, LEASE)).await {
            Ok(()) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(side.failed(fault)),
        }
    }

    /// Reads the record and fails when it is another's; returns whether there is one.
    async fn remember(&self, wire: &Wire, side: &Side) -> Result<bool, RootError> {
        let now = side.clock.now();
        let (record, present) = side.record_and_look::<LeaseRecord>(wire, LEASE).await?;
        match record {
            Some(record) if record.holder != self.holder.id => Err(leased(side, record.label)),
            Some(_) => {
                *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = present.map(|seen| seen.stamp(now));
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

fn leased(side: &Side, label: String) -> RootError {
    RootError::Leased { path: side.root.clone(), label }
}
