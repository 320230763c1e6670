//! `config set`: one value changes, and not a byte elsewhere.

use expect_test::{Expect, expect};

use super::super::*;

const FILE: &str = "\
# The top.
version: \"3.0\"   # the format

project:
  name: one  # its name
sync:
  # What stays here.
  exclude:
    - \"*.pyc\"   # compiled
    - data/

  debounce: 2s

# The end of it.
environment: {base_image: 'python:3.12', gpu_count: 1}
hooks:
  on_connect:
    - |
      echo one
      echo two
watch:
";

fn value(text: &str) -> Node {
    let parsed = tree::parse(&format!("value: {text}\n"), &Source::Default);
    parsed.root.and_then(|root| root.get("value").cloned()).expect("a value")
}

/// Shows the lines that a change takes away and brings.
#[track_caller]
fn check(key: &str, to: &str, expected: &Expect) {
    let edited = edit::set(FILE, &Source::Default, key, &value(to)).expect("it can be changed");
    let (before, after): (Vec<&str>, Vec<&str>) = (FILE.split('\n').collect(), edited.split('\n').collect());
    let same = before.iter().zip(&after).take_while(|(before, after)| before == after).count();
    let rest = before.len().min(after.len()) - same;
    let tail =
        before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(before, after)| before == after).count();
    let gone = before[same..before.len() - tail].iter().map(|line| format!("-{line}\n"));
    let new = after[same..after.len() - tail].iter().map(|line| format!("+{line}\n"));
    expected.assert_eq(&gone.chain(new).collect::<String>());
}

