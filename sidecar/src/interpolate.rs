//! References within a text of the configuration: `${secret:NAME}`, `${env:NAME}`, `${env:NAME:otherwise}`, `${HOME}`, and
//! `~` at its beginning. Pure: what is referred to is found by the caller.
//!
//! `$${` stands for `${`; every other `$` for itself. Commands of hooks are another language: see [`Script`].

use std::ops::Range;

use zeroize::Zeroizing;

use crate::secrets::{Name, Secret};

mod error;
mod fact;
mod shell;

pub use error::{Problem, TemplateError, examples};
pub use fact::{Fact, Facts};
pub use shell::{Command, Script};

/// A text with references, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference(Reference, Place),
}

/// What a reference is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A secret.
    Secret(Name),
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: String,
        /// What stands in for it where it is not set, or empty.
        otherwise: Option<String>,
    },
    /// The home directory.
    Home,
}

/// A place in a text, both counted from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What references come to.
pub struct Known<'a> {
    /// The home directory.
    pub home: Option<&'a str>,
    /// Returns a variable of the environment that is set and not empty.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Returns a secret that was resolved before.
    pub secret: &'a dyn Fn(&Name) -> Option<Secret>,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Known").field("home", &self.home).finish_non_exhaustive()
    }
}

/// A text whose references were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// It may be shown.
    Plain(String),
    /// A secret is in it.
    Secret(Secret),
}

impl Template {
    /// Parses a value of the configuration.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut at = 0;
        if text == "~" || text.starts_with("~/") {
            parts.push(Part::Reference(Reference::Home, Place { line: 1, column: 1 }));
            at = 1;
        }
        let mut plain = String::new();
        while at < text.len() {
            let rest = &text[at..];
            if rest.starts_with("$${") {
                plain.push_str("${");
                at += 3;
            } else if rest.starts_with("${") {
                let (reference, length) = reference(text, at)?;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Reference(reference, Place::of(text, at)));
                at += length;
            } else {
                let next = rest[1..].find('$').map_or(text.len(), |next| at + 1 + next);
                let next = if rest.starts_with('$') { at + 1 } else { next };
                plain.push_str(&text[at..next]);
                at = next;
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Returns what the text refers to, in its order.
    pub fn references(&self) -> impl Iterator<Item = (&Reference, Place)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Reference(reference, place) => Some((reference, *place)),
        })
    }

    /// Returns the secrets that have to be resolved before it is rendered.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        self.references().filter_map(|(reference, _)| match reference {
            Reference::Secret(name) => Some(name),
            Reference::Variable { .. } | Reference::Home => None,
        })
    }

    /// Returns the text with its references replaced.
    pub fn render(&self, known: &Known<'_>) -> Result<Rendered, TemplateError> {
        let mut text = Zeroizing::new(String::new());
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Reference(reference, place) => push(&mut text, value(reference, *place, known)?.reveal()),
            }
        }
        let is_secret = self.secrets().next().is_some();
        let text = text.to_string();
        Ok(if is_secret { Rendered::Secret(Secret::new(text)) } else { Rendered::Plain(text) })
    }
}

/// Adds to a text without leaving a copy of it behind where it grew from.
fn push(text: &mut Zeroizing<String>, more: &str) {
    let mut grown = Zeroizing::new(String::with_capacity(2 * (text.len() + more.len())));
    if text.capacity() < text.len() + more.len() {
        grown.push_str(text);
        *text = grown;
    }
    text.push_str(more);
}

/// Returns what a reference comes to.
fn value(reference: &Reference, place: Place, known: &Known<'_>) -> Result<Secret, TemplateError> {
    let failed = |problem| TemplateError { place, problem };
    match reference {
        Reference::Secret(name) => {
            (known.secret)(name).ok_or_else(|| failed(Problem::Unresolved { name: name.clone() }))
        }
        Reference::Variable { name, otherwise } => {
            let set = (known.variable)(name).filter(|value| !value.is_empty()).or_else(|| otherwise.clone());
            set.map(Secret::new).ok_or_else(|| failed(Problem::NotSet { name: name.clone() }))
        }
        Reference::Home => known.home.map(|home| Secret::new(home.to_owned())).ok_or_else(|| failed(Problem::NoHome)),
    }
}

/// Reads the reference that begins at byte `at` with `${`; returns it and its length.
fn reference(text: &str, at: usize) -> Result<(Reference, usize), TemplateError> {
    let failed = |problem| TemplateError { place: Place::of(text, at), problem };
    let body = &text[at + 2..];
    let Some(end) = body.find('}') else { return Err(failed(Problem::Unclosed { begin: "${", end: "}" })) };
    let body = &body[..end];
    let reference = match body.split_once(':') {
        Some(("secret", name)) => {
            Reference::Secret(name.parse().map_err(|source| failed(Problem::SecretName { source }))?)
        }
        Some(("env", rest)) => {
            let (name, otherwise) = match rest.split_once(':') {
                Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
                None => (rest, None),
            };
            if !is_variable(name) {
                return Err(failed(Problem::VariableName { name: name.to_owned() }));
            }
            Reference::Variable { name: name.to_owned(), otherwise }
        }
        None if body == "HOME" => Reference::Home,
        Some(_) | None => return Err(failed(Problem::unknown_reference(body))),
    };
    Ok((reference, end + 3))
}

/// Returns whether a text can be the name of a variable.
fn is_variable(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.chars().all(plain)
}

impl Place {
    /// Returns the place of a byte of a text.
    fn of(text: &str, at: usize) -> Self {
        let before = &text[..at];
        let line: Range<usize> = before.rfind('\n').map_or(0, |end| end + 1)..at;
        Self { line: before.matches('\n').count() + 1, column: before[line].chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests;
