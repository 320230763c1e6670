//! Pure: the schema as files: a JSON Schema (draft-07) for editors, and a reference page with every key for people.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::schema::Document;
use super::setting::{Choice, Field, Kind, described};
use super::{layers, spelling, tree, write};

/// Returns the JSON Schema of a document.
pub fn json_schema(document: Document) -> Json {
    let (title, about) = match document {
        Document::Project => (
            "mltoolbox.yaml",
            "Configuration of a project; also of `~/.config/mltoolbox/config.yaml` and `/etc/mltoolbox/config.yaml`.",
        ),
        Document::Agent => ("agent.yaml", "Configuration of the agent on a machine."),
    };
    let mut schema = section(document.fields(), "", document);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = title.into();
    schema["description"] = about.into();
    schema
}

fn section(fields: &[Field], above: &str, document: Document) -> Json {
    let mut properties = Map::new();
    for field in fields {
        let key = if above.is_empty() { field.name.to_owned() } else { format!("{above}.{}", field.name) };
        let taken = of(&field.kind, &key, document);
        let mut schema = if field.required { taken } else { or_null(taken) };
        schema["description"] = field.described().into();
        if let Some(default) = field.default {
            schema["default"] = value(default);
        }
        schema["examples"] = json!([value(field.example)]);
        properties.insert(field.name.to_owned(), schema);
    }
    let mut schema = json!({ "type": "object", "additionalProperties": false });
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if document == Document::Project {
        for (alias, canonical) in spelling::KEYS {
            spelled(&mut properties, above, alias, canonical);
        }
    }
    if above == "environment" {
        // `null` says nothing, and nothing may be said twice.
        let said =
            |name: &str| json!({ "type": "object", "required": [name], "properties": { name: { "type": "string" } } });
        let pairs = [("base_image", "dockerfile"), ("base_image", "devcontainer"), ("dockerfile", "devcontainer")];
        schema["not"] = json!({ "anyOf": pairs.map(|(one, other)| json!({ "allOf": [said(one), said(other)] })) });
    }
    schema["properties"] = Json::Object(properties);
    schema
}

/// Adds the other spelling of a key, if it belongs into this section.
fn spelled(properties: &mut Map<String, Json>, above: &str, alias: &str, canonical: &str) {
    let (parent, name) = alias.rsplit_once('.').unwrap_or(("", alias));
    let Some(found) = Document::Project.find(canonical).filter(|_| parent == above) else { return };
    let mut schema = or_null(of(found.kind, canonical, Document::Project));
    // Within a section that has another name, the names in it have theirs.
    for (inner, canonical) in spelling::KEYS {
        if let Some(name) = inner.strip_prefix(alias).and_then(|rest| rest.strip_prefix('.'))
            && let Some(found) = Document::Project.find(canonical)
        {
            schema["properties"][name] = or_null(of(found.kind, canonical, Document::Project));
        }
    }
    schema["description"] = format!("Another spelling of `{canonical}`.").into();
    properties.insert(name.to_owned(), schema);
}

/// Lets `null` stand there too: it takes back what a weaker layer said.
fn or_null(schema: Json) -> Json {
    let mut schema = schema;
    match &mut schema {
        Json::Object(object) if object.contains_key("anyOf") => {
            if let Some(Json::Array(kinds)) = object.get_mut("anyOf") {
                kinds.push(json!({ "type": "null" }));
            }
        }
        Json::Object(object) => {
            if let Some(kind @ Json::String(_)) = object.get_mut("type") {
                *kind = json!([kind.clone(), "null"]);
                if let Some(Json::Array(words)) = object.get_mut("enum") {
                    words.push(Json::Null);
                }
            }
        }
        _ => {}
    }
    schema
}

fn of(kind: &Kind, key: &str, document: Document) -> Json {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Whole { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Text { pattern, numbers, .. } => {
            let mut text = json!({ "type": "string" });
            if !pattern.is_empty() {
                text["pattern"] = (*pattern).into();
            }
            match numbers {
                None => text,
                Some((least, most)) if *least > f64::MIN => {
                    json!({ "anyOf": [text, { "type": "number", "minimum": least, "maximum": most }] })
                }
                Some(_) => json!({ "anyOf": [text, { "type": "number" }] }),
            }
        }
        Kind::Choice(choices) => {
            let there = choices.iter().filter(|choice| choice.refused.is_none());
            let words: Vec<&str> =
                there.flat_map(|choice| [choice.name].into_iter().chain(choice.aliases.iter().copied())).collect();
            json!({ "type": "string", "enum": words })
        }
        Kind::List(items) => json!({ "type": "array", "items": of(items, key, document) }),
        Kind::Map(values) => {
            json!({ "type": "object", "additionalProperties": or_null(of(values, &format!("{key}.*"), document)) })
        }
        Kind::Section(fields) => section(fields, key, document),
        Kind::Either(kinds) => {
            let kinds = kinds.iter().flat_map(|kind| match of(kind, key, document) {
                // One level is enough.
                Json::Object(mut object) if object.contains_key("anyOf") => match object.remove("anyOf") {
                    Some(Json::Array(kinds)) => kinds,
                    Some(_) | None => Vec::new(),
                },
                schema => vec![schema],
            });
            json!({ "anyOf": kinds.collect::<Vec<_>>() })
        }
    }
}

