//! Bringing home, from a real agent into a real folder.

use std::fs;
use std::path::Path;

use protocol::agent::Holder;
use protocol::path::RemotePath;

use super::*;
use crate::sync::agent_tests::{SOON, World, read, settled, write};
use crate::sync::target::OpenTarget;
use crate::sync::via_agent::ViaAgent;
use crate::sync::{Handle, Take, Which};

fn selection(paths: &[&str]) -> Selection {
    let texts: Vec<String> = paths.iter().map(ToString::to_string).collect();
    if texts.is_empty() { Selection::synced() } else { Selection::named(&texts, false).expect("they are paths") }
}

/// Pulls through a running sync, as a command does.
async fn pull_with(
    handle: &Handle,
    paths: &[&str],
    dry_run: bool,
    approved: Option<String>,
) -> protocol::error::Result<Brought> {
    let access = Access::running(handle).await.expect("the remote folder is open");
    let (told, mut receiver) = mpsc::channel(4);
    let (progress, _) = published::channel(Progress::default());
    let cancel = CancellationToken::new();
    let ask = Ask { selection: selection(paths), dry_run, approved, told, progress, cancel };
    let record = async {
        while let Some(changes) = receiver.recv().await {
            access.record(changes).await.expect("the sync runs");
        }
    };
    let work = async { tokio::join!(bring(access.sides.clone(), ask), record) };
    let (brought, ()) = tokio::time::timeout(SOON, work).await.expect("it ends");
    if !dry_run && handle.compare().await.expect("the sync runs") {
        settled(handle).await;
    }
    brought
}

async fn pull(handle: &Handle, paths: &[&str]) -> Brought {
    pull_with(handle, paths, false, None).await.expect("it can be pulled")
}

async fn pushed(world: &World) -> Handle {
    let handle = world.start("me", false).await;
    settled(&handle).await;
    handle
}

