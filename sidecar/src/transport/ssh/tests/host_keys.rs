//! Host keys: asked for, recorded, and refused when they change.

use std::os::unix::fs::PermissionsExt as _;

use protocol::error::{Code, Explain as _};
use russh::keys::{HashAlg, PublicKeyBase64 as _};

use super::*;
use crate::transport::ssh::known_hosts::recorded_name;

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn known_hosts(home: &Home, text: &str) {
    std::fs::write(home.key("known_hosts"), text).expect("it can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_asked_for_once() {
    let Embedded { server, home, there: _there } = &Embedded::start().await;
    let (remote, cancel) = (remote(server.address()), CancellationToken::new());
    let name = recorded_name(&remote.host, remote.port.expect("a port"));

    let nobody = Person::default();
    let error = connect(&remote, &home.options(), &nobody, &cancel).await.expect_err("nobody said yes");
    assert_eq!((error.code(), error.is_transient()), (Code::SshHostKeyUnknown, false));
    assert!(error.help().contains("--accept-new"), "{}", error.help());
    let expected = Question::HostKey {
        host: name.clone(),
        algorithm: "ssh-ed25519".to_owned(),
        fingerprint: fingerprint(server.host_key()),
    };
    assert_eq!(nobody.asked(), [expected]);

    let wary = Person::who_answers([Answer::No]);
    let error = connect(&remote, &home.options(), &wary, &cancel).await.expect_err("the person said no");
    assert!(matches!(error, TransportError::HostKeyDeclined { .. }), "{error:?}");
    assert!(!home.key("known_hosts").exists(), "what was not accepted is not recorded");

    let trusting = Person::who_answers([Answer::Yes]);
    connect(&remote, &home.options(), &trusting, &cancel).await.expect("the person said yes");
    let path = home.key("known_hosts");
    let line = std::fs::read_to_string(&path).expect("it was recorded");
    assert_eq!(line, format!("{name} ssh-ed25519 {}\n", server.host_key().public_key_base64()));
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);

    let silent = Person::default();
    connect(&remote, &home.options(), &silent, &cancel).await.expect("it is known now");
    assert_eq!(silent.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_new_accepts_the_new_and_nothing_else() {
    let Embedded { server, home, there: _there } = &Embedded::start().await;
    let remote = RemoteRow { accept_new: true, ..remote(server.address()) };
    let (person, cancel) = (Person::default(), CancellationToken::new());
    connect(&remote, &home.options(), &person, &cancel).await.expect("new is accepted");
    let name = recorded_name(&remote.host, remote.port.expect("a port"));
    let other = home.public("id_ed25519");
    known_hosts(home, &format!("# mine\n{name} ssh-ed25519 {}\n", other.public_key_base64()));
    for options in [home.options(), home.accepting()] {
        let error = connect(&remote, &options, &person, &cancel).await.expect_err("it changed");
        let TransportError::HostKeyChanged { line, fingerprint: offered, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*line, offered), (2, &fingerprint(server.host_key())));
        assert_eq!(error.code(), Code::SshHostKeyChanged);
        let command = format!("ssh-keygen -R '{name}' -f {}", home.key("known_hosts").display());
        assert!(error.help().contains(&command), "{}", error.help());
    }
    // What the help says does help.
    let removed = Command::new("ssh-keygen").args(["-R", &name, "-f"]).arg(home.key("known_hosts")).output();
    assert!(removed.expect("it is installed").status.success());
    connect(&remote, &home.options(), &person, &cancel).await.expect("it is new again");
    assert_eq!(person.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_wherever_it_is_known() {
    let Embedded { server, home, there: _there } = &Embedded::start().await;
    let key = server.host_key().public_key_base64();
    let name = recorded_name("127.0.0.1", server.address().port());
    known_hosts(home, &format!("{name} ssh-ed25519 {key}\n@revoked * ssh-ed25519 {key}\n"));
    let error = reach(server.address(), &home.accepting()).await.expect_err("it is revoked");
    assert_eq!((error.code(), error.is_transient()), (Code::SshHostKeyRevoked, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_kind_is_asked_for_and_hashed_names_are_found() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519", "ecdsa", "rsa"], "");
    let name = recorded_name("127.0.0.1", sshd.address.port());
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let key = sshd.host_key(kind);
        known_hosts(&home, &(crate::transport::ssh::known_hosts::entry(&name, &key, None) + "\n"));
        let hashed = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(home.key("known_hosts")).output();
        assert!(hashed.expect("it is installed").status.success());
        let ssh = reach(sshd.address, &home.options()).await.expect("it is known");
        assert_eq!(ssh.about().host_key, fingerprint(&key));
    }
    // A second host is recorded the way the file keeps its names.
    let other = Embedded::start().await;
    reach(other.server.address(), &Options { yes: true, ..home.options() }).await.expect_err("another key is let in");
    let text = std::fs::read_to_string(home.key("known_hosts")).expect("it is there");
    assert_eq!(text.lines().filter(|line| line.starts_with("|1|")).count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_named() {
    let Embedded { server, home, there: _there } = &Embedded::start().await;
    std::fs::create_dir(home.key("known_hosts")).expect("it is not there");
    let error = reach(server.address(), &home.accepting()).await.expect_err("a folder holds no lines");
    assert_eq!(error.code(), Code::SshKnownHosts);
    assert!(error.help().contains("known_hosts"), "{}", error.help());
}
