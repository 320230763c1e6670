//! The language server in memory, with commands that hang, block, panic and ask: the ways in which such
//! servers wedge must stay closed.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Setting, frames, serve};
use crate::commands::{Command, Running, Where};
use crate::cx::Cx;
use crate::frontend::{Progress, Question};
use crate::jobs::{Jobs, Role};

/// Anything takes at most this long on a busy machine; what hangs would take for ever.
const SOON: Duration = Duration::from_secs(20);

static ROWS: LazyLock<Vec<Command>> = LazyLock::new(|| {
    vec![
        row("test/echo", |_, params| Box::pin(async move { Ok(params) })),
        row("test/hang", |cx, _| {
            Box::pin(async move {
                cx.cancel.cancelled().await;
                Ok(Value::Null)
            })
        }),
        // Ignores its cancellation, too.
        row("test/deaf", |_, _| Box::pin(std::future::pending())),
        row("test/block", |_, _| {
            Box::pin(async {
                std::thread::sleep(Duration::from_millis(700));
                Ok(Value::Null)
            })
        }),
        row("test/panic", |_, _| Box::pin(async { panic!("boom") })),
        row("test/ask", |cx, _| {
            Box::pin(async move {
                let question = Question::Confirm { text: "Go on?".to_owned() };
                let answer = cx.frontend.ask(&question).await;
                Ok(json!(answer.map(|answer| answer == crate::frontend::Answer::Yes)))
            })
        }),
        row("test/trust", |cx, _| {
            Box::pin(async move {
                let question = Question::Trust {
                    workspace: "/p".to_owned(),
                    commands: vec!["make".to_owned()],
                    is_changed: false,
                };
                let answer = cx.frontend.ask(&question).await;
                Ok(json!(answer.map(|answer| answer == crate::frontend::Answer::Yes)))
            })
        }),
        row("test/talk", |cx, params| {
            Box::pin(async move {
                for number in 0..params["lines"].as_u64().unwrap_or(0) {
                    cx.frontend.report(Progress { title: "Talking".to_owned(), files: number, ..Progress::default() });
                    let line = format!("{number}\n").into_bytes();
                    cx.frontend.output(protocol::editor::OutputStream::Stdout, line.into()).await;
                }
                Ok(Value::Null)
            })
        }),
        row("test/raw", |cx, _| {
            Box::pin(async move {
                let bytes = vec![0xff; (64 << 10) + 1];
                cx.frontend.output(protocol::editor::OutputStream::Stderr, bytes.into()).await;
                Ok(Value::Null)
            })
        }),
    ]
});

fn row(name: &'static str, run: fn(Cx, Value) -> Running) -> Command {
    Command {
        name,
        method: format!("mltoolbox/{name}"),
        cli: &["test"],
        about: "A command of a test",
        examples: &[],
        runs: Where::Anywhere,
        state: crate::commands::State::Own,
        once: false,
        grace: crate::commands::CANCEL_GRACE,
        arguments: |command| command,
        parse: |_| Value::Null,
        params_schema: || Value::Null,
        output_schema: || Value::Null,
        run: Box::new(run),
        show: Box::new(|_, _| {}),
        status: Box::new(|_| 0),
    }
}

struct Editor {
    to_server: WriteHalf<DuplexStream>,
    from_server: BufReader<ReadHalf<DuplexStream>>,
    status: JoinHandle<u8>,
    _kept: (mpsc::Sender<crate::log::Line>, tempfile::TempDir),
}

impl Editor {
    async fn start() -> Self {
        let mut editor = Self::unready();
        editor.request(0, "initialize", &json!({ "capabilities": {} })).await;
        let answer = editor.answer(0).await;
        let announced = &answer["result"]["capabilities"]["experimental"]["mltoolbox"];
        assert_eq!(announced["methods"][0], "mltoolbox/test/echo", "{answer}");
        editor
    }

    fn unready() -> Self {
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let (reading, writing) = tokio::io::split(theirs);
        let (log_tx, log) = mpsc::channel(1);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let jobs = Jobs::with_database(Role::Asker, folder.path().join("state.db"));
        let setting = Setting { commands: &ROWS, jobs, folder: "/".into(), log, editor: std::sync::Arc::default() };
        let status = tokio::spawn(serve(reading, writing, setting));
        let (from_server, to_server) = tokio::io::split(ours);
        Self { to_server, from_server: BufReader::new(from_server), status, _kept: (log_tx, folder) }
    }

    async fn send(&mut self, message: &Value) {
        let message = message.to_string();
        frames::write(&mut self.to_server, message.as_bytes()).await.expect("the server reads");
    }