/// Returns one of our own values as JSON.
fn value(text: &str) -> Json {
    let parsed = tree::parse(&format!("value: {text}\n"), &super::Source::Default).root;
    parsed.and_then(|root| root.get("value").map(write::json)).unwrap_or(Json::Null)
}

/// Returns `protocol/config.md`.
pub fn config_md() -> String {
    let mut page = String::from(INTRODUCTION);
    keys(&mut page, Document::Project);
    page.push_str("\n# Other spellings\n\n| spelling | means |\n|---|---|\n");
    for (alias, canonical) in spelling::KEYS.iter().chain(spelling::PLUGINS) {
        add(&mut page, &format!("| `{alias}` | `{canonical}` |\n"));
    }
    page.push_str("\n# agent.yaml\n\nThe agent's file on a machine: the user's `~/.config/mltoolbox/agent.yaml` over `/etc/mltoolbox/agent.yaml`.\nIt is read and checked by `config show --agent` and `config validate`; the agent goes by its flags so far.\n");
    keys(&mut page, Document::Agent);
    page
}

fn keys(page: &mut String, document: Document) {
    for (key, field) in document.keys() {
        let (_, name) = key.rsplit_once('.').unwrap_or(("", &key));
        add(page, &format!("\n## `{key}`\n\n{}\n\n", field.described()));
        add(page, &format!("- Takes {}.\n", takes(&field.kind)));
        if let Some(default) = field.default {
            add(page, &format!("- Default: `{default}`.\n"));
        }
        if let Some(variable) = layers::variable(&key, &field.kind).filter(|_| document == Document::Project) {
            add(page, &format!("- Variable: `{variable}`.\n"));
        }
        add(page, &format!("- Example: `{name}: {}`.\n", field.example));
        if let Kind::Choice(choices) = &field.kind {
            choices.iter().for_each(|choice| add(page, &word(choice)));
        }
    }
}

fn word(choice: &Choice) -> String {
    let also: Vec<String> = choice.aliases.iter().map(|alias| format!(", also `{alias}`")).collect();
    let also = also.concat();
    match choice.refused {
        None => format!("  - `{}`{also}: {}\n", choice.name, described(choice.about)),
        Some(why) => format!("  - `{}` is not there yet: {why}.\n", choice.name),
    }
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Whole { least, most } => format!("a whole number from {least} to {most}"),
        Kind::Text { about, .. } => (*about).to_owned(),
        Kind::Choice(_) => "one of the words below".to_owned(),
        Kind::List(items) => format!("a list; each item is {}", takes(items)),
        Kind::Map(values) => format!("names with a value each; a value is {}", takes(values)),
        Kind::Section(_) => "keys of its own".to_owned(),
        Kind::Either(kinds) => kinds.iter().map(takes).collect::<Vec<_>>().join(", or "),
    }
}

fn add(page: &mut String, text: &str) {
    page.write_str(text).expect("a string takes every write");
}

const INTRODUCTION: &str = "\
# Configuration

Generated from the schema; `UPDATE_EXPECT=1 cargo test -p mltoolbox-tests --test tidy` writes it anew. The same as
JSON Schema (draft-07) is `config.schema.json` here, and what `mltoolbox-sidecar config schema` prints.

Where a value is looked for, the strongest first:

1. flags: those of a command (`--remote`, `--exclude`, `--to` …), and `--set KEY=VALUE` for any key
2. environment variables `MLTOOLBOX_…`, named below with each key; a list is written `[a, b]`, one word alone is a list of one
3. `mltoolbox.yaml`, the nearest above the working directory, or the one that `--config FILE` names; without one
   `.devcontainer/devcontainer.json`, else `Dockerfile`
4. `mltoolbox.local.yaml` beside it: yours alone, never committed
5. `~/.config/mltoolbox/config.yaml` (`XDG_CONFIG_HOME` is respected)
6. `/etc/mltoolbox/config.yaml` (`MLTOOLBOX_SYSTEM_CONFIG` names another folder)
7. what an earlier flag of `sync push` or `sync watch` stored for the folder
8. defaults

Maps are merged name by name. A list of a stronger place replaces the whole list of a weaker one. `null` takes back
what weaker places said, so that the default holds. The one of `base_image`, `dockerfile` and `devcontainer` that the
strongest place names takes the place of the others. Paths are relative to the file that names them.

In a key, `*` stands for a name that you choose, and `[]` for each item of a list.

# mltoolbox.yaml
";
