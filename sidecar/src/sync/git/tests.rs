//! What is sent of a repository, when, and in which order.

use protocol::sync::Expect;

use super::super::plan::{Abilities, Input, plan};
use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn file(text: &str) -> Content {
    Content::File { hash: Hash(*blake3::hash(text.as_bytes()).as_bytes()), size: text.len() as u64, executable: false }
}

/// Both sides of a repository: rows of path, base, here and there. `-` is nothing, `/` a folder, `=` what the base says.
struct World {
    base: BTreeMap<RelPath, Base>,
    local: BTreeMap<RelPath, Local>,
    remote: Overlay,
    watched: BTreeSet<RelPath>,
    indexes: Indexes,
    quiet: bool,
}

/// A repository of one commit that both sides have.
const SAME: &[(&str, &str, &str, &str)] = &[
    (".git", "/", "/", "="),
    (".git/HEAD", "ref: refs/heads/main", "ref: refs/heads/main", "="),
    (".git/index", "index", "index", "="),
    (".git/logs", "/", "/", "="),
    (".git/logs/HEAD", "log", "log", "="),
    (".git/objects", "/", "/", "="),
    (".git/objects/ab", "/", "/", "="),
    (".git/objects/ab/01", "commit", "commit", "="),
    (".git/refs", "/", "/", "="),
    (".git/refs/heads", "/", "/", "="),
    (".git/refs/heads/main", "ab01", "ab01", "="),
];

impl World {
    fn new(changes: &[(&str, &str, &str, &str)]) -> Self {
        let mut world = Self {
            base: BTreeMap::new(),
            local: BTreeMap::new(),
            remote: Overlay::new(),
            watched: BTreeSet::new(),
            indexes: Indexes::default(),
            quiet: true,
        };
        let kept = SAME.iter().filter(|(name, ..)| !changes.iter().any(|(changed, ..)| changed == name));
        for (name, base, here, there) in kept.chain(changes) {
            let content = |text: &str| match text {
                "-" => None,
                "/" => Some(Content::Folder),
                _ => Some(file(text)),
            };
            if let Some(content) = content(base) {
                world.base.insert(path(name), Base { content, mode: 0o644, local: None, remote: None });
            }
            let held = match content(here) {
                Some(Content::File { hash, size, .. }) => Some(Held::File { hash: Some(hash), size }),
                Some(_) => Some(Held::Folder),
                None => None,
            };
            if let Some(held) = held {
                world.local.insert(path(name), Local { held, mode: 0o644, stamp: None });
            }
            if *there != "=" {
                world.remote.insert(path(name), content(there).map(|content| Found { content, stamp: None }));
            }
        }
        world
    }

    fn decide(&self) -> Decision {
        let (base, local, remote) = (&self.base, &self.local, &self.remote);
        let plan = plan(Input {
            base,
            local,
            remote,
            paths: None,
            ignored: &BTreeSet::new(),
            ignores_case: false,
            keep_times: false,
            able: Abilities::default(),
            apart: &BTreeSet::new(),
            index: None,
        });
        let (watched, indexes, quiet) = (&self.watched, self.indexes, self.quiet);
        decide(Unit { base, local, remote, watched, indexes, quiet, untold: false }, plan)
    }

    /// Does what is decided until nothing is left, and returns what was done, stage by stage.
    fn stages(mut self) -> Vec<Vec<String>> {
        let mut stages = Vec::new();
        loop {
            let Decision { verdict, adopt } = self.decide();
            let steps = match verdict {
                Verdict::Send(steps) => steps.concat(),
                Verdict::Done => return stages,
                other => panic!("{other:?} after {stages:?}"),
            };
            let shown = |step: &Step| {
                let sign = if step.op.action == Action::Remove { "-" } else { "" };
                format!("{sign}{}", inside(&step.op.path).unwrap_or(UNIT))
            };
            stages.push(steps.iter().map(shown).collect());
            for (path, base) in adopt.into_iter().chain(steps.into_iter().map(|step| (step.op.path, step.base))) {
                self.remote.remove(&path);
                match base {
                    Some(base) => drop(self.base.insert(path, base)),
                    None => drop(self.base.remove(&path)),
                }
            }
            assert!(stages.len() < 9, "it comes to an end: {stages:?}");
        }
    }
}

