//! Bringing home over a real SSH server: the days of somebody who trains on a remote.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use harness::process::{self, wait_until};
use harness::proxy::{Fault, Way};
use harness::{cli, or_skip, oracle};
use protocol::editor::{
    SyncAction, SyncConflictsOutput, SyncPullOutput, SyncPushOutput, SyncResolveOutput, SyncState, SyncStatus,
    SyncStopOutput,
};
use protocol::error::{Code, Error};

use crate::story::{ARRIVES, LEFT_OUT, Story};

/// How long forty files may take that each have to be safe on a busy disk.
const LONG: Duration = Duration::from_mins(2);

/// Bytes that no compression makes less, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn write(path: &std::path::Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("our own folder");
    fs::write(path, bytes).expect("our own folder");
}

#[track_caller]
fn pull(story: &Story, line: &str) -> SyncPullOutput {
    story.run(&format!("sync pull {line}")).json()
}

fn error(ran: &cli::Ran) -> Error {
    assert_ne!(ran.code, 0, "{}", ran.text());
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    serde_json::from_value(value["error"].clone()).expect("it is an error")
}

#[test]
fn edits_come_home_by_themselves_and_results_by_their_name() {
    let story = or_skip!("edits_come_home_by_themselves_and_results_by_their_name", Story::begin());
    story.save(".gitignore", "*.log\nbuild/\ncheckpoints/\n");
    fs::remove_file(story.here("noise.log")).expect("it is there");
    story.push();
    write(&story.there("checkpoints/epoch-1/model.pt"), noise(1, 3_000_000));
    write(&story.there("checkpoints/last.pt"), noise(2, 1_000_000));
    write(&story.there("train.log"), "loss 1.0\n");
    write(&story.there("results/metrics.csv"), "epoch,loss\n1,1.0\n");
    write(&story.there("app.py"), "print('tuned there')\n");
    fs::remove_file(story.there("run.sh")).expect("it is there");

    let planned = pull(&story, "--dry-run");
    assert!(planned.dry_run && planned.changes.iter().any(|change| change.action == SyncAction::Remove));
    assert!(story.here("run.sh").exists() && !story.here("results").exists());
    let brought = pull(&story, "");
    assert_eq!((brought.files, brought.removed, brought.conflicts), (2, 1, 0), "{brought:#?}");
    assert!(!story.here("checkpoints").exists() && !story.here("train.log").exists());
    oracle::assert_equal(&story.work.workspace(), &story.there(""), &["*.log", "build", "checkpoints"]);
    let kept = std::path::PathBuf::from(brought.kept.expect("versions are kept"));
    assert_eq!(fs::read_to_string(kept.join("app.py")).expect("it is kept"), "print('hello')\n");
    assert!(kept.join("run.sh").exists());
    let pushed = story.push();
    assert_eq!((pushed.files, pushed.removed), (0, 0), "what came home does not travel back: {pushed:#?}");

    let brought = pull(&story, "checkpoints/ *.log");
    assert_eq!(brought.files, 3, "{brought:#?}");
    oracle::assert_equal(&story.work.workspace(), &story.there(""), &["build"]);
    let down = story.wire.bytes(Way::Down);
    assert_eq!(pull(&story, "checkpoints/ *.log").files, 0);
    assert!(story.wire.bytes(Way::Down) - down < 500_000, "what is home does not travel again");
    assert_eq!(story.push().files, 0, "what is ignored is not pushed");
    // The next epoch.
    write(&story.there("checkpoints/last.pt"), noise(3, 1_200_000));
    assert_eq!(pull(&story, "checkpoints").files, 1);
    oracle::assert_equal(&story.here("checkpoints"), &story.there("checkpoints"), &[]);

    let refused = story.run("sync pull ../outside");
    assert_eq!(error(&refused).code, Code::ParamsInvalid);
    let refused = story.run("sync pull no/such/file");
    assert!(error(&refused).message.contains("no/such/file"), "{}", refused.text());
}

