//! Other people's watchers end with the file present after the agent replaced it, as often as it likes.

use std::fs;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent::files::{Bodies, Root};
use harness::or_skip;
use harness::skip::Reason;
use harness::work::Work;
use protocol::agent::{Apply, Holder, Open, Trailer};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Expect, Hash, Op, Outcome};
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
    let root = open(&work.workspace());
    for version in 1..=REPLACES {
        replace(&root, version);
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

/// The bytes of one file as the stream that follows a batch.
struct Body(Cursor<Vec<u8>>);

impl Bodies for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn trailer(&mut self) -> io::Result<Trailer> {
        Ok(Trailer::default())
    }
}

fn open(folder: &Path) -> Root {
    let open = Open {
        path: RemotePath::new(folder.to_str().expect("our own path is text")).expect("an absolute path"),
        create: false,
        holder: Holder { id: "one".into(), label: "me@here:/folder".into() },
        take_over: false,
    };
    Root::open(1, &open).expect("our own folder can be a root").0
}

fn text(version: u32) -> Vec<u8> {
    format!("print({version})\n").into_bytes()
}

/// Has the agent replace the version before this one.
fn replace(root: &Root, version: u32) {
    let hash = |version| Hash(*blake3::hash(&text(version)).as_bytes());
    let op = Op {
        path: RelPath::new("app.py").expect("a relative path"),
        expect: Expect::File { hash: hash(version - 1), stamp: None },
        action: Action::Put {
            size: text(version).len() as u64,
            hash: Some(hash(version)),
            mode: 0o644,
            mtime_ns: None,
        },
    };
    let apply = Apply { root: 1, barrier: false, durable: false, ops: vec![op] };
    let outcomes = root.apply(&apply, &mut Body(Cursor::new(text(version)))).expect("the batch is done");
    assert!(matches!(outcomes.as_slice(), [Outcome::Applied { kept_as: None, .. }]), "{outcomes:?}");
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
