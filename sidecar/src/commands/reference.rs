//! The table as files: `protocol/commands.json` for editor menus and `protocol/methods.md` for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use protocol::error::Code;
use serde_json::{Value, json};

use super::{table, tree};

/// Version of the format of `commands.json`.
const FORMAT: u32 = 1;

/// Returns `protocol/commands.json`.
pub fn commands_json() -> String {
    let rows: Vec<String> = table()
        .iter()
        .map(|command| {
            let row = json!({
                "name": command.name,
                "method": command.method,
                "title": command.about,
                "cli": command.cli,
                "examples": command.examples,
                "params": (command.params_schema)(),
                "output": (command.output_schema)(),
            });
            row.to_string()
        })
        .collect();
    // One line per command, so that a change shows as the line it is about.
    format!("{{\"format\": {FORMAT}, \"commands\": [\n{}\n]}}\n", rows.join(",\n"))
}

/// Returns `protocol/methods.md`.
pub fn methods_md() -> String {
    let mut page = String::from(INTRODUCTION);
    let mut types = BTreeMap::new();
    for command in table() {
        let method = &command.method;
        let words = command.cli.join(" ");
        add(&mut page, &format!("\n## {method}\n\n{}. Command line: `{} {words}`.\n", command.about, tree::PROGRAM));
        for (title, schema) in [("Parameters", (command.params_schema)()), ("Answer", (command.output_schema)())] {
            fields(&mut page, title, &schema);
            let named = schema["$defs"].as_object().into_iter().flatten();
            types.extend(named.map(|(name, schema)| (name.clone(), schema.clone())));
        }
    }
    page.push_str("\n# Types\n");
    for (name, schema) in &types {
        add(&mut page, &format!("\n## {name}\n\n{}\n", schema["description"].as_str().unwrap_or("A stable name.")));
        fields(&mut page, "Fields", schema);
        values(&mut page, schema);
    }
    page.push_str("\n# Error codes\n\n| code | exit | when |\n|---|---|---|\n");
    for code in Code::ALL {
        add(&mut page, &format!("| `{}` | {} | {} |\n", code.name(), code.family().exit_code(), code.about()));
    }
    page
}

fn fields(page: &mut String, title: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) else { return };
    add(page, &format!("\n{title}:\n\n| name | type | meaning |\n|---|---|---|\n"));
    for (name, property) in properties {
        let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let must = schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name));
        let must = if must { ", required" } else { "" };
        add(page, &format!("| `{name}` | {}{must} | {meaning} |\n", kind(property)));
    }
}

/// Lists the values of an enum.
fn values(page: &mut String, schema: &Value) {
    let Some(choices) = schema["oneOf"].as_array() else { return };
    page.push_str("\n| value | meaning |\n|---|---|\n");
    for choice in choices {
        let about = choice["description"].as_str().unwrap_or_default();
        let plain = choice["enum"].as_array().into_iter().flatten();
        for value in plain.chain(choice.get("const")) {
            add(page, &format!("| `{}` | {about} |\n", value.as_str().unwrap_or_default()));
        }
    }
}

/// Returns a property's type in a word or two.
fn kind(property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        return format!("`{}`", reference.rsplit('/').next().unwrap_or(reference));
    }
    if let Some(choices) = property["anyOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match &property["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", self::kind(&property["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

fn add(page: &mut String, text: &str) {
    page.write_str(text).expect("a string takes every write");
}

const INTRODUCTION: &str = "\
# Methods

Generated from the command table; `UPDATE_EXPECT=1 cargo test -p mltoolbox-tests --test tidy` writes it anew.

Every method is a JSON-RPC request over the language server's standard input and output, and the same name
works with `workspace/executeCommand` (`arguments` holds the parameters as its one element). Beside its own
parameters every method takes `remote`, `workspace`, `yes` (answers every question) and `workDoneToken`.
On the command line `--json` prints the answer below as one document; after a failure it prints
`{ \"error\": { \"code\", \"message\", \"help\", \"causes\" } }`, and the output of a program that `exec` runs goes
to standard error.

JSON-RPC errors: `-32602` for parameters that do not fit, `-32601` for an unknown method, `-32800` after
`$/cancelRequest`, `-32603` for a defect of ours, `-32050` for everything else. `error.data` always holds
`{ code, help, causes }`; programs branch on `code`. The exit status of the command line is that of the code's
row in the table at the end; `exec` passes the program's own status on, and `doctor` ends with 1 when something
does not work.

What the server says by itself:

- `$/progress` with the request's `workDoneToken`: `begin`, any number of `report`, `end`. It can be cancelled.
- `mltoolbox/output` `{ job, stream, text }`, or `base64` in place of `text` for bytes that are not UTF-8: output of
  a program, in order, at most 64 KiB each. `job` is the id of the request, as text.
- `window/showMessageRequest` with the actions `Yes` and `No`: a question (an unknown host key, the agent's
  installation, a folder that is not a project, a large first push, a folder that another machine syncs to). No
  answer means no. A request with `yes: true` is not asked, except about another machine's folder.
- `window/logMessage`: warnings and errors of the log.

`shutdown`, `exit`, the end of either stream, and the end of the editor's process end the server within a second;
the background processes of `sync/watch` live on, and `sync/stop` ends them.
";
