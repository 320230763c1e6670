//! Which paths of a workspace are synced at all.
