//! Where log lines go: a file, and standard error when asked for. Never standard output.
//!
//! Secrets cannot get here: [`crate::secrets::Secret`] has nothing that could be printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::sync::mpsc;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::env;

/// A log file is set aside at this size.
const FILE_LIMIT: u64 = 10 << 20;
/// Log files that are kept, the present one included.
const FILES: u32 = 3;

/// A log line for an editor.
#[derive(Debug)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
}

/// Where log lines go beside the file.
#[derive(Debug)]
pub enum Also {
    /// Nowhere.
    Nowhere,
    /// Standard error: 1 for what happens, 2 and more for details.
    Stderr(u8),
    /// An editor. Lines are dropped while it is slow.
    Editor(mpsc::Sender<Line>),
}

/// Returns the log file.
pub fn path() -> PathBuf {
    env::log_dir().join("mltoolbox.log")
}

/// Begins to log, for the life of the process; panics are logged, too.
pub fn start(also: Also) {
    let wanted = env::text(env::LOG).unwrap_or_else(|| "warn,sidecar=info,agent=info".to_owned());
    let file =
        fmt::layer().with_ansi(false).with_writer(Mutex::new(Rotating::new(path()))).with_filter(filter(&wanted));
    let registry = tracing_subscriber::registry().with(file);
    let started = match also {
        Also::Nowhere => registry.try_init(),
        Also::Stderr(verbose) => {
            let wanted = if verbose > 1 { "info,sidecar=trace,agent=debug" } else { "warn,sidecar=debug,agent=info" };
            let stderr = fmt::layer().with_ansi(false).with_target(false).with_writer(io::stderr);
            registry.with(stderr.with_filter(filter(wanted))).try_init()
        }
        Also::Editor(lines) => registry.with(Editor(lines).with_filter(filter("warn,sidecar=info"))).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panic")));
    }
}

fn filter(wanted: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(wanted)
}

/// An append-only file that is set aside when it is full. Several processes may write to it.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    file: Option<File>,
}

impl Rotating {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let full = match &self.file {
            Some(file) => file.metadata()?.len() >= FILE_LIMIT,
            None => false,
        };
        if full {
            self.file = None;
            set_aside(&self.path)?;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            empty => Ok(empty.insert(open(&self.path)?)),
        }
    }
}

impl Write for Rotating {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // A log that cannot be written must not stop the work; the doctor says so.
        match self.file().and_then(|file| file.write(buffer)) {
            Ok(written) => Ok(written),
            Err(_) => Ok(buffer.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.create(true).append(true).open(path)
}

/// Renames the log files one further, unless another process has just done so.
fn set_aside(path: &Path) -> io::Result<()> {
    let lock = open(&path.with_extension("lock"))?;
    lock.lock()?;
    if std::fs::metadata(path)?.len() < FILE_LIMIT {
        return Ok(());
    }
    let numbered = |number: u32| path.with_extension(format!("log.{number}"));
    for number in (1..FILES - 1).rev() {
        if numbered(number).exists() {
            std::fs::rename(numbered(number), numbered(number + 1))?;
        }
    }
    std::fs::rename(path, numbered(1))
}

/// Sends what matters to the editor.
struct Editor(mpsc::Sender<Line>);

impl<S: tracing::Subscriber> Layer<S> for Editor {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Words(String::new());
        event.record(&mut text);
        let line = Line { level: *event.metadata().level(), text: text.0 };
        // A full queue means that the editor does not keep up; the file has the line.
        drop(self.0.try_send(line));
    }
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        let gap = if self.0.is_empty() { "" } else { " " };
        let written = if field.name() == "message" {
            write!(self.0, "{gap}{value:?}")
        } else {
            write!(self.0, "{gap}{}={value:?}", field.name())
        };
        written.expect("a string takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mltoolbox.log");
        let mut log = Rotating::new(path.clone());
        let block = vec![b'x'; 1 << 20];
        for _ in 0..45 {
            log.write_all(&block).expect("writes never fail");
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("our own names"))
            .collect();
        names.sort();
        assert_eq!(names, ["mltoolbox.lock", "mltoolbox.log", "mltoolbox.log.1", "mltoolbox.log.2"]);
        assert!(std::fs::metadata(&path).expect("the file is there").len() <= FILE_LIMIT);
    }
}
