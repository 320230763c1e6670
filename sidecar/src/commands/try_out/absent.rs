//! The first tour where it cannot be given: its stand-in runs commands as Unix does.

use std::time::Duration;

use protocol::editor::{TryOutput, TryParams};
use protocol::error::Result;

use crate::cx::Cx;

#[path = "error.rs"]
mod error;

pub use error::TryError;
#[doc(hidden)]
pub use error::examples;

/// There is nothing to clear away.
pub(super) const GRACE: Duration = Duration::ZERO;

#[expect(clippy::unused_async, reason = "as where there is a tour")]
pub(super) async fn run(_: Cx, _: TryParams) -> Result<TryOutput> {
    Err(TryError::System.into())
}
