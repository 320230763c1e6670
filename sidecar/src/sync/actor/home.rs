//! What comes home beside the sync, and what its patterns bring home unasked.

use protocol::error::Result;
use tokio::sync::{mpsc, watch};

use super::super::AskError;
use super::super::pull::{Ask, Brought, Selection, Sides, bring};
use super::{Actor, Event, Link};
use crate::frontend::Progress;
use crate::store::BaseChange;

/// Recorded paths on their way to the actor.
const TOLD: usize = 64;

impl Actor {
    pub(super) fn sides(&self) -> Result<Sides> {
        match (&self.link, &self.opened) {
            (Link::Open, Some(opened)) => Ok(Sides {
                pair: self.config.pair.clone(),
                base: std::sync::Arc::clone(&self.base),
                target: std::sync::Arc::clone(&self.target),
                opened: opened.clone(),
                store: self.store.clone(),
                keep: self.config.keep.clone(),
            }
            .without_unit()),
            (Link::Closed { .. } | Link::Opening | Link::Open, _) => {
                Err(self.error.clone().unwrap_or_else(|| AskError::NotOpen.into()))
            }
        }
    }

    /// Makes what is equal on both sides the base, unless the remote folder is another one by now.
    pub(super) fn home(&mut self, copy: &str, changes: Vec<BaseChange>) {
        if self.config.pair.copy.as_deref() != Some(copy) {
            return;
        }
        for (path, base) in changes {
            self.conflicts.remove(&path);
            self.since.remove(&path);
            self.drift.remove(&path);
            self.overlay.remove(&path);
            self.record_outside(path, base);
        }
    }

    /// Brings home what the pair's patterns name, once after every comparison with the remote while watching.
    pub(super) fn start_home(&mut self) {
        let may = self.watches && self.home_due && !self.bringing && !self.looking && self.halt.is_none();
        if !may || self.config.pair.paused || self.config.pair.pull.is_empty() {
            return;
        }
        let Ok(sides) = self.sides() else { return };
        self.home_due = false;
        let selection = match Selection::named(&self.config.pair.pull, true) {
            Ok(selection) => selection,
            Err(error) => {
                self.trouble = Some(error.to_string());
                return;
            }
        };
        self.bringing = true;
        let (told, mut receiver) = mpsc::channel(TOLD);
        let (progress, _) = watch::channel(Progress::default());
        let cancel = self.work.child_token();
        let (events, copy) = (self.events.clone(), sides.opened.copy.clone());
        self.spawn(async move {
            let ask = Ask { selection, dry_run: false, approved: None, told, progress, cancel };
            let pass_on = async {
                while let Some(changes) = receiver.recv().await {
                    // Without an actor nobody wants to know.
                    events.send(Event::Home { copy: copy.clone(), changes }).await.ok();
                }
            };
            let (brought, ()) = tokio::join!(bring(sides, ask), pass_on);
            Event::Brought(Box::new(brought))
        });
    }

    pub(super) fn brought(&mut self, brought: Result<Brought>) {
        self.bringing = false;
        match brought {
            Ok(brought) => {
                tracing::info!(files = brought.files, bytes = brought.bytes, "brought home what the patterns name");
                self.home_problems = brought.problems;
            }
            // The next comparison tries again; a lost link is noticed by whoever uses it.
            Err(error) => tracing::info!(%error, "what the patterns name did not come home"),
        }
    }
}
