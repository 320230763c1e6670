//! The time that reading the configuration takes: every command pays it, and it may take five milliseconds.

use std::time::Instant;

use sidecar::config::{self, Places};

use crate::Arguments;
use crate::bed::Bed;
use crate::measure::Sample;
use crate::report::{Report, Row};

/// A file of a project with most sections.
const PROJECT: &str = include_str!("config/mltoolbox.yaml");
/// Longest time that a load may take, in seconds.
const LIMIT: f64 = 0.005;

/// Measures a first load of this process, and later ones.
pub(crate) fn load(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let folder = bed.work.path().join("configured");
    let places = Places {
        start: folder.join("src/deep"),
        user: folder.join("user"),
        system: folder.join("system"),
        ..Places::default()
    };
    let made = [&places.start, &places.user, &places.system].into_iter().try_for_each(std::fs::create_dir_all);
    let written = made.and_then(|()| {
        std::fs::write(folder.join("mltoolbox.yaml"), PROJECT)?;
        std::fs::write(folder.join("mltoolbox.local.yaml"), "sync: {debounce: 1s}\n")?;
        std::fs::write(places.user.join("config.yaml"), "profiles: {ml: {env: {A: b}}}\nremote: {default: gpu1}\n")?;
        std::fs::write(places.system.join("config.yaml"), "sync: {exclude: [\"*.tmp\"]}\n")
    });
    let mut rows = [Row::new(row, "first load", true), Row::new(row, "load", true)];
    // The schema is built once for each process, so that the first load is counted by itself.
    for run in 0..=arguments.runs.max(1) * 10 {
        let start = Instant::now();
        let loaded = config::load(&places);
        let wall = start.elapsed().as_secs_f64();
        let sample = match (&written, loaded) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(()), Err(error)) => Err(error.to_string()),
            (Ok(()), Ok(_)) => Ok(Sample { wall, ..Sample::default() }),
        };
        rows[usize::from(run > 0)].add(sample);
    }
    let median = rows[1].median();
    if median > LIMIT {
        rows[1].add(Err(format!("it takes {:.1} ms, more than {:.0}", median * 1e3, LIMIT * 1e3)));
    }
    report.extend(rows);
}
