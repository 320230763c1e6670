//! File systems and clocks that differ from what one is used to: everything arrives, or is said not to, and nothing is lost.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use harness::cli::Ran;
use harness::mounts::Mount;
use harness::or_skip;
use harness::oracle;
use harness::process;
use protocol::editor::{AgentStatus, SyncPushOutput, SyncState};
use rustix::process::Signal;

use crate::story::{ARRIVES, LEFT_OUT, Story};

/// A story whose remote folder lies on something that is mounted.
struct Mounted {
    story: Story,
    mount: Mount,
}

impl Mounted {
    fn push_to(&self, folder: &str) -> Ran {
        self.story.run(&format!("sync push --to {} --yes", self.mount.path().join(folder).display()))
    }

    #[track_caller]
    fn push(&self) -> SyncPushOutput {
        let pushed: SyncPushOutput = self.push_to("copy").json();
        assert_eq!((pushed.status.state, pushed.status.conflicts), (SyncState::Synced, 0), "{pushed:#?}");
        pushed
    }

    #[track_caller]
    fn assert_equal(&self) {
        oracle::assert_equal(&self.story.work.workspace(), &self.mount.path().join("copy"), LEFT_OUT);
    }

    /// Edits, replaces, renames, removes and makes; after each push both sides are equal.
    #[track_caller]
    fn live_through_a_day(&self) {
        let story = &self.story;
        self.push();
        self.assert_equal();
        story.save("app.py", "print('edited')\n");
        fs::rename(story.here("run.sh"), story.here("start.sh")).expect("our own folder");
        fs::remove_file(story.here("latest")).expect("our own folder");
        fs::create_dir(story.here("new")).expect("our own folder");
        story.save("new/big.txt", &"0123456789abcdef".repeat(200_000));
        self.push();
        self.assert_equal();
        fs::rename(story.here("src"), story.here("source")).expect("our own folder");
        fs::remove_dir(story.here("empty")).expect("our own folder");
        story.save("new/big.txt", &format!("more{}", "0123456789abcdef".repeat(200_000)));
        assert_eq!(self.push().status.problems, []);
        self.assert_equal();
        assert_eq!(self.push().changes, [], "nothing changed, nothing travels");
    }

    /// Ends the agent, which holds the mount busy.
    #[track_caller]
    fn end(self) {
        let _stopped: AgentStatus = self.story.run("agent stop").json();
    }
}

#[test]
fn a_remote_that_ignores_case_gets_no_file_by_luck() {
    let story = or_skip!("a_remote_that_ignores_case_gets_no_file_by_luck", Story::begin());
    let mount = Mount::ignoring_case(&story.host.home().join("ntfs"));
    let mounted = Mounted { mount: or_skip!("a_remote_that_ignores_case_gets_no_file_by_luck", mount), story };
    let story = &mounted.story;
    story.save("Readme", "one\n");
    story.save("README", "two\n");
    // One name to people, two to this file system: composed, and decomposed as macOS writes it.
    story.save("caf\u{e9}", "composed\n");
    story.save("cafe\u{301}", "decomposed\n");
    let pushed = mounted.push();
    let named: Vec<&str> = pushed.status.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert!(named.contains(&"Readme") && named.contains(&"README"), "{named:?}");
    let copy = mounted.mount.path().join("copy");
    assert!(!copy.join("Readme").exists(), "neither is written");
    assert_eq!(fs::read_to_string(copy.join("app.py")).expect("all else is there"), "print('hello')\n");
    fs::remove_file(story.here("README")).expect("our own folder");
    fs::remove_file(story.here("cafe\u{301}")).expect("our own folder");
    assert_eq!(mounted.push().status.problems, []);
    // This file system shows every name in small letters, so that rsync is no judge of names here.
    for (path, text) in [("Readme", "one\n"), ("caf\u{e9}", "composed\n")] {
        assert_eq!(fs::read_to_string(copy.join(path)).expect("it arrived"), text);
    }
    assert_eq!(mounted.push().changes, [], "nothing changed, nothing travels");
    mounted.end();
}

#[test]
fn a_remote_behind_fuse_is_as_good_as_any() {
    let story = or_skip!("a_remote_behind_fuse_is_as_good_as_any", Story::begin());
    let behind = story.host.home().join("behind");
    fs::create_dir(&behind).expect("our own folder");
    let mount = Mount::fuse(&story.host.home().join("fuse"), &behind);
    let mounted = Mounted { mount: or_skip!("a_remote_behind_fuse_is_as_good_as_any", mount), story };
    mounted.live_through_a_day();
    mounted.end();
}

#[test]
fn a_lower_layer_of_an_overlay_stays_as_it_is() {
    let story = or_skip!("a_lower_layer_of_an_overlay_stays_as_it_is", Story::begin());
    // An image in which the project was copied once, and a container on it: what is below cannot be renamed.
    let lower = story.host.home().join("lower");
    fs::create_dir(&lower).expect("our own folder");
    let line = format!("sync push --to {} --yes", lower.join("copy").display());
    story.run(&line).json::<SyncPushOutput>();
    let before = oracle::canary(&lower);
    let mount = Mount::overlay(&story.host.home().join("merged"), &lower);
    let mounted = Mounted { mount: or_skip!("a_lower_layer_of_an_overlay_stays_as_it_is", mount), story };
    mounted.live_through_a_day();
    assert_eq!(oracle::canary(&lower), before, "a container wrote into its image");
    mounted.end();
}

