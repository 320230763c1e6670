//! Several builds of the agent on one machine, and where they come from: an upgrade disturbs nobody, and a program
//! that is not the agent goes nowhere.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::cli::{self, Ran};
use harness::host::Host;
use harness::process::wait_until;
use harness::work::Work;
use harness::{binary, or_skip};
use protocol::editor::{AgentOrigin, AgentStatus, DoctorOutput, SyncState, SyncStatus};

use crate::story::ARRIVES;

/// A person whose sidecar has an agent of a build of its own.
struct Person {
    work: Work,
    sidecar: PathBuf,
}

impl Person {
    /// Builds are told by their bytes: `number` of them are added to the end of the program, where nothing reads them.
    fn with_build(host: &Host, number: usize) -> Self {
        let person = Self::without_agent(host);
        let bytes = [fs::read(binary::mlt()).expect("it was built"), vec![b'x'; number]].concat();
        person.put("mlt", &bytes);
        person
    }

    /// A person whose sidecar lies alone.
    fn without_agent(host: &Host) -> Self {
        let work = Work::new();
        work.write("//- /a.py\nprint(1)\n");
        cli::add_remote(&work, "box", host, host.port());
        let sidecar = binary::installed(&work.path().join("bin"));
        Self { work, sidecar }
    }

    /// Puts a program beside the sidecar.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.sidecar.with_file_name(name);
        fs::write(&file, bytes).expect("our own folder");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("our own file");
        file
    }

    fn run(&self, line: &str) -> Ran {
        self.run_with(line, &[])
    }

    fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Ran {
        let mut command = self.work.command(&self.sidecar);
        command.args(line.split_whitespace()).arg("--json").envs(variables.iter().copied()).stdin(Stdio::null());
        cli::finish(&mut command)
    }

    fn agent(&self) -> AgentStatus {
        self.run("agent status").json()
    }

    fn save(&self, text: &str) {
        fs::write(self.work.workspace().join("a.py"), text).expect("our own folder");
    }
}

fn arrives(file: &Path, text: &str) {
    wait_until(&format!("{} to hold {text:?}", file.display()), ARRIVES, || {
        fs::read_to_string(file).is_ok_and(|found| found == text)
    });
}

fn builds(host: &Host) -> usize {
    fs::read_dir(host.home().join(".mltoolbox/bin")).expect("agents are installed").count()
}

#[test]
fn an_upgrade_leaves_the_sessions_of_others_alone() {
    let host = or_skip!("an_upgrade_leaves_the_sessions_of_others_alone", Host::start());
    let there = |name: &str| host.home().join(name);
    let (old, new) = (Person::with_build(&host, 1), Person::with_build(&host, 2));
    let watch = format!("sync watch --yes --to {}", there("old").display());
    assert_eq!(old.run(&watch).json::<SyncStatus>().state, SyncState::Synced);
    let before = old.agent();

    // The newer sidecar brings its agent and works with it, while the older one's session lives.
    let installed: AgentStatus = new.run("agent install --yes").json();
    assert!(installed.pid.is_some() && installed.pid != before.pid, "{installed:#?}");
    assert_eq!(new.run(&format!("sync push --to {}", there("new").display())).code, 0);
    arrives(&there("new/a.py"), "print(1)\n");
    old.save("print('old')\n");
    arrives(&there("old/a.py"), "print('old')\n");
    assert_eq!(old.agent().pid, before.pid, "the older agent was never gone");

    // One holder per folder, whichever agent is asked.
    let leased = new.run(&format!("sync push --yes --to {}", there("old").display()));
    assert!(leased.code != 0 && leased.text().contains("--take-over"), "{}", leased.text());
    arrives(&there("old/a.py"), "print('old')\n");

    // With a third one there, nobody has to keep what nobody uses; what runs stays.
    let newest = Person::with_build(&host, 3);
    assert_eq!(newest.run("agent install --yes").code, 0);
    assert_eq!(builds(&host), 3, "the oldest one has a session, the one before the newest is kept");
    assert!(new.agent().pid.is_none(), "an agent without a session is ended");
    assert_eq!(old.agent().pid, before.pid);
    old.save("print('still')\n");
    arrives(&there("old/a.py"), "print('still')\n");

    // Whoever takes over gets the folder from an agent of another build too, and nothing is overwritten unseen.
    assert_eq!(old.run("sync stop").code, 0);
    let last = Person::with_build(&host, 4);
    assert_eq!(last.run("agent install --yes").code, 0);
    assert_eq!(builds(&host), 2, "nobody uses the others");
    assert!(old.agent().pid.is_none());

    // The older sidecar finds its agent gone and brings it again, without asking.
    let back: SyncStatus = old.run(&watch).json();
    assert_eq!((back.state, back.conflicts), (SyncState::Synced, 0));
    assert_eq!(builds(&host), 2);
    let stopped = last.run("agent stop");
    assert_eq!(stopped.code, 0, "{}", stopped.text());
    assert_eq!(old.run("sync stop").code, 0);
}

