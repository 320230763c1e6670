//! `init`: a commented `mltoolbox.yaml` that says what the folder already holds, and the rest as comments.

use std::path::Path;

use protocol::editor::{ConfigFrom, ConfigInitOutput, ConfigInitParams};
use protocol::error::Result;

use super::blocking;
use crate::commands::remote::choice;
use crate::config::{layers, save, write};
use crate::cx::Cx;

/// Where a `devcontainer.json` is looked for, in order.
const DEVCONTAINERS: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];
/// The image that is written when the folder holds neither a Dockerfile nor a `devcontainer.json`.
const IMAGE: &str = "python:3.12";

pub(in crate::commands) async fn init(cx: Cx, params: ConfigInitParams) -> Result<ConfigInitOutput> {
    let folder = choice::workspace(&cx).await;
    blocking(move || {
        let file = folder.join(layers::PROJECT_FILE);
        let (key, value) = source(&folder, params.from);
        save::create(&file, &text(&folder, key, &value))?;
        Ok(ConfigInitOutput { file: file.display().to_string(), key: format!("environment.{key}"), value })
    })
    .await
}

/// Returns what the container is made of: as asked, else what the folder holds.
fn source(folder: &Path, from: Option<ConfigFrom>) -> (&'static str, String) {
    let devcontainer = DEVCONTAINERS.into_iter().find(|path| folder.join(path).is_file());
    let from = from.unwrap_or_else(|| match devcontainer {
        Some(_) => ConfigFrom::Devcontainer,
        None if folder.join("Dockerfile").is_file() => ConfigFrom::Dockerfile,
        None => ConfigFrom::Image,
    });
    match from {
        ConfigFrom::Devcontainer => ("devcontainer", devcontainer.unwrap_or(DEVCONTAINERS[0]).to_owned()),
        ConfigFrom::Dockerfile => ("dockerfile", "./Dockerfile".to_owned()),
        ConfigFrom::Image => ("base_image", IMAGE.to_owned()),
    }
}

/// Returns the file. What is commented out is an example of its key; without its `# ` it holds.
fn text(folder: &Path, key: &str, value: &str) -> String {
    let name = folder.file_name().map_or_else(|| "project".into(), |name| name.to_string_lossy());
    let name: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' })
        .collect();
    let name = name.trim_matches(['-', '.', '_']);
    let name = write::scalar(if name.is_empty() { "project" } else { name });
    let value = write::scalar(value);
    let env_file = if folder.join(".env").is_file() { "  env_file: .env" } else { "  # env_file: .env" };
    format!(
        "\
# What MLToolbox does for this project. `mltoolbox-sidecar config show --origin` says what holds and why,
# `mltoolbox-sidecar config validate` checks this file. Your own settings go to `mltoolbox.local.yaml` beside it, or to
# `~/.config/mltoolbox/config.yaml`; keep the former out of the repository.
version: \"3.0\"

project:
  name: {name}

# remote:
#   default: gpu1            # the remote to use when none is named
#   dir: /data/{name}        # the folder there

# The container that the project runs in: one of base_image, dockerfile and devcontainer.
environment:
  {key}: {value}
{env_file}
  # env:
  #   WANDB_PROJECT: {name}
  #   WANDB_API_KEY: ${{secret:wandb_api_key}}    # `mltoolbox-sidecar secret set wandb_api_key`
  # volumes:
  #   - ./data:/workspace/data
  # ports:
  #   - \"8888:8888\"
  # gpu:
  #   count: 1

sync:
  # Beside what .gitignore and .mltignore leave out.
  exclude:
    - \"*.pyc\"
    - __pycache__/
    - .ipynb_checkpoints/
  # include_overrides:
  #   - configs/*.yaml       # synced even when ignored
  # git: push                # send the repository, too
  # pull:
  #   - runs/                # bring home what the remote writes there

# hooks:
#   on_connect:
#     - nvidia-smi
"
    )
}
