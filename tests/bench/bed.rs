//! Where it is measured: a client's home and a server of our own, in memory where the machine can.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::host::{Host, Options};
use harness::proxy::Proxy;
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
    /// A longer way to it, when one was asked for.
    wire: Option<Proxy>,
}

impl Bed {
    /// Makes a bed and the programs under test.
    pub(crate) fn new(in_memory: bool, delay: Duration) -> Result<Self, Reason> {
        let host = Host::with(&Options { in_memory, ..Options::default() })?;
        let wire = (!delay.is_zero()).then(|| Proxy::far(host.port(), delay / 2));
        let work = if in_memory { Work::in_memory() } else { Work::new() };
        let bed = Self { work, host, wire };
        crate::say("building the programs …");
        binary::sidecar();
        bed.wrap("ssh");
        bed.wrap("scp");
        Ok(bed)
    }

    /// Returns the port that every tool connects to.
    pub(crate) fn port(&self) -> u16 {
        self.wire.as_ref().map_or_else(|| self.host.port(), Proxy::port)
    }

    /// Puts a program of OpenSSH first on the path that knows the host; `mutagen` takes no options for it.
    fn wrap(&self, program: &str) {
        let folder = self.work.path().join("bin");
        fs::create_dir_all(&folder).expect("our own folder");
        let config = self.host.client_config(self.port());
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

    /// Returns the same as a line for the shell, whose words hold nothing special.
    pub(crate) fn ours_line(&self, arguments: &[&str]) -> String {
        let command = self.ours(arguments);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
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

    /// Forgets what ours knows, and ends who would remember.
    pub(crate) fn forget_here(&self) {
        process::end_all(&self.work.home());
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
