//! A sync that goes by the configuration: what it leaves out, what always travels, where to, and which place wins.

use std::fs;

use harness::or_skip;
use protocol::editor::{SyncPushOutput, SyncState, SyncStatus};

use crate::story::Story;

/// Writes the project's file; its remote folder is the story's.
fn configure(story: &Story, more: &str) {
    let dir = story.there("");
    let dir = dir.to_string_lossy();
    let text = format!("remote:\n  default: box\n  dir: {}\n{more}", dir.trim_end_matches('/'));
    fs::write(story.here("mltoolbox.yaml"), text).expect("our own folder");
}

#[test]
fn a_push_goes_by_the_projects_file() {
    let story = or_skip!("a_push_goes_by_the_projects_file", Story::begin());
    configure(
        &story,
        "sync:\n  exclude: [src/, .env]\n  include_overrides: [noise.log]\nenvironment:\n  dockerfile: ./build/Dockerfile\n  env_file: .env\n",
    );
    story.save(".env", "A=b\n");
    fs::create_dir(story.here("build")).expect("our own folder");
    story.save("build/Dockerfile", "FROM scratch\n");
    story.save("build/other", "x");
    let pushed: SyncPushOutput = story.run("sync push --yes").json();
    assert_eq!(pushed.status.state, SyncState::Synced, "{pushed:#?}");
    for (path, travels) in [
        ("app.py", true),
        ("noise.log", true),
        (".env", true),
        ("build/Dockerfile", true),
        ("mltoolbox.yaml", true),
        ("build/other", false),
        ("src/deep/er/module.py", false),
    ] {
        assert_eq!(story.there(path).exists(), travels, "{path}");
    }
    // A flag wins over the file, a variable over the file, and what a flag stored gives way to the file.
    let planned: SyncPushOutput = story.run("sync push --yes --dry-run --exclude *.py").json();
    assert!(planned.changes.iter().any(|change| change.path == "src"), "{planned:#?}");
    let planned: SyncPushOutput = story.run("sync push --yes --dry-run --set sync.exclude=[]").json();
    assert!(planned.changes.iter().any(|change| change.path == "src"), "{planned:#?}");
    story.run("sync push --yes --exclude nothing").json::<SyncPushOutput>();
    assert!(story.there("src/deep/er/module.py").exists(), "the flag's patterns held");
    story.save("src/new.py", "y = 1\n");
    let pushed: SyncPushOutput = story.run("sync push --yes").json();
    assert!(!story.there("src/new.py").exists(), "the file's patterns hold again: {pushed:#?}");
}

#[test]
fn a_watch_takes_what_the_file_says_now() {
    let story = or_skip!("a_watch_takes_what_the_file_says_now", Story::begin());
    configure(&story, "sync:\n  debounce: 50ms\n");
    let status: SyncStatus = story.run("sync watch --yes").json();
    assert_eq!(status.state, SyncState::Synced, "{status:#?}");
    story.save("app.py", "print('one')\n");
    story.wait_for("app.py", "print('one')\n");
    configure(&story, "sync:\n  debounce: 50ms\n  exclude: [\"*.tmp\"]\n");
    let status: SyncStatus = story.run("sync watch --yes").json();
    assert_eq!(status.state, SyncState::Synced, "{status:#?}");
    story.save("left.tmp", "left out");
    story.save("app.py", "print('two')\n");
    story.wait_for("app.py", "print('two')\n");
    story.run("sync flush").json::<SyncStatus>();
    assert!(!story.there("left.tmp").exists());
    let below = story.here("src/deep");
    let ran = story.run(&format!("sync push --yes --workspace {}", story.here("").display()));
    assert_eq!(ran.code, 0, "{}", ran.text());
    assert!(below.is_dir());
}

#[test]
fn a_remote_that_the_file_names_and_nobody_added_is_said() {
    let story = or_skip!("a_remote_that_the_file_names_and_nobody_added_is_said", Story::begin());
    fs::write(story.here("mltoolbox.yaml"), "remote: {default: boxx}\n").expect("our own folder");
    let refused = story.run("sync push --yes");
    assert!(refused.text().contains("mltoolbox.yaml:1:19"), "{}", refused.text());
    assert!(refused.text().contains("Write `box` there"), "{}", refused.text());
    let named = story.run("sync push --yes --remote box --dry-run");
    assert_eq!(named.code, 0, "{}", named.text());
}
