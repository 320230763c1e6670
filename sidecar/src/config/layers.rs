//! Where configuration is looked for, and in which order it counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::place::{Layer, Place, Source};
use super::problem::Problem;
use super::schema::Document;
use super::setting::Kind;
use super::spelling;
use super::tree::{Entry, Node, Parsed, Value};

/// The project's file.
pub const PROJECT_FILE: &str = "mltoolbox.yaml";
/// The user's own file beside it, which is never committed.
pub const LOCAL_FILE: &str = "mltoolbox.local.yaml";
/// The user's and the machine's file, in their folders.
pub const CONFIG_FILE: &str = "config.yaml";
/// The agent's file, in the same folders.
pub const AGENT_FILE: &str = "agent.yaml";

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The folder from which the project's file is looked for upward.
    pub start: PathBuf,
    /// The project's file that was named with `--config`; it has to be there.
    pub named: Option<PathBuf>,
    /// The user's folder, `~/.config/mltoolbox`.
    pub user: PathBuf,
    /// The machine's folder, `/etc/mltoolbox`.
    pub system: PathBuf,
    /// Environment variables that set keys, by name.
    pub variables: BTreeMap<String, String>,
    /// What flags set: the flag, the key, and its value as in an environment variable.
    pub flags: Vec<(String, String, String)>,
}

impl Places {
    /// Returns the project's file: the one that was named, or the nearest above.
    pub fn project_file(&self) -> Option<PathBuf> {
        if let Some(named) = &self.named {
            return Some(self.start.join(named));
        }
        // A folder or a link to nowhere is found too, so that it is said and not passed over.
        let stands = |file: &PathBuf| file.symlink_metadata().is_ok();
        self.start.ancestors().map(|folder| folder.join(PROJECT_FILE)).find(stands)
    }

    /// Returns the user's or the machine's file of a kind.
    pub fn own(&self, layer: Layer, document: Document) -> Option<PathBuf> {
        let name = match document {
            Document::Project => CONFIG_FILE,
            Document::Agent => AGENT_FILE,
        };
        match layer {
            Layer::System => Some(self.system.join(name)),
            Layer::User => Some(self.user.join(name)),
            Layer::Local | Layer::Project => None,
        }
    }
}

/// Returns the environment variable that sets a key; `None` for keys that hold others, or names that a person chooses.
pub fn variable(key: &str, kind: &Kind) -> Option<String> {
    match kind {
        // The one that was there before there was a configuration.
        _ if key == "remote.default" => Some(crate::env::REMOTE.to_owned()),
        _ if key.contains(['*', '[']) => None,
        Kind::Section(_) | Kind::Map(_) => None,
        Kind::List(items) if !matches!(**items, Kind::Text { .. } | Kind::Choice(_)) => None,
        Kind::Either(kinds) if kinds.iter().any(|kind| matches!(kind, Kind::Section(_))) => None,
        Kind::Bool | Kind::Whole { .. } | Kind::Text { .. } | Kind::Choice(_) | Kind::List(_) | Kind::Either(_) => {
            Some(format!("{}{}", crate::env::PREFIX, key.replace('.', "_").to_ascii_uppercase()))
        }
    }
}

/// Returns every variable that sets a key, with the key.
pub fn variables() -> Vec<(String, String)> {
    let keys = Document::Project.keys();
    keys.into_iter().filter_map(|(key, field)| Some((variable(&key, &field.kind)?, key))).collect()
}

/// Returns the variables of this process that set a key.
pub fn from_environment() -> BTreeMap<String, String> {
    variables().into_iter().filter_map(|(name, _)| crate::env::text(&name).map(|text| (name, text))).collect()
}

/// Returns what variables say, as a tree.
pub(super) fn of_variables(said: &BTreeMap<String, String>) -> Parsed {
    let set = variables().into_iter().filter_map(|(name, key)| {
        let text = said.get(&name).filter(|text| !text.is_empty())?;
        Some((Source::Variable(name.into()), key, text.clone()))
    });
    tree(set)
}

