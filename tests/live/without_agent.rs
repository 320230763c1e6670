//! Machines that can run no agent: a home that is mounted `noexec`, a system that nobody builds for, a person who wants
//! none. The sync goes over OpenSSH's SFTP server, and everything else is as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use harness::host::Options;
use harness::limits::NoExec;
use harness::or_skip;
use harness::oracle;
use harness::skip::Reason;
use harness::work::Work;
use protocol::editor::{
    DoctorOutput, RemoteRow, RemoteTestOutput, SyncConflictsOutput, SyncPullOutput, SyncPushOutput, SyncState,
    SyncStatus,
};

use crate::story::{LEFT_OUT, Story};

/// Begins a story on a machine whose `uname` names a system that nobody builds for.
fn foreign() -> Result<(Work, Story), Reason> {
    let programs = Work::new();
    let uname = programs.path().join("uname");
    fs::write(&uname, "#!/bin/sh\ncase \"$1\" in -m) echo pdp11 ;; *) echo Plan9 ;; esac\n").expect("our own folder");
    fs::set_permissions(&uname, fs::Permissions::from_mode(0o755)).expect("our own file");
    let path = std::env::var("PATH").expect("a path");
    let config = format!("SetEnv PATH={}:{path}", programs.path().display());
    let story = Story::with(&Options { config, ..Options::default() })?;
    Ok((programs, story))
}

#[test]
fn a_home_that_runs_no_program_is_synced_over_sftp() {
    let test = "a_home_that_runs_no_program_is_synced_over_sftp";
    let story = match Story::begin() {
        Ok(story) => story,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    let _mounted = or_skip!("a_home_that_runs_no_program_is_synced_over_sftp", NoExec::mount(&story.host.home()));
    let status = story.watch();
    assert_eq!(status.state, SyncState::Synced, "{status:#?}");
    assert!(status.limits.iter().any(|limit| limit.contains("SFTP")), "{status:#?}");
    story.assert_equal();

    // Saves, deletions and renames follow.
    story.save("app.py", "print('saved')\n");
    story.wait_for("app.py", "print('saved')\n");
    fs::remove_file(story.here("src/deep/er/module.py")).expect("our own folder");
    fs::rename(story.here("run.sh"), story.here("walk.sh")).expect("our own folder");
    story.settle();
    assert_eq!(story.kept("x = 1\n").len(), 1, "the deleted file is in the trash");
    assert_eq!(story.kept("print('hello')\n").len(), 1, "so is the replaced one");

    // The rest is unaffected.
    let ran = story.run("exec --host -- sh -c pwd");
    assert_eq!(ran.code, 0, "{}", ran.text());
    let tested: RemoteTestOutput = story.run("remote test box").json();
    assert!(tested.limits.iter().any(|limit| limit.contains("noexec")), "{tested:#?}");
    let doctor: DoctorOutput = story.run("doctor").json();
    assert!(doctor.checks.iter().any(|check| check.name.contains("box") && check.error.is_none()), "{doctor:#?}");
    let refused = story.run("agent install --yes");
    assert_ne!(refused.code, 0);
    assert!(refused.text().contains("noexec"), "{}", refused.text());

    // Both sides change: a conflict until somebody decides.
    story.run("sync stop");
    story.save("app.py", "mine\n");
    fs::write(story.there("app.py"), "theirs\n").expect("the test's own host");
    fs::write(story.there("model.ckpt"), "only here").expect("the test's own host");
    story.run(&format!("sync push --to {} --yes", story.there("").display()));
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "theirs\n");
    let listed: SyncConflictsOutput = story.run("sync conflicts").json();
    assert_eq!(listed.conflicts.iter().map(|conflict| conflict.path.as_str()).collect::<Vec<_>>(), ["app.py"]);
    assert_eq!(story.run("sync resolve app.py --take local").code, 0);
    story.push();
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "mine\n");
    assert_eq!(story.kept("theirs\n").len(), 1, "the loser is kept");
    assert_eq!(fs::read_to_string(story.there("model.ckpt")).expect("still there"), "only here");

    // An emptied workspace brakes.
    let before = oracle::canary(&story.there(""));
    let away = story.work.path().join("away");
    fs::create_dir(&away).expect("our own folder");
    for entry in fs::read_dir(story.work.workspace()).expect("our own folder").flatten() {
        fs::rename(entry.path(), away.join(entry.file_name())).expect("our own folder");
    }
    let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
    assert_ne!(ran.code, 0, "{}", ran.text());
    assert!(ran.text().contains("sync.brake"), "{}", ran.text());
    assert_eq!(oracle::canary(&story.there("")), before);
    story.run("sync stop");
}

