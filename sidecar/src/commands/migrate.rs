//! `migrate`: an `mltoolbox.yaml` from the files of an older project, which all stay as they are.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::editor::{MigrateLeft, MigratedSecret, ProjectMigrateOutput, ProjectMigrateParams};
use protocol::error::Result;

use super::secret;
use super::show::Text;
use crate::cx::Cx;
use crate::frontend::{Answer, Question};
use crate::migrate::{self, FoundSecret, MigrateError, Plan, TARGET};
use crate::secrets::{Looked, Name, Place, Secret, Secrets, Sight};

pub(super) async fn run(cx: Cx, params: ProjectMigrateParams) -> Result<ProjectMigrateOutput> {
    let folder = super::sync::workspace(&cx).await?;
    let path = folder.join(TARGET).to_string_lossy().into_owned();
    let (found, stands) = blocking({
        let folder = folder.clone();
        move || (migrate::find(&folder).files, folder.join(TARGET).symlink_metadata().is_ok())
    })
    .await;
    if stands {
        return Ok(ProjectMigrateOutput { path, found, dry_run: params.dry_run, ..ProjectMigrateOutput::default() });
    }
    let Plan { found, text, secrets, left } = planned(&folder).await?;
    let written = !params.dry_run && written(&folder, &text).await?;
    let stored = if written { store(&cx, &secrets).await } else { Vec::new() };
    let secret = |secret: FoundSecret| MigratedSecret {
        stored: stored.contains(&secret.name),
        name: secret.name,
        variable: secret.variable,
        place: secret.origin.to_string(),
    };
    let left =
        left.into_iter().map(|left| MigrateLeft { place: left.origin.to_string(), what: left.what, why: left.why });
    Ok(ProjectMigrateOutput {
        path,
        written,
        dry_run: params.dry_run,
        found,
        text,
        secrets: secrets.into_iter().map(secret).collect(),
        left: left.collect(),
    })
}

/// Offers to store the values that look like secrets; returns the names of those that are in the store afterwards. One that
/// is there already stays as it is.
async fn store(cx: &Cx, found: &[FoundSecret]) -> Vec<String> {
    let secrets = Secrets::new(Arc::clone(&cx.frontend));
    let mut stored = Vec::new();
    let mut wanted: Vec<(Name, &Secret)> = Vec::new();
    for secret in found {
        let Ok(name) = secret.name.parse::<Name>() else { continue };
        if is_kept(&secrets.look(&name).await) {
            cx.frontend.tell(format!("The secret `{name}` is there already and was left as it is."));
            stored.push(secret.name.clone());
        } else if let Some(value) = &secret.value {
            wanted.push((name, value));
        }
    }
    if wanted.is_empty() {
        return stored;
    }
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.to_string()).collect();
    let text = format!(
        "These values look like secrets: `{}`. Copy them into the secret store? The old files stay as they are.",
        names.join("`, `")
    );
    let asked = cx.scope.yes || cx.frontend.ask(&Question::Confirm { text }).await == Some(Answer::Yes);
    for (name, value) in wanted.into_iter().filter(|_| asked) {
        match secret::keep(&secrets, &name, value, None).await {
            Ok((_, notes)) => {
                for note in notes {
                    cx.frontend.tell(format!("`{name}`: {note}"));
                }
                stored.push(name.to_string());
            }
            Err(error) => {
                // The others would fail for the same reason, after the same questions.
                cx.frontend.tell(format!("warning: `{name}` was not stored: {error}. {}", error.help));
                break;
            }
        }
    }
    stored
}

/// Whether a store holds a secret. One that a variable gives is gone with the shell.
fn is_kept(looked: &[Looked]) -> bool {
    looked.iter().any(|looked| looked.place != Place::Environment && looked.sight == Sight::Holds)
}

async fn planned(folder: &std::path::Path) -> Result<Plan, MigrateError> {
    let folder = folder.to_owned();
    blocking(move || migrate::plan(&folder)).await
}

async fn written(folder: &std::path::Path, text: &str) -> Result<bool, MigrateError> {
    let (folder, text): (PathBuf, String) = (folder.to_owned(), text.to_owned());
    blocking(move || migrate::write(&folder, &text)).await
}

/// A folder of a network that hangs must not hold up anything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("reading files does not panic")
}

pub(super) fn show(output: &ProjectMigrateOutput, text: &mut Text) {
    let ProjectMigrateOutput { path, written, dry_run, found, text: new, secrets, left } = output;
    if *dry_run && !new.is_empty() {
        text.verbatim(new);
        return;
    }
    if !*written {
        text.line(&format!("`{path}` is there already; nothing was changed."));
        return;
    }
    text.line(&format!("Read {}; they stay as they are.", found.join(", ")));
    text.line(&format!("Written: {path}"));
    if !secrets.is_empty() {
        text.line("");
        text.line(
            "These look like secrets. The new file refers to them by name; the old files still hold their values:",
        );
        for MigratedSecret { name, variable, place, stored } in secrets {
            let state = if *stored { "in the secret store" } else { "not in the secret store" };
            text.hanging("  ", &format!("{name}: `{variable}` of {place}, {state}"));
        }
    }
    if !left.is_empty() {
        text.line("");
        text.line("Not carried over:");
        for MigrateLeft { place, what, why } in left {
            text.hanging("  ", &format!("{place} {what}: {why}"));
        }
    }
    text.line("");
    text.line("Next:");
    for MigratedSecret { name, stored, .. } in secrets {
        if !stored {
            text.line(&format!("  mltoolbox-sidecar secret set {name}"));
        }
    }
    text.line("  mltoolbox-sidecar config validate");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_variable_gives_is_not_in_a_store() {
        let looked = |holds: Place| {
            Place::ALL.map(|place| {
                let sight = if place == holds { Sight::Holds } else { Sight::Lacks("it is not there".to_owned()) };
                Looked { place, sight }
            })
        };
        let kept = Place::ALL.map(|place| is_kept(&looked(place)));
        assert_eq!(kept, Place::ALL.map(|place| place != Place::Environment));
    }
}
