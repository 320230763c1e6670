//! Pure: what of a repository's `.git` folder travels, in which order, and what of it two sides can disagree about.
//!
//! The folder is one unit. What names objects (references, `HEAD`, the index) travels only when git is quiet here
//! and every object is there, so that a sync that ends anywhere leaves a repository that is whole. Objects are only
//! ever added there: nobody here knows what else on the remote still needs them. The index is compared by what it
//! says of files, since every `git status` writes other times into it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use protocol::editor::SyncProblem;
use protocol::path::RelPath;
use protocol::sync::{Action, Content, Found, Hash};

use super::plan::{Conflict, Held, Local, Overlay, Plan, Step, below, equal, may_hold};
use crate::store::{Base, BaseChange};

mod frozen;
pub mod index;
mod look;
#[cfg(test)]
mod tests;

pub(super) use frozen::Frozen;
pub(super) use look::{Seen, see};

/// The unit's name.
pub const UNIT: &str = ".git";

/// Objects that another repository on this machine lends to this one.
const ALTERNATES: &str = "objects/info/alternates";

/// Returns the path of the unit.
pub fn unit() -> RelPath {
    RelPath::new(UNIT).expect("a plain name")
}

/// Returns what of a path is below the unit.
pub fn inside(path: &RelPath) -> Option<&str> {
    path.as_str().strip_prefix(UNIT)?.strip_prefix('/')
}

/// Returns whether a path is below the unit.
pub fn is_inside(path: &RelPath) -> bool {
    inside(path).is_some()
}

/// Returns whether a path is the unit or below it.
pub fn is_of_unit(path: &RelPath) -> bool {
    path.as_str() == UNIT || is_inside(path)
}

/// Returns whether a path belongs to a unit that is synced: the folder, and all below it that means anything on
/// another machine. Locks are seen, so that they can be waited for.
pub fn is_sent(path: &RelPath, is_folder: bool) -> bool {
    match inside(path) {
        None => path.as_str() == UNIT && is_folder,
        Some(rest) => !stays_here(rest),
    }
}

/// Returns whether git, or we, would never miss this on another machine: what is half done, what only this machine
/// can use, and what git makes anew from the rest.
fn stays_here(rest: &str) -> bool {
    let mut names = rest.split('/');
    let first = names.next().unwrap_or_default();
    let name = rest.rsplit('/').next().unwrap_or_default();
    if rest.split('/').any(|name| name.starts_with(".mltoolbox")) {
        return true;
    }
    match first {
        // Linked worktrees and submodules are other folders of this machine.
        "worktrees" | "modules" | "gc.log" => true,
        "objects" => {
            let temporary = rest.split('/').any(|name| {
                ["tmp_", ".tmp-", "incoming-", "multi-pack-index"].iter().any(|prefix| name.starts_with(prefix))
            });
            let is_cache = rest.starts_with("objects/info/") && rest != ALTERNATES;
            let is_bitmap = ends_as(name, "bitmap");
            temporary || is_bitmap || is_cache && !is_lock(rest)
        }
        "lfs" => !rest.starts_with("lfs/objects") && rest != "lfs",
        _ => first.starts_with("fsmonitor--daemon"),
    }
}

/// Returns whether git has something in work as long as this is there.
fn is_lock(rest: &str) -> bool {
    ends_as(rest, "lock") || rest == "gc.pid"
}

fn ends_as(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

/// What a path of the unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Says that git is at work.
    Lock,
    /// Named by what it holds: the same name means the same everywhere.
    Object,
    /// Each side's own notes: what git did there.
    Notes,
    /// What both sides have to agree about.
    Shared,
    /// What makes the rest current, and travels after it: `HEAD` and the index.
    Last,
}

/// Returns what a path below the unit is.
pub fn part(path: &RelPath) -> Part {
    let rest = inside(path).unwrap_or_default();
    match rest {
        _ if is_lock(rest) => Part::Lock,
        "HEAD" | "index" => Part::Last,
        "FETCH_HEAD" | "ORIG_HEAD" | "COMMIT_EDITMSG" | "description" => Part::Notes,
        ALTERNATES => Part::Shared,
        _ if rest.starts_with("objects/") || rest.starts_with("lfs/objects/") => Part::Object,
        _ if rest.starts_with("logs/") => Part::Notes,
        _ => Part::Shared,
    }
}

