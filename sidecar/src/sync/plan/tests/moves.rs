//! What is moved or copied, what is not, and that doing it leaves what was to be.

use super::*;

const ABLE: Abilities = Abilities { moves: true, copies: true };

fn able(rows: &[(&str, &str, &str, &str)]) -> World {
    World { able: ABLE, ..World::new(rows) }
}

fn check(rows: &[(&str, &str, &str, &str)], expected: &[&str]) {
    assert_eq!(lines(&able(rows).plan()), expected, "{rows:?}");
}

/// Long enough to be copied.
fn long(letter: &str) -> String {
    letter.repeat(usize::try_from(COPY_FROM).expect("a few thousand"))
}

#[test]
fn what_vanished_and_appeared_is_moved() {
    check(&[("a", "x", "-", "="), ("b", "-", "x", "=")], &["move b from a if absent"]);
    check(&[("a", ">x", "-", "="), ("b", "-", ">x", "=")], &["move b from a if absent"]);
    // Over another file.
    check(&[("a", "x", "-", "="), ("b", "y", "x", "=")], &["move b from a if file"]);
    check(&[("a", "x", "-", "="), ("b", ">y", "x", "=")], &["move b from a if link"]);
    // Of several that are equal, those with the same name belong together.
    check(
        &[("a/f", "x", "-", "="), ("a/g", "x", "-", "="), ("b/g", "-", "x", "="), ("b/h", "-", "x", "=")],
        &["folder b if absent", "move b/g from a/g if absent", "move b/h from a/f if absent"],
    );
    // One is sent when two appear for one that vanished, if it is too short to be copied.
    check(
        &[("a", "x", "-", "="), ("b", "-", "x", "="), ("c", "-", "x", "=")],
        &["move b from a if absent", "put c if absent"],
    );
}

#[test]
fn the_inode_tells_which_of_equal_ones_it_is() {
    let mut world = able(&[("a", "x", "-", "="), ("b", "x", "-", "="), ("c", "-", "x", "=")]);
    let stamp = Stamp { size: 1, mtime_ns: 1, ctime_ns: 1, inode: 7, device: 1 };
    world.base.get_mut(&path("b")).expect("it is there").local = Some(stamp);
    world.local.get_mut(&path("c")).expect("it is there").stamp = Some(Stamp { ctime_ns: 2, ..stamp });
    assert_eq!(lines(&world.plan()), ["move c from b if absent", "remove a if file"]);
    // An inode alone proves nothing: it may have been given to another file.
    world.local.insert(path("c"), Local { stamp: Some(stamp), ..local("y").expect("a file") });
    assert_eq!(lines(&world.plan()), ["put c if absent", "remove a if file", "remove b if file"]);
}

#[test]
fn nothing_is_moved_that_is_not_known_or_not_wanted() {
    let renamed = [("a", "x", "-", "="), ("b", "-", "x", "=")];
    let whole = ["put b if absent", "remove a if file"];
    assert_eq!(lines(&World::new(&renamed).plan()), whole, "the target cannot");
    let mut world = able(&renamed);
    world.apart.insert(path("b"));
    assert_eq!(lines(&world.plan()), whole, "it was refused");
    let mut world = able(&renamed);
    world.local.get_mut(&path("b")).expect("it is there").held = Held::File { hash: None, size: 1 };
    assert_eq!(lines(&world.plan()), whole, "it was not read");
    let mut world = able(&renamed);
    world.local.get_mut(&path("b")).expect("it is there").mode = 0o755;
    assert_eq!(lines(&world.plan()), whole, "its permissions changed, too");
    // Renamed and edited.
    check(&[("a", "x", "-", "="), ("b", "-", "y", "=")], &["put b if absent", "remove a if file"]);
    // Edited or removed there meanwhile, or something stands at the new name.
    check(&[("a", "x", "-", "y"), ("b", "-", "x", "=")], &["put b if absent", "conflict a"]);
    check(&[("a", "x", "-", "-"), ("b", "-", "x", "=")], &["put b if absent", "forget a"]);
    check(&[("a", "x", "-", "="), ("b", "-", "x", "z")], &["remove a if file", "conflict b"]);
    check(&[("a", "x", "-", "="), ("b", "-", "x", "x")], &["remove a if file", "adopt b"]);
    // What is ignored now stays where it is, and what was never pushed is nobody's to move.
    let mut world = able(&renamed);
    world.ignored.insert(path("a"));
    assert_eq!(lines(&world.plan()), ["put b if absent", "forget a"]);
    check(&[("a", "-", "-", "x"), ("b", "-", "x", "=")], &["put b if absent"]);
}

