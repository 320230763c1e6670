//! Either end, killed right before and right after its first, second, third ... call that changes files, counted over
//! all of its threads, until a small plan of every kind of operation runs through: the agent in a sync, and the program
//! while it pushes and while it pulls. Every name shows a whole version at each of these moments, and whoever comes
//! next goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use harness::process::wait_until;
use harness::skip::{self, Reason};
use harness::work::Work;
use harness::{binary, cli, oracle, process};
use protocol::editor::{SyncPullOutput, SyncPushOutput, SyncState};
use serde::Deserialize;
use sidecar::transport::ssh_server::{self, Server};

use crate::cuts::{assert_nothing_is_torn, assert_synced, edit};
use crate::reached::{self, ByProxy};
use crate::story::ARRIVES;
use crate::versions::{litter, version};

/// The tracer that counts and kills; it says itself how.
const STRIKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/live/crashes/strike.py");
/// Points that a usual run tries of each story; `MLT_SOAK=1` tries every one.
const SAMPLE: usize = 8;

/// What the tracer tells at its end.
#[derive(Debug, Deserialize)]
struct Told {
    /// The calls that change files, in order.
    calls: Vec<String>,
    /// Whether the process was ended at the one that was asked for.
    struck: bool,
}

/// A moment: before or after the call of that number, from 1; number 0 is none.
#[derive(Clone, Copy, Debug)]
struct Point {
    number: usize,
    side: &'static str,
}

const NEVER: Point = Point { number: 0, side: "before" };

/// The points of a recorded run: each call on both sides, or a sample that alternates between them.
fn points(calls: usize) -> Vec<Point> {
    let all = (1..=calls).flat_map(|number| ["before", "after"].map(|side| Point { number, side }));
    let stride = if skip::soak() { 1 } else { (2 * calls / SAMPLE).max(1) | 1 };
    all.step_by(stride).collect()
}

/// How many of the points were met, by the name of the call.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    struck: usize,
    by: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, point: Point, told: &Told) {
        self.tried += 1;
        if told.struck {
            self.struck += 1;
            *self.by.entry(format!("{} {}", point.side, told.calls[point.number - 1])).or_default() += 1;
        }
    }

    /// Says what was done past the test framework, and fails when it was too little.
    #[track_caller]
    fn finish(&self, who: &str, recorded: &[String]) {
        let Self { tried, struck, by } = self;
        crate::kills::say(&format!(
            "STRUCK {who} at {struck} of {tried} points, {} calls recorded: {by:?}",
            recorded.len()
        ));
        // From run to run some calls fewer are made, and then the last points are never met.
        let missed = tried - struck;
        assert!(*tried >= SAMPLE && missed <= tried.div_ceil(10), "{who}: {self:?} of {recorded:?}");
        assert!(recorded.iter().any(|name| name.starts_with("openat")), "{who}: nothing is made in {recorded:?}");
        assert!(by.len() >= if skip::soak() { 8 } else { 4 }, "{who}: {self:?}");
    }
}

/// An agent that runs, watched by the tracer.
struct Traced {
    tracer: Child,
    said: BufReader<ChildStdout>,
    agent: i32,
}

