//! What a sidecar asks in a recorded session: everything that protocol 1 has, one request after the other. It uses
//! nothing newer, so that it can be recorded again with the build of any version.

use protocol::agent::{Apply, Holder, Open, Reply, Request, RootId, Trailer};
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Action, Expect, Found, Hash, Known, Op, Outcome};
use sidecar::session::link::{Link, LinkError, Piece};

/// One answer, with the data that followed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) data: Vec<u8>,
    pub(crate) trailer: Option<Trailer>,
}

/// Plays the whole session and returns every answer, in order.
pub(crate) async fn play(link: &Link) -> Result<Vec<Answer>, LinkError> {
    let mut player = Player { link, root: 0, answers: Vec::new() };
    player.ask(Request::Health).await?;
    player.open().await?;
    let root = player.root;

    // A file that needs credit beyond what every stream has, with its hash told at the end, as of one that is
    // hashed while it is sent.
    let large: Vec<u8> = (0..280_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 7 == 0)]).collect();
    let ops = vec![
        op("src", Expect::Absent, Action::MakeFolder { mode: 0o755 }),
        op("src/deep", Expect::Absent, Action::MakeFolder { mode: 0o750 }),
        op("src/deep/one.py", Expect::Absent, put(b"print(1)\n")),
        op("run.sh", Expect::Absent, put(b"#!/bin/sh\n")),
        op("latest", Expect::Absent, Action::Link { target: "src/deep".to_owned() }),
        op(
            "large",
            Expect::Absent,
            Action::Put { size: 280_000, hash: None, mode: 0o644, mtime_ns: Some(1_700_000_000) },
        ),
    ];
    let trailer = Trailer { hash: Some(hash(&large)), error: None };
    player
        .apply(Apply { root, barrier: false, durable: false, ops }, &[b"print(1)\n", b"#!/bin/sh\n", &large], trailer)
        .await?;

    player
        .ask(Request::Verify {
            root,
            entries: vec![
                Known { path: path("src/deep/one.py"), expect: file(b"print(1)\n") },
                Known { path: path("run.sh"), expect: file(b"something else") },
                Known { path: path("large"), expect: Expect::Absent },
                Known { path: path("nothing"), expect: Expect::Folder },
                Known { path: path("latest"), expect: Expect::Link { target: "src/deep".to_owned() } },
                Known { path: path("latest/one.py"), expect: Expect::Absent },
            ],
        })
        .await?;

    let ops = vec![
        op("run.sh", file(b"never was"), put(b"lost\n")),
        op("src/deep/one.py", player.seen(b"print(1)\n"), put(b"print(2)\n")),
        op("large", file(&large), Action::Remove),
        op("src", Expect::Folder, Action::Remove),
        op("latest", Expect::Link { target: "src/deep".to_owned() }, Action::Link { target: "src".to_owned() }),
        op("torn", Expect::Absent, Action::Put { size: 4, hash: Some(hash(b"whole")), mode: 0o600, mtime_ns: None }),
    ];
    player
        .apply(
            Apply { root, barrier: true, durable: true, ops },
            &[b"lost\n", b"print(2)\n", b"torn"],
            Trailer::default(),
        )
        .await?;
    let ops = vec![op("run.sh", file(b"#!/bin/sh\n"), Action::SetMode { mode: 0o644 })];
    player.apply(Apply { root, barrier: false, durable: false, ops }, &[], Trailer::default()).await?;

    for name in ["src/deep/one.py", "nothing", "src"] {
        player.ask(Request::Read { root, path: path(name) }).await?;
    }
    player.ask(Request::Flush { root }).await?;
    player.ask(Request::EmptyTrash { root }).await?;
    player.ask(Request::Flush { root: root + 7 }).await?;
    player.ask(Request::Log { lines: 1 }).await?;
    player.ask(Request::Close { root }).await?;
    let ops = vec![op("late", Expect::Absent, put(b"late\n"))];
    player.apply(Apply { root, barrier: false, durable: false, ops }, &[b"late\n"], Trailer::default()).await?;
    Ok(player.answers)
}

struct Player<'a> {
    link: &'a Link,
    root: RootId,
    answers: Vec<Answer>,
}

