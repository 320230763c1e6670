//! What the commands about secrets say to a person.

use protocol::editor::{
    SecretGetOutput, SecretImportOutput, SecretListOutput, SecretPlace, SecretRemoveOutput, SecretSetOutput,
};

use crate::commands::show::Text;
use crate::commands::show::text::count;

pub(in crate::commands) fn set(output: &SecretSetOutput, text: &mut Text) {
    let place = output.file.as_ref().map_or_else(|| format!("the {}", output.place), |file| format!("`{file}`"));
    text.line(&format!("`{}` is stored in {place}.", output.name));
    lines(&output.notes, text);
}

pub(in crate::commands) fn got(output: &SecretGetOutput, text: &mut Text) {
    if let Some(value) = &output.value {
        text.exact(&value.0);
        return;
    }
    text.pair("name", &output.name);
    for (number, place) in output.places.iter().enumerate() {
        let place = match place {
            SecretPlace::Environment => format!("`{}`", output.variable),
            SecretPlace::Keychain => "the keychain".to_owned(),
            SecretPlace::File => output.file.as_ref().map_or_else(|| "the file".to_owned(), |file| format!("`{file}`")),
        };
        text.pair(if number == 0 { "used from" } else { "also in" }, &place);
    }
    text.pair("value", "not shown; `--reveal` prints it");
    lines(&output.problems, text);
}

pub(in crate::commands) fn list(output: &SecretListOutput, text: &mut Text) {
    if output.secrets.is_empty() && output.problems.is_empty() {
        text.line("No secrets yet. Store one with `mltoolbox-sidecar secret set NAME`.");
    } else if !output.secrets.is_empty() {
        let rows = output.secrets.iter().map(|secret| vec![secret.name.clone(), joined(&secret.places)]);
        text.table(&["NAME", "WHERE"], rows.collect());
    }
    lines(&output.problems, text);
}

pub(in crate::commands) fn removed(output: &SecretRemoveOutput, text: &mut Text) {
    if !output.places.is_empty() {
        text.line(&format!("`{}` is removed from: {}.", output.name, joined(&output.places)));
    }
    lines(&output.notes, text);
}

pub(in crate::commands) fn imported(output: &SecretImportOutput, text: &mut Text) {
    text.line(&format!("{} imported.", count(output.imported.len() as u64, "secret")));
    let rows: Vec<_> = output
        .imported
        .iter()
        .map(|secret| vec![secret.name.clone(), joined(&secret.places)])
        .chain(output.skipped.iter().map(|skipped| vec![skipped.name.clone(), format!("left out: {}", skipped.reason)]))
        .collect();
    if !rows.is_empty() {
        text.table(&["NAME", "WHERE"], rows);
    }
    lines(&output.notes, text);
}

fn joined(places: &[SecretPlace]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn lines(lines: &[String], text: &mut Text) {
    for line in lines {
        text.line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(output: &SecretListOutput) -> String {
        let mut text = Text::default();
        list(output, &mut text);
        text.as_str().to_owned()
    }

    #[test]
    fn a_store_that_cannot_be_read_is_not_an_empty_one() {
        let problems = vec!["`/s` is open to others: its mode is 0644. Run `chmod 600 /s`.".to_owned()];
        let shown = listed(&SecretListOutput { secrets: Vec::new(), problems: problems.clone() });
        assert_eq!(shown, format!("{}\n", problems[0]));
        let shown = listed(&SecretListOutput { secrets: Vec::new(), problems: Vec::new() });
        assert!(shown.starts_with("No secrets yet."), "{shown}");
    }
}
