//! The README's first command: it shows the whole way, needs no network, and leaves nothing behind.

use std::fs;

use harness::cli;
use harness::limits::offline;
use harness::or_skip;
use harness::oracle;
use harness::process;
use harness::work::Work;
use protocol::editor::TryOutput;

#[test]
fn a_trial_works_offline_and_leaves_nothing_behind() {
    let work = Work::new();
    let trial = cli::command(&work, &["try", "--json"]);
    let mut trial = or_skip!("a_trial_works_offline_and_leaves_nothing_behind", offline(&trial));
    let ran = cli::finish(&mut trial);
    let shown: TryOutput = ran.json();
    assert!(shown.files > 0 && shown.bytes > 0, "{shown:#?}");
    assert!(!shown.edits_ms.is_empty() && shown.edits_ms.iter().all(|edit| *edit > 0.0), "{shown:#?}");
    assert!(!shown.command_output.trim().is_empty(), "{shown:#?}");
    assert!(process::with_home(&work.home()).is_empty(), "a process is left");
    // A log file may stay; remotes, keys and agents may not.
    let left: Vec<_> = oracle::walk(&work.home())
        .into_iter()
        .filter(|path| path.is_file() && path.extension().is_none_or(|kind| kind != "log"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_trial_of_a_folder_does_not_change_it() {
    let work = Work::new();
    work.write(crate::story::PROJECT);
    let before = oracle::canary(&work.workspace());
    let folder = work.workspace().display().to_string();
    let ran = cli::run(&work, &["try", &folder, "--json"]);
    let _shown: TryOutput = ran.json();
    assert_eq!(oracle::canary(&work.workspace()), before);
    assert!(fs::read_dir(work.path().join("run")).expect("our own folder").next().is_none(), "a socket is left");
}
