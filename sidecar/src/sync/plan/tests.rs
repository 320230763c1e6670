//! The table of what is decided, and properties that hold for every input.

mod index;
mod moves;

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn hash(text: &str) -> Hash {
    Hash(*blake3::hash(text.as_bytes()).as_bytes())
}

/// `-` nothing, `/` a folder, `>x` a link to x, anything else a file with that text.
fn content(text: &str) -> Option<Content> {
    match text {
        "-" => None,
        "/" => Some(Content::Folder),
        _ => Some(match text.strip_prefix('>') {
            Some(target) => Content::Link { target: target.to_owned() },
            None => Content::File { hash: hash(text), size: text.len() as u64, executable: false },
        }),
    }
}

fn local(text: &str) -> Option<Local> {
    let held = match content(text)? {
        Content::File { hash, size, .. } => Held::File { hash: Some(hash), size },
        Content::Folder => Held::Folder,
        Content::Link { target } => Held::Link { target },
        Content::Special => return None,
    };
    Some(Local { held, mode: 0o644, stamp: None })
}

#[derive(Default)]
struct World {
    base: BTreeMap<RelPath, Base>,
    local: BTreeMap<RelPath, Local>,
    remote: Overlay,
    ignored: BTreeSet<RelPath>,
    ignores_case: bool,
    able: Abilities,
    apart: BTreeSet<RelPath>,
    index: Option<Index>,
}

impl World {
    /// Rows of path, base, local and remote; remote `=` is what the base says.
    fn new(rows: &[(&str, &str, &str, &str)]) -> Self {
        let mut world = Self::default();
        for (name, base, here, remote) in rows {
            let at = path(name);
            if let Some(content) = content(base) {
                world.base.insert(at.clone(), Base { content, mode: 0o644, local: None, remote: None });
            }
            if let Some(local) = local(here) {
                world.local.insert(at.clone(), local);
            }
            if *remote != "=" {
                world.remote.insert(at, content(remote).map(|content| Found { content, stamp: None }));
            }
        }
        world
    }

    fn plan(&self) -> Plan {
        plan(self.input())
    }

    fn input(&self) -> Input<'_> {
        Input {
            base: &self.base,
            local: &self.local,
            remote: &self.remote,
            paths: None,
            ignored: &self.ignored,
            ignores_case: self.ignores_case,
            keep_times: false,
            able: self.able,
            apart: &self.apart,
            index: self.index.as_ref(),
        }
    }
}

/// One line per thing that is decided, in order.
fn lines(plan: &Plan) -> Vec<String> {
    let step = |step: &Step| {
        let action = match &step.op.action {
            Action::MakeFolder { .. } => "folder",
            Action::Put { .. } => "put",
            Action::Link { .. } => "link",
            Action::SetMode { .. } => "mode",
            Action::Remove => "remove",
            Action::Patch { .. } => "patch",
            Action::Move { .. } => "move",
            Action::Copy { .. } => "copy",
            Action::Append { .. } => "append",
        };
        let expect = match &step.op.expect {
            Expect::Absent => "absent",
            Expect::File { .. } => "file",
            Expect::Folder => "folder",
            Expect::Link { .. } => "link",
        };
        let from = match &step.op.action {
            Action::Move { from, .. } | Action::Copy { from, .. } => format!(" from {from}"),
            _ => String::new(),
        };
        format!("{action} {}{from} if {expect}", step.op.path)
    };
    let mut lines: Vec<_> = plan.steps().map(step).collect();
    lines.extend(plan.conflicts.iter().map(|conflict| format!("conflict {}", conflict.path)));
    lines.extend(plan.drift.iter().map(|path| format!("drift {path}")));
    lines.extend(
        plan.adopt.iter().map(|(path, base)| format!("{} {path}", if base.is_some() { "adopt" } else { "forget" })),
    );
    lines.extend(plan.problems.iter().map(|(path, _)| format!("problem {path}")));
    lines.extend(plan.unread.iter().map(|path| format!("unread {path}")));
    lines
}

fn check(rows: &[(&str, &str, &str, &str)], expected: &[&str]) {
    assert_eq!(lines(&World::new(rows).plan()), expected, "{rows:?}");
}

