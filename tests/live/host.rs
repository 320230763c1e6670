//! The harness' OpenSSH server does what the other tests rely on: a home of its own, real SFTP, a link
//! that can be cut, frozen and counted.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::host::{Host, Options};
use harness::or_skip;
use harness::process::wait_until;
use harness::proxy::{Fault, Proxy, Way};

/// How long a small thing may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn run(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().expect("ssh starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn a_command_runs_in_a_home_of_its_own() {
    let host = or_skip!("a_command_runs_in_a_home_of_its_own", Host::start());
    let (text, status) = run(&mut host.ssh("pwd; echo $HOME; exit 7"));
    let home = host.home().display().to_string();
    assert_eq!(text, format!("{home}\n{home}\n"), "{}", host.log());
    assert_eq!(status, Some(7));
}

#[test]
fn sftp_starts_in_the_same_home_and_is_not_chattered_at() {
    let options = Options { chatter: "Welcome to this machine!\n".into(), ..Options::default() };
    let host = or_skip!("sftp_starts_in_the_same_home_and_is_not_chattered_at", Host::with(&options));
    let (text, _) = run(&mut host.ssh("echo done"));
    assert_eq!(text, "Welcome to this machine!\ndone\n");
    let mut sftp = Command::new("sftp")
        .arg("-F")
        .arg(host.client_config(host.port()))
        .args(["-b", "-", "bench"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sftp starts");
    let batch = format!("put {} copied\n", host.key().with_extension("pub").display());
    sftp.stdin.take().expect("a pipe").write_all(batch.as_bytes()).expect("sftp reads");
    let output = sftp.wait_with_output().expect("our own child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(fs::read_to_string(host.home().join("copied")).expect("the copy").starts_with("ssh-ed25519 "));
}

#[test]
fn the_host_is_cut_stopped_and_started_again() {
    let host = or_skip!("the_host_is_cut_stopped_and_started_again", Host::start());
    let sleep = || host.ssh("echo on; exec sleep 1000").stdout(Stdio::piped()).spawn().expect("ssh starts");
    let mut session = sleep();
    wait_until("a connection", SOON, || host.connections() == 1);
    host.cut();
    assert_eq!(session.wait().expect("our own child").code(), Some(255));
    assert_eq!(run(&mut host.ssh("echo back")).0, "back\n");
    host.stop();
    assert_eq!(run(&mut host.ssh("echo no")).1, Some(255));
    host.restart();
    assert_eq!(run(&mut host.ssh("echo again")).0, "again\n");
}

#[test]
fn changed_host_keys_are_refused_by_whoever_knew_the_old() {
    let host = or_skip!("changed_host_keys_are_refused_by_whoever_knew_the_old", Host::start());
    let mut knows_the_old = host.ssh("echo in");
    host.change_host_keys();
    host.restart();
    assert_eq!(run(&mut knows_the_old).1, Some(255));
    assert_eq!(run(&mut host.ssh("echo in")).0, "in\n");
}

#[test]
fn a_frozen_host_says_nothing_until_it_is_thawed() {
    let host = or_skip!("a_frozen_host_says_nothing_until_it_is_thawed", Host::start());
    host.pause();
    let mut ssh = host.ssh("echo thawed").stdout(Stdio::piped()).spawn().expect("ssh starts");
    assert_eq!(ssh.try_wait().expect("our own child"), None);
    host.resume();
    let output = ssh.wait_with_output().expect("our own child");
    assert_eq!(output.stdout, b"thawed\n");
}

#[test]
fn the_wire_counts_and_cuts_a_real_connection() {
    let host = or_skip!("the_wire_counts_and_cuts_a_real_connection", Host::start());
    let proxy = Proxy::start(host.port());
    let ssh = |command: &str| {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(host.client_config(proxy.port())).args(["bench", command]).stdin(Stdio::null());
        run(&mut ssh)
    };
    let (text, status) = ssh("head -c 1000000 /dev/zero | tr '\\0' x");
    assert_eq!((text.len(), status), (1_000_000, Some(0)));
    assert!((1_000_000..1_200_000).contains(&proxy.bytes(Way::Down)), "{}", proxy.bytes(Way::Down));
    proxy.after(Way::Down, 100_000, Fault::Cut);
    let (text, status) = ssh("head -c 1000000 /dev/zero");
    assert!(text.len() < 100_000, "{}", text.len());
    assert_eq!(status, Some(255));
}