    async fn request(&mut self, id: impl Into<Value>, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })).await;
    }

    async fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    async fn next(&mut self) -> Value {
        let message = tokio::time::timeout(SOON, frames::read(&mut self.from_server)).await;
        let message = message.expect("the server answers").expect("whole messages").expect("not the end");
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Returns the answer to a request; other messages before it are dropped.
    async fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        loop {
            let message = self.next().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    async fn ended(self) -> u8 {
        let begun = Instant::now();
        let status = tokio::time::timeout(SOON, self.status).await.expect("the server ends").expect("without a panic");
        assert!(begun.elapsed() < Duration::from_secs(1), "the end took {:?}", begun.elapsed());
        status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_behind_many_that_hang_and_a_queued_one_can_be_cancelled() {
    let mut editor = Editor::start().await;
    for id in 1..=100 {
        editor.request(id, "mltoolbox/test/hang", &json!({})).await;
    }
    editor.request("echo", "mltoolbox/test/echo", &json!({ "a": 1 })).await;
    assert_eq!(editor.answer("echo").await["result"]["a"], 1);
    editor.notify("$/cancelRequest", &json!({ "id": 100 })).await;
    let answer = editor.answer(100).await;
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]["code"]), (&json!(-32800), &json!("cancelled")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocking_command_blocks_only_itself() {
    let mut editor = Editor::start().await;
    editor.request(1, "mltoolbox/test/block", &json!({})).await;
    editor.request(2, "mltoolbox/test/echo", &json!({})).await;
    loop {
        let message = editor.next().await;
        assert_ne!(message["id"], 1, "the blocking command came first");
        if message["id"] == 2 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_the_editor_are_read_while_many_requests_wait() {
    let mut editor = Editor::start().await;
    for id in 1..=4 {
        editor.request(id, "mltoolbox/test/ask", &json!({})).await;
    }
    for id in 5..=130 {
        editor.request(id, "mltoolbox/test/hang", &json!({})).await;
    }
    let mut answered = 0;
    while answered < 4 {
        let message = editor.next().await;
        if message["method"] == "window/showMessageRequest" {
            let (id, answer) = (&message["id"], json!({ "title": "Yes" }));
            editor.send(&json!({ "jsonrpc": "2.0", "id": id, "result": answer })).await;
        } else if message["id"].as_u64().is_some_and(|id| (1..=4).contains(&id)) {
            assert_eq!(message["result"], true, "{message}");
            answered += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_cancelling_harms_nobody() {
    let mut editor = Editor::start().await;
    editor.request(1, "mltoolbox/test/ask", &json!({})).await;
    let question = loop {
        let message = editor.next().await;
        if message["method"] == "window/showMessageRequest" {
            break message["id"].clone();
        }
    };
    editor.notify("$/cancelRequest", &json!({ "id": 1 })).await;
    assert_eq!(editor.answer(1).await["error"]["code"], -32800);
    editor.send(&json!({ "jsonrpc": "2.0", "id": question, "result": null })).await;
    editor.request(2, "mltoolbox/test/echo", &json!({})).await;
    editor.answer(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_for_trust_that_is_closed_has_no_answer() {
    let mut editor = Editor::start().await;
    for (id, said, expected) in [
        (1, Value::Null, Value::Null),
        (2, json!({ "title": "No" }), json!(false)),
        (3, json!({ "title": "Yes" }), json!(true)),
    ] {
        editor.request(id, "mltoolbox/test/trust", &json!({})).await;
        let question = loop {
            let message = editor.next().await;
            if message["method"] == "window/showMessageRequest" {
                break message["id"].clone();
            }
        };
        editor.send(&json!({ "jsonrpc": "2.0", "id": question, "result": said })).await;
        assert_eq!(editor.answer(id).await["result"], expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_an_answer_and_the_server_lives_on() {
    let mut editor = Editor::start().await;
    editor.request(1, "mltoolbox/test/panic", &json!({})).await;
    let answer = editor.answer(1).await;
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]["code"]), (&json!(-32603), &json!("bug")));
    editor.request(2, "mltoolbox/test/echo", &json!({})).await;
    editor.answer(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_ends_it_with_the_input_still_open_and_whatever_hangs() {
    let mut editor = Editor::start().await;
    editor.request(1, "mltoolbox/test/deaf", &json!({})).await;
    editor.request(2, "shutdown", &Value::Null).await;
    editor.answer(2).await;
    editor.notify("exit", &Value::Null).await;
    assert_eq!(editor.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_input_ends_it_whatever_hangs() {
    let mut editor = Editor::start().await;
    editor.request(1, "mltoolbox/test/deaf", &json!({})).await;
    editor.to_server.shutdown().await.expect("the pipe closes");
    assert_eq!(editor.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editor_that_reads_no_more_ends_it() {
    let Editor { mut to_server, from_server, status, _kept } = Editor::start().await;
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "mltoolbox/test/talk", "params": { "lines": 100_000 } });
    frames::write(&mut to_server, message.to_string().as_bytes()).await.expect("the server reads");
    drop((to_server, from_server));
    let status = tokio::time::timeout(SOON, status).await.expect("the server ends").expect("without a panic");
    assert!(status <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_taken_while_the_editor_does_not_read() {
    let mut editor = Editor::start().await;
    let begun = Instant::now();
    for id in 1..=500 {
        editor.request(id, "mltoolbox/test/echo", &json!({ "filler": "x".repeat(500) })).await;
    }
    assert!(begun.elapsed() < SOON, "the server stopped reading");
    for _ in 1..=500 {
        assert!(editor.next().await["error"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_too_many_is_refused_and_says_so() {
    let mut editor = Editor::start().await;
    for id in 1..=513 {
        editor.request(id, "mltoolbox/test/hang", &json!({})).await;
    }
    let answer = editor.answer(513).await;
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]["code"]), (&json!(-32050), &json!("request.limit")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_comes_in_order_before_the_answer_and_progress_ends() {
    let mut editor = Editor::start().await;
    editor.request("job-1", "mltoolbox/test/talk", &json!({ "lines": 2000, "workDoneToken": "t" })).await;
    let (mut lines, mut kinds) = (Vec::new(), Vec::new());
    loop {
        let message = editor.next().await;
        if message["method"] == "mltoolbox/output" {
            assert_eq!(message["params"]["job"], "job-1");
            lines.push(message["params"]["text"].as_str().expect("UTF-8").trim().to_owned());
        } else if message["method"] == "$/progress" {
            kinds.push(message["params"]["value"]["kind"].as_str().expect("a kind").to_owned());
        } else {
            assert_eq!(message["id"], "job-1");
            break;
        }
    }
    assert_eq!(lines, (0..2000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!((kinds.first().map(String::as_str), kinds.last().map(String::as_str)), (Some("begin"), Some("end")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_come_in_base64_and_in_pieces() {
    let mut editor = Editor::start().await;
    editor.request(1, "workspace/executeCommand", &json!({ "command": "mltoolbox/test/raw" })).await;
    let first = editor.next().await;
    let second = editor.next().await;
    assert_eq!(first["params"]["base64"].as_str().expect("no text").len(), (64_usize << 10).div_ceil(3) * 4);
    assert_eq!((&second["params"]["base64"], &second["params"]["stream"]), (&json!("/w=="), &json!("stderr")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_answered_and_the_next_message_read() {
    let mut editor = Editor::start().await;
    frames::write(&mut editor.to_server, b"{nonsense").await.expect("the server reads");
    assert_eq!(editor.next().await["error"]["code"], -32700);
    for nonsense in [json!([]), json!({ "id": 7 }), json!(7), json!({ "id": 7, "method": 7 })] {
        editor.send(&nonsense).await;
        assert_eq!(editor.next().await["error"]["code"], -32600, "{nonsense}");
    }
    editor.request(1, "mltoolbox/test/fly", &json!({})).await;
    let answer = editor.answer(1).await;
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["data"]["code"]),
        (&json!(-32601), &json!("method.unknown"))
    );
    editor.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "mltoolbox/test/echo" })).await;
    assert_eq!(editor.answer(2).await["result"], json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_before_initialize_is_refused() {
    let mut editor = Editor::unready();
    editor.request(1, "mltoolbox/test/echo", &json!({})).await;
    assert_eq!(editor.answer(1).await["error"]["code"], -32002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_cannot_be_right_ends_it() {
    let mut editor = Editor::start().await;
    editor.to_server.write_all(b"Content-Length: 99999999999\r\n\r\n{}").await.expect("the server reads");
    assert_eq!(editor.ended().await, 1);
}

#[test]
fn a_project_cannot_start_its_sync_by_itself() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let [project, user] = ["project", "user"].map(|name| folder.path().join(name));
    for (project_says, user_says, variable, expected) in [
        ("true", None, None, false),
        ("true", Some("false"), None, false),
        ("true", Some("true"), None, true),
        ("false", Some("true"), None, false),
        ("true", None, Some("true"), true),
    ] {
        for (folder, name, said) in [
            (
                &project,
                "mltoolbox.yaml",
                Some(format!("environment: {{base_image: a}}\neditors: {{autostart: {project_says}}}\n")),
            ),
            (&user, "config.yaml", user_says.map(|said| format!("editors: {{autostart: {said}}}\n"))),
        ] {
            std::fs::create_dir_all(folder).expect("a folder for the test");
            std::fs::write(folder.join(name), said.unwrap_or_default()).expect("a file for the test");
        }
        let name = "MLTOOLBOX_EDITORS_AUTOSTART".to_owned();
        let places = crate::config::Places {
            start: project.clone(),
            user: user.clone(),
            system: folder.path().join("system"),
            variables: variable.map(|said: &str| (name, said.to_owned())).into_iter().collect(),
            ..crate::config::Places::default()
        };
        let starts = super::server::autostarted(&places).expect("it is valid").is_some();
        assert_eq!(starts, expected, "{project_says} {user_says:?} {variable:?}");
    }
}
