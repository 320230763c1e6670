//! What happens to a sync that lives long: killed ends, edits from the other side, trees that are swapped,
//! other machines, and links that fall asleep.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::cli;
use harness::or_skip;
use harness::process::{self, wait_until};
use harness::work::Work;
use protocol::editor::{SyncConflictsOutput, SyncState, SyncStatus};
use rustix::process::Signal;

use crate::story::{ARRIVES, Story};
use crate::versions::{Dice, check_until, litter, newest, save};

fn kill_agents(story: &Story) -> usize {
    let agents: Vec<i32> = process::with_home(&story.host.home())
        .iter()
        .map(|stat| stat.pid)
        .filter(|pid| process::name(*pid).is_some_and(|name| name.starts_with("mlt")))
        .collect();
    for pid in &agents {
        process::signal(*pid, Signal::KILL);
    }
    agents.len()
}

/// Kills of each kind over a real server; the many are done in `kills`, where each costs less.
fn kills() -> u64 {
    if harness::skip::soak() { 1_500 } else { 10 }
}

/// Edits on the remote that a race with ours has at least.
const EDITS: usize = 4;

/// How long killing goes on at most: a busy machine gets fewer kills instead of a longer run.
fn killing() -> Duration {
    Duration::from_secs(if harness::skip::soak() { 3_600 } else { 40 })
}

#[test]
fn a_push_is_killed_at_any_moment_and_the_next_goes_on() {
    let story = or_skip!("a_push_is_killed_at_any_moment_and_the_next_goes_on", Story::begin());
    let mut dice = Dice(1);
    fs::create_dir(story.here("data")).expect("our own folder");
    for number in 0..60 {
        let name = format!("{number}.txt");
        save(&story.here("data"), story.work.path(), &name, number);
    }
    let copy = story.there("").display().to_string();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checker = scope.spawn(|| check_until(&story.there("data"), &done));
        let mut whole = Duration::from_millis(800);
        let killing_ends = Instant::now() + killing();
        for round in (0..kills()).take_while(|_| Instant::now() < killing_ends) {
            let name = format!("{}.txt", round % 60);
            save(&story.here("data"), story.work.path(), &name, 1_000 + round);
            let begun = Instant::now();
            let mut push = cli::command(&story.work, &["sync", "push", "--to", &copy, "--yes", "--json"]);
            let mut push = push.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
            // The kill comes at a random moment of a push as long as the last one that was let be.
            let moment =
                if round % 5 == 0 { ARRIVES } else { whole * u32::try_from(dice.roll(1_000)).unwrap_or(0) / 900 };
            while begun.elapsed() < moment && push.try_wait().expect("our own child").is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if round % 5 == 0 {
                whole = begun.elapsed();
            }
            push.kill().expect("our own child");
            push.wait().expect("our own child");
        }
        done.store(true, Ordering::Relaxed);
        assert!(checker.join().expect("no torn file") > 0);
    });
    story.push();
    story.assert_equal();
    assert_eq!(litter(&story.host.home()), Vec::<std::path::PathBuf>::new());
    let again = story.push();
    assert_eq!((again.files, again.removed), (0, 0), "the database and the copy disagree");
}

