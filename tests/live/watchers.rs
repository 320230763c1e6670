//! Other people's watchers end with the file present after a replace the way the agent does it: the old
//! inode is linked away, then the new file is renamed over the name from outside the watched folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::or_skip;
use harness::skip::Reason;
use harness::work::Work;
use serde::Deserialize;

/// Where `tests/run` installs the watchers: outside the source tree's tracked files.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools");
/// The helper programs.
const PROBES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/live/watchers");
/// How often a file is replaced; a race needs more than one chance.
const REPLACES: u32 = 20;

#[derive(Debug, Deserialize)]
struct Belief {
    events: Vec<serde_json::Value>,
    present: bool,
    sentinel: bool,
}

#[test]
fn python_watchdog_ends_with_the_file() {
    check("python_watchdog_ends_with_the_file", or_skip!("python_watchdog_ends_with_the_file", python("watchdog")));
}

#[test]
fn watchfiles_ends_with_the_file() {
    check("watchfiles_ends_with_the_file", or_skip!("watchfiles_ends_with_the_file", python("watchfiles")));
}

#[test]
fn chokidar_ends_with_the_file() {
    check("chokidar_ends_with_the_file", or_skip!("chokidar_ends_with_the_file", chokidar()));
}

fn check(test: &str, mut probe: Command) {
    let work = Work::new();
    work.write("//- /app.py\nprint(0)\n");
    let mut child = probe
        .arg(work.workspace())
        .args(["app.py", "sentinel"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the probe starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("the probe says more").expect("the probe writes text");
    assert_eq!(next(), "ready", "{test}");
    for version in 1..=REPLACES {
        replace(work.path(), &work.workspace().join("app.py"), version);
    }
    fs::write(work.workspace().join("sentinel"), "").expect("our own folder");
    let answer = loop {
        let line = next();
        if line != "ready" {
            break line;
        }
    };
    assert!(child.wait().expect("our own child").success(), "{test}");
    let belief: Belief = serde_json::from_str(&answer).expect("the probe's JSON");
    assert!(belief.sentinel && belief.present, "{test}: {belief:?}");
    assert!(!belief.events.is_empty(), "{test} saw no change at all: {belief:?}");
}

/// Replaces a file as the agent does.
fn replace(outside: &Path, file: &Path, version: u32) {
    let staged = outside.join(format!("staged-{version}"));
    fs::write(&staged, format!("print({version})\n")).expect("our own folder");
    fs::hard_link(file, outside.join(format!("trash-{version}"))).expect("the same file system");
    fs::rename(&staged, file).expect("the same file system");
}

/// Returns the Python that has `module`, ready to run its probe.
fn python(module: &str) -> Result<Command, Reason> {
    harness::skip::live(&["python3"])?;
    let own = PathBuf::from(TOOLS).join("python/bin/python3");
    let has = |python: &Path| {
        Command::new(python)
            .args(["-c", &format!("import {module}")])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let python = [own, PathBuf::from("python3")].into_iter().find(|python| has(python)).ok_or_else(|| {
        Reason::Missing(format!("python has no `{module}`; `tests/run` installs it into target/tools"))
    })?;
    let mut command = Command::new(python);
    command.arg(format!("{PROBES}/{module}_probe.py"));
    Ok(command)
}

fn chokidar() -> Result<Command, Reason> {
    harness::skip::live(&["node"])?;
    let folder = PathBuf::from(TOOLS).join("node/node_modules/chokidar");
    let entry = ["index.js", "esm/index.js"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
    let entry = entry
        .ok_or_else(|| Reason::Missing("there is no chokidar; `tests/run` installs it into target/tools".into()))?;
    let mut command = Command::new("node");
    command.arg(format!("{PROBES}/chokidar_probe.mjs")).env("MLT_CHOKIDAR", entry);
    Ok(command)
}
