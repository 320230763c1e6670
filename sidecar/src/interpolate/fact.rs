//! What a hook is told about what happened: each has a template and a variable.

use std::collections::BTreeMap;

/// What is known when a hook runs.
pub type Facts = BTreeMap<Fact, String>;

/// Something that a hook may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Name or address that the remote is reached by.
    RemoteHost,
    /// Name of the remote.
    RemoteName,
    /// Name of the container.
    ContainerName,
    /// How many files the sync changed.
    SyncFilesChanged,
    /// The project folder where the hook runs.
    WorkspacePath,
    /// Where the project's repository was cloned from.
    RepoUrl,
}

impl Fact {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::RemoteHost,
        Self::RemoteName,
        Self::ContainerName,
        Self::SyncFilesChanged,
        Self::WorkspacePath,
        Self::RepoUrl,
    ];

    /// Returns the name that its template has.
    pub fn name(self) -> &'static str {
        match self {
            Self::RemoteHost => "remote.host",
            Self::RemoteName => "remote.name",
            Self::ContainerName => "container.name",
            Self::SyncFilesChanged => "sync.files_changed",
            Self::WorkspacePath => "workspace.path",
            Self::RepoUrl => "repo_url",
        }
    }

    /// Returns the variable that has its value in every hook that it is known in.
    pub fn variable(self) -> String {
        format!("{}{}", crate::env::HOOK_PREFIX, self.name().replace('.', "_").to_ascii_uppercase())
    }

    /// Returns the hooks in which it is known.
    pub(super) fn known_in(self) -> &'static str {
        match self {
            Self::RemoteHost | Self::RemoteName => "every hook but `on_config_loaded`",
            Self::ContainerName => "`on_container_start` and `on_container_stop`",
            Self::SyncFilesChanged => "`on_sync`",
            Self::WorkspacePath => "every hook",
            Self::RepoUrl => "a project whose repository has a remote called `origin`",
        }
    }
}
