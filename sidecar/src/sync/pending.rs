//! Pure: which paths have still to be looked at or to travel, and since which event. A path that is touched
//! again while it travels waits for its next turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::path::RelPath;
use tokio::time::Instant;

use super::plan::{below, folders_above};

/// First wait before a path that failed is tried again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest such wait, so that a freed disk is noticed soon.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A path that has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// The first event that is not on the remote yet.
    pub(super) generation: u64,
    /// When that event came; `None` when nobody saved anything (a scan found it).
    pub(super) since: Option<Instant>,
    /// Not before.
    not_before: Option<Instant>,
    /// How often it failed in a row.
    attempts: u32,
}

/// The two looks that may be under way at a time: the one at the `.git` folder takes its time, and a save must not wait
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything, or what was saved.
    Saves,
    /// The unit alone.
    Unit,
}

/// What is to be looked at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Everything,
    Paths(BTreeSet<RelPath>),
}

/// Everything that is not on the remote yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    generation: u64,
    waiting: BTreeMap<RelPath, Wait>,
    everything: Option<u64>,
    looking: BTreeMap<RelPath, Wait>,
    /// What the look at the unit alone is about.
    looking_unit: BTreeMap<RelPath, Wait>,
    looking_everything: Option<u64>,
    flying: BTreeMap<RelPath, Wait>,
    failed: BTreeMap<RelPath, u32>,
}

impl Pending {
    /// Notes that a path may have changed.
    pub(super) fn touch(&mut self, path: RelPath, now: Option<Instant>) {
        self.generation += 1;
        let new = Wait { generation: self.generation, since: now, not_before: None, attempts: 0 };
        let wait = self.waiting.entry(path).or_insert(new);
        wait.not_before = None;
        wait.since = wait.since.or(now);
    }

    /// Notes that everything may have changed.
    pub(super) fn touch_everything(&mut self) {
        self.generation += 1;
        self.everything.get_or_insert(self.generation);
    }

    /// Puts a path back that could not be done, to be tried again after a while.
    pub(super) fn retry(&mut self, path: &RelPath, now: Instant) {
        let attempts = self.failed.entry(path.clone()).or_default();
        *attempts = attempts.saturating_add(1);
        let wait = FIRST_WAIT.saturating_mul(1 << (*attempts - 1).min(16)).min(LONGEST_WAIT);
        let attempts = *attempts;
        self.put_back(path, Some(now + wait), attempts);
    }

    /// Puts a path back that somebody else changed: at once for the first `times`, then as one that failed.
    pub(super) fn contested(&mut self, path: &RelPath, times: u32, now: Instant) {
        if self.attempts(path) >= times {
            return self.retry(path, now);
        }
        *self.failed.entry(path.clone()).or_default() += 1;
        self.again(path);
    }

    /// Puts a path back that has nothing to wait for but time.
    pub(super) fn later(&mut self, path: &RelPath, then: Instant) {
        self.put_back(path, Some(then), 0);
    }

    /// Puts a path back that has to be looked at again at once.
    pub(super) fn again(&mut self, path: &RelPath) {
        self.put_back(path, None, 0);
    }

    fn put_back(&mut self, path: &RelPath, not_before: Option<Instant>, attempts: u32) {
        self.generation += 1;
        let looking = || self.looking.get(path).or_else(|| self.looking_unit.get(path)).copied();
        let flying = self.flying.remove(path).or_else(looking);
        let old = flying.unwrap_or(Wait { generation: self.generation, since: None, not_before, attempts });
        let wait = self.waiting.entry(path.clone()).or_insert(Wait { not_before, attempts, ..old });
        wait.generation = wait.generation.min(old.generation);
        wait.since = old.since.or(wait.since);
    }

    /// Returns how often a path failed in a row.
    pub(super) fn attempts(&self, path: &RelPath) -> u32 {
        self.failed.get(path).copied().unwrap_or_default()
    }

    /// Takes what is due to be looked at; what travels now is left for later, and so is what is `apart`, unless
    /// everything is due.
    pub(super) fn take(&mut self, now: Instant, apart: impl Fn(&RelPath) -> bool) -> Option<Due> {
        if let Some(generation) = self.everything.take() {
            self.looking_everything = Some(generation);
            self.looking = std::mem::take(&mut self.waiting);
            return Some(Due::Everything);
        }
        self.looking = self.due(now, |path| !apart(path));
        (!self.looking.is_empty()).then(|| Due::Paths(self.looking.keys().cloned().collect()))
    }

