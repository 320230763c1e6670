//! The table as an editor meets it, over the binary's own standard input and output.

use std::time::{Duration, Instant};

use harness::editor::Editor;
use harness::work::Work;
use serde_json::{Value, json};
use sidecar::commands;

/// However it is told to end, the server ends within this time; the rest is for a busy machine.
const ENDS: Duration = Duration::from_secs(5);

#[test]
fn every_row_is_announced_and_answers_in_both_ways() {
    let work = Work::new();
    let (mut editor, announced) = Editor::initialized(&work);
    let methods = &announced["capabilities"]["experimental"]["mltoolbox"]["methods"];
    assert_eq!(methods, &announced["capabilities"]["executeCommandProvider"]["commands"]);
    let names: Vec<_> = commands::table().iter().map(|command| command.method.clone()).collect();
    assert_eq!(methods, &json!(names));
    // A name that is no parameter of any row, so that nothing is begun that takes long.
    // Nor what is another thing the second time.
    let left_out = ["try/run", "config/init"];
    for command in commands::table().iter().filter(|command| !left_out.contains(&command.name)) {
        let direct = editor.call(&command.method, &json!({}));
        let arguments = json!({ "command": command.method, "arguments": [{}] });
        let executed = editor.call("workspace/executeCommand", &arguments);
        match (direct, executed) {
            (Ok(_), Ok(_)) => {}
            (Err(one), Err(other)) => {
                assert_eq!(one, other, "{}", command.name);
                let data = &one["data"];
                let is_told = |key: &str| data[key].as_str().is_some_and(|text| !text.is_empty());
                assert!(is_told("code") && is_told("help") && data["causes"].is_array(), "{one:#}");
            }
            (one, other) => panic!("{}: {one:?} and {other:?}", command.name),
        }
    }
    assert!(editor.close().success());
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let work = Work::new();
    let (mut editor, _) = Editor::initialized(&work);
    let message = |editor: &mut Editor, method: &str, params: Value| {
        let error = editor.call(&format!("mltoolbox/{method}"), &params).expect_err("it cannot be done");
        assert_eq!((&error["code"], &error["data"]["code"]), (&json!(-32602), &json!("params.invalid")), "{error:#}");
        error["message"].as_str().expect("a text").to_owned()
    };
    for (method, params, expected) in [
        ("remote/add", json!({}), "`remote/add` needs `name` and `host`"),
        ("remote/add", json!({ "name": "gpu1", "host": null }), "`remote/add` needs `host`"),
        ("remote/show", json!({ "name": "" }), "`remote/show` needs `name`"),
        ("container/exec", json!({ "host": true, "command": [] }), "`container/exec` needs `command`"),
        ("sync/resolve", json!({ "all": true }), "`sync/resolve` needs `take`"),
        ("sync/resolve", json!({ "take": "local" }), "`sync/resolve` needs `paths` or `all`"),
        ("cli/completions", json!({}), "`cli/completions` needs `shell`"),
        ("remote/add", json!({ "name": 5, "host": "h" }), "the parameters of `remote/add` are not valid"),
    ] {
        assert_eq!(message(&mut editor, method, params), expected);
    }
    let error = editor.call("mltoolbox/remote/fly", &json!({})).expect_err("no such row");
    assert_eq!((&error["code"], &error["data"]["code"]), (&json!(-32601), &json!("method.unknown")));
}

#[test]
fn the_server_ends_when_it_is_told_to_in_any_way() {
    for (way, code) in [("exit", 0), ("end of input", 0), ("exit without shutdown", 1)] {
        let work = Work::new();
        let (mut editor, _) = Editor::initialized(&work);
        if way == "exit" {
            assert_eq!(editor.call("shutdown", &Value::Null), Ok(Value::Null));
        }
        let told = Instant::now();
        let ended = if way == "end of input" {
            editor.close()
        } else {
            editor.notify("exit", &Value::Null);
            editor.ended()
        };
        assert_eq!(ended.code(), Some(code), "{way}");
        assert!(told.elapsed() < ENDS, "{way} took {:?}", told.elapsed());
    }
}

#[test]
fn nonsense_does_not_end_the_server_where_it_can_go_on() {
    let work = Work::new();
    let mut editor = Editor::start(&work);
    for nonsense in ["{bad}", "[]", "null", "\"text\"", "{\"jsonrpc\":\"2.0\"}"] {
        editor.send_bytes(format!("Content-Length: {}\r\n\r\n{nonsense}", nonsense.len()).as_bytes());
    }
    let early = editor.call("mltoolbox/remote/list", &json!({})).expect_err("not initialized");
    assert_eq!(early["code"], -32002);
    editor.call("initialize", &json!({ "capabilities": {} })).expect("the server still answers");
    // A length that nobody can mean cannot be skipped, so there the stream ends.
    editor.send_bytes(b"Content-Length: 99999999999\r\n\r\n");
    let told = Instant::now();
    editor.ended();
    assert!(told.elapsed() < ENDS);
}