impl Traced {
    /// Attaches to the agent of a home, to end it at a point from now on.
    fn attach(home: &Path, point: Point) -> Result<Self, Reason> {
        let agent = reached::agent_of(home).expect("an agent runs");
        let mut tracer = Command::new("python3");
        tracer.args([STRIKE, "attach", &agent.to_string(), &point.number.to_string(), point.side]);
        let mut tracer = tracer.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python starts");
        let mut said = BufReader::new(tracer.stdout.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it writes text");
        if line.trim_end() == "attached" {
            return Ok(Self { tracer, said, agent });
        }
        tracer.wait().expect("our own child");
        Err(Reason::OtherPlatform("this kernel lets no process be traced here (kernel.yama.ptrace_scope)".to_owned()))
    }

    /// Ends the agent unless it was ended, and returns what the tracer tells.
    fn end(mut self) -> Told {
        process::kill(self.agent);
        let last = self.said.lines().map_while(Result::ok).last().expect("it ends with what it counted");
        self.tracer.wait().expect("our own child");
        serde_json::from_str(&last).expect("it is JSON")
    }
}

/// Changes a large file in its middle, so that it travels as pieces.
fn edit_large(root: &Path, round: u64) {
    let mut large = vec![b'0'; 1_500_000];
    for (at, byte) in large.iter_mut().enumerate() {
        *byte = b'0' + u8::try_from((at / 4096 * 7 + at) % 64).expect("small");
    }
    large[700_000..700_006].copy_from_slice(format!("{round:06}").as_bytes());
    fs::write(root.join("large"), large).expect("our own folder");
}

#[test]
fn the_agent_is_ended_before_and_after_each_of_its_calls() {
    let test = "the_agent_is_ended_before_and_after_each_of_its_calls";
    if let Err(reason) = skip::live(&["rsync", "python3"]) {
        return skip::skip(test, &reason);
    }
    let (here, there) = (Work::new(), Arc::new(Work::new()));
    let copy = there.home().join("copy");
    let canary = there.path().join("outside");
    fs::create_dir(&canary).expect("our own folder");
    fs::write(canary.join("file"), "nobody's business").expect("our own folder");
    let outside = oracle::canary(&canary);
    // Before anybody waits for an agent: the programs may have to be built first.
    binary::mlt();
    let connector = ByProxy::new(&there);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sync = |what: &str| {
        let own: Arc<ByProxy> = Arc::clone(&connector);
        let snapshot = runtime.block_on(reached::once(&here, own, &copy));
        assert_synced(what, &snapshot);
        oracle::assert_equal(&here.workspace(), &copy, &["mine.txt"]);
        assert_eq!(oracle::canary(&canary), outside, "{what}");
        assert_eq!(litter(&there.home()), [] as [PathBuf; 0], "{what}");
    };
    let mut round = 0;
    let mut change = || {
        edit(&here.workspace(), here.path(), round);
        edit_large(&here.workspace(), round);
        round += 1;
    };
    change();
    sync("the first");
    // Somebody else's, which no sync was ever told of.
    fs::write(copy.join("mine.txt"), "a stranger's").expect("our own folder");
    // Which calls one sync makes that nobody disturbs.
    change();
    let traced = match Traced::attach(&there.home(), NEVER) {
        Ok(traced) => traced,
        Err(reason) => return skip::skip(test, &reason),
    };
    sync("the recorded one");
    let recorded = traced.end().calls;
    sync("with a new agent");
    let mut tally = Tally::default();
    for point in points(recorded.len()) {
        change();
        let traced = Traced::attach(&there.home(), point).expect("it could before");
        let own: Arc<ByProxy> = Arc::clone(&connector);
        runtime.block_on(async {
            let handle = reached::start_by(&here, own, &copy, false).await;
            let agent = traced.agent;
            let gone = tokio::task::spawn_blocking(move || {
                wait_until("the agent to end or the sync to be done", ARRIVES, || process::stat(agent).is_none());
            });
            tokio::select! {
                _ = reached::settled(&handle) => {}
                _ = gone => {}
            }
            handle.stop().await;
        });
        assert_nothing_is_torn(&copy);
        tally.add(point, &traced.end());
        sync(&format!("{point:?} of {recorded:?}"));
    }
    assert_eq!(fs::read_to_string(copy.join("mine.txt")).expect("it is there"), "a stranger's");
    tally.finish("the agent", &recorded);
}

/// A workspace with the real program, and a remote that is an SSH server of this process.
struct Program {
    here: Work,
    there: Work,
    copy: PathBuf,
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Program {
    fn new() -> Self {
        let (here, there) = (Work::new(), Work::new());
        let (copy, key) = (there.home().join("copy"), here.path().join("key"));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let authorized = ssh_server::write_key(&key).expect("our own folder");
        let server = runtime.block_on(Server::start(&there.home(), &authorized)).expect("a free port");
        let (port, key) = (server.address().port().to_string(), key.display().to_string());
        let remote = ["remote", "add", "box", "--host", "127.0.0.1", "--port", &port, "--user", "me", "--key", &key];
        let added = cli::run(&here, &[remote.as_slice(), &["--accept-new"]].concat());
        assert_eq!(added.code, 0, "{}", added.text());
        Self { here, there, copy, server, runtime }
    }

    fn push_line(&self) -> Vec<String> {
        let words = ["sync", "push", "--to", &self.copy.display().to_string(), "--yes", "--json"];
        words.map(str::to_owned).to_vec()
    }

    /// Runs the program below the tracer.
    #[track_caller]
    fn strike(&self, point: Point, line: &[String]) -> Told {
        let mut command = self.here.command("python3");
        command.args([STRIKE, "run", &point.number.to_string(), point.side]).arg(binary::sidecar()).args(line);
        let ran = cli::finish(command.stdin(Stdio::null()));
        let last = ran.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", ran.text()))
    }

    /// Syncs both ways in peace, and fails unless there is nothing left to do or to decide.
    #[track_caller]
    fn assert_done(&self, what: &str) {
        let pushed: SyncPushOutput = cli::run(&self.here, &self.push_line()).json();
        let status = &pushed.status;
        assert_eq!((status.state, status.pending, status.conflicts), (SyncState::Synced, 0, 0), "{what}: {status:#?}");
        assert_eq!(status.drift, [] as [String; 0], "{what}: what is ours is taken for another's");
        oracle::assert_equal(&self.here.workspace(), &self.copy, &[]);
    }

    /// Returns whether some file below the home of the workspace's side holds exactly this.
    fn is_kept(&self, text: &str) -> bool {
        oracle::walk(&self.here.home()).into_iter().any(|path| {
            path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == text.len() as u64)
                && fs::read_to_string(&path).is_ok_and(|found| found == text)
        })
    }

