//! Wall time, processor time of both ends, and what is made of several samples.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use harness::process::{self, Stat};

use crate::bed::Bed;

/// One run of one tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Seconds by the clock.
    pub(crate) wall: f64,
    /// Processor seconds at the sending end.
    pub(crate) near: f64,
    /// Processor seconds at the receiving end, the SSH server's among them.
    pub(crate) far: f64,
}

/// Processor seconds used so far at both ends.
///
/// Near: children of this program that ended, and every live process of the client's home (a background
/// owner, an SSH master). Far: the SSH server with all it started, and every live process of the remote
/// home (the agent, which outlives its session). Resolution is the kernel's clock tick, 10 ms.
fn used(bed: &Bed) -> (f64, f64) {
    let total = |stats: BTreeMap<i32, Stat>| stats.values().map(|stat| stat.own + stat.children).sum::<f64>();
    let by_id = |stats: Vec<Stat>| stats.into_iter().map(|stat| (stat.pid, stat)).collect::<BTreeMap<_, _>>();
    let own = i32::try_from(std::process::id()).ok().and_then(process::stat).map_or(0.0, |stat| stat.children);
    let near = by_id(process::with_home(&bed.work.home()));
    let listener = i32::try_from(bed.host.listener_id()).expect("process ids are positive");
    let mut far = by_id(process::descendants(listener));
    far.extend(process::stat(listener).map(|stat| (listener, stat)));
    far.extend(by_id(process::with_home(&bed.host.home())));
    // The server is a child of this program that has not ended, so its time is in neither `own` nor `near`.
    (own + total(near), total(far))
}

/// Runs a command to its end and returns what it took, or what it said when it failed.
pub(crate) fn run(bed: &Bed, command: &mut Command) -> Result<Sample, String> {
    run_with_output(bed, command).map(|(sample, _)| sample)
}

/// Does the same and returns what the command wrote to its standard output, too.
pub(crate) fn run_with_output(bed: &Bed, command: &mut Command) -> Result<(Sample, String), String> {
    let before = used(bed);
    let start = Instant::now();
    let output = command.output().map_err(|error| error.to_string())?;
    let wall = start.elapsed().as_secs_f64();
    let after = used(bed);
    if output.status.success() {
        let sample = Sample { wall, near: after.0 - before.0, far: after.1 - before.1 };
        Ok((sample, String::from_utf8_lossy(&output.stdout).into_owned()))
    } else {
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let tail: Vec<&str> = text.lines().rev().take(5).collect();
        Err(tail.into_iter().rev().collect::<Vec<_>>().join(" / "))
    }
}

/// Returns the value below which `share` of the samples lie; 0 when there are none.
pub(crate) fn percentile(samples: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = samples.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// Returns the value in the middle.
pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let samples: Vec<f64> = samples.into_iter().collect();
    let upper = percentile(samples.iter().copied(), 0.5);
    // Of an even number of samples two are in the middle.
    let lower = -percentile(samples.iter().map(|sample| -sample), 0.5);
    f64::midpoint(lower, upper)
}
