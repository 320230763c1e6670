//! One-way sync over a real SSH server: what arrives, what stays, what is asked for.

use std::fs;
use std::process::Stdio;

use harness::or_skip;
use harness::oracle;
use protocol::editor::{SyncConflictsOutput, SyncListOutput, SyncPushOutput, SyncState, SyncStatus};

use crate::story::{LEFT_OUT, Story};

#[test]
fn a_push_makes_the_copy_equal_and_leaves_out_what_is_ignored() {
    let story = or_skip!("a_push_makes_the_copy_equal_and_leaves_out_what_is_ignored", Story::begin());
    let pushed = story.push();
    assert_eq!(pushed.status.state, SyncState::Synced);
    story.assert_equal();
    assert!(!story.there("noise.log").exists());
    let again = story.push();
    assert_eq!((again.files, again.removed), (0, 0), "nothing changed, nothing travels");
}

#[test]
fn a_dry_run_says_all_and_does_nothing() {
    let story = or_skip!("a_dry_run_says_all_and_does_nothing", Story::begin());
    let line = format!("sync push --dry-run --to {} --yes", story.there("").display());
    let planned: SyncPushOutput = story.run(&line).json();
    assert!(planned.dry_run);
    assert!(planned.changes.iter().any(|change| change.path == "app.py"), "{planned:#?}");
    assert!(!story.there("").exists());
    story.push();
    let other = story.host.home().join("other");
    let line = format!("sync push --dry-run --exclude src/ --include *.log --to {} --yes", other.display());
    let planned: SyncPushOutput = story.run(&line).json();
    assert!(!planned.changes.iter().any(|change| change.path.starts_with("src")), "{planned:#?}");
    let planned: SyncStatus = story.run(&line.replace("push", "watch")).json();
    assert_eq!(planned.synced, 0, "{planned:#?}");
    story.save("src/new.py", "y = 2\n");
    let pushed: SyncPushOutput = story.run("sync push --yes").json();
    assert_eq!((pushed.files, pushed.removed), (1, 0), "the folder, the patterns and the base are as before");
    assert!(!other.exists());
    story.assert_equal();
}

#[test]
fn a_folder_that_is_refused_replaces_no_other() {
    let story = or_skip!("a_folder_that_is_refused_replaces_no_other", Story::begin());
    story.push();
    fs::remove_file(story.here("run.sh")).expect("our own folder");
    for line in ["sync push --yes --to ~", "sync watch --yes --to ~"] {
        let refused = story.run(line);
        assert_ne!(refused.code, 0, "{}", refused.text());
    }
    let pushed: SyncPushOutput = story.run("sync push --yes").json();
    assert_eq!((pushed.files, pushed.removed), (0, 1), "the base is kept: {pushed:#?}");
    story.assert_equal();
    let other = story.host.home().join("other");
    let line = format!("sync push --yes --to {}", other.display());
    story.run(&line).json::<SyncPushOutput>();
    oracle::assert_equal(&story.work.workspace(), &other, LEFT_OUT);
    let again: SyncPushOutput = story.run("sync push --yes").json();
    assert_eq!((again.status.remote_dir, again.files), (other.display().to_string(), 0), "the new one is kept");
}

#[test]
fn settings_of_a_running_sync_are_refused_by_push_and_taken_by_watch() {
    let story = match Story::begin() {
        Ok(story) => story,
        Err(reason) => {
            return harness::skip::skip("settings_of_a_running_sync_are_refused_by_push_and_taken_by_watch", &reason);
        }
    };
    story.watch();
    let other = story.host.home().join("other");
    for flags in ["--exclude *.tmp".to_owned(), format!("--to {}", other.display())] {
        let refused = story.run(&format!("sync push --yes {flags}"));
        assert_ne!(refused.code, 0, "{}", refused.text());
        assert!(refused.text().contains("sync stop"), "{}", refused.text());
    }
    let same: SyncPushOutput = story.run(&format!("sync push --yes --to {}", story.there("").display())).json();
    assert_eq!(same.files, 0);
    let anew: SyncStatus = story.run("sync watch --yes --exclude *.tmp").json();
    assert_eq!(anew.state, SyncState::Synced, "{anew:#?}");
    story.save("left.tmp", "left out");
    story.save("app.py", "print('anew')\n");
    story.wait_for("app.py", "print('anew')\n");
    story.run("sync flush").json::<SyncStatus>();
    assert!(!story.there("left.tmp").exists());
    story.run("sync watch --yes --exclude=").json::<SyncStatus>();
    story.settle();
    let moved: SyncStatus = story.run(&format!("sync watch --yes --to {}", other.display())).json();
    assert_eq!((moved.state, moved.remote_dir), (SyncState::Synced, other.display().to_string()));
    oracle::assert_equal(&story.work.workspace(), &other, LEFT_OUT);
    assert!(story.there("left.tmp").exists(), "what stood in the old folder stays");
}

#[test]
fn a_pattern_that_cannot_be_read_is_refused_before_anything_travels() {
    let story = match Story::begin() {
        Ok(story) => story,
        Err(reason) => {
            return harness::skip::skip("a_pattern_that_cannot_be_read_is_refused_before_anything_travels", &reason);
        }
    };
    for flag in ["--exclude", "--include"] {
        let line = format!("sync push --yes {flag} [z-a] --to {}", story.there("").display());
        let refused = story.run(&line).text();
        assert!(refused.contains("params.invalid") && refused.contains("`[z-a]`"), "{refused}");
    }
    assert!(!story.there("").exists());
}

