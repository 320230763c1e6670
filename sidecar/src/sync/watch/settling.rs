//! When a save is complete. Pure: it is told the time and what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::path::RelPath;

use super::{Dirty, MAX_PATHS, Paths};

/// Quiet after the last complete event. Editors close and rename within a millisecond.
const QUIET: Duration = Duration::from_millis(3);
/// Longest wait for quiet when few paths change.
const CAP: Duration = Duration::from_millis(15);
/// Longest wait in a storm, which pays for itself in fewer round trips.
const STORM_CAP: Duration = Duration::from_millis(100);
/// Paths from which on it is a storm.
const STORM: usize = 64;
/// Wait for the close of a file that was written; without it a save could be sent half done. Other systems
/// report no close, so the wait is shorter there.
pub(super) const UNCLOSED: Duration = Duration::from_millis(if cfg!(target_os = "linux") { 250 } else { 30 });
/// Longest such wait for a file that is written all the time, as logs are.
const UNCLOSED_CAP: Duration = Duration::from_secs(2);
/// Longest wait while git holds its index lock; a checkout is one change then.
const LOCKED_CAP: Duration = Duration::from_millis(500);
/// How often the lock is looked at meanwhile; its folder is not watched.
const LOCKED_PAUSE: Duration = Duration::from_millis(5);

/// Longest wait for quiet when a person asked for some, as so many times that: a file that changes all the time is sent, too.
const ASKED_CAP: u32 = 10;

/// How long to wait for quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    quiet: Duration,
    cap: Duration,
    storm_cap: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { quiet: QUIET, cap: CAP, storm_cap: STORM_CAP }
    }
}

/// Paths that changed and are not handed on yet.
#[derive(Debug, Default)]
pub(super) struct Settling {
    waits: Waits,
    ready: BTreeSet<RelPath>,
    everything: bool,
    /// When the ready ones became so, first and last.
    since: Option<(Instant, Instant)>,
    /// When the first event of any ready one was seen.
    first_event: Option<Instant>,
    /// Files that were written and not closed: when first and last.
    writing: BTreeMap<RelPath, (Instant, Instant)>,
    locked_until: Option<Instant>,
}

impl Settling {
    /// Begins with nothing; `asked` is the quiet that a person asked for.
    pub(super) fn new(asked: Option<Duration>) -> Self {
        let waits = asked.map_or_else(Waits::default, |asked| {
            let (quiet, cap) = (asked.max(QUIET), asked.saturating_mul(ASKED_CAP).max(CAP));
            Waits { quiet, cap, storm_cap: cap.max(STORM_CAP) }
        });
        Self { waits, ..Self::default() }
    }

    /// Notes that a file was written and may be written further.
    pub(super) fn written(&mut self, path: RelPath, now: Instant) {
        if self.writing.len() >= MAX_PATHS {
            self.writing.clear();
            return self.everything(now);
        }
        self.writing.entry(path).and_modify(|(_, last)| *last = now).or_insert((now, now));
    }

    /// Notes that a file's facts changed, which says nothing of one that is being written.
    pub(super) fn touched(&mut self, path: RelPath, now: Instant) {
        if !self.writing.contains_key(&path) {
            self.complete(path, now);
        }
    }

    /// Notes a complete change.
    pub(super) fn complete(&mut self, path: RelPath, now: Instant) {
        let first = self.writing.remove(&path).map_or(now, |(first, _)| first);
        self.mark(first, now);
        if !self.everything {
            self.ready.insert(path);
        }
        if self.ready.len() > MAX_PATHS {
            self.everything(now);
        }
    }

    /// Notes that anything may have changed.
    pub(super) fn everything(&mut self, now: Instant) {
        self.mark(now, now);
        self.everything = true;
        self.ready.clear();
    }

    /// Returns when to ask again; `None` when nothing happened.
    pub(super) fn due(&self) -> Option<Instant> {
        let written = self.writing.values().map(unclosed_due).min();
        let ready = self.ready_due().map(|due| self.locked_until.map_or(due, |locked| due.max(locked)));
        written.into_iter().chain(ready).min()
    }

    /// Returns what is quiet at `now`. `is_locked` is asked only when something is.
    pub(super) fn take(&mut self, now: Instant, is_locked: impl FnOnce() -> bool) -> Option<Dirty> {
        let closed: Vec<RelPath> =
            self.writing.iter().filter(|(_, times)| unclosed_due(times) <= now).map(|(path, _)| path.clone()).collect();
        for path in closed {
            self.complete(path, now);
        }
        let since = self.since?.0;
        if self.ready_due().is_none_or(|due| due > now) {
            return None;
        }
        if now < since + LOCKED_CAP && is_locked() {
            self.locked_until = Some(now + LOCKED_PAUSE);
            return None;
        }
        self.hand_on(now)
    }

