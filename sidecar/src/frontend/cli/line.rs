//! Progress in one line of at most 79 characters. Pure: time comes in from outside.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::commands::show::text::{bytes, count, harmless, seconds};
use crate::frontend::Progress;

/// One less than a terminal of 80 columns, so that no terminal wraps.
pub(super) const WIDTH: usize = 79;
/// The rate is that of the last seconds, as a person feels it.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// Below this many cells the figures that matter most stand alone.
const NARROW: usize = 70;
/// Cells of the bar.
const BAR: usize = 10;

/// Measures the rate of what is reported.
#[derive(Debug, Default)]
pub(super) struct Meter {
    title: String,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Takes a report in and returns the bytes per second of the last seconds.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Shown with one decimal.
    pub(super) fn rate(&mut self, now: Instant, progress: &Progress) -> Option<u64> {
        if self.title != progress.title || self.samples.back().is_some_and(|(_, last)| *last > progress.bytes) {
            self.title.clone_from(&progress.title);
            self.samples.clear();
        }
        self.samples.push_back((now, progress.bytes));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now - *at > RATE_WINDOW) {
            self.samples.pop_front();
        }
        let (began, from) = self.samples.front()?;
        let elapsed = (now - *began).as_secs_f64();
        (elapsed >= 0.2).then(|| ((progress.bytes - from) as f64 / elapsed) as u64)
    }
}

/// Returns the line: title, bar, bytes, files, rate and time left, as far as they are known and have room.
pub(super) fn line(progress: &Progress, rate: Option<u64>, width: usize) -> String {
    let mut parts = Vec::new();
    match progress.total_bytes {
        Some(total) if total > 0 => {
            if width >= NARROW {
                parts.push(bar(progress.bytes, total));
            }
            parts.push(format!("{}/{}", bytes(progress.bytes.min(total)), bytes(total)));
        }
        _ if progress.bytes > 0 => parts.push(bytes(progress.bytes)),
        _ => {}
    }
    match progress.total_files {
        // Next to the bytes there is room for one more figure only.
        Some(total) if total > 0 && progress.total_bytes.is_none() => {
            parts.push(format!("{}/{}", progress.files, count(total, "file")));
        }
        _ if progress.files > 0 && width >= NARROW => parts.push(count(progress.files, "file")),
        _ => {}
    }
    if let Some(rate) = rate.filter(|rate| *rate > 0) {
        if width >= NARROW {
            parts.push(format!("{}/s", bytes(rate)));
        }
        if let Some(total) = progress.total_bytes.filter(|total| *total > progress.bytes) {
            parts.push(format!("{} left", seconds((total - progress.bytes).div_ceil(rate))));
        }
    }
    if let Some(detail) = &progress.detail {
        parts.push(detail.clone());
    }
    let line =
        if parts.is_empty() { progress.title.clone() } else { format!("{} {}", progress.title, parts.join("  ")) };
    let line: String = line.chars().map(harmless).collect();
    if line.chars().count() <= width {
        line
    } else {
        line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
    }
}

fn bar(done: u64, total: u64) -> String {
    let filled = usize::try_from(u128::from(done.min(total)) * BAR as u128 / u128::from(total)).unwrap_or(BAR);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_way() -> Progress {
        Progress {
            title: "Uploading".to_owned(),
            bytes: 512 << 20,
            total_bytes: Some(1 << 30),
            files: 1500,
            total_files: Some(30_000),
            ..Progress::default()
        }
    }

    #[test]
    fn a_line_shows_bytes_files_rate_and_time_left() {
        assert_eq!(
            line(&half_way(), Some(64 << 20), WIDTH),
            "Uploading [#####-----]  512.0 MiB/1.0 GiB  1500 files  64.0 MiB/s  8 s left"
        );
    }

    #[test]
    fn a_line_without_figures_is_its_title() {
        let progress = Progress { title: "Connecting to gpu1".to_owned(), ..Progress::default() };
        assert_eq!(line(&progress, None, WIDTH), "Connecting to gpu1");
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let progress = Progress { detail: Some("very/long/path".repeat(20)), ..half_way() };
        assert_eq!(line(&progress, Some(1), WIDTH).chars().count(), WIDTH);
        assert_eq!(line(&half_way(), Some(64 << 20), 39), "Uploading 512.0 MiB/1.0 GiB  8 s left");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let at = |bytes| Progress { title: "Uploading".to_owned(), bytes, ..Progress::default() };
        assert_eq!(meter.rate(start, &at(0)), None);
        assert_eq!(meter.rate(start + Duration::from_secs(2), &at(2000)), Some(1000));
        assert_eq!(meter.rate(start + Duration::from_secs(3), &at(0)), None);
    }
}
