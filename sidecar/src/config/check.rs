//! Pure: a file's tree against the schema. Everything that is wrong is said at once.

use protocol::error::Explain as _;

use super::place::{Layer, Place};
use super::problem::Problem;
use super::schema::{Agent, Config, Document};
use super::setting::{Reading, Setting};
use super::spelling;
use super::tree::{Node, Parsed, Value};
use super::units::Version;
use crate::interpolate::{Command, Template, TemplateError};

/// The three that say what a container is made of.
pub const SOURCES: [&str; 3] = ["base_image", "dockerfile", "devcontainer"];

/// A file in canonical spelling, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The tree; `None` when the file could not be read.
    pub root: Option<Node>,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Checks what was parsed.
pub fn check(parsed: Parsed, document: Document) -> Checked {
    let Parsed { root, mut problems } = parsed;
    let Some(root) = root else { return Checked { root: None, problems } };
    let root = spelling::canonical(root, document, &mut problems);
    if let Some(problem) = newer(&root) {
        // What a newer format means is not known, so that nothing else is said of it.
        return Checked { root: Some(root), problems: vec![problem] };
    }
    let mut reading = Reading::default();
    // What a layer leaves out is no problem, so that what is made of it does not matter here.
    match document {
        Document::Project => {
            Config::read(&root, &mut reading);
            one_source(&root, &mut reading);
            own_profiles(&root, &mut reading);
            hidden_folder(&root, &mut reading);
            patterns(&root, &mut reading);
            references(&root, &mut reading);
            commands(&root, &mut reading);
        }
        Document::Agent => {
            Agent::read(&root, &mut reading);
        }
    }
    problems.append(&mut reading.problems);
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    Checked { root: Some(root), problems }
}

/// Returns the problem of a file that is of a newer version.
fn newer(root: &Node) -> Option<Problem> {
    let version = root.get("version")?;
    let major = version.as_written()?.split('.').next()?.parse::<u64>().ok()?;
    let mut reading = Reading::default();
    reading.within("version", None, |reading| Version::read(version, reading));
    reading.problems.pop().filter(|_| major > 3)
}

/// At most one of the three, in one file.
fn one_source(root: &Node, reading: &mut Reading) {
    let Some(environment) = root.get("environment") else { return };
    let said = environment
        .entries()
        .iter()
        .filter(|entry| SOURCES.contains(&entry.name.as_str()) && entry.node.value != Value::Null);
    let names: Vec<(&str, &Place)> = said.map(|entry| (entry.name.as_str(), &entry.place)).collect();
    if let [(first, _), (_, place), ..] = names[..] {
        let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let reason =
            format!("specify exactly one: base_image, dockerfile, or devcontainer; here are `{}`", all.join("` and `"));
        let fix = format!("Keep `{first}` and remove `{}`, or the other way round.", all[1..].join("` and `"));
        reading.within("environment", None, |reading| reading.problem(place, reason, fix));
    }
}

/// Returns the problem of a project whose environment is made of nothing; asked of the effective configuration.
pub(super) fn no_source(root: &Node) -> Option<Problem> {
    let environment = root.get("environment")?;
    let is_of_project = |node: &Node| node.place.source.layer() == Some(Layer::Project);
    let said = environment.entries().iter().find(|entry| {
        is_of_project(&entry.node) || entry.node.entries().iter().any(|entry| is_of_project(&entry.node))
    })?;
    if SOURCES.iter().any(|name| environment.get(name).is_some()) {
        return None;
    }
    Some(Problem {
        place: if is_of_project(environment) { environment.place.clone() } else { said.place.clone() },
        key: "environment".to_owned(),
        reason: "specify exactly one: base_image, dockerfile, or devcontainer; here is none of them".to_owned(),
        fix: "Add a line such as `  base_image: python:3.12` below `environment:`.".to_owned(),
    })
}

