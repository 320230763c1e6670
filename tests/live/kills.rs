//! `kill -9` of either end, more than two hundred times: of a real agent while the sync of this process writes
//! through it, and of the real program while it pushes to an SSH server of this process. No file is ever torn,
//! nothing is lost, and nothing is left lying about.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::work::Work;
use harness::{cli, oracle, process, skip};
use protocol::editor::SyncPushOutput;
use sidecar::transport::ssh_server::{self, Server};

use crate::reached;
use crate::story::ARRIVES;
use crate::versions::{Dice, check_until, litter, newest, save};

/// Kills of each end in a usual run; only those count that met a living process.
const KILLS: u64 = 110;
const _: () = assert!(2 * KILLS >= 200, "what the project promises");

/// Files that are written again and again while the agent is killed.
const FILES: u64 = 40;
/// Files that are saved before each push.
const SAVES: u64 = 12;
/// Pushes from one that is let be to the next.
const LET_BE: u64 = 12;

fn kills() -> u64 {
    if skip::soak() { 2_500 } else { KILLS }
}

/// Says past the test framework what was done: a number that nobody sees proves nothing.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}

/// Fails when the home holds anything but the copy, what is kept beside it, and the agent's own folder.
#[track_caller]
fn assert_tidy(home: &Path) {
    let names: BTreeSet<OsString> =
        fs::read_dir(home).expect("a home").flatten().map(|entry| entry.file_name()).collect();
    let known = [".copy.mltoolbox", ".mltoolbox", "copy"].map(OsString::from);
    assert_eq!(names, BTreeSet::from(known));
    assert_eq!(litter(home), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_agent_is_killed_a_hundred_times_while_batches_are_in_flight() {
    let test = "the_agent_is_killed_a_hundred_times_while_batches_are_in_flight";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let (here, there) = (Work::new(), Arc::new(Work::new()));
    let (data, copy) = (here.workspace().join("data"), there.home().join("copy"));
    fs::create_dir(&data).expect("our own folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let connector = reached::ByProxy::new(&there);
    let handle = runtime.block_on(reached::start(&here, &connector, true));
    let (done, mut killed, mut in_flight, mut seen) = (AtomicBool::new(false), 0, 0, 0);
    let begun = Instant::now();
    let read = std::thread::scope(|scope| {
        let checker = scope.spawn(|| check_until(&copy.join("data"), &done));
        let saver = scope.spawn(|| {
            let mut dice = Dice(7);
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                save(&data, here.path(), &format!("{}.txt", dice.roll(FILES)), number);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let mut dice = Dice(8);
        while killed < kills() {
            process::wait_until("the agent to be reached again", ARRIVES, || {
                if connector.reached() == seen && handle.status().error.is_some() {
                    // It was met while it was being opened: a person would have to wait a few seconds.
                    runtime.block_on(handle.again(false)).expect("the sync runs");
                    std::thread::sleep(Duration::from_millis(20));
                }
                connector.reached() > seen
            });
            // From its first words on to the midst of its work.
            std::thread::sleep(Duration::from_millis(dice.roll(80)));
            seen = connector.reached();
            let pending = handle.status().pending;
            if reached::agent_of(&there.home()).is_some_and(process::kill) {
                killed += 1;
                in_flight += u64::from(pending > 0);
            }
        }
        done.store(true, Ordering::Relaxed);
        saver.join().expect("our own folder");
        checker.join().expect("no torn file")
    });
    say(&format!("KILLED {killed} agents in {:?}, {in_flight} with work in flight", begun.elapsed()));
    assert!(killed >= KILLS && in_flight > KILLS / 2 && read > 0, "{killed} {in_flight} {read}");

    // Whoever waits hears of it when the last kill met an opening; a person asks again.
    process::wait_until("everything to arrive", ARRIVES, || {
        runtime.block_on(handle.again(false)).expect("the sync runs");
        runtime.block_on(handle.flush(true, ARRIVES)).is_ok()
    });
    oracle::assert_equal(&here.workspace(), &copy, &[]);
    runtime.block_on(handle.stop());
    assert_tidy(&there.home());
    let again = runtime.block_on(async {
        let handle = reached::start(&here, &connector, false).await;
        let settled = tokio::time::timeout(ARRIVES, handle.settled()).await;
        let snapshot = settled.expect("it settles").expect("the sync runs");
        handle.stop().await;
        snapshot
    });
    assert_eq!((again.status.error, again.files, again.removed), (None, 0, 0), "the database and the copy disagree");
}

#[test]
fn a_push_is_killed_a_hundred_times_at_any_moment() {
    let test = "a_push_is_killed_a_hundred_times_at_any_moment";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let (here, there) = (Work::new(), Work::new());
    let (data, copy) = (here.workspace().join("data"), there.home().join("copy"));
    fs::create_dir(&data).expect("our own folder");
    let key = here.path().join("key");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let authorized = ssh_server::write_key(&key).expect("our own folder");
    let server = runtime.block_on(Server::start(&there.home(), &authorized)).expect("a free port");
    let (port, key) = (server.address().port().to_string(), key.display().to_string());
    let remote = ["remote", "add", "box", "--host", "127.0.0.1", "--port", &port, "--user", "me", "--key", &key];
    let added = cli::run(&here, &[remote.as_slice(), &["--accept-new"]].concat());
    assert_eq!(added.code, 0, "{}", added.text());

    let to = copy.display().to_string();
    let push = ["sync", "push", "--to", &to, "--yes", "--json"];
    let (done, mut dice, begun) = (AtomicBool::new(false), Dice(9), Instant::now());
    let (mut killed, mut written) = (0, 0);
    let read = std::thread::scope(|scope| {
        let checker = scope.spawn(|| check_until(&copy.join("data"), &done));
        let mut whole = Duration::ZERO;
        for round in 0_u64.. {
            if killed >= kills() {
                break;
            }
            // The same files each time: what a killed push sent and did not write down is ours all the same.
            for save_number in round * SAVES..(round + 1) * SAVES {
                save(&data, here.path(), &format!("{}.txt", save_number % SAVES), save_number);
            }
            let before = newest(&copy.join("data"));
            let started = Instant::now();
            let mut child = cli::command(&here, &push);
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
            if round % LET_BE == 0 {
                // Let be, so that it is known how long a push takes now.
                assert!(child.wait().expect("our own child").success());
                whole = started.elapsed();
                continue;
            }
            // The later of two: its beginning is the start of a program, in which nothing can break.
            let share = u32::try_from(dice.roll(1_000).max(dice.roll(1_000))).expect("small");
            let moment = whole.mul_f64(f64::from(share) / 1_000.0);
            while started.elapsed() < moment && child.try_wait().expect("our own child").is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let alive = child.try_wait().expect("our own child").is_none();
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            killed += u64::from(alive);
            written += u64::from(alive && newest(&copy.join("data")) != before);
        }
        done.store(true, Ordering::Relaxed);
        checker.join().expect("no torn file")
    });
    say(&format!("KILLED {killed} pushes in {:?}, {written} after they had written", begun.elapsed()));
    assert!(killed >= KILLS && written > 0 && read > 0, "{killed} {written} {read}");

    let quiet = cli::run(&here, &push);
    assert_eq!(quiet.code, 0, "{}", quiet.text());
    oracle::assert_equal(&here.workspace(), &copy, &[]);
    assert_tidy(&there.home());
    let again: SyncPushOutput = cli::run(&here, &push).json();
    assert_eq!((again.files, again.removed), (0, 0), "the database and the copy disagree");
    runtime.block_on(server.stop());
}
