//! What breaks, broken on purpose: nothing is lost, nothing is mixed, and it goes on by itself.

use std::fs;

use harness::limits::SmallDisk;
use harness::or_skip;
use harness::process;
use harness::proxy::{Fault, Way};
use protocol::editor::AgentStatus;
use rustix::process::Signal;

use crate::story::{ARRIVES, Story};

/// Kills over a real server; the many are done in `kills`, where each costs less.
fn kills() -> u32 {
    if harness::skip::soak() { 500 } else { 10 }
}

#[test]
fn the_link_is_cut_at_any_byte_of_a_first_sync() {
    let story = or_skip!("the_link_is_cut_at_any_byte_of_a_first_sync", Story::begin());
    let big = "0123456789abcdef\n".repeat(100_000);
    story.save("big.txt", &big);
    for offset in [0, 1, 100, 5_000, 50_000, 500_000, 1_500_000] {
        story.wire.after(Way::Up, offset, Fault::Cut);
        // Whether this one gets through depends on where the cut was; the last one has to.
        story.run(&format!("sync push --to {} --yes", story.there("").display()));
        let seen = fs::read_to_string(story.there("big.txt")).unwrap_or_default();
        assert!(seen.is_empty() || seen == big, "a name showed half a file after {offset} bytes");
    }
    story.push();
    story.assert_equal();
}

#[test]
fn either_end_is_killed_again_and_again_while_files_are_saved() {
    let story = or_skip!("either_end_is_killed_again_and_again_while_files_are_saved", Story::begin());
    story.watch();
    for round in 0..kills() {
        story.save("app.py", &format!("print({round})\n"));
        story.save(&format!("new-{}.txt", round % 7), &"x".repeat(10_000 + round as usize));
        if round % 2 == 0 {
            let owner = story.status().owner.and_then(|pid| i32::try_from(pid).ok());
            process::signal(owner.expect("somebody owns the sync"), Signal::KILL);
            story.watch();
        } else {
            for stat in process::with_home(&story.host.home()) {
                if process::name(stat.pid).is_some_and(|name| name.starts_with("mlt")) {
                    process::signal(stat.pid, Signal::KILL);
                }
            }
        }
        let seen = fs::read_to_string(story.there("app.py")).expect("the name is never gone");
        assert!(seen.starts_with("print(") && seen.ends_with(")\n"), "half a file: {seen:?}");
    }
    // A flush that meets the last kill says so and is asked for again.
    process::wait_until("everything to arrive", ARRIVES, || story.run("sync flush").code == 0);
    story.settle();
}

#[test]
fn a_lost_link_comes_back_by_itself() {
    let story = or_skip!("a_lost_link_comes_back_by_itself", Story::begin());
    story.watch();
    story.wire.refuse(true);
    story.wire.cut();
    story.save("app.py", "print('saved while away')\n");
    process::wait_until("the loss to be seen", ARRIVES, || story.status().error.is_some());
    assert!(story.status().pending > 0, "status says synced while something is pending");
    story.wire.refuse(false);
    story.wait_for("app.py", "print('saved while away')\n");
    story.settle();
}

#[test]
fn a_full_disk_there_loses_nothing_and_goes_on_when_there_is_room() {
    let story = or_skip!("a_full_disk_there_loses_nothing_and_goes_on_when_there_is_room", Story::begin());
    let disk = SmallDisk::mount(&story.host.home().join("disk"), 1 << 20);
    let disk = or_skip!("a_full_disk_there_loses_nothing_and_goes_on_when_there_is_room", disk);
    let target = disk.path().join("copy");
    let push = || story.run(&format!("sync push --to {} --yes", target.display()));
    assert_eq!(push().code, 0);
    story.save("big.bin", &"x".repeat(2 << 20));
    let ran = push();
    assert_ne!(ran.code, 0, "{}", ran.text());
    assert!(!target.join("big.bin").exists());
    assert_eq!(fs::read_to_string(target.join("app.py")).expect("still there"), "print('hello')\n");
    fs::remove_file(story.here("big.bin")).expect("our own folder");
    story.save("app.py", "print('room')\n");
    let ran = push();
    assert_eq!(ran.code, 0, "{}", ran.text());
    assert_eq!(fs::read_to_string(target.join("app.py")).expect("a file"), "print('room')\n");
    disk.read_only(true);
    story.save("app.py", "print('read-only')\n");
    let ran = push();
    assert_ne!(ran.code, 0, "{}", ran.text());
    assert_eq!(fs::read_to_string(target.join("app.py")).expect("a file"), "print('room')\n");
    // The agent's lease file keeps the small disk busy otherwise.
    disk.read_only(false);
    let _stopped: AgentStatus = story.run("agent stop").json();
}

#[test]
fn a_changed_host_key_is_refused_and_nothing_travels() {
    let story = or_skip!("a_changed_host_key_is_refused_and_nothing_travels", Story::begin());
    story.push();
    story.host.change_host_keys();
    story.host.restart();
    story.save("app.py", "print('to a stranger')\n");
    let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
    assert_eq!(ran.code, 5, "{}", ran.text());
    assert!(ran.text().contains("ssh.host_key_changed"), "{}", ran.text());
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("a file"), "print('hello')\n");
}
