//! One service, key by key: what has a key in the new file goes there, of the rest is said why it does not.

use super::{Composed, Ray, Reading, gpu, mounts, ports};
use crate::config::tree::{Entry, Node, Value};
use crate::dotenv;
use crate::migrate::{FoundSecret, Image, Left, Origin, Said, value};
use crate::secrets::Secret;

/// Reads the service that was chosen; without one there is nothing but the file.
pub(super) fn read(reading: &mut Reading<'_>, chosen: Option<&Entry>) -> Composed {
    let mut composed = Composed {
        name: None,
        container_name: None,
        image: None,
        env: Vec::new(),
        env_files: Vec::new(),
        volumes: Vec::new(),
        ports: Vec::new(),
        gpus: Said::new(0, &Origin::new(reading.file, 0)),
        host_network: None,
        ray: None,
        secrets: Vec::new(),
        left: Vec::new(),
        later_variables: Vec::new(),
    };
    if let Some(chosen) = chosen {
        composed.gpus = gpu::count(reading, &chosen.node);
        let has_build = chosen.node.get("build").is_some();
        for entry in chosen.node.entries() {
            key(reading, &mut composed, entry, has_build);
        }
    }
    composed
}

fn key(reading: &mut Reading<'_>, composed: &mut Composed, entry: &Entry, has_build: bool) {
    let Entry { name, node, .. } = entry;
    let origin = Origin::new(reading.file, entry.place.line);
    match name.as_str() {
        "build" => composed.image = dockerfile(reading, node).map(|path| Said::new(Image::Dockerfile(path), &origin)),
        "image" if has_build => reading.leave(node, "`image`", "it only names what `build` makes"),
        "image" => {
            let image = reading.written(node, "`image`");
            composed.image = image.map(|image| Said::new(Image::Base(image), &origin));
        }
        "environment" => environment(reading, composed, node),
        "env_file" => env_files(reading, composed, node),
        "volumes" => composed.volumes = mounts::read(reading, node),
        "ports" => composed.ports = ports::read(reading, node),
        "network_mode" => match node.as_written() {
            Some("host") => composed.host_network = Some(Said::new((), &origin)),
            Some("bridge" | "default") => {}
            _ => reading.leave(node, "`network_mode`", "only `bridge` and `host` are there"),
        },
        "container_name" => {
            let plain = reading.plain(node, "`container_name`");
            // The older versions called the container of `myproject` so.
            let name = plain.map(|name| value::name(name.strip_suffix("-dev").unwrap_or(&name)));
            composed.container_name = name.map(|name| Said::new(name, &origin));
        }
        "command" | "entrypoint" => command(reading, composed, node, name),
        // Read with the GPUs.
        "gpus" => {}
        "runtime" if node.as_written() == Some("nvidia") => {}
        "deploy" => deploy(reading, node),
        name if name.starts_with("x-") => {}
        name => {
            let why = reason(name);
            reading.leave(node, format!("`{name}`"), why);
        }
    }
}

/// Why a key has no counterpart.
fn reason(key: &str) -> &'static str {
    match key {
        "shm_size" | "ipc" | "ulimits" | "mem_limit" | "cpus" | "memswap_limit" | "pids_limit" => {
            "there is no key for limits of a container yet; give the data loader fewer workers if it runs out of shared memory"
        }
        "privileged" | "cap_add" | "cap_drop" | "security_opt" | "devices" | "userns_mode" => {
            "there is no key for rights of a container yet"
        }
        "restart" | "depends_on" | "healthcheck" | "stop_grace_period" | "stop_signal" | "init" | "scale" => {
            "a project's container is started and stopped by hand, and alone"
        }
        "networks" | "links" | "extra_hosts" | "dns" | "hostname" | "expose" | "domainname" => {
            "the container has a network of its own, or that of its machine (`network_mode: host`)"
        }
        "secrets" | "configs" => {
            "put the values into the secret store with `mltoolbox-sidecar secret set NAME`, and refer to them as `${secret:NAME}`"
        }
        "extends" => "what it takes from elsewhere was not followed; `docker compose config` shows it in full",
        "working_dir" | "user" | "tty" | "stdin_open" => "a command says it itself when it is run",
        "profiles" => "there is one container, which is always meant",
        _ => "there is no key for it",
    }
}

fn dockerfile(reading: &mut Reading<'_>, node: &Node) -> Option<String> {
    let Value::Map(entries) = &node.value else {
        let context = reading.plain(node, "`build`")?;
        return below(reading, node, &context, "Dockerfile");
    };
    let mut context = ".".to_owned();
    let mut file = "Dockerfile".to_owned();
    for entry in entries {
        match entry.name.as_str() {
            "context" => context = reading.plain(&entry.node, "`build.context`")?,
            "dockerfile" => file = reading.plain(&entry.node, "`build.dockerfile`")?,
            "args" => {
                reading.leave(&entry.node, "`build.args`", "write the values into the Dockerfile as `ARG NAME=value`");
            }
            "target" => {
                reading.leave(&entry.node, "`build.target`", "the last stage of the Dockerfile is what is built");
            }
            name => reading.leave(&entry.node, format!("`build.{name}`"), "there is no key for it"),
        }
    }
    below(reading, node, &context, &file)
}

