//! Ways in, through the program as a person runs it: passwords of a real account, jumps, a command as the line, and
//! machines that forbid things.

use std::fs;
use std::process::{Command, Stdio};

use harness::cli::{Ran, add_remote, run};
use harness::host::{Host, Options};
use harness::or_skip;
use harness::skip::{Reason, has};
use harness::terminal::Terminal;
use harness::work::Work;

use crate::story::PROJECT;

/// What opens the throw-away account.
const PASSWORD: &str = "Blue-Kettle-41";

/// An account of this machine that is gone when it is dropped.
struct Account {
    name: String,
}

impl Account {
    /// Makes one with [`PASSWORD`], or says why this machine cannot.
    fn make(suffix: &str) -> Result<Self, Reason> {
        let missing = |what: &str| Reason::Missing(format!("an account is made by {what}"));
        if !has("useradd") || !has("chpasswd") || !has("userdel") {
            return Err(missing("`useradd` and `chpasswd`, which are not there"));
        }
        if Host::user() != "root" {
            return Err(missing("root alone"));
        }
        let name = format!("mlt{}{suffix}", std::process::id());
        let made = Command::new("useradd").args(["-M", "-d", "/", "-s", "/bin/sh", &name]).output();
        if !made.is_ok_and(|made| made.status.success()) {
            return Err(missing("`useradd`, which fails here"));
        }
        let account = Self { name };
        let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().expect("it is there");
        let line = format!("{}:{PASSWORD}\n", account.name);
        std::io::Write::write_all(&mut chpasswd.stdin.take().expect("a pipe"), line.as_bytes()).expect("it reads");
        assert!(chpasswd.wait().expect("our own child").success());
        Ok(account)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let removed = Command::new("userdel").args(["-f", &self.name]).output().expect("it was there before");
        assert!(removed.status.success(), "the account {} stays behind", self.name);
    }
}

/// Adds an account of a host as `box`, without any key that fits.
fn add(work: &Work, host: &Host, user: &str) {
    let port = host.port().to_string();
    let line = ["remote", "add", "box", "--host", "127.0.0.1", "--port", &port, "--user", user, "--accept-new"];
    assert_eq!(run(work, &line).code, 0);
}

/// Types a wrong password and the right one.
fn type_password(terminal: &mut Terminal, prompt: &str) {
    for password in ["not-it-at-all", PASSWORD] {
        terminal.expect(prompt);
        terminal.wait_for_no_echo();
        terminal.enter(password);
    }
}

#[test]
fn a_real_account_is_entered_with_its_password() {
    let account = or_skip!("a_real_account_is_entered_with_its_password", Account::make("p"));
    let config = "PasswordAuthentication yes\nKbdInteractiveAuthentication no\nForceCommand none".to_owned();
    let host =
        or_skip!("a_real_account_is_entered_with_its_password", Host::with(&Options { config, ..Options::default() }));
    let work = Work::new();
    add(&work, &host, &account.name);
    let mut test = or_skip!(
        "a_real_account_is_entered_with_its_password",
        Terminal::with_columns(&work, &["remote", "test"], 200)
    );
    type_password(&mut test, &format!("Password for `{}` on `127.0.0.1`", account.name));
    let (tested, cooked) = test.finish();
    assert_eq!((tested.code, cooked), (0, true), "{}\n{}", tested.stdout, host.log());
    for text in ["That password was not accepted.", "a password", "A person had to answer"] {
        assert!(tested.stdout.contains(text), "{text}: {}", tested.stdout);
    }
    for secret in [PASSWORD, "not-it-at-all"] {
        assert!(!tested.stdout.contains(secret), "a password was shown:\n{}", tested.stdout);
        let logs = Command::new("grep").args(["-rF", secret]).arg(work.home()).output().expect("grep is there");
        assert!(logs.stdout.is_empty(), "a password was written down: {logs:?}");
    }
    let nobody = run(&work, &["remote", "test"]);
    assert_eq!(nobody.code, 5, "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("nobody can be asked") && nobody.stderr.contains("ssh-copy-id"),
        "{}",
        nobody.stderr
    );
}

#[test]
fn a_real_account_is_entered_by_the_questions_of_its_system() {
    let account = or_skip!("a_real_account_is_entered_by_the_questions_of_its_system", Account::make("k"));
    if !std::path::Path::new("/etc/pam.d/sshd").exists() {
        let missing = Reason::Missing("`/etc/pam.d/sshd` is missing; install openssh-server with PAM".to_owned());
        return harness::skip::skip("a_real_account_is_entered_by_the_questions_of_its_system", &missing);
    }
    let config =
        "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes\nForceCommand none".to_owned();
    let host = or_skip!(
        "a_real_account_is_entered_by_the_questions_of_its_system",
        Host::with(&Options { config, ..Options::default() })
    );
    let work = Work::new();
    add(&work, &host, &account.name);
    let mut test = or_skip!(
        "a_real_account_is_entered_by_the_questions_of_its_system",
        Terminal::with_columns(&work, &["remote", "test"], 200)
    );
    type_password(&mut test, &format!("`127.0.0.1` asks `{}`: Password", account.name));
    let (tested, cooked) = test.finish();
    assert_eq!((tested.code, cooked), (0, true), "{}\n{}", tested.stdout, host.log());
    assert!(tested.stdout.contains("answers to its questions"), "{}", tested.stdout);
}

