//! What a compose file says about the one container that a project has; the other services are listed, and stay its own.

use std::path::Path;

use super::dotenv::Variables;
use super::{FoundSecret, Image, Left, MigrateError, Origin, Project, Said, value};
use crate::config::place::{Layer, Source};
use crate::config::tree::{self, Entry, Node, Value};
use crate::dotenv::template::{ExpandError, Template};

mod choose;
mod gpu;
mod mounts;
mod ports;
mod service;

/// Longest value that is made of variables, in bytes; the new file as a whole may be that long.
const MAX_VALUE: usize = 1024 * 1024;

/// What a compose file says.
#[derive(Debug)]
pub(super) struct Composed {
    name: Option<Said<String>>,
    container_name: Option<Said<String>>,
    image: Option<Said<Image>>,
    env: Vec<(String, Said<String>)>,
    env_files: Vec<Said<String>>,
    volumes: Vec<Said<String>>,
    ports: Vec<Said<String>>,
    gpus: Said<u64>,
    host_network: Option<Said<()>>,
    ray: Option<Said<Ray>>,
    secrets: Vec<FoundSecret>,
    left: Vec<Left>,
    /// Variables of `.env` that a later env file sets anew, and that file.
    pub(super) later_variables: Vec<(String, String)>,
}

/// A Ray cluster that the container starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ray {
    pub(super) port: Option<u16>,
    pub(super) dashboard_port: Option<u16>,
}

impl Ray {
    /// Returns what a command line starts; `None` when it starts none.
    pub(super) fn of_command(command: &str) -> Option<Self> {
        let plain: String =
            command.chars().map(|letter| if "[]\",'".contains(letter) { ' ' } else { letter }).collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let begins = words.windows(2).any(|two| two == ["ray", "start"]) && words.contains(&"--head");
        let flag = |name: &str| {
            let joined = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            let apart = || words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1).copied());
            joined.or_else(apart).and_then(|port| port.parse().ok())
        };
        begins.then(|| Self { port: flag("--port"), dashboard_port: flag("--dashboard-port") })
    }
}

impl Composed {
    /// Lays it over what `.env` said.
    pub(super) fn lay_over(self, project: &mut Project) {
        for (name, said) in self.env {
            project.set(&name, said);
        }
        project.secrets.extend(self.secrets);
        project.name = self.name.or(project.name.take()).or(self.container_name);
        project.image = self.image.or(project.image.take());
        project.env_files = self.env_files;
        project.volumes = self.volumes;
        project.ports = self.ports;
        project.gpus = Some(self.gpus);
        project.host_network = self.host_network;
        project.ray = self.ray;
        project.left.extend(self.left);
    }
}

/// What reads a compose file needs at every place.
struct Reading<'a> {
    folder: &'a Path,
    file: &'a str,
    variables: &'a Variables,
    left: Vec<Left>,
}

impl Reading<'_> {
    fn origin(&self, node: &Node) -> Origin {
        Origin::new(self.file, node.place.line)
    }

    fn leave(&mut self, node: &Node, what: impl Into<String>, why: impl Into<String>) {
        let left = Left::new(&self.origin(node), what, why);
        self.left.push(left);
    }

    /// Reads a value with variables in it.
    fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let Some(text) = node.as_written() else {
            self.leave(node, what, format!("it is {} where a text belongs", node.described()));
            return None;
        };
        let template = Template::parse(text).ok();
        if template.is_none() {
            self.leave(node, what, "a `${` in it is never closed, or holds no variable");
        }
        template
    }

    /// Returns a value in the notation of the new file.
    fn written(&mut self, node: &Node, what: &str) -> Option<String> {
        let template = self.template(node, what)?;
        let variables = self.variables;
        match value::converted(&template, &|name| variables.written(name)) {
            Ok(written) => Some(written),
            Err(why) => {
                self.leave(node, what, why);
                None
            }
        }
    }

    /// Returns a value as it is with what `.env` says.
    fn plain(&mut self, node: &Node, what: &str) -> Option<String> {
        let template = self.template(node, what)?;
        match self.expanded(&template) {
            Ok(text) => Some(text),
            Err(name) => {
                self.leave(node, what, format!("it depends on the variable `{name}`, which `.env` does not set"));
                None
            }
        }
    }

    /// Returns what a template comes to with `.env` alone, or the variable that it lacks.
    fn expanded(&self, template: &Template) -> Result<String, String> {
        let expanded = template.expand(&|name| self.variables.plain(name), MAX_VALUE);
        match expanded {
            Ok(text) => {
                let lacks = template.parts().iter().find_map(|part| match part {
                    crate::dotenv::template::Part::Variable { name, rule: crate::dotenv::template::Rule::Value }
                        if self.variables.plain(name).is_none() =>
                    {
                        Some(name.clone())
                    }
                    _ => None,
                });
                lacks.map_or(Ok(text), Err)
            }
            Err(ExpandError::Required { name, .. }) => Err(name),
            Err(ExpandError::TooLong) => Err(String::new()),
        }
    }
}

