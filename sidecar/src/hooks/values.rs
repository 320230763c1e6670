//! What a hook may be told. Values reach its shell as variables of the environment only, never as text of the command.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::error::Error;

use super::{Hook, HookError};
use crate::env;
use crate::interpolate::{Command, Fact, Facts, Known, Script};
use crate::secrets::{Name, Secret, Secrets};

/// How long `git` may take to read one line of a file.
const GIT_WITHIN: Duration = Duration::from_secs(5);

/// What is known when a hook runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The remote's name.
    pub remote_name: Option<String>,
    /// The address by which the remote is reached.
    pub remote_host: Option<String>,
    /// How many files changed there.
    pub files_changed: Option<u64>,
    /// The project's folder on this machine.
    pub workspace: PathBuf,
}

/// A command as its shell gets it.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    /// The text, in which values stand as variables.
    pub(super) command: String,
    /// The variables it refers to.
    pub(super) environment: BTreeMap<String, Secret>,
    /// Those values that must not be shown.
    pub(super) hidden: Vec<Secret>,
}

impl Values {
    /// Returns a hook's command for a shell, with the variables it needs.
    pub(super) async fn render(&self, hook: &Hook, secrets: &Secrets) -> Result<Rendered, Error> {
        let wrong = |source| HookError::Template { hook: hook.clone(), source };
        let command = Command::parse(&hook.run).map_err(wrong)?;
        let facts = self.facts(command.facts().any(|fact| fact == Fact::RepoUrl)).await;
        let referenced = format!("the hook `{}` of {}", hook.point, hook.said);
        let mut resolved: BTreeMap<Name, Secret> = BTreeMap::new();
        for name in command.secrets() {
            resolved.insert(name.clone(), secrets.resolve(name, Some(&referenced)).await?.value);
        }
        let (taken, refused) = (RefCell::new(Vec::new()), RefCell::new(None));
        let variable = |name: &str| {
            // What opens the secret store is for us alone.
            if name.starts_with(env::OF_SECRETS) {
                refused.replace(Some(name.to_owned()));
                return None;
            }
            let value = env::text(name)?;
            taken.borrow_mut().push(Secret::new(value.clone()));
            Some(value)
        };
        let home = env::home().map(|home| home.to_string_lossy().into_owned());
        let known = Known { home: home.as_deref(), variable: &variable, secret: &|name| resolved.get(name).cloned() };
        let rendered = command.render(&facts, &known);
        if let Some(variable) = refused.take() {
            return Err(HookError::OfSecrets { hook: hook.clone(), variable }.into());
        }
        let Script { text, environment } = rendered.map_err(wrong)?;
        let hidden = resolved.into_values().chain(taken.take()).collect();
        Ok(Rendered { command: text, environment, hidden })
    }

    async fn facts(&self, wants_repository: bool) -> Facts {
        let repository = if wants_repository { repository(&self.workspace).await } else { None };
        let known = [
            (Fact::RemoteName, self.remote_name.clone()),
            (Fact::RemoteHost, self.remote_host.clone()),
            (Fact::SyncFilesChanged, self.files_changed.map(|files| files.to_string())),
            (Fact::WorkspacePath, Some(self.workspace.to_string_lossy().into_owned())),
            (Fact::RepoUrl, repository),
        ];
        known.into_iter().filter_map(|(fact, value)| Some((fact, value?))).collect()
    }
}

/// Returns where the project's repository comes from; `None` when it has none.
async fn repository(project: &Path) -> Option<String> {
    let mut git = tokio::process::Command::new("git");
    git.arg("-C").arg(project).args(["config", "--get", "remote.origin.url"]);
    git.stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(GIT_WITHIN, git.output()).await {
        Ok(Ok(said)) => Some(String::from_utf8_lossy(&said.stdout).trim().to_owned()).filter(|url| !url.is_empty()),
        Ok(Err(error)) => {
            tracing::info!(%error, "git cannot be run, so that `repo_url` is not known");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::schema::{OnFailure, Where};
    use crate::config::{Layer, Place, Source};
    use crate::hooks::HookPoint;
    use crate::session::audience::Nobody;

    async fn rendered(run: &str) -> Result<Rendered, Error> {
        let hook = Hook {
            point: HookPoint::Connect,
            run: run.to_owned(),
            place: Where::Remote,
            timeout: Duration::from_secs(1),
            on_failure: OnFailure::Fail,
            said: Place { source: Source::file(Layer::User, Path::new("config.yaml")), line: 3, column: 5 },
        };
        Values::default().render(&hook, &Secrets::new(Arc::new(Nobody))).await
    }

    #[tokio::test]
    async fn what_opens_the_secret_store_is_no_variable_of_a_hook() {
        for name in ["MLTOOLBOX_SECRETS_PASSPHRASE", "MLTOOLBOX_SECRETS_KEY_FILE", "MLTOOLBOX_SECRET_HF_TOKEN"] {
            for run in [format!("echo ${{env:{name}}}"), format!("echo ${{env:{name}:otherwise}}")] {
                let error = rendered(&run).await.expect_err("it is refused");
                assert!(error.message.contains(name) && error.message.contains("opens"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn variables_of_this_machine_are_hidden() {
        let hidden = rendered("echo ${env:PATH} ${env:NO_SUCH_VARIABLE:otherwise}").await.expect("it is set").hidden;
        assert_eq!(hidden, [Secret::new(env::text("PATH").expect("it is set"))]);
    }
}
