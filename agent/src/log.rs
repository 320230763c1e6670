//! The agent's own log file: kept small, kept in few generations, read from its end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A log that reaches this size gives way to a new one.
pub const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// Old logs that are kept beside the present one.
pub const KEPT: u32 = 3;

/// Bytes from the end in which the last lines are looked for.
const TAIL: u64 = 1024 * 1024;

/// A log file that makes room for itself. Lines are written whole.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    limit: u64,
    file: Mutex<(File, u64)>,
}

impl Rotating {
    /// Starts a new log at `path`; what is there becomes the newest old one.
    pub fn start(path: &Path, limit: u64) -> io::Result<Self> {
        if path.metadata().is_ok_and(|found| found.len() > 0) {
            rotate(path)?;
        }
        Ok(Self { path: path.to_owned(), limit, file: Mutex::new((open(path)?, 0)) })
    }
}

impl Write for &Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.1 > self.limit {
            rotate(&self.path)?;
            *guard = (open(&self.path)?, 0);
        }
        guard.0.write_all(bytes)?;
        guard.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Moves `log` to `log.1`, `log.1` to `log.2` and so on; the oldest is overwritten.
fn rotate(path: &Path) -> io::Result<()> {
    for number in (0..KEPT).rev() {
        match std::fs::rename(generation(path, number), generation(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Returns the files that a log and its old ones have.
pub fn generations(path: &Path) -> impl Iterator<Item = PathBuf> {
    (0..=KEPT).map(|number| generation(path, number))
}

fn generation(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Returns the last lines of the log, oldest first; none when there is no log. Just after a rotation the
/// newest old log fills up what the present one lacks.
pub fn tail(path: &Path, lines: u32) -> io::Result<Vec<String>> {
    let wanted = lines as usize;
    let mut found = last_lines(path, wanted)?;
    if found.len() < wanted {
        let mut older = last_lines(&generation(path, 1), wanted - found.len())?;
        older.append(&mut found);
        found = older;
    }
    Ok(found)
}

fn last_lines(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().skip(usize::from(start > 0)).collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_gives_way_and_three_old_ones_stay() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("agent.log");
        let log = Rotating::start(&path, 10).expect("a new log");
        for number in 0..12 {
            (&log).write_all(format!("line {number:02} x\n").as_bytes()).expect("a line is written");
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("the folder is readable")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
            .collect();
        names.sort();
        assert_eq!(names, ["agent.log", "agent.log.1", "agent.log.2", "agent.log.3"]);
        assert_eq!(tail(&path, 3).expect("a tail"), ["line 09 x", "line 10 x", "line 11 x"]);
    }

    #[test]
    fn a_new_start_keeps_the_last_words_of_the_one_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("agent.log");
        writeln!(&Rotating::start(&path, 100).expect("a log"), "before").expect("a line is written");
        writeln!(&Rotating::start(&path, 100).expect("a log"), "after").expect("a line is written");
        assert_eq!(tail(&path, 100).expect("a tail"), ["before", "after"]);
        assert_eq!(tail(&folder.path().join("none"), 5).expect("no log is no lines"), [] as [&str; 0]);
    }
}
