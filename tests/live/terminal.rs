//! What a person sees and answers at a terminal: questions, progress, a shell on the remote, and Ctrl-C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::cli::{add_remote, run};
use harness::host::{Host, Options};
use harness::or_skip;
use harness::process::{self, wait_until};
use harness::terminal::Terminal;
use harness::work::Work;

use crate::story::{ARRIVES, PROJECT};

const PASSPHRASE: &str = "correct horse";

/// Adds the host as `box`, without trusting its key and with that key file.
fn add(work: &Work, host: &Host, key: &Path) {
    let (key, port, user) = (key.display().to_string(), host.port().to_string(), Host::user());
    let line = ["remote", "add", "box", "--host", "127.0.0.1", "--port", &port, "--user", &user, "--key", &key];
    assert_eq!(run(work, &line).code, 0);
}

/// Makes a key with a passphrase that the host lets in.
fn encrypted_key(host: &Host) -> PathBuf {
    let key = host.path().join("encrypted");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", PASSPHRASE, "-C", "test", "-f"])
        .arg(&key)
        .stdin(Stdio::null())
        .status()
        .expect("ssh-keygen starts");
    assert!(made.success());
    let allowed = host.path().join("authorized_keys");
    let both = fs::read_to_string(&allowed).expect("our own file")
        + &fs::read_to_string(key.with_extension("pub")).expect("our own file");
    fs::write(allowed, both).expect("our own file");
    key
}

#[test]
fn a_person_is_asked_about_the_host_key_the_passphrase_and_the_agent() {
    let host = or_skip!("a_person_is_asked_about_the_host_key_the_passphrase_and_the_agent", Host::start());
    let work = Work::new();
    work.write(PROJECT);
    add(&work, &host, &encrypted_key(&host));

    let mut refused = or_skip!(
        "a_person_is_asked_about_the_host_key_the_passphrase_and_the_agent",
        Terminal::start(&work, &["remote", "test"])
    );
    refused.expect("SHA256:");
    refused.expect("[y/N] ");
    refused.enter("no");
    let (refused, cooked) = refused.finish();
    assert_eq!((refused.code, cooked), (5, true), "{}", refused.stdout);
    assert!(!work.home().join(".ssh/known_hosts").exists());

    let mut wrong = Terminal::start(&work, &["remote", "test"]).expect("it started before");
    wrong.expect("[y/N] ");
    wrong.enter("y");
    for _ in 0..3 {
        wrong.expect("Passphrase for");
        wrong.wait_for_no_echo();
        wrong.enter("not it");
        wrong.expect("does not open");
    }
    let (wrong, cooked) = wrong.finish();
    assert_eq!((wrong.code, cooked), (3, true), "{}", wrong.stdout);
    assert!(!wrong.stdout.contains("not it"), "a passphrase was shown:\n{}", wrong.stdout);

    let mut push = Terminal::start(&work, &["sync", "push"]).expect("it started before");
    push.expect("Passphrase for");
    push.wait_for_no_echo();
    push.enter(PASSPHRASE);
    push.expect("Install it as");
    push.expect("[y/N] ");
    push.enter("y");
    let (push, cooked) = push.finish();
    assert_eq!((push.code, cooked), (0, true), "{}", push.stdout);
    assert!(push.stdout.contains("Wrote "), "{}", push.stdout);

    // Consent is asked for once; the passphrase is this process's alone.
    let mut again = Terminal::start(&work, &["sync", "push"]).expect("it started before");
    again.expect("Passphrase for");
    again.wait_for_no_echo();
    again.enter(PASSPHRASE);
    let (again, _) = again.finish();
    assert_eq!(again.code, 0, "{}", again.stdout);
    assert!(!again.stdout.contains("Install"), "{}", again.stdout);
}

#[test]
fn a_folder_that_nobody_means_is_asked_about() {
    let host = or_skip!("a_folder_that_nobody_means_is_asked_about", Host::start());
    let work = Work::new();
    add_remote(&work, "box", &host, host.port());
    let home = work.home().display().to_string();
    for folder in ["/", &home] {
        let mut push =
            or_skip!("a_folder_that_nobody_means_is_asked_about", Terminal::start(&work, &["sync", "push", folder]));
        push.expect("Sync all of it? [y/N] ");
        push.enter("");
        assert_eq!(push.finish().0.code, 2);
        let unasked = run(&work, &["sync", "push", folder]);
        assert_eq!(unasked.code, 2);
        assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    }
}

#[test]
fn a_shell_on_the_remote_knows_the_size_and_gives_the_terminal_back() {
    let host = or_skip!("a_shell_on_the_remote_knows_the_size_and_gives_the_terminal_back", Host::start());
    let work = Work::new();
    add_remote(&work, "box", &host, host.port());
    let mut shell = or_skip!(
        "a_shell_on_the_remote_knows_the_size_and_gives_the_terminal_back",
        Terminal::start(&work, &["exec", "--host", "--", "sh"])
    );
    shell.enter("stty size; echo ready");
    shell.expect("24 80");
    shell.expect("ready");
    shell.resize(111);
    // The new size travels beside the keys, so it may arrive after them.
    shell.enter("until stty size | grep 111; do sleep 0.1; done");
    shell.expect("24 111");
    shell.enter("PS1='rea''dy> '");
    shell.expect("ready> ");
    // The shell may still be about to start it when it says so itself.
    shell.enter("sh -c 'echo be\"\"gun; exec sleep 1000'");
    shell.expect("begun");
    shell.interrupt();
    shell.expect("ready> ");
    shell.enter("exit 7");
    let (shell, cooked) = shell.finish();
    assert_eq!((shell.code, cooked), (7, true), "{}", shell.stdout);
}

