//! Hooks around real work: where they run, what they are told, who has to trust them, and how they are ended.

use std::fs;

use harness::cli;
use harness::or_skip;
use harness::process::wait_until;
use harness::terminal::Terminal;
use protocol::editor::{SyncPushOutput, TrustState, WorkspaceTrustOutput};
use serde_json::Value;

use crate::story::{ARRIVES, Story};

/// Writes the project's configuration; `hooks` is what stands below `hooks:`.
fn configure(story: &Story, hooks: &str) {
    let text = format!("version: \"3.0\"\nenvironment: {{base_image: python:3.12}}\nhooks:\n{hooks}");
    story.save("mltoolbox.yaml", &text);
}

/// Runs a push as a script does, without `--json`, so that what is told is seen.
fn push(story: &Story) -> cli::Ran {
    let to = story.there("").display().to_string();
    cli::run(&story.work, &["sync", "push", "--yes", "--to", &to])
}

/// Returns the kind of error of a command with `--json`.
fn code(ran: &cli::Ran) -> String {
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    answer["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn hooks_run_where_they_belong_and_are_told_what_happened() {
    let story = or_skip!("hooks_run_where_they_belong_and_are_told_what_happened", Story::begin());
    configure(
        &story,
        "  on_connect:\n    - echo \"Connected to {{ remote.host }} as {{ remote.name }}\"\n    - read answer; echo \"read <$answer>\"\n  on_sync_complete:\n    - echo \"Synced {{ sync.files_changed }} files in $(basename \"$PWD\")\"\n  on_container_start: [pip install -e .]\n",
    );
    let first = push(&story);
    assert_eq!(first.code, 0, "{}", first.text());
    let lines: Vec<&str> = first.stderr.lines().collect();
    for expected in ["on_connect: Connected to 127.0.0.1 as box", "on_connect: read <>"] {
        assert!(lines.contains(&expected), "{expected}\n{}", first.text());
    }
    let synced = lines.iter().find(|line| line.starts_with("on_sync: Synced ")).expect("it is told");
    assert!(synced.ends_with(" files in copy") && !synced.contains(" 0 "), "{synced}");
    let second = push(&story);
    assert!(second.stderr.contains("on_connect: Connected") && !second.stderr.contains("on_sync"), "{}", second.text());
    let json: SyncPushOutput = story.run("sync push --yes").json();
    assert_eq!(json.files, 0);
    let ran = cli::run(&story.work, &["exec", "--host", "--", "echo", "data"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "data\n"), "{}", ran.text());
    assert!(ran.stderr.contains("on_connect: Connected"), "{}", ran.text());
}

#[test]
fn commands_of_a_project_run_here_only_when_they_are_trusted() {
    let story = or_skip!("commands_of_a_project_run_here_only_when_they_are_trusted", Story::begin());
    let ran = story.work.path().join("ran");
    let with = |word: &str| configure(&story, &format!("  on_config_loaded: [\"echo {word} >> {}\"]\n", ran.display()));
    let state = |line: &str| story.run(line).json::<WorkspaceTrustOutput>().state;
    with("one");

    let refused = story.run(&format!("sync push --yes --to {}", story.there("").display()));
    assert_eq!((refused.code, code(&refused).as_str()), (2, "trust.needed"), "{}", refused.text());
    assert!(refused.stdout.contains("mltoolbox-sidecar trust --workspace "), "{}", refused.text());
    assert!(!ran.exists() && !story.there("").exists(), "nothing was done");
    assert_eq!(state("trust --status"), TrustState::Unknown);

    assert_eq!(state("trust --yes"), TrustState::Trusted);
    story.push();
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "one\n");

    with("two");
    let refused = story.run("sync push --yes");
    assert_eq!(code(&refused), "trust.needed", "{}", refused.text());
    assert_eq!(state("trust --status"), TrustState::Changed);
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "one\n");
    with("one");
    story.push();
    assert_eq!(state("trust --revoke"), TrustState::Unknown);
    assert_eq!(code(&cli::run(&story.work, &["exec", "--json", "--host", "--", "true"])), "trust.needed");
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "one\none\n");

    // What the user's own file says needs no trust, and what runs there is the machine's own affair.
    configure(&story, "  on_connect: [\"true\"]\n");
    let own = story.work.home().join(".config/mltoolbox");
    fs::create_dir_all(&own).expect("our own folder");
    let text = format!("hooks: {{on_config_loaded: [\"echo own >> {}\"]}}\n", ran.display());
    fs::write(own.join("config.yaml"), text).expect("our own file");
    story.push();
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "one\none\nown\n");
}

