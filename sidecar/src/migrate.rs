//! From the files of an older project (`.env`, `Dockerfile`, compose file) to one `mltoolbox.yaml`.
//!
//! Reads them and proposes; never changes or removes one of them, never copies the value of a secret, and writes only
//! where nothing stands.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Document, Layer, Source, check, tree};
use crate::secrets::Secret;

mod compose;
mod dockerfile;
mod dotenv;
mod error;
mod value;
mod write;

pub use error::{MigrateError, examples};

/// What is written.
pub const TARGET: &str = crate::config::layers::PROJECT_FILE;
/// The variables of the older versions, and of docker compose.
const DOTENV: &str = ".env";
/// What their image is built from.
const DOCKERFILE: &str = "Dockerfile";
/// The compose files, in the order in which docker compose looks for them.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
/// What docker compose lays over its file by itself.
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"];
/// The templates of the older versions, from which the other files were made.
const TEMPLATES: [&str; 3] = [".env.j2", "Dockerfile.j2", "docker-compose.yml.j2"];
/// The folders that editors describe a container in.
const DEVCONTAINERS: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];

/// The image of a project whose files name none.
const USUAL_IMAGE: &str = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime";

/// What stands in a folder and is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// The names of the files, in the order in which they are read.
    pub files: Vec<String>,
    /// Files beside them that are not read, and why.
    pub others: Vec<Left>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, relative to the project.
    pub file: String,
    /// The line, counted from 1; 0 for the whole file.
    pub line: usize,
}

impl Origin {
    fn new(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.file),
            line => write!(formatter, "{}:{line}", self.file),
        }
    }
}

/// Something that was not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it stands.
    pub origin: Origin,
    /// What it is.
    pub what: String,
    /// Why it was left, and what to do instead.
    pub why: String,
}

impl Left {
    fn new(origin: &Origin, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { origin: origin.clone(), what: what.into(), why: why.into() }
    }
}

/// A value that looks like a secret. The configuration refers to it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSecret {
    /// Its name in the secret store.
    pub name: String,
    /// The variable whose value it is.
    pub variable: String,
    /// Where it stands.
    pub origin: Origin,
    /// The value; `None` when it is made of the environment of whoever runs the program.
    pub value: Option<Secret>,
}

/// A value and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said<T> {
    value: T,
    origin: Origin,
}

impl<T> Said<T> {
    fn new(value: T, origin: &Origin) -> Self {
        Self { value, origin: origin.clone() }
    }
}

/// What a project's container is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Image {
    /// An image of a registry.
    Base(String),
    /// A Dockerfile, relative to the project.
    Dockerfile(String),
    /// A `devcontainer.json`, relative to the project.
    Devcontainer(String),
}

/// What the files say, in the words of the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Project {
    name: Option<Said<String>>,
    image: Option<Said<Image>>,
    /// Values in the new file's own notation, references and all.
    env: Vec<(String, Said<String>)>,
    env_files: Vec<Said<String>>,
    volumes: Vec<Said<String>>,
    ports: Vec<Said<String>>,
    gpus: Option<Said<u64>>,
    host_network: Option<Said<()>>,
    ray: Option<Said<compose::Ray>>,
    secrets: Vec<FoundSecret>,
    left: Vec<Left>,
}

impl Project {
    /// Sets a variable; the last who says it wins, as in docker compose.
    fn set(&mut self, name: &str, value: Said<String>) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.env.push((name.to_owned(), value)),
        }
    }

    /// Forgets the secrets that nothing refers to; of two that share a name the later one is meant.
    fn keep_referenced_secrets(&mut self) {
        let volumes = self.volumes.iter().map(|said| said.value.as_str());
        let written: Vec<&str> = self.env.iter().map(|(_, said)| said.value.as_str()).chain(volumes).collect();
        let mut kept: Vec<FoundSecret> = Vec::new();
        for secret in std::mem::take(&mut self.secrets) {
            let reference = format!("${{secret:{}}}", secret.name);
            if written.iter().any(|value| value.contains(&reference)) {
                kept.retain(|known| known.name != secret.name);
                kept.push(secret);
            }
        }
        self.secrets = kept;
    }
}

/// What would be written, and what not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The files that were read.
    pub found: Vec<String>,
    /// The text of the new file.
    pub text: String,
    /// The secrets it refers to.
    pub secrets: Vec<FoundSecret>,
    /// What was not carried over.
    pub left: Vec<Left>,
}

/// Returns which files of an older project stand in `folder`. Blocks.
pub fn find(folder: &Path) -> Legacy {
    let stands = |name: &&str| folder.join(name).is_file();
    let mut files: Vec<String> =
        [DOTENV, DOCKERFILE].iter().filter(|name| stands(name)).map(ToString::to_string).collect();
    let mut others = Vec::new();
    let mut other = |name: &str, what: &str, why: String| {
        others.push(Left::new(&Origin::new(name, 0), what, why));
    };
    // Virtual environments of Python are often called `.env`.
    let is_odd = |name: &&str| folder.join(name).symlink_metadata().is_ok() && !stands(name);
    for name in [DOTENV, DOCKERFILE].iter().chain(&COMPOSE).filter(|name| is_odd(name)) {
        other(name, "of that name", "it is a folder, or a link to nothing, and no file".to_owned());
    }
    let mut composes = COMPOSE.iter().filter(|name| stands(name));
    if let Some(first) = composes.next() {
        files.push((*first).to_owned());
        for name in composes {
            other(name, "another compose file", format!("docker compose reads `{first}` and not this one"));
        }
        for name in OVERRIDES.iter().filter(|name| stands(name)) {
            let why = format!("only `{first}` is read; run `docker compose config` to see what both come to");
            other(name, "what lies over the compose file", why);
        }
    }
    for name in TEMPLATES.iter().filter(|name| stands(name)) {
        other(name, "a template", "its values are not known; the file that was made from it is read".to_owned());
    }
    Legacy { files, others }
}

