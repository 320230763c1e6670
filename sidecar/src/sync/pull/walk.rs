//! What stands on the remote where a pull looks, by listing its folders: several requests travel at a time, and a
//! folder that is not wanted costs nothing.
//!
//! What the remote says is checked: names that are no names, answers out of order or without an end are errors.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use protocol::editor::SyncProblem;
use protocol::listing::{Listed, ListedKind, Listing};
use protocol::path::RelPath;

use super::selection::Selection;
use crate::sync::ignored::{Rules, Verdict};
use crate::sync::look::blocking;
use crate::sync::target::{SyncError, SyncTarget};

/// Folders of one request: enough that the way there and back does not count, few enough that answers overlap.
const FOLDERS: usize = 256;
/// Requests that are under way at a time.
const REQUESTS: usize = 4;
/// Most paths that are held: what is wanted, and folders still to be looked into. Ten million paths of ordinary
/// length would take some gigabytes.
const MOST: usize = 2_000_000;
/// Most problems that are listed.
const PROBLEMS: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// What is wanted, with whether the ignore rules would have it synced.
    pub(super) entries: BTreeMap<RelPath, (Listed, bool)>,
    /// What cannot be told.
    pub(super) problems: Vec<SyncProblem>,
}

/// A request: folders, and the name after which the first one goes on.
#[derive(Clone, Debug)]
struct Ask {
    folders: Vec<Option<RelPath>>,
    after: Option<String>,
}

/// What one answer holds.
#[derive(Debug, Default)]
struct Digest {
    found: Found,
    folders: Vec<RelPath>,
    /// What has to be asked again.
    rest: Option<Ask>,
}

/// Lists all that is wanted.
pub(super) async fn walk(
    target: &dyn SyncTarget,
    selection: &Arc<Selection>,
    rules: &Arc<Rules>,
) -> Result<Found, SyncError> {
    let mut waiting: VecDeque<Ask> = VecDeque::from([Ask { folders: vec![None], after: None }]);
    let mut folders: VecDeque<RelPath> = VecDeque::new();
    let mut found = Found::default();
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < REQUESTS {
            let ask = match waiting.pop_front() {
                Some(ask) => ask,
                None if folders.is_empty() => break,
                None => {
                    let some = folders.drain(..folders.len().min(FOLDERS)).map(Some).collect();
                    Ask { folders: some, after: None }
                }
            };
            asked.push(async move {
                let answer = target.list(ask.folders.clone(), ask.after.clone()).await;
                (ask, answer)
            });
        }
        let Some((ask, answer)) = asked.next().await else { return Ok(found) };
        let listings = answer?;
        let (selection, rules) = (Arc::clone(selection), Arc::clone(rules));
        // Rule files are read on the way.
        let digested = blocking(move || digest(ask, listings, &selection, &rules)).await;
        let digest = digested.map_err(|error| SyncError::Protocol(error.to_string()))??;
        found.entries.extend(digest.found.entries);
        found.problems.extend(digest.found.problems);
        found.problems.truncate(PROBLEMS);
        folders.extend(digest.folders);
        waiting.extend(digest.rest);
        if found.entries.len() + folders.len() > MOST {
            return Err(SyncError::Protocol(format!("it lists more than {MOST} paths; name a part of them")));
        }
    }
}

