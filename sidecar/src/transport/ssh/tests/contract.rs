//! What every transport does, said once against the trait alone and asked of each server there is. What only
//! one of them can do is in the files beside this one.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::path::RemotePath;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::transport::Transport;

/// More than the channel's window.
const LARGE: usize = 5_000_000;
/// Longest time that anything here may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

async fn says(transport: &dyn Transport, command: &str) -> Said {
    finish(transport.exec(command, None).await.expect("it runs commands")).await
}

async fn commands_have_streams_and_an_end(transport: &dyn Transport) {
    let said = says(transport, "echo out; echo err >&2; exit 7").await;
    assert_eq!(said, Said { out: "out\n".into(), err: "err\n".into(), exit: Exit::Status(7) });
    assert_eq!(says(transport, "kill -KILL $$").await.exit, Exit::Signal("KILL".into()));
    assert_eq!(says(transport, "no-such-program-anywhere 2>&-").await.exit, Exit::Status(127));
    let said = says(transport, &format!("head -c {LARGE} /dev/zero | tr '\\0' x")).await;
    assert_eq!((said.out.len(), said.exit), (LARGE, Exit::Status(0)));
}

async fn the_end_of_input_is_heard_and_answered(transport: &dyn Transport) {
    let mut process = transport.exec("cat; echo end", None).await.expect("it runs commands");
    process.stdin.write_all(b"some words, ").await.expect("it is read");
    let mut first = [0; 12];
    process.stdout.read_exact(&mut first).await.expect("it answers while its input is open");
    assert_eq!(&first, b"some words, ");
    process.stdin.write_all(b"and more ").await.expect("it is read");
    process.stdin.shutdown().await.expect("it is told");
    assert_eq!(finish(process).await, Said { out: "and more end\n".into(), err: String::new(), exit: Exit::Status(0) });
}

async fn commands_run_side_by_side(transport: &dyn Transport) {
    let waiting = transport.exec("read line; echo got $line", None).await.expect("it runs commands");
    assert_eq!(says(transport, "echo meanwhile").await.out, "meanwhile\n");
    let Process { mut stdin, .. } = transport.exec("sleep 1000", None).await.expect("it runs commands");
    stdin.write_all(b"unread").await.expect("it is held");
    let Process { stdin: mut words, stdout, stderr, control, exit } = waiting;
    words.write_all(b"it\n").await.expect("it is read");
    let process = Process { stdin: words, stdout, stderr, control, exit };
    assert_eq!(finish(process).await.out, "got it\n");
}

async fn files_arrive_whole_or_not_at_all(transport: &dyn Transport, folder: &Path) {
    let local = tempfile::tempdir().expect("a folder");
    let from = local.path().join("from");
    let at = |name: &str| RemotePath::new(folder.join(name).to_string_lossy().into_owned()).expect("a plain path");
    let there = folder.join("made/new");
    for (text, mode) in [("x".repeat(LARGE), 0o755), ("short".to_owned(), 0o600), (String::new(), 0o700)] {
        std::fs::write(&from, &text).expect("a fresh folder");
        let last = AtomicU64::new(u64::MAX);
        let sent = |bytes| last.store(bytes, Ordering::Relaxed);
        transport.upload(&from, &at("made/new/file"), mode, &sent).await.expect("it can be written there");
        assert!(std::fs::read_to_string(there.join("file")).expect("it arrived") == text);
        let mode_there = std::fs::metadata(there.join("file")).expect("it arrived").permissions().mode();
        assert_eq!(mode_there & 0o777, mode);
        assert!(text.is_empty() || last.load(Ordering::Relaxed) == text.len() as u64);
    }
    let missing = transport.upload(&local.path().join("none"), &at("made/new/none"), 0o600, &|_| {}).await;
    assert!(matches!(missing, Err(TransportError::LocalFile { .. })), "{missing:?}");
    std::fs::write(&from, "new").expect("a fresh folder");
    let below = transport.upload(&from, &at("made/new/file/below"), 0o600, &|_| {}).await;
    assert!(matches!(below, Err(TransportError::RemoteFile { .. })), "{below:?}");
    let names: Vec<_> =
        std::fs::read_dir(&there).expect("it was made").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["file"], "nothing temporary stays");
}

async fn a_closed_one_is_dead(transport: &dyn Transport) {
    let running = transport.exec("sleep 1000", None).await.expect("it runs commands");
    assert!(transport.round_trip().await.expect("it is alive") < SOON);
    transport.close().await;
    transport.closed().await;
    assert!(matches!(running.exit.await, Err(TransportError::Lost { .. })), "its commands end with it");
    assert!(matches!(transport.exec("true", None).await, Err(TransportError::Lost { .. })));
    assert!(transport.round_trip().await.is_err());
}

async fn keeps_the_contract(transport: &dyn Transport, folder: &Path) {
    let all = async {
        assert!(transport.about().host_key.starts_with("SHA256:"), "{:?}", transport.about());
        commands_have_streams_and_an_end(transport).await;
        the_end_of_input_is_heard_and_answered(transport).await;
        commands_run_side_by_side(transport).await;
        files_arrive_whole_or_not_at_all(transport, folder).await;
        a_closed_one_is_dead(transport).await;
    };
    tokio::time::timeout(SOON, all).await.expect("it answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_keeps_the_contract() {
    let embedded = Embedded::start().await;
    let folder = embedded.there.path().canonicalize().expect("it is there");
    keeps_the_contract(&embedded.reach().await, &folder).await;
    embedded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_keeps_the_contract() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let ssh = reach(sshd.address, &home.accepting()).await.expect("sshd lets the key in");
    let folder = tempfile::tempdir().expect("a folder");
    keeps_the_contract(&ssh, folder.path()).await;
}