#[test]
fn objects_come_first_then_references_then_what_makes_them_current() {
    let world = World::new(&[
        (".git/HEAD", "ref: refs/heads/main", "ref: refs/heads/new", "="),
        (".git/index", "index", "index 2", "="),
        (".git/logs/HEAD", "log", "log 2", "="),
        (".git/objects/cd", "-", "/", "="),
        (".git/objects/cd/02", "-", "commit 2", "="),
        (".git/objects/pack", "-", "/", "="),
        (".git/objects/pack/pack-1.idx", "-", "idx", "="),
        (".git/objects/pack/pack-1.pack", "-", "pack", "="),
        (".git/refs/heads/main", "ab01", "-", "="),
        (".git/refs/heads/new", "-", "cd02", "="),
    ]);
    let expected: [&[&str]; 5] = [
        &["objects/cd", "objects/pack", "objects/cd/02", "objects/pack/pack-1.pack", "objects/pack/pack-1.idx"],
        &["logs/HEAD", "refs/heads/new"],
        &["index", "HEAD"],
        &["-refs/heads/main"],
        &[],
    ];
    assert_eq!(world.stages(), expected[..4]);
    assert_eq!(World::new(&[]).stages(), Vec::<Vec<String>>::new());
}

#[test]
fn only_objects_travel_while_git_is_at_work() {
    let changed = [(".git/objects/ab/02", "-", "commit 2", "="), (".git/refs/heads/main", "ab01", "ab02", "=")];
    let mut world = World::new(&changed);
    world.quiet = false;
    let Verdict::Send(steps) = world.decide().verdict else { panic!("objects harm nobody") };
    let sent: Vec<RelPath> = steps.into_iter().flatten().map(|step| step.op.path).collect();
    assert_eq!(sent, [path(".git/objects/ab/02")]);
    let mut world = World::new(&[changed[1]]);
    world.quiet = false;
    assert_eq!(world.decide().verdict, Verdict::Busy(None));
    world.quiet = true;
    for lock in [".git/index.lock", ".git/refs/heads/main.lock", ".git/gc.pid"] {
        world.local.insert(path(lock), Local { held: Held::File { hash: None, size: 0 }, mode: 0o644, stamp: None });
        assert_eq!(world.decide().verdict, Verdict::Busy(Some(path(lock))));
        world.local.remove(&path(lock));
    }
    world.remote.insert(path(".git/index.lock"), Some(Found { content: file(""), stamp: None }));
    assert_eq!(world.decide().verdict, Verdict::Busy(Some(path(".git/index.lock"))), "git works there");
    world.remote.clear();
    world.local.insert(
        path(".git/objects/ab/03"),
        Local { held: Held::File { hash: None, size: 1 }, mode: 0o644, stamp: None },
    );
    assert!(matches!(world.decide().verdict, Verdict::Send(steps) if steps.len() == 3), "what is missing first");
}

#[track_caller]
fn check_divergence(changes: &[(&str, &str, &str, &str)], expected: &[&str]) {
    match World::new(changes).decide().verdict {
        Verdict::Diverged(paths) => assert_eq!(paths, expected.iter().map(|name| path(name)).collect::<Vec<_>>()),
        other => assert!(expected.is_empty(), "{other:?}"),
    }
}

#[test]
fn a_change_there_is_one_divergence_and_holds_everything() {
    let ours = (".git/objects/cd", "-", "/", "=");
    check_divergence(&[(".git/refs/heads/main", "ab01", "ab01", "ee05"), ours], &[".git/refs/heads/main"]);
    check_divergence(&[(".git/refs/heads/main", "ab01", "ab01", "-")], &[".git/refs/heads/main"]);
    check_divergence(&[(".git/config", "-", "ours", "theirs"), ours], &[".git/config"]);
    check_divergence(&[(".git/HEAD", "ref: refs/heads/main", "ref: refs/heads/main", "/")], &[".git/HEAD"]);
    check_divergence(&[(".git/index", "index", "index", "index there")], &[".git/index"]);
    // What is no change of the repository.
    check_divergence(&[(".git/refs/heads/main", "ab01", "ab02", "ab02")], &[]);
    check_divergence(&[(".git/refs/heads/theirs", "-", "-", "ee05")], &[]);
    check_divergence(&[(".git/logs/HEAD", "log", "log", "log there"), (".git/ORIG_HEAD", "-", "a", "b")], &[]);
    check_divergence(&[(".git/objects/ab/01", "commit", "commit", "-"), (".git/objects/ab", "/", "/", "-")], &[]);
    let mut world = World::new(&[(".git/refs/heads/packed", "-", "-", "ee05")]);
    world.watched.insert(path(".git/refs/heads/packed"));
    assert_eq!(world.decide().verdict, Verdict::Diverged(vec![path(".git/refs/heads/packed")]), "it hides ours");
}