#[test]
fn the_agent_is_killed_while_batches_are_in_flight() {
    let story = or_skip!("the_agent_is_killed_while_batches_are_in_flight", Story::begin());
    fs::create_dir(story.here("data")).expect("our own folder");
    story.watch();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checker = scope.spawn(|| check_until(&story.there("data"), &done));
        let saver = scope.spawn(|| {
            let mut dice = Dice(2);
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                let name = format!("{}.txt", dice.roll(100));
                save(&story.here("data"), story.work.path(), &name, number);
                number += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let mut dice = Dice(3);
        let mut killed = 0;
        let killing_ends = Instant::now() + killing();
        while killed < kills() && Instant::now() < killing_ends {
            // Every other kill comes once something arrived since the last one, and so meets batches in flight; the
            // others come whenever, also while the agent starts.
            if killed % 2 == 0 {
                let before = newest(&story.there("data"));
                wait_until("something to arrive", ARRIVES, || newest(&story.there("data")) > before);
            }
            std::thread::sleep(Duration::from_millis(dice.roll(1_000)));
            killed += u64::from(kill_agents(&story) > 0);
        }
        done.store(true, Ordering::Relaxed);
        saver.join().expect("our own folder");
        assert!(checker.join().expect("no torn file") > 0);
    });
    wait_until("everything to arrive", ARRIVES, || story.run("sync flush").code == 0);
    story.settle();
    let stopped = story.run("sync stop");
    assert_eq!(stopped.code, 0, "{}", stopped.text());
    let again = story.push();
    assert_eq!((again.files, again.removed), (0, 0), "the database and the copy disagree");
    assert_eq!(litter(&story.host.home()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn no_edit_on_the_remote_is_ever_lost() {
    let story = or_skip!("no_edit_on_the_remote_is_ever_lost", Story::begin());
    let names: Vec<String> = (0..12).map(|number| format!("{number}.txt")).collect();
    fs::create_dir(story.here("data")).expect("our own folder");
    for name in &names {
        save(&story.here("data"), story.work.path(), name, 0);
    }
    story.watch();
    let limit = Duration::from_secs(if harness::skip::soak() { 300 } else { 5 });
    let (begun, done) = (Instant::now(), AtomicBool::new(false));
    let edits = std::thread::scope(|scope| {
        let saver = scope.spawn(|| {
            let mut dice = Dice(4);
            let mut number = 1;
            while !done.load(Ordering::Relaxed) {
                let name = &names[usize::try_from(dice.roll(12)).expect("small")];
                fs::write(story.here("data").join(name), format!("ours {number}\n")).expect("our own folder");
                number += 1;
                std::thread::sleep(Duration::from_millis(dice.roll(6)));
            }
        });
        let mut dice = Dice(5);
        let mut edits = Vec::new();
        // A busy machine gets the time that it needs for as many edits as prove something.
        while begun.elapsed() < limit || (edits.len() < EDITS && begun.elapsed() < limit + ARRIVES) {
            let name = &names[usize::try_from(dice.roll(12)).expect("small")];
            let text = format!("theirs {} of {name}\n", edits.len());
            let file = story.there("data").join(name);
            // By rename, as editors do; what is replaced is the editor's choice only if it is another's edit.
            let temporary = story.there(&format!("data/.{name}.edit"));
            fs::write(&temporary, &text).expect("the test's own host");
            let before = fs::read_to_string(&file).unwrap_or_default();
            if before.starts_with("theirs") {
                fs::remove_file(&temporary).expect("the test's own host");
            } else {
                fs::rename(&temporary, &file).expect("the test's own host");
                edits.push(text);
            }
            std::thread::sleep(Duration::from_millis(dice.roll(60)));
            // Ours again, so that there is something to race with.
            if dice.roll(6) == 0 {
                story.run("sync resolve data --take local");
            }
        }
        done.store(true, Ordering::Relaxed);
        saver.join().expect("our own folder");
        edits
    });
    assert!(edits.len() >= EDITS, "{}", edits.len());
    story.run("sync stop");
    let everything: BTreeSet<String> = harness::oracle::walk(&story.host.home())
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() < 1_000))
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let lost: Vec<&String> = edits.iter().filter(|edit| !everything.contains(*edit)).collect();
    assert_eq!(lost, Vec::<&String>::new(), "of {} edits", edits.len());
}

#[test]
fn an_edit_or_a_deletion_on_the_remote_is_listed_and_decided() {
    let story = or_skip!("an_edit_or_a_deletion_on_the_remote_is_listed_and_decided", Story::begin());
    story.watch();
    fs::write(story.there("app.py"), "theirs\n").expect("the test's own host");
    fs::remove_file(story.there("run.sh")).expect("the test's own host");
    let status = story.push().status;
    assert_eq!(status.drift, ["app.py", "run.sh"], "{status:#?}");
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "theirs\n");
    let listed: SyncConflictsOutput = story.run("sync conflicts").json();
    assert_eq!(listed.conflicts.len(), 0, "{listed:#?}");
    assert_eq!(story.run("sync resolve app.py --take remote").code, 0);
    assert_eq!(fs::read_to_string(story.here("app.py")).expect("a file"), "theirs\n");
    assert_eq!(story.run("sync resolve run.sh --take local").code, 0);
    story.settle();
    assert_eq!(story.status().drift, Vec::<String>::new());
}

