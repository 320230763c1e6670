//! Where it is measured: a client's home and a server of our own, in memory where the machine can.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::host::{Host, Options};
use harness::skip::Reason;
use harness::work::Work;
use harness::{binary, cli, process};

use crate::data::{self, Kind};

/// Name of the remote whose bytes are not counted.
pub(crate) const REMOTE: &str = "bench";

/// Client and server.
#[derive(Debug)]
pub(crate) struct Bed {
    /// The client's home and data.
    pub(crate) work: Work,
    /// The server.
    pub(crate) host: Host,
}

impl Bed {
    /// Makes a bed and the programs under test.
    pub(crate) fn new() -> Result<Self, Reason> {
        let bed =
            Self { host: Host::with(&Options { in_memory: true, ..Options::default() })?, work: Work::in_memory() };
        crate::say("building the programs …");
        binary::sidecar();
        bed.wrap("ssh");
        bed.wrap("scp");
        Ok(bed)
    }

    /// Puts a program of OpenSSH first on the path that knows the host; `mutagen` takes no options for it.
    fn wrap(&self, program: &str) {
        let folder = self.work.path().join("bin");
        fs::create_dir_all(&folder).expect("our own folder");
        let config = self.host.client_config(self.host.port());
        let text = format!("#!/bin/sh\nexec /usr/bin/{program} -F '{}' \"$@\"\n", config.display());
        let path = folder.join(program);
        fs::write(&path, text).expect("our own folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }

    /// Returns a shell line to run as the client.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = self.work.command("/bin/sh");
        command.args(["-c", line]).stdin(std::process::Stdio::null());
        command.env("MUTAGEN_SSH_PATH", self.work.path().join("bin"));
        command
    }

    /// Returns a command line of ours to run as the client.
    pub(crate) fn ours(&self, arguments: &[&str]) -> Command {
        cli::command(&self.work, arguments)
    }

    /// Makes the tree of that kind anew and returns it with its text files.
    pub(crate) fn tree(&self, kind: Kind, name: &str, seed: u64) -> (PathBuf, Vec<String>) {
        let root = self.work.path().join("data").join(name);
        remove(&root);
        let texts = data::make(&root, kind, seed).expect("enough memory for the data");
        (root, texts)
    }

    /// Returns a folder of the remote home as this machine sees it.
    pub(crate) fn remote(&self, name: &str) -> PathBuf {
        self.host.home().join(name)
    }

    /// Adds the remote for ours; `port` may be a counting wire's.
    pub(crate) fn add_remote(&self, name: &str, port: u16) -> Result<(), String> {
        let (key, port, user) = (self.host.key().display().to_string(), port.to_string(), Host::user());
        let mut command = self.ours(&[
            "remote",
            "add",
            name,
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--user",
            &user,
            "--key",
            &key,
            "--accept-new",
        ]);
        crate::measure::run(self, &mut command).map(|_| ())
    }

    /// Makes the remote as it was on the first day, and forgets what ours knows of it.
    pub(crate) fn forget(&self) {
        process::end_all(&self.host.home());
        for entry in fs::read_dir(self.host.home()).expect("our own folder").flatten() {
            remove(&entry.path());
        }
        self.forget_here();
    }

    /// Forgets what ours knows.
    pub(crate) fn forget_here(&self) {
        for name in [".config", ".local", ".cache"] {
            remove(&self.work.home().join(name));
        }
    }
}

/// Removes a file or a tree; one that is not there is fine.
pub(crate) fn remove(path: &Path) {
    let result = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    if let Err(error) = result {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", path.display());
    }
}