    /// Takes what is due of the unit, for a look of its own; returns whether there is any.
    pub(super) fn take_unit(&mut self, now: Instant, of_unit: impl Fn(&RelPath) -> bool) -> bool {
        self.looking_unit = self.due(now, of_unit);
        !self.looking_unit.is_empty()
    }

    fn due(&mut self, now: Instant, wanted: impl Fn(&RelPath) -> bool) -> BTreeMap<RelPath, Wait> {
        let Self { waiting, flying, .. } = self;
        let is_due = |path: &RelPath, wait: &mut Wait| {
            wait.not_before.is_none_or(|then| then <= now) && !flying.contains_key(path) && wanted(path)
        };
        waiting.extract_if(.., is_due).collect()
    }

    /// Ends a look: `sent` travels now, the rest was found to need nothing.
    pub(super) fn looked(&mut self, turn: Turn, sent: impl IntoIterator<Item = RelPath>) {
        let (everything, looked) = match turn {
            Turn::Saves => (self.looking_everything.take(), std::mem::take(&mut self.looking)),
            Turn::Unit => (None, std::mem::take(&mut self.looking_unit)),
        };
        for path in sent {
            let asked = if looked.is_empty() {
                None
            } else {
                let above = || folders_above(&path).find_map(|folder| looked.get(&folder));
                let first_below = || below(&looked, &path).map(|(_, wait)| wait).min_by_key(|wait| wait.generation);
                looked.get(&path).or_else(above).or_else(first_below)
            };
            let generation = everything.unwrap_or(self.generation);
            let wait = asked.copied().unwrap_or(Wait { generation, since: None, not_before: None, attempts: 0 });
            self.flying.insert(path, wait);
        }
    }

    /// Ends a look that told nothing: all of it has to be looked at again.
    pub(super) fn not_looked(&mut self, turn: Turn) {
        let looked = match turn {
            Turn::Saves => {
                if let Some(generation) = self.looking_everything.take() {
                    self.everything = Some(self.everything.map_or(generation, |other| other.min(generation)));
                }
                &mut self.looking
            }
            Turn::Unit => &mut self.looking_unit,
        };
        for (path, wait) in std::mem::take(looked) {
            self.waiting.entry(path).or_insert(wait);
        }
    }

    /// Notes that a path arrived, and returns when it was saved.
    pub(super) fn arrived(&mut self, path: &RelPath) -> Option<Instant> {
        self.failed.remove(path);
        self.flying.remove(path)?.since
    }

    /// Returns whether a path travels now.
    pub(super) fn flies(&self, path: &RelPath) -> bool {
        self.flying.contains_key(path)
    }

    /// Returns whether something travels at or below a path.
    pub(super) fn flies_below(&self, folder: &RelPath) -> bool {
        self.flying.keys().any(|path| path != folder && path.starts_with(folder))
    }

    /// Returns the newest event.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether nothing up to `generation` is left to do.
    pub(super) fn done(&self, generation: u64) -> bool {
        let looking = self.looking.values().chain(self.looking_unit.values());
        let waits = self.waiting.values().chain(looking).chain(self.flying.values());
        let whole = self.everything.into_iter().chain(self.looking_everything);
        waits.map(|wait| wait.generation).chain(whole).all(|pending| pending > generation)
    }

