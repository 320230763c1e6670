//! The agent on machines that have next to nothing: no loader, no C library, no `/proc`, no `/dev`, no accounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use harness::cli::{self, Ran};
use harness::host::{Host, Options};
use harness::limits::confined;
use harness::skip::{self, Reason};
use harness::work::Work;
use harness::{binary, or_skip, oracle};
use protocol::agent::{Apply, Holder, Open, Reply, Request, Trailer};
use protocol::editor::{AgentOrigin, AgentState, AgentStatus};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Expect, Hash, Op, Outcome};
use sidecar::session::link::{Link, Piece};

use crate::story::{LEFT_OUT, PROJECT};

#[test]
fn the_published_agent_needs_no_loader() {
    or_skip!("the_published_agent_needs_no_loader", skip::live(&["cc"]));
    let program = fs::read(binary::static_mlt()).expect("it was built");
    assert!(program.starts_with(b"\x7fELF"));
    // `PT_INTERP` of a dynamic program names its loader, near the beginning.
    let head = &program[..4096];
    assert!(!head.windows(10).any(|window| window == b"/ld-linux-"), "it wants a loader");
}

#[test]
fn an_empty_machine_is_served() {
    or_skip!("an_empty_machine_is_served", skip::live(&["cc"]));
    let work = Work::new();
    let root = work.path().join("root");
    fs::create_dir(&root).expect("our own folder");
    fs::copy(binary::static_mlt(), root.join("mlt")).expect("our own folder");
    // Without a home it says so, and asks nobody else where that may be.
    let homeless = or_skip!("an_empty_machine_is_served", confined(&root, "/mlt")).arg("health").output();
    let said = String::from_utf8(homeless.expect("it runs").stderr).expect("text");
    assert!(said.contains("no home directory") && said.contains("Set `HOME`"), "{said}");

    let mlt = |verb| {
        let mut command = confined(&root, "/mlt").expect("it worked a moment ago");
        command.arg(verb).env("HOME", "/").env("USER", "ada");
        command
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut proxy = tokio::process::Command::from(mlt("proxy"));
        let mut proxy = proxy.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let (input, output) = (proxy.stdin.take().expect("a pipe"), proxy.stdout.take().expect("a pipe"));
        let link = Link::open(output, input).await.expect("the agent answers");
        assert_eq!((link.facts().user.as_str(), link.facts().home.as_str()), ("ada", "/"));
        a_file_goes_there_and_back(&link).await;
        drop(link);
        proxy.wait().await.expect("the proxy ends");
    });
    assert_eq!(fs::read(root.join("copy/a.py")).expect("it arrived"), b"print(1)\n");
    assert!(mlt("stop").status().expect("it runs").success());
    let names = fs::read_dir(&root).expect("our own folder").flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    assert_eq!(names, [".copy.mltoolbox", ".mltoolbox", "copy", "mlt"], "it made nothing else");
}

async fn a_file_goes_there_and_back(link: &Link) {
    let holder = Holder { id: "empty".to_owned(), label: "ada@laptop:/project".to_owned() };
    let path = RemotePath::new("~/copy").expect("a plain path");
    let opened = link.call(Request::Open(Open { path, create: true, holder, take_over: false })).await;
    let Ok(Reply::Opened(opened)) = opened else { panic!("{opened:?}") };
    let (root, bytes) = (opened.root, b"print(1)\n".as_slice());
    let path = RelPath::new("a.py").expect("a plain path");
    let hash = Some(Hash(*blake3::hash(bytes).as_bytes()));
    let action = Action::Put { size: bytes.len() as u64, hash, mode: 0o644, mtime_ns: None };
    let ops = vec![Op { path: path.clone(), expect: Expect::Absent, action }];
    let apply = Request::Apply(Apply { root, barrier: false, durable: true, ops });
    let mut exchange = link.exchange(apply).await.expect("it listens");
    exchange.send(bytes.into()).await.expect("it listens");
    exchange.finish(Trailer::default()).await.expect("it listens");
    let applied = exchange.reply().await;
    let Ok(Reply::Applied(outcomes)) = applied else { panic!("{applied:?}") };
    assert!(matches!(outcomes.as_slice(), [Outcome::Applied { .. }]), "{outcomes:?}");
    let mut exchange = link.exchange(Request::Read { root, path }).await.expect("it listens");
    assert!(matches!(exchange.reply().await, Ok(Reply::Reading(_))));
    assert_eq!(exchange.data().await.expect("data"), Piece::Data(bytes.into()));
    assert_eq!(link.call(Request::Close { root }).await.expect("it listens"), Reply::Done);
}

