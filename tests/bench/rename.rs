//! The row about renames: a folder of 2000 files gets another name after everything was copied.

use std::path::Path;
use std::process::Command;

use harness::oracle;

use crate::Arguments;
use crate::bed::{Bed, REMOTE};
use crate::data::Kind;
use crate::measure::{self, Sample};
use crate::report::{Report, Row};
use crate::tools::Tool;

/// The folder that is renamed, and its other name.
const NAMES: [&str; 2] = ["src", "renamed"];

/// Who is asked to follow a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follower {
    Ours,
    Rsync,
    /// rsync that looks for a similar file to start from.
    RsyncFuzzy,
}

impl Follower {
    const ALL: [Self; 3] = [Self::Ours, Self::Rsync, Self::RsyncFuzzy];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Rsync => "rsync -a --delete",
            Self::RsyncFuzzy => "rsync -a -yy --delete-after",
        }
    }

    fn command(self, bed: &Bed, source: &Path, target: &str) -> Command {
        let port = bed.port();
        let (from, to) = (source.display().to_string(), bed.remote(target).display().to_string());
        let options = match self {
            Self::Ours => {
                return bed.ours(&["sync", "push", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"]);
            }
            Self::Rsync => "-a --delete",
            Self::RsyncFuzzy => "-a -yy --delete-after",
        };
        let config = bed.host.client_config(port).display().to_string();
        bed.shell(&format!("rsync {options} -e 'ssh -F {config}' {from}/ bench:{to}/"))
    }
}

/// Measures how each follows the rename of a folder.
pub(crate) fn folder(bed: &Bed, report: &mut Report, row: &str, arguments: &Arguments) {
    let (source, _) = bed.tree(Kind::Typical, Kind::Typical.name(), arguments.seed);
    let followers: Vec<Follower> = Follower::ALL
        .into_iter()
        .filter(|follower| *follower == Follower::Ours || harness::skip::has("rsync"))
        .collect();
    let mut rows: Vec<Row> =
        followers.iter().map(|follower| Row::new(row, follower.name(), *follower == Follower::Ours)).collect();
    let target = |follower: Follower| format!("renamed-{}", follower as usize);
    for (follower, row) in followers.iter().zip(&mut rows) {
        // Only ours has something to forget; it must not be made to forget the first copy again.
        let prepared = match follower {
            Follower::Ours => Tool::Ours.prepare(bed, &source, &target(*follower), bed.port()),
            Follower::Rsync | Follower::RsyncFuzzy => Ok(()),
        };
        let first = prepared.and_then(|()| measure::run(bed, &mut follower.command(bed, &source, &target(*follower))));
        if let Err(reason) = first {
            row.add(Err(reason));
        }
    }
    for run in 0..arguments.runs {
        let (old, new) = (NAMES[run % 2], NAMES[(run + 1) % 2]);
        if let Err(error) = std::fs::rename(source.join(old), source.join(new)) {
            for row in &mut rows {
                row.add(Err(error.to_string()));
            }
            break;
        }
        for step in 0..followers.len() {
            let index = (run + step) % followers.len();
            if !rows[index].failed() {
                rows[index].add(once(bed, followers[index], &source, &target(followers[index])));
            }
        }
    }
    bed.forget();
    report.extend(rows);
}

fn once(bed: &Bed, follower: Follower, source: &Path, target: &str) -> Result<Sample, String> {
    let sample = measure::run(bed, &mut follower.command(bed, source, target))?;
    match oracle::differences(source, &bed.remote(target), &[]).as_slice() {
        [] => Ok(sample),
        [first, ..] => Err(format!("the copy is not equal: {first}")),
    }
}
