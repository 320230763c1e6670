//! Programs in the agent's place, and people at the remote copy while it is written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::or_skip;
use harness::oracle;
use harness::process::wait_until;
use protocol::editor::{SyncPushOutput, SyncState};

use crate::input::error;
use crate::story::{ARRIVES, Story};

/// Writes a file the way editors do: beside it, then over it.
fn save_in_one_step(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new-version");
    fs::write(&beside, bytes).expect("our own folder");
    fs::rename(&beside, path).expect("our own folder");
}

/// Returns whether all bytes are the same and there are so many of them.
fn is_one_version(bytes: &[u8], lengths: &[usize]) -> bool {
    lengths.contains(&bytes.len()) && bytes.windows(2).all(|pair| pair[0] == pair[1])
}

/// Puts `with` in the place of the SFTP server's command in the host's shell.
fn change_sftp(story: &Story, with: impl Fn(&str) -> String) {
    let shell = story.host.path().join("shell");
    let text = fs::read_to_string(&shell).expect("the test's own host");
    let line = text.lines().find(|line| line.starts_with("internal-sftp)")).expect("a case of its own");
    let server = line.split('\'').nth(1).expect("a quoted path");
    let changed = text.replace(line, &format!("internal-sftp) {} ;;", with(server)));
    fs::write(&shell, changed).expect("the test's own host");
}

#[test]
fn an_sftp_that_starts_in_another_folder_leaves_nothing_there() {
    let story = or_skip!("an_sftp_that_starts_in_another_folder_leaves_nothing_there", Story::begin());
    let start = story.host.path().join("start");
    fs::create_dir(&start).expect("the test's own host");
    change_sftp(&story, |server| format!("exec '{server}' -d '{}'", start.display()));
    story.push();
    assert_eq!(fs::read_dir(&start).expect("the test's own host").count(), 0);
    assert!(!oracle::walk(&story.host.home().join(".mltoolbox/bin")).is_empty());
}

#[test]
fn an_upload_that_the_shell_does_not_find_is_said_in_its_own_words() {
    let story = or_skip!("an_upload_that_the_shell_does_not_find_is_said_in_its_own_words", Story::begin());
    let bin = story.host.home().join(".mltoolbox/bin");
    let (seen, hidden) = (bin.display(), story.host.path().join("hidden"));
    fs::create_dir(&hidden).expect("the test's own host");
    // While SFTP runs, another folder stands where the shell sees its own; commands wait for its end.
    let (there, lock) = (hidden.display(), story.host.path().join("lock"));
    let lock = lock.display();
    change_sftp(&story, |server| {
        format!(
            "exec 9>'{lock}'; flock 9; rmdir '{seen}'; mv '{there}' '{seen}'; '{server}' 9>&-; mv '{seen}' '{there}'; mkdir '{seen}'; exit 0"
        )
    });
    let shell = story.host.path().join("shell");
    let text = fs::read_to_string(&shell).expect("the test's own host");
    let waiting = text.replace("cat '", &format!("flock '{lock}' true\ncat '"));
    assert_ne!(waiting, text);
    fs::write(&shell, waiting).expect("the test's own host");
    let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
    let error = error(&ran);
    assert_eq!(error["code"], "agent.install", "{}", ran.text());
    assert!(error["help"].as_str().is_some_and(|help| help.contains("Subsystem sftp")), "{}", ran.text());
    wait_until("the last SFTP to end", ARRIVES, || hidden.is_dir());
    assert_eq!(fs::read_dir(&hidden).expect("the test's own host").count(), 0, "what was sent stays");
}