    /// Returns whether nothing at all is left to do.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.looking.is_empty()
            && self.looking_unit.is_empty()
            && self.flying.is_empty()
            && !self.whole()
    }

    /// Returns whether everything has to be looked at, or is.
    pub(super) fn whole(&self) -> bool {
        self.everything.is_some() || self.looking_everything.is_some()
    }

    /// Returns whether what is left can only be tried again later.
    pub(super) fn only_failed(&self) -> bool {
        self.flying.is_empty()
            && self.looking.is_empty()
            && self.looking_unit.is_empty()
            && !self.whole()
            && self.waiting.values().all(|wait| wait.not_before.is_some() && wait.attempts > 0)
    }

    /// Returns the number of paths that are left.
    pub(super) fn len(&self) -> usize {
        let waiting = self.waiting.keys().filter(|path| !self.flying.contains_key(*path)).count();
        waiting + self.looking.len() + self.looking_unit.len() + self.flying.len() + usize::from(self.whole())
    }

    /// Returns some of the paths that are left.
    pub(super) fn some(&self, most: usize) -> Vec<String> {
        let of_all = [&self.waiting, &self.looking, &self.looking_unit, &self.flying];
        let paths = of_all.into_iter().flat_map(|paths| paths.keys().take(most));
        paths.collect::<BTreeSet<_>>().into_iter().take(most).map(ToString::to_string).collect()
    }

    /// Returns when the next path may be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting
            .iter()
            .filter(|(path, _)| !self.flying.contains_key(*path))
            .filter_map(|(_, wait)| wait.not_before)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn take(pending: &mut Pending, now: Instant) -> Option<Due> {
        pending.take(now, |_| false)
    }

    #[tokio::test(start_paused = true)]
    async fn the_unit_is_taken_apart_and_counts_until_its_look_ends() {
        let mut pending = Pending::default();
        let now = Instant::now();
        let is_unit = |path: &RelPath| path.as_str() == "unit";
        pending.touch(path("unit"), Some(now));
        let asked = pending.generation();
        assert_eq!(pending.take(now, is_unit), None);
        assert!(pending.take_unit(now, is_unit) && !pending.take_unit(now, |_| false));
        let mut pending = Pending::default();
        pending.touch(path("unit"), Some(now));
        assert!(pending.take_unit(now, is_unit));
        pending.touch(path("a"), Some(now));
        assert_eq!(pending.take(now, is_unit), Some(Due::Paths(BTreeSet::from([path("a")]))));
        pending.looked(Turn::Saves, []);
        assert!(!pending.done(asked) && !pending.is_empty() && pending.len() == 1);
        pending.not_looked(Turn::Unit);
        assert!(pending.take_unit(now, is_unit));
        pending.looked(Turn::Unit, []);
        assert!(pending.done(asked) && pending.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn touched_again_in_flight_is_not_done() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.touch(path("a"), Some(now));
        let first = pending.generation();
        assert_eq!(take(&mut pending, now), Some(Due::Paths(BTreeSet::from([path("a")]))));
        pending.looked(Turn::Saves, [path("a")]);
        pending.touch(path("a"), Some(now));
        let second = pending.generation();
        assert_eq!(take(&mut pending, now), None, "it flies");
        assert_eq!(pending.arrived(&path("a")), Some(now));
        assert!(pending.done(first) && !pending.done(second));
        assert_eq!(take(&mut pending, now), Some(Due::Paths(BTreeSet::from([path("a")]))));
        pending.looked(Turn::Saves, []);
        assert!(pending.done(second) && pending.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_cap_and_a_save_ends_them() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.touch(path("a"), None);
        for _ in 0..40 {
            take(&mut pending, now + LONGEST_WAIT).expect("it is due");
            pending.looked(Turn::Saves, [path("a")]);
            pending.retry(&path("a"), now);
            assert!(pending.only_failed());
        }
        assert_eq!(pending.next(), Some(now + LONGEST_WAIT));
        assert_eq!(take(&mut pending, now), None);
        pending.touch(path("a"), Some(now));
        assert!(take(&mut pending, now).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_time_alone_has_not_failed_and_keeps_its_place() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.touch(path("unit/inner"), Some(now));
        let asked = pending.generation();
        assert!(take(&mut pending, now).is_some());
        pending.looked(Turn::Saves, [path("unit")]);
        pending.later(&path("unit"), now + FIRST_WAIT);
        assert!(!pending.only_failed() && !pending.done(asked), "whoever waits for the save goes on waiting");
        assert_eq!((take(&mut pending, now), pending.next()), (None, Some(now + FIRST_WAIT)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_in_flight_at_a_loss_waits_again() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.touch_everything();
        assert_eq!(take(&mut pending, now), Some(Due::Everything));
        pending.looked(Turn::Saves, [path("a")]);
        pending.again(&path("a"));
        assert!(!pending.is_empty());
        assert_eq!(take(&mut pending, now), Some(Due::Paths(BTreeSet::from([path("a")]))));
    }
}
