//! What a look at both sides finds out about the unit beside its files: what the remote did to it, and what the
//! indexes say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::path::RelPath;
use protocol::sync::{Content, Differs, Expect, Hash, Known};

use super::{Part, UNIT, index, part, unit};
use crate::store::Base;
use crate::sync::look::{Ask, blocking};
use crate::sync::plan::{Held, Overlay, below};
use crate::sync::source::{Scan, Source};
use crate::sync::target::{SyncError, SyncTarget, expected, verify_all};

/// Longest index that is compared by its entries, in bytes: that of about half a million files.
const MAX_INDEX: u64 = 64 * 1024 * 1024;
/// Most bytes of `packed-refs` and `HEAD` that are read.
const MAX_NAMES: usize = 16 * 1024 * 1024;
/// Most branches that are looked for by name on the remote: one question each.
const MAX_BRANCHES: usize = 5_000;

/// What was found out.
#[derive(Debug, Default)]
pub(in crate::sync) struct Seen {
    /// Paths that the remote was asked about, beside those of a comparison of everything.
    pub(in crate::sync) asked: BTreeSet<RelPath>,
    /// What it holds there, where that is not what was expected.
    pub(in crate::sync) differs: Overlay,
    /// Paths that would count if they were there.
    pub(in crate::sync) watched: BTreeSet<RelPath>,
    /// What the index here says.
    pub(in crate::sync) index_here: Option<Hash>,
    /// The bytes of the index here.
    pub(in crate::sync) index_file: Option<Hash>,
    /// What the remote's index says, when it is another file than the base's.
    pub(in crate::sync) index_there: Option<Hash>,
}

/// Finds it out. Reads `packed-refs` and the index here, and asks the remote about all that is not an object.
pub(in crate::sync) async fn see(
    ask: Ask,
    base: &BTreeMap<RelPath, Base>,
    scan: &Scan,
    known: &Overlay,
    source: &Arc<dyn Source>,
    target: &dyn SyncTarget,
) -> Result<Seen, SyncError> {
    let folder = unit();
    let mut seen = Seen::default();
    if below(&scan.found, &folder).next().is_none() {
        return Ok(seen);
    }
    let reader = Arc::clone(source);
    let read = blocking(move || (names(&*reader), contents(&*reader, "index", MAX_INDEX)));
    let (watched, index_here) = read.await.unwrap_or_default();
    seen.index_file = index_here.as_ref().map(|bytes| Hash(*blake3::hash(bytes).as_bytes()));
    seen.index_here = index_here.and_then(|bytes| index::entries(&bytes));
    seen.watched = watched;
    let mut questions: Vec<Known> = Vec::new();
    if ask == Ask::Nothing {
        let matters = |path: &RelPath| part(path) != Part::Object && part(path) != Part::Lock;
        let of_base = below(base, &folder).filter(|(path, base)| matters(path) && base.content != Content::Folder);
        questions.extend(of_base.map(|(path, base)| Known { path: path.clone(), expect: expected(base) }));
        let new = below(&scan.found, &folder)
            .filter(|(path, local)| matches!(local.held, Held::File { .. }) && matters(path))
            .map(|(path, _)| path)
            .filter(|path| !base.contains_key(*path));
        questions.extend(new.map(|path| Known { path: path.clone(), expect: Expect::Absent }));
    }
    let unknown = seen.watched.iter().filter(|path| !base.contains_key(*path) && !scan.found.contains_key(*path));
    questions.extend(unknown.map(|path| Known { path: path.clone(), expect: Expect::Absent }));
    seen.asked = questions.iter().map(|known| known.path.clone()).collect();
    for Differs { path, found, problem } in verify_all(target, questions).await? {
        // What cannot be told is told by the step that meets it.
        if problem.is_none() {
            seen.differs.insert(path, found);
        }
    }
    let index = RelPath::new(format!("{UNIT}/index")).expect("a plain path");
    let there = seen.differs.get(&index).or_else(|| known.get(&index).filter(|_| !seen.asked.contains(&index)));
    if let Some(Some(found)) = there
        && let Content::File { size, .. } = found.content
        && size <= MAX_INDEX
    {
        let mut bytes = Vec::new();
        match target.read(&index, MAX_INDEX, &mut bytes).await {
            Ok(_) => seen.index_there = index::entries(&bytes),
            Err(error) if error.is_lost() => return Err(error),
            // Unread, it is another's, which is the safe way to see it.
            Err(error) => tracing::info!(%error, "the remote's index cannot be read"),
        }
    }
    Ok(seen)
}

/// Returns the files that would hide what is written down here: branches that are packed, the one of `HEAD`, and the
/// lock of a git that works there.
fn names(source: &dyn Source) -> BTreeSet<RelPath> {
    let text =
        |name| contents(source, name, MAX_NAMES as u64).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let head = text("HEAD").unwrap_or_default();
    let packed = text("packed-refs").unwrap_or_default();
    let branches = packed.lines().filter_map(|line| line.split_once(' ').map(|(_, name)| name));
    let current = head.strip_prefix("ref:").map(str::trim);
    let names = current.into_iter().chain(branches.filter(|name| name.starts_with("refs/heads/")).take(MAX_BRANCHES));
    // A name of a hostile file leads nowhere but to a question about a path.
    names.chain(["index.lock", "HEAD.lock"]).filter_map(|name| RelPath::new(format!("{UNIT}/{name}")).ok()).collect()
}

fn contents(source: &dyn Source, name: &str, most: u64) -> Option<Vec<u8>> {
    let mut reading = source.open(&RelPath::new(format!("{UNIT}/{name}")).ok()?).ok()?;
    let size = usize::try_from(reading.size()).ok().filter(|size| *size as u64 <= most)?;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while let Some(place) = bytes.get_mut(filled..).filter(|place| !place.is_empty()) {
        match reading.read(place).ok()? {
            0 => return None,
            length => filled += length,
        }
    }
    reading.finish().ok()??;
    Some(bytes)
}
