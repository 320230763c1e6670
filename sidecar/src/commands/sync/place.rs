//! From words to things: which folder, which remote, which pair.

use std::path::{Path, PathBuf};

use protocol::editor::{SyncGit, SyncStartParams};
use protocol::error::{Code, Example, Explain, Result, word};
use protocol::path::RemotePath;

use super::configured;
use crate::commands::remote::choice;
use crate::cx::Cx;
use crate::env;
use crate::frontend::{Question, confirm};
use crate::sessions;
use crate::store::Pair;
use crate::sync::pull::Selection;
use crate::sync::target::not_a_path;
use crate::sync::{AskError, Handle, ignored};

/// Why there is nothing to sync.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// No such folder.
    #[error("there is no folder `{}`", path.display())]
    Missing { path: PathBuf, nearest: Option<String>, source: std::io::Error },
    /// A path that cannot be stored or shown.
    #[error("the path `{}` is not valid UTF-8", path.display())]
    NotText { path: PathBuf },
    /// A file.
    #[error("`{}` is no folder", path.display())]
    NoFolder { path: PathBuf },
    /// The person said no.
    #[error("`{}` is not a project folder", path.display())]
    Unsafe { path: PathBuf },
    /// Nothing was ever synced here.
    #[error("`{}` was never synced", workspace.display())]
    NeverSynced { workspace: PathBuf },
}

