//! The real `mlt` against the real system: one daemon, whatever happens.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A home of its own; its daemon is stopped at the end.
struct Home {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Home {
    fn new(below: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(below);
        std::fs::create_dir_all(&path).expect("a home");
        Self { _folder: folder, path }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlt"));
        command.arg(verb).env("HOME", &self.path).env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        command
    }

    fn run(&self, verb: &str) -> Output {
        self.command(verb).output().expect("mlt runs")
    }

    /// Finds or starts the daemon; the conversation ends at once, as there is no input.
    fn proxy(&self) -> Child {
        self.command("proxy").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mlt runs")
    }

    fn health(&self) -> Option<Value> {
        let said = self.run("health");
        said.status.success().then(|| serde_json::from_slice(&said.stdout).expect("health is JSON"))
    }

    fn pid(&self) -> u64 {
        self.health().expect("an agent runs")["pid"].as_u64().expect("a number")
    }

    /// Numbers of the processes that serve this home.
    fn daemons(&self) -> Vec<u64> {
        let home = format!("HOME={}", self.path.display());
        let processes = std::fs::read_dir("/proc").expect("a process table").flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers
            .filter(|pid: &u64| {
                let holds = |file: &str, word: &str| {
                    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join(file)).unwrap_or_default();
                    bytes.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
                };
                holds("environ", &home) && holds("cmdline", "serve")
            })
            .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.run("stop");
    }
}

fn said_hello(child: Child) -> bool {
    let said = child.wait_with_output().expect("the proxy ends");
    said.status.success() && said.stdout.starts_with(protocol::hello::MAGIC)
}

#[test]
fn many_at_once_start_one_daemon() {
    let home = Home::new("home");
    let proxies: Vec<Child> = (0..12).map(|_| home.proxy()).collect();
    assert!(proxies.into_iter().all(said_hello));
    let pid = home.pid();
    // Losers of the race are gone as soon as they tried the lock; the winner stays.
    while home.daemons().len() > 1 {
        std::thread::yield_now();
    }
    assert_eq!(home.daemons(), [pid]);
}

#[test]
fn a_killed_daemon_is_replaced() {
    let home = Home::new("home");
    assert!(said_hello(home.proxy()));
    let first = home.pid();
    let killed = Command::new("kill").args(["-9", &first.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    while home.health().is_some() {
        std::thread::yield_now();
    }
    assert!(said_hello(home.proxy()));
    assert_ne!(home.pid(), first);
}

#[test]
fn a_stale_socket_is_no_obstacle() {
    let home = Home::new("home");
    assert!(said_hello(home.proxy()));
    let run = home.path.join(".mltoolbox/run");
    assert!(home.run("stop").status.success());
    let lock = std::fs::read_dir(&run).expect("a folder").flatten().next().expect("the lock file stays").path();
    drop(UnixListener::bind(lock.with_extension("sock")).expect("a socket that nobody serves"));
    assert!(home.health().is_none());
    assert!(said_hello(home.proxy()));
    assert!(home.health().is_some());
}

#[test]
fn a_home_too_long_for_a_socket_works() {
    let home = Home::new(&"long-name/".repeat(15));
    assert!(said_hello(home.proxy()));
    assert!(home.health().expect("it runs")["log"].as_str().expect("a path").contains("long-name"));
}

#[test]
fn the_verbs_say_what_they_mean() {
    let home = Home::new("home");
    assert!(!home.run("health").status.success());
    assert!(home.run("stop").status.success(), "nothing to stop is no failure");
    assert!(String::from_utf8_lossy(&home.run("--version").stdout).starts_with("mlt "));
    assert!(said_hello(home.proxy()));
    assert!(String::from_utf8_lossy(&home.run("logs").stdout).contains("the agent listens"));
    assert!(home.run("stop").status.success());
    assert!(home.health().is_none());
}