#[test]
fn one_path() {
    for (base, here, remote, expected) in [
        ("-", "a", "-", "put f if absent"),
        ("-", "a", "a", "adopt f"),
        ("-", "a", "b", "conflict f"),
        ("-", "a", "/", "conflict f"),
        ("-", "a", ">x", "conflict f"),
        ("-", ">x", "-", "link f if absent"),
        ("-", ">x", ">x", "adopt f"),
        ("-", "/", "-", "folder f if absent"),
        ("-", "/", "/", "adopt f"),
        ("-", "/", "a", "conflict f"),
        ("a", "b", "=", "put f if file"),
        ("a", ">x", "=", "link f if file"),
        (">x", "b", "=", "put f if link"),
        ("a", "-", "=", "remove f if file"),
        (">x", "-", "=", "remove f if link"),
        ("/", "-", "=", "remove f if folder"),
        ("a", "a", "b", "drift f"),
        ("a", "a", "-", "drift f"),
        ("/", "/", "-", "drift f"),
        ("a", "b", "c", "conflict f"),
        ("a", "b", "/", "conflict f"),
        ("a", "-", "c", "conflict f"),
        ("a", "b", "-", "put f if absent"),
        ("a", "b", "b", "adopt f"),
        ("a", "-", "-", "forget f"),
    ] {
        check(&[("f", base, here, remote)], &[expected]);
    }
    check(&[("f", "a", "a", "=")], &[]);
    check(&[("f", "-", "-", "a")], &[]);
}

#[test]
fn kinds_change_in_order() {
    check(
        &[("d", "a", "/", "="), ("d/x", "-", "b", "-")],
        &["remove d if file", "folder d if absent", "put d/x if absent"],
    );
    check(
        &[("d", "/", "a", "="), ("d/e", "/", "-", "="), ("d/e/x", "b", "-", "=")],
        &["remove d/e/x if file", "remove d/e if folder", "remove d if folder", "put d if absent"],
    );
}

#[test]
fn folders_first_links_last_removals_after() {
    check(
        &[
            ("a", "-", ">b", "-"),
            ("b", "-", "/", "-"),
            ("b/c", "-", "/", "-"),
            ("b/c/f", "-", "x", "-"),
            ("z", "y", "-", "="),
        ],
        &["folder b if absent", "folder b/c if absent", "put b/c/f if absent", "link a if absent", "remove z if file"],
    );
}

#[test]
fn a_conflict_holds_back_its_folder_and_its_children() {
    check(&[("d", "-", "/", "a"), ("d/x", "-", "b", "-")], &["conflict d"]);
    check(
        &[("d", "/", "-", "="), ("d/x", "a", "-", "b"), ("d/y", "a", "-", "=")],
        &["remove d/y if file", "conflict d/x"],
    );
}

#[test]
fn a_folder_that_vanished_there_is_made_again_for_what_is_new() {
    check(
        &[("d", "/", "/", "-"), ("d/x", "a", "b", "-"), ("d/y", "c", "c", "-")],
        &["folder d if absent", "put d/x if absent", "drift d/y"],
    );
}

#[test]
fn newly_ignored_is_forgotten_and_stays() {
    let mut world = World::new(&[("f", "a", "-", "=")]);
    world.ignored.insert(path("f"));
    assert_eq!(lines(&world.plan()), ["forget f"]);
}

#[test]
fn an_unread_file_is_read_only_when_it_may_be_equal() {
    for (remote, expected) in [("same", "unread f"), ("longer", "conflict f"), ("-", "put f if absent")] {
        let mut world = World::new(&[("f", "-", "came", remote)]);
        world.local.insert(path("f"), Local { held: Held::File { hash: None, size: 4 }, mode: 0o644, stamp: None });
        assert_eq!(lines(&world.plan()), [expected]);
    }
}

#[test]
fn permissions_travel_when_they_execute_or_narrow() {
    for (mode, expected) in
        [(0o755, vec!["mode f if file"]), (0o600, vec!["mode f if file"]), (0o664, vec!["adopt f"]), (0o644, vec![])]
    {
        let mut world = World::new(&[("f", "a", "a", "=")]);
        world.local.get_mut(&path("f")).expect("it is there").mode = mode;
        assert_eq!(lines(&world.plan()), expected, "{mode:o}");
    }
}

#[test]
fn names_that_differ_in_case_are_not_written_where_case_is_ignored() {
    let mut world =
        World::new(&[("A", "-", "/", "-"), ("A/x", "-", "1", "-"), ("a", "-", "/", "-"), ("a/y", "-", "2", "-")]);
    world.ignores_case = true;
    assert_eq!(lines(&world.plan()), ["problem A", "problem a"]);
    let mut world = World::new(&[("Foo", "a", "-", "="), ("foo", "-", "a", "-")]);
    world.ignores_case = true;
    assert_eq!(lines(&world.plan()), ["remove Foo if file", "put foo if absent"]);
}

