//! Where no background process can be: every command is done by the process that was asked.

use std::path::Path;
use std::sync::Arc;

use protocol::editor::SyncStatus;
use protocol::error::Result;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::cx::Cx;
use crate::frontend::Frontend;
use crate::jobs::{Jobs, Request};

/// What is to become of a command.
#[derive(Debug)]
pub enum Route {
    /// An owner did it; never here.
    Answered(Value),
    /// It is done in this process.
    Here(Option<Server>),
}

/// An owner inside this process; there is none here.
#[derive(Debug)]
pub enum Server {}

impl Server {
    /// Returns once another process stopped the sync of this one.
    #[expect(clippy::unused_async, reason = "as where there are owners")]
    pub async fn stopped(&mut self) {
        match *self {}
    }
}

/// Leaves every command to this process.
#[expect(clippy::unused_async, reason = "as where there are owners")]
pub async fn route(_: &Jobs, _: &Request, _: &Arc<dyn Frontend>, _: &CancellationToken) -> Result<Route> {
    Ok(Route::Here(None))
}

/// Returns that no other process syncs the workspace.
#[expect(clippy::unused_async, reason = "as where there are owners")]
pub async fn status(_: &Cx, _: &Path, _: &str) -> Result<Option<SyncStatus>> {
    Ok(None)
}

/// Says that there is no owner; returns the exit status.
pub fn main(workspace: &Path, remote: &str) -> u8 {
    tracing::error!(workspace = %workspace.display(), remote, "there are no background processes on this system");
    1
}
