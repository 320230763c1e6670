//! Looks that take their time, and what happens meanwhile: the engine between two folders in memory, step by step.

use protocol::editor::SyncGit;

use super::model_tests::{World, drive_clock};
use super::target::fake::{locked, path};
use super::*;
use crate::store::Base;

/// Longest time, by the paused clock, for what has to happen; it runs a hundred times as fast as the real one.
const IN_TIME: Duration = Duration::from_mins(10);

impl World {
    fn handle(&self) -> &Handle {
        &self.running.as_ref().expect("it runs").0
    }

    /// Changes a file here and says so.
    async fn save(&self, at: &str, text: &str) {
        self.source.tree.lock().write(at, text.as_bytes());
        self.tell(at).await;
    }

    /// Says that a file may have changed.
    async fn tell(&self, at: &str) {
        let notices = &self.running.as_ref().expect("it runs").1;
        notices.send(Notice::Dirty { paths: vec![path(at)], since: None }).await.expect("it runs");
    }

    fn there(&self, at: &str) -> Option<String> {
        self.target.tree.lock().text(at)
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(IN_TIME, what).await.expect("it happens in time")
}

#[tokio::test(start_paused = true)]
async fn a_save_does_not_wait_for_a_look_at_the_repository() {
    tokio::spawn(drive_clock());
    let mut world = World::new().await;
    world.git = SyncGit::Push;
    for (at, text) in [("a", "1"), (".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/main", "1111")] {
        world.source.tree.lock().write(at, text.as_bytes());
    }
    world.start().await;
    world.rest().await;
    assert_eq!(world.there(".git/refs/heads/main").as_deref(), Some("1111"));
    let (is_reached, go) = world.source.hold_look(git::unit());
    world.save(".git/refs/heads/main", "2222").await;
    in_time(is_reached).await.expect("the repository is looked at");
    let mut arrivals = world.handle().arrivals();
    world.save("a", "2").await;
    let arrival = in_time(arrivals.recv()).await.expect("it runs");
    assert_eq!((arrival.change.path.as_str(), world.there("a").as_deref()), ("a", Some("2")));
    assert_eq!(world.there(".git/refs/heads/main").as_deref(), Some("1111"), "its look has not ended");
    assert!(world.handle().status().pending > 0, "nobody is told that all is there");
    go.send(()).expect("the look waits");
    world.rest().await;
    assert_eq!(world.there(".git/refs/heads/main").as_deref(), Some("2222"));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_overlaps_a_pull_takes_nothing_away_that_came_home() {
    tokio::spawn(drive_clock());
    let mut world = World::new().await;
    world.source.tree.lock().write("a", b"1");
    world.start().await;
    world.rest().await;
    world.target.tree.lock().write("result", b"theirs");
    let (is_reached, go) = world.source.hold_look(path("result"));
    world.tell("result").await;
    in_time(is_reached).await.expect("it is looked at, and not here yet");
    // It comes home only now.
    world.source.tree.lock().write("result", b"theirs");
    let content = world.target.tree.lock().nodes[&path("result")].content();
    let base = Base { content, mode: 0o644, local: None, remote: None };
    let copy = "copy-1".to_owned();
    in_time(world.handle().home(copy, vec![(path("result"), Some(base))])).await.expect("it runs");
    go.send(()).expect("the look waits");
    world.rest().await;
    assert_eq!(world.there("result").as_deref(), Some("theirs"));
    assert!(world.target.tree.lock().trash.is_empty());
    // Gone here now, it goes there, too: only the look that was too early decided nothing.
    world.source.tree.lock().remove("result");
    world.tell("result").await;
    world.rest().await;
    assert_eq!(world.there("result"), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_read_whole_is_looked_at_again_unasked() {
    tokio::spawn(drive_clock());
    let mut world = World::new().await;
    world.source.tree.lock().write("log", b"1");
    world.start().await;
    world.rest().await;
    *locked(&world.source.partly) = true;
    world.save("log", "1 2").await;
    world.rest().await;
    assert_eq!(world.there("log").as_deref(), Some("1 2"));
    *locked(&world.source.partly) = false;
    // Nobody tells of this, which was done before.
    world.source.tree.lock().write("log", b"0 2");
    let mut arrivals = world.handle().arrivals();
    let arrival = in_time(arrivals.recv()).await.expect("it runs");
    assert_eq!((arrival.change.path.as_str(), world.there("log").as_deref()), ("log", Some("0 2")));
}
