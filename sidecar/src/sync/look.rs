//! One look at both sides: scan here, verify there, and read what may be equal on both.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use protocol::agent::MAX_BATCH;
use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Expect, Known};

use super::plan::{Held, Overlay};
use super::source::{Scan, Source, hash};
use super::target::{SyncError, SyncTarget};
use crate::store::Base;

/// Requests about the remote that are under way at a time: one is answered while the next one travels.
const REQUESTS: usize = 4;

/// What to look at.
#[derive(Debug)]
pub(super) struct Request {
    /// The paths here; `None` for all.
    pub(super) paths: Option<BTreeSet<RelPath>>,
    /// What is to be asked of the remote.
    pub(super) ask: Ask,
    /// What the remote is already known to hold beside the base.
    pub(super) overlay: Overlay,
    /// A scan of everything that began before the remote could be asked.
    pub(super) ahead: Option<Ahead>,
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
    /// What is here; an error says that the workspace cannot be looked at.
    pub(super) scan: io::Result<Scan>,
    /// What the remote holds instead of the base; `None` when it was not asked.
    pub(super) overlay: Result<Option<Overlay>, SyncError>,
    /// Paths of which the remote cannot tell, with the reason.
    pub(super) problems: Vec<(RelPath, String)>,
}

/// Looks at both sides; changes neither.
pub(super) async fn look(
    request: Request,
    base: Arc<BTreeMap<RelPath, Base>>,
    source: Arc<dyn Source>,
    target: Arc<dyn SyncTarget>,
) -> Look {
    let Request { paths, ask, overlay, ahead } = request;
    let scanned = async {
        match ahead {
            Some(ahead) => ahead.await.unwrap_or_else(|error| Err(io::Error::other(error))),
            None => scan(&source, paths, Arc::clone(&base)).await,
        }
    };
    // The base can be asked about before it is known what is here.
    let (scan, of_base) = tokio::join!(scanned, async {
        match ask {
            Ask::Nothing => Ok(Vec::new()),
            Ask::Base | Ask::All => verify(&*target, about_base(&base)).await,
        }
    });
    let mut look = Look { scan, overlay: Ok(None), problems: Vec::new() };
    let Ok(scan) = &mut look.scan else { return look };
    let mut known = overlay;
    let differs = match (ask, of_base) {
        (Ask::Nothing | Ask::Base, of_base) => of_base,
        (Ask::All, Ok(mut differs)) => verify(&*target, about_new(&base, scan)).await.map(|more| {
            differs.extend(more);
            differs
        }),
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

fn about_base(base: &BTreeMap<RelPath, Base>) -> Vec<Known> {
    base.iter().map(|(path, base)| Known { path: path.clone(), expect: expected(base) }).collect()
}

/// Returns the precondition that says: the base still holds on the remote.
pub(super) fn expected(base: &Base) -> Expect {
    match &base.content {
        Content::File { hash, .. } => Expect::File { hash: *hash, stamp: base.remote },
        Content::Folder => Expect::Folder,
        Content::Link { target } => Expect::Link { target: target.clone() },
        Content::Special => Expect::Absent,
    }
}

/// Whether nothing stands where new paths are to go.
fn about_new(base: &BTreeMap<RelPath, Base>, scan: &Scan) -> Vec<Known> {
    let new = scan.found.keys().filter(|path| !base.contains_key(*path));
    new.map(|path| Known { path: path.clone(), expect: Expect::Absent }).collect()
}

/// Asks the remote as many questions as there are, in requests that overlap.
pub(super) async fn verify(target: &dyn SyncTarget, questions: Vec<Known>) -> Result<Vec<Differs>, SyncError> {
    let mut differs = Vec::new();
    let mut rest = questions.into_iter();
    let requests = std::iter::from_fn(|| {
        let request: Vec<Known> = rest.by_ref().take(MAX_BATCH).collect();
        (!request.is_empty()).then_some(request)
    });
    let mut answers = stream::iter(requests).map(|request| target.verify(request)).buffered(REQUESTS);
    while let Some(answer) = answers.next().await {
        differs.extend(answer?);
    }
    Ok(differs)
}

/// A new file is read here only when the remote has another: they may be equal, and whoever decides a
/// conflict has to know what was here.
async fn read_what_may_be_equal(source: &Arc<dyn Source>, scan: &mut Scan, known: Overlay) {
    let unread: Vec<RelPath> = scan
        .found
        .iter()
        .filter(|(path, local)| match (&local.held, known.get(*path)) {
            (Held::File { hash: None, .. }, Some(Some(found))) => matches!(found.content, Content::File { .. }),
            (Held::File { .. } | Held::Folder | Held::Link { .. }, _) => false,
        })
        .map(|(path, _)| path.clone())
        .collect();
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
