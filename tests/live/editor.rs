//! The table over standard input and output against a real remote: output, progress, questions, cancellation.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::editor::Editor;
use harness::host::{Host, Options};
use harness::or_skip;
use harness::process::{self, wait_until};
use harness::work::Work;
use serde_json::{Value, json};

use crate::story::ARRIVES;

/// The promise to editors; measured from the message to its effect.
const SECOND: Duration = Duration::from_secs(1);
/// The same on a machine that runs other tests, too.
const BUSY: Duration = Duration::from_secs(5);

/// Adds the host as `box` without trusting its key.
fn add(editor: &mut Editor, host: &Host) {
    let params = json!({
        "name": "box", "host": "127.0.0.1", "port": host.port(), "user": Host::user(), "key": host.key(),
    });
    editor.call("mltoolbox/remote/add", &params).expect("a remote");
}

/// Starts a command that writes its process id and then sleeps; returns the request and the id.
fn sleeper(editor: &mut Editor, mark: &Path) -> (i64, i32) {
    let script = format!("echo $$ > {}; exec sleep 1000", mark.display());
    let params = json!({ "host": true, "command": ["sh", "-c", script] });
    let request = editor.request("mltoolbox/container/exec", &params);
    wait_until("the command to run", ARRIVES, || fs::read_to_string(mark).is_ok_and(|text| text.ends_with('\n')));
    let pid = fs::read_to_string(mark).expect("it was there").trim().parse().expect("a process id");
    (request, pid)
}

fn answered(editor: &mut Editor, choice: &Value) -> Result<Value, Value> {
    let request = editor.request("mltoolbox/remote/test", &json!({}));
    let question = editor.expect("window/showMessageRequest");
    let text = question["params"]["message"].as_str().expect("a text");
    assert!(text.contains("SHA256:"), "{question:#}");
    assert_eq!(question["params"]["actions"], json!([{ "title": "Yes" }, { "title": "No" }]));
    editor.answer(&question, choice);
    editor.response(request)
}

#[test]
fn a_question_is_asked_in_the_editor_and_its_answer_counts() {
    let host = or_skip!("a_question_is_asked_in_the_editor_and_its_answer_counts", Host::start());
    let work = Work::new();
    let (mut editor, _) = Editor::initialized(&work);
    add(&mut editor, &host);
    for no in [json!({ "title": "No" }), Value::Null] {
        let error = answered(&mut editor, &no).expect_err("the key was not accepted");
        assert!(error["data"]["code"].as_str().is_some_and(|code| code.starts_with("ssh.host_key")), "{error:#}");
    }
    let tested = answered(&mut editor, &json!({ "title": "Yes" })).expect("the key was accepted");
    assert_eq!(tested["name"], "box");
}

#[test]
fn output_comes_in_order_and_in_small_pieces() {
    let host = or_skip!("output_comes_in_order_and_in_small_pieces", Host::start());
    let work = Work::new();
    let (mut editor, _) = Editor::initialized(&work);
    add(&mut editor, &host);
    answered(&mut editor, &json!({ "title": "Yes" })).expect("the key was accepted");
    let params = json!({ "host": true, "command": ["seq", "100000"], "workDoneToken": "mine" });
    let request = editor.request("mltoolbox/container/exec", &params);
    let begun = editor.expect("$/progress");
    assert_eq!((&begun["params"]["token"], &begun["params"]["value"]["kind"]), (&json!("mine"), &json!("begin")));
    assert_eq!(editor.response(request).expect("it ran")["status"], 0);
    let mut text = String::new();
    let numbers: Vec<String> = (1..=100_000).map(|number: u32| number.to_string()).collect();
    let expected = numbers.join("\n") + "\n";
    while text.len() < expected.len() {
        let piece = editor.expect("mltoolbox/output");
        assert_eq!(piece["params"]["job"], request.to_string());
        let piece = piece["params"]["text"].as_str().expect("a text");
        assert!(piece.len() <= 64 << 10, "a piece of {} bytes", piece.len());
        text.push_str(piece);
    }
    assert!(text == expected, "the output is in another order");
}

#[test]
fn a_cancelled_command_is_ended_on_the_remote_within_a_second() {
    let name = "a_cancelled_command_is_ended_on_the_remote_within_a_second";
    // A server with a forced command passes no signals on, so this one is the usual kind.
    let options = Options { config: "ForceCommand none".to_owned(), ..Options::default() };
    let host = or_skip!("a_cancelled_command_is_ended_on_the_remote_within_a_second", Host::with(&options));
    let work = Work::new();
    let (mut editor, _) = Editor::initialized(&work);
    add(&mut editor, &host);
    answered(&mut editor, &json!({ "title": "Yes" })).expect("the key was accepted");
    let (request, pid) = sleeper(&mut editor, &work.path().join(name));
    let cancelled = Instant::now();
    editor.notify("$/cancelRequest", &json!({ "id": request }));
    assert_eq!(editor.response(request).expect_err("cancelled")["code"], -32800);
    assert!(cancelled.elapsed() < SECOND, "the answer took {:?}", cancelled.elapsed());
    wait_until("the remote's process to end", ARRIVES, || process::name(pid).is_none());
    assert!(cancelled.elapsed() < BUSY, "the process ended after {:?}", cancelled.elapsed());
}

#[test]
fn the_server_ends_soon_while_a_command_runs() {
    let options = Options { config: "ForceCommand none".to_owned(), ..Options::default() };
    let host = or_skip!("the_server_ends_soon_while_a_command_runs", Host::with(&options));
    for way in ["exit", "end of input", "closed output"] {
        let work = Work::new();
        let (mut editor, _) = Editor::initialized(&work);
        add(&mut editor, &host);
        answered(&mut editor, &json!({ "title": "Yes" })).expect("the key was accepted");
        let (_, pid) = sleeper(&mut editor, &work.path().join("mark"));
        let told = Instant::now();
        match way {
            "exit" => {
                editor.call("shutdown", &Value::Null).expect("it ends");
                editor.notify("exit", &Value::Null);
                editor.ended();
            }
            "end of input" => {
                editor.close();
            }
            _ => {
                editor.stop_reading();
                // It is noticed when something is to be said.
                editor.request("mltoolbox/remote/list", &json!({}));
                editor.ended();
            }
        }
        assert!(told.elapsed() < BUSY, "{way} took {:?}", told.elapsed());
        wait_until("the remote's process to end", ARRIVES, || process::name(pid).is_none());
    }
}
