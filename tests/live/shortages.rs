//! Room, rights, files and descriptors that run out, on either side: what cannot be done waits with its reason, the
//! rest goes on, and everything arrives once there is enough again. Nothing needs a restart.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use harness::limits::SmallDisk;
use harness::process::{self, wait_until};
use harness::{binary, cli, or_skip, skip};
use protocol::editor::SyncState;

use crate::story::{ARRIVES, Story};

/// Limits an owner of a sync, or an agent, that runs: its descriptors, for want of which `EMFILE` comes.
fn limit_files(pid: i32, most: u32) {
    let limit = format!("--nofile={most}:");
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit failed");
}

/// Returns the lowest descriptor that a process has not open: with that as its limit it gets no other.
fn lowest_free(pid: i32) -> u32 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("our own process");
    let open: BTreeSet<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    (0..u32::MAX).find(|number| !open.contains(number)).expect("there are more numbers than files")
}

fn agent_of(story: &Story) -> i32 {
    crate::reached::agent_of(&story.host.home()).expect("an agent runs")
}

fn fill(story: &Story, what: &str) {
    for number in 0..40 {
        let folder = story.here(&format!("many/{}/{}", number % 8, number % 3));
        fs::create_dir_all(&folder).expect("our own folder");
        fs::write(folder.join(format!("{number}.txt")), format!("{what} {number}\n")).expect("our own folder");
    }
}

#[test]
fn an_end_without_descriptors_goes_on_when_it_has_some() {
    let test = "an_end_without_descriptors_goes_on_when_it_has_some";
    if let Err(reason) = skip::live(&["prlimit"]) {
        return skip::skip(test, &reason);
    }
    let story = or_skip!("an_end_without_descriptors_goes_on_when_it_has_some", Story::begin());
    story.watch();
    let owner = story.status().owner.and_then(|pid| i32::try_from(pid).ok()).expect("somebody owns the sync");
    for (what, pid) in [("the agent", agent_of(&story)), ("the owner", owner)] {
        limit_files(pid, lowest_free(pid));
        fill(&story, what);
        story.save("app.py", &format!("print('{what} has none')\n"));
        // Nothing can be opened, so nothing can have arrived, and whoever waits for it hears that.
        let flushed = story.run("sync flush --timeout 2");
        assert!(flushed.code != 0, "{what}: a flush says that all is there: {}", flushed.text());
        assert!(flushed.text().contains("help"), "{what}: no way out is named: {}", flushed.text());
        let there = fs::read_to_string(story.there("app.py")).expect("it was there before");
        assert!(!there.contains(what), "{what}: it wrote without a descriptor");
        let lives = process::stat(pid).is_some_and(|stat| stat.state != 'Z');
        assert!(lives, "{what} ended for want of descriptors");
        limit_files(pid, 1024);
        wait_until(&format!("everything to arrive when {what} has descriptors"), ARRIVES * 2, || {
            // A person who asks need not wait for the next try.
            let pushed = story.run(&format!("sync push --to {} --yes", story.there("").display()));
            pushed.code == 0 && story.run("sync flush --timeout 1").code == 0
        });
        story.settle();
    }
}

#[test]
fn a_folder_that_may_not_be_written_waits_with_its_reason() {
    let story = or_skip!("a_folder_that_may_not_be_written_waits_with_its_reason", Story::begin());
    story.save("src/a.py", "a = 1\n");
    story.push();
    let there = story.there("src");
    // Root may write wherever it likes, but for what cannot be changed at all.
    let immutable = |on: bool| {
        let flag = if on { "+i" } else { "-i" };
        Command::new("chattr").arg(flag).arg(&there).status().is_ok_and(|status| status.success())
    };
    let is_root = rustix::process::geteuid().is_root();
    let close = |on: bool| {
        if is_root {
            return immutable(on);
        }
        let mode = if on { 0o555 } else { 0o755 };
        fs::set_permissions(&there, fs::Permissions::from_mode(mode)).is_ok()
    };
    if !close(true) {
        let reason = skip::Reason::OtherPlatform("this file system knows no immutable folders".to_owned());
        return skip::skip("a_folder_that_may_not_be_written_waits_with_its_reason", &reason);
    }
    story.save("src/a.py", "a = 2\n");
    story.save("app.py", "print('others go on')\n");
    let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
    let others = fs::read_to_string(story.there("app.py"));
    let waiting = fs::read_to_string(story.there("src/a.py"));
    assert!(close(false), "it can be opened again");
    assert_eq!(others.expect("a file"), "print('others go on')\n", "{}", ran.text());
    assert_eq!(waiting.expect("a file"), "a = 1\n");
    assert!(ran.text().contains("src/a.py"), "nothing names what waits: {}", ran.text());
    story.push();
    story.assert_equal();
}

