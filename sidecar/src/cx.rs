//! All that a command's handler may touch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::editor::Scope;
use protocol::error::Result;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Loaded, Places};
use crate::env;
use crate::frontend::Frontend;
use crate::sessions::Sessions;
use crate::store::Store;
use crate::sync::Syncs;

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
    pub syncs: Syncs,
    /// The person at the other end.
    pub frontend: Arc<dyn Frontend>,
    /// Cancelled when the person no longer wants the command.
    pub cancel: CancellationToken,
}

impl Cx {
    /// Returns where the configuration of a folder is looked for.
    pub fn places(&self, start: &Path) -> Places {
        let set = self.scope.set.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
        let mut flags: Vec<(String, String, String)> =
            set.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned())).collect();
        // A front end takes it from the variable when there is no flag.
        let is_flag = self.scope.remote.as_ref() != self.scope.variables.get(env::REMOTE);
        if let Some(remote) = self.scope.remote.as_ref().filter(|_| is_flag) {
            flags.push(("--remote".to_owned(), "remote.default".to_owned(), remote.clone()));
        }
        Places {
            start: start.to_owned(),
            named: self.scope.config.as_ref().map(|file| self.folder.join(file)),
            user: env::config_dir(),
            system: env::system_config_dir(),
            variables: self.scope.variables.clone(),
            flags,
        }
    }

    /// Returns the configuration that holds in a folder.
    pub async fn config(&self, start: &Path) -> Result<Loaded> {
        let places = self.places(start);
        // A folder of a network that hangs must not hold up anything else.
        let loaded = tokio::task::spawn_blocking(move || config::load(&places)).await;
        Ok(loaded.expect("reading the configuration does not panic")?)
    }
}
