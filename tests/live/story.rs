//! A workspace, a host and ours between them: what the stories of this folder begin with.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::cli::{self, Ran};
use harness::host::{Host, Options};
use harness::oracle;
use harness::process::wait_until;
use harness::proxy::Proxy;
use harness::skip::Reason;
use harness::work::Work;
use protocol::editor::{SyncPushOutput, SyncState, SyncStatus};

/// How long a change may take to arrive on a busy machine; the bench says how long it does take.
pub(crate) const ARRIVES: Duration = Duration::from_secs(30);

/// A project small enough to read and large enough to have every kind of entry.
pub(crate) const PROJECT: &str = "
//- /app.py
print('hello')
//- /src/deep/er/module.py
x = 1
//- /run.sh 755
#!/bin/sh
//- /latest -> src/deep
//- /empty/
//- /.gitignore
*.log
build/
//- /noise.log
not synced
";

/// What is not synced of [`PROJECT`], as patterns of rsync.
pub(crate) const LEFT_OUT: &[&str] = &["*.log", "build"];

/// A person at a workspace with one remote.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) host: Host,
    pub(crate) wire: Proxy,
    pub(crate) work: Work,
}

impl Story {
    /// Writes [`PROJECT`] and adds the remote `box`, reached through the wire.
    pub(crate) fn begin() -> Result<Self, Reason> {
        Self::with(&Options::default())
    }

    /// Does the same with another host.
    pub(crate) fn with(options: &Options) -> Result<Self, Reason> {
        harness::skip::live(&["rsync"])?;
        let host = Host::with(options)?;
        let story = Self { wire: Proxy::start(host.port()), host, work: Work::new() };
        story.work.write(PROJECT);
        cli::add_remote(&story.work, "box", &story.host, story.wire.port());
        Ok(story)
    }

    /// Returns a path of the remote copy.
    pub(crate) fn there(&self, path: &str) -> PathBuf {
        self.host.home().join("copy").join(path)
    }

    /// Returns a path of the workspace.
    pub(crate) fn here(&self, path: &str) -> PathBuf {
        self.work.workspace().join(path)
    }

    /// Runs a command of ours with `--json`.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let mut arguments: Vec<&str> = line.split_whitespace().collect();
        arguments.push("--json");
        cli::run(&self.work, &arguments)
    }

    /// Pushes and returns the answer.
    #[track_caller]
    pub(crate) fn push(&self) -> SyncPushOutput {
        self.run(&format!("sync push --to {} --yes", self.there("").display())).json()
    }

    /// Starts watching and returns once the first sync is done.
    #[track_caller]
    pub(crate) fn watch(&self) -> SyncStatus {
        self.run(&format!("sync watch --to {} --yes", self.there("").display())).json()
    }

    /// Returns how the sync stands.
    #[track_caller]
    pub(crate) fn status(&self) -> SyncStatus {
        self.run("sync status").json()
    }

    /// Waits until everything arrived and fails when the trees differ then.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let status: SyncStatus = self.run("sync flush").json();
        assert_eq!((status.state, status.pending), (SyncState::Synced, 0), "{status:#?}");
        self.assert_equal();
    }

    /// Fails when the trees differ.
    #[track_caller]
    pub(crate) fn assert_equal(&self) {
        oracle::assert_equal(&self.work.workspace(), &self.there(""), LEFT_OUT);
    }

    /// Fails when the trees differ in anything but versions that were kept beside.
    #[track_caller]
    pub(crate) fn assert_without_conflicts(&self) {
        let leave_out = ["*.log", "build", "*.mltoolbox-conflict-*"];
        oracle::assert_equal(&self.work.workspace(), &self.there(""), &leave_out);
    }

    /// Waits until the remote file holds exactly this.
    pub(crate) fn wait_for(&self, path: &str, content: &str) {
        let file = self.there(path);
        wait_until(&format!("`{path}` to hold {content:?}"), ARRIVES, || {
            fs::read_to_string(&file).is_ok_and(|found| found == content)
        });
    }

    /// Saves a file of the workspace.
    pub(crate) fn save(&self, path: &str, content: &str) {
        fs::write(self.here(path), content).expect("our own folder");
    }

    /// Returns every file below the host's home that holds exactly this, wherever it is kept.
    pub(crate) fn kept(&self, content: &str) -> Vec<PathBuf> {
        let holds = |path: &PathBuf| {
            path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
                && fs::read_to_string(path).is_ok_and(|found| found == content)
        };
        oracle::walk(&self.host.home()).into_iter().filter(holds).collect()
    }
}
