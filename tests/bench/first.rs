//! One-shot rows: the first copy of a tree, the same again without a change, a connection.

use std::path::Path;
use std::time::Duration;

use harness::oracle;
use harness::proxy::{Proxy, Way};

use crate::Arguments;
use crate::bed::{Bed, REMOTE};
use crate::data::Kind;
use crate::measure::{self, Sample};
use crate::report::{Report, Row};
use crate::tools::{self, Tool};

/// Most runs of a tool that needs many times as long as the others.
const SLOW_RUNS: usize = 2;

/// Bytes per second of a wire of 100 Mbit/s.
const SLOW_WIRE: f64 = 12.5e6;

/// How long the files were left alone that are then copied again.
const QUIET: Duration = Duration::from_millis(2500);

/// Measures the first copy of a tree to an empty remote.
pub(crate) fn copy(bed: &Bed, report: &mut Report, row: &str, kind: Kind, arguments: &Arguments) {
    let (source, _) = bed.tree(kind, kind.name(), arguments.seed);
    let tools: Vec<Tool> = Tool::ALL.into_iter().filter(|tool| tool.is_here() && tool.takes(kind)).collect();
    let mut rows: Vec<Row> =
        tools.iter().map(|tool| Row::new(row, tool.name(), tool.is_ours()).open(tool.is_open(false))).collect();
    for run in 0..arguments.runs {
        for step in 0..tools.len() {
            // Another tool begins each round, so that none always follows the same other.
            let index = (run + step) % tools.len();
            let slow = matches!(tools[index], Tool::Unison | Tool::Mutagen);
            if rows[index].failed() || (slow && run >= SLOW_RUNS) {
                continue;
            }
            let result = once(bed, tools[index], &source, bed.port());
            rows[index].add(result);
        }
    }
    for (tool, row) in tools.iter().zip(&mut rows) {
        if !row.failed() {
            row.bytes = bytes(bed, *tool, &source);
            if tool.is_ours() {
                // A push ends when everything is durable, so what is visible was so by then.
                row.durable = Some(row.median());
            }
        }
    }
    bed.forget();
    report.extend(rows);
}

/// Measures the first copy of a project over a wire of 100 Mbit/s.
pub(crate) fn throttled(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let (source, _) = bed.tree(Kind::Typical, Kind::Typical.name(), arguments.seed);
    let tools: Vec<Tool> = Tool::SLOW.into_iter().filter(|tool| tool.is_here()).collect();
    let mut rows: Vec<Row> = tools.iter().map(|tool| Row::new(row, tool.name(), tool.is_ours())).collect();
    for _ in 0..arguments.runs {
        for (tool, row) in tools.iter().zip(&mut rows).filter(|(_, row)| !row.failed()) {
            bed.forget();
            let wire = Proxy::start(bed.port());
            // What is not measured goes at full speed.
            let prepared = tool.prepare(bed, &source, "copy", wire.port());
            let before = (wire.bytes(Way::Up), wire.bytes(Way::Down));
            wire.throttle(SLOW_WIRE);
            let sample =
                prepared.and_then(|()| measure::run(bed, &mut tool.command(bed, &source, "copy", wire.port())));
            let sound = sample.and_then(|sample| sound(&source, &bed.remote("copy")).map(|()| sample));
            row.add(sound);
            row.bytes = Some((wire.bytes(Way::Up) - before.0, wire.bytes(Way::Down) - before.1));
        }
    }
    bed.forget();
    report.extend(rows);
}

/// Copies once to a new folder and has `rsync` compare the result.
fn once(bed: &Bed, tool: Tool, source: &Path, port: u16) -> Result<Sample, String> {
    let target = "copy";
    if tool == Tool::OursOpen {
        bed.forget_here();
    }
    tool.prepare(bed, source, target, port)?;
    let sample = measure::run(bed, &mut tool.command(bed, source, target, port))?;
    sound(source, &bed.remote(target))?;
    Ok(sample)
}

/// Has `rsync` compare a copy with its source.
pub(crate) fn sound(source: &Path, target: &Path) -> Result<(), String> {
    match oracle::differences(source, target, &[]).as_slice() {
        [] => Ok(()),
        [first, ..] => Err(format!("the copy is not equal: {first}")),
    }
}

