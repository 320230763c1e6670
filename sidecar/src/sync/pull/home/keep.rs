//! Where versions are kept that a pull replaced or removed here, and for how long.
//!
//! What a person asked for is kept for [`KEEP_FOR`]; what patterns brought unasked is bounded by [`KEEP_BYTES`], too.
//! Never touches what was kept when conflicts were decided.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a version is kept: longer than the holidays after which somebody misses it.
pub(super) const KEEP_FOR: Duration = Duration::from_hours(30 * 24);
/// Most bytes of the versions that pulls kept unasked, beside those of the last such pull; the oldest go first.
pub(super) const KEEP_BYTES: u64 = 2 << 30;
/// What the name of a folder has behind its time when nobody asked for the pull.
const UNASKED: &str = "-unasked-";

/// Makes a folder for the versions of one pull at `now`, in seconds since the Unix epoch.
pub(super) fn make(keep: &Path, now: i64, unasked: bool) -> io::Result<PathBuf> {
    fs::create_dir_all(keep)?;
    let prefix = if unasked { format!("{now}{UNASKED}") } else { format!("{now}-") };
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(keep)?.keep())
}

/// Removes what is older than [`KEEP_FOR`] at `now`, and what was kept unasked beyond `most` bytes.
pub(super) fn prune(keep: &Path, now: i64, most: u64) -> io::Result<()> {
    let entries = match fs::read_dir(keep) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut unasked = Vec::new();
    let oldest = now.saturating_sub(i64::try_from(KEEP_FOR.as_secs()).unwrap_or(i64::MAX));
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Folders of conflicts have no dash.
        let Some((seconds, _)) = name.split_once('-') else { continue };
        let Ok(seconds) = seconds.parse::<i64>() else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if seconds < oldest {
            fs::remove_dir_all(entry.path())?;
        } else if name.contains(UNASKED) {
            unasked.push((seconds, entry.path()));
        }
    }
    unasked.sort();
    let mut held = 0_u64;
    for (place, (_, folder)) in unasked.iter().rev().enumerate() {
        if held <= most {
            held = held.saturating_add(length(folder)?);
        }
        if held > most && place > 0 {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Returns the bytes of all files in a folder.
fn length(folder: &Path) -> io::Result<u64> {
    let mut folders = vec![folder.to_owned()];
    let mut bytes = 0_u64;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Of a link, not of what it leads to.
            let facts = entry.metadata()?;
            if facts.is_dir() {
                folders.push(entry.path());
            } else {
                bytes = bytes.saturating_add(facts.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a folder with a file of that many bytes, as a pull does.
    fn kept(keep: &Path, at: i64, unasked: bool, bytes: usize) -> PathBuf {
        let folder = make(keep, at, unasked).expect("a folder can be made");
        fs::create_dir(folder.join("d")).expect("a folder can be made");
        fs::write(folder.join("d/f"), vec![0; bytes]).expect("a file can be written");
        folder
    }

    #[test]
    fn what_is_old_goes_and_what_nobody_asked_for_is_bounded() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let keep = place.path().join("kept");
        prune(&keep, 0, 10).expect("nothing is kept");
        let month = i64::try_from(KEEP_FOR.as_secs()).expect("a month");
        let (asked, old) = (kept(&keep, month + 1, false, 1000), kept(&keep, 1, false, 1));
        let unasked: Vec<PathBuf> = (2..6).map(|at| kept(&keep, month + at, true, 4)).collect();
        let conflict = keep.join("1");
        fs::create_dir(&conflict).expect("a folder can be made");
        prune(&keep, month + 6, 10).expect("they can be removed");
        assert!(asked.exists() && !old.exists() && conflict.exists());
        assert_eq!(unasked.iter().map(|folder| folder.exists()).collect::<Vec<_>>(), [false, false, true, true]);
        // The last one stays however long it is.
        let last = kept(&keep, month + 7, true, 100);
        prune(&keep, month + 8, 10).expect("they can be removed");
        assert!(last.exists() && unasked.iter().all(|folder| !folder.exists()));
    }
}
