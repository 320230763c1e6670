//! Logging in: which keys are offered, and what is said when none is let in.

use std::os::unix::fs::PermissionsExt as _;

use protocol::error::{Code, Explain as _};

use super::*;

/// A real SSH agent, ended when it is dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
    _folder: TempDir,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("agent");
        let mut process = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("ssh-agent is installed");
        // It prints its address once it listens.
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().expect("it is piped"));
        said.read_line(&mut line).expect("it prints its address");
        Self { process, socket, _folder: folder }
    }

    fn add(&self, key: &Path) {
        let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).status();
        assert!(added.expect("ssh-add is installed").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }
}

async fn with_key(sshd: &Sshd, home: &Home, key: &str, person: &Person) -> Result<Ssh, TransportError> {
    let remote = RemoteRow { key: Some(key.to_owned()), ..remote(sshd.address) };
    connect(&remote, &home.accepting(), person, &CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_usual_kind_of_key_is_let_in() {
    let home = Home::new();
    let kinds: [(&str, &[&str]); 4] = [
        ("ed", &["-t", "ed25519"]),
        ("ec", &["-t", "ecdsa"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
    ];
    let keys: Vec<_> = kinds.iter().map(|(name, kind)| home.make_key(name, kind, "")).collect();
    let sshd = Sshd::start(&keys.iter().collect::<Vec<_>>(), &["ed25519"], "PubkeyAcceptedAlgorithms -ssh-rsa");
    for (name, _) in kinds {
        let ssh = with_key(&sshd, &home, &format!("~/.ssh/{name}"), &Person::default()).await;
        let ssh = ssh.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(ssh.about().authentication, format!("key `{}`", home.key(name).display()));
        assert_eq!(run(&ssh, "echo in").await.out, "in\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_asked_for() {
    let home = Home::new();
    let key = home.make_key("locked", &["-t", "ed25519"], "open sesame");
    let sshd = Sshd::start(&[&key], &["ed25519"], "");
    let question = Question::Passphrase { key: home.key("locked").display().to_string() };

    let person = Person::who_answers([secret("wrong"), secret("open sesame")]);
    let ssh = with_key(&sshd, &home, "~/.ssh/locked", &person).await.expect("the second is right");
    assert!(ssh.about().interactive);
    assert_eq!(person.asked(), [question.clone(), question.clone()]);
    assert!(person.told().iter().any(|line| line.contains("does not open")), "{:?}", person.told());

    let forgetful = Person::who_answers((0..9).map(|_| secret("wrong")));
    let error = with_key(&sshd, &home, "~/.ssh/locked", &forgetful).await.expect_err("three are wrong");
    assert!(matches!(error, TransportError::Passphrase { tries: 3, .. }), "{error:?}");
    assert_eq!(forgetful.asked().len(), 3);

    let error = with_key(&sshd, &home, "~/.ssh/locked", &Person::default()).await.expect_err("nobody is there");
    assert_eq!((error.code(), error.is_transient()), (Code::SshKeyEncrypted, false));
    assert!(error.help().contains("ssh-add"), "{}", error.help());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_spares_the_passphrase() {
    let (home, agent) = (Home::new(), Agent::start());
    for name in ["one", "two", "rsa"] {
        let kind: &[&str] = if name == "rsa" { &["-t", "rsa", "-b", "2048"] } else { &["-t", "ed25519"] };
        home.make_key(name, kind, "");
        agent.add(&home.key(name));
    }
    let options = Options { agent: Some(agent.socket.clone()), ..home.accepting() };
    for name in ["two", "rsa"] {
        let sshd = Sshd::start(&[&home.public(name)], &["ed25519"], "");
        let ssh = reach(sshd.address, &options).await.expect("the agent holds the key");
        assert!(ssh.about().authentication.starts_with("agent `"), "{:?}", ssh.about());
        assert!(!ssh.about().interactive);
    }
    // A named key that the agent holds needs no passphrase and no other offer.
    let sshd = Sshd::start(&[&home.public("two")], &["ed25519"], "MaxAuthTries 1");
    let locked =
        Command::new("ssh-keygen").args(["-q", "-p", "-N", "new passphrase", "-f"]).arg(home.key("two")).output();
    assert!(locked.expect("it is installed").status.success());
    let named = RemoteRow { key: Some("~/.ssh/two".to_owned()), ..remote(sshd.address) };
    let person = Person::default();
    let ssh = connect(&named, &options, &person, &CancellationToken::new()).await.expect("the agent holds it");
    assert!(ssh.about().authentication.starts_with("agent `") && person.asked().is_empty());
    // An agent that is gone is no obstacle.
    let gone = Options { agent: Some(home.path().join("no-agent")), ..home.accepting() };
    let error = reach(sshd.address, &gone).await.expect_err("there is no usual key");
    assert!(matches!(error, TransportError::NoKey { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowded_agent_stops_before_the_server_does() {
    let (home, agent) = (Home::with_key(), Agent::start());
    for index in 0..8 {
        let name = format!("other{index}");
        home.make_key(&name, &["-t", "ed25519"], "");
        agent.add(&home.key(&name));
    }
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let options = Options { agent: Some(agent.socket.clone()), ..home.accepting() };
    let error = reach(sshd.address, &options).await.expect_err("its key would be the ninth");
    let TransportError::Refused { tried, accepted, untried, .. } = &error else { panic!("{error:?}") };
    assert_eq!((tried.len(), accepted.as_str(), *untried), (5, "publickey", 4));
    assert!(error.help().contains("IdentitiesOnly"), "{}", error.help());
    // Naming the key is what helps, or giving it to the agent under its usual name.
    let named = RemoteRow { key: Some("~/.ssh/id_ed25519".to_owned()), ..remote(sshd.address) };
    connect(&named, &options, &Person::default(), &CancellationToken::new()).await.expect("it is offered first");
    agent.add(&home.key("id_ed25519"));
    let ssh = reach(sshd.address, &options).await.expect("the usual key goes before the others");
    assert!(ssh.about().authentication.starts_with("agent `"), "{:?}", ssh.about());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_for_good() {
    let home = Home::with_key();
    let other = Home::with_key();
    let sshd = Sshd::start(&[&other.public("id_ed25519")], &["ed25519"], "");
    let error = with_key(&sshd, &home, "~/.ssh/id_ed25519", &Person::default()).await.expect_err("not let in");
    assert_eq!((error.code(), error.is_transient()), (Code::SshAuthRefused, false));
    assert!(error.to_string().contains("id_ed25519"), "{error}");
    assert!(
        error.help().contains(&format!("ssh-copy-id -p {} root@127.0.0.1", sshd.address.port())),
        "{}",
        error.help()
    );
    // A server that hangs up instead of answering has refused too.
    let strict = Sshd::start(&[&other.public("id_ed25519")], &["ed25519"], "MaxAuthTries 1");
    let error = with_key(&strict, &home, "~/.ssh/id_ed25519", &Person::default()).await.expect_err("not let in");
    assert_eq!(error.code(), Code::SshAuthRefused, "{error:?}");
    let embedded = Embedded::start().await;
    let error = reach(embedded.server.address(), &home.accepting()).await.expect_err("not let in");
    assert_eq!(error.code(), Code::SshAuthRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_cannot_be_used_says_why() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    std::fs::write(home.key("garbage"), "not a key\n").expect("it can be written");
    std::fs::write(home.key("cut"), "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").expect("it can be written");
    home.make_key("open", &["-t", "ed25519"], "");
    for (name, mode) in [("garbage", 0o600), ("cut", 0o600), ("open", 0o640)] {
        std::fs::set_permissions(home.key(name), std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let path = |name: &str| home.key(name).display().to_string();
    let cases = [
        (
            "missing",
            Code::SshKeyUnreadable,
            format!("cannot read the key `{}`", path("missing")),
            "--key PATH".to_owned(),
        ),
        (".", Code::SshKeyUnreadable, "cannot read the key".to_owned(), "--key PATH".to_owned()),
        ("garbage", Code::SshKeyUnreadable, "holds no private key".to_owned(), "ssh-keygen -y -f".to_owned()),
        ("cut", Code::SshKeyUnreadable, "holds no private key".to_owned(), "ssh-keygen -y -f".to_owned()),
        (
            "id_ed25519.pub",
            Code::SshKeyUnreadable,
            "is a public key".to_owned(),
            format!("--key {}", path("id_ed25519")),
        ),
        ("open", Code::SshKeyPermissions, "(mode 640)".to_owned(), format!("chmod 600 {}", path("open"))),
    ];
    for (name, code, message, help) in cases {
        let error = with_key(&sshd, &home, &format!("~/.ssh/{name}"), &Person::default()).await.expect_err(name);
        assert_eq!((error.code(), error.is_transient()), (code, false), "{name}");
        assert!(error.to_string().contains(&message), "{name}: {error}");
        assert!(error.help().contains(&help), "{name}: {}", error.help());
    }
    // A usual file that cannot be used is told and does not keep the next one from being tried.
    home.make_key("id_ecdsa", &["-t", "ecdsa"], "");
    std::fs::set_permissions(home.key("id_ed25519"), std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let second = Sshd::start(&[&home.public("id_ecdsa")], &["ed25519"], "");
    let person = Person::default();
    let cancel = CancellationToken::new();
    let ssh = connect(&remote(second.address), &home.accepting(), &person, &cancel).await.expect("the next is let in");
    assert!(ssh.about().authentication.contains("id_ecdsa"));
    assert!(person.told().iter().any(|line| line.contains("mode 644")), "{:?}", person.told());
}
