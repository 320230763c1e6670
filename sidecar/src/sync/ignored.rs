//! Which paths of a workspace are synced at all.
//!
//! In order, the first that says something wins: `.git` (never synced, or as [`git`] says) and our own names (never synced), include overrides,
//! exclude patterns, `.mltignore` files, `.gitignore` files, `.git/info/exclude`, the global ignore file.
//! The files follow git's rule: nothing below an ignored folder comes back. An include override does bring it
//! back, and a folder it matches comes with all it holds. Rule files above the workspace are not looked at.
//! Conflict copies (`*.mltoolbox-conflict-*`) are made on the remote only; one in the workspace is a file like
//! any other. Reads rule files, never the environment.

mod patterns;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ignore::Match;
use ignore::gitignore::Gitignore;
use protocol::editor::SyncProblem;
use protocol::path::RelPath;

use self::patterns::Patterns;
use super::git;

/// Longest rule file that is read; git's own tests stay far below.
const MAX_RULE_FILE: u64 = 1024 * 1024;

const GIT_RULES: &str = ".gitignore";
const OUR_RULES: &str = ".mltignore";

/// What a person asked for beside the rule files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Patterns of what is left out, in order.
    pub exclude: Vec<String>,
    /// Patterns of what is synced even when it is ignored, in order.
    pub include: Vec<String>,
    /// Git's global ignore file (`core.excludesFile`).
    pub global: Option<PathBuf>,
    /// Whether the workspace's `.git` folder is synced, for all its rules say.
    pub git: bool,
}

/// Whether a path is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Synced,
    /// Neither it nor anything below it.
    Ignored,
    /// A folder that is not, while an include override may match something below it.
    Pass,
}

/// The rules of one workspace. A rule file is read when the first path in its folder is asked about, and again
/// after [`Rules::reload`]. Shared between threads by reference.
pub struct Rules {
    root: PathBuf,
    options: Options,
    include: Gitignore,
    /// Folders that may hold something that an include override matches.
    on_the_way: Gitignore,
    exclude: Gitignore,
    option_problems: Vec<SyncProblem>,
    shared: RwLock<Shared>,
}

/// What [`Rules::reload`] throws away.
#[derive(Default)]
struct Shared {
    /// `.git/info/exclude` and the global file, with what is wrong in them.
    outer: Option<Arc<Outer>>,
    folders: BTreeMap<RelPath, Arc<Folder>>,
    top: Option<Arc<Folder>>,
    /// Counts the reloads, so that what was read before one is not kept after it.
    reloads: u64,
}

struct Outer {
    info: Gitignore,
    global: Gitignore,
    problems: Vec<SyncProblem>,
}

/// The rules that hold in one folder.
pub struct Folder {
    state: State,
    /// Rule files from the top to this folder that say anything.
    mltignore: Arc<[Level]>,
    gitignore: Arc<[Level]>,
    problems: Vec<SyncProblem>,
    outer: Arc<Outer>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Included,
    Excluded,
    Hard,
}

/// One rule file. Its patterns are relative to its folder.
#[derive(Clone)]
struct Level {
    /// Bytes of a path that name the folder, with the slash.
    skip: usize,
    rules: Arc<Gitignore>,
}

/// Which rule files a folder may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleFiles {
    git: bool,
    ours: bool,
}

impl RuleFiles {
    /// Those of a folder that was not listed: any.
    pub const ANY: Self = Self { git: true, ours: true };

    /// Returns those among the names in a folder.
    pub fn among<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        names.fold(Self { git: false, ours: false }, |found, name| Self {
            git: found.git || name == GIT_RULES.as_bytes(),
            ours: found.ours || name == OUR_RULES.as_bytes(),
        })
    }
}

/// Returns why a pattern of the command line cannot be read, if so.
pub fn check(pattern: &str) -> Result<(), ignore::Error> {
    patterns::check(pattern)?;
    patterns::prefixes(pattern).iter().try_for_each(|prefix| patterns::check(prefix))
}

/// Returns a matcher for patterns of the command line; one that cannot be read matches nothing.
pub(super) fn matcher(patterns: &[String]) -> Gitignore {
    let mut wanted = Patterns::default();
    for pattern in patterns {
        wanted.add("", 0, pattern);
    }
    wanted.build().0
}

impl Rules {
    /// Returns the rules of the workspace at `root`. Reads nothing yet.
    pub fn load(root: &Path, options: &Options) -> Self {
        let mut include = Patterns::default();
        let mut on_the_way = Patterns::default();
        let mut exclude = Patterns::default();
        for pattern in &options.include {
            include.add("--include", 0, pattern);
            for prefix in patterns::prefixes(pattern) {
                on_the_way.add("--include", 0, &prefix);
            }
        }
        for pattern in &options.exclude {
            exclude.add("--exclude", 0, pattern);
        }
        let (include, mut option_problems) = include.build();
        let (exclude, more) = exclude.build();
        option_problems.extend(more);
        let mut options = options.clone();
        if options.git {
            let obstacles = git::obstacles(root);
            options.git = obstacles.is_empty();
            option_problems.extend(obstacles);
        }
        Self {
            root: root.to_owned(),
            options,
            include,
            on_the_way: on_the_way.build().0,
            exclude,
            option_problems,
            shared: RwLock::default(),
        }
    }