#[test]
fn garbage_in_the_agents_place_is_an_error_and_harms_nothing() {
    let story = or_skip!("garbage_in_the_agents_place_is_an_error_and_harms_nothing", Story::begin());
    story.push();
    let before = oracle::canary(&story.work.workspace());
    let there = oracle::canary(&story.there(""));
    let bin = story.host.home().join(".mltoolbox/bin");
    let installed: Vec<_> = oracle::walk(&bin);
    let magic = r"printf '\0MLTBX1\n'";
    for (what, script) in [
        ("noise", "head -c 300000 /dev/urandom".to_owned()),
        ("endless words", "yes all work and no play".to_owned()),
        ("silence", "exit 0".to_owned()),
        ("an error", "echo broken >&2; exit 3".to_owned()),
        ("a huge frame", format!(r"{magic}; printf '\377\377\377\177\001\0\0\0\0\0\0\0\0\0\0\0'; sleep 60")),
        ("an unknown kind", format!(r"{magic}; printf '\0\0\0\0\143\0\0\0\0\0\0\0\0\0\0\0'; sleep 60")),
        ("a hello of noise", format!(r"{magic}; printf '\003\0\0\0\001\0\0\0\0\0\0\0\0\0\0\0abc'; sleep 60")),
    ] {
        assert_eq!(story.run("agent stop").code, 0);
        let kept: Vec<_> = installed.iter().map(|path| (path, fs::read(path).expect("the test's own host"))).collect();
        for (path, _) in &kept {
            fs::remove_file(path).expect("the test's own host");
            fs::write(path, format!("#!/bin/sh\n[ \"$1\" = proxy ] || exit 1\n{script}\n"))
                .expect("the test's own host");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test's own host");
        }
        story.save("noise.log", what);
        let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
        let error = error(&ran);
        assert!(error["code"].as_str().is_some_and(|code| code.starts_with("agent.")), "{what}: {}", ran.text());
        assert!(error["help"].as_str().is_some_and(|help| !help.is_empty()), "{what}: {}", ran.text());
        assert_eq!(oracle::canary(&story.there("")), there, "{what}");
        for (path, bytes) in kept {
            fs::remove_file(path).expect("the test's own host");
            fs::write(path, bytes).expect("the test's own host");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test's own host");
        }
    }
    story.save("noise.log", "not synced\n");
    assert_eq!(oracle::canary(&story.work.workspace()), before);
    story.push();
    story.assert_equal();
}

