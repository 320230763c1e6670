//! What both sides hold where a pull looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::error::Result;
use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Expect, Found, Known};

use super::bring::{Pull, io_error};
use super::plan::{self, Candidate, Plan, There};
use super::selection::{Scope, Selection};
use super::{PullError, walk};
use crate::store::Base;
use crate::sync::ignored::{Rules, Verdict};
use crate::sync::look::blocking;
use crate::sync::plan::Local;
use crate::sync::runner;
use crate::sync::target::{expected, verify_all};

impl Pull<'_> {
    /// Looks at both sides and decides. Returns the plan, how many paths are known, and whether the remote has lost
    /// all of them.
    pub(super) async fn decide(&mut self) -> Result<(Plan, usize, bool)> {
        let rules = runner::rules(&self.sides.pair).await?;
        let selection = Arc::new(self.ask.selection.clone());
        let scope = selection.scope();
        let mut pulled: BTreeMap<RelPath, Base> = BTreeMap::new();
        if scope != Scope::Synced {
            pulled = self.sides.store.pulled(self.sides.pair.id).await?.into_iter().collect();
        }
        // A path that is synced by now is no business of the other list any more.
        pulled.retain(|path, _| !self.sides.base.contains_key(path));
        let wanted = {
            let (base, pulled, rules, selection) =
                (Arc::clone(&self.sides.base), pulled.clone(), Arc::clone(&rules), Arc::clone(&selection));
            blocking(move || wanted(&base, &pulled, &rules, &selection)).await.map_err(io_error)?
        };
        let questions = wanted.iter().map(|(path, (base, _))| Known { path: path.clone(), expect: expected(base) });
        let target = Arc::clone(&self.sides.target);
        let (differs, listed) =
            tokio::join!(verify_all(&*target, questions.collect()), walk::walk(&*target, &selection, &rules));
        let (differs, listed) = (differs?, listed?);
        self.brought.problems.extend(listed.problems);

        let mut there: BTreeMap<RelPath, There> = BTreeMap::new();
        let mut untold = BTreeSet::new();
        for Differs { path, found, problem } in differs {
            if let Some(problem) = problem {
                self.problem(&path, problem);
                untold.insert(path);
            } else {
                there.insert(path, found.map_or(There::Nothing, There::Found));
            }
        }
        let gone = |path: &RelPath| there.get(path) == Some(&There::Nothing);
        let emptied = !wanted.is_empty() && wanted.keys().all(gone);
        let mut synced: BTreeMap<RelPath, bool> = BTreeMap::new();
        for (path, (_, is_synced)) in &wanted {
            synced.insert(path.clone(), *is_synced);
        }
        for (path, (entry, is_synced)) in listed.entries {
            if !wanted.contains_key(&path) && !untold.contains(&path) {
                synced.insert(path.clone(), is_synced);
                there.insert(path, There::Listed { kind: entry.kind, mode: entry.mode });
            }
        }
        for path in selection.exact() {
            if !wanted.keys().chain(there.keys()).any(|known| known.starts_with(path)) {
                return Err(PullError::Missing { path: path.clone() }.into());
            }
        }
        let candidates = self.candidates(&wanted, there, &synced).await?;
        let plan = plan::plan(candidates, scope == Scope::Synced);
        Ok((plan, wanted.len(), emptied))
    }

    /// Adds to what the remote holds what is here.
    async fn candidates(
        &mut self,
        wanted: &BTreeMap<RelPath, (Base, bool)>,
        mut there: BTreeMap<RelPath, There>,
        synced: &BTreeMap<RelPath, bool>,
    ) -> Result<Vec<Candidate>> {
        // What was brought home once and is gone here comes again when it is named; the remote has it unchanged.
        let named: BTreeSet<RelPath> = self.ask.selection.exact().cloned().collect();
        for (path, (base, is_synced)) in wanted {
            if (!is_synced || named.contains(path)) && !there.contains_key(path) {
                let found = Found { content: base.content.clone(), stamp: base.remote };
                there.insert(path.clone(), There::Found(found));
            }
        }
        let asked: Vec<(RelPath, Option<Base>)> =
            there.keys().map(|path| (path.clone(), wanted.get(path).map(|(base, _)| base.clone()))).collect();
        let home = Arc::clone(&self.home);
        let unchanged: BTreeSet<RelPath> = there
            .iter()
            .filter(|(path, there)| match (wanted.get(*path), there) {
                (Some((base, _)), There::Found(found)) => base.content == found.content,
                (Some(_) | None, _) => false,
            })
            .map(|(path, _)| path.clone())
            .collect();
        let looked = blocking(move || {
            let look = |(path, base): (RelPath, Option<Base>)| {
                let known = base.as_ref().and_then(|base| match (&base.local, &base.content) {
                    (Some(stamp), Content::File { hash, .. }) => Some((stamp, *hash)),
                    (Some(_) | None, _) => None,
                });
                // Of what the remote did not change it only matters whether it is here at all.
                let local = if unchanged.contains(&path) {
                    home.is_there(&path).map(|is_there| if is_there { Here::Untouched } else { Here::Is(None) })
                } else {
                    home.at(&path, known).map(Here::Is)
                };
                (path, base, local)
            };
            asked.into_iter().map(look).collect::<Vec<_>>()
        });
        let mut candidates = Vec::new();
        let mut unhashed = Vec::new();
        for (path, base, local) in looked.await.map_err(io_error)? {
            let local = match local {
                Ok(Here::Is(local)) => local,
                Ok(Here::Untouched) => continue,
                Err(error) => {
                    self.problem(&path, error.to_string());
                    continue;
                }
            };
            let Some(there) = there.remove(&path) else { continue };
            if local.is_some() && matches!(there, There::Listed { .. }) {
                unhashed.push(Known { path: path.clone(), expect: Expect::Absent });
            }
            let synced = synced.get(&path).copied().unwrap_or_default();
            let restore = !synced || named.contains(&path);
            candidates.push(Candidate { path, synced, restore, base, local, there });
        }
        // Both sides have it, and neither knows of the other: only the bytes tell.
        let answers = verify_all(&*self.sides.target, unhashed).await?;
        let mut found: BTreeMap<RelPath, There> = BTreeMap::new();
        for Differs { path, found: now, problem } in answers {
            match problem {
                Some(problem) => self.problem(&path, problem),
                None => drop(found.insert(path, now.map_or(There::Nothing, There::Found))),
            }
        }
        candidates.retain_mut(|candidate| {
            if candidate.local.is_none() || !matches!(candidate.there, There::Listed { .. }) {
                return true;
            }
            match found.remove(&candidate.path) {
                Some(there) => {
                    candidate.there = there;
                    true
                }
                // It cannot be told, which was said, or it is gone again.
                None => false,
            }
        });
        Ok(candidates)
    }
}

/// What a look at this side gives.
enum Here {
    /// What is here.
    Is(Option<Local>),
    /// Something, of a path that the remote did not change.
    Untouched,
}

/// Returns the known paths that are asked for, with their base and whether they are synced.
fn wanted(
    base: &BTreeMap<RelPath, Base>,
    pulled: &BTreeMap<RelPath, Base>,
    rules: &Rules,
    selection: &Selection,
) -> BTreeMap<RelPath, (Base, bool)> {
    let known = base.iter().map(|known| (known, true)).chain(pulled.iter().map(|known| (known, false)));
    known
        .filter_map(|((path, base), synced)| {
            let is_folder = base.content == Content::Folder;
            let verdict = rules.verdict(path, is_folder);
            let is_ours = !synced || verdict != Verdict::Ignored;
            (is_ours && selection.takes(path, is_folder, verdict)).then(|| (path.clone(), (base.clone(), synced)))
        })
        .collect()
}
