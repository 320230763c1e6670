//! Hashes the files whose stamps do not tell what they hold, on a few threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use protocol::path::RelPath;
use tokio_util::sync::CancellationToken;

use super::{Local, LocalContent, ReadError, Root, Scan, ScanError, Seal};

/// Threads that hash. BLAKE3 reads faster than most disks with one; two hide the opening of small files.
const THREADS: usize = 2;

/// Hashes `files` and completes their entries in `scan`.
pub(super) fn hash(
    root: &Root,
    files: &[RelPath],
    cancel: &CancellationToken,
    scan: &mut Scan,
) -> Result<(), ScanError> {
    let next = AtomicUsize::new(0);
    let (results, inbox) = mpsc::channel();
    std::thread::scope(|threads| {
        for _ in 0..THREADS.min(files.len()) {
            let (results, files, next) = (results.clone(), files, &next);
            threads.spawn(move || {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sealed = root.hash(path, &|| !cancel.is_cancelled());
                    if results.send((path.clone(), sealed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        for (path, sealed) in inbox {
            record(scan, path, sealed);
        }
    });
    if cancel.is_cancelled() { Err(ScanError::Cancelled) } else { Ok(()) }
}

fn record(scan: &mut Scan, path: RelPath, sealed: Result<Option<Seal>, ReadError>) {
    match sealed {
        Ok(Some(seal)) => {
            let executable = seal.mode & 0o100 != 0;
            let content = LocalContent::File { hash: Some(seal.hash), size: seal.size, executable };
            scan.entries.insert(path, Local { content, mode: seal.mode, stamp: seal.stamp });
        }
        // Cancelled; the whole scan is thrown away.
        Ok(None) => {}
        Err(ReadError::Gone(_)) => drop(scan.entries.remove(&path)),
        Err(ReadError::Changed(_) | ReadError::NotAFile(_) | ReadError::TooLong { .. }) => {
            scan.entries.remove(&path);
            scan.unknown.insert(path.clone());
            scan.unsettled.insert(path);
        }
        Err(ReadError::Failed { source, .. }) => {
            scan.cannot(path, format!("it cannot be read ({source}); make it readable with `chmod u+r`, or ignore it"));
        }
    }
}
