//! The background process of a workspace: one, whoever asks; paused, stopped, frozen, started in odd places.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::cli::{self, Ran};
use harness::process::{self, wait_until};
use harness::{or_skip, oracle};
use protocol::editor::{SyncListOutput, SyncState, SyncStatus};
use rustix::process::Signal;

use crate::story::{ARRIVES, Story};

/// Processor seconds that a quiet owner and its agent may use together in [`IDLE`]: one percent.
const IDLE_SECONDS: f64 = 0.05;
/// How long a quiet pair is measured.
const IDLE: std::time::Duration = std::time::Duration::from_secs(5);

fn owners(story: &Story) -> Vec<i32> {
    let is_owner = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"owner")
    };
    process::with_home(&story.work.home()).iter().map(|stat| stat.pid).filter(|pid| is_owner(*pid)).collect()
}

fn in_folder(story: &Story, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = cli::command(&story.work, arguments);
    command.arg("--json").current_dir(folder);
    cli::finish(&mut command)
}

#[test]
fn watches_that_race_end_with_one_owner() {
    let story = or_skip!("watches_that_race_end_with_one_owner", Story::begin());
    let found: Vec<SyncStatus> = std::thread::scope(|scope| {
        let watches: Vec<_> = (0..5).map(|_| scope.spawn(|| story.watch())).collect();
        watches.into_iter().map(|watch| watch.join().expect("no test panics here")).collect()
    });
    let pids: BTreeSet<_> = found.iter().map(|status| status.owner.expect("somebody owns the sync")).collect();
    assert_eq!((pids.len(), owners(&story).len()), (1, 1), "{pids:?}");
    story.settle();
}

#[test]
fn a_pause_is_kept_and_said_until_somebody_resumes() {
    let story = or_skip!("a_pause_is_kept_and_said_until_somebody_resumes", Story::begin());
    let owner = story.watch().owner;
    let status: SyncStatus = story.run("sync pause").json();
    assert_eq!(status.state, SyncState::Paused);
    story.save("app.py", "print('paused')\n");
    wait_until("the save to be noticed", ARRIVES, || story.status().pending > 0);
    let line = format!("sync push --to {} --yes", story.there("").display());
    let refused = story.run(&line);
    assert!(refused.code != 0 && refused.text().contains("sync resume"), "{}", refused.text());
    // The pause outlives the owner; a push on its own does not go past it either.
    let stopped: SyncListOutput = story.run("sync stop").json();
    assert_eq!(stopped.syncs.len(), 1);
    wait_until("the owner to end", ARRIVES, || owners(&story).is_empty());
    let refused = story.run(&line);
    assert!(refused.code != 0 && refused.text().contains("sync resume"), "{}", refused.text());
    let status = story.watch();
    assert_eq!(status.state, SyncState::Paused);
    assert_ne!(status.owner, owner);
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "print('hello')\n");
    assert_ne!(story.run("sync resume").json::<SyncStatus>().state, SyncState::Paused);
    story.wait_for("app.py", "print('paused')\n");
    story.settle();
}

#[test]
fn stop_and_watch_follow_each_other_at_once() {
    let story = or_skip!("stop_and_watch_follow_each_other_at_once", Story::begin());
    for round in 0..5 {
        story.watch();
        story.save("app.py", &format!("print({round})\n"));
        let stopped = story.run("sync stop");
        assert_eq!(stopped.code, 0, "{}", stopped.text());
    }
    story.watch();
    story.settle();
}

#[test]
fn owners_live_in_odd_folders_and_all_end_together() {
    let story = or_skip!("owners_live_in_odd_folders_and_all_end_together", Story::begin());
    let long = vec!["x".repeat(200); 10].join("/");
    let names = ["two words", "üñí 漢字", "line\nbreak", "'q\"u$o`te\\", "--json", long.as_str()];
    for (number, name) in names.iter().enumerate() {
        let folder = story.work.path().join("odd").join(name);
        fs::create_dir_all(&folder).expect("a folder of the test");
        fs::write(folder.join("a.txt"), "1").expect("our own folder");
        let copy = story.host.home().join(format!("odd-{number}"));
        let status: SyncStatus =
            in_folder(&story, &folder, &["sync", "watch", "--yes", "--to", copy.to_str().expect("text")]).json();
        assert_eq!((status.state, Path::new(&status.workspace)), (SyncState::Synced, folder.as_path()));
        fs::write(folder.join("b.txt"), "2").expect("our own folder");
        let flushed: SyncStatus = in_folder(&story, &folder, &["sync", "flush"]).json();
        assert_eq!(flushed.state, SyncState::Synced);
        oracle::assert_equal(&folder, &copy, &[]);
    }
    assert_eq!(owners(&story).len(), names.len());
    let stopped: SyncListOutput = story.run("sync stop --all").json();
    assert_eq!(stopped.syncs.len(), names.len(), "{stopped:#?}");
    wait_until("the owners to end", ARRIVES, || owners(&story).is_empty());

    let folder = story.work.path().join(std::ffi::OsStr::from_bytes(b"not\xfftext"));
    fs::create_dir(&folder).expect("a folder of the test");
    let refused = in_folder(&story, &folder, &["sync", "watch"]);
    assert!(refused.code != 0 && refused.text().contains("UTF-8"), "{}", refused.text());
}

