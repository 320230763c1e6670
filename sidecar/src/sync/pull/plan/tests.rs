//! Each way in which two sides can differ, and the promise that no bytes are lost.

use proptest::prelude::*;
use protocol::sync::{Hash, Stamp};

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn content(text: &str) -> Content {
    match text {
        "/" => Content::Folder,
        "special" => Content::Special,
        text => match text.strip_prefix("-> ") {
            Some(target) => Content::Link { target: target.to_owned() },
            None => Content::File {
                hash: Hash(*blake3::hash(text.as_bytes()).as_bytes()),
                size: text.len() as u64,
                executable: false,
            },
        },
    }
}

fn local(text: &str) -> Local {
    let held = match content(text) {
        Content::File { hash, size, .. } => Held::File { hash: Some(hash), size },
        Content::Folder | Content::Special => Held::Folder,
        Content::Link { target } => Held::Link { target },
    };
    Local { held, mode: 0o644, stamp: None }
}

fn base(text: &str) -> Base {
    Base { content: content(text), mode: 0o644, local: None, remote: None }
}

fn there(text: &str) -> There {
    There::Found(Found { content: content(text), stamp: None })
}

fn candidate(known: Option<&str>, here: Option<&str>, remote: Option<&str>) -> Candidate {
    Candidate {
        path: path("a"),
        synced: true,
        restore: false,
        base: known.map(base),
        local: here.map(local),
        there: remote.map_or(There::Nothing, there),
    }
}

/// Returns one word for what is done.
fn does(candidate: Candidate) -> &'static str {
    let plan = plan(vec![candidate], true);
    let step = plan.steps().last().map(|step| match (&step.action, &step.expected) {
        (Action::Folder, _) => "folder",
        (Action::File { .. }, None) => "create",
        (Action::File { .. }, Some(_)) => "update",
        (Action::Link { .. }, _) => "link",
        (Action::Remove, _) => "remove",
    });
    match (step, plan.conflicts.len(), plan.adopt.len(), plan.problems.len()) {
        (Some(step), 0, 0, 0) => step,
        (None, 1, 0, 0) => "conflict",
        (None, 0, 1, 0) => "adopt",
        (None, 0, 0, 1) => "problem",
        (None, 0, 0, 0) => "nothing",
        _ => "several things",
    }
}

#[test]
fn each_way_to_differ_has_its_answer() {
    let cases = [
        (Some("1"), Some("1"), Some("2"), "update"),
        (Some("1"), Some("2"), Some("2"), "adopt"),
        (Some("1"), Some("2"), Some("3"), "conflict"),
        (Some("1"), Some("1"), None, "remove"),
        (Some("1"), Some("2"), None, "nothing"),
        (Some("1"), None, None, "adopt"),
        (Some("1"), None, Some("1"), "nothing"),
        (Some("1"), None, Some("2"), "conflict"),
        (None, None, Some("1"), "create"),
        (None, Some("1"), Some("1"), "adopt"),
        (None, Some("1"), Some("2"), "conflict"),
        (None, Some("1"), None, "nothing"),
        (None, None, Some("/"), "folder"),
        (None, Some("/"), Some("/"), "adopt"),
        (None, None, Some("-> b"), "link"),
        (Some("-> b"), Some("-> b"), Some("-> c"), "link"),
        (None, None, Some("-> ../b"), "problem"),
        (None, None, Some("-> /etc/passwd"), "problem"),
        (None, None, Some("special"), "problem"),
        (Some("1"), Some("1"), Some("special"), "conflict"),
        (Some("/"), Some("/"), Some("1"), "conflict"),
        (Some("/"), Some("/"), None, "remove"),
        (Some("1"), Some("1"), Some("/"), "folder"),
    ];
    for (known, here, remote, wanted) in cases {
        assert_eq!(does(candidate(known, here, remote)), wanted, "{known:?} {here:?} {remote:?}");
    }
}

#[test]
fn what_is_named_or_not_synced_comes_again_and_is_never_removed() {
    let restored = Candidate { restore: true, ..candidate(Some("1"), None, Some("1")) };
    assert_eq!(does(restored), "create");
    let ignored = |known, here, remote| Candidate { synced: false, restore: true, ..candidate(known, here, remote) };
    assert_eq!(does(ignored(Some("1"), Some("1"), None)), "nothing");
    assert_eq!(does(ignored(Some("1"), Some("1"), Some("2"))), "update");
    assert_eq!(does(ignored(Some("1"), Some("2"), Some("3"))), "problem", "no sync would decide the conflict");
    assert!(plan(vec![candidate(Some("1"), Some("1"), None)], false).steps().next().is_none());
}

#[test]
fn folders_come_before_what_is_in_them_and_go_after() {
    let at = |text: &str, candidate: Candidate| Candidate { path: path(text), ..candidate };
    let plan = plan(
        vec![
            at("n/m", candidate(None, None, Some("/"))),
            at("n", candidate(None, None, Some("/"))),
            at("o", candidate(Some("/"), Some("/"), None)),
            at("o/p", candidate(Some("/"), Some("/"), None)),
        ],
        true,
    );
    let order = |steps: &[Step]| steps.iter().map(|step| step.path.to_string()).collect::<Vec<_>>();
    assert_eq!(order(&plan.folders), ["n", "n/m"]);
    assert_eq!(order(&plan.removals), ["o/p", "o"]);
}

#[test]
fn bytes_that_nobody_looked_at_replace_nothing() {
    let stamp = Stamp { size: 1, mtime_ns: 0, ctime_ns: 0, inode: 1, device: 1 };
    let listed = There::Listed { kind: ListedKind::File(stamp), mode: 0o644 };
    assert_eq!(does(Candidate { there: listed.clone(), ..candidate(None, Some("1"), None) }), "problem");
    assert_eq!(does(Candidate { there: listed, ..candidate(None, None, None) }), "create");
    let mount = There::Listed { kind: ListedKind::Mount, mode: 0o755 };
    assert_eq!(does(Candidate { there: mount, ..candidate(None, None, None) }), "problem");
}

fn side() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        Just(None),
        Just(Some("1")),
        Just(Some("2")),
        Just(Some("3")),
        Just(Some("/")),
        Just(Some("-> b")),
        Just(Some("-> c")),
    ]
}

proptest! {
    /// Whatever is here and would be replaced or removed is what both sides held once, and is named as what has to be
    /// here still; whatever is there is either taken, or stays there untouched.
    #[test]
    fn no_bytes_of_either_side_are_lost(
        known in side(), here in side(), remote in side(),
        synced: bool, restore: bool, removes: bool,
    ) {
        let candidate = Candidate { synced, restore, ..candidate(known, here, remote) };
        let (known, here) = (candidate.base.clone(), candidate.local.clone());
        let plan = plan(vec![candidate], removes);
        for step in plan.steps() {
            if let Some(expected) = &step.expected {
                prop_assert_eq!(Some(expected), here.as_ref());
                prop_assert!(known.as_ref().is_some_and(|known| holds(expected, &known.content)));
            } else {
                // Nothing is here, or a step before it keeps what is.
                let kept = plan.blocking.iter().any(|kept| kept.path == step.path);
                prop_assert!(here.is_none() || kept);
            }
        }
        if !removes {
            prop_assert!(plan.removals.is_empty());
        }
        for (_, _, base) in &plan.adopt {
            match (base, &here) {
                (Some(base), Some(here)) => prop_assert!(holds(here, &base.content)),
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => prop_assert!(false, "recorded what is not so"),
            }
        }
    }
}
