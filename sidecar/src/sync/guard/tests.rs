//! What looks like an accident and what does not.

use protocol::path::RelPath;
use protocol::sync::{Action, Expect, Op};

use super::*;
use crate::sync::plan::Step;

fn removing(count: usize) -> Plan {
    let step = |number| Step {
        op: Op {
            path: RelPath::new(format!("file{number}")).expect("a plain path"),
            expect: Expect::Folder,
            action: Action::Remove,
        },
        base: None,
        replaces: false,
    };
    Plan { removals: (0..count).map(step).collect(), ..Plan::default() }
}

fn fine(known: usize) -> Roots {
    Roots { recorded: Some((7, 1)), present: Some((7, 1)), known, ..Roots::default() }
}

#[test]
fn few_removals_pass_and_many_do_not() {
    for (removals, known, passes) in
        [(0, 0, true), (50, 50, true), (51, 100, false), (51, 255, true), (200, 1000, true), (201, 1000, false)]
    {
        assert_eq!(check(&removing(removals), fine(known), None).is_none(), passes, "{removals} of {known}");
    }
}

#[test]
fn approval_lets_exactly_one_plan_go() {
    let brake = check(&removing(60), fine(100), None).expect("60 of 100 is too many");
    assert_eq!(check(&removing(60), fine(100), Some(&brake.plan)), None);
    assert!(check(&removing(61), fine(100), Some(&brake.plan)).is_some());
    let emptied = Roots { local_empty: true, ..fine(100) };
    assert!(check(&removing(60), emptied, Some(&brake.plan)).is_some(), "another reason is another plan");
}

#[test]
fn strange_roots_stop_even_one_removal() {
    let plan = removing(1);
    for roots in [
        Roots { present: None, ..fine(10) },
        Roots { present: Some((8, 1)), ..fine(10) },
        Roots { local_empty: true, ..fine(10) },
        Roots { remote_emptied: true, ..fine(10) },
    ] {
        assert!(check(&plan, roots, None).is_some(), "{roots:?}");
        assert!(check(&plan, Roots { known: 0, ..roots }, None).is_none(), "nothing to lose: {roots:?}");
    }
}

#[test]
fn a_missing_workspace_cannot_be_approved() {
    let roots = Roots { present: None, ..fine(10) };
    let brake = check(&removing(10), roots, None).expect("the workspace is gone");
    assert!(check(&removing(10), roots, Some(&brake.plan)).is_some());
}

#[test]
fn another_device_number_alone_does_not_stop() {
    let roots = Roots { present: Some((7, 2)), ..fine(10) };
    assert_eq!(check(&removing(1), roots, None), None);
}

#[test]
fn a_large_first_push_names_its_folders() {
    let put = |path: &str, size| Step {
        op: Op {
            path: RelPath::new(path).expect("a plain path"),
            expect: Expect::Absent,
            action: Action::Put { size, hash: None, mode: 0o644, mtime_ns: None },
        },
        base: None,
        replaces: false,
    };
    let plan = Plan { files: vec![put("data/a", LARGE_BYTES), put("code/b", 5), put("c", 1)], ..Plan::default() };
    let large = large(&plan, true).expect("two billion and six bytes");
    assert_eq!((large.files, large.bytes), (3, LARGE_BYTES + 6));
    assert_eq!(large.largest, ["data: 1 files, 2000000000 bytes", "code: 1 files, 5 bytes", ".: 1 files, 1 bytes"]);
    assert_eq!(super::large(&plan, false), None);
}
