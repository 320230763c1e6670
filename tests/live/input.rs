//! Bad input: each gives an error that names the thing and the next step, or is left out with its reason,
//! and nothing is lost by it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::cli::{self, Ran};
use harness::host::{Host, keygen};
use harness::or_skip;
use harness::oracle;
use harness::skip::Reason;
use harness::work::Work;
use protocol::editor::{SyncPushOutput, SyncState};
use serde_json::Value;

use crate::story::Story;

/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Returns the error that a command with `--json` printed.
#[track_caller]
pub(crate) fn error(ran: &Ran) -> Value {
    let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{}", ran.text()));
    assert_ne!(ran.code, 0, "{}", ran.text());
    document["error"].clone()
}

/// Fails unless the command ended with this code, and its words name `thing` and `next`.
#[track_caller]
pub(crate) fn check(ran: &Ran, code: &str, thing: &str, next: &str) {
    let error = error(ran);
    assert_eq!(error["code"], code, "{}", ran.text());
    let said = format!("{} {}", error["message"], error["causes"]);
    assert!(said.contains(thing), "`{thing}` is not named:\n{}", ran.text());
    assert!(error["help"].as_str().is_some_and(|help| help.contains(next)), "no `{next}`:\n{}", ran.text());
}

fn add(story: &Story, name: &str, port: u16, key: &Path) {
    let line = format!(
        "remote add {name} --host 127.0.0.1 --port {port} --user {} --key {} --accept-new",
        Host::user(),
        key.display()
    );
    assert_eq!(story.run(&line).code, 0, "{line}");
}

