//! From the paths of a configuration to files: relative ones, `~` and `${HOME}`.

use std::path::{Path, PathBuf};

use super::Loaded;
use super::place::Place;
use super::tree::{Node, Value};

/// Keys that name files.
const FILES: [&str; 3] = ["env_file", "dockerfile", "devcontainer"];

/// Returns the file that a path means, relative to `folder`; `None` for one with a reference that is resolved later.
pub fn resolve(path: &str, folder: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let home = home.unwrap_or(Path::new("/"));
    let path = match path.strip_prefix("~/").or_else(|| path.strip_prefix("${HOME}/")) {
        Some(below) => home.join(below),
        None if path == "~" || path == "${HOME}" => home.to_owned(),
        None if path.contains("${") => return None,
        None => folder.join(path),
    };
    // `./` and the like are no part of a name; links stay.
    Some(path.components().collect())
}

/// A file that the configuration names, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The key.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// Where it is named.
    pub place: Place,
}

/// Returns the files that the configuration names for its container.
pub fn named(loaded: &Loaded, start: &Path, home: Option<&Path>) -> Vec<Named> {
    let mut all = Vec::new();
    for name in FILES {
        let Some(node) = loaded.tree.at(["environment", name]) else { continue };
        let items = match &node.value {
            Value::List(items) => items.iter().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => vec![node],
        };
        all.extend(items.into_iter().filter_map(|node: &Node| {
            let folder = node.place.folder().unwrap_or_else(|| loaded.project_folder().unwrap_or(start).to_owned());
            let path = resolve(node.as_written()?, &folder, home)?;
            Some(Named { key: format!("environment.{name}"), path, place: node.place.clone() })
        }));
    }
    all
}
