//! The JSON Schema and the parser agree: on every example, and on every key with values of every kind.

use regex_automata::meta::Regex;
use serde_json::{Value as Json, json};

use super::super::*;

/// Returns whether a value fits a schema: the part of draft-07 that ours is made of.
fn fits(value: &Json, schema: &Json) -> bool {
    let Json::Object(schema) = schema else { return schema == &Json::Bool(true) };
    schema.iter().all(|(word, wanted)| match word.as_str() {
        "type" => match wanted {
            Json::Array(kinds) => kinds.iter().any(|kind| is(value, kind)),
            kind => is(value, kind),
        },
        "enum" => wanted.as_array().is_some_and(|words| words.contains(value)),
        "pattern" => value.as_str().is_none_or(|text| {
            Regex::new(wanted.as_str().expect("a pattern is a text")).expect("our own pattern").is_match(text)
        }),
        "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
        "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
        "anyOf" => wanted.as_array().is_some_and(|kinds| kinds.iter().any(|kind| fits(value, kind))),
        "allOf" => wanted.as_array().is_some_and(|kinds| kinds.iter().all(|kind| fits(value, kind))),
        "not" => !fits(value, wanted),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(item, wanted))),
        "required" => value.as_object().is_none_or(|object| {
            wanted
                .as_array()
                .is_some_and(|names| names.iter().all(|name| object.contains_key(name.as_str().unwrap_or_default())))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| wanted.get(name).is_none_or(|schema| fits(value, schema)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = schema.get("properties").and_then(Json::as_object);
            let others = object.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            others.into_iter().all(|(_, value)| fits(value, wanted))
        }),
        "$schema" | "title" | "description" | "default" | "examples" => true,
        other => panic!("the test does not know `{other}`"),
    })
}

fn is(value: &Json, kind: &Json) -> bool {
    match kind.as_str().expect("a type is a text") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the test does not know the type `{other}`"),
    }
}

/// Returns whether the parser takes a file of the user's, and what it says.
fn parsed(text: &str, document: Document) -> (bool, Json, String) {
    let source = Source::file(Layer::User, Path::new("config.yaml"));
    let parsed = tree::parse(text, &source);
    let json = parsed.root.as_ref().map_or(Json::Null, write::json);
    let checked = check::check(parsed, document);
    (checked.problems.is_empty(), json, format!("{:?}", checked.problems))
}

/// Returns a file in which a key has a value; names that a person chooses are `one`.
fn file(key: &str, value: &str) -> String {
    let mut text = value.to_owned();
    for part in key.split('.').rev() {
        let name = part.trim_end_matches("[]");
        let name = if name == "*" { "one" } else { name };
        text = if part.ends_with("[]") { format!("{{{name}: [{text}]}}") } else { format!("{{{name}: {text}}}") };
    }
    format!("{text}\n")
}

#[test]
fn every_key_has_an_example_that_both_take() {
    for document in [Document::Project, Document::Agent] {
        let schema = reference::json_schema(document);
        for (key, field) in document.keys() {
            assert!(!field.described().is_empty(), "{key} says nothing");
            let text = file(&key, field.example);
            let (ok, json, problems) = parsed(&text, document);
            // A part of a hook's command is no whole one.
            let is_part = key.contains("[].") && key.rsplit('.').next() != Some("run");
            assert!(is_part || ok, "{text}{problems}");
            assert_eq!(fits(&json, &schema), ok, "the schema differs on {text}");
            if let Some(default) = field.default {
                let (ok, json, problems) = parsed(&file(&key, default), document);
                assert!(ok && fits(&json, &schema), "the default of {key}: {problems}");
            }
        }
    }
}

#[test]
fn other_values_are_taken_by_both_or_by_none() {
    let values = [
        "true",
        "-1",
        "0",
        "1",
        "3",
        "3.0",
        "4.5",
        "70000",
        "99999999",
        "\"\"",
        "\" \"",
        "zz",
        "\"a b\"",
        "2s",
        "2",
        "2 s",
        "1MB",
        "/x",
        "~/x",
        "/x/",
        "[]",
        "[1]",
        "[zz]",
        "[[zz]]",
        "[null]",
        "[{}]",
        "{}",
        "{zz: 1}",
        "{one: [1]}",
        "{one: two}",
        "null",
        "\"${secret:a}\"",
        "\"${x}\"",
        "\"a:/b\"",
        "\"8080:80\"",
        "\"1:2:3:4\"",
        "\">=1.2\"",
        "\">1.\"",
        "a/b",
        ".hidden",
        "\"a\\nb\"",
        "push",
        "PUSH",
        "host",
        "local",
    ];
    let mut differ = Vec::new();
    for document in [Document::Project, Document::Agent] {
        let schema = reference::json_schema(document);
        for (key, _) in document.keys() {
            for value in values {
                let text = file(&key, value);
                let (ok, json, problems) = parsed(&text, document);
                if fits(&json, &schema) != ok {
                    differ.push(format!("{text}{problems}"));
                }
            }
        }
        for text in [
            "zz: 1\n",
            "{}\n",
            "environment: {base_image: a, dockerfile: b}\n",
            "environment: {base_image: a, dockerfile: null}\n",
            "gpu_count: 1\n",
        ] {
            let (ok, json, problems) = parsed(text, document);
            assert_eq!(fits(&json, &schema), ok, "{text}{problems}");
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn other_spellings_are_taken_by_both() {
    let schema = reference::json_schema(Document::Project);
    for (alias, canonical) in spelling::KEYS {
        let found = Document::Project.find(canonical).expect("the canonical key is there");
        for (value, wanted) in [(found.field.example, true), ("[[zz]]", false)] {
            let text = file(alias, value);
            let (ok, json, problems) = parsed(&text, Document::Project);
            assert_eq!((ok, fits(&json, &schema)), (wanted, wanted), "{text}{problems}");
        }
    }
}

#[test]
fn every_variable_is_named_once() {
    let mut names: Vec<String> = layers::variables().into_iter().map(|(name, _)| name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), count > 30), (count, true));
    assert!(json!(names).as_array().is_some_and(|names| names.contains(&json!("MLTOOLBOX_SYNC_INCLUDE_OVERRIDES"))));
}
