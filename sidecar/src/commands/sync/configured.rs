//! What the configuration says about a sync: over what earlier flags stored, under the flags of this command.

use protocol::editor::{SyncGit, SyncStartParams};
use protocol::error::Result;

use crate::config::schema::Git;
use crate::config::{Loaded, travel};
use crate::cx::Cx;
use crate::env;
use crate::store::Pair;

/// Puts the configuration over a pair's settings, except for those that a flag names.
pub(super) async fn over(cx: &Cx, pair: &mut Pair, named: &SyncStartParams) -> Result<()> {
    let loaded = cx.config(&pair.workspace).await?;
    let folder = loaded.config.remote.dir.as_ref().map(|folder| folder.0.clone());
    if let Some(folder) = folder.filter(|folder| named.to.is_none() && *folder != pair.remote_dir) {
        // Nothing is known of another folder.
        *pair =
            Pair { remote_dir: folder, copy: None, root: None, last_visible: None, last_durable: None, ..pair.clone() };
    }
    settings(&loaded, pair, named);
    let (workspace, home) = (pair.workspace.clone(), env::home());
    let always = tokio::task::spawn_blocking(move || travel::always(&loaded, &workspace, home.as_deref())).await;
    pair.include.extend(always.expect("reading files does not panic"));
    Ok(())
}

fn settings(loaded: &Loaded, pair: &mut Pair, named: &SyncStartParams) {
    let sync = &loaded.config.sync;
    let lists = [
        ("sync.exclude", &sync.exclude, &mut pair.exclude, &named.exclude),
        ("sync.include_overrides", &sync.include_overrides, &mut pair.include, &named.include),
        ("sync.append", &sync.append, &mut pair.append, &named.append),
        ("sync.pull", &sync.pull, &mut pair.pull, &named.pull),
    ];
    for (key, configured, patterns, flag) in lists {
        if flag.is_empty() && loaded.says(key) {
            *patterns = configured.iter().map(|pattern| pattern.0.clone()).collect();
        }
    }
    if named.git.is_none() && loaded.says("sync.git") {
        pair.git = match sync.git {
            Git::Off => SyncGit::Off,
            Git::Push => SyncGit::Push,
        };
    }
    pair.debounce = sync.debounce.map(|debounce| debounce.0);
}
