//! What was brought home although it is not synced, so that it is known again when the remote has a newer one.

use protocol::path::RelPath;

use super::{Base, BaseChange, Store, StoreError, pairs};

impl Store {
    /// Returns what was brought home of a pair beside its base, by path.
    pub async fn pulled(&self, pair: i64) -> Result<Vec<(RelPath, Base)>, StoreError> {
        self.read(move |read| pairs::entries(read, "pulled", pair)).await
    }

    /// Changes that in one transaction.
    pub async fn commit_pulled(&self, pair: i64, changes: Vec<BaseChange>) -> Result<(), StoreError> {
        self.write(move |write| pairs::change(write, "pulled", pair, &changes)).await
    }
}
