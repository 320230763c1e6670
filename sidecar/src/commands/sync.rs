//! Commands about sync. They run where the sync runs: in the workspace's owner when there is one, else here.

use std::path::PathBuf;

use protocol::error::{Example, Result};

use crate::cx::Cx;

mod bring;
mod configured;
mod decide;
mod error;
mod flush;
mod mirror;
mod place;
mod push;
mod settle;
mod status;
mod stop;
mod watch;

pub(super) use bring::pull;
pub(super) use decide::{approve, conflicts, resolve};
pub(super) use flush::flush;
pub(super) use push::{push, push_in};
pub(super) use status::{list, status};
pub(super) use stop::{pause, resume, stop};
pub(super) use watch::{watch, watch_in};

/// Returns the folder that a command is about: one that exists, with links resolved.
pub(super) async fn workspace(cx: &Cx) -> Result<PathBuf> {
    Ok(place::workspace(cx, None).await?)
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    [error::examples(), place::examples()].concat()
}
