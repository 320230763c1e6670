//! A repository that travels as one unit, with the real git on both sides.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::process::wait_until;
use harness::{cli, or_skip};
use protocol::editor::{
    ContainerExecOutput, RemoteRow, SyncConflictsOutput, SyncPushOutput, SyncResolveOutput, SyncState, SyncStatus,
};
use protocol::error::{Code, Error};

use crate::story::{ARRIVES, Story};

/// Runs git in a folder and returns what it said.
#[track_caller]
fn git(folder: &Path, line: &[&str]) -> String {
    let (worked, text) = try_git(folder, line);
    assert!(worked, "git {line:?}: {text}");
    text
}

fn try_git(folder: &Path, line: &[&str]) -> (bool, String) {
    let ran = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "gc.auto=0"])
        .args(line)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CEILING_DIRECTORIES", folder.parent().expect("it is in a folder"))
        .output()
        .expect("git can be started");
    let text = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn begin() -> Result<Story, harness::skip::Reason> {
    harness::skip::live(&["git"])?;
    let story = Story::begin()?;
    let here = story.work.workspace();
    git(&here, &["init", "-q", "-b", "main"]);
    git(&here, &["add", "."]);
    git(&here, &["commit", "-q", "-m", "first"]);
    Ok(story)
}

#[track_caller]
fn push(story: &Story) -> SyncPushOutput {
    story.run(&format!("sync push --git push --to {} --yes", story.there("").display())).json()
}

/// Fails when the two repositories do not say the same, or the remote's is not whole.
#[track_caller]
fn assert_same(story: &Story) {
    let (here, there) = (story.work.workspace(), story.there(""));
    for line in [
        &["log", "--all", "--format=%H %D %s"][..],
        &["status", "--porcelain=v2", "--branch"],
        &["symbolic-ref", "-q", "HEAD"],
        &["stash", "list"],
        &["reflog"],
    ] {
        assert_eq!(git(&there, line), git(&here, line), "git {line:?}");
    }
    assert_whole(&there);
}

#[track_caller]
fn assert_whole(there: &Path) {
    let said = git(there, &["fsck", "--full", "--strict", "--no-dangling"]);
    assert!(!said.contains("error") && !said.contains("missing") && !said.contains("broken"), "{said}");
}

#[test]
fn what_git_does_here_is_done_there() {
    let story = or_skip!("what_git_does_here_is_done_there", begin());
    let here = story.work.workspace();
    assert!(story.push().status.problems.is_empty());
    assert!(!story.there(".git").exists(), "nobody asked for it");
    push(&story);
    assert_same(&story);
    assert_eq!(push(&story).files, 0, "nothing new");

    story.save("app.py", "print('two')\n");
    git(&here, &["commit", "-q", "-am", "second"]);
    git(&here, &["checkout", "-q", "-b", "feature/one"]);
    story.save("more.py", "1\n");
    git(&here, &["add", "."]);
    git(&here, &["commit", "-q", "-m", "third"]);
    git(&here, &["tag", "-a", "v1", "-m", "one"]);
    let pushed = push(&story);
    assert_eq!(pushed.status.conflicts, 0, "{pushed:#?}");
    assert_same(&story);

    git(&here, &["commit", "-q", "--amend", "-m", "third, again"]);
    git(&here, &["checkout", "-q", "main"]);
    git(&here, &["gc", "-q", "--prune=now"]);
    push(&story);
    assert_same(&story);

    story.save("other.py", "2\n");
    git(&here, &["add", "."]);
    git(&here, &["commit", "-q", "-m", "fourth"]);
    git(&here, &["rebase", "-q", "main", "feature/one"]);
    git(&here, &["branch", "-q", "-m", "feature/one", "feature"]);
    story.save("app.py", "print('unfinished')\n");
    git(&here, &["stash", "-q"]);
    git(&here, &["checkout", "-q", "main"]);
    git(&here, &["branch", "-q", "-D", "feature"]);
    push(&story);
    assert_same(&story);
    assert!(!story.there(".git/refs/heads/feature").exists());

    // Another clone of the remote's gets all of it.
    let clone = story.host.home().join("clone");
    git(&story.host.home(), &["clone", "-q", &story.there("").to_string_lossy(), &clone.to_string_lossy()]);
    assert_eq!(git(&clone, &["rev-parse", "HEAD"]), git(&here, &["rev-parse", "HEAD"]));

    let off: SyncPushOutput =
        story.run(&format!("sync push --git off --to {} --yes", story.there("").display())).json();
    assert_eq!((off.removed, off.status.conflicts), (0, 0), "{off:#?}");
    story.save("app.py", "print('three')\n");
    git(&here, &["commit", "-q", "-am", "only here"]);
    story.push();
    assert_ne!(git(&story.there(""), &["rev-parse", "HEAD"]), git(&here, &["rev-parse", "HEAD"]));
    assert_whole(&story.there(""));
}