/// Fills a folder with what a machine of busybox alone has: its shell and its tools.
fn busybox(root: &Path) -> Result<(), Reason> {
    skip::live(&["busybox", "unshare"])?;
    if !rustix::process::geteuid().is_root() {
        return Err(Reason::OtherPlatform("a host with another root needs root".to_owned()));
    }
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("busybox")).find(|program| program.is_file())
    });
    fs::create_dir_all(root.join("bin")).expect("our own folder");
    fs::copy(found.expect("it was looked for"), root.join("bin/busybox")).expect("our own folder");
    let install = confined(root, "/bin/busybox")?.args(["--install", "-s", "/bin"]).output().expect("unshare starts");
    if !install.status.success() {
        return Err(Reason::Missing("busybox is not static; `tests/run` installs busybox-static".to_owned()));
    }
    Ok(())
}

#[test]
fn a_machine_of_busybox_is_synced() {
    let work = Work::new();
    let root = work.path().join("root");
    or_skip!("a_machine_of_busybox_is_synced", busybox(&root));
    let host = Host::with(&Options { root: Some(root), ..Options::default() });
    let host = or_skip!("a_machine_of_busybox_is_synced", host);
    work.write(PROJECT);
    cli::add_remote(&work, "box", &host, host.port());

    // Ours from `cargo build` needs a C library; that is found out before it travels.
    let refused = cli::run(&work, &["agent", "install", "--yes"]);
    assert!(refused.code != 0 && refused.stderr.contains("does not have what it needs to start"), "{}", refused.text());
    assert!(
        refused.stderr.contains("is not there") && refused.stderr.contains("mlt-linux-x86_64"),
        "{}",
        refused.text()
    );
    assert_eq!(fs::read_dir(host.home().join(".mltoolbox/bin")).expect("the folder was made").count(), 0);

    let sidecar = binary::installed(&work.path().join("bin"));
    let named = if cfg!(target_arch = "aarch64") { "mlt-linux-aarch64" } else { "mlt-linux-x86_64" };
    let beside = sidecar.with_file_name(named);
    fs::copy(binary::static_mlt(), &beside).expect("our own folder");
    let run = |line: &str| -> Ran {
        let mut command = work.command(&sidecar);
        command.args(line.split_whitespace()).arg("--json").stdin(Stdio::null());
        cli::finish(&mut command)
    };
    let installed: AgentStatus = run("agent install --yes").json();
    let program = installed.program.expect("it is told what was installed");
    assert_eq!((installed.state, program.origin), (AgentState::Running, AgentOrigin::Beside));
    assert_eq!((program.file, program.needs_libc), (Some(beside.display().to_string()), false));

    let copy = host.home().join("copy");
    let pushed = run(&format!("sync push --yes --to {}", copy.display()));
    assert_eq!(pushed.code, 0, "{}", pushed.text());
    oracle::assert_equal(&work.workspace(), &copy, LEFT_OUT);
    assert_eq!(fs::metadata(copy.join("run.sh")).expect("it arrived").permissions().mode() & 0o100, 0o100);

    // The same again, over the agent that runs, and then without one.
    fs::write(work.workspace().join("app.py"), "print('again')\n").expect("our own folder");
    assert_eq!(run("sync push").code, 0);
    assert_eq!(fs::read_to_string(copy.join("app.py")).expect("it arrived"), "print('again')\n");
    let gone: AgentStatus = run("agent uninstall --yes").json();
    assert_eq!(gone.state, AgentState::Missing);
    assert!(!host.home().join(".mltoolbox").exists());
}