#[test]
fn a_conflict_stays_and_a_brake_waits() {
    let story = or_skip!("a_conflict_stays_and_a_brake_waits", Story::begin());
    for number in 0..60 {
        write(&story.here(&format!("parts/{number}.txt")), number.to_string());
    }
    story.push();
    story.save("app.py", "print('ours')\n");
    write(&story.there("app.py"), "print('theirs')\n");
    let brought = pull(&story, "");
    assert_eq!((brought.conflicts, brought.files), (1, 0), "{brought:#?}");
    assert_eq!(fs::read_to_string(story.here("app.py")).expect("a file"), "print('ours')\n");
    let listed: SyncConflictsOutput = story.run("sync conflicts").json();
    assert_eq!(listed.conflicts.len(), 1, "it is listed where every conflict is");
    let resolved: SyncResolveOutput = story.run("sync resolve app.py --take remote").json();
    assert_eq!(resolved.left, 0);
    assert_eq!(fs::read_to_string(story.here("app.py")).expect("a file"), "print('theirs')\n");

    fs::remove_dir_all(story.there("parts")).expect("it is there");
    let stopped = error(&story.run("sync pull"));
    assert_eq!(stopped.code, Code::SyncBrake, "{stopped:#?}");
    assert!(story.here("parts/59.txt").exists());
    let plan =
        stopped.help.split('`').nth(1).and_then(|command| command.rsplit(' ').next()).expect("it names the plan");
    let status: SyncStatus = story.run(&format!("sync approve {plan}")).json();
    assert_eq!(status.owner, None, "no process stays behind");
    assert!(!story.here("parts").exists());
    story.assert_equal();
}

#[test]
fn patterns_bring_logs_home_while_watching_and_drift_is_listed() {
    let story = or_skip!("patterns_bring_logs_home_while_watching_and_drift_is_listed", Story::begin());
    story.push();
    write(&story.there("before.log"), "1\n");
    write(&story.there("node_modules/deep/noise.log"), "1\n");
    story.save(".gitignore", "*.log\nbuild/\nnode_modules/\n");
    let line = format!("sync watch --to {} --yes --pull *.log --pull src/", story.there("").display());
    let status: SyncStatus = story.run(&line).json();
    assert_eq!(status.state, SyncState::Synced, "{status:#?}");
    let comes = |path: &str, text: &str| {
        wait_until(&format!("`{path}` to come home"), ARRIVES, || {
            fs::read_to_string(story.here(path)).is_ok_and(|found| found == text)
        });
    };
    comes("before.log", "1\n");
    write(&story.there("before.log"), "1\n2\n");
    write(&story.there("src/deep/er/module.py"), "x = 'there'\n");
    write(&story.there("app.py"), "print('there')\n");
    // Whoever lists the conflicts has both sides compared, as it happens by itself every few minutes.
    story.run("sync conflicts").json::<SyncConflictsOutput>();
    comes("before.log", "1\n2\n");
    comes("src/deep/er/module.py", "x = 'there'\n");
    let status = story.status();
    assert_eq!(status.drift, ["app.py"], "{status:#?}");
    let shown = cli::run(&story.work, &["sync", "status"]);
    assert!(shown.text().contains("sync pull"), "{}", shown.text());
    assert!(!story.here("node_modules").exists(), "what is ignored as a folder is not looked into");
    // In a conflict nothing is touched, pattern or not.
    story.save("src/deep/er/module.py", "x = 'here'\n");
    let brought = pull(&story, "app.py");
    assert_eq!(brought.files, 1, "{brought:#?}");
    wait_until("the drift to be gone", ARRIVES, || story.status().drift.is_empty());
    story.run("sync flush").json::<SyncStatus>();
    // The patterns may be at work again.
    oracle::assert_equal(
        &story.work.workspace(),
        &story.there(""),
        &["*.log", "build", "node_modules", ".mltoolbox-pull"],
    );

    let pushed: SyncPushOutput = story.run("sync push --yes").json();
    assert!(pushed.status.last_durable.is_some(), "a push ends when all is durable: {pushed:#?}");
    let stopped: SyncStopOutput = story.run("sync stop").json();
    assert_eq!(stopped.stopped.len(), 1);
    let stopped: SyncStopOutput = story.run("sync stop").json();
    assert_eq!((stopped.stopped.len(), stopped.syncs.len()), (0, 1));
    assert!(cli::run(&story.work, &["sync", "stop"]).text().contains("No sync was running"));
}

