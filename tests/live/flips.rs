//! Somebody swaps a folder for a link to elsewhere and back, as fast as can be, while a sync writes through it; and
//! somebody rewrites and truncates files while they are read. Nothing outside changes, and no version is mixed.

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::work::Work;
use harness::{or_skip, oracle, skip};

use crate::reached::{self, Near, ToNear, once, start_by};
use crate::story::{ARRIVES, Story};

/// Bytes that say for themselves which version they are of.
const BLOCK: usize = 4096;
/// So much longer a folder stays one after each pull that brought nothing.
const REST: Duration = Duration::from_millis(10);
/// After so long a sync of a folder that keeps changing is begun anew.
const GIVEN_UP: Duration = Duration::from_secs(1);

fn seconds() -> Duration {
    Duration::from_secs(if skip::soak() { 60 } else { 2 })
}

/// Returns a version of a file: in every block its number, and a hash over number and place.
fn blocks(number: u64, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * BLOCK);
    for at in 0..count {
        let mut block = vec![0; BLOCK];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&number.to_le_bytes()).update(&(at as u64).to_le_bytes());
        hasher.finalize_xof().fill(&mut block);
        block[..8].copy_from_slice(&number.to_le_bytes());
        bytes.extend(block);
    }
    bytes
}

/// Fails unless the bytes are one version, whole, of a length that there was.
#[track_caller]
fn assert_one_version(name: &str, bytes: &[u8], lengths: &[usize]) {
    let number = bytes.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
    assert!(lengths.contains(&bytes.len()), "`{name}` was never {} bytes long", bytes.len());
    let mixed = blocks(number, bytes.len() / BLOCK) != bytes;
    assert!(!mixed, "`{name}` is a mixture of version {number} and others");
}

/// Swaps a folder and a link to elsewhere until told to end, and leaves the folder with all that came into either.
/// Returns how often.
/// After each it lets the folder be one for as long as `rest` says.
fn flip(folder: &Path, elsewhere: &Path, aside: &Path, rest: Duration, done: &AtomicBool) -> u64 {
    let mut flips = 0;
    while !done.load(Ordering::Relaxed) {
        // The copy may just be making it anew; then there is nothing to swap.
        if fs::rename(folder, aside).is_ok() {
            let linked = symlink(elsewhere, folder).is_ok();
            std::thread::yield_now();
            if linked && folder.is_symlink() {
                fs::remove_file(folder).ok();
            }
            while fs::rename(aside, folder).is_err() {
                // Somebody made the folder meanwhile: what is in it is newer.
                merge(folder, aside);
                fs::remove_dir(folder).ok();
            }
            flips += 1;
        }
        let rests = std::time::Instant::now();
        while rests.elapsed() < rest && !done.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        std::thread::yield_now();
    }
    flips
}

/// Ends the flipping, also when the test fails meanwhile: a scope waits for its threads.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Moves everything from one folder into another, also where both have a folder of the same name: a folder that
/// stayed behind would never let the other one back.
fn merge(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        if fs::rename(&here, &there).is_err() && !here.is_symlink() && here.is_dir() {
            merge(&here, &there);
            fs::remove_dir(&here).ok();
        }
    }
}

/// Numbered files in a folder, each with the number of the round in which it was saved.
struct Numbered<'a>(&'a Path);

impl Numbered<'_> {
    const FILES: u64 = 20;

    fn save(&self, round: u64) {
        for number in 0..Self::FILES {
            fs::write(self.0.join(format!("{number}.txt")), format!("{round} {number}")).expect("our own folder");
        }
        fs::write(self.0.join("inner/0.txt"), round.to_string()).expect("our own folder");
    }

    /// Returns whether a file of that round is there, or where the folder was put aside.
    fn has_any_of(&self, round: u64, aside: &Path) -> bool {
        (0..Self::FILES).any(|number| {
            let name = format!("{number}.txt");
            let text = format!("{round} {number}");
            [self.0, aside].iter().any(|folder| fs::read_to_string(folder.join(&name)).is_ok_and(|found| found == text))
        })
    }
}