#[test]
fn a_person_is_asked_for_trust_once() {
    let story = or_skip!("a_person_is_asked_for_trust_once", Story::begin());
    let ran = story.work.path().join("ran");
    configure(&story, &format!("  on_config_loaded: [\"echo here >> {}\"]\n", ran.display()));
    let line = ["exec", "--host", "--", "echo", "done"];
    let mut asked = or_skip!("a_person_is_asked_for_trust_once", Terminal::start(&story.work, &line));
    asked.expect("on_config_loaded: echo here");
    asked.expect("[y/N] ");
    asked.enter("n");
    asked.expect("trusted");
    asked.expect("done");
    assert_eq!(asked.finish().0.code, 0);
    assert!(!ran.exists());
    // A no is an answer, too.
    let again = cli::run(&story.work, &line);
    assert_eq!((again.code, ran.exists()), (0, false), "{}", again.text());

    story.run("trust --revoke").json::<WorkspaceTrustOutput>();
    let mut asked = Terminal::start(&story.work, &line).expect("it started before");
    asked.expect("[y/N] ");
    asked.enter("y");
    asked.expect("done");
    assert_eq!(asked.finish().0.code, 0);
    assert_eq!(cli::run(&story.work, &line).code, 0);
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "here\nhere\n");
}

#[test]
fn a_hook_that_hangs_there_is_killed_and_its_failure_means_what_was_said() {
    let story = or_skip!("a_hook_that_hangs_there_is_killed_and_its_failure_means_what_was_said", Story::begin());
    let id = story.host.home().join("id");
    let hook = |policy: &str| {
        let run = format!("echo $$ > {}; exec sleep 1000", id.display());
        configure(&story, &format!("  on_connect: [{{run: \"{run}\", timeout: 1s, on_failure: {policy}}}]\n"));
    };
    hook("warn");
    let warned = push(&story);
    assert_eq!(warned.code, 0, "{}", warned.text());
    let text = warned.stderr.replace('\n', " ");
    assert!(text.contains("warning: the hook `on_connect` of "), "{text}");
    assert!(text.contains("mltoolbox.yaml:4:16 did not end within 1s and was killed"), "{text}");
    assert!(text.contains("`timeout: 2s`"), "{text}");
    assert!(story.there("app.py").exists());
    hook("fail");
    let failed = story.run("sync push --yes");
    assert_eq!((failed.code, code(&failed).as_str()), (1, "hook.failed"), "{}", failed.text());
    if let Some(id) = fs::read_to_string(&id).ok().and_then(|id| id.trim().parse::<i32>().ok()) {
        wait_until("the hook to be gone", ARRIVES, || harness::process::stat(id).is_none());
    }
}

#[test]
fn after_each_round_of_a_watch_one_hook_at_a_time() {
    let story = or_skip!("after_each_round_of_a_watch_one_hook_at_a_time", Story::begin());
    let (seen, lock) = (story.host.home().join("seen"), story.host.home().join("lock"));
    configure(
        &story,
        &format!(
            "  on_sync:\n    - mkdir {1} || echo overlap >> {0}; sleep 0.2; ls | tr '\\n' ' ' >> {0}; echo \"{{{{ sync.files_changed }}}}\" >> {0}; rmdir {1}\n",
            seen.display(),
            lock.display()
        ),
    );
    story.watch();
    let said = || fs::read_to_string(&seen).unwrap_or_default();
    wait_until("the first round to be told", ARRIVES, || said().lines().count() == 1);
    for number in 0..20 {
        story.save(&format!("new{number}.py"), "x = 1\n");
    }
    story.settle();
    wait_until("the last round to be told", ARRIVES, || {
        let said = said();
        said.lines().last().is_some_and(|line| (0..20).all(|number| line.contains(&format!("new{number}.py "))))
    });
    let counts: Vec<u64> = said().lines().skip(1).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(counts.iter().sum::<u64>() >= 20, "{}", said());
    assert!(!said().contains("overlap"), "{}", said());
    story.run("sync stop");
}

