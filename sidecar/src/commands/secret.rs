//! Commands about secrets: store them, say where they are, forget them. Only `get --reveal` lets a value out.

use std::collections::{BTreeMap, BTreeSet};

use protocol::editor::{
    NoParams, Revealed, SecretGetOutput, SecretGetParams, SecretListOutput, SecretPlace, SecretRemoveOutput,
    SecretRemoveParams, SecretRow, SecretSetOutput, SecretSetParams, SecretStoreKind,
};
use protocol::error::{Explain as _, Result};

mod import;
mod input;
pub(super) mod show;

pub(super) use import::import;
pub(super) use input::examples;

use crate::cx::Cx;
use crate::secrets::{KeychainError, Name, Place, Secret, SecretError, Secrets, Sight};
use input::InputError;

/// Stores a secret whose value comes from standard input or is typed.
pub(super) async fn set(cx: Cx, params: SecretSetParams) -> Result<SecretSetOutput> {
    let name = name(&params.name)?;
    let value = input::value(&cx, &name).await?;
    let secrets = Secrets::new(cx.frontend);
    let (place, notes) = keep(&secrets, &name, &value, params.store).await?;
    let file = (place == Place::File).then(|| secrets.file().display().to_string());
    Ok(SecretSetOutput { name: params.name, place: word(place), file, notes })
}

/// Says where a secret is; prints it when that is asked for.
pub(super) async fn get(cx: Cx, params: SecretGetParams) -> Result<SecretGetOutput> {
    let name = name(&params.name)?;
    if params.reveal && !cx.frontend.may_reveal() {
        return Err(InputError::Reveal { name }.into());
    }
    let secrets = Secrets::new(cx.frontend);
    let looked = secrets.look(&name).await;
    let places: Vec<SecretPlace> =
        looked.iter().filter(|looked| looked.sight == Sight::Holds).map(|looked| word(looked.place)).collect();
    let problems = looked.iter().filter_map(|looked| match &looked.sight {
        Sight::Unusable(reason) => Some(reason.clone()),
        Sight::Holds | Sight::Lacks(_) => None,
    });
    let mut output = SecretGetOutput {
        variable: name.variable(),
        file: places.contains(&SecretPlace::File).then(|| secrets.file().display().to_string()),
        problems: problems.collect(),
        places,
        ..SecretGetOutput::default()
    };
    // Where no place has it, this says where was looked.
    if params.reveal || output.places.is_empty() {
        let found = secrets.resolve(&name, None).await?;
        output.value = params.reveal.then(|| Revealed(found.value.reveal().to_owned()));
    }
    output.name = params.name;
    Ok(output)
}

/// Lists the names of all secrets and where each is.
pub(super) async fn list(cx: Cx, _: NoParams) -> Result<SecretListOutput> {
    let secrets = Secrets::new(cx.frontend);
    let mut rows: BTreeMap<Name, Vec<SecretPlace>> = BTreeMap::new();
    let mut problems = Vec::new();
    for place in [Place::Keychain, Place::File] {
        match secrets.names(place).await {
            Ok(names) => names.into_iter().for_each(|name| rows.entry(name).or_default().push(word(place))),
            // Most servers have none.
            Err(SecretError::Keychain(KeychainError::Absent { .. })) => {}
            Err(error) => problems.push(problem(&error)),
        }
    }
    // A variable has lost the case of the name it is for, so that those of known names are theirs.
    let mut variables: BTreeSet<Name> = secrets.names(Place::Environment).await?.into_iter().collect();
    for (name, places) in &mut rows {
        if secrets.holds(Place::Environment, name).await? {
            places.insert(0, SecretPlace::Environment);
            variables.retain(|other| other.variable() != name.variable());
        }
    }
    rows.extend(variables.into_iter().map(|name| (name, vec![SecretPlace::Environment])));
    let secrets = rows.into_iter().map(|(name, places)| SecretRow { name: name.to_string(), places }).collect();
    Ok(SecretListOutput { secrets, problems })
}

