//! What `.env` says, as variables of the new file.

use std::collections::HashMap;
use std::path::Path;

use super::{FoundSecret, Left, MigrateError, Origin, Said, value};
use crate::dotenv::{self, Entry};
use crate::secrets::Secret;

/// What begins the settings of docker and docker compose themselves, which are no variables of a container.
const TOOLS: [&str; 3] = ["COMPOSE_", "DOCKER_", "BUILDKIT_"];

/// The project's name for docker compose.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";

/// The variables of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    all: Vec<Variable>,
    /// Where in `all` each name is.
    index: HashMap<String, usize>,
    pub(super) left: Vec<Left>,
}

/// One variable.
#[derive(Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// In the notation of the new file.
    pub(super) written: String,
    /// What it is a reference to.
    pub(super) secret: Option<FoundSecret>,
    /// Its value without the environment, for what has to be known now.
    plain: Option<String>,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Variable")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Variables {
    /// Returns those that a container is given.
    pub(super) fn carried(&self) -> impl Iterator<Item = &Variable> {
        self.all.iter().filter(|variable| !is_of_a_tool(&variable.name))
    }

    /// Returns a variable in the notation of the new file.
    pub(super) fn written(&self, name: &str) -> Option<String> {
        self.find(name).map(|variable| variable.written.clone())
    }

    /// Returns a variable's value, which may be a secret.
    pub(super) fn plain(&self, name: &str) -> Option<String> {
        self.find(name).and_then(|variable| variable.plain.clone())
    }

    /// Returns what docker compose calls the project.
    pub(super) fn project_name(&self) -> Option<Said<String>> {
        let variable = self.find(PROJECT_NAME)?;
        Some(Said::new(value::name(&variable.plain.clone()?), &variable.origin))
    }

    /// Returns the secrets among them.
    pub(super) fn secrets(&self) -> Vec<FoundSecret> {
        self.all.iter().filter_map(|variable| variable.secret.clone()).collect()
    }

    fn find(&self, name: &str) -> Option<&Variable> {
        self.index.get(name).and_then(|at| self.all.get(*at))
    }

    fn add(&mut self, file: &str, entry: &Entry) {
        let origin = Origin::new(file, entry.place.line);
        let plain = entry.value.as_ref().and_then(|value| {
            // What the environment would say counts as unknown, so that nothing of it is stored.
            let is_complete = value.parts().iter().all(|part| match part {
                dotenv::template::Part::Text(_) => true,
                dotenv::template::Part::Variable { name, .. } => self.plain(name).is_some(),
            });
            is_complete.then(|| value.expand(&|name| self.plain(name), dotenv::MAX_VALUES).ok()).flatten()
        });
        let written = match &entry.value {
            None => Ok(format!("${{env:{}:}}", entry.name)),
            Some(value) => value::converted(value, &|name| self.written(name)),
        };
        let mut written = match written {
            Ok(written) => written,
            Err(why) => {
                self.left.push(Left::new(&origin, format!("`{}`", entry.name), why));
                return;
            }
        };
        let literal = entry.value.as_ref().and_then(dotenv::template::Template::as_literal);
        let shown = plain.as_deref().or(literal.as_deref()).unwrap_or_default();
        // A value that is made of secrets refers to them already.
        let refers = written.contains("${secret:");
        let secret = (!refers && !is_of_a_tool(&entry.name) && value::looks_secret(&entry.name, shown)).then(|| {
            let name = value::secret_name(&entry.name);
            written = format!("${{secret:{name}}}");
            let value = plain.clone().map(Secret::new);
            FoundSecret { name, variable: entry.name.clone(), origin: origin.clone(), value }
        });
        let variable = Variable { name: entry.name.clone(), origin, written, secret, plain };
        if let Some(known) = self.index.get(&entry.name).and_then(|at| self.all.get_mut(*at)) {
            *known = variable;
        } else {
            self.index.insert(entry.name.clone(), self.all.len());
            self.all.push(variable);
        }
    }
}

fn is_of_a_tool(name: &str) -> bool {
    TOOLS.iter().any(|beginning| name.starts_with(beginning))
}

/// Reads the file `name` of `folder`. Blocks.
pub(super) fn read(folder: &Path, name: &str) -> Result<Variables, MigrateError> {
    let path = folder.join(name);
    let text = dotenv::read(&path)?;
    let mut variables = Variables::default();
    for entry in dotenv::parse(&path, &text)? {
        variables.add(name, &entry);
    }
    let of_tools =
        variables.all.iter().filter(|variable| is_of_a_tool(&variable.name) && variable.name != PROJECT_NAME);
    let of_tools: Vec<Left> = of_tools
        .map(|variable| {
            let why = "it is a setting of docker itself; docker goes on reading it from this file";
            Left::new(&variable.origin, format!("`{}`", variable.name), why)
        })
        .collect();
    variables.left.extend(of_tools);
    Ok(variables)
}
