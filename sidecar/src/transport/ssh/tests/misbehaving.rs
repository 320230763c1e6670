//! Servers that are not there, say nothing, say nonsense, or die.

use std::time::{Duration, Instant};

use protocol::error::{Code, Explain as _};
use tokio::io::AsyncWriteExt as _;

use super::*;

/// Starts a server that does `what` with every connection.
async fn pretend<F>(what: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(what(stream));
        }
    });
    address
}

#[tokio::test]
async fn a_refused_port_may_be_tried_again() {
    let home = Home::with_key();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let error = reach(address, &home.options()).await.expect_err("nothing listens");
    assert_eq!((error.code(), error.is_transient()), (Code::SshUnreachable, true));
    assert_eq!(error.to_string(), format!("cannot reach `127.0.0.1` on port {}", address.port()));
    let unknown = RemoteRow { host: "no-such-host.invalid".to_owned(), ..remote(address) };
    let error = connect(&unknown, &home.options(), &Person::default(), &CancellationToken::new()).await;
    assert_eq!(error.expect_err("the name is reserved").code(), Code::SshUnreachable);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let home = Home::with_key();
    let address = pretend(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let options = Options { connect_timeout: Duration::from_secs(1), ..home.options() };
    let error = reach(address, &options).await.expect_err("it says nothing");
    assert!(matches!(error, TransportError::Silent { seconds: 1, .. }), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn nonsense_is_no_ssh_server() {
    let home = Home::with_key();
    for nonsense in
        [b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(2000), vec![0xff; 100_000], b"SSH-2.0-x\r\n\0\0\0\x0c".repeat(99)]
    {
        let address = pretend(move |mut stream| {
            let nonsense = nonsense.clone();
            async move {
                // The client may have seen enough before all of it is sent.
                if stream.write_all(&nonsense).await.is_ok() {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await;
        let options = Options { connect_timeout: Duration::from_secs(2), ..home.options() };
        let error = reach(address, &options).await.expect_err("it is nonsense");
        assert_eq!(error.code(), Code::SshProtocol, "{error:?}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_may_be_tried_again() {
    let home = Home::with_key();
    for greeting in ["", "SSH-2.0-x\r\n"] {
        let address = pretend(move |mut stream| async move {
            stream.write_all(greeting.as_bytes()).await.expect("the client listens");
        })
        .await;
        let error = reach(address, &home.options()).await.expect_err("it hangs up");
        assert_eq!((error.code(), error.is_transient()), (Code::SshUnreachable, true), "{error:?}");
    }
}

#[tokio::test]
async fn cancelling_ends_an_attempt_at_once() {
    let home = Home::with_key();
    let (noticed, mut seen) = tokio::sync::mpsc::channel(1);
    let address = pretend(move |mut stream| {
        let noticed = noticed.clone();
        async move {
            let mut byte = [0; 1024];
            let greeted = matches!(stream.read(&mut byte).await, Ok(1..));
            assert!(greeted, "the client says its version");
            noticed.send(()).await.expect("the test waits");
            while matches!(stream.read(&mut byte).await, Ok(1..)) {}
            noticed.send(()).await.expect("the test waits");
        }
    })
    .await;
    let cancel = CancellationToken::new();
    let (remote, options, person) = (remote(address), home.options(), Person::default());
    let start = Instant::now();
    let (connected, ()) = tokio::join!(connect(&remote, &options, &person, &cancel), async {
        assert_eq!(seen.recv().await, Some(()), "the handshake is under way");
        cancel.cancel();
    });
    assert_eq!(connected.expect_err("it was cancelled").code(), Code::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(2));
    let noticed = tokio::time::timeout(Duration::from_secs(5), seen.recv()).await;
    assert_eq!(noticed.expect("the server sees the end"), Some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_seen_as_dead() {
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let options = Options { keepalive: Duration::from_millis(500), ..home.accepting() };
    let ssh = reach(sshd.address, &options).await.expect("it is let in");
    let mut process = ssh.exec("echo $PPID; exec sleep 100", None).await.expect("it runs");
    let mut said = [0; 64];
    let length = process.stdout.read(&mut said).await.expect("it says its parent");
    let parent = String::from_utf8_lossy(&said[..length]).trim().to_owned();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &parent]).status();
        assert!(sent.expect("kill is installed").success());
    };
    signal("-STOP");
    let start = Instant::now();
    let closed = tokio::time::timeout(Duration::from_secs(20), ssh.closed()).await;
    let exit = tokio::time::timeout(Duration::from_secs(5), process.exit).await;
    signal("-CONT");
    closed.expect("it is seen as dead");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let error = exit.expect("its commands end with it").expect_err("nobody knows how it ended");
    assert_eq!((error.code(), error.is_transient()), (Code::SshLost, true));
    assert!(ssh.round_trip().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_its_commands() {
    let embedded = Embedded::start().await;
    let ssh = embedded.reach().await;
    let process = ssh.exec("echo $$; sleep 100", None).await.expect("it runs");
    let Process { stdin: _stdin, mut stdout, exit, .. } = process;
    let mut line = [0; 64];
    let length = stdout.read(&mut line).await.expect("it says its number");
    let shell = String::from_utf8_lossy(&line[..length]).trim().to_owned();
    embedded.server.stop().await;
    ssh.closed().await;
    assert!(exit.await.is_err());
    assert!(!Path::new("/proc").join(&shell).exists(), "the server kills what it started");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_both_kinds_of_addresses_lead_there() {
    let embedded = Embedded::start().await;
    let target = embedded.server.address();
    // A name may have addresses where nothing listens; each is tried.
    let named = RemoteRow { host: "localhost".to_owned(), ..remote(target) };
    let (options, person) = (embedded.home.accepting(), Person::default());
    let cancel = CancellationToken::new();
    connect(&named, &options, &person, &cancel).await.expect("one of its addresses answers");

    let listener = tokio::net::TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let forwarder = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = tokio::net::TcpStream::connect(target).await.expect("the server listens");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await.is_ok() });
        }
    });
    for host in ["::1", "[::1]"] {
        let sixth = RemoteRow { host: host.to_owned(), port: Some(port), ..named.clone() };
        let ssh = connect(&sixth, &options, &person, &cancel).await.expect("it leads to the same server");
        assert_eq!(run(&ssh, "echo there").await.out, "there\n");
    }
    let known = std::fs::read_to_string(embedded.home.key("known_hosts")).expect("it was recorded");
    assert_eq!(known.lines().filter(|line| line.starts_with(&format!("[::1]:{port} "))).count(), 1, "{known}");
    forwarder.abort();
}