#[test]
fn what_is_mounted_inside_the_remote_folder_is_not_entered() {
    let story = or_skip!("what_is_mounted_inside_the_remote_folder_is_not_entered", Story::begin());
    let other = story.host.home().join("other");
    fs::create_dir(&other).expect("our own folder");
    fs::write(other.join("theirs"), "of another file system\n").expect("our own folder");
    story.push();
    let data = story.there("data");
    let mount = Mount::bind(&data, &other);
    let mount = or_skip!("what_is_mounted_inside_the_remote_folder_is_not_entered", mount);
    fs::create_dir(story.here("data")).expect("our own folder");
    story.save("data/ours.py", "x = 1\n");
    story.save("app.py", "print('goes on')\n");
    let pushed = story.push();
    assert!(pushed.status.problems.iter().any(|problem| problem.path.starts_with("data")), "{pushed:#?}");
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "print('goes on')\n");
    assert!(!other.join("ours.py").exists(), "written across a mount");
    drop(mount);
    story.push();
    story.assert_equal();
    assert_eq!(fs::read_to_string(other.join("theirs")).expect("untouched"), "of another file system\n");
}

#[test]
fn a_quota_is_told_as_a_full_disk_and_others_go_on() {
    let story = or_skip!("a_quota_is_told_as_a_full_disk_and_others_go_on", Story::begin());
    let mount = Mount::with_quota(&story.host.home().join("quota"), 4 << 20);
    let mounted = Mounted { mount: or_skip!("a_quota_is_told_as_a_full_disk_and_others_go_on", mount), story };
    let story = &mounted.story;
    mounted.push();
    // Not compressible, so that no file system makes it fit.
    let bytes: Vec<u8> = (0..6_u32 << 18)
        .flat_map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk::<4>().expect("4 of 32"))
        .collect();
    fs::write(story.here("weights.bin"), bytes).expect("our own folder");
    story.save("app.py", "print('small')\n");
    let ran = mounted.push_to("copy");
    assert_ne!(ran.code, 0, "{}", ran.text());
    assert!(ran.text().contains("full") || ran.text().contains("quota"), "{}", ran.text());
    assert_eq!(
        fs::read_to_string(mounted.mount.path().join("copy/app.py")).expect("a file"),
        "print('small')\n",
        "a file that fits has to arrive"
    );
    fs::remove_file(story.here("weights.bin")).expect("our own folder");
    mounted.push();
    mounted.assert_equal();
    mounted.end();
}

#[test]
fn hard_links_and_holes_arrive_as_files() {
    let story = or_skip!("hard_links_and_holes_arrive_as_files", Story::begin());
    fs::hard_link(story.here("app.py"), story.here("same.py")).expect("our own folder");
    let sparse = fs::File::create(story.here("sparse.img")).expect("our own folder");
    sparse.set_len(64 << 20).expect("a hole");
    story.watch();
    story.settle();
    // Saved in place under one name, both names hold the new bytes; only one of them is in the event.
    story.save("app.py", "print('both')\n");
    story.wait_for("app.py", "print('both')\n");
    story.wait_for("same.py", "print('both')\n");
    let there = fs::metadata(story.there("sparse.img")).expect("it arrived");
    assert!(there.blocks() * 512 < 8 << 20, "{} bytes are on the disk for a hole", there.blocks() * 512);
    // Somebody linked our copy on the remote: the other name keeps what it had.
    fs::hard_link(story.there("run.sh"), story.host.home().join("their-link")).expect("our own folder");
    let before = fs::read_to_string(story.there("run.sh")).expect("a file");
    story.save("run.sh", "#!/bin/sh\necho new\n");
    story.wait_for("run.sh", "#!/bin/sh\necho new\n");
    assert_eq!(fs::read_to_string(story.host.home().join("their-link")).expect("a file"), before);
    story.settle();
}

#[test]
fn clocks_that_jump_hide_no_edit() {
    let story = or_skip!("clocks_that_jump_hide_no_edit", Story::begin());
    let day = Duration::from_hours(24);
    let set = |path: &str, time: SystemTime| {
        let file = fs::File::options().write(true).open(story.here(path)).expect("our own file");
        file.set_modified(time).expect("our own file");
    };
    set("app.py", SystemTime::now() + 400 * day);
    set("run.sh", SystemTime::UNIX_EPOCH);
    story.watch();
    story.settle();
    // As long as before and with the time it had: what `cp -p`, `git` and clocks that are set back leave.
    for (path, text, time) in [
        ("app.py", "print('HELLO')\n", SystemTime::now() + 400 * day),
        ("run.sh", "#!/bin/SH\n", SystemTime::UNIX_EPOCH),
    ] {
        let before = fs::metadata(story.here(path)).expect("a file");
        story.save(path, text);
        set(path, before.modified().unwrap_or(time));
        let after = fs::metadata(story.here(path)).expect("a file");
        assert_eq!((before.size(), before.mtime_nsec()), (after.size(), after.mtime_nsec()));
        story.wait_for(path, text);
    }
    story.settle();
    story.run("sync stop").json::<serde_json::Value>();
    // The same while nobody watches.
    let before = fs::metadata(story.here("app.py")).expect("a file").modified().expect("a time");
    story.save("app.py", "print('Hello')\n");
    set("app.py", before);
    story.push();
    story.assert_equal();
}

#[test]
fn a_machine_that_slept_goes_on_at_once() {
    let story = or_skip!("a_machine_that_slept_goes_on_at_once", Story::begin());
    let status = story.watch();
    let owner = status.owner.and_then(|pid| i32::try_from(pid).ok()).expect("somebody owns the sync");
    process::signal(owner, Signal::STOP);
    story.wire.cut();
    story.save("app.py", "print('saved in its sleep')\n");
    process::signal(owner, Signal::CONT);
    story.wait_for("app.py", "print('saved in its sleep')\n");
    process::wait_until("the sync to be settled", ARRIVES, || story.status().state == SyncState::Synced);
    story.settle();
}
