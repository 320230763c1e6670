//! The configuration: declared once in [`schema`], read from its [`layers`], merged, checked, and each value able to say
//! who said it. It reads files and is told the environment; it never asks, never writes, and never resolves a secret.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub mod check;
pub mod devcontainer;
pub mod edit;
mod error;
pub mod layers;
pub mod merge;
pub mod paths;
pub mod place;
pub mod problem;
pub mod profile;
pub mod reference;
pub mod save;
pub mod schema;
pub mod setting;
pub mod spelling;
#[cfg(test)]
mod tests;
pub mod travel;
pub mod tree;
pub mod units;
pub mod validate;
pub mod write;

pub use error::{ConfigError, examples};
pub use layers::Places;
pub use place::{Layer, Place, Source};
pub use problem::Problem;
pub use schema::{Agent, Config, Document};
use setting::{Reading, Setting};
use tree::{Node, Value};
pub use validate::{LoadedAgent, load_agent, validate, validate_file};

/// The effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// The same as a tree in canonical spelling, in which every value knows its place.
    pub tree: Node,
    /// The project's file; `None` when there is none.
    pub project: Option<PathBuf>,
    /// The files that were read, the strongest first.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Returns the project's folder: that of its file.
    pub fn project_folder(&self) -> Option<&Path> {
        self.project.as_deref().and_then(Path::parent)
    }

    /// Returns who said the value of a key; `None` when nobody did and it has no default.
    pub fn origin(&self, key: &str) -> Option<&Place> {
        self.tree.at(key.split('.')).map(|node| &node.place)
    }

    /// Returns whether somebody said the value of a key.
    pub fn says(&self, key: &str) -> bool {
        self.origin(key).is_some_and(|place| place.source != Source::Default)
    }
}

/// All the layers as they were read, and what is wrong with them.
#[derive(Clone, Debug)]
pub struct Read {
    /// The trees, the weakest first.
    pub layers: Vec<Node>,
    /// The project's file; `None` when there is none.
    pub project: Option<PathBuf>,
    /// The files that were read, the strongest first.
    pub files: Vec<PathBuf>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

static DEFAULTS: LazyLock<Node> = LazyLock::new(|| layers::defaults(Document::Project));

/// Loads the effective configuration. Blocks.
pub fn load(places: &Places) -> Result<Loaded, ConfigError> {
    effective(read(places))
}

/// Returns what holds once all layers are read.
fn effective(read: Read) -> Result<Loaded, ConfigError> {
    let Read { mut layers, project, files, problems } = read;
    if !problems.is_empty() {
        return Err(ConfigError::Invalid { problems });
    }
    let mut tree = merge::merge(DEFAULTS.clone(), layers.clone());
    if let Some(profile) = profile::layer(&tree).map_err(|problem| ConfigError::Invalid { problems: vec![problem] })? {
        layers.insert(0, profile);
        tree = merge::merge(DEFAULTS.clone(), layers);
    }
    if let Some(problem) = check::no_source(&tree) {
        return Err(ConfigError::Invalid { problems: vec![problem] });
    }
    let tree = merge::in_order(tree, Document::Project.fields());
    let mut reading = Reading::default();
    match Config::read(&tree, &mut reading) {
        Some(config) if reading.problems.is_empty() => Ok(Loaded { config, tree, project, files }),
        Some(_) | None => Err(ConfigError::Invalid { problems: reading.problems }),
    }
}

/// Returns the problem of a file that was found, belongs to somebody else, and is of a folder of somebody else's: in
/// `/tmp` anybody can put one above the folders of others.
#[cfg(unix)]
fn foreign(places: &Places, layer: Layer, file: &Path) -> Option<Problem> {
    use std::os::unix::fs::MetadataExt as _;
    if places.named.is_some() || !matches!(layer, Layer::Project | Layer::Local) {
        return None;
    }
    let owner = |path: &Path| path.metadata().ok().map(|facts| facts.uid());
    let theirs = owner(file)?;
    let trusted = [Some(0), Some(rustix::process::geteuid().as_raw()), owner(&places.start)];
    (!trusted.contains(&Some(theirs))).then(|| {
        let fix = format!(
            "Name it with `--config {}` if you know whose it is, or work in a folder that is not below it.",
            protocol::error::word(file.display())
        );
        Problem::of_file(Place::whole(Source::file(layer, file)), "the file belongs to another user", fix)
    })
}

#[cfg(not(unix))]
fn foreign(_: &Places, _: Layer, _: &Path) -> Option<Problem> {
    None
}

/// Reads every layer and checks each by itself. Blocks.
pub fn read(places: &Places) -> Read {
    let project = places.project_file();
    let mut read = Read { layers: Vec::new(), project: project.clone(), files: Vec::new(), problems: Vec::new() };
    let mut wanted = vec![
        (Layer::System, places.own(Layer::System, Document::Project)),
        (Layer::User, places.own(Layer::User, Document::Project)),
    ];
    wanted.extend(project.iter().map(|project| (Layer::Local, Some(layers::local(project)))));
    wanted.extend(project.iter().map(|project| (Layer::Project, Some(project.clone()))));
    for (layer, file) in wanted {
        let Some(file) = file else { continue };
        if let Some(problem) = foreign(places, layer, &file) {
            read.problems.push(problem);
            continue;
        }
        match tree::load(layer, &file) {
            Some(parsed) => {
                read.take(check::check(parsed, Document::Project));
                read.files.insert(0, file);
            }
            None if layer == Layer::Project => {
                let place = Place::whole(Source::file(layer, &file));
                let fix = format!(
                    "Run `ls -l {}`, or name another with `--config FILE`.",
                    protocol::error::word(file.display())
                );
                read.problems.push(Problem::of_file(place, "there is no such file", fix));
            }
            None => {}
        }
    }
    if project.is_none()
        && let Some((file, parsed)) = fallback(&places.start)
    {
        read.take(check::check(parsed, Document::Project));
        read.files.insert(0, file);
    }
    read.take(check::check(layers::of_variables(&places.variables), Document::Project));
    read.take(check::check(layers::of_flags(&places.flags), Document::Project));
    read
}

/// Returns what stands in for the project's file where there is none: the `devcontainer.json`, else the Dockerfile.
fn fallback(start: &Path) -> Option<(PathBuf, tree::Parsed)> {
    let mut devcontainers = devcontainer::FILES.iter().map(|name| start.join(name));
    let found = devcontainers.find_map(|file| devcontainer::fallback(&file).map(|parsed| (file, parsed)));
    if found.is_some() {
        return found;
    }
    let file = start.join("Dockerfile");
    file.is_file().then(|| {
        let place = Place::whole(Source::file(Layer::Project, &file));
        let mut root = Node::new(Value::Map(Vec::new()), place.clone());
        let name = Node::new(Value::Text("./Dockerfile".to_owned()), place);
        layers::insert(&mut root, &["environment", "dockerfile"], name);
        (file, tree::Parsed { root: Some(root), problems: Vec::new() })
    })
}

impl Read {
    fn take(&mut self, checked: check::Checked) {
        self.layers.extend(checked.root);
        self.problems.extend(checked.problems);
    }
}