/// Returns why the unit of a workspace cannot be sent at all, if so. Reads a few bytes.
pub fn obstacles(root: &Path) -> Vec<SyncProblem> {
    let problem = |path: &str, reason: String| vec![SyncProblem { path: path.to_owned(), reason }];
    let git = root.join(UNIT);
    match git.symlink_metadata() {
        Ok(facts) if facts.is_file() => {
            let mut text = String::new();
            let read = std::fs::File::open(&git).and_then(|file| file.take(4096).read_to_string(&mut text));
            let place = read.ok().and_then(|_| text.strip_prefix("gitdir:").map(|place| place.trim().to_owned()));
            let place = place.map_or_else(|| "another folder".to_owned(), |place| format!("`{place}`"));
            problem(
                UNIT,
                format!(
                    "it is not sent: this is a linked worktree or a submodule, and the repository is in {place}; sync \
                     a clone with a `.git` folder of its own, made with `git clone`"
                ),
            )
        }
        Ok(facts) if facts.is_symlink() => {
            problem(UNIT, "it is not sent, because it is a link; put the repository itself there".to_owned())
        }
        Ok(_) if git.join(ALTERNATES).exists() => problem(
            UNIT,
            "it is not sent, because it borrows objects from another repository; run `git repack -a -d && rm \
             .git/objects/info/alternates` to have all of them here"
                .to_owned(),
        ),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// What is known of both sides of the unit.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// What both sides held when they were last equal.
    pub base: &'a BTreeMap<RelPath, Base>,
    /// What is here.
    pub local: &'a BTreeMap<RelPath, Local>,
    /// What was found on the remote.
    pub remote: &'a Overlay,
    /// References that are not written down by name on either side, and would count if they were there.
    pub watched: &'a BTreeSet<RelPath>,
    /// The indexes.
    pub indexes: Indexes,
    /// Whether a look before this one saw the same, long enough ago.
    pub quiet: bool,
    /// Whether something of it cannot be told.
    pub untold: bool,
}

/// What the indexes say of files, each as a hash; `None` where there is none that can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// When both sides last had the same.
    pub base: Option<Hash>,
    /// Here.
    pub local: Option<Hash>,
    /// On the remote, where it is another file than the base's.
    pub remote: Option<Hash>,
}

impl Indexes {
    /// Returns whether the remote's index says what we brought there, or what is here.
    fn agree(self) -> bool {
        self.remote.is_some() && (self.remote == self.base || self.remote == self.local)
    }

    /// Returns whether there is nothing new here that the remote's index does not say.
    fn has_no_news(self) -> bool {
        match self.remote {
            Some(remote) => self.local == Some(remote),
            None => self.local.is_some() && self.local == self.base,
        }
    }
}

/// What to do about the unit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides are as they should be.
    Done,
    /// These, each list after the one before; then look again.
    Send(Vec<Vec<Step>>),
    /// Git is at work, here or there; the lock that says so.
    Busy(Option<RelPath>),
    /// The remote's repository was changed there, in these paths.
    Diverged(Vec<RelPath>),
    /// There is no repository here any more that was here before.
    Gone,
}

/// What was decided about the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// What is only recorded.
    pub adopt: Vec<BaseChange>,
}

