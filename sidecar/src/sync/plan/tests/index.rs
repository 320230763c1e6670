//! A save costs what changed: what the index does not hold is never looked for in the tree.

use super::*;

/// A copy of 4 KiB of one letter.
fn long(letter: char) -> String {
    letter.to_string().repeat(usize::try_from(COPY_FROM).expect("a few thousand"))
}

#[test]
fn the_tree_is_walked_for_a_copy_only_when_the_index_says_there_is_one() {
    let (x, y) = (long('x'), long('y'));
    let mut world = World::new(&[("a", &x, &x, "="), ("b", "-", &x, "="), ("c", &y, &y, "=")]);
    world.able.copies = true;
    world.index = Some(Index::of(&world.base, false));
    assert_eq!(lines(&world.plan()), ["copy b from a if absent"]);
    // An index that knows nothing shows whether the base was walked nevertheless.
    world.index = Some(Index::default());
    assert_eq!(lines(&world.plan()), ["put b if absent"]);
}

#[test]
fn spellings_are_looked_for_by_the_index_alone() {
    let mut world = World::new(&[("a", "1", "1", "="), ("A", "-", "2", "=")]);
    let paths = BTreeSet::from([path("A")]);
    world.local.remove(&path("a"));
    world.ignores_case = true;
    let problems = |index: &Index| {
        let plan = plan(Input { paths: Some(&paths), index: Some(index), ..world.input() });
        plan.problems.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(problems(&Index::of(&world.base, true)), [path("A")]);
    assert_eq!(problems(&Index::of(&BTreeMap::new(), true)), [], "the base is not walked");
}

proptest! {
    #[test]
    fn with_the_index_the_same_is_decided(
        rows in prop::collection::btree_map(
            prop::sample::select(vec!["a", "A", "d", "D", "d/x", "d/X", "D/x", "D/X", "b"]),
            (prop::sample::select(vec!["-", "1", "2", "/"]), prop::sample::select(vec!["-", "1", "2", "/"]), any::<bool>()),
            0..9,
        ),
    ) {
        let table: Vec<_> = rows.iter().map(|(name, (base, here, _))| (*name, *base, *here, "=")).collect();
        let mut world = World::new(&table);
        world.ignores_case = true;
        let paths: BTreeSet<RelPath> = rows.iter().filter(|(_, row)| row.2).map(|(name, _)| path(name)).collect();
        world.local.retain(|path, _| paths.contains(path));
        let index = Index::of(&world.base, true);
        let decided = |index| {
            let mut plan = plan(Input { paths: Some(&paths), index, ..world.input() });
            // Of three spellings, each may be told of either of the others.
            plan.problems.iter_mut().for_each(|(_, reason)| reason.clear());
            plan
        };
        prop_assert_eq!(decided(Some(&index)), decided(None));
    }
}
