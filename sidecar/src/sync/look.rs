//! One look at both sides: scan here, verify there, and read what may be equal on both.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Expect, Found, Known};

use super::git::{self, Seen};
use super::logs::{self, Logs};
use super::pending::Turn;
use super::plan::{Held, Overlay, folders_above, joined};
use super::source::{Scan, Source, hash};
use super::target::{Compared, SyncError, SyncTarget, verify_all};
use crate::store::Base;

/// What to look at.
#[derive(Debug)]
pub(super) struct Request {
    /// Which of the looks it is.
    pub(super) turn: Turn,
    /// The paths here; `None` for all.
    pub(super) paths: Option<BTreeSet<RelPath>>,
    /// What is to be asked of the remote.
    pub(super) ask: Ask,
    /// Paths that may stand there without being in the base or here: of what was sent to them nothing was said.
    pub(super) doubted: Vec<RelPath>,
    /// What the remote is already known to hold beside the base.
    pub(super) overlay: Overlay,
    /// Files that only grow.
    pub(super) logs: Logs,
    /// A scan of everything that began before the remote could be asked.
    pub(super) ahead: Option<Ahead>,
    /// Whether the `.git` folder is looked at as a unit.
    pub(super) unit: bool,
}

/// A scan under way.
pub(super) type Ahead = tokio::task::JoinHandle<io::Result<Scan>>;

/// What is to be asked of the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Nothing: it was asked since the link was made, and every operation checks for itself.
    Nothing,
    /// Whether the base still holds there; nothing else can be there, as the folder is new.
    Base,
    /// Whether the base still holds there, and what stands where new paths are to go.
    All,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    /// Which of the looks it was.
    pub(super) turn: Turn,
    /// What is here; an error says that the workspace cannot be looked at.
    pub(super) scan: io::Result<Scan>,
    /// What the remote holds instead of the base; `None` when it was not asked.
    pub(super) overlay: Result<Option<Overlay>, SyncError>,
    /// Paths of which the remote cannot tell, with the reason.
    pub(super) problems: Vec<(RelPath, String)>,
    /// Whether what may be on the remote under another name was read.
    pub(super) read: bool,
    /// Logs whose last addition broke off on the remote, with what is there.
    pub(super) broken_off: Vec<(RelPath, Found)>,
    /// What the remote was given and still holds, which the base does not say.
    pub(super) given: Vec<(RelPath, Found)>,
    /// What was found out about the `.git` folder, when it was looked at.
    pub(super) git: Option<Seen>,
}

/// Looks at both sides; changes neither.
pub(super) async fn look(
    request: Request,
    base: Arc<BTreeMap<RelPath, Base>>,
    source: Arc<dyn Source>,
    target: Arc<dyn SyncTarget>,
) -> Look {
    let Request { turn, paths, ask, doubted, overlay, logs, ahead, unit } = request;
    let scanned = async {
        match ahead {
            Some(ahead) => ahead.await.unwrap_or_else(|error| Err(io::Error::other(error))),
            None => scan(&source, paths, Arc::clone(&base)).await,
        }
    };
    // The base can be asked about before it is known what is here.
    let (scan, of_base) = tokio::join!(scanned, async {
        match ask {
            Ask::Nothing => Ok(Compared::default()),
            // Nothing was brought there and nothing is there: a round trip later it would be the same.
            Ask::Base if base.is_empty() => Ok(Compared::default()),
            Ask::Base | Ask::All => target.compare(Arc::clone(&base)).await,
        }
    });
    let mut look = Look {
        turn,
        scan,
        overlay: Ok(None),
        problems: Vec::new(),
        read: false,
        broken_off: Vec::new(),
        given: Vec::new(),
        git: None,
    };
    let Ok(scan) = &mut look.scan else { return look };
    let mut known = overlay;
    let of_base = match of_base {
        Ok(Compared { differs, given, unknown }) => {
            look.given = given;
            look.given.retain(|(path, _)| base.contains_key(path) || scan.found.contains_key(path));
            let followed = |path: &RelPath| base.contains_key(path) || scan.found.contains_key(path);
            let gone: Vec<RelPath> = unknown.into_iter().filter(|path| !followed(path)).collect();
            let forgotten = if gone.is_empty() { Ok(()) } else { target.forget(gone).await };
            forgotten.map(|()| differs)
        }
        Err(error) => Err(error),
    };
    let differs = match (ask, of_base) {
        (Ask::Nothing | Ask::Base, of_base) => of_base,
        (Ask::All, Ok(mut differs)) => {
            verify_all(&*target, about_new(&base, scan, &look.given, doubted)).await.map(|more| {
                differs.extend(more);
                differs
            })
        }
        (Ask::All, Err(error)) => Err(error),
    };
    if ask != Ask::Nothing {
        match differs {
            Ok(differs) => {
                known = Overlay::new();
                for Differs { path, found, problem } in differs {
                    match problem {
                        Some(problem) => look.problems.push((path, problem)),
                        None => drop(known.insert(path, found)),
                    }
                }
                look.overlay = Ok(Some(known.clone()));
            }
            Err(error) => {
                look.overlay = Err(error);
                return look;
            }
        }
    }
    known.extend(look.given.iter().map(|(path, found)| (path.clone(), Some(found.clone()))));
    if unit {
        read(&source, scan, git::unread(&scan.found)).await;
        match git::see(ask, &base, scan, &known, &source, &*target).await {
            Ok(seen) => {
                known.extend(seen.differs.iter().map(|(path, found)| (path.clone(), found.clone())));
                look.git = Some(seen);
            }
            Err(error) => {
                look.overlay = Err(error);
                return look;
            }
        }
    }
    look.broken_off = logs::broken_off(&logs, &source, &scan.found, &base, &known).await;
    for (path, _) in &look.broken_off {
        known.remove(path);
    }
    read_what_may_be_equal(&source, scan, known).await;
    look
}