/// Decides about the unit; `plan` is what would be done with its paths one by one.
pub fn decide(unit: Unit<'_>, plan: Plan) -> Decision {
    let mut adopt = plan.adopt.clone();
    let has_folder = unit.local.get(&self::unit()).is_some_and(|local| local.held == Held::Folder);
    let head = RelPath::new(".git/HEAD").expect("a plain path");
    if !has_folder || !unit.local.contains_key(&head) {
        let was_here = unit.base.contains_key(&head);
        return Decision { verdict: if was_here { Verdict::Gone } else { Verdict::Done }, adopt: Vec::new() };
    }
    let diverged = diverged(unit);
    if !diverged.is_empty() {
        return Decision { verdict: Verdict::Diverged(diverged), adopt };
    }
    let unread = !plan.unread.is_empty();
    let stages = stages(unit, plan, &mut adopt);
    let Some((objects, rest)) = stages.split_first() else { return Decision { verdict: Verdict::Done, adopt } };
    if objects.iter().any(|steps| !steps.is_empty()) {
        return Decision { verdict: Verdict::Send(objects.clone()), adopt };
    }
    let next = rest.iter().find(|stage| stage.iter().any(|steps| !steps.is_empty()));
    let verdict = match next {
        None if unread => Verdict::Busy(None),
        None => Verdict::Done,
        Some(stage) => match busy(unit) {
            Some(lock) => Verdict::Busy(Some(lock)),
            None if !unit.quiet || unit.untold || unread || !has_all_objects(unit) => Verdict::Busy(None),
            None => Verdict::Send(stage.clone()),
        },
    };
    Decision { verdict, adopt }
}

/// What would become of the unit, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What would be done, in order.
    pub steps: Vec<Step>,
    /// The one conflict about it.
    pub conflict: Option<Conflict>,
    /// Where the remote's repository was changed there.
    pub diverged: Vec<RelPath>,
}

/// Returns what would become of the unit once git is quiet.
pub fn survey(unit: Unit<'_>, plan: Plan) -> Survey {
    let Decision { verdict, .. } = decide(unit, plan.clone());
    match verdict {
        Verdict::Done | Verdict::Gone => Survey::default(),
        Verdict::Diverged(diverged) => Survey { steps: Vec::new(), conflict: Some(conflict()), diverged },
        Verdict::Send(_) | Verdict::Busy(_) => {
            let steps = stages(unit, plan, &mut Vec::new()).into_iter().flatten().flatten().collect();
            Survey { steps, ..Survey::default() }
        }
    }
}

/// Returns the one conflict that stands for all of the unit.
pub(super) fn conflict() -> Conflict {
    let folder = Local { held: Held::Folder, mode: 0o755, stamp: None };
    Conflict { path: unit(), local: Some(folder), remote: Some(Found { content: Content::Folder, stamp: None }) }
}

/// Returns a lock that is held here or there.
fn busy(unit: Unit<'_>) -> Option<RelPath> {
    let folder = self::unit();
    let here = below(unit.local, &folder).map(|(path, _)| path);
    let there = below(unit.remote, &folder).filter(|(_, found)| found.is_some()).map(|(path, _)| path);
    here.chain(there).find(|path| part(path) == Part::Lock).cloned()
}

/// Returns whether the remote has every object that is here.
fn has_all_objects(unit: Unit<'_>) -> bool {
    let folder = self::unit();
    below(unit.local, &folder)
        .filter(|(path, local)| part(path) == Part::Object && local.held != Held::Folder)
        .all(|(path, _)| is_there(unit, path))
}

fn is_there(unit: Unit<'_>, path: &RelPath) -> bool {
    match unit.remote.get(path) {
        Some(found) => found.is_some(),
        None => unit.base.contains_key(path),
    }
}

/// Returns the paths in which the remote's repository is neither what was brought there nor what is here.
fn diverged(unit: Unit<'_>) -> Vec<RelPath> {
    let folder = self::unit();
    let changed = below(unit.remote, &folder).filter(|(path, found)| match part(path) {
        Part::Lock | Part::Object | Part::Notes => false,
        Part::Last if path.name() == "index" && unit.indexes.agree() => false,
        Part::Shared | Part::Last => is_changed(unit, path, found.as_ref()),
    });
    changed.map(|(path, _)| path.clone()).collect()
}

fn is_changed(unit: Unit<'_>, path: &RelPath, found: Option<&Found>) -> bool {
    let (base, local) = (unit.base.get(path), unit.local.get(path));
    match found {
        // A folder that git emptied there is no loss; a reference is.
        None => base.is_some_and(|base| base.content != Content::Folder) && local.is_some(),
        Some(found) => {
            let is_base = base.is_some_and(|base| equal(&base.content, &found.content));
            let is_local = local.is_some_and(|local| may_hold(local, &found.content));
            // What only the remote has is another's, unless it hides what is written down here.
            let is_foreign = base.is_none() && local.is_none() && !unit.watched.contains(path);
            !is_base && !is_local && !is_foreign
        }
    }
}