/// Returns the path of a Dockerfile, relative to the project.
fn below(reading: &mut Reading<'_>, node: &Node, context: &str, file: &str) -> Option<String> {
    if context.contains("://") || context.starts_with("git@") {
        reading.leave(node, "`build`", "it is built from elsewhere; name a Dockerfile of this project");
        return None;
    }
    let context = context.trim_end_matches('/');
    let path = if file.starts_with('/') || matches!(context, "" | ".") {
        file.to_owned()
    } else {
        let context = context.strip_prefix("./").unwrap_or(context);
        reading.leave(node, "`build.context`", "the image is built from the folder of the Dockerfile");
        format!("{context}/{}", file.strip_prefix("./").unwrap_or(file))
    };
    Some(if path.starts_with(['/', '.']) { path } else { format!("./{path}") })
}

fn environment(reading: &mut Reading<'_>, composed: &mut Composed, node: &Node) {
    let pairs: Vec<(String, Option<Node>, &Node)> = match &node.value {
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let said = (entry.node.value != Value::Null).then(|| entry.node.clone());
                (entry.name.clone(), said, &entry.node)
            })
            .collect(),
        Value::List(items) => items
            .iter()
            .filter_map(|item| {
                let text = item.as_written()?;
                let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
                let said = value.map(|value| Node { value: Value::Text(value.to_owned()), ..item.clone() });
                Some((name.trim().to_owned(), said, item))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            reading.leave(node, "`environment`", format!("it is {} where names and values belong", node.described()));
            return;
        }
    };
    for (name, said, place) in pairs {
        let origin = reading.origin(place);
        let written = match &said {
            // A name alone: from `.env` or from whoever runs it.
            None => Some(reading.variables.written(&name).unwrap_or_else(|| format!("${{env:{name}:}}"))),
            Some(node) => reading.written(node, &format!("`{name}`")),
        };
        let Some(mut written) = written else { continue };
        let template = said.as_ref().and_then(|node| dotenv::template::Template::parse(node.as_written()?).ok());
        let plain = template.as_ref().and_then(|template| reading.expanded(template).ok());
        let literal = template.as_ref().and_then(dotenv::template::Template::as_literal);
        let shown = plain.as_deref().or(literal.as_deref()).unwrap_or_default();
        if !written.contains("${secret:") && value::looks_secret(&name, shown) {
            let secret = value::secret_name(&name);
            written = format!("${{secret:{secret}}}");
            let value = plain.map(Secret::new);
            composed.secrets.push(FoundSecret { name: secret, variable: name.clone(), origin: origin.clone(), value });
        }
        composed.env.push((name, Said::new(written, &origin)));
    }
}

fn env_files(reading: &mut Reading<'_>, composed: &mut Composed, node: &Node) {
    let items: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => vec![node],
    };
    for item in items {
        let path = item.get("path").unwrap_or(item);
        let Some(path) = reading.plain(path, "`env_file`") else { continue };
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        // Its variables are written out one by one, so that the secrets among them need not stay in a file.
        if path == super::super::DOTENV {
            continue;
        }
        let origin = reading.origin(item);
        let Ok(entries) =
            dotenv::read(&reading.folder.join(&path)).and_then(|text| dotenv::parse(path.as_ref(), &text))
        else {
            reading.leave(item, format!("the env file `{path}`"), "it is not there, or not readable as an env file");
            continue;
        };
        for entry in entries {
            let literal = entry.value.as_ref().and_then(dotenv::template::Template::as_literal).unwrap_or_default();
            if value::looks_secret(&entry.name, &literal) {
                let why = format!(
                    "it looks like a secret and stays in that file; run `mltoolbox-sidecar secret set {0}`, remove it \
                     there, and write `{1}: ${{secret:{0}}}` in `environment.env`",
                    value::secret_name(&entry.name),
                    entry.name
                );
                let origin = Origin::new(&path, entry.place.line);
                reading.left.push(Left::new(&origin, format!("`{}`", entry.name), why));
            }
            composed.later_variables.push((entry.name, path.clone()));
        }
        composed.env_files.push(Said::new(path, &origin));
    }
}

fn command(reading: &mut Reading<'_>, composed: &mut Composed, node: &Node, name: &str) {
    let words: Vec<&str> = match &node.value {
        Value::List(items) => items.iter().filter_map(Node::as_written).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
            node.as_written().into_iter().collect()
        }
    };
    let origin = reading.origin(node);
    if let Some(ray) = Ray::of_command(&words.join(" ")) {
        composed.ray = Some(Said::new(ray, &origin));
    } else {
        let why = "the container is kept running without it; run it with `mltoolbox-sidecar exec`, or name it in \
                   `hooks.on_container_start` if it ends by itself";
        reading.leave(node, format!("`{name}`"), why);
    }
}

fn deploy(reading: &mut Reading<'_>, node: &Node) {
    for entry in node.entries() {
        let only_devices = entry.name == "resources"
            && entry.node.entries().iter().all(|kind| {
                kind.name == "reservations" && kind.node.entries().iter().all(|kind| kind.name == "devices")
            });
        if !only_devices {
            reading.leave(&entry.node, format!("`deploy.{}`", entry.name), "there is no key for it but that of GPUs");
        }
    }
}
