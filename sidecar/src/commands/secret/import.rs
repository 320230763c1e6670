//! `secret import`: the variables of an env file become secrets of the same names. The file stays as it is.

use std::path::PathBuf;

use protocol::editor::{SecretImportOutput, SecretImportParams, SecretRow, SecretSkipped};
use protocol::error::Result;

use super::{keep, word};
use crate::cx::Cx;
use crate::dotenv::{self, DotenvError, Variable};
use crate::env;
use crate::frontend::{Question, confirm};
use crate::secrets::{Name, Place, Secret, SecretError, Secrets};

/// Stores the variables of a file as secrets; asks before it replaces any.
pub(in crate::commands) async fn import(cx: Cx, params: SecretImportParams) -> Result<SecretImportOutput> {
    let path = cx.folder.join(&params.file);
    let mut output = SecretImportOutput::default();
    let mut variables = load(path.clone()).await?;
    for name in &params.names {
        if !variables.iter().any(|variable| variable.name == *name) {
            output.skip(name, format!("`{}` does not set it", path.display()));
        }
    }
    if !params.names.is_empty() {
        variables.retain(|variable| params.names.contains(&variable.name));
    }
    let secrets = Secrets::new(cx.frontend.clone());
    let mut wanted: Vec<(Name, Secret, bool)> = Vec::new();
    for variable in variables {
        match secret(&variable) {
            Ok((name, value)) => {
                let is_there = is_stored(&secrets, &name).await;
                wanted.push((name, value, is_there));
            }
            Err(reason) => output.skip(&variable.name, reason),
        }
    }
    let there: Vec<String> = wanted.iter().filter(|(.., there)| *there).map(|(name, ..)| format!("`{name}`")).collect();
    if !there.is_empty() {
        let text = match there.as_slice() {
            [one] => format!("{one} is stored already. Replace it?"),
            several => format!("{} are stored already. Replace them?", several.join(", ")),
        };
        if !confirm(&*cx.frontend, cx.scope.yes, &Question::Confirm { text }).await? {
            wanted.retain(|(name, _, is_there)| {
                if *is_there {
                    output.skip(name.as_str(), "it is stored already".to_owned());
                }
                !*is_there
            });
        }
    }
    for (name, value, _) in wanted {
        let (place, notes) = keep(&secrets, &name, &value, params.store).await?;
        output.imported.push(SecretRow { name: name.to_string(), places: vec![word(place)] });
        output.notes.extend(notes.into_iter().map(|note| format!("`{name}`: {note}")));
    }
    if !output.imported.is_empty() {
        let file = path.display();
        output
            .notes
            .push(format!("`{file}` still holds the values in the clear; remove them there when they are not needed."));
    }
    Ok(output)
}

trait Skip {
    fn skip(&mut self, name: &str, reason: String);
}

impl Skip for SecretImportOutput {
    fn skip(&mut self, name: &str, reason: String) {
        self.skipped.push(SecretSkipped { name: name.to_owned(), reason });
    }
}

async fn load(path: PathBuf) -> Result<Vec<Variable>> {
    let read = tokio::task::spawn_blocking(move || dotenv::load(&path, &env::text)).await;
    let read: Result<Vec<Variable>, DotenvError> = read.map_err(|source| SecretError::Lost { source })?;
    Ok(read?)
}

/// Returns a variable as a secret, or why it cannot be one.
fn secret(variable: &Variable) -> Result<(Name, Secret), String> {
    let name = variable.name.parse::<Name>().map_err(|error| error.to_string())?;
    let value = Secret::value(variable.value.clone().into_bytes()).map_err(|problem| format!("its value {problem}"))?;
    Ok((name, value))
}

async fn is_stored(secrets: &Secrets, name: &Name) -> bool {
    for place in [Place::Keychain, Place::File] {
        if secrets.holds(place, name).await.unwrap_or(false) {
            return true;
        }
    }
    false
}
