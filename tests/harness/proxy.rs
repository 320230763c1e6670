//! A wire between client and server that counts bytes, is as long as a test says, and is cut or stalled where it says.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Bytes that are read at once; small enough to stop at an exact offset cheaply.
const BUFFER: usize = 64 * 1024;
/// Reads that a long wire holds: 128 MiB, far more than any window.
const ON_THE_WAY: usize = 2048;

/// Which way bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What happens once so many bytes, counted over all connections, went one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every connection ends.
    Cut,
    /// Nothing more travels, and nobody is told.
    Stall,
}

#[derive(Debug, Default)]
struct State {
    up: u64,
    down: u64,
    fault: Option<(Way, u64, Fault)>,
    stalled: bool,
    refusing: bool,
    accepted: u64,
    open: Vec<TcpStream>,
    /// Bytes per second that each way carries; `None` for all there are.
    rate: Option<f64>,
    /// When each way has carried what it took, up and down.
    free: [Option<Instant>; 2],
}

/// A TCP proxy on a free loopback port. Ends its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Proxy {
    /// Starts a proxy to `127.0.0.1:port`.
    pub fn start(port: u16) -> Self {
        Self::far(port, Duration::ZERO)
    }

    /// Starts a proxy to `127.0.0.1:port` over which every byte needs `delay`, each way.
    pub fn far(port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The last look at the counters' owner: nobody is left to count for.
                if Arc::strong_count(&accepting) == 1 {
                    return;
                }
                accept(client, port, delay, &accepting);
            }
        });
        Self { port: own, shared }
    }

    /// Returns the port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the bytes that went one way so far.
    pub fn bytes(&self, way: Way) -> u64 {
        let state = self.state();
        match way {
            Way::Up => state.up,
            Way::Down => state.down,
        }
    }

    /// Returns the number of connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.state().accepted
    }

    /// Lets `fault` happen after `bytes` more bytes went `way`; exactly so many still arrive.
    pub fn after(&self, way: Way, bytes: u64, fault: Fault) {
        let mut state = self.state();
        let so_far = match way {
            Way::Up => state.up,
            Way::Down => state.down,
        };
        state.fault = Some((way, so_far + bytes, fault));
    }

    /// Ends every connection now.
    pub fn cut(&self) {
        cut(&mut self.state());
        self.shared.1.notify_all();
    }

    /// Stops all bytes now, without a word.
    pub fn stall(&self) {
        self.state().stalled = true;
    }

    /// Returns whether bytes are stopped now.
    pub fn is_stalled(&self) -> bool {
        self.state().stalled
    }

    /// Lets stalled bytes travel again.
    pub fn resume(&self) {
        self.state().stalled = false;
        self.shared.1.notify_all();
    }

    /// Lets each way carry so many bytes per second from now on, over all connections.
    pub fn throttle(&self, bytes_per_second: f64) {
        self.state().rate = Some(bytes_per_second);
    }

    /// Refuses new connections, or accepts them again.
    pub fn refuse(&self, refuse: bool) {
        self.state().refusing = refuse;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().expect("no proxy thread panics")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.resume();
        self.cut();
    }
}

fn cut(state: &mut State) {
    for stream in state.open.drain(..) {
        // A connection that is already gone cannot be shut down; that is what was wanted.
        stream.shutdown(Shutdown::Both).ok();
    }
}

fn accept(client: TcpStream, port: u16, delay: Duration, shared: &Arc<(Mutex<State>, Condvar)>) {
    let mut state = shared.0.lock().expect("no proxy thread panics");
    if state.refusing {
        return;
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
    let clone = |stream: &TcpStream| stream.try_clone().expect("enough file descriptors for a test");
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("an open socket");
        state.open.push(clone(stream));
    }
    state.accepted += 1;
    for (way, from, to) in [(Way::Up, clone(&client), clone(&server)), (Way::Down, server, client)] {
        let shared = Arc::clone(shared);
        if delay.is_zero() {
            std::thread::spawn(move || pump(way, from, to, &shared));
        } else {
            let (on_the_way, arriving) = sync_channel(ON_THE_WAY);
            std::thread::spawn(move || read_on(from, delay, |piece| on_the_way.send(piece).is_ok()));
            std::thread::spawn(move || arrive(way, &arriving, to, &shared));
        }
    }
}

fn pump(way: Way, mut from: TcpStream, mut to: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !pass_on(way, &buffer[..read], &mut to, shared) {
            return;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// Reads at once what comes and says when it is due at the other end.
fn read_on(mut from: TcpStream, delay: Duration, send: impl Fn((Instant, Vec<u8>)) -> bool) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !send((Instant::now() + delay, buffer[..read].to_vec())) {
            return;
        }
    }
}

/// Lets each piece arrive when it is due.
fn arrive(way: Way, arriving: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, shared: &(Mutex<State>, Condvar)) {
    for (due, piece) in arriving {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if !pass_on(way, &piece, &mut to, shared) {
            return;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// Writes a piece, as far as it may go; false when nobody takes it any more.
fn pass_on(way: Way, piece: &[u8], to: &mut TcpStream, shared: &(Mutex<State>, Condvar)) -> bool {
    let mut done = 0;
    while done < piece.len() {
        let allowed = allow(way, piece.len() - done, shared);
        wait_for_turn(way, allowed, shared);
        if to.write_all(&piece[done..done + allowed]).is_err() {
            return false;
        }
        done += allowed;
        strike(way, shared);
    }
    true
}

/// Waits while stalled, counts up to `wanted` bytes and returns how many may go before the fault.
fn allow(way: Way, wanted: usize, shared: &(Mutex<State>, Condvar)) -> usize {
    let state = shared.0.lock().expect("no proxy thread panics");
    let mut state = shared.1.wait_while(state, |state| state.stalled).expect("no proxy thread panics");
    let so_far = if way == Way::Up { state.up } else { state.down };
    let allowed = match state.fault {
        Some((at, offset, _)) if at == way => {
            wanted.min(usize::try_from(offset.saturating_sub(so_far)).unwrap_or(usize::MAX))
        }
        _ => wanted,
    };
    let counter = if way == Way::Up { &mut state.up } else { &mut state.down };
    *counter += allowed as u64;
    allowed
}

/// Waits as long as a slower wire needs for so many bytes.
fn wait_for_turn(way: Way, bytes: usize, shared: &(Mutex<State>, Condvar)) {
    let mut state = shared.0.lock().expect("no proxy thread panics");
    let Some(rate) = state.rate else { return };
    let needed = Duration::from_secs_f64(f64::from(u32::try_from(bytes).expect("a buffer is small")) / rate);
    let now = Instant::now();
    let free = &mut state.free[usize::from(way == Way::Down)];
    let done = free.map_or(now, |free| free.max(now)) + needed;
    *free = Some(done);
    drop(state);
    std::thread::sleep(done.saturating_duration_since(now));
}

/// Lets the fault happen when its offset is reached.
fn strike(way: Way, shared: &(Mutex<State>, Condvar)) {
    let mut state = shared.0.lock().expect("no proxy thread panics");
    let so_far = if way == Way::Up { state.up } else { state.down };
    let Some((at, offset, fault)) = state.fault else { return };
    if at != way || so_far < offset {
        return;
    }
    state.fault = None;
    match fault {
        Fault::Cut => cut(&mut state),
        Fault::Stall => state.stalled = true,
    }
}
