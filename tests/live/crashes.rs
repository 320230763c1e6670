//! The agent, ended by the kernel at the entry of its first, second, third ... call that changes files, until a small
//! plan of every kind of operation runs through: what is before one call is after the one before it. Every name shows
//! a whole version at each of these moments, and whoever comes next goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use harness::process::wait_until;
use harness::work::Work;
use harness::{oracle, process, skip};

use crate::cuts::{assert_nothing_is_torn, assert_synced, edit};
use crate::reached::{self, ByProxy};
use crate::story::ARRIVES;
use crate::versions::litter;

/// Calls that change names or what is behind them. Opening is not among them: what a new file is before its first
/// byte is the moment before the next call.
const CALLS: &[&str] = &[
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "ftruncate",
    "fallocate",
    "fchmod",
    "fchmodat",
    "utimensat",
    "copy_file_range",
    "fsync",
    "fdatasync",
    "syncfs",
    "pwrite64",
    "pwritev",
    "writev",
    "write",
];

/// The agent of a home, watched by strace, which ends it at the entry of a call.
struct Traced {
    strace: Child,
    agent: i32,
}

impl Traced {
    /// Attaches to the agent of a home, to end it when one of its threads enters `call` for the `number`th time.
    fn attach(home: &Path, notes: &Path, call: &str, number: u64) -> Self {
        let agent = reached::agent_of(home).expect("an agent runs");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", &format!("trace={}", CALLS.join(",")), "-o"]).arg(notes);
        strace.args(["-e", &format!("inject={call}:signal=KILL:when={number}"), "-p", &agent.to_string()]);
        let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("strace starts");
        let mut said = BufReader::new(strace.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("attached")), "strace says nothing of the agent");
        // It names every thread that begins, and somebody has to listen.
        std::thread::spawn(move || said.for_each(drop));
        Self { strace, agent }
    }

    /// Returns whether the agent was ended by the call.
    fn end(mut self) -> bool {
        let killed = !process::kill(self.agent);
        self.strace.wait().expect("our own child");
        killed
    }
}

/// Returns the calls in the notes of strace, by name.
fn calls(notes: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in fs::read_to_string(notes).expect("our own file").lines() {
        let name = line.split_whitespace().nth(1).and_then(|word| word.split_once('(')).map(|(name, _)| name);
        if let Some(name) = name {
            *found.entry(name.to_owned()).or_default() += 1;
        }
    }
    found
}

#[test]
fn the_agent_is_ended_before_each_of_its_calls() {
    let test = "the_agent_is_ended_before_each_of_its_calls";
    if let Err(reason) = skip::live(&["rsync", "strace"]) {
        return skip::skip(test, &reason);
    }
    let (here, there) = (Work::new(), Arc::new(Work::new()));
    let (copy, notes) = (there.home().join("copy"), here.path().join("notes"));
    let canary = there.path().join("outside");
    fs::create_dir(&canary).expect("our own folder");
    fs::write(canary.join("file"), "nobody's business").expect("our own folder");
    let outside = oracle::canary(&canary);
    let connector = ByProxy::new(&there);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sync = |what: &str| {
        let own: Arc<ByProxy> = Arc::clone(&connector);
        let snapshot = runtime.block_on(reached::once(&here, own, &copy));
        assert_synced(what, &snapshot);
        oracle::assert_equal(&here.workspace(), &copy, &[]);
        assert_eq!(oracle::canary(&canary), outside, "{what}");
        assert_eq!(litter(&there.home()), [] as [std::path::PathBuf; 0], "{what}");
    };
    let mut round = 0;
    let mut change = || {
        edit(&here.workspace(), here.path(), round);
        // A large one, which is changed in its middle, and one that is moved with a folder around it.
        let mut large = vec![b'0'; 1_500_000];
        for (at, byte) in large.iter_mut().enumerate() {
            *byte = b'0' + u8::try_from((at / 4096 * 7 + at) % 64).expect("small");
        }
        large[700_000..700_006].copy_from_slice(format!("{round:06}").as_bytes());
        fs::write(here.workspace().join("large"), large).expect("our own folder");
        round += 1;
    };
    change();
    sync("the first");
    // How often each call is made by one sync that nobody disturbs.
    change();
    let traced = Traced::attach(&there.home(), &notes, "reboot", 1);
    sync("the recorded one");
    assert!(!traced.end(), "nobody ended it");
    let made = calls(&notes);
    let stride = if skip::soak() { 1 } else { 5 };
    let points: Vec<(&String, u64)> =
        made.iter().flat_map(|(call, count)| (1..=*count).map(move |number| (call, number))).collect();
    let (mut ended, mut by) = (0, BTreeSet::new());
    for (call, number) in points.iter().copied().step_by(stride) {
        sync("before the next");
        change();
        let traced = Traced::attach(&there.home(), &notes, call, number);
        let own: Arc<ByProxy> = Arc::clone(&connector);
        let snapshot = runtime.block_on(async {
            let handle = reached::start_by(&here, own, &copy, false).await;
            let agent = traced.agent;
            let gone = tokio::task::spawn_blocking(move || {
                wait_until("the agent to end or the sync to be done", ARRIVES, || process::stat(agent).is_none());
            });
            let snapshot = tokio::select! {
                snapshot = reached::settled(&handle) => Some(snapshot),
                _ = gone => None,
            };
            handle.stop().await;
            snapshot
        });
        assert_nothing_is_torn(&copy);
        drop(snapshot);
        if traced.end() {
            ended += 1;
            by.insert(call.clone());
        }
        sync(&format!("after `{call}` number {number}"));
    }
    crate::kills::say(&format!("ENDED {ended} agents, of {} points; calls {by:?} of {made:?}", points.len()));
    assert!(ended >= 10 && by.len() >= 4, "{ended} {by:?} {made:?}");
}
