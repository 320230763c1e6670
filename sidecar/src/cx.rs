//! All that a command's handler may touch.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::editor::Scope;
use tokio_util::sync::CancellationToken;

use crate::frontend::Frontend;
use crate::sessions::Sessions;
use crate::store::Store;

/// The context of one running command. Cheap to clone; made by a front end, never global.
#[derive(Clone, Debug)]
pub struct Cx {
    /// What the command applies to.
    pub scope: Scope,
    /// The folder against which relative paths of this command are resolved.
    pub folder: PathBuf,
    /// The state database.
    pub store: Store,
    /// Live links to remotes, shared by all commands of this process.
    pub sessions: Sessions,
    /// The syncs that run in this process.
    pub syncs: crate::sync::Syncs,
    /// The person at the other end.
    pub frontend: Arc<dyn Frontend>,
    /// Cancelled when the person no longer wants the command.
    pub cancel: CancellationToken,
}