#[test]
fn progress_fits_the_terminal_and_has_no_colour() {
    let host = or_skip!("progress_fits_the_terminal_and_has_no_colour", Host::start());
    for columns in [40, 80] {
        let work = Work::new();
        work.write(PROJECT);
        add_remote(&work, "box", &host, host.port());
        let push = or_skip!(
            "progress_fits_the_terminal_and_has_no_colour",
            Terminal::with_columns(&work, &["sync", "push", "--yes"], columns)
        );
        let (push, _) = push.finish();
        assert_eq!(push.code, 0, "{}", push.stdout);
        assert!(!push.stdout.contains("\u{1b}[3"), "colour: {:?}", push.stdout);
        let wide = push.stdout.split(['\n', '\r']).filter(|line| line.contains("Installing the agent ["));
        let plain = wide.map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or(line).trim_end().chars().count());
        assert!(plain.max().unwrap_or(0) <= usize::from(columns), "{:?}", push.stdout);
    }
}

#[test]
fn an_interrupted_trial_leaves_nothing_whenever_it_is_interrupted() {
    for moment in ["1. ", "2. ", "4. ", "new file"] {
        let work = Work::new();
        let folders = work.path().join("tmp");
        fs::create_dir(&folders).expect("our own folder");
        let mut trial = or_skip!(
            "an_interrupted_trial_leaves_nothing_whenever_it_is_interrupted",
            Terminal::of_command(&work, &["try"], 80, &[("TMPDIR", &folders)])
        );
        trial.expect(moment);
        trial.interrupt();
        let (trial, cooked) = trial.finish();
        assert_eq!((trial.code, cooked), (130, true), "{}", trial.stdout);
        let left: Vec<_> = fs::read_dir(&folders).expect("our own folder").collect();
        assert!(left.is_empty(), "interrupted at {moment:?}: {left:?}\n{}", trial.stdout);
        assert!(process::with_home(&work.home()).is_empty(), "a process is left at {moment:?}");
    }
    let work = Work::new();
    let folders = work.path().join("tmp");
    fs::create_dir(&folders).expect("our own folder");
    let mut closed = or_skip!(
        "an_interrupted_trial_leaves_nothing_whenever_it_is_interrupted",
        Terminal::of_command(&work, &["try"], 80, &[("TMPDIR", &folders)])
    );
    closed.expect("4. ");
    closed.hang_up();
    assert_eq!(fs::read_dir(&folders).expect("our own folder").count(), 0, "the closed window left something");
}

#[test]
fn an_interrupted_command_is_ended_on_the_remote() {
    // A server with a forced command passes no signals on, so this one is the usual kind.
    let options = Options { config: "ForceCommand none".to_owned(), ..Options::default() };
    let host = or_skip!("an_interrupted_command_is_ended_on_the_remote", Host::with(&options));
    let work = Work::new();
    add_remote(&work, "box", &host, host.port());
    let mark = work.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", mark.display());
    let mut command = harness::cli::command(&work, &["exec", "--host", "--", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the sidecar starts");
    wait_until("the command to run", ARRIVES, || fs::read_to_string(&mark).is_ok_and(|text| text.ends_with('\n')));
    let pid: i32 = fs::read_to_string(&mark).expect("it was there").trim().parse().expect("a process id");
    process::signal(i32::try_from(child.id()).expect("process ids are positive"), rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("our own child").code(), Some(130));
    wait_until("the remote's process to end", ARRIVES, || process::name(pid).is_none());
}

#[test]
fn a_folder_of_another_machine_is_taken_over_only_when_a_person_says_so() {
    let host = or_skip!("a_folder_of_another_machine_is_taken_over_only_when_a_person_says_so", Host::start());
    let copy = host.home().join("copy").display().to_string();
    let machines = [Work::new(), Work::new()];
    for work in &machines {
        work.write(PROJECT);
        add_remote(work, "box", &host, host.port());
    }
    let watching = run(&machines[0], &["sync", "watch", "--to", &copy, "--yes"]);
    assert_eq!(watching.code, 0, "{}", watching.text());
    let unasked = run(&machines[1], &["sync", "push", "--to", &copy, "--yes", "--json"]);
    assert_eq!(unasked.code, 5, "{}", unasked.text());
    assert!(unasked.stdout.contains("sync.leased") && unasked.stdout.contains("--take-over"), "{}", unasked.text());
    for (answer, code) in [("n", 5), ("y", 0)] {
        let mut push = or_skip!(
            "a_folder_of_another_machine_is_taken_over_only_when_a_person_says_so",
            Terminal::start(&machines[1], &["sync", "push", "--to", &copy])
        );
        push.expect("is synced by");
        push.expect("[y/N] ");
        push.enter(answer);
        let (push, _) = push.finish();
        assert_eq!(push.code, code, "{}", push.stdout);
    }
}