/// Counts bytes in a run of its own, over a wire whose copying would disturb the clock.
fn bytes(bed: &Bed, tool: Tool, source: &Path) -> Option<(u64, u64)> {
    if matches!(tool, Tool::Mutagen | Tool::Unison) {
        // The one connects by a wrapper that knows one port only, the other needs minutes for many files.
        return None;
    }
    bed.forget();
    let wire = Proxy::start(bed.port());
    let prepared = tool.prepare(bed, source, "copy", wire.port());
    let before = (wire.bytes(Way::Up), wire.bytes(Way::Down));
    let ran = prepared.and_then(|()| measure::run(bed, &mut tool.command(bed, source, "copy", wire.port())));
    ran.ok().map(|_| (wire.bytes(Way::Up) - before.0, wire.bytes(Way::Down) - before.1))
}

/// Measures a copy when nothing changed since the last.
pub(crate) fn again(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    for kind in [Kind::Typical, Kind::Many] {
        let row = format!("{row}, {}", kind.name());
        let (source, _) = bed.tree(kind, kind.name(), arguments.seed);
        let tools: Vec<Tool> =
            Tool::ALL.into_iter().filter(|tool| tool.is_here() && tool.takes(kind) && tool.compares()).collect();
        let target = |tool: Tool| format!("again-{}", tool as usize);
        // A folder has one background process, through which every push of it goes.
        let (open, _) = bed.tree(kind, &format!("open-{}", kind.name()), arguments.seed);
        let source = |tool: Tool| if tool == Tool::OursOpen { &open } else { &source };
        // What was saved within the last two seconds is read again by whoever distrusts coarse clocks.
        std::thread::sleep(QUIET);
        let mut rows: Vec<Row> =
            tools.iter().map(|tool| Row::new(&row, tool.name(), tool.is_ours()).open(tool.is_open(true))).collect();
        for (tool, row) in tools.iter().zip(&mut rows) {
            let port = bed.port();
            let first = tool
                .prepare(bed, source(*tool), &target(*tool), port)
                .and_then(|()| measure::run(bed, &mut tool.command(bed, source(*tool), &target(*tool), port)));
            if let Err(reason) = first {
                row.add(Err(reason));
            }
        }
        for run in 0..arguments.runs {
            for step in 0..tools.len() {
                let index = (run + step) % tools.len();
                if !rows[index].failed() {
                    let mut command =
                        tools[index].command(bed, source(tools[index]), &target(tools[index]), bed.port());
                    let result = measure::run(bed, &mut command);
                    let equal = sound(source(tools[index]), &bed.remote(&target(tools[index])));
                    rows[index].add(result.and_then(|sample| equal.map(|()| sample)));
                }
            }
        }
        bed.forget();
        report.extend(rows);
    }
}

/// Measures a connection with its smallest use.
pub(crate) fn connect(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let port = bed.port();
    let config = bed.host.client_config(port).display().to_string();
    let shared = format!("ssh -F {config} -S {} bench true", tools::master(bed, port));
    let mut rows = [
        Row::new(row, "ours, `remote test`", true),
        Row::new(row, "ssh true", false),
        Row::new(row, "ssh true, open connection", false),
    ];
    if let Err(reason) = bed.add_remote(REMOTE, port).and_then(|()| tools::open_master(bed, port)) {
        rows[0].add(Err(reason));
    }
    for _ in 0..arguments.runs.max(5) {
        let mut commands = [
            bed.ours(&["remote", "test", REMOTE, "--yes", "--json"]),
            bed.shell(&format!("ssh -F {config} bench true")),
            bed.shell(&shared),
        ];
        for (row, command) in rows.iter_mut().zip(&mut commands) {
            if !row.failed() {
                let result = measure::run_with_output(bed, command);
                let ours = row.is_ours();
                row.add(result.and_then(|(sample, output)| {
                    if ours && !output.contains("\"connectMs\"") {
                        return Err(format!("said nothing of a connection: {output}"));
                    }
                    Ok(sample)
                }));
            }
        }
    }
    bed.forget();
    report.extend(rows);
}