/// Reads the compose file `file` of `folder`. Blocks.
pub(super) fn read(folder: &Path, file: &str, variables: &Variables) -> Result<Composed, MigrateError> {
    let path = folder.join(file);
    let failed = |problem| MigrateError::Compose { problem: Box::new(problem) };
    let source = Source::file(Layer::Project, &path);
    let Some(parsed) = tree::load(Layer::Project, &path) else {
        let place = crate::config::place::Place::whole(source);
        let fix = "Remove the link, or put the file there that it points to.";
        return Err(failed(crate::config::problem::Problem::of_file(place, "the file is a link to nothing", fix)));
    };
    if let Some(problem) = parsed.problems.into_iter().next() {
        return Err(failed(problem));
    }
    let root =
        parsed.root.unwrap_or_else(|| Node::new(Value::Map(Vec::new()), crate::config::place::Place::whole(source)));
    let mut reading = Reading { folder, file, variables, left: Vec::new() };
    let mut composed = services(&mut reading, &root);
    for entry in root.entries() {
        top_level(&mut reading, &mut composed, entry);
    }
    composed.left = reading.left;
    Ok(composed)
}

fn services(reading: &mut Reading<'_>, root: &Node) -> Composed {
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    let Some(chosen) = choose::main(services, reading.variables) else {
        reading.leave(root, "the services", "there are none in it");
        return service::read(reading, None);
    };
    for entry in services.iter().filter(|entry| entry.name != chosen.name) {
        let why = format!(
            "a project has one container, which is made from `{}`; go on running this one with \
             `docker compose up -d {}`",
            chosen.name, entry.name
        );
        let left =
            Left::new(&Origin::new(reading.file, entry.place.line), format!("the service `{}`", entry.name), why);
        reading.left.push(left);
    }
    service::read(reading, Some(chosen))
}

/// Reads what stands beside the services.
fn top_level(reading: &mut Reading<'_>, composed: &mut Composed, entry: &Entry) {
    let origin = Origin::new(reading.file, entry.place.line);
    match entry.name.as_str() {
        "services" | "version" => {}
        "name" => {
            let plain = reading.plain(&entry.node, "`name`");
            composed.name = plain.map(|name| Said::new(value::name(&name), &origin));
        }
        name if name.starts_with("x-") => {}
        "volumes" => {
            for volume in entry.node.entries().iter().filter(|volume| !volume.node.entries().is_empty()) {
                reading.leave(
                    &volume.node,
                    format!("the volume `{}`", volume.name),
                    "its driver and options have no key",
                );
            }
        }
        "networks" => {
            let why = "the container has a network of its own, or that of its machine (`network_mode: host`)";
            reading.leave(&entry.node, "`networks`", why);
        }
        "secrets" | "configs" => {
            let why = "put the values into the secret store with `mltoolbox-sidecar secret set NAME`, and refer to \
                       them as `${secret:NAME}`";
            reading.leave(&entry.node, format!("`{}`", entry.name), why);
        }
        "include" => reading.leave(&entry.node, "`include`", "only this one file is read"),
        name => reading.leave(&entry.node, format!("`{name}`"), "there is no key for it"),
    }
}
