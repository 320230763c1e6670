//! The table as files: `protocol/commands.json` for editor menus and `protocol/methods.md` for people.

use std::fmt::Write;

use protocol::error::Code;
use serde_json::{Value, json};

use super::{table, tree};

/// Version of the format of `commands.json`.
const FORMAT: u32 = 1;

/// Returns `protocol/commands.json`.
pub fn commands_json() -> String {
    let commands: Vec<Value> = table()
        .iter()
        .map(|command| {
            json!({
                "name": command.name,
                "method": command.method,
                "title": command.about,
                "cli": command.cli,
                "params": (command.params_schema)(),
                "output": (command.output_schema)(),
            })
        })
        .collect();
    let mut text =
        serde_json::to_string_pretty(&json!({ "format": FORMAT, "commands": commands })).expect("plain data");
    text.push('\n');
    text
}

/// Returns `protocol/methods.md`.
pub fn methods_md() -> String {
    let mut page = String::from(INTRODUCTION);
    for command in table() {
        let method = &command.method;
        let words = command.cli.join(" ");
        add(&mut page, &format!("\n## {method}\n\n{}. Command line: `{} {words}`.\n", command.about, tree::PROGRAM));
        fields(&mut page, "Parameters", &(command.params_schema)());
        fields(&mut page, "Answer", &(command.output_schema)());
    }
    page.push_str("\n## Error codes\n\n| code | exit | when |\n|---|---|---|\n");
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
        add(page, &format!("| `{name}` | {} | {meaning} |\n", kind(property)));
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

Generated from the command table; `MLTOOLBOX_UPDATE=1 cargo test -p mltoolbox-tests --test tidy` writes it anew.

Every method is a JSON-RPC request over the language server's standard input and output, and the same name
works with `workspace/executeCommand` (`arguments` holds the parameters as its one element). Beside its own
parameters every method takes `remote`, `workspace`, `yes` (answers every question) and `workDoneToken`.
On the command line `--json` prints the answer below as one document; after a failure it prints
`{ \"error\": { \"code\", \"message\", \"help\", \"causes\" } }`.

JSON-RPC errors: `-32602` for parameters that do not fit, `-32601` for an unknown method, `-32800` after
`$/cancelRequest`, `-32603` for a defect of ours, `-32050` for everything else. `error.data` always holds
`{ code, help, causes }`; programs branch on `code`.
";
