//! Certificates of hosts and of users; OpenSSH's own client says what each is worth.

use protocol::error::{Code, Explain as _};
use russh::keys::PublicKeyBase64 as _;

use super::agents::Agent;
use super::*;
use crate::transport::ssh::known_hosts::{SALT_LENGTH, entry, recorded_name};
use crate::transport::ssh_config::IdentityAgent;

fn keygen(arguments: &[&str], last: &Path) {
    let output =
        Command::new("ssh-keygen").arg("-q").args(arguments).arg(last).output().expect("ssh-keygen is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Starts a server whose host key `authority` certified with `arguments`.
fn certified(home: &Home, authority: &str, arguments: &[&str]) -> Sshd {
    let authority = home.key(authority);
    Sshd::prepared(
        &[&home.public("id_ed25519")],
        &["ed25519"],
        "HostCertificate $FOLDER/host_ed25519-cert.pub",
        |folder| {
            let sign = [&["-s", text(&authority), "-I", "host", "-h"], arguments].concat();
            keygen(&sign, &folder.join("host_ed25519.pub"));
        },
    )
}

/// Returns whether OpenSSH's client connects with the same known hosts.
fn openssh_connects(sshd: &Sshd, home: &Home, more: &[&str]) -> bool {
    let known = format!("UserKnownHostsFile={}", home.key("known_hosts").display());
    let port = sshd.address.port().to_string();
    let output = Command::new("ssh")
        .args(["-F", "none", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "BatchMode=yes", "-o", &known, "-i", text(&home.key("id_ed25519")), "-p", &port])
        .args(more)
        .args(["root@127.0.0.1", "true"])
        .env_remove("SSH_AUTH_SOCK")
        .output();
    output.expect("ssh is installed").status.success()
}

/// Connects to a server twice, with OpenSSH and with ours, and returns what ours said once both agree.
async fn both(sshd: &Sshd, home: &Home, known: &str, case: &str) -> Result<(), TransportError> {
    std::fs::write(home.key("known_hosts"), known).expect("a fresh folder");
    let host = Host { strict_host_key: StrictHostKey::Yes, ..home.host(sshd.address) };
    let ours = visit(&host, home).await.map(drop);
    assert_eq!(ours.is_ok(), openssh_connects(sshd, home, &[]), "{case}: {ours:?}");
    ours
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_vouches_for_the_hosts_of_its_line() {
    let home = Home::with_key();
    let [authority, other] = ["authority", "other"].map(|name| home.make_key(name, &["-t", "ed25519"], ""));
    let sshd = certified(&home, "authority", &["-n", "127.0.0.1", "-V", "-1d:+1d"]);
    let name = recorded_name("127.0.0.1", sshd.address.port());
    let key = |key: &PublicKey| format!("ssh-ed25519 {}", key.public_key_base64());
    let (ca, other) = (key(&authority), key(&other));
    let hashed = entry(&name, &authority, Some(&[7; SALT_LENGTH]));
    let host = key(&sshd.host_key("ed25519"));
    let mut verdicts = Vec::new();
    for (case, known, good) in [
        ("its name and port", format!("@cert-authority {name} {ca}\n"), true),
        ("its name alone", format!("@cert-authority 127.0.0.1 {ca}\n"), true),
        ("every name", format!("@cert-authority * {ca}\n"), true),
        ("a pattern", format!("@cert-authority gpu*,127.0.? {ca}\n"), false),
        ("another pattern", format!("@cert-authority gpu*,127.0.?.* {ca}\n"), true),
        ("all others", format!("@cert-authority *,!{name},!127.0.0.1 {ca}\n"), false),
        ("a hashed name", format!("@cert-authority {hashed}\n"), true),
        ("the second of two", format!("@cert-authority * {other}\n@cert-authority * {ca}\n"), true),
        ("another authority", format!("@cert-authority * {other}\n"), false),
        ("no mark", format!("{name} {ca}\n"), false),
        ("nobody", String::new(), false),
        ("another authority, and its plain key", format!("@cert-authority * {other}\n{name} {host}\n"), true),
        ("a revoked authority", format!("@cert-authority * {ca}\n@revoked * {ca}\n"), false),
        ("a revoked key", format!("@cert-authority * {ca}\n@revoked {name} {host}\n"), false),
        ("a revocation for others", format!("@cert-authority * {ca}\n@revoked elsewhere {ca}\n"), true),
        ("another plain key beside it", format!("{name} {other}\n@cert-authority * {ca}\n"), true),
    ] {
        let ours = both(&sshd, &home, &known, case).await;
        assert_eq!(ours.is_ok(), good, "{case}: {ours:?}");
        verdicts.push((case, ours.err().map(|error| error.code())));
    }
    let code = |case: &str| verdicts.iter().find(|(name, _)| *name == case).and_then(|(_, code)| *code);
    assert_eq!(code("a revoked authority"), Some(Code::SshHostKeyRevoked));
    assert_eq!(code("a revoked key"), Some(Code::SshHostKeyRevoked));
    assert_eq!(code("nobody"), Some(Code::SshHostKeyUnknown));
    assert_eq!(code("no mark"), Some(Code::SshHostKeyChanged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_certificate_has_to_hold() {
    let home = Home::with_key();
    for (name, kind) in [("ed", "ed25519"), ("rsa", "rsa"), ("ec", "ecdsa")] {
        home.make_key(name, &["-t", kind], "");
    }
    for (case, authority, arguments, flaw) in [
        ("for every name", "ed", &[] as &[&str], None),
        ("for ever", "ed", &["-V", "always:forever"], None),
        ("for one of several names", "ed", &["-n", "gpu1,127.0.0.1"], None),
        ("for a pattern of names", "ed", &["-n", "127.0.*"], Some("it is made for `127.0.*`")),
        ("signed by RSA", "rsa", &["-n", "127.0.0.1"], None),
        ("signed by ECDSA", "ec", &["-n", "127.0.0.1"], None),
        ("signed by RSA and SHA-1", "rsa", &["-n", "127.0.0.1", "-t", "ssh-rsa"], Some("can be forged")),
        ("for another name", "ed", &["-n", "gpu1,gpu2"], Some("it is made for `gpu1`, `gpu2`")),
        ("for a name with a port", "ed", &["-n", "[127.0.0.1]:22"], Some("it is made for")),
        ("expired", "ed", &["-V", "-2d:-1d"], Some("it expired")),
        ("not yet valid", "ed", &["-V", "+1d:+2d"], Some("it is not valid yet")),
        ("with a demand", "ed", &["-O", "critical:verify-moon-phase=full"], Some("`verify-moon-phase`")),
    ] {
        let sshd = certified(&home, authority, arguments);
        let ca = entry("*", &home.public(authority), None);
        let ours = both(&sshd, &home, &format!("@cert-authority {ca}\n"), case).await;
        match (&ours, flaw) {
            (Ok(()), None) => {}
            (Err(TransportError::HostCertificate { why, .. }), Some(flaw)) => {
                assert!(why.contains(flaw), "{case}: {why}");
            }
            _ => panic!("{case}: {ours:?}"),
        }
        // Without one that holds, the plain key decides, as with OpenSSH.
        let plain = entry(&recorded_name("127.0.0.1", sshd.address.port()), &sshd.host_key("ed25519"), None);
        both(&sshd, &home, &format!("@cert-authority {ca}\n{plain}\n"), case).await.expect("its plain key is known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_on_the_plain_key_of_a_certificate_that_does_not_hold() {
    let home = Home::with_key();
    let authority = home.make_key("authority", &["-t", "ed25519"], "");
    let sshd = certified(&home, "authority", &["-V", "-2d:-1d"]);
    let known = format!("@cert-authority {}\n", entry("*", &authority, None));
    std::fs::write(home.key("known_hosts"), known).expect("a fresh folder");
    let host = home.host(sshd.address);
    let error = visit(&host, &home).await.expect_err("nobody is there");
    assert!(matches!(&error, TransportError::HostCertificate { why, .. } if why == "it expired"), "{error:?}");
    assert_eq!((error.code(), error.is_transient()), (Code::SshHostKeyUnknown, false));
    let person = Person::who_answers([Answer::Yes]);
    let cancel = CancellationToken::new();
    super::super::connect(&host, &home.options(), &person, &cancel).await.expect("the person said yes");
    assert!(person.told().iter().any(|line| line.contains("it expired")), "{:?}", person.told());
    visit(&host, &home).await.expect("the plain key is recorded now");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_names_the_host_to_files_and_authorities() {
    let home = Home::with_key();
    let authority = home.make_key("authority", &["-t", "ed25519"], "");
    let sshd = certified(&home, "authority", &["-n", "vault"]);
    let known = format!("@cert-authority {}\n", entry("vault", &authority, None));
    std::fs::write(home.key("known_hosts"), known).expect("a fresh folder");
    let host = Host { strict_host_key: StrictHostKey::Yes, ..home.host(sshd.address) };
    visit(&host, &home).await.expect_err("the authority vouches for another name");
    visit(&Host { host_key_alias: Some("vault".to_owned()), ..host }, &home).await.expect("it vouches for the alias");
    assert!(openssh_connects(&sshd, &home, &["-o", "HostKeyAlias=vault"]) && !openssh_connects(&sshd, &home, &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_revoked_keys_counts_in_both_its_forms() {
    let home = Home::with_key();
    let authority = home.make_key("authority", &["-t", "ed25519"], "");
    let sshd = certified(&home, "authority", &["-n", "127.0.0.1"]);
    let known = format!("@cert-authority {}\n", entry("*", &authority, None));
    std::fs::write(home.key("known_hosts"), known).expect("a fresh folder");
    let [plain, binary, empty] = ["revoked", "revoked.krl", "empty.krl"].map(|name| home.key(name));
    let line = sshd.host_key("ed25519").to_openssh().expect("it is a key");
    std::fs::write(&plain, format!("# stolen\n{line}\n")).expect("a fresh folder");
    keygen(&["-k", "-f", text(&binary)], &home.key("authority.pub"));
    keygen(&["-k", "-f", text(&empty)], &home.key("id_ed25519.pub"));
    for (list, good) in [(&plain, false), (&binary, false), (&empty, true), (&home.key("missing"), false)] {
        let host = Host { revoked_host_keys: vec![list.clone()], ..home.host(sshd.address) };
        let ours = visit(&host, &home).await;
        assert_eq!(ours.is_ok(), good, "{}: {ours:?}", list.display());
        let theirs = openssh_connects(&sshd, &home, &["-o", &format!("RevokedHostKeys={}", list.display())]);
        assert_eq!(theirs, good, "{}", list.display());
    }
}

/// Starts a server that lets in whom `authority` certifies for `root`.
fn trusting_authority(authority: &PublicKey) -> Sshd {
    let line = authority.to_openssh().expect("it is a key");
    Sshd::prepared(&[], &["ed25519"], "TrustedUserCAKeys $FOLDER/authority.pub", |folder| {
        std::fs::write(folder.join("authority.pub"), line + "\n").expect("a fresh folder");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_certificate_lets_in() {
    let home = Home::new();
    let authority = home.make_key("authority", &["-t", "ed25519"], "");
    let sshd = trusting_authority(&authority);
    let sign = |key: &str, principal: &str| {
        let arguments = ["-s", text(&home.key("authority")), "-I", "user", "-n", principal].map(str::to_owned);
        keygen(&arguments.each_ref().map(String::as_str), &home.key(key).with_extension("pub"));
    };
    for (name, kind) in [("id_ed25519", "ed25519"), ("id_rsa", "rsa"), ("id_ecdsa", "ecdsa")] {
        home.make_key(name, &["-t", kind], "");
        let host = Host { identity_files: vec![home.key(name)], ..home.trusting(sshd.address) };
        visit(&host, &home).await.expect_err("the plain key is not known");
        sign(name, "somebody-else");
        visit(&host, &home).await.expect_err("the certificate is for another user");
        sign(name, "root");
        let ssh = visit(&host, &home).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let expected = format!("key `{}` with its certificate", home.key(name).display());
        assert_eq!(ssh.about().authentication, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_certificate_may_be_elsewhere_or_with_the_agent() {
    let home = Home::new();
    let authority = home.make_key("authority", &["-t", "ed25519"], "");
    let sshd = trusting_authority(&authority);
    for name in ["work", "held"] {
        home.make_key(name, &["-t", "ed25519"], "");
        keygen(
            &["-s", text(&home.key("authority")), "-I", "user", "-n", "root"],
            &home.key(name).with_extension("pub"),
        );
    }
    // A certificate away from its key, whose key is in a file.
    let moved = home.path().join("moved-cert.pub");
    std::fs::rename(home.key("work-cert.pub"), &moved).expect("a fresh folder");
    let host = Host { identity_files: vec![home.key("work")], ..home.trusting(sshd.address) };
    visit(&host, &home).await.expect_err("the plain key is not known");
    let named = Host { certificate_files: vec![moved.clone()], ..host.clone() };
    visit(&named, &home).await.expect("the configuration names the certificate");
    // The same, with the key held by an agent that does not know the certificate.
    let agent = Agent::start();
    agent.add(&home.key("work"));
    let socket = IdentityAgent::Socket(agent.socket.clone());
    let by_agent = Host { identity_agent: socket.clone(), identity_files: Vec::new(), ..named };
    let ssh = visit(&by_agent, &home).await.expect("the agent signs for the certificate");
    assert!(ssh.about().authentication.starts_with("agent `"), "{:?}", ssh.about());
    // An agent that holds the certificate itself, as `ssh-add` gives it.
    let holder = Agent::start();
    holder.add(&home.key("held"));
    let socket = IdentityAgent::Socket(holder.socket.clone());
    let alone = Host { identity_agent: socket, identity_files: Vec::new(), ..home.trusting(sshd.address) };
    let ssh = visit(&alone, &home).await.expect("the agent holds a certificate");
    assert!(ssh.about().authentication.ends_with("with its certificate"), "{:?}", ssh.about());
    let strict = Host { identities_only: true, ..alone };
    visit(&strict, &home).await.expect_err("no file names that key");
}