#[test]
fn files_of_the_remote_are_never_touched_and_deleted_ones_go_to_the_trash() {
    let test = "files_of_the_remote_are_never_touched_and_deleted_ones_go_to_the_trash";
    let story = match Story::begin() {
        Ok(story) => story,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    story.push();
    fs::write(story.there("model.ckpt"), "only here").expect("the test's own host");
    fs::remove_file(story.here("src/deep/er/module.py")).expect("our own folder");
    let pushed = story.push();
    assert_eq!(pushed.removed, 1, "{pushed:#?}");
    assert!(!story.there("src/deep/er/module.py").exists());
    assert_eq!(fs::read_to_string(story.there("model.ckpt")).expect("still there"), "only here");
    assert_eq!(story.kept("x = 1\n").len(), 1, "the deleted file is in the trash");
}

#[test]
fn a_file_that_changed_on_both_sides_is_a_conflict_until_somebody_decides() {
    let story = or_skip!("a_file_that_changed_on_both_sides_is_a_conflict_until_somebody_decides", Story::begin());
    story.push();
    story.save("app.py", "mine\n");
    fs::write(story.there("app.py"), "theirs\n").expect("the test's own host");
    story.run(&format!("sync push --to {} --yes", story.there("").display()));
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "theirs\n");
    story.save("later.py", "z = 3\n");
    let listed: SyncConflictsOutput = story.run("sync conflicts").json();
    assert!(!story.there("later.py").exists(), "a list changes nothing");
    assert_eq!(listed.conflicts.iter().map(|conflict| conflict.path.as_str()).collect::<Vec<_>>(), ["app.py"]);
    assert_eq!(story.run("sync resolve app.py --take local").code, 0);
    story.push();
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "mine\n");
    assert_eq!(story.kept("theirs\n").len(), 1, "the loser is kept");
}

#[test]
fn an_emptied_workspace_halts_until_it_is_approved() {
    let story = or_skip!("an_emptied_workspace_halts_until_it_is_approved", Story::begin());
    story.push();
    let before = oracle::canary(&story.there(""));
    for entry in fs::read_dir(story.work.workspace()).expect("our own folder").flatten() {
        let path = entry.path();
        let removed = if entry.file_type().expect("an entry").is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        removed.expect("our own folder");
    }
    // `--yes` answers questions; a brake is not one.
    let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
    assert_ne!(ran.code, 0, "{}", ran.text());
    assert_eq!(oracle::canary(&story.there("")), before);
}

#[test]
fn saves_arrive_while_the_owner_watches() {
    let story = or_skip!("saves_arrive_while_the_owner_watches", Story::begin());
    let status = story.watch();
    assert_eq!(status.state, SyncState::Synced);
    assert!(status.owner.is_some(), "{status:#?}");
    for version in 0..20 {
        story.save("app.py", &format!("print({version})\n"));
    }
    story.wait_for("app.py", "print(19)\n");
    fs::rename(story.here("src"), story.here("lib")).expect("our own folder");
    fs::create_dir_all(story.here("build")).expect("our own folder");
    story.save("build/out.o", "not synced");
    story.settle();
    assert_eq!(oracle::differences(&story.work.workspace(), &story.there(""), LEFT_OUT), Vec::<String>::new());
    let stopped = story.run("sync stop");
    assert_eq!(stopped.code, 0, "{}", stopped.text());
    let status: SyncStatus = story.status();
    assert_eq!((status.state, status.owner), (SyncState::Stopped, None));
}

#[test]
fn the_list_tells_of_every_owner_and_stop_all_ends_them() {
    let story = or_skip!("the_list_tells_of_every_owner_and_stop_all_ends_them", Story::begin());
    let other = story.work.path().join("other");
    fs::create_dir(&other).expect("our own folder");
    fs::write(other.join("file"), "1").expect("our own folder");
    story.watch();
    let line = format!("sync watch {} --yes", other.display());
    let watched: SyncStatus = story.run(&line).json();
    assert_eq!(watched.state, SyncState::Synced);

    let listed: SyncListOutput = story.run("sync list").json();
    let states: Vec<_> = listed.syncs.iter().map(|sync| (sync.state, sync.owner.is_some())).collect();
    assert_eq!(states, [(SyncState::Synced, true); 2], "{listed:#?}");

    let stopped: SyncListOutput = story.run("sync stop --all").json();
    let mut folders: Vec<_> = stopped.syncs.into_iter().map(|sync| sync.workspace).collect();
    folders.sort();
    let expected = [&other, &story.work.workspace()].map(|path| path.display().to_string());
    assert_eq!(folders, expected);
    let listed: SyncListOutput = story.run("sync list").json();
    assert!(listed.syncs.iter().all(|sync| sync.state == SyncState::Stopped), "{listed:#?}");
}

#[test]
fn a_watch_in_the_foreground_goes_on_with_new_settings() {
    let story = or_skip!("a_watch_in_the_foreground_goes_on_with_new_settings", Story::begin());
    let there = story.there("");
    let line = ["sync", "watch", "--foreground", "--yes", "--to", there.to_str().expect("a path of ours")];
    let mut command = harness::cli::command(&story.work, &line);
    let mut watching = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the sidecar starts");
    story.wait_for("app.py", "print('hello')\n");
    let anew: SyncStatus = story.run("sync watch --yes --exclude *.tmp").json();
    assert_eq!((anew.state, anew.owner), (SyncState::Synced, Some(watching.id())), "{anew:#?}");
    story.save("left.tmp", "left out");
    story.save("app.py", "print('anew')\n");
    story.wait_for("app.py", "print('anew')\n");
    assert!(!story.there("left.tmp").exists());
    assert_eq!(story.run("sync stop").code, 0);
    assert!(watching.wait().expect("our own child").success());
}
