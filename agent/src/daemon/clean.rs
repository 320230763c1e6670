//! What other builds left behind: daemons that nobody uses are ended, programs that nobody runs are removed.
//!
//! Never touches a build that has a session, here or on another machine that shares the home.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::error::DaemonError;
use super::place::Place;
use super::program;
use crate::log;

/// Other builds that stay although nobody runs them: the one before ours, for those who go back to it.
const KEPT: usize = 1;

/// Removes all but our build, the newest other one, and those that somebody runs. Returns what was removed.
pub fn programs(place: &Place) -> Result<Vec<PathBuf>, DaemonError> {
    let folder = place.programs();
    let failed = |path: &Path, source| DaemonError::Folder { path: path.to_owned(), source };
    let entries = std::fs::read_dir(&folder).map_err(|source| failed(&folder, source))?;
    let mut others: Vec<(SystemTime, PathBuf, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let build = program::build_in(&name).filter(|build| *build != place.build())?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path(), build.to_owned()))
        })
        .collect();
    others.sort_by(|one, other| other.cmp(one));
    let mut removed = Vec::new();
    for (_, file, build) in others.into_iter().skip(KEPT) {
        // Held to the end, so that no daemon of this build starts between the look and the removal.
        let Some(locks) = locks(place, &build)? else { continue };
        if is_running(&file) {
            continue;
        }
        remove(&file)?;
        for lock in locks {
            remove(&lock.0.with_extension("sock"))?;
            remove(&lock.0)?;
        }
        for log in log::generations(&place.log_of(&build)) {
            remove(&log)?;
        }
        removed.push(file);
    }
    Ok(removed)
}

/// Returns the locks of a build on every machine that shares this home, all held; `None` when somebody else holds
/// one.
fn locks(place: &Place, build: &str) -> Result<Option<Vec<(PathBuf, File)>>, DaemonError> {
    let mut held = Vec::new();
    let end = format!("-{build}.lock");
    for entry in std::fs::read_dir(place.run()).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().ends_with(&end) {
            continue;
        }
        let path = entry.path();
        let failed = |source| DaemonError::Folder { path: path.clone(), source };
        let file = File::options().read(true).write(true).open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => held.push((path, file)),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(Some(held))
}

/// Returns whether a process of this machine was started from the file, as far as the kernel tells.
fn is_running(file: &Path) -> bool {
    let Ok(file) = file.canonicalize() else { return false };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.into_iter().any(|process| std::fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == file))
}

fn remove(path: &Path) -> Result<(), DaemonError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DaemonError::Folder { path: path.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
