//! What `config validate` asks: all that is wrong with what holds here, or with one file. Reads files, writes none.

use std::path::{Path, PathBuf};

use super::place::{Layer, Place, Source};
use super::problem::Problem;
use super::schema::{Agent, Document};
use super::setting::{Reading, Setting};
use super::tree::Node;
use super::{ConfigError, Loaded, Places, check, layers, merge, paths, tree};

/// Returns the files that hold here, the strongest first, and all that is wrong with them. Blocks.
pub fn validate(places: &Places) -> (Vec<PathBuf>, Vec<Problem>) {
    let read = super::read(places);
    let (files, mut problems) = (read.files.clone(), read.problems.clone());
    match super::effective(read) {
        Ok(loaded) => problems.extend(missing(&loaded, &places.start)),
        Err(ConfigError::Invalid { problems: found }) => problems = found,
        Err(_) => {}
    }
    (files, problems)
}

/// Returns all that is wrong with one file, whatever else holds here. Blocks.
pub fn validate_file(file: &Path) -> Vec<Problem> {
    let document = document(file);
    // By its name it is the user's or a project's.
    let name = file.file_name().unwrap_or_default();
    let layer = if name == layers::CONFIG_FILE || name == layers::AGENT_FILE { Layer::User } else { Layer::Project };
    let Some(parsed) = tree::load(layer, file) else {
        let place = Place::whole(Source::file(layer, file));
        let fix = "Name a file that is there, or run `mltoolbox-sidecar init` to begin one.";
        return vec![Problem::of_file(place, "there is no such file", fix)];
    };
    let checked = check::check(parsed, document);
    let mut problems = checked.problems;
    if let Some(root) = checked.root.filter(|_| document == Document::Project && problems.is_empty()) {
        problems.extend(check::no_source(&root));
        let read =
            super::Read { layers: vec![root], project: Some(file.to_owned()), files: Vec::new(), problems: Vec::new() };
        if problems.is_empty()
            && let Ok(loaded) = super::effective(read)
        {
            problems.extend(missing(&loaded, Path::new("/")));
        }
    }
    problems
}

fn document(file: &Path) -> Document {
    if file.file_name().is_some_and(|name| name == layers::AGENT_FILE) { Document::Agent } else { Document::Project }
}

/// Returns the problems of files that are named and not there.
fn missing(loaded: &Loaded, start: &Path) -> Vec<Problem> {
    let home = crate::env::home();
    let named = paths::named(loaded, start, home.as_deref());
    let gone = named.into_iter().filter(|named| !named.path.is_file());
    let problem = |named: paths::Named| Problem {
        reason: format!("there is no file `{}`", named.path.display()),
        fix: format!("Write the file, or name another: `{}` is relative to the file that names it.", named.key),
        place: named.place,
        key: named.key,
    };
    gone.map(problem).collect()
}

/// The agent's configuration, which holds on a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedAgent {
    /// What holds.
    pub agent: Agent,
    /// The same as a tree, in which every value knows its place.
    pub tree: Node,
    /// The files that were read, the strongest first.
    pub files: Vec<PathBuf>,
}

/// Loads `agent.yaml`: the user's over the machine's over the defaults. Blocks.
pub fn load_agent(places: &Places) -> Result<LoadedAgent, ConfigError> {
    let mut problems = Vec::new();
    let (mut trees, mut files): (Vec<Node>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for layer in [Layer::System, Layer::User] {
        let Some(file) = places.own(layer, Document::Agent) else { continue };
        let Some(parsed) = tree::load(layer, &file) else { continue };
        let checked = check::check(parsed, Document::Agent);
        problems.extend(checked.problems);
        trees.extend(checked.root);
        files.insert(0, file);
    }
    let tree = merge::merge(layers::defaults(Document::Agent), trees);
    let mut reading = Reading::after(problems);
    match Agent::read(&tree, &mut reading) {
        Some(agent) if reading.problems.is_empty() => Ok(LoadedAgent { agent, tree, files }),
        Some(_) | None => Err(ConfigError::Invalid { problems: reading.problems }),
    }
}