#[test]
fn a_folder_of_sockets_that_others_may_enter_is_refused() {
    let story = or_skip!("a_folder_of_sockets_that_others_may_enter_is_refused", Story::begin());
    let sockets = story.work.path().join("run/mltoolbox");
    fs::create_dir_all(&sockets).expect("a folder of the test");
    let mode = |mode| fs::set_permissions(&sockets, fs::Permissions::from_mode(mode)).expect("our own folder");
    mode(0o777);
    let refused = story.run(&format!("sync watch --to {}", story.there("").display()));
    assert!(refused.code != 0 && refused.text().contains(&sockets.display().to_string()), "{}", refused.text());
    mode(0o700);
    story.watch();
    story.settle();
}

#[test]
fn callers_with_another_runtime_folder_or_none_join_the_same_owner() {
    let story = or_skip!("callers_with_another_runtime_folder_or_none_join_the_same_owner", Story::begin());
    let owner = story.watch().owner;
    let other = story.work.path().join("run-of-another-login");
    fs::create_dir(&other).expect("a folder of the test");
    let copy = story.there("");
    let to = copy.to_str().expect("text");
    let ask = |runtime: Option<&Path>, arguments: &[&str]| {
        let mut command = cli::command(&story.work, arguments);
        command.arg("--json").env_remove("XDG_RUNTIME_DIR");
        command.envs(runtime.map(|folder| ("XDG_RUNTIME_DIR", folder)));
        cli::finish(&mut command)
    };
    for runtime in [Some(other.as_path()), None] {
        for arguments in [&["sync", "status"][..], &["sync", "watch", "--yes", "--to", to]] {
            assert_eq!(ask(runtime, arguments).json::<SyncStatus>().owner, owner, "{runtime:?} {arguments:?}");
        }
        assert_eq!(ask(runtime, &["sync", "list"]).json::<SyncListOutput>().syncs.len(), 1, "{runtime:?}");
    }
    assert_eq!(owners(&story).len(), 1);
    assert_eq!(ask(Some(&other), &["sync", "stop", "--all"]).json::<SyncListOutput>().syncs.len(), 1);
    wait_until("the owner to end", ARRIVES, || owners(&story).is_empty());
}

#[test]
fn a_frozen_owner_is_said_and_not_replaced() {
    let story = or_skip!("a_frozen_owner_is_said_and_not_replaced", Story::begin());
    let owner = story.watch().owner;
    for pid in owners(&story) {
        process::signal(pid, Signal::STOP);
    }
    let refused = story.run("sync status");
    assert!(refused.code != 0 && refused.text().contains("owner.unavailable"), "{}", refused.text());
    for pid in owners(&story) {
        process::signal(pid, Signal::CONT);
    }
    assert_eq!(story.status().owner, owner);
    story.settle();
}

#[test]
fn a_quiet_pair_hardly_uses_the_processor() {
    let story = or_skip!("a_quiet_pair_hardly_uses_the_processor", Story::begin());
    for number in 0..2_000 {
        let folder = story.here(&format!("many/{}", number % 50));
        fs::create_dir_all(&folder).expect("our own folder");
        fs::write(folder.join(format!("{number}.txt")), number.to_string()).expect("our own folder");
    }
    story.watch();
    let flushed = story.run("sync flush --durable");
    assert_eq!(flushed.code, 0, "{}", flushed.text());
    let used = || -> f64 {
        let theirs = process::with_home(&story.host.home());
        let agents = theirs.iter().filter(|stat| process::name(stat.pid).is_some_and(|name| name.starts_with("mlt")));
        let ours = owners(&story).into_iter().filter_map(process::stat);
        ours.map(|stat| stat.own).chain(agents.map(|stat| stat.own)).sum()
    };
    // Once everything has settled five seconds must be quiet; a busy machine delays the settling only.
    let begun = std::time::Instant::now();
    let mut least = f64::MAX;
    while least > IDLE_SECONDS {
        assert!(begun.elapsed() < ARRIVES, "{least} s of processor time in {IDLE:?} of quiet");
        let before = used();
        std::thread::sleep(IDLE);
        least = least.min(used() - before);
    }
}
