//! An owner in memory and clients of every kind: polite, silent, hostile, of another time.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::place::Place;
use super::relay::Relay;
use super::server::Server;
use super::words::{self, FromOwner, Hello, Said, ToOwner};
use super::*;
use crate::commands;
use crate::frontend::{Answer, Progress, Question, Terminal};
use crate::secrets::Secret;

/// Notes what it is told and says yes.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn note(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

#[async_trait]
impl Frontend for Recorder {
    fn report(&self, progress: Progress) {
        self.note(format!("progress {}", progress.title));
    }

    fn tell(&self, line: String) {
        self.note(format!("tell {line}"));
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        self.note(format!("{stream:?} {bytes:?}"));
    }

    async fn ask(&self, question: &Question) -> Option<Answer> {
        self.note(question.text());
        Some(Answer::Yes)
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

struct Stage {
    folder: tempfile::TempDir,
    place: Place,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place::in_folder(folder.path(), "name");
        Self { folder, place }
    }

    /// Listens as an owner does, for one that the test plays.
    async fn listen(&self) -> UnixListener {
        let lock = self.place.own().expect("the folder can be written").expect("nobody else is here");
        self.place.listen(&lock).await.expect("the folder can be written")
    }

    async fn serve(&self) -> Server {
        let jobs = Jobs::with_database(Role::Owner, self.folder.path().join("state.db"));
        Server::start(jobs, self.folder.path(), &self.place).await.expect("the place is free")
    }

    async fn call(&self, name: &str, recorder: &Arc<Recorder>) -> Result<Value> {
        let command = commands::find(name).expect("a row");
        let request = Request { command, params: Value::Null, scope: Scope::default(), folder: "/".into() };
        let frontend: Arc<dyn Frontend> = recorder.clone();
        let called = client::call(&self.place, &request, &frontend, &CancellationToken::new()).await;
        called.map_err(|failed| failed.into_error(command))
    }
}

#[tokio::test]
async fn a_command_is_done_by_the_owner() {
    let stage = Stage::new();
    let _server = stage.serve().await;
    let answer = stage.call("cli/man", &Arc::default()).await;
    assert!(answer.is_ok_and(|answer| answer["text"].as_str().is_some_and(|text| text.contains("mltoolbox"))));
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let stage = Stage::new();
    let _server = stage.serve().await;
    let jobs = Jobs::with_database(Role::Owner, stage.folder.path().join("state.db"));
    let error = Server::start(jobs, stage.folder.path(), &stage.place).await.expect_err("the place is taken");
    assert_eq!(error.code, Code::OwnerUnavailable);
}

#[tokio::test]
async fn an_owner_whose_socket_was_cleared_away_is_found_again() {
    let stage = Stage::new();
    let _server = stage.serve().await;
    std::fs::remove_file(stage.place.socket().await).expect("it is there");
    // The time that passes is the clock's alone.
    tokio::time::pause();
    let found = async {
        while !stage.place.is_served().await {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(ENDING, found).await.expect("it listens again before whoever looks for it gives up");
    tokio::time::resume();
    assert!(stage.call("cli/man", &Arc::default()).await.is_ok());
}

#[tokio::test]
async fn hostile_clients_harm_nobody() {
    let stage = Stage::new();
    let _server = stage.serve().await;
    let mut hello = serde_json::to_vec(&Hello::ours()).expect("plain data");
    hello.push(b'\n');
    let too_long = [hello.clone(), vec![b'x'; 2 << 20]].concat();
    let no_command = [hello, b"{\"cancel\":null}\n".to_vec()].concat();
    for bytes in [b"garbage\n".to_vec(), b"{}\n".to_vec(), too_long, no_command, vec![0; 3]] {
        let mut client = stage.place.connect().await.expect("it listens");
        // The owner may hang up before all is written.
        client.write_all(&bytes).await.ok();
        client.shutdown().await.ok();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.ok();
    }
    assert!(stage.call("cli/man", &Arc::default()).await.is_ok());
}

/// A stand-in for an owner that says what it is given, after its hello.
async fn scripted(stage: &Stage, hello: Hello, lines: Vec<FromOwner>) -> tokio::task::JoinHandle<Vec<ToOwner>> {
    let listener = stage.listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let (reading, mut writing) = stream.into_split();
        let mut reading = BufReader::new(reading);
        words::write(&mut writing, &hello).await.expect("the client reads");
        let greeting: Option<Hello> = words::read(&mut reading, words::REQUEST_LIMIT).await.expect("a hello");
        assert_eq!(greeting, Some(Hello::ours()));
        for line in &lines {
            words::write(&mut writing, line).await.expect("the client reads");
        }
        let mut heard = Vec::new();
        while let Ok(Some(line)) = words::read(&mut reading, words::REQUEST_LIMIT).await {
            heard.push(line);
        }
        heard
    })
}

#[tokio::test]
async fn everything_that_an_owner_says_reaches_the_person() {
    let stage = Stage::new();
    let lines = vec![
        FromOwner::Progress(Progress { title: "Scanning".to_owned(), ..Progress::default() }),
        FromOwner::Tell("connected".to_owned()),
        FromOwner::Output(OutputStream::Stderr, "/w==".to_owned()),
        FromOwner::Ask(Question::Confirm { text: "Go on?".to_owned() }),
        FromOwner::Done(Value::from(7)),
    ];
    let owner = scripted(&stage, Hello::ours(), lines).await;
    let recorder = Arc::new(Recorder::default());
    assert_eq!(stage.call("sync/status", &recorder).await, Ok(Value::from(7)));
    let told = recorder.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(told, ["progress Scanning", "tell connected", "Stderr b\"\\xff\"", "Go on?"]);
    let heard = owner.await.expect("no panic");
    assert!(
        matches!(&heard[..], [ToOwner::Run { method, .. }, ToOwner::Answer(Some(Said::Yes))] if method == "sync/status")
    );
}

#[tokio::test]
async fn owners_are_asked_all_at_once() {
    let stages = [Stage::new(), Stage::new(), Stage::new()];
    // Nobody answers before everybody was asked.
    let everybody = Arc::new(tokio::sync::Barrier::new(stages.len()));
    for (index, stage) in stages.iter().enumerate() {
        let (listener, everybody) = (stage.listen().await, Arc::clone(&everybody));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let (reading, mut writing) = stream.into_split();
            let mut reading = BufReader::new(reading);
            words::write(&mut writing, &Hello::ours()).await.expect("the client reads");
            words::read::<Hello>(&mut reading, words::REQUEST_LIMIT).await.expect("a hello");
            words::read::<ToOwner>(&mut reading, words::REQUEST_LIMIT).await.expect("a command");
            everybody.wait().await;
            // The last is killed instead, which is as good as stopped.
            if index < 2 {
                let answer = serde_json::json!({ "syncs": [index], "stopped": [format!("/w{index}")] });
                words::write(&mut writing, &FromOwner::Done(answer)).await.expect("the client reads");
            }
        });
    }
    let command = commands::find("sync/stop").expect("a row");
    let request = Request { command, params: Value::Null, scope: Scope::default(), folder: "/".into() };
    let frontend: Arc<dyn Frontend> = Arc::<Recorder>::default();
    let (places, cancel) = (stages.each_ref().map(|stage| stage.place.clone()), CancellationToken::new());
    let asked = client::call_each(&places, &request, &frontend, &cancel);
    let answer = tokio::time::timeout(ENDING, asked).await.expect("none waits for another").expect("all stopped");
    assert_eq!(answer, serde_json::json!({ "syncs": [0, 1], "stopped": ["/w0", "/w1"] }));
}

