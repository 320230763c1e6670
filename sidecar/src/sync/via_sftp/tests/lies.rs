//! Servers whose answers cannot be true.

use super::*;

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).expect("a packet of a test");
    [length.to_be_bytes().as_slice(), &[kind], body].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    [u32::try_from(text.len()).expect("a text of a test").to_be_bytes().as_slice(), text].concat()
}

fn version() -> Vec<u8> {
    packet(2, &3_u32.to_be_bytes())
}

fn name(id: u32, names: &[&[u8]]) -> Vec<u8> {
    let mut body = [id.to_be_bytes(), u32::try_from(names.len()).expect("few").to_be_bytes()].concat();
    for name in names {
        body.extend([string(name), string(b"x"), attributes(0o040_755, 0)].concat());
    }
    packet(104, &body)
}

fn attributes(mode: u32, size: u64) -> Vec<u8> {
    // Size, permissions and times.
    [&13_u32.to_be_bytes(), size.to_be_bytes().as_slice(), &mode.to_be_bytes(), &[0; 8]].concat()
}

fn attrs(id: u32, mode: u32, size: u64) -> Vec<u8> {
    packet(105, &[id.to_be_bytes().as_slice(), &attributes(mode, size)].concat())
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet(101, &[id.to_be_bytes().as_slice(), &code.to_be_bytes(), &string(b"\x1b[2J"), &string(b"")].concat())
}

fn handle_of(id: u32) -> Vec<u8> {
    packet(102, &[id.to_be_bytes().as_slice(), &string(b"h")].concat())
}

/// Says yes to everything: every folder is there, every list begins anew.
fn agreeable(kind: u8, id: u32) -> Vec<u8> {
    match kind {
        1 => version(),
        3 | 11 => handle_of(id),
        5 => packet(103, &[id.to_be_bytes().as_slice(), &string(b"{}")].concat()),
        7 | 8 | 17 => attrs(id, 0o040_700, 0),
        12 => status(id, 1),
        16 | 19 => name(id, &[b"/home/mallory"]),
        _ => status(id, 0),
    }
}

/// Lies that end an opening in an error.
#[rustfmt::skip] // One lie, one line.
const LIES: &[(&str, Lie)] = &[
    ("a packet of four gigabytes", |_, _| Some(vec![0xff; 64])),
    ("silence that ends", |_, _| None),
    ("an unknown kind", |_, id| Some(packet(77, &id.to_be_bytes()))),
    ("an old version", |_, _| Some(packet(2, &1_u32.to_be_bytes()))),
    ("two versions", |_, _| Some(version().repeat(2))),
    ("a cut answer", |kind, id| Some(if kind == 1 { version() } else { packet(105, &id.to_be_bytes()[..2]) })),
    ("a text longer than its packet", |kind, id| Some(if kind == 1 { version() } else { packet(102, &[id.to_be_bytes(), [0xff; 4]].concat()) })),
    ("a list of four billion names", |kind, id| Some(if kind == 1 { version() } else { packet(104, &[id.to_be_bytes(), [0xff; 4]].concat()) })),
    ("an answer to another question", |kind, id| Some(if kind == 1 { version() } else { handle_of(id) })),
    ("well, and nothing more", |kind, id| Some(if kind == 1 { version() } else { status(id, 0) })),
    ("no home", |kind, id| Some(if kind == 16 { name(id, &[]) } else { agreeable(kind, id) })),
    ("a home with a NUL", |kind, id| Some(if kind == 16 { name(id, &[b"/ho\0me"]) } else { agreeable(kind, id) })),
    ("a home that is relative", |kind, id| Some(if kind == 16 { name(id, &[b"../../home"]) } else { agreeable(kind, id) })),
    ("two homes", |kind, id| Some(if kind == 16 { name(id, &[b"/a", b"/b"]) } else { agreeable(kind, id) })),
    ("attributes that say nothing", |kind, id| Some(if kind == 7 { packet(105, &[id.to_be_bytes(), [0; 4]].concat()) } else { agreeable(kind, id) })),
    ("nothing but devices", |kind, id| Some(if kind == 7 { attrs(id, 0o020_644, 0) } else { agreeable(kind, id) })),
    ("a folder without an end", |kind, id| Some(if kind == 12 { name(id, &[b"x".as_slice(); 500]) } else { agreeable(kind, id) })),
    ("a list of nothing for ever", |kind, id| Some(if kind == 12 { name(id, &[]) } else { agreeable(kind, id) })),
    ("an entry that leads upwards", |kind, id| Some(if kind == 12 { name(id, &[b"../../etc/passwd"]) } else { agreeable(kind, id) })),
    ("an entry with a name of 200 KB", |kind, id| Some(if kind == 12 { name(id, &[&[b'x'; 200_000]]) } else { agreeable(kind, id) })),
    ("an entry without a name", |kind, id| Some(if kind == 12 { name(id, &[b""]) } else { agreeable(kind, id) })),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_server_costs_an_error_and_nothing_else() {
    let home = tempfile::tempdir().expect("a folder can be made");
    for (what, lie) in LIES {
        let target = ViaSftp::new(Server::Liar(*lie).session(home.path()));
        let open = open_as(Path::new("/home/mallory/copy"), "me", false);
        let opening = target.open(&open);
        let opened = tokio::time::timeout(SOON, opening).await.unwrap_or_else(|_| panic!("{what}: no end"));
        let error = Error::from(opened.expect_err(what));
        assert!(!error.help.is_empty() && !format!("{error:?}").contains('\u{1b}'), "{what}: {error:?}");
    }
    assert_eq!(std::fs::read_dir(home.path()).expect("it is there").count(), 0);
}

/// Answers about files that cannot be true.
#[rustfmt::skip] // One lie, one line.
const FILES: &[(&str, Lie)] = &[
    ("longer than any disk", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, u64::MAX), _ => agreeable(kind, id) })),
    ("longer than it is", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, 1 << 33), 5 => status(id, 1), _ => agreeable(kind, id) })),
    ("more bytes than were asked for", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, 5), 5 => packet(103, &[id.to_be_bytes().as_slice(), &string(&[7; 100_000])].concat()), _ => agreeable(kind, id) })),
    ("a read of nothing", |kind, id| Some(match kind { 7 | 8 => attrs(id, 0o100_644, 5), 5 => packet(103, &[id.to_be_bytes().as_slice(), &string(b"")].concat()), _ => agreeable(kind, id) })),
    ("a link of a megabyte", |kind, id| Some(match kind { 7 => attrs(id, 0o120_777, 5), 19 => name(id, &[&[b'x'; 200_000]]), _ => agreeable(kind, id) })),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_files_are_told_as_such() {
    for (what, lie) in FILES {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(converse(theirs, *lie));
        let (stdout, stdin) = tokio::io::split(ours);
        let wire = Wire::begin(stdout, stdin).await.expect("it begins well");
        let expect = Expect::File { hash: Hash([7; 32]), stamp: None };
        let clock = side::Clock::new(0);
        let compared = super::super::look::compare(&wire, &clock, "/x", &expect);
        let told = tokio::time::timeout(SOON, compared).await.unwrap_or_else(|_| panic!("{what}: no end"));
        let fault = told.expect_err(what);
        assert!(!matches!(fault, Fault::Lost { .. }), "{what}: {fault:?}");
    }
}
