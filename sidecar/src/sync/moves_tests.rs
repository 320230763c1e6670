//! Renames, copies and answers that overtake each other, through the whole engine between two folders in memory.

use std::collections::VecDeque;

use protocol::sync::Rejected;

use super::model_tests::{World, drive_clock};
use super::target::fake::{Node, Tree, locked, path};
use super::*;

/// A workspace with these files that is synced, and how many files travelled for that.
async fn synced(files: &[(&str, &str)]) -> World {
    begun(World::new().await, files).await
}

/// The same with a world of its own.
async fn begun(mut world: World, files: &[(&str, &str)]) -> World {
    tokio::spawn(drive_clock());
    for (at, text) in files {
        world.source.tree.lock().write(at, text.as_bytes());
    }
    world.start().await;
    world.rest().await;
    *locked(&world.target.sent) = 0;
    world
}

impl World {
    /// Changes the workspace in one go.
    async fn edit(&self, paths: &[&str], edit: impl FnOnce(&mut Tree)) {
        edit(&mut self.source.tree.lock());
        let (_, notices) = self.running.as_ref().expect("it runs");
        let paths = paths.iter().map(|at| path(at)).collect();
        notices.send(Notice::Dirty { paths, since: None }).await.expect("the sync runs");
        self.rest().await;
    }

    fn sent(&self) -> usize {
        *locked(&self.target.sent)
    }