#[test]
fn chains_go_backwards_and_swaps_send_one() {
    check(
        &[("a", "1", "-", "="), ("b", "2", "1", "="), ("c", "3", "2", "="), ("d", "-", "3", "=")],
        &["move d from c if absent", "move c from b if absent", "move b from a if absent"],
    );
    // A log is rotated: its old bytes are moved on, and the new ones sent.
    check(&[("log", "1", "new", "="), ("log.1", "2", "1", "=")], &["move log.1 from log if file", "put log if absent"]);
    check(&[("a", "x", "yy", "="), ("b", "yy", "x", "=")], &["move a from b if file", "put b if absent"]);
    check(
        &[("a", "x", "z", "="), ("b", "y", "x", "="), ("c", "z", "y", "=")],
        &["move c from b if file", "move b from a if absent", "put a if absent"],
    );
}

#[test]
fn a_renamed_folder_is_made_filled_and_removed() {
    let rows = [
        ("a", "/", "-", "="),
        ("a/e", "/", "-", "="),
        ("a/f", "x", "-", "="),
        ("b", "-", "/", "="),
        ("b/e", "-", "/", "="),
        ("b/f", "-", "x", "="),
    ];
    let expected = [
        "folder b if absent",
        "folder b/e if absent",
        "move b/f from a/f if absent",
        "remove a/e if folder",
        "remove a if folder",
    ];
    check(&rows, &expected);
    // What stops being a folder has to be empty before; nothing can be moved out of it in time.
    check(
        &[("d", "/", "x", "="), ("d/x", "x", "-", "=")],
        &["remove d/x if file", "remove d if folder", "put d if absent"],
    );
}

#[test]
fn a_new_spelling_is_two_moves_where_case_is_ignored() {
    let mut world = able(&[("Foo", "a", "-", "="), ("foo", "-", "a", "-")]);
    assert_eq!(lines(&world.plan()), ["move foo from Foo if absent"]);
    world.ignores_case = true;
    let between = "04e0bb39f30b1a3f.mltoolbox-spelling";
    let moves = [format!("move {between} from Foo if absent"), format!("move foo from {between} if absent")];
    assert_eq!(lines(&world.plan()), moves);
    // What was refused is sent, and so is what is in a folder of another spelling.
    world.apart.insert(path("foo"));
    assert_eq!(lines(&world.plan()), ["remove Foo if file", "put foo if absent"]);
    let mut world = able(&[("D", "/", "-", "="), ("D/x", "a", "-", "="), ("d", "-", "/", "-"), ("d/x", "-", "a", "-")]);
    world.ignores_case = true;
    assert_eq!(
        lines(&world.plan()),
        ["remove D/x if file", "remove D if folder", "folder d if absent", "put d/x if absent"]
    );
}

#[test]
fn long_files_are_copied_from_what_stays_or_goes_later() {
    let (x, y) = (long("x"), long("y"));
    check(&[("a", &x, &x, "="), ("b", "-", &x, "=")], &["copy b from a if absent"]);
    check(&[("a", &x, &x, "="), ("b", &y, &x, "=")], &["copy b from a if file"]);
    check(
        &[("a", &x, "-", "="), ("b", "-", &x, "="), ("c", "-", &x, "=")],
        &["move b from a if absent", "copy c from b if absent"],
    );
    // What changes at the same time is no source, nor what is not there any more.
    check(&[("a", &x, &y, "="), ("b", "-", &x, "=")], &["move b from a if absent", "put a if absent"]);
    check(&[("a", &x, &x, "z"), ("b", "-", &x, "=")], &["put b if absent", "drift a"]);
    check(&[("a", "x", "x", "="), ("b", "-", "x", "=")], &["put b if absent"]);
    let mut world = able(&[("a", &x, "-", "="), ("b", "-", &x, "=")]);
    world.local.get_mut(&path("b")).expect("it is there").mode = 0o755;
    assert_eq!(lines(&world.plan()), ["copy b from a if absent", "remove a if file"], "its permissions changed");
    world.apart.insert(path("b"));
    assert_eq!(lines(&world.plan()), ["put b if absent", "remove a if file"], "it was refused");
}