impl Explain for PlaceError {
    fn code(&self) -> Code {
        match self {
            Self::Missing { .. } | Self::NoFolder { .. } | Self::NotText { .. } => Code::WorkspaceMissing,
            Self::Unsafe { .. } => Code::WorkspaceUnsafe,
            Self::NeverSynced { .. } => Code::SyncNotRunning,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Missing { nearest: Some(nearest), .. } => format!("Did you mean `{nearest}`?"),
            Self::Missing { path, nearest: None, .. } => {
                format!("Make it with `mkdir -p {}`, or name another with `--workspace DIR`.", word(path.display()))
            }
            Self::NotText { .. } => "Rename the folder, or sync one whose path is valid UTF-8.".to_owned(),
            Self::NoFolder { path } => match path.parent() {
                Some(parent) => format!("Name the folder it is in: `--workspace {}`.", word(parent.display())),
                None => "Name a folder with `--workspace DIR`.".to_owned(),
            },
            Self::Unsafe { .. } => "Give a project folder with `--workspace DIR`.".to_owned(),
            Self::NeverSynced { workspace } => {
                format!("Run `mltoolbox-sidecar sync watch {}` to start.", word(workspace.display()))
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(super) fn examples() -> Vec<Example> {
    let path = || PathBuf::from("/home/ada/projcet");
    let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
    vec![
        PlaceError::Missing { path: path(), nearest: Some("/home/ada/project".to_owned()), source: gone() }.into(),
        PlaceError::Missing { path: path(), nearest: None, source: gone() }.into(),
        #[cfg(unix)]
        PlaceError::NotText {
            path: <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/home/ada/proj\xff").into(),
        }
        .into(),
        PlaceError::NoFolder { path: "/home/ada/project/train.py".into() }.into(),
        PlaceError::Unsafe { path: "/home/ada".into() }.into(),
        PlaceError::NotText { path: path() }.into(),
        PlaceError::NeverSynced { workspace: "/home/ada/project".into() }.into(),
    ]
}

/// Returns the workspace that a command is about: an existing folder, with links resolved.
pub(super) async fn workspace(cx: &Cx, dir: Option<&str>) -> Result<PathBuf, PlaceError> {
    let named = dir.or(cx.scope.workspace.as_deref());
    let path = named.map_or_else(|| cx.folder.clone(), |named| cx.folder.join(named));
    let asked = path.clone();
    // A folder of a network that hangs must not hold up anything else.
    let found = tokio::task::spawn_blocking(move || found(path)).await;
    found.unwrap_or_else(|died| {
        Err(PlaceError::Missing { path: asked, nearest: None, source: std::io::Error::other(died) })
    })
}

fn found(path: PathBuf) -> Result<PathBuf, PlaceError> {
    let found = path.canonicalize().map_err(|source| PlaceError::Missing {
        nearest: nearest(&path),
        path: path.clone(),
        source,
    })?;
    if found.to_str().is_none() {
        return Err(PlaceError::NotText { path: found });
    }
    if found.is_dir() { Ok(found) } else { Err(PlaceError::NoFolder { path }) }
}

/// Returns the folder beside `path` whose name looks most like it.
fn nearest(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent()?;
    let folders = std::fs::read_dir(parent).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.path().is_dir().then(|| entry.file_name().into_string().ok())?
    });
    let nearest = sessions::nearest(name, folders)?;
    Some(parent.join(nearest).to_string_lossy().into_owned())
}

/// Asks before a folder is synced that nobody means to sync whole.
pub(super) async fn check(cx: &Cx, workspace: &Path) -> Result<()> {
    let home = tokio::task::spawn_blocking(|| env::home().and_then(|home| home.canonicalize().ok())).await;
    let home = home.ok().flatten().or_else(env::home);
    let is_unsafe = workspace.parent().is_none() || home.is_some_and(|home| home.starts_with(workspace));
    if !is_unsafe {
        return Ok(());
    }
    let question = Question::UnsafeWorkspace { path: workspace.to_string_lossy().into_owned() };
    if confirm(&*cx.frontend, cx.scope.yes, &question).await? {
        Ok(())
    } else {
        Err(PlaceError::Unsafe { path: workspace.to_owned() }.into())
    }
}

/// What `push` or `watch` is asked to sync. Nothing of it is stored yet.
#[derive(Debug)]
pub(super) struct Asked {
    /// The pair with what was asked for; without an id when it is new.
    pub(super) pair: Pair,
    /// The same with what flags said, now and before, and nothing of the configuration: what is stored.
    kept: Pair,
    /// What is stored of it.
    row: Option<Pair>,
    /// What was named, and not taken from what is stored.
    named: SyncStartParams,
    /// Whether the remote was named too.
    names_remote: bool,
}

/// Returns what `push` and `watch` are asked to sync.
pub(super) async fn asked(cx: &Cx, params: &SyncStartParams) -> Result<Asked> {
    let workspace = workspace(cx, params.dir.as_deref()).await?;
    check(cx, &workspace).await?;
    asked_in(cx, &workspace, params).await
}

/// Returns the pair that `push` and `watch` mean. A running sync's remote is meant when none is named.
pub(super) async fn asked_in(cx: &Cx, workspace: &Path, params: &SyncStartParams) -> Result<Asked> {
    for pattern in params.exclude.iter().chain(&params.include).chain(&params.append).chain(&params.pull) {
        ignored::check(pattern).map_err(|source| AskError::Pattern { pattern: pattern.clone(), source })?;
    }
    Selection::named(&cleared(&params.pull), true)?;
    let remote = match cx.syncs.get(workspace) {
        Some(live) if cx.scope.remote.is_none() => live.pair().remote.clone(),
        _ => choice::chosen_for(cx, workspace).await?.name,
    };
    let row = cx.store.pairs().await?.into_iter().find(|pair| pair.workspace == workspace && pair.remote == remote);
    let mut pair = match &row {
        Some(row) => row.clone(),
        None => Pair {
            id: 0,
            workspace: workspace.to_owned(),
            remote,
            remote_dir: default_folder(&cx.store.machine().await?, workspace),
            copy: None,
            root: None,
            exclude: Vec::new(),
            include: Vec::new(),
            append: Vec::new(),
            pull: Vec::new(),
            git: SyncGit::Off,
            git_index: None,
            debounce: None,
            paused: false,
            wanted: false,
            last_visible: None,
            last_durable: None,
        },
    };
    if let Some(to) = params.to.as_ref().filter(|to| **to != pair.remote_dir) {
        RemotePath::new(to.clone()).map_err(|error| not_a_path(to, &error))?;
        // Nothing is known of another folder.
        pair = Pair { remote_dir: to.clone(), copy: None, root: None, last_visible: None, last_durable: None, ..pair };
    }
    let settings = [
        (&mut pair.exclude, &params.exclude),
        (&mut pair.include, &params.include),
        (&mut pair.append, &params.append),
        (&mut pair.pull, &params.pull),
    ];
    for (patterns, given) in settings {
        if !given.is_empty() {
            // An empty pattern alone clears what was given before.
            *patterns = cleared(given);
        }
    }
    pair.git = params.git.unwrap_or(pair.git);
    let kept = pair.clone();
    configured::over(cx, &mut pair, params).await?;
    Ok(Asked { pair, kept, row, named: params.clone(), names_remote: cx.scope.remote.is_some() })
}

fn cleared(patterns: &[String]) -> Vec<String> {
    patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect()
}

impl Asked {
    /// Returns whether a setting was named that is another one than the running sync's.
    pub(super) fn differs(&self, live: &Handle) -> bool {
        let (asked, present) = (&self.pair, live.pair());
        // Its folder may be named as it was, or as the agent names it.
        let is_its_folder = asked.remote_dir == present.remote_dir || asked.remote_dir == live.status().remote_dir;
        self.names_remote && asked.remote != present.remote
            || self.named.to.is_some() && !is_its_folder
            || !self.named.exclude.is_empty() && asked.exclude != present.exclude
            || !self.named.include.is_empty() && asked.include != present.include
            || !self.named.append.is_empty() && asked.append != present.append
            || !self.named.pull.is_empty() && asked.pull != present.pull
            || self.named.git.is_some() && asked.git != present.git
    }

    /// Returns whether the running sync goes by other settings than those that hold now, wherever they come from.
    pub(super) fn differs_at_all(&self, live: &Handle) -> bool {
        let (asked, present) = (&self.pair, live.pair());
        let settings = |pair: &Pair| {
            let Pair { exclude, include, append, pull, git, debounce, .. } = pair.clone();
            (exclude, include, append, pull, git, debounce)
        };
        self.differs(live) || settings(asked) != settings(present)
    }

    /// Stores what was asked for and returns the pair to run. Another folder than the stored one, and that its
    /// base is forgotten, is stored by the sync once that folder could be opened.
    pub(super) async fn store(self, cx: &Cx, wanted: bool) -> Result<Pair> {
        let Self { mut pair, kept, row, .. } = self;
        pair.wanted |= wanted;
        let row = if let Some(row) = row {
            row
        } else {
            let folder = default_folder(&cx.store.machine().await?, &pair.workspace);
            cx.store.pair(&pair.workspace, &pair.remote, &folder).await?
        };
        pair.id = row.id;
        let new = Pair {
            exclude: kept.exclude,
            include: kept.include,
            append: kept.append,
            pull: kept.pull,
            git: kept.git,
            wanted: pair.wanted,
            ..row.clone()
        };
        if new != row {
            cx.store.update_pair(&new).await?;
        }
        cx.store.choose(&pair.workspace, &pair.remote).await?;
        Ok(pair)
    }
}

/// Most bytes of a workspace's name in the name of its remote folder: with the id, and with what the agent adds
/// for the folder beside it, it still is a name that file systems take.
const MAX_NAME: usize = 200;

/// Returns `~/mltoolbox/NAME-ID`; the id tells folders of the same name apart.
fn default_folder(machine: &str, workspace: &Path) -> String {
    let name = workspace.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy());
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    let id = blake3::hash(format!("{machine}\0{}", workspace.display()).as_bytes()).to_hex();
    format!("~/mltoolbox/{name}-{}", &id[..6])
}

/// Returns the pair that a command about an existing sync means: that of the workspace, or of the nearest
/// folder above it.
pub(super) async fn existing(cx: &Cx) -> Result<Pair> {
    let workspace = workspace(cx, None).await?;
    let pairs = cx.store.pairs().await?;
    for folder in workspace.ancestors() {
        let mut here: Vec<Pair> = pairs.iter().filter(|pair| pair.workspace == folder).cloned().collect();
        if here.is_empty() {
            continue;
        }
        let chosen = match &cx.scope.remote {
            Some(name) => Some(sessions::known(cx, name).await?.name),
            None => cx.store.choice(folder).await?,
        };
        let at = chosen.and_then(|name| here.iter().position(|pair| pair.remote == name));
        match (at, &cx.scope.remote) {
            (Some(at), _) => return Ok(here.swap_remove(at)),
            (None, None) => return Ok(here.swap_remove(0)),
            (None, Some(_)) => {}
        }
    }
    Err(PlaceError::NeverSynced { workspace }.into())
}

/// Returns the pair of [`existing`] with the settings that hold now.
pub(super) async fn settled(cx: &Cx) -> Result<Pair> {
    let mut pair = existing(cx).await?;
    configured::over(cx, &mut pair, &SyncStartParams::default()).await?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_has_a_stable_id() {
        let folder = default_folder("machine", Path::new("/home/u/project"));
        assert_eq!(folder, default_folder("machine", Path::new("/home/u/project")));
        assert_ne!(folder, default_folder("machine", Path::new("/home/v/project")));
        let id = folder.strip_prefix("~/mltoolbox/project-").expect("it is named after the workspace");
        assert!(id.len() == 6 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