#[test]
fn random_edits_on_a_foreign_platform_are_equal_after_every_flush() {
    let test = "random_edits_on_a_foreign_platform_are_equal_after_every_flush";
    let (_programs, story) = match foreign() {
        Ok(begun) => begun,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    let status = story.watch();
    assert!(!status.limits.is_empty(), "{status:#?}");
    let refused = story.run("agent install --yes");
    assert!(refused.text().contains("agent.platform") && refused.text().contains("Plan9"), "{}", refused.text());
    let rounds = if harness::skip::soak() { 300 } else { 15 };
    let mut editor = harness::edits::Editor::new(&story.work.workspace(), 20_261_121);
    for round in 0..rounds {
        let done = editor.some(1 + round % 9);
        let ran = story.run("sync flush");
        let flushed: SyncStatus = if ran.text().contains("sync.brake") {
            assert_eq!(story.run("sync approve").code, 0, "round {round}");
            story.run("sync flush").json()
        } else {
            ran.json()
        };
        let differences = oracle::differences(&story.work.workspace(), &story.there(""), LEFT_OUT);
        assert_eq!(differences, [] as [String; 0], "round {round}: {done:#?}\n{flushed:#?}");
    }
    assert!(!story.host.home().join(".mltoolbox").exists(), "nothing was installed");
    story.run("sync stop");
}

#[test]
fn a_person_who_wants_no_agent_is_not_asked_again() {
    let story = or_skip!("a_person_who_wants_no_agent_is_not_asked_again", Story::begin());
    let (key, port) = (story.host.key().display().to_string(), story.wire.port());
    let user = harness::host::Host::user();
    let line =
        format!("remote add box --host 127.0.0.1 --port {port} --user {user} --key {key} --accept-new --no-agent");
    let row: RemoteRow = story.run(&line).json();
    assert!(row.no_agent.is_some(), "{row:#?}");
    // Without `--yes`: there is no question.
    let first: SyncPushOutput = story.run(&format!("sync push --to {}", story.there("").display())).json();
    assert_eq!(first.status.state, SyncState::Synced, "{first:#?}");
    story.assert_equal();
    let again = story.push();
    assert_eq!((again.files, again.removed), (0, 0), "nothing changed, nothing travels");
    assert!(!story.host.home().join(".mltoolbox").exists(), "nothing was installed");
    // An agent that is installed after all takes over, and knows the copy for what it is.
    assert_eq!(story.run("agent install --yes").code, 0);
    story.save("app.py", "print('by the agent')\n");
    let taken = story.push();
    assert_eq!((taken.files, taken.removed, taken.status.limits.len()), (1, 0, 0), "{taken:#?}");
    story.assert_equal();
}

#[test]
fn a_link_that_is_cut_anywhere_leaves_whole_files() {
    let test = "a_link_that_is_cut_anywhere_leaves_whole_files";
    let (_programs, story) = match foreign() {
        Ok(begun) => begun,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    let big = "0123456789abcdef\n".repeat(100_000);
    story.save("big.txt", &big);
    for offset in [5_000, 12_000, 50_000, 500_000, 1_500_000] {
        story.wire.after(harness::proxy::Way::Up, offset, harness::proxy::Fault::Cut);
        // Whether this one gets through depends on where the cut was; the last one has to.
        story.run(&format!("sync push --to {} --yes", story.there("").display()));
        let seen = fs::read_to_string(story.there("big.txt")).unwrap_or_default();
        assert!(seen.is_empty() || seen == big, "a name showed half a file after {offset} bytes");
    }
    story.push();
    story.assert_equal();
}

#[test]
fn results_come_home_without_an_agent() {
    let test = "results_come_home_without_an_agent";
    let (_programs, story) = match foreign() {
        Ok(begun) => begun,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    story.save(".gitignore", "*.log\nbuild/\n");
    story.push();
    fs::create_dir_all(story.there("build/epoch-1")).expect("the test's own host");
    fs::write(story.there("build/epoch-1/model.pt"), "0123456789".repeat(100_000)).expect("the test's own host");
    fs::write(story.there("build/last.pt"), "weights").expect("the test's own host");
    std::os::unix::fs::symlink("epoch-1", story.there("build/latest")).expect("the test's own host");
    fs::write(story.there("app.py"), "print('tuned there')\n").expect("the test's own host");
    fs::write(story.there("metrics.csv"), "epoch,loss\n").expect("the test's own host");
    let brought: SyncPullOutput = story.run("sync pull").json();
    assert_eq!((brought.files, brought.conflicts), (2, 0), "{brought:#?}");
    story.assert_equal();
    let brought: SyncPullOutput = story.run("sync pull build/").json();
    assert_eq!((brought.files, brought.problems.len()), (2, 0), "{brought:#?}");
    oracle::assert_equal(&story.here("build"), &story.there("build"), &[]);
    let again: SyncPullOutput = story.run("sync pull build/").json();
    assert_eq!(again.files, 0, "{again:#?}");
    // In a conflict nothing is touched.
    story.save("app.py", "ours\n");
    fs::write(story.there("app.py"), "theirs\n").expect("the test's own host");
    let brought: SyncPullOutput = story.run("sync pull").json();
    assert_eq!((brought.files, brought.conflicts), (0, 1), "{brought:#?}");
    assert_eq!(fs::read_to_string(story.here("app.py")).expect("a file"), "ours\n");
    assert!(!story.host.home().join(".mltoolbox").exists(), "nothing was installed");
}