    /// Returns whether a path is synced. Reads the rule files on the way to it that were not read before.
    pub fn verdict(&self, path: &RelPath, is_folder: bool) -> Verdict {
        let parent = path.parent();
        self.verdict_in(&self.folder(parent.as_ref()), path, is_folder)
    }

    /// Returns whether `path` is synced, given the rules of the folder it is in.
    pub fn verdict_in(&self, folder: &Folder, path: &RelPath, is_folder: bool) -> Verdict {
        match self.state(folder, path, is_folder) {
            State::Open | State::Included => Verdict::Synced,
            State::Excluded if is_folder && is_ignored(&self.on_the_way, path.as_str(), true) => Verdict::Pass,
            State::Excluded | State::Hard => Verdict::Ignored,
        }
    }

    /// Returns the rules that hold in a folder; `None` is the workspace itself.
    pub fn folder(&self, path: Option<&RelPath>) -> Arc<Folder> {
        self.folder_with(path, RuleFiles::ANY)
    }

    /// Does the same for a folder that was listed: only what it holds is looked for.
    pub fn folder_with(&self, path: Option<&RelPath>, files: RuleFiles) -> Arc<Folder> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let known = match path {
            None => shared.top.clone(),
            Some(path) => shared.folders.get(path).cloned(),
        };
        let reloads = shared.reloads;
        drop(shared);
        if let Some(folder) = known {
            return folder;
        }
        let folder = match path {
            None => {
                let (none, outer) = (&Arc::default(), self.outer());
                Arc::new(self.read_folder(None, files, State::Open, none, none, outer))
            }
            Some(path) => {
                let above = self.folder(path.parent().as_ref());
                let state = self.state(&above, path, true);
                let outer = Arc::clone(&above.outer);
                let folder = self.read_folder(Some(path), files, state, &above.mltignore, &above.gitignore, outer);
                // Most folders say nothing of their own, and there may be a great many.
                if folder.is_like(&above) { above } else { Arc::new(folder) }
            }
        };
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if shared.reloads != reloads {
            return folder;
        }
        match path {
            None => shared.top = Some(Arc::clone(&folder)),
            Some(path) => drop(shared.folders.insert(path.clone(), Arc::clone(&folder))),
        }
        folder
    }

    /// Returns whether a change of this path changes the rules.
    pub fn is_rule_file(path: &RelPath) -> bool {
        matches!(path.name(), GIT_RULES | OUR_RULES)
    }

    /// Forgets what was read in a folder and below it; `None` forgets everything.
    pub fn reload(&self, folder: Option<&RelPath>) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.reloads += 1;
        match folder {
            None => *shared = Shared { reloads: shared.reloads, ..Shared::default() },
            Some(folder) => {
                let below: Vec<RelPath> = (shared.folders.range(folder.clone()..))
                    .map(|(path, _)| path)
                    .take_while(|path| path.as_str().starts_with(folder.as_str()))
                    .filter(|path| path.starts_with(folder))
                    .cloned()
                    .collect();
                for path in below {
                    shared.folders.remove(&path);
                }
            }
        }
    }

    /// Returns the patterns that mean nothing, with file and line. They were skipped.
    pub fn problems(&self) -> Vec<SyncProblem> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let outer = shared.outer.iter().flat_map(|outer| &outer.problems);
        let folders = shared.top.iter().chain(shared.folders.values()).flat_map(|folder| &folder.problems);
        self.option_problems.iter().chain(outer).chain(folders).cloned().collect()
    }

    fn state(&self, folder: &Folder, path: &RelPath, is_folder: bool) -> State {
        if self.options.git && git::is_sent(path, is_folder) {
            return State::Included;
        }
        if folder.state == State::Hard || is_never_synced(path.name()) || git::is_inside(path) {
            return State::Hard;
        }
        if folder.state == State::Included || is_ignored(&self.include, path.as_str(), is_folder) {
            return State::Included;
        }
        if folder.state == State::Excluded {
            return State::Excluded;
        }
        let text = path.as_str();
        let ignored = said(&self.exclude, text, is_folder)
            .or_else(|| last_said(&folder.mltignore, text, is_folder))
            .or_else(|| last_said(&folder.gitignore, text, is_folder))
            .or_else(|| said(&folder.outer.info, text, is_folder))
            .or_else(|| said(&folder.outer.global, text, is_folder));
        if ignored == Some(true) { State::Excluded } else { State::Open }
    }

    fn outer(&self) -> Arc<Outer> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outer) = &shared.outer {
            return Arc::clone(outer);
        }
        drop(shared);
        let mut problems = Vec::new();
        let mut read = |path: Option<PathBuf>| {
            let Some(path) = path else { return Gitignore::empty() };
            let (rules, found) = read_rules(&path, &path.display().to_string()).unwrap_or((Gitignore::empty(), vec![]));
            problems.extend(found);
            rules
        };
        let info = read(git_folder(&self.root).map(|folder| folder.join("info").join("exclude")));
        let global = read(self.options.global.clone());
        let outer = Arc::new(Outer { info, global, problems });
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.outer = Some(Arc::clone(&outer));
        outer
    }

    fn read_folder(
        &self,
        path: Option<&RelPath>,
        files: RuleFiles,
        state: State,
        mltignore: &Arc<[Level]>,
        gitignore: &Arc<[Level]>,
        outer: Arc<Outer>,
    ) -> Folder {
        let mut problems = Vec::new();
        let mut levels = |name: &str, is_there: bool, above: &Arc<[Level]>| -> Arc<[Level]> {
            // In every other state the rule files have no say.
            if state != State::Open {
                return Arc::from([]);
            }
            if !is_there {
                return Arc::clone(above);
            }
            let shown = path.map_or_else(|| name.to_owned(), |path| format!("{path}/{name}"));
            let Some((rules, found)) = read_rules(&self.root.join(&shown), &shown) else { return Arc::clone(above) };
            problems.extend(found);
            let skip = path.map_or(0, |path| path.as_str().len() + 1);
            above.iter().cloned().chain([Level { skip, rules: Arc::new(rules) }]).collect()
        };
        let mltignore = levels(OUR_RULES, files.ours, mltignore);
        let gitignore = levels(GIT_RULES, files.git, gitignore);
        Folder { state, mltignore, gitignore, problems, outer }
    }
}

