//! A command line that makes no sense: clap's findings in the words and the shape of our own errors.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};
use protocol::error::{Code, Explain};

use crate::commands::table;
use crate::commands::tree::PROGRAM;

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct UsageError {
    message: String,
    /// What was probably meant.
    suggested: Option<String>,
    /// The program and the nouns and verbs that were understood.
    command: String,
}

impl UsageError {
    /// Returns what clap found in these words, the program's name first.
    pub(super) fn of(refused: &clap::Error, words: &[OsString]) -> Self {
        let text = refused.render().to_string();
        let command = command(&text).unwrap_or_else(|| understood(words));
        let lacks_verb = matches!(
            refused.kind(),
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        let message = if lacks_verb { format!("`{command}` needs a command after it") } else { message(&text) };
        let suggestions = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
        let suggested = suggestions.into_iter().find_map(|kind| refused.get(kind)).map(ToString::to_string);
        Self { message, suggested, command }
    }
}

impl Explain for UsageError {
    fn code(&self) -> Code {
        Code::ParamsInvalid
    }

    fn help(&self) -> String {
        let more = format!("Run `{} --help` for what it takes.", self.command);
        match &self.suggested {
            Some(suggested) => format!("Did you mean `{suggested}`? {more}"),
            None => more,
        }
    }
}

/// Returns the first paragraph as one line, in our way of quoting.
fn message(text: &str) -> String {
    let first = text.trim().trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let mut lines = first.lines().map(str::trim);
    let head = lines.next().unwrap_or_default();
    let rest: Vec<_> = lines.collect();
    let line = if rest.is_empty() { head.to_owned() } else { format!("{head} {}", rest.join(", ")) };
    line.replace('\'', "`")
}

/// Returns the words before the first argument of the usage line, if there is one.
fn command(text: &str) -> Option<String> {
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "))?;
    let words = usage.split(' ').take_while(|word| !word.starts_with(['-', '<', '[']));
    Some(words.collect::<Vec<_>>().join(" "))
}

/// Returns the program and the longest row of the table with which the typed words begin.
fn understood(words: &[OsString]) -> String {
    let is_typed =
        |row: &&[&str]| row.iter().enumerate().all(|(at, word)| words.get(at + 1).is_some_and(|typed| typed == word));
    let row = table().iter().map(|command| command.cli).filter(is_typed).max_by_key(|row| row.len());
    std::iter::once(PROGRAM).chain(row.into_iter().flatten().copied()).collect::<Vec<_>>().join(" ")
}
