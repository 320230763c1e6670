//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::measure::{Sample, median, percentile};

/// One tool in one row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    case: String,
    tool: String,
    ours: bool,
    /// Whether its connection was open before the clock ran.
    open: bool,
    samples: Vec<Sample>,
    failure: Option<String>,
    /// Bytes up and down in a run of its own.
    pub(crate) bytes: Option<(u64, u64)>,
    /// Seconds until it would survive a power cut, where that is asked for separately.
    pub(crate) durable: Option<f64>,
    /// Resident bytes here and there.
    pub(crate) memory: Option<(u64, u64)>,
}

impl Row {
    /// Begins without samples.
    pub(crate) fn new(row: &str, tool: &str, ours: bool) -> Self {
        Self {
            case: row.to_owned(),
            tool: tool.to_owned(),
            ours,
            open: false,
            samples: Vec::new(),
            failure: None,
            bytes: None,
            durable: None,
            memory: None,
        }
    }

    /// Says whether its connection is open before the clock runs.
    pub(crate) fn open(self, open: bool) -> Self {
        Self { open, ..self }
    }

    /// Adds a sample, or why there is none.
    pub(crate) fn add(&mut self, result: Result<Sample, String>) {
        match result {
            Ok(sample) => self.samples.push(sample),
            Err(reason) => {
                crate::say(&format!("  {} ({}): {reason}", self.tool, self.case));
                self.failure.get_or_insert(reason);
            }
        }
    }

    /// Returns whether something went wrong.
    pub(crate) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Returns whether it is about ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Returns the seconds of the run in the middle.
    pub(crate) fn median(&self) -> f64 {
        median(self.wall())
    }

    fn wall(&self) -> impl Iterator<Item = f64> + '_ {
        self.samples.iter().map(|sample| sample.wall)
    }
}

/// All that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    seed: u64,
    runs: usize,
    in_memory: bool,
    delay: Duration,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    seed: u64,
    runs: usize,
    in_memory: bool,
    delay_ms: u128,
    machine: String,
    rows: Vec<JsonRow<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRow<'a> {
    row: &'a str,
    tool: &'a str,
    ours: bool,
    failure: Option<&'a str>,
    wall_seconds: Vec<f64>,
    cpu_here_seconds: Vec<f64>,
    cpu_there_seconds: Vec<f64>,
    bytes_up: Option<u64>,
    bytes_down: Option<u64>,
    durable_seconds: Option<f64>,
    memory_here: Option<u64>,
    memory_there: Option<u64>,
}

impl Report {
    /// Begins without rows.
    pub(crate) fn new(seed: u64, runs: usize, in_memory: bool, delay: Duration) -> Self {
        Self { seed, runs, in_memory, delay, rows: Vec::new() }
    }

    /// Adds rows.
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// Returns whether everything of ours could be measured and was equal to its source.
    pub(crate) fn is_sound(&self) -> bool {
        self.rows.iter().all(|row| !row.ours || !row.failed())
    }

    /// Returns the report as JSON.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| JsonRow {
            row: &row.case,
            tool: &row.tool,
            ours: row.ours,
            failure: row.failure.as_deref(),
            wall_seconds: row.wall().collect(),
            cpu_here_seconds: row.samples.iter().map(|sample| sample.near).collect(),
            cpu_there_seconds: row.samples.iter().map(|sample| sample.far).collect(),
            bytes_up: row.bytes.map(|bytes| bytes.0),
            bytes_down: row.bytes.map(|bytes| bytes.1),
            durable_seconds: row.durable,
            memory_here: row.memory.map(|memory| memory.0),
            memory_there: row.memory.map(|memory| memory.1),
        });
        let report = JsonReport {
            version: 1,
            seed: self.seed,
            runs: self.runs,
            in_memory: self.in_memory,
            delay_ms: self.delay.as_millis(),
            machine: machine(),
            rows: rows.collect(),
        };
        serde_json::to_string_pretty(&report).expect("plain data is JSON")
    }

    /// Returns the report as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "Seed {}, {} runs, {}. Data {}, a round trip {} ms longer; tools take turns;\n\
             every copy is compared with its source.\n\
             CPU is that of all processes at each end, the SSH server's among them, to 10 ms. Visible: the clock stops\n\
             when the whole content is on the remote; durable: when it survives a power cut, where a tool can say so\n\
             (a push of ours ends only then, so that its visible time is an upper bound). Ours ÷ this: over the same kind of\n\
             connection, new or open, where both were measured.\n",
            self.seed,
            self.runs,
            machine(),
            if self.in_memory { "in memory" } else { "on disk" },
            self.delay.as_millis()
        );
        let mut names: Vec<&str> = self.rows.iter().map(|row| row.case.as_str()).collect();
        names.dedup();
        for name in names {
            text.push_str(&self.table(name));
        }
        text
    }

    fn table(&self, name: &str) -> String {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.case == name).collect();
        // The last of ours is the one in daily use; the cold one comes before it.
        let ours = |open: bool| rows.iter().rfind(|row| row.ours && !row.failed() && row.open == open);
        let mut text = format!(
            "\n### {name}\n\n| tool | n | visible, median | min | p99 | max | durable | CPU here | CPU there | up | down \
             | memory here + there | ours ÷ this |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        );
        for row in &rows {
            if let Some(reason) = &row.failure {
                let reason = reason.replace('|', "\\|");
                writeln!(text, "| {} | – | failed: {reason} | | | | | | | | | | |", row.tool)
                    .expect("a text takes all");
                continue;
            }
            let middle = median(row.wall());
            let like = ours(row.open).or_else(|| ours(!row.open)).filter(|_| middle > 0.0);
            let ratio = like.map_or_else(|| "–".to_owned(), |ours| format!("{:.2}", median(ours.wall()) / middle));
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {:.2} s | {:.2} s | {} | {} | {} | {ratio} |",
                row.tool,
                row.samples.len(),
                seconds(middle),
                seconds(percentile(row.wall(), 0.0)),
                seconds(percentile(row.wall(), 0.99)),
                seconds(percentile(row.wall(), 1.0)),
                row.durable.map_or_else(|| "–".to_owned(), seconds),
                median(row.samples.iter().map(|sample| sample.near)),
                median(row.samples.iter().map(|sample| sample.far)),
                row.bytes.map_or_else(|| "–".to_owned(), |bytes| megabytes(bytes.0)),
                row.bytes.map_or_else(|| "–".to_owned(), |bytes| megabytes(bytes.1)),
                row.memory.map_or_else(
                    || "–".to_owned(),
                    |(here, there)| format!("{} + {}", megabytes(here), megabytes(there))
                ),
            )
            .expect("a text takes all");
        }
        text
    }
}

fn seconds(value: f64) -> String {
    if value < 1.0 { format!("{:.1} ms", value * 1000.0) } else { format!("{value:.2} s") }
}

#[expect(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Returns what the machine is, as far as it matters to the figures.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned());
    format!("{processors} processors, {} {}", std::env::consts::OS, kernel.trim())
}
