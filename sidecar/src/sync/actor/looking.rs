//! Begins looks: at everything or what was saved, and beside that one at the `.git` folder. Each is given as much of
//! what is known as it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::path::RelPath;
use tokio::time::Instant;

use super::super::git;
use super::super::ignored::Rules;
use super::super::look::{self, Ask};
use super::super::pending::{Due, Turn};
use super::super::plan::{self, Overlay};
use super::{Actor, Event, Halt};
use crate::store::Base;

/// Age up to which a scan made while connecting is believed; who answered questions meanwhile took longer.
const AHEAD: Duration = Duration::from_secs(10);

impl Actor {
    pub(super) fn may_look(&self, now: Instant) -> bool {
        !self.config.pair.paused
            && self.look_not_before.is_none_or(|then| then <= now)
            && !(self.pending.whole() && self.ask != Ask::Nothing && !self.transfers.is_empty())
            && match self.halt {
                None => true,
                // A brake is looked at again, because the accident may have been mended.
                Some(Halt::Brake(_)) => !self.pending.is_empty(),
                Some(Halt::Large { .. } | Halt::Trash { .. }) => false,
            }
    }

    pub(super) fn start_look(&mut self, now: Instant) {
        // Everything is both: it waits for the end of the other look.
        if self.looking || self.pending.whole() && self.repository.looking {
            return;
        }
        let has_unit = self.has_unit();
        let paths = match self.pending.take(now, |path| has_unit && git::is_of_unit(path)) {
            None => return,
            Some(Due::Everything) => None,
            Some(Due::Paths(paths)) => Some(paths),
        };
        self.looking = true;
        self.look_at(Turn::Saves, paths, now);
    }

    /// Starts a look at the unit, beside that at what was saved.
    pub(super) fn start_look_at_unit(&mut self, now: Instant) {
        let may = self.has_unit() && !self.repository.looking && !self.pending.whole();
        if may && self.pending.take_unit(now, git::is_of_unit) {
            self.repository.looking = true;
            self.look_at(Turn::Unit, Some(BTreeSet::from([git::unit()])), now);
        }
    }

    fn look_at(&mut self, turn: Turn, paths: Option<BTreeSet<RelPath>>, now: Instant) {
        let ask = if paths.is_none() { self.ask } else { Ask::Nothing };
        let ahead =
            self.ahead.take().filter(|(_, began)| paths.is_none() && now < *began + AHEAD).map(|(ahead, _)| ahead);
        let doubted = self.doubts.keys().cloned().collect();
        let logs = self.logs.clone();
        let unit = self.has_unit() && (turn == Turn::Unit || paths.is_none());
        let overlay = self.overlay_for(paths.as_ref());
        let request = look::Request { turn, paths, ask, doubted, overlay, logs, ahead, unit };
        let base = self.base_for(request.paths.as_ref());
        let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target));
        self.spawn(async move { Event::Looked(Box::new(look::look(request, base, source, target).await)) });
    }

    /// Returns as much of the base as a look at `paths` needs. Whoever holds all of it while something arrives
    /// makes that arrival copy the whole.
    fn base_for(&self, paths: Option<&BTreeSet<RelPath>>) -> Arc<BTreeMap<RelPath, Base>> {
        match paths {
            // A rule file is about its whole folder.
            Some(paths) if !paths.iter().any(Rules::is_rule_file) => {
                let known = paths.iter().flat_map(|path| plan::below(&self.base, path));
                Arc::new(known.map(|(path, base)| (path.clone(), base.clone())).collect())
            }
            Some(_) | None => Arc::clone(&self.base),
        }
    }

    /// Returns as much of what is known of the remote beside the base as a look at `paths` needs.
    fn overlay_for(&self, paths: Option<&BTreeSet<RelPath>>) -> Overlay {
        match paths {
            Some(paths) if !paths.iter().any(Rules::is_rule_file) => {
                let known = paths.iter().flat_map(|path| plan::below(&self.overlay, path));
                known.map(|(path, found)| (path.clone(), found.clone())).collect()
            }
            Some(_) | None => self.overlay.clone(),
        }
    }
}