    /// Returns all there is, quiet or not.
    pub(super) fn take_all(&mut self, now: Instant) -> Option<Dirty> {
        while let Some((path, _)) = self.writing.first_key_value() {
            self.complete(path.clone(), now);
        }
        self.hand_on(now)
    }

    fn mark(&mut self, first_event: Instant, now: Instant) {
        self.since = Some(self.since.map_or((now, now), |(first, _)| (first, now)));
        self.first_event = Some(self.first_event.map_or(first_event, |first| first.min(first_event)));
    }

    fn ready_due(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        let Waits { quiet, cap, storm_cap } = self.waits;
        let cap = if self.everything || self.ready.len() > STORM { storm_cap } else { cap };
        Some((last + quiet).min(first + cap))
    }

    fn hand_on(&mut self, now: Instant) -> Option<Dirty> {
        let first_event = self.first_event.take()?;
        self.since = None;
        self.locked_until = None;
        let ready = std::mem::take(&mut self.ready);
        let paths = if std::mem::take(&mut self.everything) { Paths::Everything } else { Paths::Some(ready) };
        Some(Dirty { paths, first_event, settled_at: now })
    }
}

fn unclosed_due((first, last): &(Instant, Instant)) -> Instant {
    (*last + UNCLOSED).min(*first + UNCLOSED_CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn names(dirty: Option<Dirty>) -> Vec<String> {
        match dirty.map(|dirty| dirty.paths) {
            None => vec![],
            Some(Paths::Everything) => vec!["everything".to_owned()],
            Some(Paths::Some(paths)) => paths.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_closed_file_waits_three_milliseconds() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.written(path("a"), start);
        settling.complete(path("a"), start + millis(1));
        assert_eq!(settling.due(), Some(start + millis(4)));
        assert_eq!(names(settling.take(start + millis(3), || false)), Vec::<String>::new());
        let dirty = settling.take(start + millis(4), || false).expect("quiet");
        assert_eq!(dirty.first_event, start, "the latency counts from the first write");
        assert_eq!(names(Some(dirty)), ["a"]);
        assert_eq!(settling.due(), None);
    }

    #[test]
    fn an_unclosed_file_waits_and_a_log_does_not_wait_for_ever() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.written(path("a"), start);
        settling.touched(path("a"), start);
        assert_eq!(settling.due(), Some(start + UNCLOSED));
        for tenth in 1..=40 {
            settling.written(path("a"), start + millis(tenth * 100));
        }
        assert_eq!(settling.due(), Some(start + UNCLOSED_CAP));
        assert_eq!(names(settling.take(start + UNCLOSED_CAP, || false)), Vec::<String>::new());
        assert_eq!(names(settling.take(start + UNCLOSED_CAP + QUIET, || false)), ["a"]);
    }

    #[test]
    fn steady_changes_are_handed_on_at_the_cap() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        for milli in 0..20 {
            settling.complete(path(&format!("f{milli}")), start + millis(milli));
        }
        assert_eq!(settling.due(), Some(start + CAP));
        for number in 0..STORM {
            settling.complete(path(&format!("g{number}")), start + millis(20));
        }
        settling.complete(path("late"), start + millis(99));
        assert_eq!(settling.due(), Some(start + STORM_CAP));
    }

    #[test]
    fn the_quiet_that_was_asked_for_is_waited_for() {
        let (mut settling, start) = (Settling::new(Some(millis(2000))), Instant::now());
        settling.complete(path("a"), start);
        settling.complete(path("a"), start + millis(1500));
        assert_eq!(settling.due(), Some(start + millis(3500)));
        assert_eq!(names(settling.take(start + millis(3499), || false)), Vec::<String>::new());
        assert_eq!(names(settling.take(start + millis(3500), || false)), ["a"]);
        for second in 0..30 {
            settling.complete(path("log"), start + millis(10_000 + second * 1000));
        }
        assert_eq!(settling.due(), Some(start + millis(30_000)), "what never is quiet is sent, too");
    }

    #[test]
    fn a_checkout_is_one_change() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.complete(path("a"), start);
        assert_eq!(names(settling.take(start + QUIET, || true)), Vec::<String>::new());
        assert_eq!(settling.due(), Some(start + QUIET + LOCKED_PAUSE));
        assert_eq!(names(settling.take(start + LOCKED_CAP, || true)), ["a"], "a lock that was left behind");
    }

    #[test]
    fn too_many_paths_are_everything() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        for number in 0..=MAX_PATHS {
            settling.complete(path(&number.to_string()), start);
        }
        assert_eq!(names(settling.take_all(start)), ["everything"]);
    }
}