/// Writes what nobody may change and nobody may take for the folder's own.
fn write_outside(outside: &Path) -> String {
    fs::create_dir_all(outside.join("inner")).expect("our own folder");
    for number in 0..Numbered::FILES {
        fs::write(outside.join(format!("{number}.txt")), "outside").expect("our own folder");
    }
    fs::write(outside.join("inner/0.txt"), "outside").expect("our own folder");
    oracle::canary(outside)
}

#[test]
fn a_folder_that_becomes_a_link_leads_nobody_out() {
    let test = "a_folder_that_becomes_a_link_leads_nobody_out";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let here = Work::new();
    let (root, copy, outside) = (here.workspace(), here.path().join("copy"), here.path().join("outside"));
    let before = write_outside(&outside);
    fs::create_dir_all(root.join("data/inner")).expect("our own folder");
    let near = Near::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (data, theirs) = (root.join("data"), copy.join("data"));
    let (saved, arrived) = (Numbered(&data), Numbered(&theirs));
    let sync = || runtime.block_on(once(&here, Arc::new(ToNear(Arc::clone(&near))), &copy));
    saved.save(0);
    sync();
    // A folder that never stays one lets no sync come to its end; one that is given up is as good.
    let sync_a_while = || {
        runtime.block_on(async {
            let sync = once(&here, Arc::new(ToNear(Arc::clone(&near))), &copy);
            tokio::time::timeout(GIVEN_UP, sync).await.is_ok()
        })
    };
    let done = AtomicBool::new(false);
    let aside = here.path().join("aside");
    let begun = std::time::Instant::now();
    let (mut rounds, mut wrote) = (0, 0);
    let flips = std::thread::scope(|scope| {
        let flipper = scope.spawn(|| flip(&theirs, &outside, &aside, Duration::ZERO, &done));
        let ends = Ends(&done);
        while begun.elapsed() < seconds() {
            rounds += 1;
            saved.save(rounds);
            // What it says of a folder that is not one is of no interest here, nor whether it was given up.
            sync_a_while();
            wrote += u64::from(arrived.has_any_of(rounds, &aside));
        }
        drop(ends);
        flipper.join().expect("it does not panic")
    });
    crate::kills::say(&format!("FLIPPED {flips} times in {rounds} syncs, of which {wrote} wrote"));
    assert_eq!(oracle::canary(&outside), before, "something outside of the copy changed");
    assert!(flips > 20 && rounds > 1 && wrote > 0, "{flips} {rounds} {wrote}");
    // The folder is one again, and what was saved last arrives.
    saved.save(rounds + 1);
    let snapshot = sync();
    crate::cuts::assert_synced("when the folder stays", &snapshot);
    oracle::assert_equal(&root, &copy, &[]);
    assert_eq!(oracle::canary(&outside), before, "something outside of the copy changed");
}