#[test]
fn wrong_names_ports_keys_and_folders_are_named_with_the_next_step() {
    let story = or_skip!("wrong_names_ports_keys_and_folders_are_named_with_the_next_step", Story::begin());
    let (stranger, open) = (story.work.path().join("stranger"), story.work.path().join("open"));
    keygen("ed25519", &stranger);
    fs::copy(story.host.key(), &open).expect("our own folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("our own file");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let closed = closed.expect("loopback has a free port").port();
    add(&story, "closed", closed, &story.host.key());
    add(&story, "stranger", story.host.port(), &stranger);
    add(&story, "open", story.host.port(), &open);
    let gone = story.work.path().join("no-such-key");
    fs::copy(story.host.key(), &gone).expect("our own folder");
    add(&story, "gone", story.host.port(), &gone);
    fs::remove_file(&gone).expect("our own file");
    let before = oracle::canary(&story.work.workspace());
    let home = story.work.home().display().to_string();
    let near = story.work.path().join("workspac").display().to_string();
    let file = story.here("app.py").display().to_string();
    for (line, code, thing, next) in [
        ("sync push --remote bx", "remote.unknown", "`bx`", "`box`"),
        ("sync push --remote closed", "ssh.unreachable", &format!("{closed}"), "127.0.0.1"),
        ("sync push --remote stranger", "ssh.auth_refused", "stranger", "--key"),
        ("sync push --remote open", "ssh.key_permissions", "open", "chmod 600"),
        ("sync push --remote gone", "ssh.key_unreadable", "no-such-key", ""),
        (&format!("sync push {near}"), "workspace.missing", &near, "workspace`"),
        (&format!("sync push {file}"), "workspace.missing", &file, "--workspace"),
        ("sync push / --remote box", "question.unanswered", "`/`", "--yes"),
        (&format!("sync push {home} --remote box"), "question.unanswered", &home, "--yes"),
        ("sync push --remote box --to ~other/x", "sync.root", "~other", ""),
        ("sync push --remote box --to /", "sync.root", "/", ""),
        ("sync push --remote box --to ~", "sync.root", "~", ""),
        ("sync push --remote box --to /proc/version/x", "sync.root", "/proc/version", ""),
        ("sync push --remote box --to a/../b", "params.invalid", "a/../b", "--to"),
    ] {
        let ran = story.run(&if line.contains("--to") { format!("{line} --yes") } else { line.to_owned() });
        check(&ran, code, thing, next);
    }
    assert_eq!(oracle::canary(&story.work.workspace()), before);
    assert!(!story.there("").exists());
}

#[test]
fn strange_names_arrive_and_what_cannot_is_named() {
    let story = or_skip!("strange_names_arrive_and_what_cannot_is_named", Story::begin());
    let long = "n".repeat(255);
    let wide = "ü".repeat(127);
    for name in
        [long.as_str(), &wide, "-rf", "--", "new\nline", "tab\tbell\u{7}escape\u{1b}[2J", " ", "a'b\"c`$(id)", "*?[x]"]
    {
        story.save(name, name);
    }
    fs::hard_link(story.here("app.py"), story.here("second-name.py")).expect("our own folder");
    for (target, link) in [
        ("loop-b", "loop-a"),
        ("loop-a", "loop-b"),
        ("self", "self"),
        ("/etc/passwd", "absolute"),
        ("../out", "out"),
        ("src/../../out", "round"),
    ] {
        symlink(target, story.here(link)).expect("our own folder");
    }
    let _socket = UnixListener::bind(story.here("socket")).expect("our own folder");
    let fifo = Command::new("mkfifo").arg(story.here("fifo")).status();
    assert!(fifo.is_ok_and(|status| status.success()), "mkfifo is everywhere");
    fs::write(story.here("").join(OsStr::from_bytes(b"latin-\xe9")), "x").expect("our own folder");
    let deep = deep(&story.here("deep"));
    let ran = story.run(&format!("sync push --to {} --yes", story.there("").display()));
    let pushed: SyncPushOutput = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.text()));
    let problems: Vec<&str> = pushed.status.problems.iter().map(|problem| problem.path.as_str()).collect();
    for left_out in ["absolute", "out", "round", "socket", "fifo", "latin-\u{fffd}"] {
        assert!(problems.contains(&left_out), "`{left_out}` is not named: {problems:?}");
    }
    assert!(problems.iter().any(|path| path.starts_with("deep/")), "{problems:?}");
    let leave_out = ["*.log", "build", "/absolute", "/out", "/round", "/socket", "/fifo", "/latin-*", deep.as_str()];
    oracle::assert_equal(&story.work.workspace(), &story.there(""), &leave_out);
    let names = [story.there("app.py"), story.there("second-name.py")];
    let inodes = names.map(|path| fs::metadata(path).expect("it arrived").ino());
    assert_ne!(inodes[0], inodes[1], "a hard link arrives as a file of its own");
    // For a person nothing of a name may steer the terminal.
    let shown = cli::run(&story.work, &["sync", "push", "--yes"]);
    assert!(!shown.text().contains('\u{1b}') && !shown.text().contains('\u{7}'), "{:?}", shown.text());
}

/// Makes folders below `top` until a path is longer than 4096 bytes, and returns rsync's pattern for the first
/// folder that is too deep.
fn deep(top: &Path) -> String {
    let name = "d".repeat(200);
    let script = format!(
        "mkdir -p '{top}' && cd '{top}' && i=0 && while [ $i -lt 21 ]; do mkdir {name} && cd {name} || exit 1; i=$((i+1)); done; echo x > leaf",
        top = top.display()
    );
    let made = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).status();
    assert!(made.is_ok_and(|status| status.success()), "a shell makes deep folders step by step");
    "deep".to_owned()
}

#[test]
fn a_workspace_with_the_longest_name_has_a_folder_there() {
    let story = or_skip!("a_workspace_with_the_longest_name_has_a_folder_there", Story::begin());
    for name in ["w".repeat(255), "ü".repeat(127), "-w' \n\"x".to_owned()] {
        let workspace = story.work.path().join(&name);
        fs::create_dir(&workspace).expect("our own folder");
        fs::write(workspace.join("a"), "1").expect("our own folder");
        let workspace = workspace.display().to_string();
        let ran = cli::run(&story.work, &["sync", "push", "--json", "--yes", "--", &workspace]);
        let pushed: SyncPushOutput = ran.json();
        assert_eq!((pushed.status.state, pushed.files), (SyncState::Synced, 1), "{}", ran.text());
        assert_eq!(fs::read_to_string(Path::new(&pushed.status.remote_dir).join("a")).expect("it arrived"), "1");
    }
}

