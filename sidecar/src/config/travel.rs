//! Files that a project needs on the remote because its configuration names them. Reads the `devcontainer.json`.

use std::path::{Path, PathBuf};

use super::{Loaded, devcontainer, layers, paths};

/// Returns patterns, as in `.gitignore`, of the files in `workspace` that always travel, ignored or not: the project's
/// file, and what it names. Blocks.
pub fn always(loaded: &Loaded, workspace: &Path, home: Option<&Path>) -> Vec<String> {
    let named = paths::named(loaded, workspace, home);
    let mut files: Vec<PathBuf> = Vec::new();
    for file in named {
        if file.key == "environment.devcontainer" {
            files.extend(devcontainer::files(&file.path));
        }
        files.push(file.path);
    }
    let project =
        loaded.project.iter().filter(|file| file.file_name().is_some_and(|name| name == layers::PROJECT_FILE));
    files.extend(project.cloned());
    let mut patterns: Vec<String> = files.iter().filter_map(|file| pattern(file, workspace)).collect();
    patterns.sort();
    patterns.dedup();
    patterns
}

/// Returns the pattern of one file; `None` for one that lies elsewhere.
fn pattern(file: &Path, workspace: &Path) -> Option<String> {
    let normal = normal(file);
    let inside = normal.strip_prefix(workspace).ok()?.to_str()?;
    let mut pattern = String::from("/");
    for letter in inside.chars() {
        if "\\*?[]!# ".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    (!inside.is_empty()).then_some(pattern)
}

/// Returns a path without `..`, as far as names alone tell.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}
