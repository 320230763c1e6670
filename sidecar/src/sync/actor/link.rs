//! The link to the target as the actor sees it: opened, lost, taken by another machine.

use std::sync::Arc;

use protocol::agent::Opened;
use protocol::error::{Code, Explain as _};
use protocol::path::RemotePath;
use tokio::time::{Duration, Instant};

use super::super::index::Index;
use super::super::look::Ask;
use super::super::target::{OpenTarget, SyncError};
use super::{Actor, COMPARE_EVERY, Event, Halt, Link, TRY_AGAIN};

/// Wait before a remote folder is opened again that was swapped for another one.
const SWAPPED: Duration = Duration::from_millis(250);

impl Actor {
    pub(super) fn open(&mut self) {
        let path = match RemotePath::new(self.config.pair.remote_dir.clone()) {
            Ok(path) => path,
            Err(error) => {
                tracing::error!(%error, "a stored remote folder is not a path");
                self.link = Link::Closed { not_before: Some(Instant::now() + TRY_AGAIN) };
                return;
            }
        };
        let open =
            OpenTarget { path, create: true, holder: self.config.holder.clone(), take_over: self.config.take_over };
        let target = Arc::clone(&self.target);
        self.link = Link::Opening;
        self.spawn(async move { Event::Opened(target.open(&open).await) });
    }

    pub(super) async fn opened(&mut self, result: Result<Opened, SyncError>) {
        let opened = match result {
            Ok(opened) => opened,
            Err(error) => {
                self.link = Link::Closed { not_before: Some(Instant::now() + TRY_AGAIN) };
                // It is no loss any more but an error that whoever waits has to hear.
                self.was_lost = false;
                self.note_lease(&error);
                self.error = Some(error.into());
                self.refuse_waiters();
                return;
            }
        };
        let pair = &mut self.config.pair;
        if pair.copy.as_deref() != Some(opened.copy.as_str()) {
            // Another folder than the one the base describes: nothing that is known of it may be believed, and
            // nothing of it may be written after the base was cleared.
            self.commit_ended().await;
            let pair = &mut self.config.pair;
            // Only a folder that could be opened becomes the stored one, whose base is forgotten with it.
            let mut stored = self.store.pair(&pair.workspace, &pair.remote, &pair.remote_dir).await.map(drop);
            if stored.is_ok() && !self.base.is_empty() {
                stored = self.store.clear_base(pair.id).await;
            }
            if let Err(error) = stored {
                self.link = Link::Closed { not_before: Some(Instant::now() + TRY_AGAIN) };
                self.error = Some(error.into());
                self.refuse_waiters();
                return;
            }
            self.forget_copy();
            let pair = &mut self.config.pair;
            pair.git_index = None;
            pair.copy = Some(opened.copy.clone());
            self.pair_unsaved = true;
        }
        self.ask = if opened.empty && self.base.is_empty() { Ask::Base } else { Ask::All };
        self.overlay.clear();
        if self.index.knows_spellings() != opened.ignores_case {
            self.index = Index::of(&self.base, opened.ignores_case);
        }
        self.opened = Some(opened);
        self.link = Link::Open;
        self.was_lost = false;
        self.error = None;
        self.config.take_over = false;
        self.compare_at = Some(Instant::now() + COMPARE_EVERY);
        self.pending.touch_everything();
    }

    /// Forgets all that is about one remote folder, because it is another one.
    fn forget_copy(&mut self) {
        self.base = Arc::default();
        self.uncommitted.clear();
        self.doubts.clear();
        self.moved.clear();
        self.audits.clear();
        self.index = Index::default();
        self.conflicts.clear();
        self.since.clear();
        self.drift.clear();
        self.refused.clear();
        self.apart.clear();
        self.home_problems.clear();
    }

    /// Notes that work failed as a whole.
    pub(super) fn failed(&mut self, error: SyncError) {
        tracing::info!(%error, "a sync lost its target");
        // What stands there now is opened like a link that comes back, before anybody has to hear of it.
        let swapped = matches!(self.link, Link::Open) && error.code() == Code::SyncRoot;
        if matches!(self.link, Link::Open) {
            let wait = if swapped { SWAPPED } else { TRY_AGAIN };
            let not_before = (!error.is_lost()).then(|| Instant::now() + wait);
            self.link = Link::Closed { not_before };
        }
        self.was_lost = error.is_lost() || swapped;
        self.note_lease(&error);
        self.error = Some(error.into());
        if !self.was_lost {
            self.refuse_waiters();
        }
    }

    pub(super) fn note_lease(&mut self, error: &SyncError) {
        self.leased = matches!(error, SyncError::Leased(_)) || error.code() == Code::SyncLeased;
    }

    /// Opens the remote folder now if it is not open, and looks again at what a brake stopped.
    pub(super) fn again(&mut self, take_over: bool) {
        match &mut self.link {
            Link::Closed { not_before } => {
                *not_before = None;
                self.leased = false;
                self.was_lost = true;
                self.error = None;
                self.config.take_over |= take_over;
            }
            // What the brake was about may have been mended; nothing goes before it was looked at again.
            Link::Open if matches!(self.halt, Some(Halt::Brake(_))) => {
                self.halt = None;
                self.error = None;
                self.look_not_before = None;
                self.pending.touch_everything();
            }
            Link::Opening | Link::Open => {}
        }
    }
}