    /// Both sides are equal, nothing is listed, and the next comparison finds nothing to do.
    #[track_caller]
    fn assert_equal(&self) {
        let contents = |tree: &Tree| {
            tree.nodes.iter().map(|(path, node)| (path.clone(), node.content())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(contents(&self.source.tree.lock()), contents(&self.target.tree.lock()));
        let snapshot = self.running.as_ref().expect("it runs").0.snapshots().borrow().clone();
        assert_eq!((snapshot.conflicts, snapshot.status.drift), (Vec::new(), Vec::new()));
        assert_eq!(snapshot.status.problems, []);
    }

    async fn compare(&self) {
        let (handle, _) = self.running.as_ref().expect("it runs");
        assert!(handle.compare().await.expect("it runs"));
        self.rest().await;
    }
}

fn long(letter: &str) -> String {
    letter.repeat(usize::try_from(plan::COPY_FROM).expect("a few thousand"))
}

#[tokio::test(start_paused = true)]
async fn a_renamed_folder_sends_nothing_and_trips_no_brake() {
    let files: Vec<(String, String)> =
        (0..300).map(|number| (format!("old/{number}"), format!("text {number}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(at, text)| (at.as_str(), text.as_str())).collect();
    let world = synced(&files).await;
    world.source.tree.lock().rename("old", "new/er");
    let (handle, notices) = world.running.as_ref().expect("it runs");
    notices.send(Notice::Dirty { paths: vec![path("old"), path("new")], since: None }).await.expect("it runs");
    // Not `rest`, which approves what is braked.
    handle.flush(false, Duration::from_mins(1)).await.expect("nothing stops it");
    world.assert_equal();
    assert_eq!((world.sent(), world.target.tree.lock().trash.len()), (0, 0));
    world.compare().await;
    world.assert_equal();
    assert_eq!(world.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn chains_swaps_and_copies_send_what_is_new() {
    let (x, y) = (long("x"), long("y"));
    let world = synced(&[("a", &x), ("b", &y), ("c", "3"), ("log", "old")]).await;
    let rotate = |tree: &mut Tree| {
        tree.rename("log", "log.1");
        tree.write("log", b"new");
    };
    world.edit(&["log", "log.1"], rotate).await;
    assert_eq!((world.sent(), world.target.tree.lock().text("log.1").as_deref()), (1, Some("old")));
    let swap = |tree: &mut Tree| {
        tree.rename("a", "t");
        tree.rename("b", "a");
        tree.rename("t", "b");
    };
    world.edit(&["a", "b", "t"], swap).await;
    assert_eq!(world.sent(), 2, "one of the two is sent");
    world.edit(&["d/copy"], |tree| tree.write("d/copy", x.as_bytes())).await;
    let over = |tree: &mut Tree| {
        tree.nodes.remove(&path("c"));
        tree.rename("a", "c");
    };
    world.edit(&["a", "c"], over).await;
    assert_eq!(world.sent(), 2);
    world.assert_equal();
    world.compare().await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_is_sent_everything() {
    let world = synced(&[("a", "text")]).await;
    locked(&world.target.faults).plain = true;
    world.edit(&["a", "b"], |tree| tree.rename("a", "b")).await;
    world.assert_equal();
    assert_eq!(world.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_moved_is_sent() {
    for rejected in [
        Rejected::Failed { reason: "another file system".to_owned() },
        Rejected::Changed { found: None },
        Rejected::Unsafe { reason: "a mount".to_owned() },
        Rejected::Full,
    ] {
        let world = synced(&[("a", "text"), ("b", "other")]).await;
        let again = VecDeque::from([rejected.clone()]);
        locked(&world.target.faults).reject.insert(path("c"), again);
        world.edit(&["a", "c"], |tree| tree.rename("a", "c")).await;
        world.assert_equal();
        assert_eq!(world.sent(), 1, "{rejected:?}");
        // The next one is moved again.
        world.edit(&["c", "d"], |tree| tree.rename("c", "d")).await;
        world.assert_equal();
        assert_eq!(world.sent(), 1, "{rejected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_there_is_never_moved() {
    let world = synced(&[("a", "text")]).await;
    locked(&world.target.faults).race = Some(Box::new(|tree| tree.write("a", b"theirs")));
    world.edit(&["a", "b"], |tree| tree.rename("a", "b")).await;
    let tree = world.target.tree.lock();
    assert_eq!((tree.text("a").as_deref(), tree.text("b").as_deref()), (Some("theirs"), Some("text")));
    drop(tree);
    let snapshot = world.running.as_ref().expect("it runs").0.snapshots().borrow().clone();
    assert_eq!(snapshot.conflicts.len(), 1, "{snapshot:?}");
}

#[tokio::test(start_paused = true)]
async fn a_move_without_an_answer_is_recognised() {
    // What is done here before the link is back; the last word is what has to be there.
    type Edit = fn(&mut Tree);
    let edits: [(&str, Edit); 5] = [
        ("nothing", |_| {}),
        ("edited", |tree| tree.write("b", b"edited")),
        ("renamed back", |tree| tree.rename("b", "a")),
        ("renamed back and edited", |tree| {
            tree.rename("b", "a");
            tree.write("a", b"edited");
        }),
        ("renamed on", |tree| tree.rename("b", "c")),
    ];
    for (name, edit) in edits {
        let world = synced(&[("a", "text"), ("z", "other")]).await;
        // The move is done, and its answer lost; somebody edits at the same moment.
        let here = world.source.tree.clone();
        {
            let mut faults = locked(&world.target.faults);
            faults.cut_after = Some(0);
            faults.race = Some(Box::new(move |_| edit(&mut here.lock())));
        }
        world.edit(&["a", "b", "c"], |tree| tree.rename("a", "b")).await;
        world.compare().await;
        let tree = world.target.tree.lock().nodes.keys().map(ToString::to_string).collect::<Vec<_>>();
        let here = world.source.tree.lock().nodes.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(tree, here, "{name}");
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_moved_without_an_answer_is_recognised() {
    let world = synced(&[("z", "other")]).await;
    let link = |at: &str, tree: &mut Tree| drop(tree.nodes.insert(path(at), Node::Link("z".to_owned())));
    world.edit(&["a"], |tree| link("a", tree)).await;
    let here = world.source.tree.clone();
    {
        let mut faults = locked(&world.target.faults);
        faults.cut_after = Some(0);
        faults.race = Some(Box::new(move |_| here.lock().rename("b", "a")));
    }
    world.edit(&["a", "b"], |tree| tree.rename("a", "b")).await;
    world.compare().await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn answers_may_overtake_each_other() {
    let world = synced(&[("d/x", "1"), ("f", "2"), ("log", "3")]).await;
    locked(&world.target.faults).backwards = true;
    // Half of the way to a file is the removal of a folder, and the other way round.
    let kinds = |tree: &mut Tree| {
        tree.remove("d");
        tree.write("d", b"a file now");
        tree.remove("f");
        tree.write("f/x", b"a folder now");
        tree.rename("log", "log.1");
        tree.write("log", b"4");
    };
    world.edit(&["d", "f", "log", "log.1"], kinds).await;
    world.assert_equal();
    let sent = world.sent();
    assert_eq!(sent, 3);
    // What was told last must not have forgotten what was told first; a comparison would hide that.
    let (handle, _) = world.running.as_ref().expect("it runs");
    let known = handle.sides().await.expect("it runs").base;
    assert_eq!(
        known.keys().map(RelPath::as_str).collect::<Vec<_>>(),
        ["d", "f", "f/x", "log", "log.1"],
        "the base holds what both sides do"
    );
    world.compare().await;
    assert_eq!(world.sent(), sent, "everything is remembered as it is");
    world
        .edit(&["d", "f/x", "log"], |tree| {
            tree.write("d", b"again");
            tree.write("f/x", b"again");
            tree.write("log", b"again");
        })
        .await;
    world.assert_equal();
    assert_eq!(world.sent(), sent + 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_a_disk_is_not_called_safe() {
    let world = World::new().await;
    locked(&world.target.faults).never_durable = true;
    let world = begun(world, &[("a", "text")]).await;
    let (handle, _) = world.running.as_ref().expect("it runs");
    handle.flush(true, Duration::from_mins(1)).await.expect("whoever waits is told");
    assert_eq!(handle.snapshots().borrow().status.last_durable, None);
    locked(&world.target.faults).never_durable = false;
    world.edit(&["a"], |tree| tree.write("a", b"again")).await;
    handle.flush(true, Duration::from_mins(1)).await.expect("it arrives");
    assert!(handle.snapshots().borrow().status.last_durable.is_some());
}

#[tokio::test(start_paused = true)]
async fn another_spelling_is_moved_twice_where_case_counts_for_nothing() {
    // What else happens: nothing, the link is cut after the first move, or one of the two is refused.
    let no = || VecDeque::from([Rejected::Failed { reason: "no".to_owned() }]);
    for (name, most_sent) in [("nothing", 0), ("cut", 0), ("refused", 1)] {
        let world = World::new().await;
        locked(&world.target.faults).ignores_case = true;
        let world = begun(world, &[("Readme", "text"), ("d/x", "other")]).await;
        {
            let mut faults = locked(&world.target.faults);
            match name {
                "cut" => faults.cut_after = Some(1),
                "refused" => drop(faults.reject.insert(path("README"), no())),
                _ => {}
            }
        }
        world.edit(&["Readme", "README"], |tree| tree.rename("Readme", "README")).await;
        world.compare().await;
        world.assert_equal();
        assert!(world.sent() <= most_sent, "{name}: {} files travelled", world.sent());
        assert_eq!(world.target.tree.lock().text("README").as_deref(), Some("text"), "{name}");
        if name == "nothing" {
            assert_eq!(world.target.tree.lock().trash.len(), 0);
        }
        // A folder is another matter: what is in it goes, and comes again.
        world.edit(&["d", "D"], |tree| tree.rename("d", "D")).await;
        world.assert_equal();
    }
}
