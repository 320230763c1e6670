//! What is taken from a `devcontainer.json`, which is JSON with comments: its name, image, Dockerfile and mounts, and which
//! files it names. Each value keeps its line.

use std::path::{Path, PathBuf};

use super::layers;
use super::place::{Layer, Place, Source};
use super::problem::Problem;
use super::tree::{self, Node, Parsed, Value};
use super::units::{Form, Volume};

/// Where a `devcontainer.json` is looked for in a project, in order.
pub const FILES: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];

/// Reads a `devcontainer.json`; `None` when there is none. Blocks.
fn read(file: &Path) -> Option<Parsed> {
    let source = Source::file(Layer::Project, file);
    match tree::text(file, &source) {
        Ok(text) => Some(tree::parse(&plain(&text?), &source)),
        Err(problem) => Some(Parsed { root: None, problems: vec![problem] }),
    }
}

/// Returns the configuration that a `devcontainer.json` stands for where there is no `mltoolbox.yaml`. Blocks.
pub fn fallback(file: &Path) -> Option<Parsed> {
    let Parsed { root, mut problems } = read(file)?;
    let Some(found) = root else { return Some(Parsed { root: None, problems }) };
    let mut root = Node::new(Value::Map(Vec::new()), Place { line: 1, column: 1, ..found.place.clone() });
    if let Some(node) = found.get("name") {
        layers::insert(&mut root, &["project", "name"], named(node));
    }
    let dockerfile = found.get("dockerFile").or_else(|| found.at(["build", "dockerfile"]));
    match (found.get("image"), dockerfile) {
        (Some(image), _) => layers::insert(&mut root, &["environment", "base_image"], image.clone()),
        (None, Some(dockerfile)) => layers::insert(&mut root, &["environment", "dockerfile"], dockerfile.clone()),
        (None, None) => {
            let path = Value::Text(file.to_string_lossy().into_owned());
            layers::insert(&mut root, &["environment", "devcontainer"], Node::new(path, found.place.clone()));
        }
    }
    if let Some(Value::List(mounts)) = found.get("mounts").map(|node| &node.value) {
        let volumes = mounts.iter().filter_map(|mount| volume(mount, &mut problems)).collect();
        let place = found.get("mounts").map_or_else(|| found.place.clone(), |node| node.place.clone());
        layers::insert(&mut root, &["environment", "volumes"], Node::new(Value::List(volumes), place));
    }
    Some(Parsed { root: Some(root), problems })
}

/// A name there may hold spaces.
fn named(node: &Node) -> Node {
    let text = node.as_written().unwrap_or_default();
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
    let name: String = text.chars().map(plain).take(128).collect();
    let name = name.trim_matches(['-', '.', '_']);
    Node { value: Value::Text(if name.is_empty() { "project" } else { name }.to_owned()), ..node.clone() }
}

/// Returns a mount as a volume; one that is none of ours (`type=tmpfs`, another's variables) is left out.
fn volume(mount: &Node, problems: &mut Vec<Problem>) -> Option<Node> {
    let parts: Vec<(String, String)> = match &mount.value {
        Value::Text(text) => text
            .split(',')
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
            .collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.node.as_written().unwrap_or_default().to_owned()))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) => {
            let fix = "Write it as in `\"source=data,target=/data,type=volume\"`.";
            problems.push(Problem::of_file(
                mount.place.clone(),
                format!("a mount is a text or a map, not {}", mount.described()),
                fix,
            ));
            return None;
        }
    };
    let get =
        |names: &[&str]| parts.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.clone());
    let source = get(&["source", "src"])?;
    let target = get(&["target", "dst", "destination"])?;
    let source = source
        .replace("${localWorkspaceFolder}", "..")
        .replace("${localEnv:HOME}", "${HOME}")
        .replace("${localEnv:", "${env:");
    let mode = if get(&["readonly", "ro"]).is_some_and(|value| value != "false") { ":ro" } else { "" };
    let text = format!("{source}:{target}{mode}");
    Volume::parse(&text).ok().map(|_| Node { value: Value::Text(text), ..mount.clone() })
}

/// Returns the files that a `devcontainer.json` names: its Dockerfile and its compose files. Blocks.
pub fn files(file: &Path) -> Vec<PathBuf> {
    let Some(root) = read(file).and_then(|parsed| parsed.root) else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new("."));
    let single = [root.get("dockerFile"), root.at(["build", "dockerfile"]), root.get("dockerComposeFile")];
    let named = single.into_iter().flatten().flat_map(|node| match &node.value {
        Value::List(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => vec![node],
    });
    named.filter_map(|node| Some(folder.join(node.as_written()?))).collect()
}

/// Returns JSON with comments as JSON: comments, commas before a closing bracket and tabs become spaces, so that every
/// value stays where it is.
fn plain(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        let next = letters.get(at + 1).copied();
        match (letter, next) {
            ('"', _) => {
                at += 1;
                while letters.get(at).is_some_and(|letter| *letter != '"') {
                    at += if letters.get(at) == Some(&'\\') { 2 } else { 1 };
                }
                at += 1;
            }
            ('/', Some('/')) => {
                while letters.get(at).is_some_and(|letter| *letter != '\n') {
                    blank(&mut letters, &mut at);
                }
            }
            ('/', Some('*')) => {
                while at < letters.len() && !(letters.get(at) == Some(&'*') && letters.get(at + 1) == Some(&'/')) {
                    blank(&mut letters, &mut at);
                }
                blank(&mut letters, &mut at);
                blank(&mut letters, &mut at);
            }
            ('\t', _) => blank(&mut letters, &mut at),
            _ => at += 1,
        }
    }
    without_last_commas(&mut letters);
    letters.into_iter().collect()
}

fn blank(letters: &mut [char], at: &mut usize) {
    if let Some(letter) = letters.get_mut(*at).filter(|letter| **letter != '\n') {
        *letter = ' ';
    }
    *at += 1;
}

fn without_last_commas(letters: &mut [char]) {
    let mut in_text = false;
    let mut comma = None;
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        match letter {
            '\\' if in_text => at += 1,
            '"' => (in_text, comma) = (!in_text, None),
            _ if in_text => {}
            ',' => comma = Some(at),
            ']' | '}' => {
                if let Some(comma) = comma.take().and_then(|comma| letters.get_mut(comma)) {
                    *comma = ' ';
                }
            }
            letter if letter.is_whitespace() => {}
            _ => comma = None,
        }
        at += 1;
    }
}