#[test]
fn one_value_changes() {
    check("version", "\"3.0\"", &expect![""]);
    check(
        "project.name",
        "two",
        &expect![[r"
        -  name: one  # its name
        +  name: two  # its name
    "]],
    );
    check(
        "sync.debounce",
        "500ms",
        &expect![[r"
        -  debounce: 2s
        +  debounce: 500ms
    "]],
    );
    check(
        "sync.exclude",
        "[a, \"*.b\"]",
        &expect![[r#"
        -  exclude:
        -    - "*.pyc"   # compiled
        -    - data/
        +  exclude: [a, "*.b"]
    "#]],
    );
    check(
        "environment.base_image",
        "\"a:b\"",
        &expect![[r"
        -environment: {base_image: 'python:3.12', gpu_count: 1}
        +environment: {base_image: a:b, gpu_count: 1}
    "]],
    );
    check(
        "environment.gpu.count",
        "4",
        &expect![[r"
        -environment: {base_image: 'python:3.12', gpu_count: 1}
        +environment: {base_image: 'python:3.12', gpu_count: 4}
    "]],
    );
    check(
        "hooks.on_connect",
        "[ls]",
        &expect![[r"
        -  on_connect:
        -    - |
        -      echo one
        -      echo two
        +  on_connect: [ls]
    "]],
    );
}

#[test]
fn what_is_not_there_is_added_where_it_belongs() {
    check(
        "sync.git",
        "push",
        &expect![[r"
        +  git: push
    "]],
    );
    check(
        "environment.env.A",
        "b",
        &expect![[r"
        -environment: {base_image: 'python:3.12', gpu_count: 1}
        +environment: {base_image: 'python:3.12', gpu_count: 1, env: {A: b}}
    "]],
    );
    check(
        "environment.network_mode",
        "host",
        &expect![[r"
        -environment: {base_image: 'python:3.12', gpu_count: 1}
        +environment: {base_image: 'python:3.12', gpu_count: 1, network_mode: host}
    "]],
    );
    check(
        "remote.default",
        "gpu1",
        &expect![[r"
        +remote:
        +  default: gpu1
    "]],
    );
    check(
        "watch.enabled",
        "true",
        &expect![[r"
        +  enabled: true
    "]],
    );
    check(
        "hooks.on_sync",
        "[\"echo {{ sync.files_changed }}\"]",
        &expect![[r#"
        +  on_sync: ["echo {{ sync.files_changed }}"]
    "#]],
    );
}

#[test]
fn odd_files_are_changed_or_refused_and_never_spoilt() {
    for (text, key, to, wanted) in [
        ("", "sync.git", "push", Some("sync:\n  git: push\n")),
        ("a: 1", "b", "2", Some("a: 1\nb: 2\n")),
        ("sync:\r\n  git: off\r\n", "sync.git", "push", Some("sync:\r\n  git: push\r\n")),
        ("sync:\r\n  git: off\r\n", "sync.watch", "false", Some("sync:\r\n  git: off\r\n  watch: false\r\n")),
        ("sync: {}\n", "sync.git", "push", Some("sync: {git: push}\n")),
        ("sync:\n", "sync.git", "push", Some("sync:\n  git: push\n")),
        ("sync: ~\n", "sync.git", "push", None),
        ("sync: # later\n", "sync.git", "push", Some("sync: # later\n  git: push\n")),
        (
            "sync:\n  debounce:   # none\n  git: off\n",
            "sync.debounce",
            "1s",
            Some("sync:\n  debounce: 1s   # none\n  git: off\n"),
        ),
        ("a: &a {x: 1}\nb: *a\n", "b.x", "2", None),
        ("a: &a {x: 1}\nb: *a\n", "b", "2", Some("a: &a {x: 1}\nb: 2\n")),
        ("a: &a {x: 1}\nb: {<<: *a}\n", "b.x", "2", Some("a: &a {x: 1}\nb: {<<: *a, x: 2}\n")),
        ("\"sync\": {\"git\": \"off\"}\n", "sync.git", "push", Some("\"sync\": {\"git\": push}\n")),
        ("sync: text\n", "sync.git", "push", None),
    ] {
        let edited = edit::set(text, &Source::Default, key, &value(to));
        assert_eq!(edited.as_deref().ok(), wanted, "{text:?} {key} {edited:?}");
    }
}

#[test]
fn two_writers_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let file = &file;
            scope.spawn(move || {
                save::set(Layer::User, file, &format!("environment.env.N{number}"), "x").expect("it is written");
            });
        }
    });
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!((0..8).all(|number| text.contains(&format!("N{number}: x"))), "{text}");
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "nothing else is left behind");
}

#[test]
fn what_does_not_fit_is_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mltoolbox.yaml");
    std::fs::write(&file, "environment:\n  base_image: a\n").expect("a file");
    for (key, value) in [
        ("sync.debounce", "2"),
        ("sync.debounc", "2s"),
        ("sync", "{}"),
        ("environment.dockerfile", "./Dockerfile"),
        ("profiles.a.env.B", "c"),
    ] {
        save::set(Layer::Project, &file, key, value).expect_err(key);
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "environment:\n  base_image: a\n");
}

#[test]
fn a_mark_stays_and_a_link_to_nowhere_is_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mltoolbox.yaml");
    std::fs::write(&file, "\u{feff}project:\n  name: one\n").expect("our own folder");
    save::set(Layer::Project, &file, "project.name", "two").expect("it can be set");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "\u{feff}project:\n  name: two\n");
    let link = folder.path().join("link.yaml");
    std::os::unix::fs::symlink("nowhere.yaml", &link).expect("our own folder");
    let error = save::set(Layer::Project, &link, "project.name", "two").expect_err("it leads nowhere");
    assert!(matches!(error, ConfigError::Write { .. }), "{error}");
    assert!(link.is_symlink() && !folder.path().join("nowhere.yaml").exists());
}

#[test]
fn a_problem_repeats_no_secret_and_no_long_line() {
    let told = |text: &str| {
        let checked = check::check(tree::parse(text, &Source::Default), Document::Project);
        checked
            .problems
            .iter()
            .map(|problem| format!("{} {}\n", problem.reason, problem.fix))
            .collect::<Vec<_>>()
            .concat()
    };
    for text in ["environment:\n  env:\n    API_TOKEN: \"hunter2\n", "environment:\n  env:\n    PASSWORD: @hunter2\n"] {
        let told = told(text);
        assert!(!told.is_empty() && !told.contains("hunter2"), "{told}");
    }
    let long = told(&format!("project:\n  name: \"{}\n", "x".repeat(10_000)));
    assert!(!long.is_empty() && long.len() < 1_000, "{long}");
}

#[test]
fn a_tab_behind_a_value_is_found_where_it_is() {
    let parsed = tree::parse("sync:\n  debounce: 2s\n\twatch: true\n", &Source::Default);
    let [problem] = &parsed.problems[..] else { panic!("{:#?}", parsed.problems) };
    assert_eq!((problem.place.line, problem.place.column), (3, 1), "{problem:#?}");
}

#[test]
fn a_hidden_folder_is_the_users_to_name() {
    let text = "remote:\n  dir: ~/.ssh\n";
    for (layer, wrong) in [(Layer::Project, true), (Layer::Local, true), (Layer::User, false)] {
        let source = Source::file(layer, Path::new("a.yaml"));
        let problems = check::check(tree::parse(text, &source), Document::Project).problems;
        assert_eq!(!problems.is_empty(), wrong, "{layer:?}: {problems:#?}");
    }
}