/// Sorts the steps of the unit into stages, each of which needs all before it, and each stage into batches.
fn stages(unit: Unit<'_>, plan: Plan, adopt: &mut Vec<BaseChange>) -> Vec<Vec<Vec<Step>>> {
    let Plan { blocking, folders, files, links, removals, .. } = plan;
    let [mut objects, mut packs, mut shared, mut last] = [const { Vec::new() }; 4];
    for step in files.into_iter().chain(links) {
        match part(&step.op.path) {
            Part::Lock => {}
            Part::Object => {
                // What finds objects in a pack arrives after it.
                let is_index = ends_as(step.op.path.as_str(), "idx");
                if is_index { packs.push(step) } else { objects.push(step) }
            }
            Part::Notes | Part::Shared => shared.push(step),
            Part::Last if step.op.path.name() == "index" && unit.indexes.has_no_news() => {}
            Part::Last => last.push(step),
        }
    }
    // `HEAD` comes first in the alphabet and has to come last.
    last.sort_by(|one, other| other.op.path.cmp(&one.op.path));
    let is_object = |step: &Step| step.op.path.as_str().starts_with(".git/objects");
    let mut gone: Vec<Step> = removals.into_iter().filter(|step| part(&step.op.path) != Part::Lock).collect();
    let mut blocking = blocking;
    for list in [&mut gone, &mut blocking] {
        let forgotten = list.extract_if(.., |step| is_object(step) || part(&step.op.path) == Part::Object);
        adopt.extend(forgotten.map(|step| (step.op.path, None)));
    }
    let last = last.into_iter().map(|step| vec![step]).collect();
    vec![vec![folders, objects, packs], vec![blocking, shared], last, vec![gone]]
}

/// Returns the files of the unit that have to be read before anything is decided about it; objects are known by name.
pub(super) fn unread(local: &BTreeMap<RelPath, Local>) -> Vec<RelPath> {
    let folder = unit();
    let unread = below(local, &folder).filter(|(path, local)| {
        let is_unread = matches!(local.held, Held::File { hash: None, .. });
        is_unread && matches!(part(path), Part::Notes | Part::Shared | Part::Last)
    });
    unread.map(|(path, _)| path.clone()).collect()
}

/// Returns what the unit's parts are here, as one hash; `None` while one of them is unread.
pub fn fingerprint(local: &BTreeMap<RelPath, Local>) -> Option<Hash> {
    let mut hasher = blake3::Hasher::new();
    for (path, local) in below(local, &unit()) {
        hasher.update(path.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(&local.mode.to_le_bytes());
        match &local.held {
            Held::Folder => hasher.update(b"/"),
            Held::Link { target } => hasher.update(target.as_bytes()),
            Held::File { size, .. } if part(path) == Part::Object => hasher.update(&size.to_le_bytes()),
            Held::File { hash, .. } => hasher.update(&(*hash)?.0),
        };
        hasher.update(&[0]);
    }
    Some(Hash(*hasher.finalize().as_bytes()))
}

/// Returns what steps would write, by path: nothing else may travel in their name.
pub(super) fn contents(steps: &[Vec<Step>]) -> BTreeMap<RelPath, Hash> {
    let written = steps.iter().flatten().filter_map(|step| match &step.op.action {
        Action::Put { hash, .. } if part(&step.op.path) != Part::Object => Some((step.op.path.clone(), (*hash)?)),
        Action::Put { .. }
        | Action::MakeFolder { .. }
        | Action::Link { .. }
        | Action::SetMode { .. }
        | Action::Remove
        | Action::Patch { .. }
        | Action::Move { .. }
        | Action::Copy { .. }
        | Action::Append { .. } => None,
    });
    written.collect()
}

/// Returns what a person reads about a remote's repository that was changed there.
pub fn words(diverged: &[RelPath]) -> String {
    /// Most paths that are named.
    const NAMED: usize = 3;
    let names: Vec<&str> = diverged.iter().filter_map(inside).take(NAMED).collect();
    let more = diverged.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("a repository that was changed there: {}{more}", names.join(", "))
}
