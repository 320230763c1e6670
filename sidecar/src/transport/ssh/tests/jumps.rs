//! Ways through other machines: jump hosts one after the other, and the user's own command.

use std::time::{Duration, Instant};

use protocol::error::{Code, Explain as _};

use super::*;
use crate::transport::ssh_config::Proxy;

/// How long what was told to end may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Three servers, each with a key of its own, and the way to the last through the others.
struct Chain {
    home: Home,
    servers: [Sshd; 3],
    host: Host,
}

fn chain(second: &str) -> Chain {
    let home = Home::new();
    let servers = [("first", ""), ("second", second), ("third", "")].map(|(name, more)| {
        let key = home.make_key(name, &["-t", "ed25519"], "");
        Sshd::start(&[&key], &["ed25519"], more)
    });
    let [first, second, third] = [0, 1, 2].map(|index: usize| {
        let name = ["first", "second", "third"][index];
        let host = home.trusting(servers[index].address);
        Host { alias: name.to_owned(), identity_files: vec![home.key(name)], ..host }
    });
    let host = Host { proxy: Proxy::Jump(vec![first, second]), ..third };
    Chain { home, servers, host }
}

fn hops(host: &mut Host) -> &mut Vec<Host> {
    match &mut host.proxy {
        Proxy::Jump(hops) => hops,
        Proxy::Direct | Proxy::Command(_) => panic!("it is reached by jumps"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_leads_to_its_end_and_ends_with_it() {
    let Chain { home, servers, host } = chain("");
    let ssh = visit(&host, &home).await.expect("each lets its key in");
    assert_eq!(ssh.about().authentication, format!("key `{}`", home.key("third").display()));
    let said = run(&ssh, "echo $SSH_CONNECTION; head -c 3000000 /dev/zero | tr '\\0' x").await;
    let (line, rest) = said.out.split_once('\n').expect("two lines");
    assert!(line.ends_with(&format!(" 127.0.0.1 {}", servers[2].address.port())), "{line}");
    assert_eq!((rest.len(), said.exit), (3_000_000, Exit::Status(0)));
    assert!(ssh.round_trip().await.is_ok());
    // Each host key was looked at and recorded by itself.
    let known = std::fs::read_to_string(home.key("known_hosts")).expect("they were recorded");
    assert_eq!(known.lines().count(), 3, "{known}");
    for server in &servers {
        assert_eq!(known.matches(&format!("[127.0.0.1]:{} ", server.address.port())).count(), 1);
    }
    let connections = |server: &Sshd| children(server.process.id());
    assert!(servers.iter().all(|server| connections(server) > 0));
    drop(ssh);
    let start = Instant::now();
    while servers.iter().any(|server| connections(server) > 0) {
        assert!(start.elapsed() < SOON, "a connection stays open");
        tokio::task::yield_now().await;
    }
}

/// Returns how many processes a server has for its connections.
fn children(server: u32) -> usize {
    let found = Command::new("ps").args(["--no-headers", "--ppid", &server.to_string()]).output();
    String::from_utf8_lossy(&found.expect("ps is installed").stdout).lines().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_names_the_hop() {
    let Chain { home, servers: _servers, host } = chain("");
    let mut wrong = host.clone();
    hops(&mut wrong)[1].identity_files = vec![home.key("first")];
    let error = visit(&wrong, &home).await.expect_err("the second hop knows another key");
    let TransportError::Jump { hop, host: to, source } = &error else { panic!("{error:?}") };
    assert_eq!((hop.as_str(), to.as_str()), ("second", "third"));
    assert!(matches!(&**source, TransportError::Refused { host, .. } if host == "second"), "{source:?}");
    assert_eq!((error.code(), error.is_transient()), (Code::SshAuthRefused, false));
    assert!(error.help().contains("root@second"), "{}", error.help());

    let mut unknown = host.clone();
    hops(&mut unknown)[0].strict_host_key = StrictHostKey::Ask;
    std::fs::remove_file(home.key("known_hosts")).expect("the first visit recorded");
    let error = visit(&unknown, &home).await.expect_err("nobody accepts the first hop's key");
    let TransportError::Jump { hop, source, .. } = &error else { panic!("{error:?}") };
    assert!(hop == "first" && matches!(**source, TransportError::HostKeyUnknown(_)), "{error:?}");

    let mut nowhere = host.clone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    nowhere.port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let error = visit(&nowhere, &home).await.expect_err("nothing listens there");
    assert_eq!(error.to_string(), format!("the jump host `second` cannot reach `127.0.0.1` on port {}", nowhere.port));
    assert_eq!((error.code(), error.is_transient()), (Code::SshUnreachable, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_forbids_forwarding_is_told_as_that() {
    let Chain { home, servers: _servers, host } = chain("AllowTcpForwarding no");
    let error = visit(&host, &home).await.expect_err("the second hop forbids it");
    let TransportError::Forbidden { host: hop, what } = &error else { panic!("{error:?}") };
    assert_eq!(
        (hop.as_str(), what.as_str()),
        ("second", &*format!("to pass on connections to `127.0.0.1` on port {}", host.port))
    );
    assert_eq!((error.code(), error.is_transient()), (Code::SshForbidden, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hop_is_named() {
    let Chain { home, servers: [first, second, third], host } = chain("");
    let ssh = visit(&host, &home).await.expect("each lets its key in");
    let process = ssh.exec("sleep 1000", None).await.expect("it runs");
    let parent = first.process.id().to_string();
    let killed = Command::new("pkill").args(["-KILL", "-P", &parent]).status();
    assert!(killed.expect("pkill is installed").success());
    tokio::time::timeout(SOON, ssh.closed()).await.expect("the end is seen");
    let error = process.exit.await.expect_err("nobody knows how it ended");
    assert!(
        matches!(&error, TransportError::Lost { host, reason } if host == "third" && reason.contains("`second`")),
        "{error:?}"
    );
    drop((second, third));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_command_is_the_line() {
    let Chain { home, servers, host } = chain("");
    let through = servers[0].address.port();
    let seen = home.path().join("seen");
    let ssh = format!(
        "ssh -F none -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -i {} -p {through} \
         -W {}:{} root@127.0.0.1",
        home.key("first").display(),
        host.hostname,
        host.port
    );
    // A helper that would stay behind if only the command itself were ended.
    let command = format!("sh -c 'sleep 1000 <&- >&- 2>&- & echo $$ $! > {}; exec {ssh}'", seen.display());
    let host = Host { proxy: Proxy::Command(command), ..host };
    let connected = visit(&host, &home).await.expect("the command makes the connection");
    assert_eq!(run(&connected, "echo through").await.out, "through\n");
    let text = std::fs::read_to_string(&seen).expect("it was written");
    let processes: Vec<_> = text.split_whitespace().map(|process| Path::new("/proc").join(process)).collect();
    assert!(processes.len() == 2 && processes.iter().all(|process| process.exists()), "{text}");
    drop(connected);
    let start = Instant::now();
    while processes.iter().any(|process| is_alive(process)) {
        assert!(start.elapsed() < SOON, "the command outlives its connection");
        tokio::task::yield_now().await;
    }
}

/// Returns whether a process runs; one that nobody waited for yet does not.
fn is_alive(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_is_told_with_its_words() {
    let home = Home::with_key();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for (command, words, transient) in [
        (
            "sh -c 'echo starting >&2; echo no route to it >&2; exit 3'",
            "status 3 and said `starting; no route to it`",
            true,
        ),
        ("/no/such/program", "status 127", false),
    ] {
        let host = Host { proxy: Proxy::Command(command.to_owned()), ..home.trusting(address) };
        let error = visit(&host, &home).await.expect_err("there is no connection");
        assert!(matches!(error, TransportError::ProxyCommand { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!((error.code(), error.is_transient()), (Code::SshUnreachable, transient));
    }
    // One that says nothing is given up like a silent server, and ended.
    let host = Host {
        proxy: Proxy::Command(format!("sh -c 'echo $$ > {}; exec sleep 1000'", home.path().join("pid").display())),
        connect_timeout: Some(Duration::from_secs(1)),
        ..home.trusting(address)
    };
    let error = visit(&host, &home).await.expect_err("it says nothing");
    assert!(matches!(error, TransportError::Silent { seconds: 1, .. }), "{error:?}");
    let process = std::fs::read_to_string(home.path().join("pid")).expect("it was written");
    let start = Instant::now();
    while is_alive(&Path::new("/proc").join(process.trim())) {
        assert!(start.elapsed() < SOON, "the command outlives its connection");
        tokio::task::yield_now().await;
    }
}
