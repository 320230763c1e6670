//! Files whose text tells which version it is, so that one that is torn or mixed is found at a glance.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use harness::oracle;

/// Numbers without a pattern, the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Returns a number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // Knuth's multiplier; the upper half is random enough to spread tests.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Returns version `number` of a file: every part of it is of that version only.
pub(crate) fn version(name: &str, number: u64) -> String {
    let lines = 100 + usize::try_from(number % 7).expect("small") * 1_000;
    format!("{name} {number}\n{}", format!("{number:09}\n").repeat(lines))
}

/// Fails when `text` is not exactly one version of the file.
#[track_caller]
pub(crate) fn assert_whole(path: &Path, text: &str) {
    let head = text.lines().next().unwrap_or_default();
    let name = path.file_name().expect("a file").to_string_lossy();
    let number = head.strip_prefix(&*name).and_then(|rest| rest.trim_start().parse().ok());
    let number = number.unwrap_or_else(|| panic!("{} is torn: {head:.60?}", path.display()));
    assert!(text == version(&name, number), "{} is torn: {} bytes of {head}", path.display(), text.len());
}

/// Saves a version of a file as careful editors do, so that every content it ever has is a whole one. `beside`
/// is a folder outside of the workspace.
pub(crate) fn save(folder: &Path, beside: &Path, name: &str, number: u64) {
    let draft = beside.join(format!("draft-{name}"));
    fs::write(&draft, version(name, number)).expect("our own folder");
    fs::rename(&draft, folder.join(name)).expect("our own folder");
}

/// Reads every file of a folder again and again until told to end; none may ever be torn. Returns how many it read.
pub(crate) fn check_until(folder: &Path, done: &AtomicBool) -> u64 {
    let mut read = 0;
    while !done.load(Ordering::Relaxed) {
        let Ok(entries) = fs::read_dir(folder) else {
            // Nothing has arrived yet.
            std::thread::yield_now();
            continue;
        };
        for entry in entries.flatten() {
            // It may have been removed since the folder was listed.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                assert_whole(&entry.path(), &text);
                read += 1;
            }
        }
        // The killed ones need the processor more.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    read
}

/// Returns when a file of the folder was changed last.
pub(crate) fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?;
    entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

/// Returns whatever a killed agent left in the making of `home/copy`.
pub(crate) fn litter(home: &Path) -> Vec<PathBuf> {
    let side = home.join(".copy.mltoolbox/tmp");
    oracle::walk(home)
        .into_iter()
        .filter(|path| path.is_file() && path.starts_with(&side) && !path.ends_with("owner"))
        .collect()
}