#[test]
fn an_index_is_what_it_says() {
    let digest = |byte| Some(Hash([byte; 32]));
    let world = |here: &str, there: &str, indexes| {
        let mut world = World::new(&[(".git/index", "index", here, there)]);
        world.indexes = indexes;
        world.decide().verdict
    };
    let indexes = Indexes { base: digest(1), local: digest(1), remote: digest(1) };
    assert_eq!(world("index", "refreshed there", indexes), Verdict::Done);
    assert_eq!(world("refreshed", "=", Indexes { remote: None, ..indexes }), Verdict::Done, "nothing new");
    let news = Indexes { local: digest(2), remote: None, ..indexes };
    assert!(matches!(world("added", "=", news), Verdict::Send(_)));
    let theirs = Indexes { remote: digest(3), ..indexes };
    assert_eq!(world("index", "added there", theirs), Verdict::Diverged(vec![path(".git/index")]));
    let unknown = Indexes { remote: None, ..indexes };
    assert_eq!(world("index", "unreadable", unknown), Verdict::Diverged(vec![path(".git/index")]));
}

#[test]
fn objects_are_never_removed_and_a_repository_that_is_gone_removes_nothing() {
    let packed = [
        (".git/objects/ab", "/", "-", "="),
        (".git/objects/ab/01", "commit", "-", "="),
        (".git/objects/pack", "-", "/", "="),
        (".git/objects/pack/pack-1.idx", "-", "idx", "="),
        (".git/objects/pack/pack-1.pack", "-", "pack", "="),
    ];
    let stages = World::new(&packed).stages();
    assert!(stages.iter().flatten().all(|step| !step.starts_with('-')), "{stages:?}");
    let mut world = World::new(&[]);
    world.local.clear();
    assert_eq!(world.decide(), Decision { verdict: Verdict::Gone, adopt: Vec::new() });
    world.base.clear();
    assert_eq!(world.decide().verdict, Verdict::Done, "there never was one");
}

#[test]
fn what_means_nothing_elsewhere_stays_here() {
    for sent in ["HEAD", "index", "refs/heads/a", "objects/ab/01", "objects/pack/pack-1.idx", "index.lock", "config"] {
        assert!(is_sent(&path(&format!(".git/{sent}")), false), "{sent}");
    }
    let stays = [
        "worktrees/a/HEAD",
        "modules/a/config",
        "objects/pack/tmp_pack_x",
        "objects/ab/tmp_obj_x",
        "objects/info/commit-graph",
        "objects/pack/multi-pack-index",
        "objects/pack/pack-1.bitmap",
        "fsmonitor--daemon.ipc",
        "gc.log",
        ".mltoolbox-x",
        "lfs/tmp/x",
    ];
    for stays in stays {
        assert!(!is_sent(&path(&format!(".git/{stays}")), false), "{stays}");
    }
    assert!(is_sent(&unit(), true) && !is_sent(&unit(), false), "a file leads to another folder");
    assert!(!is_sent(&path("sub/.git"), true) && !is_sent(&path(".gitignore"), false));
}

#[test]
fn what_cannot_be_sent_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(obstacles(folder.path()), []);
    let git = folder.path().join(".git");
    std::fs::write(&git, "gitdir: /elsewhere/.git/worktrees/a\n").expect("ours");
    let problems = obstacles(folder.path());
    assert!(problems[0].reason.contains("`/elsewhere/.git/worktrees/a`"), "{problems:?}");
    std::fs::remove_file(&git).expect("ours");
    std::fs::create_dir_all(git.join("objects/info")).expect("ours");
    assert_eq!(obstacles(folder.path()), []);
    std::fs::write(git.join(ALTERNATES), "/lent\n").expect("ours");
    assert!(obstacles(folder.path())[0].reason.contains("git repack -a -d"));
}

#[test]
fn nothing_else_than_what_was_seen_travels() {
    let world = World::new(&[(".git/refs/heads/main", "ab01", "ab02", "="), (".git/index", "index", "two", "=")]);
    let Verdict::Send(steps) = world.decide().verdict else { panic!("it is quiet") };
    let expected = BTreeMap::from([(path(".git/refs/heads/main"), Hash(*blake3::hash(b"ab02").as_bytes()))]);
    assert_eq!(contents(&steps), expected);
    assert!(steps.iter().flatten().all(|step| step.op.expect != Expect::Absent), "and only over what was seen there");
}