#[test]
fn extras_go_to_the_trash_only_after_a_yes() {
    let story = or_skip!("extras_go_to_the_trash_only_after_a_yes", Story::begin());
    story.push();
    write(&story.there("old/module.py"), "extra");
    write(&story.there("train.log"), "ignored");
    let line = format!("sync push --mirror --to {}", story.there("").display());
    let planned: SyncPushOutput = story.run(&format!("{line} --dry-run")).json();
    assert_eq!(planned.removed, 2, "{planned:#?}");
    let refused = error(&story.run(&line));
    assert_eq!(refused.code, Code::QuestionUnanswered);
    assert!(refused.message.contains("old/module.py"), "they are listed: {refused:#?}");
    assert!(story.there("old/module.py").exists());
    let pushed: SyncPushOutput = story.run(&format!("{line} --yes")).json();
    assert_eq!((pushed.removed, pushed.kept.len()), (2, 0), "{pushed:#?}");
    assert!(!story.there("old").exists() && story.there("train.log").exists());
    assert_eq!(story.kept("extra").len(), 1, "it is in the trash");
    oracle::assert_equal(&story.work.workspace(), &story.there(""), LEFT_OUT);
}

#[test]
fn a_dry_run_of_watch_lists_changes_and_what_would_stop_it() {
    let story = or_skip!("a_dry_run_of_watch_lists_changes_and_what_would_stop_it", Story::begin());
    let line = format!("sync watch --dry-run --to {} --yes", story.there("").display());
    let planned: SyncStatus = story.run(&line).json();
    assert!(planned.changes.iter().any(|change| change.path == "app.py"), "{planned:#?}");
    story.push();
    for entry in fs::read_dir(story.work.workspace()).expect("a folder").flatten() {
        let path = entry.path();
        if path.symlink_metadata().expect("it is there").is_dir() {
            fs::remove_dir_all(path).expect("our own folder");
        } else {
            fs::remove_file(path).expect("our own folder");
        }
    }
    let planned: SyncStatus = story.run(&line).json();
    let brake = planned.brake.expect("an emptied workspace would be stopped");
    assert!(brake.removals > 0 && planned.changes.iter().all(|change| change.action == SyncAction::Remove));
    assert!(story.there("app.py").exists());
}

