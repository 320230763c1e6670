//! The wire that other flows break is exact: so many bytes arrive and not one more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use harness::proxy::{Fault, Proxy, Way};

/// Starts a server that returns all it reads until the end.
fn sink() -> (u16, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let mut bytes = Vec::new();
        // A cut may end it with an error; what came before it counts.
        stream.read_to_end(&mut bytes).ok();
        bytes
    });
    (port, reader)
}

fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).expect("the proxy listens")
}

#[test]
fn a_cut_comes_at_the_exact_byte() {
    for offset in [0_usize, 1, 1000, 65_537] {
        let (port, reader) = sink();
        let proxy = Proxy::start(port);
        proxy.after(Way::Up, offset as u64, Fault::Cut);
        // The write may fail half-way: that is the cut.
        connect(&proxy).write_all(&vec![7; 200_000]).ok();
        assert_eq!(reader.join().expect("the sink ends").len(), offset);
    }
}

#[test]
fn a_stalled_wire_goes_on_where_it_stopped() {
    let (port, reader) = sink();
    let proxy = Proxy::start(port);
    proxy.after(Way::Up, 10, Fault::Stall);
    connect(&proxy).write_all(b"0123456789abcdef").expect("the proxy reads");
    harness::process::wait_until("ten bytes", std::time::Duration::from_secs(10), || proxy.bytes(Way::Up) == 10);
    proxy.resume();
    assert_eq!(reader.join().expect("the sink ends"), b"0123456789abcdef");
}

#[test]
fn a_refusing_wire_ends_new_connections() {
    let (port, _reader) = sink();
    let proxy = Proxy::start(port);
    proxy.refuse(true);
    let mut bytes = Vec::new();
    assert_eq!(connect(&proxy).read_to_end(&mut bytes).unwrap_or(0), 0);
    assert_eq!(proxy.accepted(), 0);
}

#[test]
fn a_throttled_wire_takes_its_time() {
    let (port, reader) = sink();
    let proxy = Proxy::start(port);
    proxy.throttle(1e6);
    let began = std::time::Instant::now();
    let mut stream = connect(&proxy);
    stream.write_all(&vec![7; 300_000]).expect("the proxy reads");
    drop(stream);
    assert_eq!(reader.join().expect("the sink ends").len(), 300_000);
    assert!(began.elapsed() >= std::time::Duration::from_millis(290), "{:?}", began.elapsed());
}