/// Starts a host with lines of configuration and adds it as `box`.
fn host_that(config: &str) -> Result<(Host, Work), Reason> {
    let host = Host::with(&Options { config: config.to_owned(), ..Options::default() })?;
    let work = Work::new();
    work.write(PROJECT);
    add_remote(&work, "box", &host, host.port());
    Ok((host, work))
}

fn says(ran: &Ran, code: i32, texts: &[&str]) {
    // Long lines are wrapped for people.
    let said = format!("{} {}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(ran.code, code, "{said}");
    for text in texts {
        assert!(said.contains(text), "{text}: {said}");
    }
}

#[test]
fn what_a_machine_forbids_is_said_by_the_test_and_by_the_doctor() {
    let config = "AllowTcpForwarding no\nPermitTTY no";
    let (_host, work) = or_skip!("what_a_machine_forbids_is_said_by_the_test_and_by_the_doctor", host_that(config));
    let limits = ["limit It passes on no connections", "limit It gives no terminals"];
    says(&run(&work, &["remote", "test"]), 0, &limits);
    says(&run(&work, &["doctor"]), 0, &["limit remote `box`", "It passes on no connections"]);
    // What still works does.
    says(&run(&work, &["sync", "push", "--yes"]), 0, &["Wrote "]);
}

#[test]
fn an_account_for_files_alone_is_told_as_that_and_synced_over_sftp() {
    let config = "ForceCommand internal-sftp";
    let (host, work) = or_skip!("an_account_for_files_alone_is_told_as_that_and_synced_over_sftp", host_that(config));
    let limit = "limit It runs no commands for `root` (it said `This service allows sftp connections only.`)";
    says(&run(&work, &["remote", "test"]), 0, &[limit, "SFTP works"]);
    // Its home is that of the account, not the one which the host's commands are given.
    let copy = host.home().join("copy");
    let told = "No agent is used on `box`, because its account runs no commands.";
    says(&run(&work, &["sync", "push", "--yes", "--to", &copy.display().to_string()]), 0, &["Wrote ", told]);
    assert_eq!(fs::read_to_string(copy.join("app.py")).expect("it arrived"), "print('hello')\n");
    says(&run(&work, &["agent", "status"]), 0, &["the remote's shell does not run commands"]);
}

#[test]
fn a_project_is_synced_through_jumps_and_through_a_command() {
    let [bastion, inner] = [(); 2].map(|()| Host::start());
    let bastion = or_skip!("a_project_is_synced_through_jumps_and_through_a_command", bastion);
    let inner = or_skip!("a_project_is_synced_through_jumps_and_through_a_command", inner);
    let work = Work::new();
    work.write(PROJECT);
    let folder = work.home().join(".ssh");
    fs::create_dir_all(&folder).expect("our own folder");
    let known = bastion.known_hosts(bastion.port()) + &inner.known_hosts(inner.port());
    fs::write(folder.join("known_hosts"), known).expect("our own folder");
    let config = format!(
        "Host bastion\n  HostName 127.0.0.1\n  Port {bastion_port}\n  User {user}\n  IdentityFile {bastion_key}\n\
         Host inner by-command\n  HostName 127.0.0.1\n  Port {inner_port}\n  User {user}\n  IdentityFile {inner_key}\n\
         Host inner\n  ProxyJump bastion\n\
         Host by-command\n  ProxyCommand ssh -F {config} -o UserKnownHostsFile={known} -W %h:%p bastion\n",
        bastion_port = bastion.port(),
        inner_port = inner.port(),
        user = Host::user(),
        bastion_key = bastion.key().display(),
        inner_key = inner.key().display(),
        config = folder.join("config").display(),
        known = folder.join("known_hosts").display(),
    );
    fs::write(folder.join("config"), config).expect("our own folder");
    for name in ["inner", "by-command"] {
        says(&run(&work, &["remote", "add", name, "--host", name]), 0, &[]);
        says(&run(&work, &["remote", "test", name]), 0, &[]);
        let arguments = ["sync", "push", "--yes", "--remote", name, "--to", &format!("~/{name}")];
        says(&run(&work, &arguments), 0, &["Wrote "]);
        let there = fs::read_to_string(inner.home().join(name).join("app.py")).expect("it arrived");
        assert_eq!(there, "print('hello')\n");
    }
    assert!(bastion.log().contains("Accepted publickey"), "{}", bastion.log());
    bastion.stop();
    let lost = run(&work, &["remote", "test", "inner"]);
    says(&lost, 4, &["cannot pass the jump host `bastion` on the way to `inner`"]);
}