/// Returns what flags say, as a tree.
pub(super) fn of_flags(said: &[(String, String, String)]) -> Parsed {
    tree(said.iter().map(|(flag, key, text)| (Source::Flag(flag.as_str().into()), spelling::of_key(key), text.clone())))
}

fn tree(said: impl Iterator<Item = (Source, String, String)>) -> Parsed {
    let mut parsed =
        Parsed { root: Some(Node::new(Value::Map(Vec::new()), Place::whole(Source::Default))), problems: Vec::new() };
    for (source, key, text) in said {
        let place = Place::whole(source);
        let value = match Document::Project.find(&key) {
            Some(found) => value(&text, found.kind, &place, &mut parsed.problems),
            // The check says what is wrong with the key.
            None => Some(Node::new(Value::Text(text), place.clone())),
        };
        if let (Some(node), Some(root)) = (value, &mut parsed.root) {
            insert(root, &key.split('.').collect::<Vec<_>>(), node);
        }
    }
    parsed
}

/// Reads the text of a variable or flag as the key takes it: lists and maps as YAML on one line, one word alone as a
/// list of one, and texts as they are.
pub fn value(text: &str, kind: &Kind, place: &Place, problems: &mut Vec<Problem>) -> Option<Node> {
    let plain = || Node::new(Value::Text(text.to_owned()), place.clone());
    let looks_like_list = text.trim_start().starts_with('[');
    match kind {
        Kind::Text { .. } | Kind::Choice(_) if !(text == "null" || text == "~") => Some(plain()),
        Kind::Either(kinds) if !looks_like_list && kinds.iter().any(|kind| matches!(kind, Kind::Text { .. })) => {
            Some(plain())
        }
        Kind::List(_) if !looks_like_list && text != "null" => {
            let items = if text.is_empty() { Vec::new() } else { vec![plain()] };
            Some(Node::new(Value::List(items), place.clone()))
        }
        _ => {
            let mut parsed = super::tree::parse(&format!("value: {text}\n"), &place.source);
            for problem in &mut parsed.problems {
                problem.place = place.clone();
            }
            problems.append(&mut parsed.problems);
            let entries = parsed.root?;
            let mut node = entries.get("value")?.clone();
            settle(&mut node, place);
            Some(node)
        }
    }
}

/// Says of all that it stands in one place, which has no lines.
fn settle(node: &mut Node, place: &Place) {
    node.place = place.clone();
    node.span = 0..0;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| settle(item, place)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.place = place.clone();
            settle(&mut entry.node, place);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

/// Puts a value at a path of names; sections on the way are made.
pub(super) fn insert(root: &mut Node, path: &[&str], node: Node) {
    let Some((name, rest)) = path.split_first() else {
        *root = node;
        return;
    };
    if !matches!(root.value, Value::Map(_)) {
        root.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut root.value else { return };
    let at = entries.iter().position(|entry| entry.name == *name).unwrap_or_else(|| {
        let place = node.place.clone();
        let empty = Node::new(Value::Map(Vec::new()), place.clone());
        entries.push(Entry { name: (*name).to_owned(), place, span: 0..0, node: empty });
        entries.len() - 1
    });
    if let Some(entry) = entries.get_mut(at) {
        insert(&mut entry.node, rest, node);
    }
}

/// Returns the defaults, as a tree.
pub(super) fn defaults(document: Document) -> Node {
    let place = Place::whole(Source::Default);
    let mut root = Node::new(Value::Map(Vec::new()), place.clone());
    for (key, field) in document.keys() {
        let Some(default) = field.default.filter(|_| !key.contains(['*', '['])) else { continue };
        if let Some(parsed) = super::tree::parse(&format!("value: {default}\n"), &place.source).root
            && let Some(node) = parsed.get("value")
        {
            let mut node = node.clone();
            settle(&mut node, &place);
            insert(&mut root, &key.split('.').collect::<Vec<_>>(), node);
        }
    }
    root
}

/// Returns the file beside the project's.
pub(super) fn local(project: &Path) -> PathBuf {
    project.with_file_name(LOCAL_FILE)
}
