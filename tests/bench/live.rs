//! Rows about watching: from a save to its being visible on the remote, and what it costs to do nothing.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{oracle, process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::Arguments;
use crate::bed::{Bed, REMOTE};
use crate::data::{Kind, Random};
use crate::measure::{self, Sample};
use crate::report::{Report, Row};
use crate::tools::{self, MUTAGEN};

/// Edits of one tool before it is the next one's turn.
const TURN: usize = 10;
/// How often each tool has its turn.
const TURNS: usize = 5;
/// A tool that took longer than this for its edits has no further turn.
const BUDGET: Duration = Duration::from_secs(30);
/// How long one edit may take to be seen; mutagen's poll is ten seconds.
const VISIBLE: Duration = Duration::from_secs(20);
/// How long a first sync may take.
const FIRST: Duration = Duration::from_mins(3);
/// Over which idle cost is measured.
const IDLE: Duration = Duration::from_secs(10);
/// How long everything is left alone before idle cost is measured.
const SETTLE: Duration = Duration::from_secs(3);

/// A tool that keeps a remote folder equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// `sync watch`.
    Ours,
    /// lsyncd without its delay.
    Lsyncd,
    /// mutagen's own watching.
    Mutagen,
    /// Nobody watches: one `rsync` of the file over an open connection per save.
    RsyncMux,
}

impl Tool {
    const ALL: [Self; 4] = [Self::Ours, Self::Lsyncd, Self::Mutagen, Self::RsyncMux];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Lsyncd => "lsyncd, delay 0",
            Self::Mutagen => "mutagen",
            Self::RsyncMux => "rsync of the file, open connection",
        }
    }

    fn is_here(self) -> bool {
        match self {
            Self::Ours => true,
            Self::Lsyncd => harness::skip::has("lsyncd"),
            Self::Mutagen => harness::skip::has("mutagen"),
            Self::RsyncMux => harness::skip::has("rsync"),
        }
    }

    /// Returns the beginning of the names of its processes, as the kernel keeps them.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Ours => &["mltoolbox-sidec", "mlt"],
            Self::Lsyncd => &["lsyncd"],
            Self::Mutagen => &["mutagen"],
            Self::RsyncMux => &[],
        }
    }
}

/// A tool at work on a tree of its own.
#[derive(Debug)]
struct Watcher {
    tool: Tool,
    source: PathBuf,
    target: PathBuf,
    child: Option<Child>,
}