#[tokio::test]
async fn an_owner_of_another_time_or_one_that_dies_is_an_error_with_a_next_step() {
    let stage = Stage::new();
    let newer = Hello { protocol: words::VERSION + 1, program: "9.0.0".to_owned(), pid: 4711 };
    let _owner = scripted(&stage, newer, Vec::new()).await;
    let error = stage.call("sync/status", &Arc::default()).await.expect_err("another version");
    assert!(error.help.contains("kill 4711"), "{error:?}");

    let stage = Stage::new();
    let mute = scripted(&stage, Hello::ours(), Vec::new()).await;
    mute.abort();
    let error = stage.call("sync/status", &Arc::default()).await.expect_err("it died");
    assert_eq!(error.code, Code::OwnerUnavailable);
}

#[tokio::test]
async fn what_may_have_been_begun_is_told_from_what_was_not() {
    // It greets, hears the command and is killed.
    let stage = Stage::new();
    let listener = stage.listen().await;
    let owner = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let (reading, mut writing) = stream.into_split();
        let mut reading = BufReader::new(reading);
        words::write(&mut writing, &Hello::ours()).await.expect("the client reads");
        words::read::<Hello>(&mut reading, words::REQUEST_LIMIT).await.expect("a hello");
        words::read::<ToOwner>(&mut reading, words::REQUEST_LIMIT).await.expect("a command");
    });
    let error = stage.call("sync/approve", &Arc::default()).await.expect_err("it died");
    owner.await.expect("no panic");
    assert!(error.help.contains("may have been done"), "{error:?}");

    // It is killed before it greets.
    let stage = Stage::new();
    let listener = stage.listen().await;
    let owner = tokio::spawn(async move { drop(listener.accept().await.expect("a client")) });
    let error = stage.call("sync/approve", &Arc::default()).await.expect_err("it died");
    owner.await.expect("no panic");
    assert!(!error.help.contains("may have been done"), "{error:?}");
}

#[tokio::test]
async fn a_place_that_is_being_left_is_waited_for() {
    let stage = Stage::new();
    let lock = stage.place.own().expect("the folder can be written").expect("nobody else is here");
    // Nobody listens, so whoever holds the lock is on its way out. It is let go at our first pause.
    let leaving = tokio::spawn(async move { drop(lock) });
    let jobs = Jobs::with_database(Role::Owner, stage.folder.path().join("state.db"));
    let server = Server::start(jobs, stage.folder.path(), &stage.place).await;
    leaving.await.expect("no panic");
    assert!(server.is_ok(), "{server:?}");
}

#[tokio::test]
async fn a_question_waits_for_its_answer_and_a_client_that_is_gone_has_none() {
    let (to_client, mut lines) = mpsc::channel(8);
    let (answer, answers) = mpsc::channel(1);
    let relay = Relay::new(to_client, answers);
    let question = Question::Passphrase { key: "key".to_owned() };
    answer.send(Some(Said::Secret("hunter2".to_owned()))).await.expect("room");
    assert_eq!(relay.ask(&question).await, Some(Answer::Secret(Secret::new("hunter2".to_owned()))));
    assert!(matches!(lines.recv().await, Some(FromOwner::Ask(asked)) if asked == question));
    drop(answer);
    assert_eq!(relay.ask(&question).await, None);
}
