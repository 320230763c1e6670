//! Measures ours and the peers side by side in one run: same data, same machine, same SSH server, turn by turn.
//!
//! It never switches off what keeps data safe: every copy is compared with its source before it counts.

mod bed;
mod big;
mod config;
mod data;
mod entries;
mod first;
mod live;
mod measure;
mod memory;
mod rename;
mod report;
mod tools;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::bed::Bed;
use crate::report::Report;

const USAGE: &str = "\
usage: bench sync [--rows ROW,...] [--runs N] [--seed S] [--delay MS] [--on memory|disk] [--entries N] [--json FILE]
                  [--markdown FILE]

Rows: first-many, first-typical, no-change, rename, throttled, edit-2000, edit-30000, big, big-middle,
append-log, append-checkpoint, raw, idle, connect, config [default: all these], entries (memory and time of each structure at
`--entries` paths [default: 1000000]), and memory (the most that both ends need for one file of 4 GiB, of 1 GiB with
`--on memory`).
--delay puts a wire between client and server on which a round trip needs so many milliseconds more.
--on disk keeps data and copies below the folder for temporary files instead of in memory.
Tools that are not on the PATH (mutagen, unison, lsyncd, zstd) are left out and said so.
The table goes to standard output, what is going on to standard error.
";

/// What was asked for.
#[derive(Debug)]
struct Arguments {
    rows: Vec<String>,
    runs: usize,
    seed: u64,
    delay: Duration,
    in_memory: bool,
    entries: usize,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
}

/// Every row, in the order in which it is measured.
const ROWS: &[&str] = &[
    "first-typical",
    "first-many",
    "no-change",
    "rename",
    "throttled",
    "edit-2000",
    "edit-30000",
    "big",
    "big-middle",
    "append-log",
    "append-checkpoint",
    "raw",
    "idle",
    "connect",
    "config",
    ENTRIES,
    MEMORY,
];

/// Rows that have to be asked for.
const ENTRIES: &str = "entries";
const MEMORY: &str = "memory";

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(reason) => {
            say(&format!("error: {reason}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new(arguments.seed, arguments.runs, arguments.in_memory, arguments.delay);
    let bed = match Bed::new(arguments.in_memory, arguments.delay) {
        Ok(bed) => bed,
        Err(reason) => {
            say(&format!("error: no SSH server to measure against: {reason:?}"));
            return ExitCode::FAILURE;
        }
    };
    for program in
        ["rsync", "zstd", "mutagen", "unison", "lsyncd"].into_iter().filter(|program| !harness::skip::has(program))
    {
        say(&format!("{program} is not on the PATH and is left out"));
    }
    let wanted = |row: &str| {
        (arguments.rows.is_empty() && ![ENTRIES, MEMORY].contains(&row))
            || arguments.rows.iter().any(|name| name == row)
    };
    for row in ROWS.iter().filter(|row| wanted(row)) {
        say(&format!("{row} …"));
        match *row {
            "first-typical" => first::copy(&bed, &mut report, row, data::Kind::Typical, &arguments),
            "first-many" => first::copy(&bed, &mut report, row, data::Kind::Many, &arguments),
            "no-change" => first::again(&bed, &mut report, row, &arguments),
            "rename" => rename::folder(&bed, &mut report, row, &arguments),
            "throttled" => first::throttled(&bed, &mut report, row, &arguments),
            "edit-2000" => live::edits(&bed, &mut report, row, data::Kind::Typical, &arguments),
            "edit-30000" => live::edits(&bed, &mut report, row, data::Kind::Many, &arguments),
            "big" | "big-middle" | "append-log" | "append-checkpoint" => {
                big::change(&bed, &mut report, row, &arguments);
            }
            "raw" => big::raw(&bed, &mut report, row, &arguments),
            "idle" => live::idle(&bed, &mut report, row, &arguments),
            "connect" => first::connect(&bed, &mut report, row, &arguments),
            "config" => config::load(&bed, &mut report, row, &arguments),
            ENTRIES => entries::measure(&bed, &mut report, row, arguments.entries, arguments.in_memory),
            MEMORY => memory::measure(&bed, &mut report, row, &arguments),
            other => say(&format!("error: the row {other} has no measurement")),
        }
    }
    finish(&report, &arguments)
}

fn finish(report: &Report, arguments: &Arguments) -> ExitCode {
    let markdown = report.markdown();
    let mut files = vec![];
    files.extend(arguments.markdown.as_ref().map(|path| (path, markdown.clone())));
    files.extend(arguments.json.as_ref().map(|path| (path, report.json())));
    for (path, text) in files {
        if let Err(error) = std::fs::write(path, text) {
            say(&format!("error: cannot write `{}`: {error}", path.display()));
            return ExitCode::FAILURE;
        }
    }
    if let Err(error) = std::io::stdout().write_all(markdown.as_bytes()) {
        say(&format!("error: cannot write the table: {error}"));
        return ExitCode::FAILURE;
    }
    if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = arguments.peekable();
    if arguments.next().as_deref() != Some("sync") {
        return Err("say what to measure: `sync`".to_owned());
    }
    let mut parsed = Arguments {
        rows: Vec::new(),
        runs: 5,
        seed: 1,
        delay: Duration::ZERO,
        in_memory: true,
        entries: 1_000_000,
        json: None,
        markdown: None,
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("`{flag} {value}`: {error}"));
        match flag.as_str() {
            "--rows" => parsed.rows = value.split(',').map(str::to_owned).collect(),
            "--runs" => parsed.runs = usize::try_from(number()?.max(1)).map_err(|error| error.to_string())?,
            "--seed" => parsed.seed = number()?,
            "--delay" => parsed.delay = Duration::from_millis(number()?),
            "--on" if value == "memory" || value == "disk" => parsed.in_memory = value == "memory",
            "--entries" => parsed.entries = usize::try_from(number()?.max(10)).map_err(|error| error.to_string())?,
            "--json" => parsed.json = Some(value.into()),
            "--markdown" => parsed.markdown = Some(value.into()),
            _ => return Err(format!("`{flag}` is not an option")),
        }
    }
    match parsed.rows.iter().find(|row| !ROWS.contains(&row.as_str())) {
        Some(row) => Err(format!("there is no row `{row}`")),
        None => Ok(parsed),
    }
}

/// Says on standard error what is going on.
fn say(line: &str) {
    // A closed standard error leaves nobody to tell.
    writeln!(std::io::stderr(), "{line}").ok();
}