/// Serves one program and its checksum to whoever asks, until the test ends. Returns the address.
fn release(program: Vec<u8>, sum: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let sum = format!("{sum}\n").into_bytes();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a caller");
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            let line = String::from_utf8_lossy(&request[..length]);
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = match path.rsplit('/').next() {
                Some(name) if name == NAMED => (200, &program),
                Some(name) if name.strip_suffix(".sha256") == Some(NAMED) => (200, &sum),
                Some(_) | None => (404, &sum),
            };
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // The caller may have heard enough.
            stream.write_all(&[head.as_bytes(), body].concat()).ok();
        }
    });
    address
}

const NAMED: &str = if cfg!(target_arch = "aarch64") { "mlt-linux-aarch64" } else { "mlt-linux-x86_64" };

fn sha256(file: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(file).output().expect("coreutils are everywhere");
    String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a checksum").to_owned()
}

#[test]
fn the_agent_comes_from_where_a_person_said_and_is_refused_when_it_is_wrong() {
    const TEST: &str = "the_agent_comes_from_where_a_person_said_and_is_refused_when_it_is_wrong";
    let host = or_skip!("the_agent_comes_from_where_a_person_said_and_is_refused_when_it_is_wrong", Host::start());
    let person = Person::without_agent(&host);
    let program = fs::read(binary::mlt()).expect("it was built");
    let refuses = |variables: &[(&str, &str)], words: &[&str]| {
        let ran = person.run_with("agent install --yes", variables);
        assert!(ran.code != 0 && words.iter().all(|word| ran.text().contains(word)), "{TEST}: {}", ran.text());
        assert!(!host.home().join(".mltoolbox").exists(), "nothing was brought there");
    };
    // A file beside the sidecar that is no agent is not passed over in silence.
    let beside = person.put(NAMED, b"<html>not found</html>");
    refuses(&[], &["is no program", NAMED, "in the place of"]);
    let doctor = person.run("doctor");
    assert!(doctor.code != 0 && doctor.text().contains("is no program"), "{}", doctor.text());
    let mut foreign = program.clone();
    // `e_machine` of RISC-V.
    foreign[18..20].copy_from_slice(&243_u16.to_le_bytes());
    person.put(NAMED, &foreign);
    refuses(&[], &["a program for another machine"]);
    fs::remove_file(beside).expect("it is there");

    let base = "MLTOOLBOX_DOWNLOAD_BASE";
    refuses(&[(base, "http://releases.example")], &["no address to download from", "https://"]);
    let wrong = release(program.clone(), &"0".repeat(64));
    refuses(&[(base, &wrong)], &["has the checksum", "agent install"]);
    let right = release(program, &sha256(&binary::mlt()));
    let doctor: DoctorOutput = person.run_with("doctor", &[(base, &right)]).json();
    let programs = doctor.checks.into_iter().find(|check| check.name == "agent programs").expect("it is looked at");
    assert!(programs.found.contains(&format!("to be downloaded from {right}/v")), "{}", programs.found);

    let installed: AgentStatus = person.run_with("agent install --yes", &[(base, &right)]).json();
    let program = installed.program.expect("it is told what was installed");
    assert_eq!(program.origin, AgentOrigin::Downloaded);
    assert!(program.file.expect("a file").starts_with(&person.work.home().display().to_string()));
    let kept: AgentStatus = person.run_with("agent status", &[(base, &right)]).json();
    assert_eq!((kept.pid, kept.program.expect("told").origin), (installed.pid, AgentOrigin::Downloaded));
}
