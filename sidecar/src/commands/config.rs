//! Commands about the configuration: `init`, and `config show|validate|schema|get|set`.

use std::path::{Path, PathBuf};

use protocol::editor::{
    ConfigGetOutput, ConfigGetParams, ConfigOrigin, ConfigProblem, ConfigSchemaOutput, ConfigSchemaParams,
    ConfigSetOutput, ConfigSetParams, ConfigShowOutput, ConfigShowParams, ConfigValidateOutput, ConfigValidateParams,
};
use protocol::error::{Family, Result};

use super::remote::choice;
use crate::config::tree::{Node, Value};
use crate::config::{
    self, ConfigError, Document, Layer, Loaded, Place, Problem, Source, layers, save, schema, spelling, write,
};
use crate::cx::Cx;

mod begin;

pub(super) use begin::init;

pub(super) async fn show(cx: Cx, params: ConfigShowParams) -> Result<ConfigShowOutput> {
    let (tree, project, files) = if params.agent {
        let places = cx.places(&choice::workspace(&cx).await);
        let loaded = blocking(move || config::load_agent(&places)).await?;
        (loaded.tree, None, loaded.files)
    } else {
        let loaded = loaded(&cx).await?;
        (loaded.tree, loaded.project, loaded.files)
    };
    let mut origins = Vec::new();
    if params.origin {
        gather(&tree, "", &mut origins);
    }
    let shown = |path: &PathBuf| path.display().to_string();
    Ok(ConfigShowOutput {
        config: write::json(&tree),
        origins,
        files: files.iter().map(shown).collect(),
        project: project.as_ref().map(shown),
        text: write::yaml(&tree, params.origin),
    })
}

pub(super) async fn validate(cx: Cx, params: ConfigValidateParams) -> Result<ConfigValidateOutput> {
    let places = cx.places(&choice::workspace(&cx).await);
    let named = params.file.map(|file| cx.folder.join(file));
    let (files, problems) = blocking(move || {
        Ok(match named {
            Some(file) => (vec![file.clone()], config::validate_file(&file)),
            None => config::validate(&places),
        })
    })
    .await?;
    let files = files.iter().map(|file| file.display().to_string()).collect();
    Ok(ConfigValidateOutput { files, problems: problems.iter().map(problem).collect() })
}

/// Returns the exit status of a check: that of a wrong configuration when something is.
pub(super) fn status(output: &ConfigValidateOutput) -> u8 {
    if output.problems.is_empty() { 0 } else { Family::Configuration.exit_code() }
}

pub(super) async fn schema(_: Cx, params: ConfigSchemaParams) -> Result<ConfigSchemaOutput> {
    let document = if params.agent { Document::Agent } else { Document::Project };
    Ok(ConfigSchemaOutput { schema: config::reference::json_schema(document) })
}

pub(super) async fn get(cx: Cx, params: ConfigGetParams) -> Result<ConfigGetOutput> {
    let key = spelling::of_key(&params.key);
    let loaded = loaded(&cx).await?;
    let Some(node) = loaded.tree.at(key.split('.')) else {
        let known = schema::Document::Project.find(&key).is_some();
        return Err(if known { ConfigError::NotSet { key } } else { save::unknown(&params.key) }.into());
    };
    let text = match &node.value {
        Value::Map(_) => write::yaml(node, false),
        Value::Text(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) => write::inline(node),
    };
    Ok(ConfigGetOutput { value: write::json(node), origin: origin(&key, &node.place), key, text })
}

pub(super) async fn set(cx: Cx, params: ConfigSetParams) -> Result<ConfigSetOutput> {
    let start = choice::workspace(&cx).await;
    let places = cx.places(&start);
    let key = spelling::of_key(&params.key);
    let (layer, file) = if params.user {
        (Layer::User, places.user.join(layers::CONFIG_FILE))
    } else {
        (Layer::Project, places.project_file().unwrap_or_else(|| start.join(layers::PROJECT_FILE)))
    };
    let (written, wanted, value) = (file.clone(), key.clone(), params.value);
    let node = blocking(move || save::set(layer, &written, &wanted, &value)).await?;
    // A file that is wrong elsewhere could be changed, too; then nobody can say what holds.
    let holds = loaded(&cx).await.ok().and_then(|loaded| loaded.origin(&key).cloned());
    let hidden_by = holds.filter(|place| place.source != Source::Default && !is_file(place, &file));
    let mut text = format!("Set `{key}` in `{}`.", file.display());
    if let Some(place) = &hidden_by {
        text = format!("{text} Another value holds here: that of {place}.");
    }
    Ok(ConfigSetOutput {
        file: file.display().to_string(),
        value: write::json(&node),
        hidden_by: hidden_by.map(|place| origin(&key, &place)),
        key,
        text,
    })
}

fn is_file(place: &Place, file: &Path) -> bool {
    let same = |path: &Path| path == file || path.canonicalize().ok() == file.canonicalize().ok();
    place.source.path().is_some_and(same)
}

async fn loaded(cx: &Cx) -> Result<Loaded> {
    cx.config(&choice::workspace(cx).await).await
}

/// Runs what reads and writes files, aside from everything that must not wait for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ConfigError> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.expect("reading the configuration does not panic")?)
}

/// Gathers where each value comes from.
fn gather(node: &Node, above: &str, origins: &mut Vec<ConfigOrigin>) {
    for entry in node.entries() {
        let key = if above.is_empty() { entry.name.clone() } else { format!("{above}.{}", entry.name) };
        if entry.node.entries().is_empty() {
            origins.push(origin(&key, &entry.node.place));
        }
        gather(&entry.node, &key, origins);
    }
}

fn origin(key: &str, place: &Place) -> ConfigOrigin {
    let (layer, name) = match &place.source {
        Source::Default => ("default", None),
        Source::File { layer, .. } => (layer.name(), None),
        Source::Variable(name) => ("variable", Some(name.to_string())),
        Source::Flag(name) => ("flag", Some(name.to_string())),
    };
    let counted = |number: usize| (number > 0).then_some(number);
    ConfigOrigin {
        key: key.to_owned(),
        layer: layer.to_owned(),
        name,
        file: place.source.path().map(|path| path.display().to_string()),
        line: counted(place.line),
        column: counted(place.column),
    }
}

fn problem(problem: &Problem) -> ConfigProblem {
    ConfigProblem {
        place: problem.place.to_string(),
        origin: origin(&problem.key, &problem.place),
        reason: problem.reason.clone(),
        fix: problem.fix.clone(),
    }
}
