//! The command line as a person and a script meet it: help, usage, exit codes, the one JSON document.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use expect_test::expect;
use harness::binary;
use harness::cli::{check, command, finish, run};
use harness::work::Work;
use serde_json::{Value, json};

#[test]
fn help_fits_a_small_terminal_and_lists_every_noun() {
    let work = Work::new();
    check(
        &work,
        "--help",
        &expect![[r"
            $ mltoolbox-sidecar --help
            Keeps a project here equal to its copy on a remote machine, and runs commands
            there

            Usage: mltoolbox-sidecar [OPTIONS] [COMMAND]

            Commands:
              try          Show on this machine what MLToolbox does; leaves nothing behind
              remote       Remotes: the machines we reach
              agent        The agent: our helper on a remote
              sync         Sync: keep a remote folder equal to this one
              exec         Run a command on the remote
              migrate      Write an mltoolbox.yaml from .env, Dockerfile and compose file
              trust        Let a project's own commands run on this machine
              secret       Secrets: tokens and passwords, kept where nobody reads them
              init         Write a commented mltoolbox.yaml for this project
              config       The configuration: what holds, and why
              doctor       Check everything and say what to mend
              completions  Print a completion script for a shell
              man          Print the manual page
              lsp          Be the language server on standard input and output
              help         Print this message or the help of the given subcommand(s)

            Options:
                  --stdio    Be the language server (as `lsp`)
              -h, --help     Print help
              -V, --version  Print version

            For every command:
                  --remote <NAME>    Remote to use, by name (also `MLTOOLBOX_REMOTE`); the
                                     only one is the default
                  --workspace <DIR>  Project folder; the current one is the default
                  --config <FILE>    Project's configuration file; the nearest
                                     `mltoolbox.yaml` above is the default
                  --set <KEY=VALUE>  Set a key of the configuration for this command (`--set
                                     sync.debounce=2s`)
              -y, --yes              Answer yes to every question
                  --json             Print one JSON document instead of text
                  --format <FORMAT>  Print `text` or `json` [possible values: text, json]
              -q, --quiet            Show no progress
              -v, --verbose...       Show log lines; twice for more

            Start with: mltoolbox-sidecar try
            Without a command: this help on a terminal, the language server on a pipe.
            [exit 0]
        "]],
    );
    check(
        &work,
        "help sync push",
        &expect![[r"
            $ mltoolbox-sidecar help sync push
            Bring the remote up to date once

            Usage: mltoolbox-sidecar sync push [OPTIONS] [DIR]

            Arguments:
              [DIR]  Project folder; the current one is the default

            Options:
                  --to <REMOTE_DIR>    Folder on the remote [default: ~/mltoolbox/NAME-ID]
                  --dry-run            Say what would be done and do nothing
                  --exclude <PATTERN>  Leave out what matches this pattern (as in
                                       .gitignore); kept for later syncs, '' clears
                  --include <PATTERN>  Sync what matches this pattern even when it is
                                       ignored; kept for later syncs, '' clears
                  --append <PATTERN>   Write additions to files that match this pattern in
                                       place (logs); kept for later syncs, '' clears
                  --pull <PATTERN>     While watching, bring home what matches this pattern,
                                       every five minutes; kept for later syncs, '' clears
                  --git <off|push>     Whether the project's `.git` folder is sent, as a
                                       whole and when git is quiet [default: off]; kept for
                                       later syncs
                  --take-over          Take the remote folder over from another machine
                  --mirror             Then move to the remote's trash what stands there and
                                       is neither here nor ignored; lists it and asks
              -h, --help               Print help

            For every command:
                  --remote <NAME>    Remote to use, by name (also `MLTOOLBOX_REMOTE`); the
                                     only one is the default
                  --workspace <DIR>  Project folder; the current one is the default
                  --config <FILE>    Project's configuration file; the nearest
                                     `mltoolbox.yaml` above is the default
                  --set <KEY=VALUE>  Set a key of the configuration for this command (`--set
                                     sync.debounce=2s`)
              -y, --yes              Answer yes to every question
                  --json             Print one JSON document instead of text
                  --format <FORMAT>  Print `text` or `json` [possible values: text, json]
              -q, --quiet            Show no progress
              -v, --verbose...       Show log lines; twice for more

            Examples:
              mltoolbox-sidecar sync push
              mltoolbox-sidecar sync push ~/project --to /data/project --dry-run
            [exit 0]
        "]],
    );
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
    check(
        &work,
        "snyc",
        &expect![[r"
            $ mltoolbox-sidecar snyc
            error: unrecognized subcommand `snyc`
              help: Did you mean `sync`? Run `mltoolbox-sidecar --help` for what it takes.
            [exit 2]
        "]],
    );
    check(
        &work,
        "remote ad",
        &expect![[r"
            $ mltoolbox-sidecar remote ad
            error: unrecognized subcommand `ad`
              help: Did you mean `add`? Run `mltoolbox-sidecar remote --help` for what it
                    takes.
            [exit 2]
        "]],
    );
    check(
        &work,
        "--json snyc",
        &expect![[r#"
            $ mltoolbox-sidecar --json snyc
            {"error":{"causes":[],"code":"params.invalid","help":"Did you mean `sync`? Run `mltoolbox-sidecar --help` for what it takes.","message":"unrecognized subcommand `snyc`"}}
            [exit 2]
        "#]],
    );
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
fn whom_to_log_in_as_is_known_without_being_told() {
    let work = Work::new();
    let added = run(&work, &["remote", "add", "one", "--host", "203.0.113.7", "--json"]).json::<Value>();
    // What was not typed is not stored: `~/.ssh/config` may say another thing tomorrow.
    assert_eq!((&added["user"], &added["port"]), (&Value::Null, &Value::Null));
    let account = std::process::Command::new("id").arg("-un").output().expect("every system has `id`").stdout;
    // As with `ssh`, the account says it and not the environment.
    for variables in [&[("USER", "somebody"), ("LOGNAME", "else")][..], &[]] {
        let mut command = command(&work, &["remote", "show", "one", "--json"]);
        command.env_remove("USER").env_remove("LOGNAME").envs(variables.iter().copied());
        let way = finish(&mut command).json::<Value>()["way"].clone();
        assert_eq!(way["user"], String::from_utf8_lossy(&account).trim());
        assert_eq!((&way["host"], &way["port"]), (&Value::from("203.0.113.7"), &Value::from(22)));
    }
}

#[test]
fn what_a_repository_names_its_files_does_not_steer_the_terminal() {
    let work = Work::new();
    let ran = run(&work, &["remote", "show", "\u{1b}]0;mine\u{7}\u{202e}gnp"]);
    assert_eq!(ran.code, 2, "{}", ran.text());
    let steers = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    assert!(!ran.stderr.contains(steers), "{:?}", ran.stderr);
    assert!(ran.stderr.contains("\u{fffd}]0;mine\u{fffd}\u{fffd}gnp"), "{:?}", ran.stderr);
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
    let work = Work::new();
    let mut child = server(&work);
    drop(child.stdin.take());
    ends(child);
}

#[test]
fn the_server_ends_with_its_output_though_nothing_is_written() {
    let work = Work::new();
    let mut child = server(&work);
    let input = child.stdin.take();
    drop(child.stdout.take());
    ends(child);
    drop(input);
}
