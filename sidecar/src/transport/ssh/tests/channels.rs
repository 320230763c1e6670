//! Commands and their streams.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::frontend::TerminalSize;
use crate::transport::ssh::SlowReader;
use crate::transport::{Control, Pty};

/// More than a connection's window and than what any buffer on the way holds.
const LARGE: usize = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_run_commands_alike() {
    let embedded = Embedded::start().await;
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let real = reach(sshd.address, &home.accepting()).await.expect("sshd lets the key in");
    for ssh in [embedded.reach().await, real] {
        let said = run(&ssh, "echo out; echo err >&2; exit 7").await;
        assert_eq!(said, Said { out: "out\n".into(), err: "err\n".into(), exit: Exit::Status(7) });
        // The status comes when the shell ends, the data of what it left behind after that.
        let said = run(&ssh, "(sleep 0.3; echo late) & exit 3").await;
        assert_eq!((said.out.as_str(), said.exit), ("late\n", Exit::Status(3)));
        let said = run(&ssh, "kill -TERM $$").await;
        assert_eq!(said.exit, Exit::Signal("TERM".into()));
        let mut process = ssh.exec("wc -c", None).await.expect("it runs");
        process.stdin.write_all(&vec![b'x'; 3_000_000]).await.expect("it is read");
        assert_eq!(finish(process).await.out.trim(), "3000000");
        assert!(ssh.round_trip().await.expect("it is alive") < Duration::from_secs(5));
        assert!(ssh.about().cipher.contains("aes128-gcm"), "{:?}", ssh.about());
        assert!(!ssh.about().interactive && ssh.about().host_key.starts_with("SHA256:"));
        ssh.close().await;
        ssh.closed().await;
        assert!(matches!(ssh.exec("true", None).await, Err(TransportError::Lost { .. })));
    }
    embedded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_a_size_that_changes() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let ssh = reach(sshd.address, &home.accepting()).await.expect("it is let in");
    let pty = Pty { term: "xterm-256color".to_owned(), size: TerminalSize { columns: 80, rows: 24 } };
    let command = "sh -c 'echo $TERM; stty size; read line; stty size; sleep 100'";
    let mut process = ssh.exec(command, Some(&pty)).await.expect("it runs");
    let mut seen = String::new();
    read_until(&mut process, &mut seen, "24 80").await;
    let resize = Control::Resize(TerminalSize { columns: 132, rows: 43 });
    process.control.send(resize).await.expect("it runs");
    process.stdin.write_all(b"go\n").await.expect("it reads");
    read_until(&mut process, &mut seen, "43 132").await;
    assert!(seen.contains("xterm-256color"), "{seen:?}");
    process.stdin.write_all(b"\x03").await.expect("it reads");
    let exit = process.exit.await.expect("it ends");
    assert!(matches!(&exit, Exit::Status(130)) || exit == Exit::Signal("INT".to_owned()), "{exit:?}");
    // The embedded server has none to give, and says so.
    let embedded = Embedded::start().await;
    let refused = embedded.reach().await.exec("true", Some(&pty)).await.expect_err("it has no terminals");
    assert!(matches!(&refused, TransportError::Forbidden { what, .. } if what == "to use a terminal"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_the_command() {
    // OpenSSH delivers none to commands of root, so this is the embedded server's alone.
    let embedded = Embedded::start().await;
    let ssh = embedded.reach().await;
    let mut process =
        ssh.exec("trap 'echo hup' HUP; echo on; while :; do sleep 0.05; done", None).await.expect("it runs");
    let mut seen = String::new();
    read_until(&mut process, &mut seen, "on").await;
    process.control.send(Control::Signal("HUP".to_owned())).await.expect("it runs");
    read_until(&mut process, &mut seen, "hup").await;
    process.control.send(Control::Signal("TERM".to_owned())).await.expect("it runs");
    assert_eq!(process.exit.await.expect("it ends"), Exit::Signal("TERM".to_owned()));
}

async fn read_until(process: &mut Process, seen: &mut String, wanted: &str) {
    let mut chunk = [0; 1024];
    while !seen.contains(wanted) {
        let length = process.stdout.read(&mut chunk).await.expect("it is alive");
        assert!(length > 0, "the end came before {wanted:?}: {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_channel_leaks() {
    let home = Home::with_key();
    // Three sessions at a time: a leaked one would soon be missed.
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "MaxSessions 3");
    let ssh = reach(sshd.address, &home.accepting()).await.expect("it is let in");
    for index in 0..50 {
        match index % 3 {
            0 => assert_eq!(finish(until_open(&ssh, "echo x").await).await.out, "x\n"),
            1 => drop(until_open(&ssh, "cat /dev/zero").await),
            // Only its exit is kept, which keeps the channel.
            _ => assert_eq!(
                until_open(&ssh, "head -c 3000000 /dev/zero").await.exit.await.expect("it ends"),
                Exit::Status(0)
            ),
        }
    }
    let _held = [until_open(&ssh, "cat").await, until_open(&ssh, "cat").await, until_open(&ssh, "cat").await];
    let fourth = ssh.exec("cat", None).await.expect_err("three are open");
    assert!(matches!(fourth, TransportError::Sessions { .. }), "{fourth:?}");
}

/// Starts a command; a session that was just given up may take a moment to be free again.
async fn until_open(ssh: &Ssh, command: &str) -> Process {
    let opening = async {
        loop {
            match ssh.exec(command, None).await {
                Ok(process) => return process,
                Err(TransportError::Sessions { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opening).await.expect("a session is free again")
}

#[tokio::test(flavor = "multi_thread")]
async fn large_streams_arrive_whole_both_ways() {
    let embedded = Embedded::start().await;
    let home = Home::with_key();
    // Keys are exchanged again in the midst of it.
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "RekeyLimit 16M");
    let bulk = Options { purpose: Purpose::Bulk, slow_reader: SlowReader::StopReading, ..home.accepting() };
    let real = reach(sshd.address, &bulk).await.expect("it is let in");
    for ssh in [embedded.reach().await, real] {
        let Process { mut stdin, mut stdout, stderr: _stderr, control: _control, exit } =
            ssh.exec("cat", None).await.expect("it runs");
        let up = async {
            let mut noise = blake3::Hasher::new().finalize_xof();
            let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; 256 * 1024]);
            for _ in 0..LARGE / chunk.len() {
                noise.fill(&mut chunk);
                hasher.update(&chunk);
                stdin.write_all(&chunk).await.expect("it is read");
            }
            stdin.shutdown().await.expect("it is read");
            hasher.finalize()
        };
        let down = async {
            let (mut hasher, mut chunk, mut length) = (blake3::Hasher::new(), vec![0; 256 * 1024], 0);
            loop {
                let got = stdout.read(&mut chunk).await.expect("it comes whole");
                if got == 0 {
                    return (hasher.finalize(), length);
                }
                hasher.update(&chunk[..got]);
                length += got;
            }
        };
        let (sent, (received, length)) = tokio::join!(up, down);
        assert_eq!((received, length), (sent, LARGE));
        assert_eq!(exit.await.expect("it ends"), Exit::Status(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_harms_only_itself() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let ssh = reach(sshd.address, &home.accepting()).await.expect("it is let in");
    let unread = ssh.exec("cat /dev/zero", None).await.expect("it runs");
    assert_eq!(run(&ssh, "echo still here").await.out, "still here\n");
    let error = unread.exit.await.expect_err("it is ended");
    assert!(matches!(error, TransportError::SlowReader { mebibytes: 64, .. }), "{error:?}");
    assert_eq!(run(&ssh, "echo and here").await.out, "and here\n");

    // On a connection of its own it is held back instead, and nothing is lost.
    let own = Options { slow_reader: SlowReader::StopReading, ..home.accepting() };
    let ssh = reach(sshd.address, &own).await.expect("it is let in");
    let mut patient = ssh.exec(&format!("head -c {} /dev/zero", 2 * SlowReader::CAP), None).await.expect("it runs");
    let early = tokio::time::timeout(Duration::from_millis(300), &mut patient.exit).await;
    assert!(early.is_err(), "it ended with {early:?} although most of it was not read");
    let mut bytes = Vec::new();
    patient.stdout.read_to_end(&mut bytes).await.expect("it comes whole");
    assert_eq!(bytes.len(), 2 * SlowReader::CAP);
    assert_eq!(patient.exit.await.expect("it ends"), Exit::Status(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forbids_says_what() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "PermitTTY no\nMaxSessions 0");
    let ssh = reach(sshd.address, &home.accepting()).await.expect("it is let in");
    let error = ssh.exec("true", None).await.expect_err("it allows no session");
    assert_eq!(protocol::error::Explain::code(&error), protocol::error::Code::SshForbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_process_ends_it_on_the_embedded_server() {
    let embedded = Embedded::start().await;
    let ssh = embedded.reach().await;
    let mut process = ssh.exec("echo $$; exec sleep 1000", None).await.expect("it runs");
    let mut seen = String::new();
    read_until(&mut process, &mut seen, "\n").await;
    let folder = Path::new("/proc").join(seen.trim());
    assert!(folder.exists());
    drop(process);
    let gone = async {
        while folder.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it is killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_outlives_the_handle_it_came_from() {
    let embedded = Embedded::start().await;
    let ssh = embedded.reach().await;
    let mut process = ssh.exec("cat", None).await.expect("it runs");
    drop(ssh);
    process.stdin.write_all(b"still here").await.expect("it reads");
    assert_eq!(finish(process).await, Said { out: "still here".into(), err: String::new(), exit: Exit::Status(0) });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_embedded_server_starts_knows_only_its_home() {
    let embedded = Embedded::start().await;
    let said = run(&embedded.reach().await, "pwd; echo $HOME; env | cut -d= -f1 | sort | tr '\\n' ' '").await;
    let home = embedded.there.path().canonicalize().expect("it is there").display().to_string();
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines[..2], [home.as_str(), home.as_str()], "{said:?}");
    assert_eq!(lines[2].trim(), "HOME LOGNAME PATH PWD SHELL USER", "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_detaches_itself_stays_as_with_openssh() {
    let embedded = Embedded::start().await;
    let ssh = embedded.reach().await;
    let said = run(&ssh, "setsid sleep 1000 <&- >&- 2>&- & echo $!").await;
    embedded.server.stop().await;
    let detached = said.out.trim();
    let folder = Path::new("/proc").join(detached);
    assert!(folder.exists(), "{said:?}");
    assert!(Command::new("kill").arg(detached).status().expect("kill is installed").success());
}
