//! Edits as editors and people make them, each timed from the save until the remote's copy shows it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::error::Result;

use super::error::TryError;
use super::off;
use super::stage::Stage;
use crate::commands::show::text::bytes;

/// Longest wait for one edit.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How often the copy is looked at; the figures are this coarse.
const LOOK: Duration = Duration::from_micros(250);
/// Between two edits, so that each is a save of its own: a person is not faster.
const PAUSE: Duration = Duration::from_millis(120);
/// Bytes of the larger file.
const LARGE: usize = 4 * 1024 * 1024;
/// The files that are edited: of our own, so that they fit into any project.
const SMALL_FILE: &str = "mltoolbox_try.py";
const LARGE_FILE: &str = "mltoolbox_try_large.py";

/// What the copy must hold after an edit; `None` for nothing.
type Wanted = Option<Vec<u8>>;

/// Makes the edits and returns the milliseconds of each.
pub(super) async fn make(stage: &Stage, copy: &Path) -> Result<Vec<f64>> {
    let workspace = &stage.workspace;
    let mut times = Vec::new();
    for (about, name, edit) in EDITS {
        tokio::time::sleep(PAUSE).await;
        let (path, arrived) = (workspace.join(name), copy.join(name));
        let (saved, wanted) = off(move || edit(&path).map(|wanted| (Instant::now(), wanted)))
            .await
            .map_err(|source| TryError::Folder { path: workspace.clone(), source })?;
        let size = wanted.as_ref().map_or_else(String::new, |wanted| bytes(wanted.len() as u64));
        let Some(visible) = visible(arrived, wanted).await else {
            return Err(TryError::Edit { path: (*name).to_owned() }.into());
        };
        let milliseconds = visible.duration_since(saved).as_secs_f64() * 1e3;
        stage.tell(format!("   {about:<16} {name:<23} {size:>9} {milliseconds:>7.1} ms"));
        times.push(milliseconds);
    }
    Ok(times)
}

type Edit = fn(&Path) -> io::Result<Wanted>;

const EDITS: &[(&str, &str, Edit)] = &[
    ("new file", SMALL_FILE, |path| write(path, b"print(1)\n".to_vec())),
    ("saved in place", SMALL_FILE, |path| write(path, b"print(22)\n".to_vec())),
    ("saved by rename", SMALL_FILE, |path| {
        let bytes = b"print(333)\n".to_vec();
        let beside = path.with_extension("py~");
        fs::write(&beside, &bytes)?;
        fs::rename(beside, path)?;
        Ok(Some(bytes))
    }),
    ("4 MiB written", LARGE_FILE, |path| write(path, vec![b'#'; LARGE])),
    ("removed", SMALL_FILE, |path| fs::remove_file(path).map(|()| None)),
];

fn write(path: &Path, bytes: Vec<u8>) -> io::Result<Wanted> {
    fs::write(path, &bytes)?;
    Ok(Some(bytes))
}

/// Returns when the copy held what is wanted, or `None` when it took too long.
async fn visible(path: PathBuf, wanted: Wanted) -> Option<Instant> {
    let deadline = Instant::now() + ARRIVAL;
    let look = move || {
        loop {
            let holds = match (&wanted, fs::metadata(&path)) {
                (None, Err(error)) => error.kind() == io::ErrorKind::NotFound,
                // Reading a large file again and again would take the time that is measured.
                (Some(bytes), Ok(metadata)) if metadata.len() == bytes.len() as u64 => {
                    fs::read(&path).is_ok_and(|found| found == *bytes)
                }
                (None, Ok(_)) | (Some(_), _) => false,
            };
            let now = Instant::now();
            if holds || now > deadline {
                return Ok(holds.then_some(now));
            }
            std::thread::sleep(LOOK);
        }
    };
    off(look).await.ok().flatten()
}
