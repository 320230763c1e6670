//! Those who wait for everything to arrive, and the flush that makes it survive a power cut.

use std::sync::Arc;
use std::time::Duration;

use protocol::error::Result;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::target::{Flushed, SyncError};
use super::super::{AskError, Cookie};
use super::{Actor, Event, reply, report};

/// Quiet time after which changes are made durable; at most once in this time.
const DURABLE_AFTER: Duration = Duration::from_secs(1);

/// Somebody who waits for everything to arrive.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    /// The newest event that has to arrive; `None` until the watcher's cookie came.
    pub(super) after: Option<u64>,
    pub(super) durable: bool,
    pub(super) answer: oneshot::Sender<Result<()>>,
}

impl Actor {
    pub(super) fn flush(&mut self, durable: bool, answer: oneshot::Sender<Result<()>>, cookie: Option<&Cookie>) {
        if self.config.pair.paused {
            return reply(answer, Err(AskError::Paused.into()));
        }
        // A lost link is being made again; only when that fails is there something to say.
        if self.error.is_some() && !self.was_lost || self.halt.is_some() {
            return reply(answer, Err(self.not_arrived().into()));
        }
        self.ids += 1;
        let id = self.ids;
        let after = if cookie.is_some() { None } else { Some(self.pending.generation()) };
        self.waiters.push(Waiter { id, after, durable, answer });
        if let Some(cookie) = cookie {
            let result = cookie();
            self.spawn(async move { Event::Cookie { flush: id, result: result.await } });
        }
    }

    pub(super) fn not_arrived(&self) -> AskError {
        AskError::Pending { count: self.pending.len() as u64, paths: self.pending.some(5), source: self.error.clone() }
    }

    pub(super) fn start_flush(&mut self, now: Instant) {
        let generation = self.pending.generation();
        let wanted = self.waiters.iter().any(|waiter| {
            waiter.durable && waiter.after.is_some_and(|after| after > self.flushed && self.pending.done(after))
        });
        let quiet = self.pending.is_empty() && self.tally.undurable();
        let due = self.flush_not_before.is_none_or(|then| then <= now);
        if self.flushing || !(wanted || quiet && due) {
            return;
        }
        let done = if self.pending.is_empty() {
            generation
        } else {
            self.waiters
                .iter()
                .filter_map(|waiter| waiter.after)
                .filter(|after| self.pending.done(*after))
                .max()
                .unwrap_or(0)
        };
        self.flushing = true;
        self.flush_not_before = Some(now + DURABLE_AFTER);
        self.tally.flush_started();
        let target = Arc::clone(&self.target);
        self.spawn(async move { Event::Flushed { generation: done, result: target.flush().await } });
    }

    pub(super) fn flushed(&mut self, generation: u64, result: Result<Flushed, SyncError>) {
        self.flushing = false;
        match result {
            Ok(flushed) => {
                // Whoever waits has what can be had; only what is true is said.
                self.flushed = self.flushed.max(generation);
                if flushed == Flushed::Durable {
                    self.config.pair.last_durable = Some(report::seconds());
                    self.pair_unsaved = true;
                }
            }
            Err(error) => {
                self.tally.flush_failed();
                self.failed(error);
            }
        }
    }

    pub(super) fn refuse_waiters(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            reply(waiter.answer, Err(self.not_arrived().into()));
        }
    }

    /// Refuses those who wait for what cannot come, and returns those whose wait is over.
    pub(super) fn arrived_waiters(&mut self) -> Vec<Waiter> {
        if self.config.pair.paused {
            for waiter in std::mem::take(&mut self.waiters) {
                reply(waiter.answer, Err(AskError::Paused.into()));
            }
        }
        if self.halt.is_some() {
            self.refuse_waiters();
        }
        let committed = self.is_committed();
        let arrived = |waiter: &mut Waiter| {
            waiter.after.is_some_and(|after| {
                committed && self.pending.done(after) && (!waiter.durable || self.flushed >= after)
            })
        };
        self.waiters.extract_if(.., arrived).collect()
    }
}
