//! Downloads from a server on this machine, which is as bad as a test wants it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::super::platform::tests::elf_head;
use super::*;

const PLATFORM: Platform = Platform::PUBLISHED[1];

/// Answers by path: whole HTTP responses. It counts what it is asked.
struct Server {
    address: String,
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = format!("http://{}/releases/", listener.local_addr().expect("it is bound"));
        let server = Self { address, answers: Arc::default(), asked: Arc::default() };
        let (answers, asked) = (Arc::clone(&server.answers), Arc::clone(&server.asked));
        // Ends with the test's process; connections are closed after one answer.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a caller");
                let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
                let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
                lines.by_ref().find(String::is_empty);
                let answer = answers.lock().expect("no panic").get(&path).cloned();
                asked.lock().expect("no panic").push(path);
                // The caller may have heard enough.
                stream.write_all(&answer.unwrap_or_else(|| response(404, b"<html>not found</html>"))).ok();
            }
        });
        server
    }

    fn answer(&self, name: &str, response: Vec<u8>) {
        let path = format!("/releases/v{}/{name}", env!("CARGO_PKG_VERSION"));
        self.answers.lock().expect("no panic").insert(path, response);
    }

    /// Publishes a program with the checksum of `summed`.
    fn publish(&self, program: &[u8], summed: &[u8]) {
        let name = PLATFORM.file_name();
        self.answer(name, response(200, program));
        let sum = Sum(Sha256::digest(summed).into());
        self.answer(&format!("{name}.sha256"), response(200, format!("{sum}  {name}\n").as_bytes()));
    }

    fn order(&self, cache: &tempfile::TempDir) -> Order {
        Base::parse(&self.address).expect("loopback").order(PLATFORM, cache.path())
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    announced(status, body.len(), body)
}

fn announced(status: u16, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn program() -> Vec<u8> {
    let mut program = elf_head(183, None);
    program.extend((0..300_000_u32).map(|number| number.to_le_bytes()[1]));
    program
}

fn setting() -> (Server, tempfile::TempDir) {
    (Server::start(), tempfile::tempdir().expect("a temporary folder"))
}

/// Returns the error of a download, which must have left nothing behind.
#[track_caller]
fn refused(order: &Order) -> DownloadError {
    let error = match fetch(order) {
        Err(InstallError::Download(error)) => error,
        Err(error) => panic!("another error: {error}"),
        Ok(path) => panic!("{} was downloaded", path.display()),
    };
    let left = std::fs::read_dir(order.kept().parent().expect("a folder")).into_iter().flatten().count();
    assert_eq!(left, 0, "nothing is kept of what is not believed");
    error
}

#[test]
fn a_download_is_checked_and_kept() {
    let (server, cache) = setting();
    server.publish(&program(), &program());
    let order = server.order(&cache);
    assert!(!order.is_kept());
    let file = fetch(&order).expect("all is well");
    assert_eq!(std::fs::read(&file).expect("it is there"), program());
    assert_eq!(server.asked(), 2);
    assert_eq!(fetch(&order).expect("it is kept"), file);
    assert_eq!(server.asked(), 2, "what is kept is not asked for");

    std::fs::write(&file, "damaged since").expect("our own folder");
    assert!(!order.is_kept());
    assert_eq!(fetch(&order).expect("it is downloaded anew"), file);
    assert_eq!(std::fs::read(&file).expect("it is there"), program());
}

#[test]
fn a_wrong_checksum_is_refused() {
    let (server, cache) = setting();
    server.publish(&program(), b"another program");
    assert!(matches!(refused(&server.order(&cache)), DownloadError::Damaged { .. }));
}

#[test]
fn what_breaks_off_is_refused() {
    let (server, cache) = setting();
    server.publish(&program(), &program());
    server.answer(PLATFORM.file_name(), announced(200, program().len(), &program()[..1000]));
    assert!(matches!(refused(&server.order(&cache)), DownloadError::Broken { .. }));
}

#[test]
fn what_is_not_there_or_no_checksum_is_refused() {
    let (server, cache) = setting();
    let order = server.order(&cache);
    assert!(matches!(refused(&order), DownloadError::Status { status: 404, .. }));
    let sum = format!("{}.sha256", PLATFORM.file_name());
    let page = b"<html>Sign in to the network</html>".as_slice();
    let other = format!("{}  mlt-linux-x86_64\n", "0".repeat(64));
    for text in [page, &b"x".repeat(64), other.as_bytes(), b"", b"\xff\xfe"] {
        server.answer(&sum, response(200, text));
        assert!(matches!(refused(&order), DownloadError::NoSum { .. }), "{}", String::from_utf8_lossy(text));
    }
    server.answer(&sum, response(200, &b"0".repeat(5000)));
    assert!(matches!(refused(&order), DownloadError::TooLong { .. }));
    server.answer(&sum, response(302, b""));
    assert!(matches!(refused(&order), DownloadError::Status { .. } | DownloadError::Unreachable { .. }));
    server.publish(&program(), &program());
    server.answer(PLATFORM.file_name(), response(500, b"oh"));
    assert!(matches!(refused(&order), DownloadError::Status { status: 500, .. }));
}

#[test]
fn a_program_for_another_machine_is_refused_although_its_checksum_is_right() {
    let (server, cache) = setting();
    for wrong in [elf_head(62, None), b"<html>a page of its own</html>".to_vec()] {
        server.publish(&wrong, &wrong);
        assert!(matches!(fetch(&server.order(&cache)), Err(InstallError::WrongProgram { .. })));
    }
    assert!(!server.order(&cache).is_kept());
}

#[test]
fn nobody_there_is_told_as_that() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.local_addr().expect("it is bound").port()
    };
    let cache = tempfile::tempdir().expect("a temporary folder");
    let order = Base::parse(&format!("http://localhost:{port}")).expect("loopback").order(PLATFORM, cache.path());
    assert!(matches!(refused(&order), DownloadError::Unreachable { .. }));
}

#[test]
fn only_safe_addresses_are_asked() {
    for (base, url) in [
        ("https://releases.example/mltoolbox/", "https://releases.example/mltoolbox"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ] {
        let order = Base::parse(base).expect("a safe address").order(PLATFORM, Path::new("/cache"));
        assert_eq!(order.url(), format!("{url}/v{}/{}", env!("CARGO_PKG_VERSION"), PLATFORM.file_name()));
    }
    for base in [
        "",
        "releases",
        "/a/folder",
        "http://releases.example",
        "http://127.0.0.1.example",
        "http://localhost@releases.example",
        "https://ada:secret@releases.example",
        "https://releases.example/?page=1",
        "https://releases.example/#top",
        "ftp://127.0.0.1",
        "file:///etc",
    ] {
        assert!(matches!(Base::parse(base), Err(DownloadError::Base { .. })), "{base}");
    }
}
