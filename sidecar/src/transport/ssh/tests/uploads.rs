//! Files put on the other machine.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::path::RemotePath;

use super::*;

fn path(text: impl Into<String>) -> RemotePath {
    RemotePath::new(text).expect("a plain path")
}

/// Deterministic bytes that no compression and no zero page can fake.
fn noise(length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"noise");
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

async fn upload(ssh: &Ssh, folder: &Path, relative: &str) {
    let local = tempfile::tempdir().expect("a folder");
    let from = local.path().join("from");
    for content in [noise(5_000_000), b"second".to_vec(), Vec::new()] {
        std::fs::write(&from, &content).expect("it can be written");
        let last = AtomicU64::new(0);
        let sent = |bytes| last.store(bytes, Ordering::Relaxed);
        ssh.upload(&from, &path(relative), 0o750, &sent).await.expect("it can be written there");
        assert_eq!(last.load(Ordering::Relaxed), content.len() as u64);
        let there = folder.join("made/new/bin");
        assert!(std::fs::read(&there).expect("it arrived") == content);
        assert_eq!(std::fs::metadata(&there).expect("it arrived").permissions().mode() & 0o777, 0o750);
        let names: Vec<_> = std::fs::read_dir(folder.join("made/new")).expect("it is there").collect();
        assert_eq!(names.len(), 1, "nothing temporary stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_takes_files() {
    let embedded = Embedded::start().await;
    upload(&embedded.reach().await, embedded.there.path(), "~/made/new/bin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_takes_files_by_sftp_and_by_shell() {
    let home = Home::with_key();
    for more in ["", "#Subsystem", "Subsystem sftp /nowhere/at/all"] {
        let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], more);
        let ssh = reach(sshd.address, &home.accepting()).await.expect("sshd lets the key in");
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("made/new/bin");
        upload(&ssh, folder.path(), to.to_str().expect("it is text")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_and_leaves_nothing() {
    let embedded = Embedded::start().await;
    let home = Home::with_key();
    let ssh = embedded.reach().await;
    let from = home.key("id_ed25519.pub");
    let missing = ssh.upload(Path::new("/no/such/file"), &path("x"), 0o600, &|_| {}).await.expect_err("no file");
    assert!(matches!(missing, TransportError::LocalFile { .. }), "{missing:?}");
    for outside in ["/etc/mltoolbox-test", "link/x"] {
        if !embedded.there.path().join("link").exists() {
            std::os::unix::fs::symlink("/tmp", embedded.there.path().join("link")).expect("a fresh folder");
        }
        let error = ssh.upload(&from, &path(outside), 0o600, &|_| {}).await.expect_err("it is outside");
        assert!(matches!(error, TransportError::RemoteFile { .. }), "{error:?}");
    }
    std::fs::write(embedded.there.path().join("file"), "not a folder").expect("a fresh folder");
    let below = ssh.upload(&from, &path("file/x"), 0o600, &|_| {}).await.expect_err("a file is no folder");
    assert!(matches!(below, TransportError::RemoteFile { .. }), "{below:?}");
    let mut names: Vec<_> = std::fs::read_dir(embedded.there.path())
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "link"]);
}