#[test]
fn the_remote_tree_is_removed_emptied_swapped_and_put_back() {
    let story = or_skip!("the_remote_tree_is_removed_emptied_swapped_and_put_back", Story::begin());
    story.watch();
    let (copy, old) = (story.there(""), story.host.home().join("old"));
    let copy = copy.components().as_path().to_path_buf();
    let copied = Command::new("cp").arg("-a").arg(&copy).arg(&old).status();
    assert!(copied.is_ok_and(|status| status.success()));

    // Removed and made again, as a container is: it is filled again.
    fs::remove_dir_all(&copy).expect("the test's own host");
    fs::create_dir(&copy).expect("the test's own host");
    story.save("app.py", "print('after')\n");
    story.wait_for("app.py", "print('after')\n");
    story.settle();

    // Gone altogether.
    fs::remove_dir_all(&copy).expect("the test's own host");
    story.save("app.py", "print('gone')\n");
    story.wait_for("app.py", "print('gone')\n");
    story.settle();

    // Emptied: a person may have meant it, so it is listed and brought back when asked.
    for entry in fs::read_dir(&copy).expect("the test's own host").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("an entry");
        if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("the test's own host");
    }
    let status = story.push().status;
    assert!(status.drift.iter().any(|path| path == "run.sh"), "{status:#?}");
    assert_eq!(story.run("sync resolve * --take local").code, 0);
    story.settle();

    // An older copy in its place: what it holds is not overwritten unasked.
    fs::remove_dir_all(&copy).expect("the test's own host");
    fs::rename(&old, &copy).expect("the test's own host");
    let pushed = story.run(&format!("sync push --to {} --yes", copy.display()));
    let there = fs::read_to_string(story.there("app.py")).expect("a file");
    assert_eq!(there, "print('hello')\n", "{}", pushed.text());
    let listed: SyncConflictsOutput = story.run("sync conflicts").json();
    let status = story.status();
    assert!(listed.conflicts.iter().any(|conflict| conflict.path == "app.py"), "{listed:#?} {status:#?}");
    assert_eq!(story.run("sync resolve app.py --take local").code, 0);
    story.settle();
    assert_eq!(story.kept("print('hello')\n").len(), 1, "the older version is kept");
}

#[test]
fn the_workspace_goes_and_comes_back() {
    let story = or_skip!("the_workspace_goes_and_comes_back", Story::begin());
    story.watch();
    let (here, away) = (story.work.workspace(), story.work.path().join("away"));
    let before = harness::oracle::canary(&story.there(""));
    fs::rename(&here, &away).expect("our own folder");
    let elsewhere = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
        let mut command = cli::command(&story.work, &words);
        cli::finish(command.current_dir(story.work.path()))
    };
    wait_until("the loss to be seen", ARRIVES, || {
        let listed = elsewhere("sync list");
        listed.code == 0 && !listed.stdout.contains("\"synced\",")
    });
    assert_eq!(harness::oracle::canary(&story.there("")), before, "nothing is removed there");
    fs::rename(&away, &here).expect("our own folder");
    story.save("app.py", "print('back')\n");
    story.watch();
    story.wait_for("app.py", "print('back')\n");
    story.settle();
    // A copy in its place is as good, and nobody has to be told of it.
    fs::rename(&here, &away).expect("our own folder");
    let copied = Command::new("cp").arg("-a").args([&away, &here]).status().expect("cp starts");
    assert!(copied.success());
    story.save("app.py", "print('another folder')\n");
    story.wait_for("app.py", "print('another folder')\n");
    story.save("app.py", "print('which is watched')\n");
    story.wait_for("app.py", "print('which is watched')\n");
    story.settle();
}

#[test]
fn branches_are_switched_and_events_come_in_floods() {
    let story = or_skip!("branches_are_switched_and_events_come_in_floods", Story::begin());
    let git = |arguments: &[&str]| {
        let mut command = story.work.command("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]);
        let output = command.args(arguments).output().expect("git starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let fill = |what: &str, from: usize, to: usize| {
        for number in from..to {
            let folder = story.here(&format!("tree/{}", number % 40));
            fs::create_dir_all(&folder).expect("our own folder");
            fs::write(folder.join(format!("{number}.txt")), format!("{what} {number}\n")).expect("our own folder");
        }
    };
    git(&["init", "-q"]);
    fill("main", 0, 2_000);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "main"]);
    git(&["checkout", "-qb", "other"]);
    fs::remove_dir_all(story.here("tree")).expect("our own folder");
    fill("other", 1_000, 3_000);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "other"]);
    story.watch();
    for branch in ["main", "other", "main", "other", "main"] {
        git(&["checkout", "-q", branch]);
    }
    approve_until_synced(&story);
    // More events than the kernel's queue holds: the paths are found by looking again.
    for round in 0..8 {
        fill(&format!("flood {round}"), 0, 2_500);
    }
    approve_until_synced(&story);
    harness::oracle::assert_equal(&story.work.workspace(), &story.there(""), &["*.log", "build", ".git"]);
}

/// Lets go what a brake stopped, as a person would, until both sides are equal.
fn approve_until_synced(story: &Story) {
    wait_until("everything to arrive", ARRIVES * 2, || {
        let flushed = story.run("sync flush");
        if story.status().brake.is_some() {
            let approved = story.run("sync approve");
            assert!(approved.code == 0 || !approved.text().contains("panicked"), "{}", approved.text());
        }
        flushed.code == 0
    });
}

