//! Hooks on this machine, on systems without process groups: refused.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::values::Rendered;
use super::{Ended, Output};

/// Refuses: what a hook starts could not be ended with it.
#[expect(clippy::unused_async, reason = "elsewhere it waits")]
pub(super) async fn run(_: &Rendered, _: &Path, _: Duration, _: &CancellationToken, _: &Output) -> io::Result<Ended> {
    Err(io::ErrorKind::Unsupported.into())
}
