//! Commands of hooks: texts for `sh` with templates, `{{ remote.host }}`, and references, `${secret:NAME}` and
//! `${env:NAME}`.
//!
//! No value ever becomes part of a command's text. Each template becomes a variable that the shell expands, quoted for
//! the place where it stands, and the value travels in the environment: whatever it holds, the shell does not parse it.
//!
//! | where it stands | what it becomes |
//! |---|---|
//! | in plain words | `"${NAME}"`, one word or a part of one |
//! | in double quotes, also within `$(…)` there | `${NAME}` |
//! | in single quotes | `'"${NAME}"'`: they end before it and begin again behind it |
//! | in a comment | `${NAME}`, which is not read |
//! | in or behind a here-document, backquotes, `$((…))`, `$'…'`, or `${…}` with quotes | refused |
//! | in what `eval`, `sh -c`, `python -c` and the like read as a program | refused |
//!
//! A refusal names the variable to use instead. A template that begins a word and whose value begins with `-` is refused
//! when the command is rendered, since the value would be taken for an option.
//! `\{{` stands for `{{`. Everything else, `${HOME}` and `~` too, is left to the shell.

use std::collections::BTreeMap;

use super::{Fact, Facts, Known, Place, Problem, Reference, TemplateError, value};
use crate::env;
use crate::secrets::Secret;

mod lexer;

#[cfg(all(test, unix))]
mod tests;

/// A command with templates, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    parts: Vec<Part>,
}

/// A piece of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// As it is.
    Text(String),
    /// What is replaced by a variable.
    Variable { what: What, quoting: Quoting, begins_word: bool, place: Place },
}

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Fact(Fact),
    Reference(Reference),
}

/// What stands around a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoting {
    Plain,
    Double,
    Single,
    Comment,
}

/// A command that a shell can be given, and the variables that have to be in its environment. Its `Debug` shows no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The text for `sh -c`. No value is in it.
    pub text: String,
    /// What has to be set for it. Some of it may be secret.
    pub environment: BTreeMap<String, Secret>,
}

impl What {
    /// Returns the variable that has its value.
    fn variable(&self) -> String {
        match self {
            Self::Fact(fact) => fact.variable(),
            Self::Reference(Reference::Secret(name)) => name.variable(),
            Self::Reference(Reference::Variable { name, .. }) => format!("{}ENV_{name}", env::HOOK_PREFIX),
            Self::Reference(Reference::Home) => env::HOME.to_owned(),
        }
    }
}

impl Command {
    /// Parses a command.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        lexer::parse(text).map(|parts| Self { parts })
    }

    /// Returns the facts that the command cannot be run without.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { what: What::Fact(fact), .. } => Some(*fact),
            Part::Variable { what: What::Reference(_), .. } | Part::Text(_) => None,
        })
    }

    /// Returns the secrets that have to be resolved before it is rendered.
    pub fn secrets(&self) -> impl Iterator<Item = &crate::secrets::Name> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { what: What::Reference(Reference::Secret(name)), .. } => Some(name),
            Part::Variable { .. } | Part::Text(_) => None,
        })
    }

    /// Returns what a shell is given. Every fact is in the environment, whether the command names it or not.
    pub fn render(&self, facts: &Facts, known: &Known<'_>) -> Result<Script, TemplateError> {
        let mut environment: BTreeMap<String, Secret> =
            facts.iter().map(|(fact, value)| (fact.variable(), Secret::new(value.clone()))).collect();
        let mut text = String::new();
        for part in &self.parts {
            let (what, quoting, begins_word, place) = match part {
                Part::Text(plain) => {
                    text.push_str(plain);
                    continue;
                }
                Part::Variable { what, quoting, begins_word, place } => (what, *quoting, *begins_word, *place),
            };
            let failed = |problem| TemplateError { place, problem };
            let value = match what {
                What::Fact(fact) => {
                    let value = facts.get(fact).ok_or_else(|| failed(Problem::Absent { fact: *fact }))?;
                    if begins_word && value.starts_with('-') {
                        return Err(failed(Problem::Dash { fact: *fact }));
                    }
                    Secret::new(value.clone())
                }
                What::Reference(reference) => value(reference, place, known)?,
            };
            let variable = free(&environment, what.variable(), &value);
            text.push_str(&match quoting {
                Quoting::Plain => format!("\"${{{variable}}}\""),
                Quoting::Double | Quoting::Comment => format!("${{{variable}}}"),
                Quoting::Single => format!("'\"${{{variable}}}\"'"),
            });
            environment.insert(variable, value);
        }
        Ok(Script { text, environment })
    }
}

/// Returns a variable that has this value or none yet: `hf-token` and `hf.token` share a name.
fn free(environment: &BTreeMap<String, Secret>, variable: String, value: &Secret) -> String {
    let numbered = (2..).map(|number| format!("{variable}_{number}"));
    let mut names = std::iter::once(variable.clone()).chain(numbered);
    let fits = |name: &String| environment.get(name).is_none_or(|there| there == value);
    names.find(fits).expect("there are more names than variables")
}