/// Returns whether commands advise to migrate: the folder has no configuration, and files that only an older project or
/// docker compose reads. A Dockerfile alone is understood as it is. Blocks.
pub fn is_advised(folder: &Path) -> bool {
    folder.join(TARGET).symlink_metadata().is_err() && find(folder).files.iter().any(|name| name != DOCKERFILE)
}

/// Reads the files of `folder` and returns what the new one would be. Blocks.
pub fn plan(folder: &Path) -> Result<Plan, MigrateError> {
    let legacy = find(folder);
    if legacy.files.is_empty() {
        return Err(MigrateError::Nothing { folder: folder.to_owned() });
    }
    let has = |name: &str| legacy.files.iter().any(|file| file == name);
    let variables = if has(DOTENV) { dotenv::read(folder, DOTENV)? } else { dotenv::Variables::default() };
    let composed = match legacy.files.iter().find(|file| COMPOSE.contains(&file.as_str())) {
        Some(file) => Some(compose::read(folder, file, &variables)?),
        None => None,
    };
    let mut project = project(folder, &variables, composed, has(DOCKERFILE))?;
    project.left.extend(legacy.others);
    project.keep_referenced_secrets();
    let text = write::text(&project, &legacy.files);
    valid(folder, &text)?;
    Ok(Plan { found: legacy.files, text, secrets: project.secrets, left: project.left })
}

/// Makes sure that the new file would be understood.
fn valid(folder: &Path, text: &str) -> Result<(), MigrateError> {
    let source = Source::file(Layer::Project, &folder.join(TARGET));
    let checked = check::check(tree::parse(text, &source), Document::Project);
    match checked.problems.into_iter().next() {
        Some(problem) => Err(MigrateError::Unfit { problem: Box::new(problem) }),
        None => Ok(()),
    }
}

/// Puts together what the files say: a compose file over the Dockerfile, both over `.env`.
fn project(
    folder: &Path,
    variables: &dotenv::Variables,
    composed: Option<compose::Composed>,
    has_dockerfile: bool,
) -> Result<Project, MigrateError> {
    let mut project = Project { left: variables.left.clone(), ..Project::default() };
    let later = composed.as_ref().map(|composed| composed.later_variables.as_slice()).unwrap_or_default();
    for variable in variables.carried() {
        if let Some(file) = later.iter().find(|(name, _)| *name == variable.name).map(|(_, file)| file) {
            let why = format!("`{file}`, which is named after it, sets it anew");
            project.left.push(Left::new(&variable.origin, format!("`{}`", variable.name), why));
            continue;
        }
        project.set(&variable.name, Said::new(variable.written.clone(), &variable.origin));
    }
    project.secrets = variables.secrets();
    project.name = variables.project_name();
    if let Some(composed) = composed {
        composed.lay_over(&mut project);
    }
    let dockerfile = match &project.image {
        Some(Said { value: Image::Dockerfile(path), .. }) => Some(path.clone()),
        Some(_) => None,
        None => has_dockerfile.then(|| format!("./{DOCKERFILE}")),
    };
    if let Some(path) = dockerfile {
        dockerfile::read(folder, &path)?.lay_under(&mut project, &path);
    } else if has_dockerfile {
        let why = "the compose file starts another image";
        project.left.push(Left::new(&Origin::new(DOCKERFILE, 0), "the Dockerfile", why));
    }
    let devcontainer = DEVCONTAINERS.iter().find(|name| folder.join(name).is_file());
    match (&project.image, devcontainer) {
        (Some(_), Some(name)) => {
            let why = "only one of image, Dockerfile and devcontainer.json can be named; write \
                       `devcontainer:` in its place to use this one";
            project.left.push(Left::new(&Origin::new(name, 0), "the editor's container", why));
        }
        (None, Some(name)) => {
            project.image = Some(Said::new(Image::Devcontainer((*name).to_owned()), &Origin::new(name, 0)));
        }
        (Some(_) | None, None) => {}
    }
    if project.name.is_none() {
        let folder_name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let origin = Origin::new("the folder", 0);
        project.name = Some(Said::new(value::name(&folder_name), &origin));
    }
    Ok(project)
}

/// Writes the new file, whole or not at all; returns `false` when something stands there already. Blocks.
pub fn write(folder: &Path, text: &str) -> Result<bool, MigrateError> {
    let path: PathBuf = folder.join(TARGET);
    let failed = |source| MigrateError::Write { path: path.clone(), source };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mltoolbox-");
    #[cfg(unix)]
    builder.permissions(<std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error.error)),
    }
}

#[cfg(test)]
mod tests;
