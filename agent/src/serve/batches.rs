//! Pure: which batch of a link may start. In order of arrival, at most [`MAX_RUNNING`] at a time, and a
//! barrier alone.

use std::collections::{HashSet, VecDeque};

/// Batches of one link that run at the same time: one waits for the disk while the other hashes.
pub(super) const MAX_RUNNING: usize = 2;

#[derive(Debug)]
struct Waiting<T> {
    id: u64,
    barrier: bool,
    job: T,
}

/// The batches of one link.
#[derive(Debug)]
pub(super) struct Batches<T> {
    waiting: VecDeque<Waiting<T>>,
    running: HashSet<u64>,
    barrier_runs: bool,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: HashSet::new(), barrier_runs: false }
    }
}

impl<T> Batches<T> {
    /// Puts a batch at the end of the line.
    pub(super) fn add(&mut self, id: u64, barrier: bool, job: T) {
        self.waiting.push_back(Waiting { id, barrier, job });
    }

    /// Returns the batch that starts now, if one may.
    pub(super) fn next(&mut self) -> Option<(u64, T)> {
        let first = self.waiting.front()?;
        let free = if first.barrier { self.running.is_empty() } else { self.running.len() < MAX_RUNNING };
        if !free || self.barrier_runs {
            return None;
        }
        let Waiting { id, barrier, job } = self.waiting.pop_front()?;
        self.running.insert(id);
        self.barrier_runs = barrier;
        Some((id, job))
    }

    /// Takes a batch that has not started out of the line; returns whether it was there.
    pub(super) fn withdraw(&mut self, id: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != id);
        self.waiting.len() < before
    }

    /// Notes that a batch is done; other ids mean nothing.
    pub(super) fn done(&mut self, id: u64) {
        if self.running.remove(&id) && self.running.is_empty() {
            self.barrier_runs = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(batches: &mut Batches<()>) -> Vec<u64> {
        std::iter::from_fn(|| batches.next().map(|(id, ())| id)).collect()
    }

    #[test]
    fn two_run_and_the_order_is_kept() {
        let mut batches = Batches::default();
        (1..=4).for_each(|id| batches.add(id, false, ()));
        assert_eq!(started(&mut batches), [1, 2]);
        batches.done(2);
        assert_eq!(started(&mut batches), [3]);
        batches.done(99);
        assert_eq!(started(&mut batches), [] as [u64; 0]);
        batches.done(1);
        assert_eq!(started(&mut batches), [4]);
    }

    #[test]
    fn a_barrier_runs_alone() {
        let mut batches = Batches::default();
        batches.add(1, false, ());
        batches.add(2, true, ());
        batches.add(3, false, ());
        assert_eq!(started(&mut batches), [1]);
        batches.done(1);
        assert_eq!(started(&mut batches), [2]);
        batches.done(2);
        assert_eq!(started(&mut batches), [3]);
    }

    #[test]
    fn a_batch_that_left_the_line_holds_nobody_up() {
        let mut batches = Batches::default();
        batches.add(1, false, ());
        batches.add(2, true, ());
        batches.add(3, false, ());
        assert_eq!(started(&mut batches), [1]);
        assert!(batches.withdraw(2));
        assert!(!batches.withdraw(1));
        assert_eq!(started(&mut batches), [3]);
    }
}