/// Forgets a secret wherever it is stored, or in one store.
pub(super) async fn remove(cx: Cx, params: SecretRemoveParams) -> Result<SecretRemoveOutput> {
    let name = name(&params.name)?;
    let secrets = Secrets::new(cx.frontend);
    let stores = params.store.map_or_else(|| vec![Place::Keychain, Place::File], |store| vec![place(store)]);
    let (mut places, mut failed) = (Vec::new(), Vec::new());
    for place in stores {
        match secrets.remove(place, &name).await {
            Ok(true) => places.push(word(place)),
            Ok(false) => {}
            Err(SecretError::Keychain(KeychainError::Absent { .. })) if params.store.is_none() => {}
            Err(error) => failed.push(error),
        }
    }
    let mut notes: Vec<String> = failed.iter().map(|error| format!("It may be elsewhere, too: {error}.")).collect();
    if places.is_empty() {
        if let Some(error) = failed.pop() {
            return Err(error.into());
        }
        if !secrets.holds(Place::Environment, &name).await? {
            return Err(secrets.missing(&name).await.into());
        }
    }
    if secrets.holds(Place::Environment, &name).await? {
        notes.push(format!("`{0}` still gives it a value; run `unset {0}` to end that.", name.variable()));
    }
    Ok(SecretRemoveOutput { name: params.name, places, notes })
}

/// Stores a value in the store that was named; else where the secret is already, in the keychain, or in the file.
/// Returns where, and what is worth knowing.
pub(super) async fn keep(
    secrets: &Secrets,
    name: &Name,
    value: &Secret,
    store: Option<SecretStoreKind>,
) -> Result<(Place, Vec<String>)> {
    let mut notes = Vec::new();
    let kept = match store {
        Some(store) => place(store),
        None => match secrets.holds(Place::Keychain, name).await {
            Ok(true) => Place::Keychain,
            Ok(false) if secrets.holds(Place::File, name).await.unwrap_or(false) => Place::File,
            Ok(false) => match secrets.set(Place::Keychain, name, value).await {
                Ok(()) => return Ok((Place::Keychain, winners(secrets, name, Place::Keychain).await)),
                Err(error) => {
                    notes.push(instead(error)?);
                    Place::File
                }
            },
            Err(error) => {
                notes.push(instead(error)?);
                Place::File
            }
        },
    };
    secrets.set(kept, name, value).await?;
    notes.extend(winners(secrets, name, kept).await);
    Ok((kept, notes))
}

/// Says why a value goes into the file when the keychain refused it with `error`. A keychain that may be usable later may
/// hold an older value, which would win over that of the file again.
fn instead(error: SecretError) -> Result<String, SecretError> {
    match error {
        SecretError::Keychain(error @ KeychainError::Absent { .. }) => {
            Ok(format!("It is in the file because {error}."))
        }
        error => Err(error),
    }
}

/// Returns what is wrong with a place, and what mends it.
fn problem(error: &SecretError) -> String {
    format!("{error}. {}", error.help())
}

/// Says which places before `kept` have a value of their own.
async fn winners(secrets: &Secrets, name: &Name, kept: Place) -> Vec<String> {
    let mut notes = Vec::new();
    for place in Place::ALL.into_iter().take_while(|place| *place != kept) {
        if secrets.holds(place, name).await.unwrap_or(false) {
            notes.push(match place {
                Place::Environment => format!("`{}` is set, and wins over it.", name.variable()),
                Place::Keychain | Place::File => format!(
                    "The {0} has a value of its own, which wins; `mltoolbox-sidecar secret remove {name} --store {0}` \
                     removes that one.",
                    place.word()
                ),
            });
        }
    }
    notes
}

fn name(text: &str) -> Result<Name, SecretError> {
    Ok(text.parse::<Name>()?)
}

fn place(store: SecretStoreKind) -> Place {
    match store {
        SecretStoreKind::Keychain => Place::Keychain,
        SecretStoreKind::File => Place::File,
    }
}

fn word(place: Place) -> SecretPlace {
    match place {
        Place::Environment => SecretPlace::Environment,
        Place::Keychain => SecretPlace::Keychain,
        Place::File => SecretPlace::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_there_is_no_keychain_a_value_goes_into_the_file_instead() {
        let absent = KeychainError::Absent { reason: "no session bus runs".to_owned() };
        let note = instead(absent.into()).expect("the file");
        assert_eq!(note, "It is in the file because there is no keychain here: no session bus runs.");
        let failed = KeychainError::Failed { reason: "Remote peer disconnected".to_owned() };
        for error in [KeychainError::Locked, KeychainError::Late { seconds: 60 }, failed] {
            let refused = instead(error.clone().into()).expect_err("it may hold an older value");
            assert_eq!(refused.to_string(), error.to_string());
            assert!(refused.help().contains("`--store file`"), "{}", refused.help());
        }
    }

    #[test]
    fn a_problem_comes_with_what_mends_it() {
        let said = problem(&KeychainError::Locked.into());
        assert!(said.starts_with("the keychain is locked, and was not unlocked. Unlock it in"), "{said}");
    }
}