fn version() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["-", "a", "b", "c", ">t", "/"])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Every operation asks for exactly what is believed to be there, and what nobody pushed is never touched.
    #[test]
    fn operations_only_replace_the_base(
        rows in prop::collection::vec((prop::sample::select(vec!["d", "d/x", "d/y", "d/x/z", "e"]), version(), version(), version()), 1..6),
    ) {
        let world = World::new(&rows);
        let plan = world.plan();
        for step in plan.steps() {
            let at = &step.op.path;
            let base = world.base.get(at).map(|base| &base.content);
            let remote = match world.remote.get(at) {
                Some(found) => found.as_ref().map(|found| &found.content),
                None => base,
            };
            let expected = remote.map_or(Expect::Absent, |content| expect(content, None));
            if step.op.action == Action::Remove {
                prop_assert!(base.is_some(), "{at} was never pushed");
                prop_assert_eq!(&step.op.expect, &expected);
                prop_assert_eq!(remote, base);
            } else if step.op.expect != Expect::Absent {
                prop_assert_eq!(&step.op.expect, &expected);
                let only_mode = matches!(step.op.action, Action::SetMode { .. });
                prop_assert!(remote == base || only_mode);
            }
        }
    }

    /// After everything is done there is nothing left to do.
    #[test]
    fn a_plan_that_was_done_leaves_nothing(
        rows in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), version(), version()), 1..4),
        moves: bool,
    ) {
        let rows: Vec<_> = rows.into_iter().map(|(name, base, here)| (name, base, here, "=")).collect();
        let mut world = World::new(&rows);
        world.able = Abilities { moves, copies: moves };
        let plan = world.plan();
        for step in plan.steps() {
            if let Some(from) = step.vacates() {
                world.base.remove(from);
            }
            match &step.base {
                Some(base) => world.base.insert(step.op.path.clone(), base.clone()),
                None => world.base.remove(&step.op.path),
            };
        }
        for (path, base) in plan.adopt {
            match base {
                Some(base) => world.base.insert(path, base),
                None => world.base.remove(&path),
            };
        }
        let again = world.plan();
        prop_assert!(again.is_empty() && again.adopt.is_empty(), "{:?}", lines(&again));
    }
}

#[test]
fn what_is_unchanged_is_exactly_what_needs_no_decision() {
    let stamp = |inode| Some(Stamp { size: 1, mtime_ns: 1, ctime_ns: 1, inode, device: 1 });
    let mut unchanged = 0;
    for base in ["a", "b", "/", ">a", ">b"] {
        for here in ["a", "b", "/", ">a", "unread"] {
            for (mode, inode, executable) in [(0o644, 1, false), (0o600, 1, false), (0o644, 2, false), (0o644, 1, true)]
            {
                let mut world = World::new(&[("x", base, if here == "unread" { "a" } else { here }, "=")]);
                let local = world.local.get_mut(&path("x")).expect("it is here");
                (local.mode, local.stamp) = (mode, stamp(inode));
                if let (Held::File { hash, .. }, "unread") = (&mut local.held, here) {
                    *hash = None;
                }
                let known = world.base.get_mut(&path("x")).expect("it is known");
                known.local = stamp(1);
                if let Content::File { executable: known, .. } = &mut known.content {
                    *known = executable;
                }
                let quiet = is_unchanged(&world.base[&path("x")], &world.local[&path("x")]);
                assert_eq!(quiet, world.plan() == Plan::default(), "{base} {here} {mode:o} {inode} {executable}");
                unchanged += usize::from(quiet);
            }
        }
    }
    assert_eq!(unchanged, 6, "two files, a folder and a link, which have no bits to execute");
}

#[test]
fn two_maps_are_joined_in_order() {
    let map = |names: &[&str]| names.iter().map(|name| (path(name), name.len())).collect::<BTreeMap<_, _>>();
    let (one, other) = (map(&["a", "b", "d"]), map(&["b", "c", "d", "e"]));
    let joined: Vec<String> = joined(&one, &other)
        .map(|(path, one, other)| {
            format!("{path}{}{}", if one.is_some() { "<" } else { "" }, if other.is_some() { ">" } else { "" })
        })
        .collect();
    assert_eq!(joined, ["a<", "b<>", "c>", "d<>", "e>"]);
}