impl Watcher {
    /// Starts the tool and waits until its first sync is done.
    fn start(bed: &Bed, tool: Tool, source: PathBuf) -> Result<Self, String> {
        let name = format!("watch-{}", tool as usize);
        let target = bed.remote(&name);
        let mut watcher = Self { tool, source, target, child: None };
        let port = bed.port();
        let (from, to) = (watcher.source.display().to_string(), watcher.target.display().to_string());
        match tool {
            Tool::Ours => {
                bed.add_remote(REMOTE, port)?;
                let mut watch = bed.ours(&["sync", "watch", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"]);
                measure::run(bed, &mut watch)?;
            }
            Tool::Lsyncd => {
                fs::create_dir(&watcher.target).map_err(|error| error.to_string())?;
                let config = bed.work.path().join("lsyncd.lua");
                let text = format!(
                    "settings {{ nodaemon = true, inotifyMode = \"CloseWrite or Modify\" }}\n\
                     sync {{ default.rsync, source = \"{from}\", target = \"bench:{to}\", delay = 0,\n\
                     rsync = {{ archive = true, rsh = \"ssh -F {}\" }} }}\n",
                    bed.host.client_config(port).display()
                );
                fs::write(&config, text).map_err(|error| error.to_string())?;
                let mut lsyncd = bed.work.command("lsyncd");
                lsyncd.arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                watcher.child = Some(lsyncd.spawn().map_err(|error| error.to_string())?);
            }
            Tool::Mutagen => {
                let line = format!(
                    "mutagen sync create --name=watch --mode=one-way-replica {MUTAGEN} {from} bench:{to} \
                     && mutagen sync flush watch"
                );
                measure::run(bed, &mut bed.shell(&line))?;
            }
            Tool::RsyncMux => {
                tools::open_master(bed, port)?;
                measure::run(bed, &mut bed.shell(&format!("mkdir -p {to} && rsync -a {from}/ {to}/")))?;
            }
        }
        // lsyncd alone does not say when its first sync is done.
        let deadline = Instant::now() + if tool == Tool::Lsyncd { FIRST } else { Duration::ZERO };
        while !watcher.target.is_dir() || !oracle::differences(&watcher.source, &watcher.target, &[]).is_empty() {
            if Instant::now() > deadline {
                return Err("the first sync is not complete".to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(watcher)
    }

    /// Saves a file and returns the seconds until the remote shows exactly what was saved.
    fn edit(&self, bed: &Bed, file: &str, version: u64) -> Result<f64, String> {
        let (local, remote) = (self.source.join(file), self.target.join(file));
        let mut text = fs::read(&local).map_err(|error| error.to_string())?;
        text.truncate(4096);
        text.extend_from_slice(format!("# edit {version}\n").as_bytes());
        let eye = Eye::on(&remote)?;
        let start = Instant::now();
        fs::write(&local, &text).map_err(|error| error.to_string())?;
        if self.tool == Tool::RsyncMux {
            let (config, socket) = (bed.host.client_config(bed.port()), tools::master(bed, bed.port()));
            let rsh = format!("ssh -F {} -S {socket}", config.display());
            let mut copy = bed.work.command("rsync");
            copy.args(["-a", "-e", &rsh]).arg(&local).arg(format!("bench:{}", remote.display()));
            measure_free(&mut copy)?;
        }
        eye.wait_for(&text, start)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when it ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Runs a command without looking at the processor time, which would cost time of its own.
fn measure_free(command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Sees a file change as another program on the remote would: the kernel says when, the content says what.
#[derive(Debug)]
struct Eye {
    file: PathBuf,
    queue: OwnedFd,
}

impl Eye {
    fn on(file: &Path) -> Result<Self, String> {
        let text = |error: rustix::io::Errno| error.to_string();
        let queue = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(text)?;
        let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::MODIFY;
        let folder = file.parent().ok_or("the root has no folder")?;
        inotify::add_watch(&queue, folder, events).map_err(text)?;
        Ok(Self { file: file.to_owned(), queue })
    }

    fn wait_for(&self, wanted: &[u8], start: Instant) -> Result<f64, String> {
        let mut buffer = [0; 4096];
        loop {
            if fs::read(&self.file).is_ok_and(|found| found == wanted) {
                return Ok(start.elapsed().as_secs_f64());
            }
            let left = VISIBLE.checked_sub(start.elapsed()).ok_or_else(|| format!("not visible after {VISIBLE:?}"))?;
            let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
            let mut waiting = [PollFd::new(&self.queue, PollFlags::IN)];
            poll(&mut waiting, Some(&timeout)).map_err(|error| error.to_string())?;
            match rustix::io::read(&self.queue, &mut buffer) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// Measures edits, turn by turn, each tool on a tree of its own.
pub(crate) fn edits(bed: &Bed, report: &mut Report, row: &str, kind: Kind, arguments: &Arguments) {
    let mut random = Random::new(arguments.seed);
    let mut rows = Vec::new();
    let mut watchers = Vec::new();
    let mut texts = Vec::new();
    for tool in Tool::ALL.into_iter().filter(|tool| tool.is_here()) {
        let (source, found) = bed.tree(kind, &format!("edit-{}-{}", kind.name(), tool as usize), arguments.seed);
        texts = found;
        let mut row = Row::new(row, tool.name(), tool == Tool::Ours);
        match Watcher::start(bed, tool, source) {
            Ok(watcher) => watchers.push((rows.len(), watcher, Duration::ZERO)),
            Err(reason) => row.add(Err(reason)),
        }
        rows.push(row);
    }
    let mut version = 0;
    for _ in 0..TURNS {
        for (index, watcher, spent) in &mut watchers {
            if rows[*index].failed() || *spent > BUDGET {
                continue;
            }
            let start = Instant::now();
            for _ in 0..TURN {
                version += 1;
                let file = &texts[random.below(texts.len())];
                let result = watcher.edit(bed, file, version);
                rows[*index].add(result.map(|wall| Sample { wall, ..Sample::default() }));
                if rows[*index].failed() || *spent + start.elapsed() > BUDGET {
                    break;
                }
                // People do not save in step with anybody's timer.
                std::thread::sleep(Duration::from_millis(20 + random.below(60) as u64));
            }
            *spent += start.elapsed();
        }
    }
    for (index, watcher, _) in &watchers {
        if watcher.tool == Tool::Ours && !rows[*index].failed() {
            rows[*index].durable = durable(bed, watcher, &texts, &mut random).ok();
        }
    }
    drop(watchers);
    end(bed);
    report.extend(rows);
}

/// Returns the median of the seconds from a save to `sync flush --durable` saying that it is safe.
fn durable(bed: &Bed, watcher: &Watcher, texts: &[String], random: &mut Random) -> Result<f64, String> {
    let mut samples = Vec::new();
    let workspace = watcher.source.display().to_string();
    for version in 0..TURN {
        let file = watcher.source.join(&texts[random.below(texts.len())]);
        let start = Instant::now();
        fs::write(file, format!("# durable {version}\n")).map_err(|error| error.to_string())?;
        let mut flush = bed.ours(&["sync", "flush", "--durable", "--workspace", &workspace, "--json"]);
        measure_free(flush.stdout(Stdio::null()))?;
        samples.push(start.elapsed().as_secs_f64());
    }
    Ok(measure::median(samples))
}

/// Measures processor time and memory while nothing happens, at 30 000 files.
pub(crate) fn idle(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    for tool in Tool::ALL.into_iter().filter(|tool| tool.is_here() && !tool.programs().is_empty()) {
        let (source, _) = bed.tree(Kind::Many, &format!("idle-{}", tool as usize), arguments.seed);
        let mut row = Row::new(row, tool.name(), tool == Tool::Ours);
        match Watcher::start(bed, tool, source) {
            Ok(_watcher) => {
                std::thread::sleep(SETTLE);
                let (before, after) = (cost(bed, tool), {
                    std::thread::sleep(IDLE);
                    cost(bed, tool)
                });
                row.memory = Some((after.near_bytes, after.far_bytes));
                let near = after.near - before.near;
                if tool == Tool::Ours {
                    crate::say(&idle_words(before, after));
                }
                row.add(Ok(Sample { wall: IDLE.as_secs_f64(), near, far: after.far - before.far }));
            }
            Err(reason) => row.add(Err(reason)),
        }
        end(bed);
        report.extend([row]);
    }
}

/// Returns what doing nothing costs, beside what it should cost at most.
#[expect(clippy::cast_precision_loss)]
fn idle_words(before: Cost, after: Cost) -> String {
    let percent = |seconds: f64| seconds / IDLE.as_secs_f64() * 100.0;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "  ours at rest: {:.1} % of a core here, {:.1} % there (at most 0.3); {:.1} MB here (at most 25, {:.1} of it \
         its own), {:.1} MB there (at most 12, {:.1} of it its own)",
        percent(after.near - before.near),
        percent(after.far - before.far),
        megabytes(after.near_bytes),
        megabytes(after.near_private),
        megabytes(after.far_bytes),
        megabytes(after.far_private),
    )
}

/// What a tool's processes have cost so far.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    near: f64,
    far: f64,
    near_bytes: u64,
    far_bytes: u64,
    /// What of it is not shared with the program's file.
    near_private: u64,
    far_private: u64,
}

fn cost(bed: &Bed, tool: Tool) -> Cost {
    let sum = |home: &Path| {
        let ours = |stat: &process::Stat| {
            process::name(stat.pid).is_some_and(|name| tool.programs().iter().any(|program| name.starts_with(program)))
        };
        process::with_home(home).into_iter().filter(ours).fold((0.0, 0, 0), |(seconds, bytes, private), stat| {
            let resident = process::resident(stat.pid).unwrap_or_default();
            let own = process::private(stat.pid).unwrap_or_default();
            (seconds + stat.own + stat.children, bytes + resident, private + own)
        })
    };
    let (near, near_bytes, near_private) = sum(&bed.work.home());
    let (far, far_bytes, far_private) = sum(&bed.host.home());
    Cost { near, far, near_bytes, far_bytes, near_private, far_private }
}

/// Ends every watcher and frees the memory of its tree.
fn end(bed: &Bed) {
    process::end_all(&bed.work.home());
    bed.forget();
    crate::bed::remove(&bed.work.path().join("data"));
}