#[test]
fn a_move_is_no_removal() {
    let mut rows = vec![("old".to_owned(), "/", "-"), ("old/empty".to_owned(), "/", "-"), ("new".to_owned(), "-", "/")];
    for number in 0..100 {
        rows.push((format!("old/{number}"), "x", "-"));
        rows.push((format!("new/{number}"), "-", "x"));
    }
    let removed = |rows: &[(String, &str, &str)], able: Abilities| {
        let rows: Vec<_> = rows.iter().map(|(name, base, here)| (name.as_str(), *base, *here, "=")).collect();
        let plan = World { able, ..World::new(&rows) }.plan();
        plan.removed().into_iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(removed(&rows, ABLE), [] as [&str; 0]);
    assert_eq!(removed(&rows, Abilities::default()).len(), 102);
    // One that really goes takes its folder with it.
    rows.push(("old/gone".to_owned(), "y", "-"));
    assert_eq!(removed(&rows, ABLE), ["old", "old/empty", "old/gone"]);
    // Folders that nothing was moved out of are counted as ever.
    assert_eq!(removed(&[("a".to_owned(), "/", "-"), ("a/b".to_owned(), "/", "-")], ABLE), ["a", "a/b"]);
}

/// Does the steps of a plan to a remote in memory, phase after phase; a step whose expectation does not hold fails.
fn done(world: &World, plan: &Plan) -> Result<BTreeMap<RelPath, Content>, TestCaseError> {
    let mut there: BTreeMap<RelPath, Content> =
        world.base.iter().map(|(path, base)| (path.clone(), base.content.clone())).collect();
    let holds = |found: Option<&Content>, wanted: &Expect| match (found, wanted) {
        (None, Expect::Absent) => true,
        (Some(found), _) => expect(found, None) == *wanted,
        (None, Expect::File { .. } | Expect::Folder | Expect::Link { .. }) => false,
    };
    for step in plan.steps() {
        let at = &step.op.path;
        prop_assert!(holds(there.get(at), &step.op.expect), "{at}: {:?}", lines(plan));
        if let Action::Move { from, source } | Action::Copy { from, source, .. } = &step.op.action {
            prop_assert!(holds(there.get(from), source), "{from}: {:?}", lines(plan));
            let content = there.get(from).cloned();
            prop_assert_eq!(content.as_ref(), step.base.as_ref().map(|base| &base.content));
        }
        if let Some(from) = step.vacates() {
            there.remove(from);
        }
        match &step.base {
            Some(base) => there.insert(at.clone(), base.content.clone()),
            None => there.remove(at),
        };
    }
    Ok(there)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    /// Whatever is moved where, step after step finds what it expects, and at the end there is what is here.
    #[test]
    fn doing_it_gives_what_is_here(
        rows in prop::collection::vec((
            prop::sample::select(vec!["a", "b", "c", "d", "e", "f/a", "f/b", "g/a", "g/b"]),
            prop::sample::select(vec!["-", "1", "2", "3", "L", "M", ">t"]),
            prop::sample::select(vec!["-", "1", "2", "3", "L", "M", ">t"]),
        ), 1..10),
    ) {
        let text = |text: &str| match text { "L" | "M" => long(text), _ => text.to_owned() };
        let mut contents = BTreeMap::new();
        for (name, base, here) in rows {
            contents.insert(name, (text(base), text(here)));
        }
        for folder in ["f", "g"] {
            let has = |of: fn(&(String, String)) -> &String| {
                contents.iter().any(|(name, texts)| name.starts_with(&format!("{folder}/")) && of(texts) != "-")
            };
            let side = |there: bool| if there { "/".to_owned() } else { "-".to_owned() };
            let both = (side(has(|texts| &texts.0)), side(has(|texts| &texts.1)));
            contents.insert(folder, both);
        }
        let rows: Vec<_> =
            contents.iter().map(|(name, (base, here))| (*name, base.as_str(), here.as_str(), "=")).collect();
        let world = able(&rows);
        let plan = world.plan();
        let there = done(&world, &plan)?;
        let here: BTreeMap<RelPath, Content> =
            rows.iter().filter_map(|(name, _, here, _)| Some((path(name), content(here)?))).collect();
        prop_assert_eq!(there, here);
        let moved: BTreeSet<&RelPath> = plan.moves.iter().filter_map(Step::vacates).collect();
        prop_assert_eq!(moved.len(), plan.moves.len(), "nothing is moved twice");
    }
}