impl Folder {
    /// Returns whether the same rules hold in both, and nothing is wrong in either.
    fn is_like(&self, other: &Self) -> bool {
        let levels = |folder: &Self| (Arc::as_ptr(&folder.mltignore), Arc::as_ptr(&folder.gitignore));
        let rules = (levels(self), Arc::as_ptr(&self.outer)) == (levels(other), Arc::as_ptr(&other.outer));
        rules && self.state == other.state && self.problems.is_empty() && other.problems.is_empty()
    }
}

/// Returns whether a name is never synced, whatever the rules say: git's own data and ours.
pub fn is_never_synced(name: &str) -> bool {
    name == ".git" || name == ".mltoolbox" || name.starts_with(".mltoolbox-")
}

/// Returns what the deepest rule file that says anything says: ignored or not.
fn last_said(levels: &[Level], path: &str, is_folder: bool) -> Option<bool> {
    levels.iter().rev().find_map(|level| said(&level.rules, path.get(level.skip..)?, is_folder))
}

fn said(rules: &Gitignore, path: &str, is_folder: bool) -> Option<bool> {
    match rules.matched(path, is_folder) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    }
}

fn is_ignored(rules: &Gitignore, path: &str, is_folder: bool) -> bool {
    said(rules, path, is_folder) == Some(true)
}

/// Returns the rules of a file; `None` when there is none.
fn read_rules(path: &Path, shown: &str) -> Option<(Gitignore, Vec<SyncProblem>)> {
    // As git does, a link is not followed.
    let facts = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    let problem = |reason: String| {
        let reason = format!("its rules are not applied: {reason}");
        Some((Gitignore::empty(), vec![SyncProblem { path: shown.to_owned(), reason }]))
    };
    if facts.len() > MAX_RULE_FILE {
        return problem(format!("it is larger than {MAX_RULE_FILE} bytes; shorten it"));
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_RULE_FILE).read_to_end(&mut bytes));
    if let Err(error) = read {
        return problem(format!("{error}; make it readable with `chmod u+r`"));
    }
    Some(Patterns::of_file(shown, &String::from_utf8_lossy(&bytes)).build())
}

/// Returns git's data folder, following the file that a linked worktree has in its place.
fn git_folder(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    let facts = git.symlink_metadata().ok()?;
    if facts.is_dir() {
        return Some(git);
    }
    let read = |path: &Path| -> Option<String> {
        let mut text = String::new();
        std::fs::File::open(path).ok()?.take(MAX_RULE_FILE).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let own = root.join(read(&git)?.strip_prefix("gitdir:")?.trim());
    let common = read(&own.join("commondir"));
    Some(common.map_or_else(|| own.clone(), |common| own.join(common.trim())))
}

impl fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rules")
            .field("root", &self.root)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Folder")
            .field("rule_files", &(self.mltignore.len() + self.gitignore.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