    fn end(self) {
        self.runtime.block_on(self.server.stop());
    }
}

#[test]
fn a_push_is_ended_before_and_after_each_of_its_calls() {
    let test = "a_push_is_ended_before_and_after_each_of_its_calls";
    if let Err(reason) = skip::live(&["rsync", "python3"]) {
        return skip::skip(test, &reason);
    }
    let program = Program::new();
    let mut round = 0;
    let mut change = || {
        edit(&program.here.workspace(), program.here.path(), round);
        edit_large(&program.here.workspace(), round);
        round += 1;
    };
    change();
    program.assert_done("the first");
    change();
    let recorded = program.strike(NEVER, &program.push_line()).calls;
    program.assert_done("the recorded one");
    let mut tally = Tally::default();
    for point in points(recorded.len()) {
        change();
        let told = program.strike(point, &program.push_line());
        assert_nothing_is_torn(&program.copy);
        tally.add(point, &told);
        program.assert_done(&format!("{point:?} of {recorded:?}"));
        assert_eq!(litter(&program.there.home()), [] as [PathBuf; 0], "{point:?}");
    }
    tally.finish("a push", &recorded);
    program.end();
}

#[test]
fn a_pull_is_ended_before_and_after_each_of_its_calls() {
    let test = "a_pull_is_ended_before_and_after_each_of_its_calls";
    if let Err(reason) = skip::live(&["rsync", "python3"]) {
        return skip::skip(test, &reason);
    }
    let program = Program::new();
    let workspace = program.here.workspace();
    let beside = program.there.path();
    edit(&workspace, program.here.path(), 0);
    edit_large(&workspace, 0);
    program.assert_done("the first");
    let mut round = 0;
    // Somebody works on the remote, and its edits are brought home.
    let mut change = || {
        round += 1;
        edit(&program.copy, beside, round);
        edit_large(&program.copy, round);
        // Permissions alone are not brought home.
        fs::set_permissions(program.copy.join("d/mode"), fs::Permissions::from_mode(0o644)).expect("our own file");
        round
    };
    let line = ["sync", "pull", "--json"].map(str::to_owned).to_vec();
    change();
    let recorded = program.strike(NEVER, &line).calls;
    oracle::assert_equal(&workspace, &program.copy, &[]);
    let mut tally = Tally::default();
    for point in points(recorded.len()) {
        let round = change();
        // Nobody was ever told of this one.
        fs::write(workspace.join("mine.txt"), format!("mine {round}")).expect("our own folder");
        let told = program.strike(point, &line);
        assert_nothing_is_torn(&workspace);
        tally.add(point, &told);
        let what = format!("{point:?} of {recorded:?}");
        let brought: SyncPullOutput = cli::run(&program.here, &line).json();
        assert_eq!((brought.conflicts, brought.problems.len()), (0, 0), "{what}: {brought:#?}");
        oracle::assert_equal(&workspace, &program.copy, &["mine.txt"]);
        assert_eq!(fs::read_to_string(workspace.join("mine.txt")).expect("it is there"), format!("mine {round}"));
        assert!(!workspace.join(".mltoolbox-pull").exists(), "{what}: what was half way is left");
        // What was replaced and what was removed here is kept, by whichever of the two it was done.
        let gone = format!("new-{:06}.txt", round - 1);
        for text in [version("replaced.txt", round - 1), version(&gone, round - 1)] {
            assert!(program.is_kept(&text), "{what}: {text:.30} is lost");
        }
        fs::remove_file(workspace.join("mine.txt")).expect("our own file");
    }
    program.assert_done("at the end nothing travels back");
    tally.finish("a pull", &recorded);
    program.end();
}