#[test]
fn a_pull_that_is_killed_goes_on_where_it_was() {
    let story = or_skip!("a_pull_that_is_killed_goes_on_where_it_was", Story::begin());
    story.push();
    let (small, big) = (40, 8_000_000);
    for number in 0..small {
        write(&story.there(&format!("build/a{number:02}.bin")), noise(number, 20_000));
    }
    write(&story.there("build/z-big.bin"), noise(99, big));
    story.wire.after(Way::Down, 4_000_000, Fault::Stall);
    let mut child = cli::command(&story.work, &["sync", "pull", "build/", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started");
    let id = i32::try_from(child.id()).expect("a process id");
    let home = || (0..small).filter(|number| story.here(&format!("build/a{number:02}.bin")).exists()).count() as u64;
    // The last ones may be on their way together with the big one.
    wait_until("most of the small files to come home", LONG, || home() >= small - 10);
    // Else it would stall whoever comes next.
    wait_until("the wire to stall", LONG, || story.wire.is_stalled());
    let memory = process::resident(id).expect("it lives");
    assert!(memory < 100_000_000, "{memory} bytes of memory");
    assert!(!story.here("build/z-big.bin").exists(), "no half file has its name");
    assert!(process::kill(id), "it lived until then");
    child.wait().expect("it was ours");
    let came = home();
    assert!(story.here(".mltoolbox-pull").exists(), "what it had of the big one");
    story.wire.cut();
    story.wire.resume();
    let brought = pull(&story, "build/");
    let missing = small - came;
    assert_eq!(
        (brought.files, brought.bytes),
        (missing + 1, missing * 20_000 + big as u64),
        "only what was not home travels: {brought:#?}"
    );
    assert!(!story.here(".mltoolbox-pull").exists());
    oracle::assert_equal(&story.here("build"), &story.there("build"), &[]);
    // A connection that is lost on the way is made again, and what came before counts once.
    write(&story.there("build/z-big.bin"), noise(100, big));
    for number in 0..small {
        write(&story.there(&format!("build/a{number:02}.bin")), noise(200 + number, 20_000));
    }
    story.wire.after(Way::Down, 4_000_000, Fault::Cut);
    let before = story.wire.bytes(Way::Down);
    let brought = pull(&story, "build/");
    assert_eq!((brought.files, brought.problems.len()), (small + 1, 0), "{brought:#?}");
    let wanted = small * 20_000 + big as u64;
    assert_eq!((brought.bytes, brought.changes.len() as u64), (wanted, small + 1));
    let came = story.wire.bytes(Way::Down) - before;
    assert!(came < wanted + 3_000_000, "{came} bytes came: what had come before the cut came again");
    oracle::assert_equal(&story.here("build"), &story.there("build"), &[]);
}

/// Extras of every odd kind: what may go goes, what has to stay stays and is said.
#[test]
fn odd_extras_go_or_stay_and_are_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let story = or_skip!("odd_extras_go_or_stay_and_are_named", Story::begin());
    story.push();
    let outside = story.host.home().join("outside");
    write(&outside.join("safe.txt"), "theirs");
    // A folder that holds something ignored stays with it; a link goes, and not what it leads to.
    write(&story.there("old/module.py"), "extra");
    write(&story.there("old/train.log"), "ignored");
    std::os::unix::fs::symlink(&outside, story.there("away")).expect("our own folder");
    std::os::unix::fs::symlink("nowhere", story.there("dangling")).expect("our own folder");
    write(&story.there("two\nlines\u{1b}[31m.txt"), "odd name");
    write(&story.there("-rf"), "odd name");
    fs::create_dir_all(story.there("none/in/it")).expect("our own folder");
    write(&story.there("locked/f.txt"), "read-only");
    let lock = |mode| fs::set_permissions(story.there("locked"), fs::Permissions::from_mode(mode));
    lock(0o555).expect("our own folder");
    let line = format!("sync push --mirror --to {}", story.there("").display());
    let refused = error(&story.run(&line));
    assert_eq!(refused.code, Code::QuestionUnanswered, "without a terminal nobody can be asked");
    assert!(!refused.message.contains('\u{1b}'), "nothing of the remote rules the terminal: {refused:#?}");
    assert!(story.there("old/module.py").exists() && story.there("dangling").symlink_metadata().is_ok());
    let pushed: SyncPushOutput = story.run(&format!("{line} --yes")).json();
    // As root it is gone with what was in it.
    lock(0o755).ok();
    let kept: Vec<&str> = pushed.kept.iter().map(|kept| kept.path.as_str()).collect();
    assert!(kept.contains(&"old") && !story.there("old/module.py").exists(), "{pushed:#?}");
    assert!(story.there("old/train.log").exists(), "what is ignored is nobody's extra");
    assert!(
        ["away", "dangling", "two\nlines\u{1b}[31m.txt", "-rf", "none"]
            .iter()
            .all(|name| story.there(name).symlink_metadata().is_err()),
        "{pushed:#?}"
    );
    assert_eq!(fs::read_to_string(outside.join("safe.txt")).expect("it is there"), "theirs");
    // root may write to a locked folder; others are told why it stays.
    if story.there("locked/f.txt").exists() {
        assert!(kept.contains(&"locked/f.txt") && kept.contains(&"locked"), "{pushed:#?}");
    }
    let again: SyncPushOutput = story.run(&format!("{line} --yes --dry-run")).json();
    assert!(again.removed <= 3, "only what had to stay is left: {again:#?}");
}
