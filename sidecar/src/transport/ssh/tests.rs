//! The transport against real servers: OpenSSH, the embedded one, and ones that misbehave.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::{OutputStream, RemoteRow};
use russh::keys::PublicKey;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::{Options, Purpose, Ssh};
use crate::frontend::{Answer, Frontend, Progress, Question, Terminal};
use crate::secrets::Secret;
use crate::transport::ssh_config::{Host, StrictHostKey};
use crate::transport::ssh_server::Server;
use crate::transport::{Exit, Process, Transport as _, TransportError};

mod channels;
mod contract;
mod host_keys;
mod logins;
mod misbehaving;
mod uploads;

/// A person who gives prepared answers and remembers what was asked and told.
#[derive(Debug, Default)]
struct Person {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Question>>,
    told: Mutex<Vec<String>>,
}

impl Person {
    fn who_answers(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("no test panics here").clone()
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("no test panics here").clone()
    }
}

#[async_trait]
impl Frontend for Person {
    fn report(&self, _progress: Progress) {}

    fn tell(&self, line: String) {
        self.told.lock().expect("no test panics here").push(line);
    }

    async fn output(&self, _stream: OutputStream, _bytes: Bytes) {}

    async fn ask(&self, question: &Question) -> Option<Answer> {
        self.asked.lock().expect("no test panics here").push(question.clone());
        self.answers.lock().expect("no test panics here").pop_front()
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

/// A user's home with a key in it.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join(".ssh")).expect("a fresh folder");
        Self { folder }
    }

    fn with_key() -> Self {
        let home = Self::new();
        home.make_key("id_ed25519", &["-t", "ed25519"], "");
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path().join(".ssh").join(name)
    }

    fn make_key(&self, name: &str, kind: &[&str], passphrase: &str) -> PublicKey {
        let path = self.key(name);
        let made = Command::new("ssh-keygen").args(kind).args(["-q", "-N", passphrase, "-f"]).arg(&path).status();
        assert!(made.expect("ssh-keygen is installed").success());
        self.public(name)
    }

    fn public(&self, name: &str) -> PublicKey {
        let text = std::fs::read_to_string(self.key(name).with_extension("pub")).expect("the key was made");
        text.parse().expect("ssh-keygen writes public keys")
    }

    fn options(&self) -> Options {
        Options::new(self.path(), None, Purpose::Control)
    }

    /// Returns a server as its user's configuration has it, without anything of the machine that the tests run on.
    fn host(&self, address: SocketAddr) -> Host {
        host(&remote(address), self.path())
    }

    fn accepting(&self) -> Options {
        Options { yes: true, ..self.options() }
    }
}

fn remote(address: SocketAddr) -> RemoteRow {
    RemoteRow {
        name: "there".to_owned(),
        host: address.ip().to_string(),
        port: Some(address.port()),
        user: Some("root".to_owned()),
        ..RemoteRow::default()
    }
}

/// Returns a remote as a host without any configuration.
fn host(remote: &RemoteRow, home: &Path) -> Host {
    let user = remote.user.as_deref().unwrap_or_default();
    let mut host = Host::plain(&remote.host, remote.port.unwrap_or_default(), user, home);
    host.key = remote.key.as_ref().map(|key| home.join(key.trim_start_matches("~/")));
    host.global_known_hosts.clear();
    if remote.accept_new {
        host.strict_host_key = StrictHostKey::AcceptNew;
    }
    host
}

async fn connect(
    remote: &RemoteRow,
    options: &Options,
    person: &Person,
    cancel: &CancellationToken,
) -> Result<Ssh, TransportError> {
    super::connect(&host(remote, &options.home), options, person, cancel).await
}

async fn reach(address: SocketAddr, options: &Options) -> Result<Ssh, TransportError> {
    connect(&remote(address), options, &Person::default(), &CancellationToken::new()).await
}

/// An embedded server that lets in the key of a home of its own.
struct Embedded {
    server: Server,
    home: Home,
    there: TempDir,
}

impl Embedded {
    async fn start() -> Self {
        let (home, there) = (Home::with_key(), tempfile::tempdir().expect("a folder"));
        let server = Server::start(there.path(), &home.public("id_ed25519")).await.expect("it can listen");
        Self { server, home, there }
    }

    async fn reach(&self) -> Ssh {
        reach(self.server.address(), &self.home.accepting()).await.expect("the embedded server lets the key in")
    }
}

/// A real OpenSSH server with its own keys, ended when it is dropped.
struct Sshd {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Sshd {
    /// Starts one that lets in `authorized`, with more lines of configuration and its host keys by kind.
    fn start(authorized: &[&PublicKey], kinds: &[&str], more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // It insists on its empty folder, which packages make at boot.
        std::fs::create_dir_all("/run/sshd").expect("the tests may make it");
        let mut config = String::new();
        for kind in kinds {
            let path = folder.path().join(format!("host_{kind}"));
            let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&path).status();
            assert!(made.expect("ssh-keygen is installed").success());
            writeln!(config, "HostKey {}", path.display()).expect("a string takes it");
        }
        let lines: Vec<_> = authorized.iter().map(|key| key.to_openssh().expect("it is a key")).collect();
        let keys = folder.path().join("authorized_keys");
        std::fs::write(&keys, lines.join("\n") + "\n").expect("a fresh folder");
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = probe.local_addr().expect("it is bound");
        drop(probe);
        writeln!(
            config,
            "{more}\nListenAddress {address}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no",
            keys.display()
        )
        .expect("a string takes it");
        if !more.contains("Subsystem") {
            config.push_str("Subsystem sftp internal-sftp\n");
        }
        let path = folder.path().join("sshd_config");
        std::fs::write(&path, config).expect("a fresh folder");
        let mut process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&path)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd is installed");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let mut said = Vec::new();
        loop {
            let line = log.next().unwrap_or_else(|| panic!("sshd ended: {said:#?}")).expect("it writes text");
            if line.contains("Server listening on") {
                break;
            }
            said.push(line);
        }
        // Its log must be read, or it would stop.
        std::thread::spawn(move || for _line in log.map_while(Result::ok) {});
        Self { process, address, folder }
    }

    fn host_key(&self, kind: &str) -> PublicKey {
        let path = self.folder.path().join(format!("host_{kind}.pub"));
        std::fs::read_to_string(path).expect("it was made").parse().expect("ssh-keygen writes public keys")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }
}

/// What a command said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    out: String,
    err: String,
    exit: Exit,
}

async fn run(ssh: &Ssh, command: &str) -> Said {
    let process = ssh.exec(command, None).await.expect("the server runs commands");
    finish(process).await
}

async fn finish(process: Process) -> Said {
    let Process { stdin, mut stdout, mut stderr, control: _control, exit } = process;
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    let (read, also, exit) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err), exit);
    read.expect("the output comes whole");
    also.expect("the complaints come whole");
    Said { out, err, exit: exit.expect("it ends with a status") }
}

fn secret(text: &str) -> Answer {
    Answer::Secret(Secret::new(text.to_owned()))
}
