//! The command line as a person and a script meet it: help, usage, exit codes, the one JSON document.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use expect_test::expect;
use harness::binary;
use harness::cli::{check, command, run};
use harness::work::Work;
use serde_json::{Value, json};

#[test]
fn help_fits_a_small_terminal_and_lists_every_noun() {
    let work = Work::new();
    check(&work, "--help", &expect![[""]]);
    check(&work, "help sync push", &expect![[""]]);
    for line in ["--help", "remote --help", "sync --help", "sync watch --help", "exec --help", "agent --help"] {
        let ran = run(&work, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{}", ran.text());
        let wide = ran.stdout.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "`{line}` is wider than 80 columns");
    }
}

#[test]
fn a_typo_gets_a_suggestion_and_status_2() {
    let work = Work::new();
    check(&work, "snyc", &expect![[""]]);
    check(&work, "remote ad", &expect![[""]]);
    check(&work, "--json snyc", &expect![[""]]);
}

#[test]
fn json_is_one_document_whatever_happens() {
    let work = Work::new();
    for (line, code) in
        [("doctor --json", None), ("--format json completions bash", Some(0)), ("sync push --nope --json", Some(2))]
    {
        let ran = run(&work, &line.split(' ').collect::<Vec<_>>());
        let document: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{}", ran.text()));
        assert!(document.is_object(), "{document}");
        assert!(code.is_none_or(|code| code == ran.code), "{}", ran.text());
        assert_eq!(ran.stderr, "", "`{line}` talks");
    }
}

#[test]
fn the_doctor_looks_at_what_everything_stands_on() {
    let work = Work::new();
    let ran = run(&work, &["doctor", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{}", ran.text()));
    let checks = document["checks"].as_array().expect("a list of checks");
    for wanted in ["configuration folder", "state database", "log folder", "disk space", "SSH agent"] {
        let check = checks.iter().find(|check| check["name"] == wanted);
        assert!(check.is_some_and(|check| check["level"] == "good"), "{wanted}: {document:#}");
    }
}

#[test]
fn scripts_and_manual_pages_are_made_from_the_table() {
    let work = Work::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(&work, &["completions", shell]);
        assert_eq!(ran.code, 0, "{}", ran.text());
        assert!(ran.stdout.contains("conflicts"), "the script for {shell} misses a verb");
    }
    let ran = run(&work, &["man"]);
    assert!(ran.code == 0 && ran.stdout.starts_with(".ie") && ran.stdout.contains("sync\\-push"), "{}", ran.text());
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let work = Work::new();
    let mut child = command(&work, &["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let status = child.wait().expect("our own child");
    let mut talk = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut talk).expect("text");
    assert_eq!((status.code(), talk.as_str()), (Some(141), ""));
}

/// Starts the language server and waits until it is ready.
fn server(work: &Work) -> std::process::Child {
    use std::io::Write;
    let mut command = work.command(binary::sidecar());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Without arguments, as on a pipe nobody can read a help page.
    let mut child = command.spawn().expect("it starts");
    let message =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "capabilities": {} } }).to_string();
    let input = child.stdin.as_mut().expect("a pipe");
    write!(input, "Content-Length: {}\r\n\r\n{message}", message.len()).expect("it reads");
    let mut first = [0; 15];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("it answers");
    assert_eq!(&first, b"Content-Length:");
    child
}

#[track_caller]
fn ends(mut child: std::process::Child) {
    let begun = Instant::now();
    let status = child.wait().expect("our own child");
    assert!(begun.elapsed() < Duration::from_secs(2), "the end took {:?}", begun.elapsed());
    assert!(status.code().is_some(), "{status}");
}

#[test]
fn the_server_ends_with_its_input() {
    let mut child = server(&Work::new());
    drop(child.stdin.take());
    ends(child);
}

#[test]
fn the_server_ends_with_its_output_though_nothing_is_written() {
    let mut child = server(&Work::new());
    let input = child.stdin.take();
    drop(child.stdout.take());
    ends(child);
    drop(input);
}
