//! Which paths of a workspace may have changed. An event is a hint, never the truth.