/// Begins to scan everything.
pub(super) fn ahead(source: &Arc<dyn Source>, base: &Arc<BTreeMap<RelPath, Base>>) -> Ahead {
    let (source, base) = (Arc::clone(source), Arc::clone(base));
    tokio::task::spawn_blocking(move || source.scan(None, &base))
}

async fn scan(
    source: &Arc<dyn Source>,
    paths: Option<BTreeSet<RelPath>>,
    base: Arc<BTreeMap<RelPath, Base>>,
) -> io::Result<Scan> {
    let source = Arc::clone(source);
    blocking(move || source.scan(paths.as_ref(), &base)).await?
}

/// Runs `work` off the runtime.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// Whether nothing stands where new paths are to go.
fn about_new(
    base: &BTreeMap<RelPath, Base>,
    scan: &Scan,
    given: &[(RelPath, Found)],
    doubted: Vec<RelPath>,
) -> Vec<Known> {
    let given: BTreeSet<&RelPath> = given.iter().map(|(path, _)| path).collect();
    let doubted = doubted.into_iter().filter(|path| !base.contains_key(path) && !scan.found.contains_key(path));
    let new = joined(base, &scan.found).filter(|(_, base, _)| base.is_none()).map(|(path, ..)| path.clone());
    // Below a file that becomes a folder there is nothing, and the remote would say that it cannot tell.
    let is_no_folder = |folder: &RelPath| base.get(folder).is_some_and(|base| base.content != Content::Folder);
    let below_none = |path: &RelPath| !base.is_empty() && folders_above(path).any(|folder| is_no_folder(&folder));
    let asked = new.chain(doubted).filter(|path| !given.contains(path) && !below_none(path));
    asked.map(|path| Known { path, expect: Expect::Absent }).collect()
}

/// A new file is read here only when the remote has another: they may be equal, and whoever decides a
/// conflict has to know what was here.
async fn read_what_may_be_equal(source: &Arc<dyn Source>, scan: &mut Scan, known: Overlay) {
    if known.is_empty() {
        return;
    }
    let unread: Vec<RelPath> = scan
        .found
        .iter()
        .filter(|(path, local)| match (&local.held, known.get(*path)) {
            (Held::File { hash: None, .. }, Some(Some(found))) => matches!(found.content, Content::File { .. }),
            (Held::File { .. } | Held::Folder | Held::Link { .. }, _) => false,
        })
        .map(|(path, _)| path.clone())
        .collect();
    read(source, scan, unread).await;
}

/// Reads `wanted`, so that the look tells what they hold.
pub(super) async fn read_through(mut look: Look, wanted: Vec<RelPath>, source: Arc<dyn Source>) -> Look {
    look.read = true;
    if let Ok(scan) = &mut look.scan {
        read(&source, scan, wanted).await;
    }
    look
}

async fn read(source: &Arc<dyn Source>, scan: &mut Scan, unread: Vec<RelPath>) {
    if unread.is_empty() {
        return;
    }
    let source = Arc::clone(source);
    let read = blocking(move || unread.into_iter().map(|path| (hash(&*source, &path), path)).collect::<Vec<_>>());
    for (result, path) in read.await.unwrap_or_default() {
        // What cannot be read now is decided in a later look.
        if let (Ok(Some(seal)), Some(local)) = (result, scan.found.get_mut(&path)) {
            local.held = Held::File { hash: Some(seal.hash), size: seal.size };
            local.stamp = seal.stamp;
        }
    }
}