#[test]
fn a_remote_that_was_changed_is_one_conflict() {
    let story = or_skip!("a_remote_that_was_changed_is_one_conflict", begin());
    let (here, there) = (story.work.workspace(), story.there(""));
    push(&story);
    // Looking at it there is no change, though git writes its index anew.
    let index = fs::read(there.join(".git/index")).expect("an index");
    git(&there, &["status"]);
    git(&there, &["update-index", "--really-refresh", "-q"]);
    assert_ne!(fs::read(there.join(".git/index")).expect("an index"), index, "the times were written");
    let pushed = push(&story);
    assert_eq!((pushed.files, pushed.status.conflicts, pushed.status.drift.len()), (0, 0, 0), "{pushed:#?}");
    story.save("app.py", "print('two')\n");
    git(&here, &["commit", "-q", "-am", "second"]);
    git(&there, &["status"]);
    assert_eq!(push(&story).status.conflicts, 0);
    assert_same(&story);

    // Here all branches are packed, so that a branch of the remote's own would only hide them.
    git(&here, &["pack-refs", "--all"]);
    push(&story);
    assert_same(&story);
    fs::write(there.join("theirs.txt"), "theirs\n").expect("our own host");
    git(&there, &["add", "theirs.txt"]);
    git(&there, &["commit", "-q", "-m", "theirs"]);
    let theirs = git(&there, &["rev-parse", "HEAD"]);
    story.save("app.py", "print('ours')\n");
    git(&here, &["commit", "-q", "-am", "ours"]);
    let pushed = push(&story);
    assert_eq!(pushed.status.conflicts, 1, "{pushed:#?}");
    assert_eq!(git(&there, &["rev-parse", "HEAD"]), theirs, "nothing is overwritten");
    story.wait_for("app.py", "print('ours')\n");
    let listed: SyncConflictsOutput = story.run("sync conflicts").json();
    let paths: Vec<&str> = listed.conflicts.iter().map(|conflict| conflict.path.as_str()).collect();
    assert_eq!(paths, [".git"], "{listed:#?}");
    assert!(listed.conflicts[0].remote.contains("refs/heads/main"), "{listed:#?}");

    let refused = story.run("sync resolve .git --take remote");
    assert_ne!(refused.code, 0);
    let value: serde_json::Value = serde_json::from_str(&refused.stdout).expect("it is JSON");
    let error: Error = serde_json::from_value(value["error"].clone()).expect("it is an error");
    assert_eq!(error.code, Code::SyncConflict);
    assert!(
        error.help.contains("git fetch ssh://")
            && error.help.contains("GIT_SSH_COMMAND=")
            && error.help.contains(there.to_string_lossy().trim_end_matches('/')),
        "{error:#?}"
    );
    let resolved: SyncResolveOutput = story.run("sync resolve .git --take local").json();
    assert_eq!((resolved.resolved, resolved.left), (vec![".git".to_owned()], 0));
    let pushed = push(&story);
    assert_eq!(pushed.status.conflicts, 0, "{pushed:#?}");
    assert_eq!(git(&there, &["rev-parse", "HEAD"]), git(&here, &["rev-parse", "HEAD"]));
    assert_whole(&there);
    assert!(!story.kept(&theirs).is_empty(), "their branch is in the trash");
    git(&there, &["cat-file", "-e", theirs.trim()]);
}

#[test]
fn a_repository_goes_over_sftp_as_well() {
    let story = or_skip!("a_repository_goes_over_sftp_as_well", begin());
    let here = story.work.workspace();
    let (key, port, user) = (story.host.key().display().to_string(), story.wire.port(), harness::host::Host::user());
    story
        .run(&format!(
            "remote add box --host 127.0.0.1 --port {port} --user {user} --key {key} --accept-new --no-agent"
        ))
        .json::<RemoteRow>();
    push(&story);
    assert_same(&story);
    story.save("app.py", "print('two')\n");
    git(&here, &["commit", "-q", "-am", "second"]);
    git(&here, &["gc", "-q"]);
    git(&story.there(""), &["status"]);
    assert_eq!(push(&story).status.conflicts, 0);
    assert_same(&story);
    assert!(!story.host.home().join(".mltoolbox").exists(), "nothing was installed");
    git(&story.there(""), &["commit", "-q", "--allow-empty", "-m", "theirs"]);
    let theirs = git(&story.there(""), &["rev-parse", "HEAD"]);
    story.save("app.py", "print('three')\n");
    git(&here, &["commit", "-q", "-am", "third"]);
    assert_eq!(push(&story).status.conflicts, 1);
    assert_eq!(git(&story.there(""), &["rev-parse", "HEAD"]), theirs);
}