#[test]
fn an_older_project_gets_one_line_of_advice() {
    let story = or_skip!("an_older_project_gets_one_line_of_advice", Story::begin());
    story.save(".env", "A=1\n");
    let pushed = push(&story);
    assert_eq!(pushed.code, 0, "{}", pushed.text());
    let text = pushed.stderr.replace('\n', " ");
    assert_eq!(text.matches("note: this project has .env").count(), 1, "{}", pushed.text());
    assert!(text.contains("`mltoolbox-sidecar migrate --dry-run`"), "{}", pushed.text());
    assert!(!story.here("mltoolbox.yaml").exists());
    let json = story.run("sync push --yes");
    assert!(!json.text().contains("note:"), "{}", json.text());
    let migrated = cli::run(&story.work, &["migrate"]);
    assert_eq!(migrated.code, 0, "{}", migrated.text());
    let again = cli::run(&story.work, &["migrate"]);
    assert!(again.code == 0 && again.stdout.contains("is there already; nothing"), "{}", again.text());
    assert!(!push(&story).stderr.contains("note:"));
}

/// A secret that is nowhere else.
const CANARY: &str = "canary-5f1d7c0e9b";

#[test]
fn a_secret_reaches_its_hook_and_nobody_else() {
    let story = or_skip!("a_secret_reaches_its_hook_and_nobody_else", Story::begin());
    let (value, seen) = (story.host.home().join("value"), story.host.home().join("seen"));
    configure(
        &story,
        &format!(
            "  on_connect:\n    - printf %s '${{secret:canary}}' > {}\n    - cat /proc/[0-9]*/cmdline > {} 2>&1; true\n    - \"echo it is ${{secret:canary}}!; echo ${{secret:canary}} >&2; exit 3\"\n",
            value.display(),
            seen.display()
        ),
    );
    // What a project's file gives a secret to, a person has to trust, wherever it runs.
    let refused = cli::run(&story.work, &["sync", "push", "--yes"]);
    assert_eq!(refused.code, 2, "{}", refused.text());
    let trusted = cli::run(&story.work, &["trust", "--yes"]);
    assert_eq!(trusted.code, 0, "{}", trusted.text());
    let to = story.there("").display().to_string();
    let line = ["-vv", "sync", "push", "--yes", "--to", &to];
    let mut command = cli::command(&story.work, &line);
    let ran = cli::finish(command.env("MLTOOLBOX_SECRET_CANARY", CANARY).env("MLTOOLBOX_LOG", "trace"));
    assert_eq!(ran.code, 0, "{}", ran.text());
    assert_eq!(fs::read_to_string(&value).expect("the hook ran"), CANARY);
    fs::remove_file(&value).expect("our own file");
    assert!(!fs::read(&seen).expect("the hook ran").is_empty());
    assert!(ran.stderr.contains("on_connect: it is ****!"), "{}", ran.text());
    assert!(ran.stderr.contains("ended with status 3"), "{}", ran.text());
    assert!(!ran.text().contains(CANARY), "{}", ran.text());
    assert!(!story.host.log().contains(CANARY));
    let holds = |path: &std::path::PathBuf| {
        let is_file = path.symlink_metadata().is_ok_and(|facts| facts.is_file());
        is_file && fs::read(path).is_ok_and(|bytes| bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()))
    };
    for place in [story.work.path().to_owned(), story.host.path().to_owned()] {
        let found: Vec<_> = harness::oracle::walk(&place).into_iter().filter(holds).collect();
        assert!(found.is_empty(), "{found:?}");
    }

    // Without it, it is said where it is used and how it is set.
    let missing = cli::run(&story.work, &["exec", "--host", "--", "true"]);
    assert_eq!(missing.code, 0, "a hook's failure is a warning: {}", missing.text());
    let text = missing.stderr.replace('\n', " ");
    assert!(text.contains("the hook `on_connect` of ") && text.contains("secret set canary"), "{}", missing.text());
}
