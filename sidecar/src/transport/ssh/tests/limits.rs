//! Servers that forbid things: found out at once and told as what it is.

use std::os::unix::net::UnixListener;

use protocol::error::{Code, Explain as _};

use super::*;
use crate::transport::Limit;

async fn limits(home: &Home, more: &str) -> Vec<Limit> {
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], more);
    let ssh = visit(&home.trusting(sshd.address), home).await.expect("it is let in");
    ssh.limits().await.expect("the connection lives")
}

fn no_commands(reason: &str, sftp: bool) -> Limit {
    Limit::NoCommands { user: "root".to_owned(), reason: reason.to_owned(), sftp }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_that_is_forbidden_is_found() {
    let home = Home::with_key();
    // A socket as our agent has one, which somebody listens on.
    let folder = home.path().join(".mltoolbox");
    std::fs::create_dir(&folder).expect("a fresh folder");
    let _listener = UnixListener::bind(folder.join("socket")).expect("a fresh folder");
    assert_eq!(limits(&home, "").await, []);
    // OpenSSH's channel layer forbids sockets with the ports.
    assert_eq!(limits(&home, "AllowTcpForwarding no").await, [Limit::NoForwarding, Limit::NoSockets]);
    assert_eq!(limits(&home, "AllowStreamLocalForwarding no").await, [Limit::NoSockets]);
    assert_eq!(limits(&home, "PermitTTY no").await, [Limit::NoTerminal]);
    assert_eq!(limits(&home, "#Subsystem").await, [Limit::NoSftp]);
    assert_eq!(limits(&home, "Subsystem sftp /nowhere/at/all").await, [Limit::NoSftp]);
    let all = "DisableForwarding yes\nPermitTTY no\n#Subsystem";
    assert_eq!(limits(&home, all).await, [Limit::NoForwarding, Limit::NoSockets, Limit::NoTerminal, Limit::NoSftp]);
    assert_eq!(limits(&home, "MaxSessions 1").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_commands_is_told_as_that() {
    let home = Home::with_key();
    for (more, reason, sftp) in [
        ("ForceCommand internal-sftp", "it said `This service allows sftp connections only.`", true),
        (
            "ForceCommand echo This account is currently not available.; exit 1",
            "it said `This account is currently not available.`",
            false,
        ),
        ("ForceCommand exit 1", "another program took its place, with status 1", false),
        ("MaxSessions 0", "it opens no session", false),
    ] {
        let found = limits(&home, more).await;
        assert_eq!(found, [no_commands(reason, sftp)], "{more}");
        let error = TransportError::of_limits("gpu1", &found).expect("nothing can be done");
        assert_eq!((error.code(), error.is_transient()), (Code::SshForbidden, false));
        assert!(error.help().contains("ForceCommand"), "{}", error.help());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_says_what_it_does_not_have() {
    let embedded = Embedded::start().await;
    let mut limits = embedded.reach().await.limits().await.expect("the connection lives");
    // That it passes on no sockets shows where somebody listens on one.
    limits.retain(|limit| *limit != Limit::NoSockets);
    assert_eq!(limits, [Limit::NoForwarding, Limit::NoTerminal]);
}