/// Profiles of a project could set what the user never meant to be set.
fn own_profiles(root: &Node, reading: &mut Reading) {
    let Value::Map(entries) = &root.value else { return };
    for entry in entries.iter().filter(|entry| entry.name == "profiles") {
        if matches!(entry.place.source.layer(), Some(Layer::Project | Layer::Local)) {
            let fix = "Move it to `~/.config/mltoolbox/config.yaml`, or write the variables below `environment.env`.";
            reading.within("profiles", None, |reading| {
                reading.problem(&entry.place, "profiles belong to the user's or the machine's file", fix);
            });
        }
    }
}

/// A project that somebody else wrote could put its files where programs of the remote look for theirs.
fn hidden_folder(root: &Node, reading: &mut Reading) {
    let Some(node) = root.at(["remote", "dir"]) else { return };
    let hidden = |folder: &str| folder.split('/').any(|part| part.starts_with('.'));
    // Whoever hands on a folder can put a local file there, too.
    let is_of_folder = matches!(node.place.source.layer(), Some(Layer::Project | Layer::Local));
    if is_of_folder && node.as_written().is_some_and(hidden) {
        let fix = "Write it to `~/.config/mltoolbox/config.yaml`, or name a folder without a dot.";
        reading.within("remote", None, |reading| {
            reading.within("dir", None, |reading| {
                reading.problem(&node.place, "a project's file may name no hidden folder of the remote", fix);
            });
        });
    }
}

/// Patterns have to be readable by what matches them.
fn patterns(root: &Node, reading: &mut Reading) {
    for name in ["exclude", "include_overrides", "pull", "append"] {
        let Some(Value::List(items)) = root.at(["sync", name]).map(|node| &node.value) else { continue };
        for item in items {
            if let Value::Text(text) = &item.value
                && let Err(error) = crate::sync::ignored::check(text)
            {
                let reason = format!("the pattern `{text}` cannot be read: {error}");
                let fix = format!(
                    "Write it as in `.gitignore`: put a `\\` before a letter that is meant literally, as in `{}`.",
                    text.replace('[', "\\[")
                );
                reading.within("sync", None, |reading| {
                    reading.within(name, None, |reading| reading.problem(&item.place, reason, fix));
                });
            }
        }
    }
}

/// Values of variables may refer to secrets and to other variables.
fn references(root: &Node, reading: &mut Reading) {
    let Some(variables) = root.at(["environment", "env"]) else { return };
    for entry in variables.entries() {
        if entry.name.is_empty() || entry.name.contains(['=', '\0']) {
            reading.within("environment", None, |reading| {
                reading.within("env", None, |reading| {
                    let reason = format!("`{}` cannot be the name of a variable", entry.name);
                    reading.problem(&entry.place, reason, "Write it with letters, digits and `_`, as in `MY_NAME`.");
                });
            });
        }
        let Value::Text(text) = &entry.node.value else { continue };
        if let Err(error) = Template::parse(text) {
            let keys = ["environment", "env", &entry.name];
            within(&keys, reading, &entry.node.place, "the value", &error);
        }
    }
}

/// Commands of hooks may hold templates where a shell takes their value as one word.
fn commands(root: &Node, reading: &mut Reading) {
    let Some(hooks) = root.get("hooks") else { return };
    for entry in hooks.entries() {
        let Value::List(items) = &entry.node.value else { continue };
        for item in items {
            let run = item.get("run").unwrap_or(item);
            let Value::Text(text) = &run.value else { continue };
            if let Err(error) = Command::parse(text) {
                within(&["hooks", &entry.name], reading, &run.place, "the command", &error);
            }
        }
    }
}

fn within(keys: &[&str], reading: &mut Reading, place: &Place, what: &str, error: &TemplateError) {
    match keys {
        [first, rest @ ..] => reading.within(first, None, |reading| within(rest, reading, place, what, error)),
        [] => reading.problem(place, format!("{what} cannot be used: {error}"), error.help()),
    }
}