#[test]
fn another_machine_is_named_and_may_take_over() {
    let story = or_skip!("another_machine_is_named_and_may_take_over", Story::begin());
    story.watch();
    // Another home is another machine: it has its own database, keys and identity.
    let other = Work::new();
    other.write("//- /app.py\nprint('other')\n");
    cli::add_remote(&other, "box", &story.host, story.wire.port());
    let copy = story.there("").display().to_string();
    let refused = cli::run(&other, &["sync", "push", "--to", &copy, "--yes", "--json"]);
    let ours = story.work.workspace().display().to_string();
    assert!(refused.text().contains("sync.leased") && refused.text().contains(&ours), "{}", refused.text());
    assert!(refused.text().contains("--take-over"), "{}", refused.text());
    let taken = cli::run(&other, &["sync", "watch", "--to", &copy, "--yes", "--json", "--take-over"]);
    assert_eq!(taken.code, 0, "{}", taken.text());

    story.save("app.py", "print('mine again')\n");
    wait_until("the first machine to halt", ARRIVES, || story.status().state == SyncState::Halted);
    let status = story.status();
    let error = status.error.expect("it says why");
    assert!(error.help.contains("--take-over"), "{error:?}");
    // It does not fight back, also not when the other one is done.
    let stopped = cli::run(&other, &["sync", "stop"]);
    assert_eq!(stopped.code, 0, "{}", stopped.text());
    assert_eq!(story.status().state, SyncState::Halted);
    assert_ne!(fs::read_to_string(story.there("app.py")).expect("a file"), "print('mine again')\n");
    story.watch();
    assert_ne!(story.status().state, SyncState::Halted);
    story.run("sync resolve app.py --take local");
    story.wait_for("app.py", "print('mine again')\n");
}

#[test]
fn a_host_that_sleeps_is_waited_for_and_saves_come_first() {
    let story = or_skip!("a_host_that_sleeps_is_waited_for_and_saves_come_first", Story::begin());
    story.watch();
    story.wire.refuse(true);
    story.wire.cut();
    wait_until("the loss to be seen", ARRIVES, || story.status().error.is_some());
    for number in 0..300 {
        story.save(&format!("bulk-{number}.bin"), &"b".repeat(20_000));
    }
    story.save("app.py", "print('while away')\n");
    let status = story.status();
    assert_ne!(status.state, SyncState::Synced, "{status:#?}");
    story.wire.refuse(false);
    story.wait_for("app.py", "print('while away')\n");
    story.settle();
    // Frozen for a moment: nothing is lost, whether the link survives or not.
    story.host.pause();
    story.save("app.py", "print('frozen')\n");
    std::thread::sleep(Duration::from_secs(3));
    assert_ne!(fs::read_to_string(story.there("app.py")).expect("a file"), "print('frozen')\n");
    assert_ne!(story.status().state, SyncState::Synced);
    story.host.resume();
    story.wait_for("app.py", "print('frozen')\n");
    story.settle();
    let log = fs::read_to_string(story.work.home().join(".local/state/mltoolbox/mltoolbox.log")).expect("a log");
    assert!(log.contains("lost"), "{log}");
}

#[test]
fn a_database_that_is_locked_is_tried_again() {
    let story = or_skip!("a_database_that_is_locked_is_tried_again", Story::begin());
    if !harness::skip::has("python3") {
        let reason = harness::skip::Reason::Missing("`python3` is not on the PATH".to_owned());
        return harness::skip::skip("a_database_that_is_locked_is_tried_again", &reason);
    }
    story.watch();
    let database = story.work.home().join(".config/mltoolbox/mltoolbox.db");
    let program = "import sqlite3, sys\n\
        held = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        held.execute('begin immediate')\n\
        print('held', flush=True)\n\
        sys.stdin.read()\n";
    let mut holder = story.work.command("python3");
    holder.args(["-c", program]).arg(&database).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().expect("python starts");
    let mut line = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("a pipe"), &mut line).expect("it holds the lock");
    story.save("app.py", "print('locked')\n");
    story.wait_for("app.py", "print('locked')\n");
    assert_ne!(story.status().state, SyncState::Synced, "what is not remembered is not done");
    drop(holder.stdin.take());
    holder.wait().expect("our own child");
    wait_until("it to be remembered", ARRIVES, || story.status().state == SyncState::Synced);
    let status: SyncStatus = story.run("sync status").json();
    assert_eq!(status.error, None);
    let owner = status.owner.and_then(|pid| i32::try_from(pid).ok()).expect("somebody owns the sync");
    process::signal(owner, Signal::KILL);
    let again = story.push();
    assert_eq!((again.files, again.removed), (0, 0), "the database knows what arrived");
}