/// Puts the state database of the sidecar, and all that stands beside it, on a small disk.
fn on_small_disk(story: &Story) -> Result<SmallDisk, skip::Reason> {
    let (state, aside) = (story.work.home().join(".config/mltoolbox"), story.work.path().join("aside"));
    fs::rename(&state, &aside).expect("adding the remote made it");
    let disk = SmallDisk::mount(&state, 4 << 20);
    let to = if disk.is_ok() { "/." } else { "" };
    let copied = Command::new("cp").arg("-a").arg(format!("{}{to}", aside.display())).arg(&state).status();
    assert!(copied.is_ok_and(|status| status.success()));
    disk
}

#[test]
fn a_full_or_read_only_state_folder_here_is_said_and_mended() {
    let test = "a_full_or_read_only_state_folder_here_is_said_and_mended";
    let story = or_skip!("a_full_or_read_only_state_folder_here_is_said_and_mended", Story::begin());
    let disk = match on_small_disk(&story) {
        Ok(disk) => disk,
        Err(reason) => return skip::skip(test, &reason),
    };
    story.push();
    let push = || story.run(&format!("sync push --to {} --yes", story.there("").display()));
    for what in ["full", "read-only"] {
        let ballast = disk.path().join("ballast");
        if what == "full" {
            let mut bytes = 4 << 20;
            while bytes > 0 && fs::write(&ballast, vec![1; bytes]).is_err() {
                bytes -= 4096;
            }
        } else {
            disk.read_only(true);
        }
        fill(&story, what);
        story.save("app.py", &format!("print('{what}')\n"));
        let ran = push();
        assert!(!ran.text().contains("panicked"), "{what}: {}", ran.text());
        // What arrived is not known to have, so the command may not say that all is well.
        assert!(ran.code != 0 && ran.text().contains("store."), "{what}: {}", ran.text());
        assert!(ran.text().contains("help"), "{what}: no way out is named: {}", ran.text());
        if what == "full" {
            fs::remove_file(&ballast).expect("our own file");
        } else {
            disk.read_only(false);
        }
        let status = story.push().status;
        assert_eq!((status.state, status.conflicts, status.pending), (SyncState::Synced, 0, 0), "{what}: {status:#?}");
        assert_eq!(status.drift, [] as [String; 0], "{what}: what we gave is taken for another's");
        story.assert_equal();
    }
}

#[test]
fn tiny_limits_of_a_user_namespace_are_lived_with() {
    let test = "tiny_limits_of_a_user_namespace_are_lived_with";
    let story = or_skip!("tiny_limits_of_a_user_namespace_are_lived_with", Story::begin());
    let line = |verb: &str| format!("sync {verb} --to {} --yes --json", story.there("").display());
    let fallback = "no more watches";
    for (what, script, verb, says) in [
        ("no inotify instance", "echo 0 > /proc/sys/user/max_inotify_instances", "watch", Some(fallback)),
        ("two watches", "echo 2 > /proc/sys/user/max_inotify_watches", "watch", Some(fallback)),
        ("few descriptors", "ulimit -n 40", "push", None),
    ] {
        story.save("app.py", &format!("print('{what}')\n"));
        let mut command = story.work.command("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &format!("{script} && exec \"$@\""), "sh"]);
        command.arg(binary::sidecar()).args(line(verb).split_whitespace()).stdin(std::process::Stdio::null());
        let ran = cli::finish(&mut command);
        if ran.stdout.is_empty() && ran.text().contains("unshare") {
            let reason = skip::Reason::OtherPlatform("this kernel allows no user namespace here".to_owned());
            return skip::skip(test, &reason);
        }
        assert_eq!(ran.code, 0, "{what}: {}", ran.text());
        story.wait_for("app.py", &format!("print('{what}')\n"));
        if let Some(says) = says {
            // What no event tells is found all the same, in a folder that no watch was left for.
            let status = cli::run(&story.work, &["sync", "status"]).text();
            assert!(status.contains(says), "{what}: nothing says why it takes longer: {status}");
            story.save("src/deep/er/module.py", &format!("x = '{what}'\n"));
            story.wait_for("src/deep/er/module.py", &format!("x = '{what}'\n"));
        }
        story.run("sync stop");
        story.push();
        story.assert_equal();
    }
    // With too few to open anything at all, it says so and nothing is half done.
    story.save("app.py", "print('none')\n");
    let mut command = story.work.command("sh");
    command
        .args(["-c", "ulimit -n 8 && exec \"$@\"", "sh"])
        .arg(binary::sidecar())
        .args(line("push").split_whitespace());
    let ran = cli::finish(command.stdin(std::process::Stdio::null()));
    assert!(ran.code != 0 && !ran.text().contains("panicked"), "{}", ran.text());
    assert!(ran.text().contains("help"), "no way out is named: {}", ran.text());
    story.push();
    story.assert_equal();
}
