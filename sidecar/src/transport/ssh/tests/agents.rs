//! SSH agents: a real one, and one that holds a hardware key without any hardware.

use russh::keys::PrivateKey;
use russh::keys::signature::Signer as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::transport::ssh_config::IdentityAgent;

/// A real SSH agent, ended when it is dropped.
pub(super) struct Agent {
    process: Child,
    pub(super) socket: PathBuf,
    _folder: TempDir,
}

impl Agent {
    pub(super) fn start() -> Self {
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

    pub(super) fn add(&self, key: &Path) {
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

/// The application of usual hardware keys.
const APPLICATION: &[u8] = b"ssh:";

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("it is short");
    [length.to_be_bytes().as_slice(), bytes].concat()
}

/// Takes one string off the front of a message.
fn take<'a>(message: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = message.split_at(4);
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    let (taken, rest) = rest.split_at(length);
    *message = rest;
    taken
}

/// A hardware key in software: its public half, and what signs as the device would (`PROTOCOL.u2f` of OpenSSH).
struct Device {
    key: PrivateKey,
    blob: Vec<u8>,
}

impl Device {
    fn new(home: &Home) -> Self {
        home.make_key("inside", &["-t", "ed25519"], "");
        let text = std::fs::read_to_string(home.key("inside")).expect("it was made");
        let key = PrivateKey::from_openssh(&text).expect("ssh-keygen writes private keys");
        let point = key.public_key().key_data().ed25519().expect("it is of that kind").0;
        let blob = [string(b"sk-ssh-ed25519@openssh.com"), string(&point), string(APPLICATION)].concat();
        Self { key, blob }
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_bytes(&self.blob).expect("it is a public key")
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        // Touched by a person, for the seventh time.
        let (flags, counter) = ([1_u8], 7_u32.to_be_bytes());
        let signed = [&*sha256(APPLICATION), &flags, &counter, &sha256(text)].concat();
        let signature = self.key.try_sign(&signed).expect("the key is whole");
        [&*string(b"sk-ssh-ed25519@openssh.com"), &string(signature.as_bytes()), &flags, &counter].concat()
    }

    /// Serves as an agent that holds the device's key.
    async fn serve(self, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.converse(stream).await;
        }
    }

    async fn converse(&self, mut stream: UnixStream) {
        while let Ok(length) = stream.read_u32().await {
            let mut message = vec![0; length as usize];
            stream.read_exact(&mut message).await.expect("the client sends whole messages");
            let answer = match message.split_first() {
                Some((11, _)) => [&[12, 0, 0, 0, 1], &*string(&self.blob), &string(b"blue stick")].concat(),
                Some((13, mut rest)) => {
                    assert_eq!(take(&mut rest), self.blob, "there is one key");
                    [&[14], &*string(&self.sign(take(&mut rest)))].concat()
                }
                _ => vec![5],
            };
            stream.write_all(&string(&answer)).await.expect("the client waits");
        }
    }
}

/// Returns the SHA-256 of a text, by the system's own tool.
fn sha256(text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut tool = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils");
    tool.stdin.take().expect("it is piped").write_all(text).expect("it reads");
    let said = tool.wait_with_output().expect("it is ours").stdout;
    let digits = std::str::from_utf8(&said[..64]).expect("it writes digits");
    (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("it writes digits")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardware_key_signs_through_its_agent() {
    let home = Home::new();
    let device = Device::new(&home);
    std::fs::remove_file(home.key("inside")).expect("it was made");
    let public = device.public();
    let sshd = Sshd::start(&[&public], &["ed25519"], "");
    // As `ssh-keygen -t ed25519-sk` leaves it: the file names the key, and cannot sign.
    std::fs::write(home.key("id_ed25519_sk.pub"), public.to_openssh().expect("it is a key")).expect("a fresh folder");
    let error = visit(&home.trusting(sshd.address), &home).await.expect_err("nobody can sign");
    assert!(matches!(&error, TransportError::KeyHardware { path } if *path == home.key("id_ed25519_sk")), "{error:?}");

    let socket = home.path().join("device");
    let agent = tokio::spawn(device.serve(UnixListener::bind(&socket).expect("a fresh folder")));
    let host =
        Host { identity_agent: IdentityAgent::Socket(socket), identities_only: true, ..home.trusting(sshd.address) };
    let person = Person::default();
    let ssh =
        super::super::connect(&host, &home.options(), &person, &CancellationToken::new()).await.expect("it signs");
    assert_eq!(ssh.about().authentication, "agent `blue stick`");
    assert!(
        person.told().iter().any(|line| line.contains("Touch the hardware key `blue stick`")),
        "{:?}",
        person.told()
    );
    assert_eq!(run(&ssh, "echo in").await.out, "in\n");
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_which_agent_and_which_of_its_keys() {
    let home = Home::new();
    let (one, other) = (Agent::start(), Agent::start());
    for index in 0..7 {
        let name = format!("stray{index}");
        home.make_key(&name, &["-t", "ed25519"], "");
        one.add(&home.key(&name));
    }
    let key = home.make_key("work", &["-t", "ed25519"], "a passphrase");
    home.make_key("plain", &["-t", "ed25519"], "");
    other.add(&home.key("plain"));
    let plain = home.public("plain");
    let sshd = Sshd::start(&[&key, &plain], &["ed25519"], "");
    let options = Options { agent: Some(one.socket.clone()), ..home.options() };
    let (person, cancel) = (Person::default(), CancellationToken::new());
    let usual = home.trusting(sshd.address);

    let error = super::super::connect(&usual, &options, &person, &cancel).await.expect_err("no stray key fits");
    let TransportError::Refused { tried, untried: 2, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tried.len(), 5);
    let by_other = Host { identity_agent: IdentityAgent::Socket(other.socket.clone()), ..usual.clone() };
    let ssh = super::super::connect(&by_other, &options, &person, &cancel).await.expect("the other agent holds it");
    assert!(ssh.about().authentication.starts_with("agent `"), "{:?}", ssh.about());
    let without = Host { identity_agent: IdentityAgent::None, ..by_other.clone() };
    let error = super::super::connect(&without, &options, &person, &cancel).await.expect_err("there is no key at all");
    assert!(matches!(error, TransportError::NoKey { .. }), "{error:?}");

    // Only the files count, in their order; the agent's strays are left alone, and only what fits is unlocked.
    let files = vec![home.key("missing"), home.key("stray0"), home.key("work")];
    let named = Host { identities_only: true, identity_files: files, ..usual };
    let person = Person::who_answers([secret("a passphrase")]);
    let ssh = super::super::connect(&named, &options, &person, &cancel).await.expect("the third file fits");
    assert_eq!(ssh.about().authentication, format!("key `{}`", home.key("work").display()));
    assert!(ssh.about().interactive && person.asked().len() == 1);
    let strict = Sshd::start(&[&plain], &["ed25519"], "");
    let person = Person::default();
    let host = Host { identity_files: vec![home.key("work")], ..named };
    let host = Host { port: strict.address.port(), ..host };
    let error = super::super::connect(&host, &options, &person, &cancel).await.expect_err("its key is not allowed");
    assert!(matches!(&error, TransportError::Refused { untried: 0, .. }), "{error:?}");
    assert_eq!(person.asked(), [], "a key that the server does not want is not unlocked");
}