#[test]
fn a_pull_is_led_neither_out_of_the_copy_nor_out_of_the_workspace() {
    let story = or_skip!("a_pull_is_led_neither_out_of_the_copy_nor_out_of_the_workspace", Story::begin());
    fs::create_dir_all(story.here("data/inner")).expect("our own folder");
    Numbered(&story.here("data")).save(0);
    story.push();
    let mut round = 0;
    for remote in [true, false] {
        let (outside, aside) = (story.work.path().join(format!("outside-{remote}")), story.work.path().join("aside"));
        let before = write_outside(&outside);
        let (there, here) = (story.there("data"), story.here("data"));
        let side = if remote { &there } else { &here };
        let begun = std::time::Instant::now();
        let (mut flips, mut pulls, mut brought) = (0, 0, 0);
        let mut rest = Duration::ZERO;
        while pulls < 2 || brought == 0 || begun.elapsed() < seconds() {
            assert!(begun.elapsed() < ARRIVES + seconds(), "no pull of {pulls} brought anything home");
            (round, pulls) = (round + 1, pulls + 1);
            Numbered(&there).save(round);
            let done = AtomicBool::new(false);
            flips += std::thread::scope(|scope| {
                let flipper = scope.spawn(|| flip(side, &outside, &aside, rest, &done));
                // Whether it could do anything with a folder that never stays one is of no interest here.
                let ends = Ends(&done);
                let ran = story.run("sync pull");
                drop(ends);
                assert!(!ran.text().contains("panicked"), "{}", ran.text());
                flipper.join().expect("it does not panic")
            });
            brought += u64::from(Numbered(&here).has_any_of(round, &aside));
            // At full speed hardly any pull meets a folder; slower and slower, one does.
            rest = if brought == 0 { rest + REST } else { Duration::ZERO };
        }
        let at = if remote { "there" } else { "here" };
        crate::kills::say(&format!("FLIPPED {flips} times {at} in {pulls} pulls, of which {brought} brought files"));
        assert!(flips > 20, "{flips}");
        assert_eq!(oracle::canary(&outside), before, "something outside changed");
        for path in oracle::walk(&story.work.workspace()) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert_ne!(text, "outside", "{} came from outside", path.display());
        }
        story.run("sync pull").json::<protocol::editor::SyncPullOutput>();
        story.assert_equal();
    }
}

#[test]
fn files_that_are_rewritten_and_truncated_in_place_arrive_as_one_version() {
    let test = "files_that_are_rewritten_and_truncated_in_place_arrive_as_one_version";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let here = Work::new();
    let (root, copy) = (here.workspace(), here.path().join("copy"));
    // What travels in packets, what travels alone, and what travels as a difference.
    let sizes = [("small", 1), ("middle", 40), ("large", 500)];
    // A writer in place is mid-way most of the time; only a pause lets a whole version be seen.
    let write_in_place = |number: u64| {
        for (name, count) in sizes {
            let bytes = blocks(number, count);
            let file = fs::File::options().create(true).truncate(false).write(true).open(root.join(name));
            let file = file.expect("our own folder");
            if number.is_multiple_of(3) {
                file.set_len(0).expect("our own file");
            }
            for (at, block) in bytes.chunks(BLOCK).enumerate() {
                file.write_all_at(block, (at * BLOCK) as u64).expect("our own file");
            }
        }
    };
    let replace = |number: u64| {
        for (name, count) in sizes {
            let beside = here.path().join(name);
            fs::write(&beside, blocks(number, count)).expect("our own folder");
            fs::rename(&beside, root.join(format!("{name}-replaced"))).expect("our own folder");
        }
    };
    write_in_place(1);
    replace(1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let near = Near::new();
    let handle = runtime.block_on(start_by(&here, Arc::new(ToNear(Arc::clone(&near))), &copy, true));
    runtime.block_on(reached::settled(&handle));
    let (done, looked, begun) = (AtomicBool::new(false), AtomicU64::new(0), std::time::Instant::now());
    let mut number = 1;
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (name, count) in sizes {
                    // A version that was replaced by rename was never anything but whole.
                    if let Ok(bytes) = fs::read(copy.join(format!("{name}-replaced"))) {
                        assert_one_version(name, &bytes, &[count * BLOCK]);
                        looked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        while begun.elapsed() < seconds() && !watcher.is_finished() {
            number += 1;
            write_in_place(number);
            replace(number);
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("no mixture was seen");
    });
    let flushed = runtime.block_on(handle.flush(false, ARRIVES));
    assert!(flushed.is_ok(), "{flushed:?} {:#?}", handle.status());
    for (name, count) in sizes {
        assert_one_version(name, &fs::read(copy.join(name)).expect("it arrived"), &[count * BLOCK]);
    }
    oracle::assert_equal(&root, &copy, &[]);
    runtime.block_on(handle.stop());
    assert!(number > 2 && looked.load(Ordering::Relaxed) > 2, "{number} {looked:?}");
}