/// Gives everything of the story to a user without rights and returns its command.
fn as_nobody(story: &Story, arguments: &[&str]) -> Result<Command, Reason> {
    let allowed = rustix::process::geteuid().is_root() && harness::skip::has("setpriv");
    if !allowed {
        return Err(Reason::OtherPlatform("becoming another user needs root and setpriv".to_owned()));
    }
    let mut command = story.work.command("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
    command.arg(harness::binary::sidecar()).args(arguments).stdin(Stdio::null());
    Ok(command)
}

fn give_away(path: &Path) {
    for path in oracle::walk(path).into_iter().chain([path.to_owned()]) {
        std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).expect("the test runs as root");
    }
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_arrives() {
    let test = "what_may_not_be_read_is_named_and_the_rest_arrives";
    let story = match Story::begin() {
        Ok(story) => story,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    let to = story.there("").display().to_string();
    let push = ["sync", "push", "--json", "--yes", "--to", &to];
    let mut command = match as_nobody(&story, &push) {
        Ok(command) => command,
        Err(reason) => return harness::skip::skip(test, &reason),
    };
    let key = story.work.home().join("key");
    fs::copy(story.host.key(), &key).expect("our own folder");
    let line = ["remote", "remove", "box"];
    assert_eq!(cli::run(&story.work, &line).code, 0);
    add(&story, "box", story.host.port(), &key);
    story.save("secret.txt", "secret");
    fs::create_dir(story.here("closed")).expect("our own folder");
    story.save("closed/inner.txt", "inner");
    give_away(story.work.path());
    for (path, mode) in [("secret.txt", 0o000), ("closed", 0o000)] {
        fs::set_permissions(story.here(path), fs::Permissions::from_mode(mode)).expect("the test runs as root");
    }
    let ran = cli::finish(&mut command);
    for path in ["secret.txt", "closed"] {
        check(&ran, "sync.pending", path, "sync status");
    }
    assert_eq!(ran.text().matches("Permission denied").count(), 2, "{}", ran.text());
    assert_eq!(fs::read_to_string(story.there("app.py")).expect("it arrived"), "print('hello')\n");
    assert!(!story.there("secret.txt").exists() && !story.there("closed/inner.txt").exists());

    // What arrived once and cannot be read now is not taken for deleted.
    for (path, mode) in [("secret.txt", 0o600), ("closed", 0o700)] {
        fs::set_permissions(story.here(path), fs::Permissions::from_mode(mode)).expect("the test runs as root");
    }
    assert_eq!(cli::finish(&mut command).code, 0);
    fs::set_permissions(story.here("closed"), fs::Permissions::from_mode(0o000)).expect("the test runs as root");
    cli::finish(&mut command);
    assert_eq!(fs::read_to_string(story.there("closed/inner.txt")).expect("still there"), "inner");
}

#[test]
fn a_runtime_folder_that_others_made_is_not_used() {
    let work = Work::new();
    let folder = work.path().join("run/mltoolbox");
    let elsewhere = work.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("our own folder");
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).expect("our own folder");
    let refused = |what: &str| {
        let ran = cli::run(&work, &["sync", "watch", "--foreground", "--json"]);
        let error = error(&ran);
        assert_eq!(error["code"], "owner.unavailable", "{what}: {}", ran.text());
        assert!(error["message"].as_str().is_some_and(|text| text.contains("mltoolbox")), "{what}: {}", ran.text());
        assert!(error["help"].as_str().is_some_and(|help| help.contains("mltoolbox")), "{what}: {}", ran.text());
    };
    symlink(&elsewhere, &folder).expect("our own folder");
    refused("a link");
    fs::remove_file(&folder).expect("our own link");
    fs::create_dir(&folder).expect("our own folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("our own folder");
    refused("open to all");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("our own folder");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(&folder, Some(NOBODY), Some(NOBODY)).expect("the test runs as root");
        refused("somebody else's");
    }
    assert_eq!(oracle::walk(&elsewhere), [] as [std::path::PathBuf; 0]);
}
