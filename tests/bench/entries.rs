//! What a great many paths cost at one end: memory and time of each structure, at a tenth and at the whole, so
//! that whatever is not linear shows. Not among the rows of a run that names none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use agent::merkle::{self, Node, Tree, Visitor};
use harness::process;
use protocol::path::RelPath;
use protocol::sync::{Content, Hash, Stamp};
use sidecar::store::{Base, Store};
use sidecar::sync::disk::Disk;
use sidecar::sync::ignored::{Options, Rules};
use sidecar::sync::plan::{self, Held, Input, Local, Overlay};
use sidecar::sync::source::Source;

use crate::bed::Bed;
use crate::measure::Sample;
use crate::report::{Report, Row};

/// Files of one folder.
const PER_FOLDER: usize = 100;
/// Most paths that are really made, scanned and stored in memory, where a file takes a kilobyte.
const REAL: usize = 1_000_000;

/// Measures `count` paths, of which fewer are really made where the files are kept in memory.
pub(crate) fn measure(bed: &Bed, report: &mut Report, row: &str, count: usize, files_in_memory: bool) {
    for count in [count / 10, count] {
        in_memory(report, &format!("{row}, {count}"), count);
    }
    let real = if files_in_memory { count.min(REAL) } else { count };
    for count in [real / 10, real] {
        let case = format!("{row}, {count} on disk");
        if let Err(reason) = on_disk(bed, report, &case, count) {
            let mut failed = Row::new(&case, "scan and store", true);
            failed.add(Err(reason));
            report.extend([failed]);
        }
    }
}

/// Runs one step and reports its seconds and the memory that what it returns takes.
fn step<T>(report: &mut Report, case: &str, what: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let own = i32::try_from(std::process::id()).expect("process ids are positive");
    let before = process::resident(own).unwrap_or_default();
    let start = Instant::now();
    let made = work();
    let wall = start.elapsed().as_secs_f64();
    let more = process::resident(own).unwrap_or_default().saturating_sub(before);
    crate::say(&format!("  {case}, {what}: {wall:.2} s, {} bytes a path", more / count.max(1) as u64));
    let mut row = Row::new(case, what, true);
    row.add(Ok(Sample { wall, ..Sample::default() }));
    row.memory = Some((more, 0));
    report.extend([row]);
    made
}

fn path(number: usize) -> RelPath {
    let folder = number / PER_FOLDER;
    let text = format!("package-{}/module-{folder}/file-{number}.py", folder / PER_FOLDER);
    RelPath::new(text).expect("a plain path")
}

fn stamp(number: usize) -> Stamp {
    let inode = number as u64;
    Stamp { size: inode % 100_000, mtime_ns: 1_700_000_000_000_000_000, ctime_ns: 1, inode, device: 66 }
}

fn hash(number: usize) -> Hash {
    Hash(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn based(number: usize) -> (RelPath, Base) {
    let content = Content::File { hash: hash(number), size: stamp(number).size, executable: false };
    (path(number), Base { content, mode: 0o644, local: Some(stamp(number)), remote: Some(stamp(number)) })
}

struct Root(Hash);

impl Visitor for Root {
    type Of = ();
    fn begin(&mut self, _: &str) {}
    fn end(&mut self, _: &str, hash: Hash, (): (), _: Option<&mut ()>) {
        self.0 = hash;
    }
}

fn in_memory(report: &mut Report, case: &str, count: usize) {
    let base: BTreeMap<RelPath, Base> = step(report, case, "base", count, || (0..count).map(based).collect());
    let local: BTreeMap<RelPath, Local> = step(report, case, "scan result", count, || {
        let local = |number| {
            let held = Held::File { hash: Some(hash(number)), size: stamp(number).size };
            (path(number), Local { held, mode: 0o644, stamp: Some(stamp(number)) })
        };
        (0..count).map(local).collect()
    });
    step(report, case, "folder hashes", count, || {
        let mut sorted: Vec<_> = base.iter().collect();
        sorted.sort_by(|(one, _), (other, _)| merkle::order(one.as_str(), other.as_str()));
        let mut tree = Tree::new(Root(Hash([0; 32])));
        for (path, base) in sorted {
            tree.add(path.as_str(), Node::from(&base.content));
        }
        tree.finish().0
    });
    let (overlay, ignored) = (Overlay::new(), std::collections::BTreeSet::new());
    let planned = |base: &BTreeMap<RelPath, Base>| {
        plan::plan(Input {
            base,
            local: &local,
            remote: &overlay,
            paths: None,
            ignored: &ignored,
            ignores_case: false,
            keep_times: base.is_empty(),
            able: plan::Abilities { moves: true, copies: true },
            apart: &ignored,
            index: None,
        })
    };
    let plan = step(report, case, "plan, nothing changed", count, || planned(&base));
    assert!(plan.is_empty(), "nothing changed");
    drop(base);
    let plan = step(report, case, "plan, everything new", count, || planned(&BTreeMap::new()));
    assert_eq!(plan.files.len(), count, "everything is new");
}

fn on_disk(bed: &Bed, report: &mut Report, case: &str, count: usize) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let root = bed.work.path().join(format!("entries-{count}"));
    for number in 0..count {
        let file = root.join(path(number).as_str());
        if number % PER_FOLDER == 0 {
            std::fs::create_dir_all(file.parent().unwrap_or(&root)).map_err(text)?;
        }
        std::fs::File::create(file).map_err(text)?;
    }
    let options = Options { exclude: Vec::new(), include: Vec::new(), global: None, git: false };
    let rules = Arc::new(Rules::load(&root, &options));
    let disk = Disk::new(root.clone(), rules, tokio_util::sync::CancellationToken::new());
    let scan = step(report, case, "scan", count, || disk.scan(None, &BTreeMap::new())).map_err(text)?;
    let folders = count.div_ceil(PER_FOLDER) + count.div_ceil(PER_FOLDER * PER_FOLDER);
    if scan.found.len() != count + folders {
        return Err(format!("{} paths were found of {}", scan.found.len(), count + folders));
    }
    drop(scan);
    crate::bed::remove(&root);
    let file = bed.work.path().join(format!("entries-{count}.db"));
    tokio::runtime::Runtime::new().map_err(text)?.block_on(stored(report, case, count, &file))
}

async fn stored(report: &mut Report, case: &str, count: usize, file: &Path) -> Result<(), String> {
    let text = |error: sidecar::store::StoreError| error.to_string();
    let store = Store::open(file).await.map_err(text)?;
    let row = protocol::editor::RemoteRow { name: "box".to_owned(), ..Default::default() };
    store.put_remote(&row).await.map_err(text)?;
    let pair = store.pair(Path::new("/w"), "box", "~/w").await.map_err(text)?;
    let start = Instant::now();
    store
        .commit(pair.id, (0..count).map(|number| (path(number), Some(based(number).1))).collect())
        .await
        .map_err(text)?;
    crate::say(&format!("  {case}, store: {:.2} s", start.elapsed().as_secs_f64()));
    let own = Instant::now();
    let base = store.base(pair.id).await.map_err(text)?;
    let wall = own.elapsed().as_secs_f64();
    crate::say(&format!("  {case}, load: {wall:.2} s"));
    let mut row = Row::new(case, "load the base", true);
    row.add(if base.len() == count { Ok(Sample { wall, ..Sample::default() }) } else { Err("not all".to_owned()) });
    report.extend([row]);
    drop(store);
    std::fs::remove_file(file).map_err(|error| error.to_string())
}