impl Player<'_> {
    async fn open(&mut self) -> Result<(), LinkError> {
        let holder = Holder { id: "recorded".to_owned(), label: "ada@laptop:/home/ada/project".to_owned() };
        let copy = RemotePath::new("~/copy").expect("a plain path");
        self.ask(Request::Open(Open { path: copy, create: true, holder, take_over: false })).await?;
        if let Some(Answer { reply: Reply::Opened(opened), .. }) = self.answers.last() {
            self.root = opened.root;
        }
        Ok(())
    }

    async fn ask(&mut self, request: Request) -> Result<(), LinkError> {
        let mut exchange = self.link.exchange(request).await?;
        let reply = exchange.reply().await?;
        let mut answer = Answer { reply, data: Vec::new(), trailer: None };
        while matches!(answer.reply, Reply::Reading(_)) && answer.trailer.is_none() {
            match exchange.data().await? {
                Piece::Data(bytes) => answer.data.extend_from_slice(&bytes),
                Piece::End(trailer) => answer.trailer = Some(trailer),
            }
        }
        self.answers.push(answer);
        Ok(())
    }

    async fn apply(&mut self, apply: Apply, bodies: &[&[u8]], trailer: Trailer) -> Result<(), LinkError> {
        let mut exchange = self.link.exchange(Request::Apply(apply)).await?;
        for piece in bodies.iter().flat_map(|body| body.chunks(100_000)) {
            exchange.send(piece.to_vec().into()).await?;
        }
        exchange.finish(trailer).await?;
        let reply = exchange.reply().await?;
        self.answers.push(Answer { reply, data: Vec::new(), trailer: None });
        Ok(())
    }

    /// Returns the file with the stamp that the agent gave it, as a sidecar remembers it.
    fn seen(&self, bytes: &[u8]) -> Expect {
        let stamp = self.answers.iter().find_map(|answer| match &answer.reply {
            Reply::Applied(outcomes) => outcomes.iter().find_map(|outcome| match outcome {
                Outcome::Applied { stamp: Some(stamp), .. } if stamp.size == bytes.len() as u64 => Some(*stamp),
                Outcome::Applied { .. } | Outcome::Already { .. } | Outcome::Rejected(_) => None,
            }),
            _ => None,
        });
        Expect::File { hash: hash(bytes), stamp }
    }
}

/// Makes equal what differs from one machine and moment to the next: names, numbers, times, words of the log.
pub(crate) fn comparable(mut answer: Answer) -> Answer {
    match &mut answer.reply {
        Reply::Health(health) => {
            for text in [&mut health.version, &mut health.hostname] {
                text.clear();
            }
            (health.pid, health.uptime_seconds) = (0, 0);
        }
        Reply::Opened(opened) => {
            for text in [&mut opened.path, &mut opened.copy] {
                text.clear();
            }
            opened.free_bytes = 0;
        }
        Reply::Verified(differs) => differs.iter_mut().filter_map(|differs| differs.found.as_mut()).for_each(unstamp),
        Reply::Applied(outcomes) => outcomes.iter_mut().for_each(|outcome| match outcome {
            Outcome::Applied { stamp, .. } | Outcome::Already { stamp } => zero(stamp),
            Outcome::Rejected(protocol::sync::Rejected::Changed { found: Some(found) }) => unstamp(found),
            Outcome::Rejected(_) => {}
        }),
        Reply::Reading(found) => unstamp(found),
        Reply::Log(lines) => lines.iter_mut().for_each(String::clear),
        Reply::Failed(error) => {
            // What a person reads may be said better; the code is what programs go by.
            error.message.clear();
            error.help.clear();
            error.causes.clear();
        }
        // `Done`, and what a session of protocol 1 never has.
        _ => {}
    }
    answer
}

fn unstamp(found: &mut Found) {
    zero(&mut found.stamp);
}

fn zero(stamp: &mut Option<protocol::sync::Stamp>) {
    if let Some(stamp) = stamp {
        *stamp = protocol::sync::Stamp { size: stamp.size, mtime_ns: 0, ctime_ns: 0, inode: 0, device: 0 };
    }
}

fn op(at: &str, expect: Expect, action: Action) -> Op {
    Op { path: path(at), expect, action }
}

fn put(bytes: &[u8]) -> Action {
    Action::Put { size: bytes.len() as u64, hash: Some(hash(bytes)), mode: 0o644, mtime_ns: None }
}

fn file(bytes: &[u8]) -> Expect {
    Expect::File { hash: hash(bytes), stamp: None }
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}