fn digest(ask: Ask, listings: Vec<Listing>, selection: &Selection, rules: &Rules) -> Result<Digest, SyncError> {
    let mut digest = Digest::default();
    let mut asked = ask.folders.into_iter();
    let mut after = ask.after;
    for listing in listings {
        let Some(folder) = asked.next() else { break };
        let shown = |name: &str| folder.as_ref().map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"));
        let mut problem = |path: String, reason: String| digest.found.problems.push(SyncProblem { path, reason });
        if let Some(reason) = listing.problem {
            problem(shown("").trim_end_matches('/').to_owned(), format!("cannot be listed on the remote: {reason}"));
            after = None;
            continue;
        }
        for name in listing.unusable {
            problem(shown(&name), "its name on the remote is not UTF-8; rename it there".to_owned());
        }
        let above = rules.folder(folder.as_ref());
        let mut last = after.take();
        for entry in listing.entries {
            if last.as_ref().is_some_and(|last| *last >= entry.name) {
                return Err(SyncError::Protocol("its listing is out of order".to_owned()));
            }
            last = Some(entry.name.clone());
            let path = match (&folder, entry.name.contains('/')) {
                (_, true) => None,
                (Some(folder), false) => folder.join(&entry.name).ok(),
                (None, false) => RelPath::new(entry.name.clone()).ok(),
            };
            let Some(path) = path else {
                digest.found.problems.push(SyncProblem {
                    path: shown(&entry.name),
                    reason: "its name on the remote is no name that can be used here".to_owned(),
                });
                continue;
            };
            let is_folder = matches!(entry.kind, ListedKind::Folder | ListedKind::Mount);
            let verdict = rules.verdict_in(&above, &path, is_folder);
            if entry.kind == ListedKind::Folder && selection.enters(&path, verdict) {
                digest.folders.push(path.clone());
            }
            if selection.takes(&path, is_folder, verdict) {
                digest.found.entries.insert(path, (entry, verdict == Verdict::Synced));
            }
        }
        if listing.cut {
            // Without an entry it would be asked the same again, for ever.
            let last = last.ok_or_else(|| SyncError::Protocol("its listing is cut before it begins".to_owned()))?;
            let folders = [folder].into_iter().chain(asked).collect();
            digest.rest = Some(Ask { folders, after: Some(last) });
            return Ok(digest);
        }
    }
    let rest: Vec<Option<RelPath>> = asked.collect();
    if !rest.is_empty() {
        digest.rest = Some(Ask { folders: rest, after: None });
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use protocol::sync::Stamp;

    use super::*;
    use crate::sync::ignored::Options;

    fn file(name: &str) -> Listed {
        let stamp = Stamp { size: 1, mtime_ns: 0, ctime_ns: 0, inode: 1, device: 1 };
        Listed { name: name.to_owned(), kind: ListedKind::File(stamp), mode: 0o644 }
    }

    fn try_digest(after: Option<&str>, listing: Listing) -> Result<Digest, SyncError> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::write(folder.path().join(".mltignore"), "*.log\n").expect("a file can be written");
        let rules =
            Rules::load(folder.path(), &Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false });
        let ask = Ask { folders: vec![None], after: after.map(ToOwned::to_owned) };
        digest(ask, vec![listing], &Selection::synced(), &rules)
    }

    #[test]
    fn hostile_names_are_told_and_left_alone() {
        let entries = ["", "..", "a/b", "a\0", "ok", "x.log"].map(file);
        let mut sorted = entries.to_vec();
        sorted.sort_by(|one, other| one.name.cmp(&other.name));
        let digest = try_digest(None, Listing { entries: sorted, ..Listing::default() }).expect("it is in order");
        assert_eq!(digest.found.entries.keys().map(RelPath::as_str).collect::<Vec<_>>(), ["ok"]);
        assert_eq!(digest.found.problems.len(), 4, "{:?}", digest.found.problems);
    }

    #[test]
    fn an_answer_that_leads_nowhere_is_an_error() {
        try_digest(None, Listing { entries: vec![file("b"), file("a")], ..Listing::default() })
            .expect_err("it is out of order");
        try_digest(Some("b"), Listing { entries: vec![file("b")], ..Listing::default() })
            .expect_err("it was told already");
        try_digest(None, Listing { cut: true, ..Listing::default() }).expect_err("it would never end");
        let rest = try_digest(None, Listing { entries: vec![file("a")], cut: true, ..Listing::default() });
        assert_eq!(rest.expect("it goes on").rest.expect("there is more").after.as_deref(), Some("a"));
    }
}
