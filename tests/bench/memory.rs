//! The most memory that both ends need while one large file travels: sent, sent again after an edit, and brought home.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::process;

use crate::Arguments;
use crate::bed::{Bed, REMOTE};
use crate::big::{MIB, NAME, make, sound_bytes};
use crate::data::Random;
use crate::measure::{self, Sample};
use crate::report::{Report, Row};
use crate::tools;

/// Length of the file on a disk.
const LARGE: u64 = 4096 * MIB;
/// Its length in memory, which has to hold it four times: here, there, as the version in the making and in the trash.
const SMALLER: u64 = 1024 * MIB;
/// Most memory that an end may need, in bytes.
const GOAL: u64 = 100_000_000;
/// How often memory is looked at. The kernel remembers the peaks; what is missed is what a process does last.
const LOOK: Duration = Duration::from_millis(20);

/// Measures one large file on its way there and back.
pub(crate) fn measure(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let size = if arguments.in_memory { SMALLER } else { LARGE };
    let source = bed.work.path().join("data").join(row);
    let target = bed.remote(row);
    let mut random = Random::new(arguments.seed);
    let mut run = || -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        make(&source, size, arguments.seed).map_err(text)?;
        tools::Tool::Ours.prepare(bed, &source, row, bed.port())?;
        let (from, to) = (source.display().to_string(), target.display().to_string());
        let push = ["sync", "push", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"];
        let pull = ["sync", "pull", NAME, "--workspace", &from, "--remote", REMOTE, "--yes", "--json"];
        let mut step = |what: &str, command: &[&str]| -> Result<(), String> {
            let case = format!("{row}, {} GiB, {what}", size / 1024 / MIB);
            let mut row = Row::new(&case, "ours", true);
            let result = watched(bed, &mut bed.ours(command));
            let result = result.and_then(|ran| sound_bytes(&source, &target).map(|()| ran));
            let reason = result.as_ref().err().cloned();
            if let Ok((_, (near, far))) = &result {
                row.memory = Some((*near, *far));
                crate::say(&words(&case, *near, *far));
            }
            row.add(result.map(|(sample, _)| sample));
            report.extend([row]);
            reason.map_or(Ok(()), Err)
        };
        step("sent", &push)?;
        edit(&source, size / 2, &mut random).map_err(text)?;
        step("sent again", &push)?;
        edit(&target, size / 4, &mut random).map_err(text)?;
        step("brought home", &pull)?;
        fs::remove_file(source.join(NAME)).map_err(text)?;
        step("brought home anew", &pull)
    };
    if let Err(reason) = run() {
        let mut failed = Row::new(row, "ours", true);
        failed.add(Err(reason));
        report.extend([failed]);
    }
    bed.forget();
    crate::bed::remove(&source);
}

/// Makes one MiB of the file another.
fn edit(folder: &Path, at: u64, random: &mut Random) -> io::Result<()> {
    let noise: Vec<u8> = (0..MIB / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    File::options().write(true).open(folder.join(NAME))?.write_all_at(&noise, at)
}

/// Runs a command, and returns the most that our processes needed meanwhile at each end, in bytes.
fn watched(bed: &Bed, command: &mut Command) -> Result<(Sample, (u64, u64)), String> {
    for stat in process::with_home(&bed.host.home()) {
        process::forget_peak(stat.pid);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let now = (peaks(&bed.work.home(), &["mltoolbox-sidec"]), peaks(&bed.host.home(), &["mlt"]));
                most = (now.0.max(most.0), now.1.max(most.1));
                std::thread::sleep(LOOK);
            }
            most
        });
        let ran = measure::run(bed, command);
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().map_err(|_| "memory could not be watched".to_owned())?;
        ran.map(|sample| (sample, most))
    })
}

/// Returns the sum of what the live processes with such names, below a home, needed at most.
fn peaks(home: &Path, names: &[&str]) -> u64 {
    let ours = |pid: i32| process::name(pid).is_some_and(|name| names.iter().any(|begin| name.starts_with(begin)));
    let stats = process::with_home(home).into_iter().filter(|stat| ours(stat.pid));
    stats.filter_map(|stat| process::peak(stat.pid)).sum()
}

#[expect(clippy::cast_precision_loss)]
fn words(case: &str, near: u64, far: u64) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let missed = if near.max(far) > GOAL { ": MISSED" } else { "" };
    format!(
        "  {case}: {:.1} MB here, {:.1} MB there (at most {:.0}){missed}",
        megabytes(near),
        megabytes(far),
        megabytes(GOAL)
    )
}
