//! Pure: from tree to text: YAML for people, JSON for programs. What is written is read again as the same.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::tree::{Node, Value};

/// Returns a tree as JSON.
pub fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(text) => number(text),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.name.clone(), json(&entry.node))).collect())
        }
    }
}

fn number(text: &str) -> Json {
    let whole = text.parse::<i64>().map(Json::from);
    let other = || serde_json::Number::from_f64(text.parse().ok()?).map(Json::Number);
    whole.ok().or_else(other).unwrap_or_else(|| Json::String(text.to_owned()))
}

/// Returns a tree as YAML; with `origins`, each value is followed by where it comes from.
pub fn yaml(root: &Node, origins: bool) -> String {
    let mut text = String::new();
    map(&mut text, root, 0, origins);
    text
}

fn map(text: &mut String, node: &Node, depth: usize, origins: bool) {
    for entry in node.entries() {
        let indent = "  ".repeat(depth);
        let name = scalar(&entry.name);
        let from = || if origins { format!("  # {}", entry.node.place) } else { String::new() };
        let written = match &entry.node.value {
            Value::Map(entries) if !entries.is_empty() => {
                let written = writeln!(text, "{indent}{name}:");
                map(text, &entry.node, depth + 1, origins);
                written
            }
            Value::List(items) if !items.is_empty() => {
                let items: Vec<String> = items.iter().map(|item| format!("{indent}  - {}\n", inline(item))).collect();
                let items = items.concat();
                write!(text, "{indent}{name}:{}\n{items}", from())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                writeln!(text, "{indent}{name}: {}{}", inline(&entry.node), from())
            }
        };
        written.expect("a string takes every write");
    }
}

/// Returns a value as YAML on one line.
pub fn inline(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => text.clone(),
        Value::Text(text) => scalar(text),
        Value::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|entry| format!("{}: {}", scalar(&entry.name), inline(&entry.node))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Returns a text as YAML: plain where nothing in it means anything to YAML, else in double quotes.
pub fn scalar(text: &str) -> String {
    let letters = |letter: char| letter.is_alphanumeric() || "_./~+=@%$;()<>^|:-".contains(letter) || letter == ' ';
    let begins = |letter: char| letter.is_alphanumeric() || "_./~$+(".contains(letter);
    let plain = text.starts_with(begins)
        && text.chars().all(letters)
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && matches!(super::tree::resolve(text), Value::Text(_));
    if plain { text.to_owned() } else { quoted(text) }
}

/// Returns a text in double quotes.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(quoted, "\\u{:04x}", u32::from(letter)).expect("a string takes every write");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