#[test]
fn files_that_change_while_they_are_read_never_arrive_torn() {
    let story = or_skip!("files_that_change_while_they_are_read_never_arrive_torn", Story::begin());
    let sizes = [("small.txt", 3_000), ("middle.txt", 200_000), ("large.txt", 1_500_000)];
    for (name, size) in sizes {
        save_in_one_step(&story.here(name), &vec![b'a'; size]);
    }
    let (ended, looked) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for version in (b'a'..=b'z').cycle() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                for (name, size) in sizes {
                    save_in_one_step(&story.here(name), &vec![version; size + usize::from(version)]);
                    fs::write(story.here("comes-and-goes.txt"), [version; 10]).expect("our own folder");
                    fs::remove_file(story.here("comes-and-goes.txt")).expect("our own file");
                }
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for (name, size) in sizes {
                    let Ok(bytes) = fs::read(story.there(name)) else { continue };
                    let lengths: Vec<usize> = std::iter::once(size).chain((97..123).map(|add| size + add)).collect();
                    assert!(is_one_version(&bytes, &lengths), "`{name}` is torn: {} bytes", bytes.len());
                    looked.store(true, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..4 {
            story.run(&format!("sync push --to {} --yes", story.there("").display()));
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(looked.load(Ordering::Relaxed), "nothing arrived while it changed");
    story.push();
    story.assert_equal();
}

#[test]
fn what_is_written_there_during_a_push_is_never_lost() {
    let story = or_skip!("what_is_written_there_during_a_push_is_never_lost", Story::begin());
    story.save("other.txt", "0");
    story.push();
    for round in 0..5 {
        let theirs = format!("theirs {round}\n");
        story.save("app.py", &format!("mine {round}\n"));
        story.save("other.txt", &format!("mine too {round}\n"));
        thread::scope(|scope| {
            let pushing = scope.spawn(|| story.run(&format!("sync push --to {} --yes", story.there("").display())));
            let copy = story.there("app.py");
            // The write falls somewhere in the push, another place each round.
            wait_until("the agent to be at work", ARRIVES, || {
                fs::read_to_string(story.there("other.txt")).is_ok_and(|text| text.starts_with("mine too"))
                    || round % 2 == 0
            });
            save_in_one_step(&copy, theirs.as_bytes());
            pushing.join().expect("no panic");
        });
        assert_ne!(story.kept(&theirs), [] as [std::path::PathBuf; 0], "round {round}: it is gone");
        assert_eq!(fs::read_to_string(story.here("app.py")).expect("ours"), format!("mine {round}\n"));
        story.run("sync resolve --all --take local");
        story.push();
        story.assert_without_conflicts();
    }
}

#[test]
fn a_remote_folder_that_was_emptied_or_replaced_costs_nothing_here() {
    let story = or_skip!("a_remote_folder_that_was_emptied_or_replaced_costs_nothing_here", Story::begin());
    let before = oracle::canary(&story.work.workspace());
    for what in ["emptied", "removed", "replaced"] {
        story.push();
        match what {
            "emptied" => {
                for entry in fs::read_dir(story.there("")).expect("the test's own host") {
                    let path = entry.expect("the test's own host").path();
                    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                        .expect("the test's own host");
                }
            }
            "removed" => fs::remove_dir_all(story.there("")).expect("the test's own host"),
            _ => {
                fs::rename(story.there(""), story.host.home().join("old")).expect("the test's own host");
                fs::create_dir(story.there("")).expect("the test's own host");
                fs::write(story.there("app.py"), "theirs\n").expect("the test's own host");
                fs::write(story.there("foreign"), "theirs\n").expect("the test's own host");
            }
        }
        let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
        assert_eq!(oracle::canary(&story.work.workspace()), before, "{what}: {}", ran.text());
        if what == "replaced" {
            assert_eq!(fs::read_to_string(story.there("app.py")).expect("theirs"), "theirs\n", "{}", ran.text());
            assert_eq!(fs::read_to_string(story.there("foreign")).expect("theirs"), "theirs\n");
        } else {
            let pushed: SyncPushOutput = ran.json();
            if what == "emptied" {
                // What others removed there stays removed and is listed, until somebody saves it.
                assert!(pushed.status.drift.contains(&"app.py".to_owned()), "{}", ran.text());
            } else {
                story.assert_equal();
            }
            story.save("app.py", "print('saved again')\n");
            story.push();
            story.save("app.py", "print('hello')\n");
        }
    }
}

#[test]
fn a_workspace_that_is_gone_removes_nothing_and_comes_back() {
    let story = or_skip!("a_workspace_that_is_gone_removes_nothing_and_comes_back", Story::begin());
    story.watch();
    story.settle();
    let there = oracle::canary(&story.there(""));
    let away = story.work.path().join("away");
    fs::rename(story.work.workspace(), &away).expect("our own folder");
    let workspace = story.work.workspace().display().to_string();
    let mut push = story.work.command(harness::binary::sidecar());
    push.current_dir(story.work.path()).args(["sync", "push", &workspace, "--json"]);
    let error = error(&harness::cli::finish(&mut push));
    assert_eq!(error["code"], "workspace.missing");
    assert_eq!(oracle::canary(&story.there("")), there, "something was removed");
    fs::rename(&away, story.work.workspace()).expect("our own folder");
    story.save("app.py", "print('back')\n");
    story.wait_for("app.py", "print('back')\n");
    story.settle();
}

#[test]
fn too_few_watches_mean_that_it_looks_by_itself() {
    let test = "too_few_watches_mean_that_it_looks_by_itself";
    let story = match Story::begin() {
        Ok(story) => story,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    for number in 0..30 {
        fs::create_dir(story.here(&format!("folder-{number}"))).expect("our own folder");
        story.save(&format!("folder-{number}/f"), "1");
    }
    let watch = format!("sync watch --to {} --yes --json", story.there("").display());
    // The limit of a user namespace of its own: nobody else's watches are counted or touched.
    let script = "echo 8 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let mut command = story.work.command("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
    command.arg(harness::binary::sidecar()).args(watch.split_whitespace()).stdin(std::process::Stdio::null());
    let ran = harness::cli::finish(&mut command);
    if ran.stdout.is_empty() {
        let reason = harness::skip::Reason::OtherPlatform("this kernel allows no user namespace here".to_owned());
        return harness::skip::skip(test, &reason);
    }
    assert_eq!(ran.code, 0, "{}", ran.text());
    for number in [0, 29] {
        story.save(&format!("folder-{number}/f"), "saved without a watch\n");
        story.wait_for(&format!("folder-{number}/f"), "saved without a watch\n");
    }
    let status = story.status();
    let said = format!("{status:?}");
    assert!(said.contains("watch"), "nothing says why it is slower: {status:#?}");
    assert_ne!(status.state, SyncState::Stopped);
}

#[test]
fn random_edits_are_equal_after_every_push() {
    let story = or_skip!("random_edits_are_equal_after_every_push", Story::begin());
    story.watch();
    let rounds = if harness::skip::soak() { 1000 } else { 60 };
    let mut editor = harness::edits::Editor::new(&story.work.workspace(), 20_261_120);
    for round in 0..rounds {
        let done = editor.some(1 + round % 9);
        let flushed: protocol::editor::SyncStatus = {
            let ran = story.run("sync flush");
            if ran.text().contains("sync.brake") {
                assert_eq!(story.run("sync approve").code, 0, "round {round}");
                story.run("sync flush").json()
            } else {
                ran.json()
            }
        };
        let differences = oracle::differences(&story.work.workspace(), &story.there(""), crate::story::LEFT_OUT);
        let conflicts = if flushed.conflicts > 0 { story.run("sync conflicts").text() } else { String::new() };
        assert_eq!(differences, [] as [String; 0], "round {round}: {done:#?}\n{flushed:#?}\n{conflicts}");
    }
    let _pushed: SyncPushOutput = story.push();
}