#[test]
fn a_watch_waits_for_git_and_says_why() {
    let story = or_skip!("a_watch_waits_for_git_and_says_why", begin());
    let (here, there) = (story.work.workspace(), story.there(""));
    let line = format!("sync watch --git push --to {} --yes", there.display());
    let status: SyncStatus = story.run(&line).json();
    assert_eq!(status.state, SyncState::Synced, "{status:#?}");
    assert_same(&story);
    let head = || try_git(&there, &["rev-parse", "HEAD"]).1;
    let before = head();
    story.save("app.py", "print('two')\n");
    git(&here, &["commit", "-q", "-am", "second"]);
    fs::write(here.join(".git/index.lock"), "").expect("our own folder");
    story.wait_for("app.py", "print('two')\n");
    wait_until("the lock to be named", ARRIVES, || {
        story.status().problems.iter().any(|problem| problem.reason.contains("index.lock"))
    });
    assert_eq!(head(), before, "nothing of a repository in work is sent");
    fs::remove_file(here.join(".git/index.lock")).expect("it is there");
    let ours = git(&here, &["rev-parse", "HEAD"]);
    wait_until("the commit to arrive", ARRIVES, || head() == ours);
    story.run("sync flush").json::<SyncStatus>();
    assert_same(&story);
    assert!(story.status().problems.is_empty(), "{:#?}", story.status());
}

#[test]
fn a_sync_that_is_killed_leaves_a_repository_that_is_whole() {
    let story = or_skip!("a_sync_that_is_killed_leaves_a_repository_that_is_whole", begin());
    let (here, there) = (story.work.workspace(), story.there(""));
    push(&story);
    let to = there.display().to_string();
    let mut state = 7_u64;
    for round in 0..12 {
        for number in 0..6 {
            story.save(&format!("file{number}.py"), &format!("{round} {number}\n"));
            git(&here, &["add", "."]);
            git(&here, &["commit", "-q", "-m", &format!("{round} {number}")]);
        }
        if round % 4 == 3 {
            git(&here, &["gc", "-q", "--prune=now"]);
        }
        let mut child = cli::command(&story.work, &["sync", "push", "--git", "push", "--to", &to, "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The moment is the case: from before the first object to after the last reference.
        let kill_at = Instant::now() + Duration::from_millis(300 + (state >> 33) % 2700);
        wait_until("the moment of the kill", ARRIVES, || {
            Instant::now() > kill_at || child.try_wait().expect("it is ours").is_some()
        });
        // One that has ended by itself is none to kill.
        child.kill().ok();
        child.wait().expect("it was started");
        assert_whole(&there);
        git(&there, &["rev-parse", "HEAD"]);
        git(&there, &["log", "--all", "--oneline"]);
    }
    let pushed = push(&story);
    assert_eq!(pushed.status.conflicts, 0, "{pushed:#?}");
    assert_same(&story);
}

#[test]
fn a_command_that_wants_the_repository_is_told_where_it_is() {
    let story = or_skip!("a_command_that_wants_the_repository_is_told_where_it_is", begin());
    story.push();
    let there = story.there("").display().to_string();
    let words = ["--json", "exec", "--host", "--", "git", "-C", &there, "status"];
    let ran = cli::run(&story.work, &words);
    assert_eq!(ran.code, 128, "its own status comes through");
    let answer: ContainerExecOutput = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert!(answer.note.expect("it is told").contains("--git push"), "{}", ran.text());
    let ran = cli::run(&story.work, &["exec", "--host", "--", "git", "-C", &there, "status"]);
    assert_eq!(ran.code, 128);
    assert!(ran.text().contains("`.git` is not synced"), "{}", ran.text());
    push(&story);
    let ran = cli::run(&story.work, &words[1..]);
    assert_eq!(ran.code, 0, "{}", ran.text());
    assert!(!ran.text().contains("--git push"), "{}", ran.text());
}