fn told(brought: &Brought) -> Vec<String> {
    let mut told: Vec<String> =
        brought.changes.iter().map(|change| format!("{:?} {}", change.action, change.path)).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_new_files_and_removals_come_home_and_nothing_travels_back() {
    let world = World::new().await;
    for (at, text) in [("edit.py", "1"), ("gone.py", "2"), ("mine.py", "3"), ("d/old", "4"), (".mltignore", "*.log\n")]
    {
        write(&world.here(at), text);
    }
    let handle = pushed(&world).await;
    write(&world.there("edit.py"), "edited there");
    fs::remove_file(world.there("gone.py")).expect("it is there");
    fs::remove_dir_all(world.there("d")).expect("it is there");
    write(&world.there("new/deep/file.txt"), "new there");
    write(&world.there("run.log"), "ignored");
    std::os::unix::fs::symlink("edit.py", world.there("link")).expect("a link can be made");
    write(&world.here("unsaved.py"), "only here");

    let planned = pull_with(&handle, &[], true, None).await.expect("it can be planned");
    assert_eq!((planned.files, planned.removed), (2, 3), "{planned:#?}");
    assert_eq!(read(&world.here("edit.py")), "1");

    let brought = pull(&handle, &[]).await;
    assert_eq!(
        told(&brought),
        [
            "Create link",
            "Create new",
            "Create new/deep",
            "Create new/deep/file.txt",
            "Remove d",
            "Remove d/old",
            "Remove gone.py",
            "Update edit.py",
        ]
    );
    assert_eq!(
        (read(&world.here("edit.py")), read(&world.here("new/deep/file.txt"))),
        ("edited there".into(), "new there".into())
    );
    assert_eq!(fs::read_link(world.here("link")).expect("it is a link"), Path::new("edit.py"));
    assert!(!world.here("gone.py").exists() && !world.here("d").exists() && !world.here("run.log").exists());
    assert_eq!(read(&world.here("unsaved.py")), "only here");
    let kept = brought.kept.expect("something was replaced");
    assert_eq!(
        (read(&kept.join("edit.py")), read(&kept.join("gone.py")), read(&kept.join("d/old"))),
        ("1".into(), "2".into(), "4".into())
    );
    assert!(!world.here(".mltoolbox-pull").exists(), "nothing is left over");

    let again = pull(&handle, &[]).await;
    assert!(again.changes.is_empty() && again.problems.is_empty(), "{again:#?}");
    let status = handle.status();
    assert_eq!((status.drift.as_slice(), status.conflicts), ([].as_slice() as &[String], 0), "{status:#?}");
    // What came home is base: to change it here changes it there.
    write(&world.here("new/deep/file.txt"), "edited here");
    handle.compare().await.expect("the sync runs");
    handle.flush(false, SOON).await.expect("it arrives");
    assert_eq!(read(&world.there("new/deep/file.txt")), "edited here");
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_on_both_sides_is_a_conflict_until_somebody_decides() {
    let world = World::new().await;
    for at in ["a", "b", "same"] {
        write(&world.here(at), "base");
    }
    let handle = pushed(&world).await;
    for (at, here, there) in [("a", "ours", "theirs"), ("same", "equal", "equal"), ("new", "ours", "theirs")] {
        write(&world.there(at), there);
        write(&world.here(at), here);
    }
    let brought = pull(&handle, &[]).await;
    let mut conflicts: Vec<&str> = brought.conflicts.iter().map(|conflict| conflict.path.as_str()).collect();
    conflicts.sort_unstable();
    assert_eq!((conflicts, brought.files), (vec!["a", "new"], 0));
    assert_eq!(handle.status().conflicts, 2, "they are listed where every conflict is");
    assert_eq!((read(&world.here("a")), read(&world.there("a"))), ("ours".into(), "theirs".into()));
    let all = handle.resolve(Which::All, Take::Remote).await.expect("they can be decided");
    assert_eq!((all.left, read(&world.here("a")), read(&world.here("new"))), (0, "theirs".into(), "theirs".into()));
    assert!(pull(&handle, &[]).await.changes.is_empty());
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ignored_results_come_home_by_name_and_are_known_again() {
    let world = World::new().await;
    write(&world.here(".mltignore"), "checkpoints/\n*.log\n");
    write(&world.here("train.py"), "1");
    let handle = pushed(&world).await;
    write(&world.there("checkpoints/1.pt"), "one");
    write(&world.there("checkpoints/deep/2.pt"), "two");
    write(&world.there("logs/run.log"), "line 1\n");
    assert_eq!(told(&pull(&handle, &[]).await), ["Create logs"], "ignored ones need a name");
    let brought = pull(&handle, &["checkpoints/"]).await;
    assert_eq!((brought.files, brought.problems.len()), (2, 0), "{brought:#?}");
    assert_eq!(read(&world.here("checkpoints/deep/2.pt")), "two");
    assert!(pull(&handle, &["checkpoints"]).await.changes.is_empty(), "it is home");

    // The next epoch replaces one, which is no conflict: what is here is what came.
    write(&world.there("checkpoints/1.pt"), "one, better");
    fs::remove_file(world.here("checkpoints/deep/2.pt")).expect("it is there");
    fs::remove_file(world.there("train.py")).expect("it is there");
    let brought = pull(&handle, &["checkpoints", "*.log", "train.py"]).await;
    assert_eq!(told(&brought), ["Create checkpoints/deep/2.pt", "Create logs/run.log", "Update checkpoints/1.pt"]);
    assert_eq!(read(&world.here("checkpoints/1.pt")), "one, better");
    assert_eq!(read(&world.here("train.py")), "1", "a pull by name removes nothing");

    // One that a person changed here is kept.
    write(&world.here("checkpoints/1.pt"), "mine");
    write(&world.there("checkpoints/1.pt"), "one, best");
    let brought = pull(&handle, &["checkpoints"]).await;
    assert_eq!((brought.files, brought.problems.len()), (0, 1), "{brought:#?}");
    assert_eq!(read(&world.here("checkpoints/1.pt")), "mine");
    let error = pull_with(&handle, &["nothing/of/that"], false, None).await.expect_err("there is none");
    assert_eq!(error.code, Code::FileFailed);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_remote_is_braked_until_it_is_approved() {
    let world = World::new().await;
    for number in 0..60 {
        write(&world.here(&format!("d/f{number}")), &number.to_string());
    }
    write(&world.here("stays"), "1");
    let handle = pushed(&world).await;
    fs::remove_dir_all(world.there("d")).expect("it is there");
    let brought = pull(&handle, &[]).await;
    let brake = brought.brake.expect("it brakes");
    assert_eq!((brake.removals, world.here("d/f59").exists()), (61, true));
    assert!(brake.plan.starts_with("pull-"), "{}", brake.plan);
    let other = pull_with(&handle, &[], false, Some("pull-00000000".to_owned())).await.expect("it can be asked");
    assert_eq!(other.brake.map(|brake| brake.plan), Some(brake.plan.clone()));
    let brought = pull_with(&handle, &[], false, Some(brake.plan)).await.expect("it can be asked");
    assert_eq!((brought.brake, brought.removed, world.here("d").exists()), (None, 61, false));
    assert_eq!(read(&brought.kept.expect("it is kept").join("d/f59")), "59");
    assert_eq!(read(&world.here("stays")), "1");
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extras_are_what_is_neither_here_nor_ignored() {
    let world = World::new().await;
    write(&world.here(".mltignore"), "*.log\n");
    write(&world.here("a"), "1");
    let handle = pushed(&world).await;
    write(&world.there("old/extra.py"), "x");
    write(&world.there("kept/run.log"), "x");
    write(&world.there("kept/extra.py"), "x");
    let access = Access::running(&handle).await.expect("the remote folder is open");
    let found = extras(&access.sides).await.expect("it can be listed");
    let mut names: Vec<&str> = found.iter().map(|extra| extra.path.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["kept", "kept/extra.py", "old", "old/extra.py"]);
    // One of them is edited between the question and the answer.
    write(&world.there("old/extra.py"), "edited");
    let mirrored = remove(&access.sides, &found).await.expect("it can be removed");
    let mut removed: Vec<&str> = mirrored.removed.iter().map(RelPath::as_str).collect();
    removed.sort_unstable();
    assert_eq!((removed, mirrored.problems.len()), (vec!["kept/extra.py"], 3), "{mirrored:#?}");
    assert_eq!((read(&world.there("old/extra.py")), read(&world.there("kept/run.log"))), ("edited".into(), "x".into()));
    assert_eq!(read(&world.there("a")), "1");
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_while_it_comes_home_is_one_version() {
    let world = World::new().await;
    write(&world.here("a"), "1");
    let handle = pushed(&world).await;
    let (log, stop) = (world.there("run.csv"), CancellationToken::new());
    fs::write(&log, "0\n").expect("a file can be written");
    let (writer, stopped) = (log.clone(), stop.clone());
    let growing = std::thread::spawn(move || {
        let mut lines = 0;
        while !stopped.is_cancelled() {
            lines += 1;
            let line = format!("{lines}\n");
            let file = fs::OpenOptions::new().append(true).open(&writer);
            file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes())).expect("it can grow");
            std::thread::yield_now();
        }
    });
    for _ in 0..20 {
        pull(&handle, &["run.csv"]).await;
        let here = fs::read_to_string(world.here("run.csv")).unwrap_or_default();
        let lines: Vec<&str> = here.split_inclusive('\n').collect();
        let whole = lines.iter().enumerate().all(|(number, line)| *line == format!("{number}\n"));
        assert!(whole, "a version that never was: {here}");
    }
    stop.cancel();
    growing.join().expect("it ends");
    pull(&handle, &["run.csv"]).await;
    assert_eq!(read(&world.here("run.csv")), read(&log));
    handle.stop().await;
}

/// A random life of both sides, and pulls in between: whatever bytes were on either side are on disk, kept, or in the
/// remote's own history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_edits_on_both_sides_lose_nothing() {
    let seed = 7_u64;
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let world = World::new().await;
    let names = ["a", "b", "d/a", "d/b", "d/e/c", "x.log", "y.log"];
    write(&world.here(".mltignore"), "*.log\n");
    write(&world.here("steady"), "steady");
    for name in names {
        write(&world.here(name), &format!("{name} at first"));
    }
    let handle = pushed(&world).await;
    for round in 0..25 {
        let mut here_now = std::collections::BTreeSet::new();
        for edit in 0..4 {
            let name = names[usize::try_from(random(names.len() as u64)).expect("few names")];
            let text = format!("{name} in round {round}.{edit}");
            let at = if random(2) == 0 { world.here(name) } else { world.there(name) };
            if random(4) == 0 {
                // A person who removes means to.
                fs::remove_file(&at).ok();
            } else {
                write(&at, &text);
            }
        }
        for name in names {
            if let Ok(text) = fs::read_to_string(world.here(name)) {
                here_now.insert(text);
            }
        }
        let paths: &[&str] = match random(3) {
            0 => &[],
            1 => &["."],
            _ => &["*.log", "d"],
        };
        let brought = pull_with(&handle, paths, false, None).await.expect("it can be pulled");
        let mut all = std::collections::BTreeSet::new();
        for top in [world.here(""), world.there(""), world.kept()] {
            texts(&top, &mut all);
        }
        for text in &here_now {
            assert!(all.contains(text), "round {round}: `{text}` is lost: {brought:#?}");
        }
    }
    handle.stop().await;
}

fn texts(folder: &Path, into: &mut std::collections::BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            texts(&entry.path(), into);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            into.insert(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_is_not_there_is_said_and_a_cancelled_pull_ends() {
    let world = World::new().await;
    let target = ViaAgent::by_one_link(world.session());
    let path = RemotePath::new("/nonexistent/folder").expect("a path");
    let holder = Holder { id: "me".to_owned(), label: "me".to_owned() };
    let open = OpenTarget { path, create: false, holder, take_over: false };
    target.open(&open).await.expect_err("it is not there");
    write(&world.here("a"), "1");
    let handle = pushed(&world).await;
    write(&world.there("a"), "2");
    let access = Access::running(&handle).await.expect("the remote folder is open");
    let (told, _receiver) = mpsc::channel(4);
    let (progress, _) = published::channel(Progress::default());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let ask = Ask { selection: Selection::synced(), dry_run: false, approved: None, told, progress, cancel };
    let error = bring(access.sides.clone(), ask).await.expect_err("it is cancelled");
    assert_eq!((error.code, read(&world.here("a"))), (Code::Cancelled, "1".to_owned()));
    handle.stop().await;
}
