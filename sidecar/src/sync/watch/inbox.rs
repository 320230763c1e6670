//! Takes events from the system's thread without ever making it wait.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use notify::{Event, Result};

use super::{MAX_PATHS, lock};

/// Events that were not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    content: Mutex<Content>,
    changed: Condvar,
}

/// What came in.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Events in order.
    pub(super) events: Vec<Event>,
    /// Whether events were lost.
    pub(super) overflow: bool,
    /// Whether what is not watched has to be looked at.
    pub(super) poll: bool,
    /// Whether the watch has to end.
    pub(super) stop: bool,
}

impl Content {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.overflow && !self.poll && !self.stop
    }
}

impl Inbox {
    /// Takes in an event.
    pub(super) fn push(&self, event: Result<Event>) {
        self.change(|content| match event {
            Ok(event) if event.need_rescan() || content.events.len() >= MAX_PATHS => {
                content.events = Vec::new();
                content.overflow = true;
            }
            Ok(event) => content.events.push(event),
            Err(error) => {
                tracing::warn!(%error, "the watch lost something");
                content.overflow = true;
            }
        });
    }

    /// Asks for a look at what is not watched.
    pub(super) fn poll(&self) {
        self.change(|content| content.poll = true);
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.change(|content| content.stop = true);
    }

    /// Waits until something is in it or `until`, and takes it all.
    pub(super) fn take(&self, until: Instant) -> Content {
        let mut content = lock(&self.content);
        while content.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            content = self.changed.wait_timeout(content, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut content)
    }

    /// Returns the lock that stops the system's thread while it is held.
    #[cfg(test)]
    pub(super) fn content(&self) -> &Mutex<Content> {
        &self.content
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut lock(&self.content));
        self.changed.notify_one();
    }
}
