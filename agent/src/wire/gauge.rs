//! Pure: how fast a link takes what is written, and whether packing pays on it.
//!
//! Only the time inside of writes counts. A slow reader of files or a slow disk at the other end leaves nothing
//! to be written and is no matter of the link. What cannot be told apart is a link that is slow because both ends,
//! with all their ciphers, share two busy processors; packing would make that worse, so the bounds lie below it.

use std::time::Duration;

/// Bytes per second above which bytes travel as they are: 1.5 Gbit/s. Over SSH on one machine a MiB costs both ends
/// 2.15 ms of processor time as it is; packing and unpacking it cost 1.75 + 0.96 ms (measured with zstd level 1 on
/// source code) and save two thirds of the former. So packing never pays in processor time, and pays in time only
/// where the link is slower than packing at 570 MiB/s, less what else the processors have to do.
const RAW_ABOVE: f64 = 190e6;

/// Bytes per second below which they are packed: 1 Gbit/s. A first sync of 30 000 files over loopback, both ends on
/// two processors, writes at 150 to 250 MB/s. In between everything stays as it is.
const PACKED_BELOW: f64 = 125e6;

/// Bytes after which a measurement ends.
const BYTES: u64 = 8 * 1024 * 1024;

/// Time in writes after which one ends: a slow link is found out soon.
const TIME: Duration = Duration::from_millis(100);

/// Measurements in a row that have to be slow: the buffers on the way take the first bytes of any link at once, and
/// a busy machine holds up any of them now and then.
const SLOW: u32 = 2;

/// Measurements in a row that have to be fast before bytes travel as they are again; doubled each time that this
/// turns out to have been a mistake, because packed bytes may be too few to fill the link.
const FAST: u32 = 4;

/// Most of those: 8 GiB.
const MOST_FAST: u32 = 1024;

/// What is known of a link.
#[derive(Clone, Debug)]
pub(super) struct Gauge {
    bytes: u64,
    time: Duration,
    packs: bool,
    row: u32,
    patience: u32,
}

impl Default for Gauge {
    fn default() -> Self {
        Self { bytes: 0, time: Duration::ZERO, packs: false, row: 0, patience: FAST }
    }
}

impl Gauge {
    /// Takes note of a write, and returns whether it pays to pack from now on.
    pub(super) fn wrote(&mut self, bytes: usize, time: Duration) -> bool {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.time = self.time.saturating_add(time);
        if self.bytes >= BYTES || self.time >= TIME {
            #[allow(clippy::cast_precision_loss, reason = "a measurement is no more exact")]
            let bytes = self.bytes as f64;
            self.measured(bytes / self.time.as_secs_f64().max(f64::MIN_POSITIVE));
            (self.bytes, self.time) = (0, Duration::ZERO);
        }
        self.packs
    }

    fn measured(&mut self, rate: f64) {
        let against = if self.packs { rate > RAW_ABOVE } else { rate < PACKED_BELOW };
        self.row = if against { self.row + 1 } else { 0 };
        let enough = if self.packs { self.patience } else { SLOW };
        if self.row < enough {
            return;
        }
        if self.packs {
            self.patience = self.patience.saturating_mul(2).min(MOST_FAST);
        }
        (self.packs, self.row) = (!self.packs, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `bytes` in frames at a rate, and returns whether it packs then and how often that changed.
    fn write(gauge: &mut Gauge, bytes: u64, rate: f64) -> (bool, usize) {
        let (mut packs, mut changes) = (gauge.packs, 0);
        for _ in 0..bytes.div_ceil(256 * 1024) {
            let now = gauge.wrote(256 * 1024, Duration::from_secs_f64(262_144.0 / rate));
            changes += usize::from(now != packs);
            packs = now;
        }
        (packs, changes)
    }

    #[test]
    fn it_starts_raw_and_stays_so_on_a_fast_link() {
        let mut gauge = Gauge::default();
        assert!(!gauge.wrote(0, Duration::ZERO));
        for rate in [600e6, 191e6, 1e9, 126e6] {
            assert_eq!(write(&mut gauge, 1 << 30, rate), (false, 0), "{rate}");
        }
    }

    #[test]
    fn a_slow_link_is_found_out_within_a_fraction_of_a_second() {
        let mut gauge = Gauge::default();
        // What the buffers take.
        assert_eq!(write(&mut gauge, 4 << 20, 2e9), (false, 0));
        assert_eq!(write(&mut gauge, 4 << 20, 12.5e6), (true, 1));
        for rate in [1e6, 12.5e6, 60e6, 125e6, 189e6] {
            assert_eq!(write(&mut gauge, 1 << 28, rate), (true, 0), "{rate}");
        }
    }

    #[test]
    fn a_hiccup_changes_nothing() {
        let mut gauge = Gauge::default();
        for _ in 0..100 {
            gauge.wrote(1000, Duration::from_secs(2));
            assert_eq!(write(&mut gauge, 8 << 20, 600e6), (false, 0));
        }
    }

    #[test]
    fn it_does_not_flap_when_packed_bytes_do_not_fill_the_link() {
        let mut gauge = Gauge::default();
        let mut changes = 0;
        for _ in 0..20_000 {
            // 1 Gbit/s; packed bytes come slower than that and never wait.
            let rate = if gauge.packs { 1e12 } else { 118e6 };
            changes += write(&mut gauge, 8 << 20, rate).1;
        }
        assert!(changes <= 60, "{changes} changes in 160 GB");
    }

    #[test]
    fn a_link_that_became_fast_is_used_as_it_is() {
        let mut gauge = Gauge::default();
        assert!(write(&mut gauge, 1 << 26, 12.5e6).0);
        assert_eq!(write(&mut gauge, 1 << 26, 1e9), (false, 1));
    }
}
