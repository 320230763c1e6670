//! The text of a secrets file, as plain data: which names it keeps, and how it reads with one more or one less.
//!
//! It is the part of YAML that is written here: what else a person adds is refused, with its line, rather than lost;
//! comments stay where they are. Its last line is `...`, so that a file that was cut off is known as one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::secrets::Name;

/// The version that is written, and the newest that is read.
const VERSION: &str = "1";
/// The last line: the end of a document in YAML.
const END: &str = "...";
/// What stands at the left margin.
const KEYS: [&str; 4] = ["version", "recipient", "identity", "secrets"];
/// First and last line of what age sealed.
const ARMOR: (&str, &str) = ("-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----");

const HEAD: &str = "\
# Secrets of MLToolbox: the names can be read, each value is sealed with age (https://age-encryption.org).
# `mltoolbox-sidecar secret set NAME` and `secret remove NAME` change this file; its last line has to stay.
";

/// A secrets file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    lines: Vec<String>,
    recipient: String,
    identity: Option<String>,
    entries: BTreeMap<Name, Entry>,
}

/// One secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Which lines it is.
    lines: Range<usize>,
    sealed: String,
}

/// What is wrong with a text, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The rest is missing.
    #[error("the file is cut off here")]
    Cut,
    /// It was written by another version.
    #[error("the file has version `{0}`, and this program reads version {VERSION}")]
    Version(String),
    /// It is nothing that we write. What it is could be a value, so that it is not shown.
    #[error("this line is nothing that belongs there")]
    Foreign,
    /// Something has to be there and is not.
    #[error("`version`, `recipient` or `secrets` is missing before this line")]
    Lacking,
    /// It stands twice.
    #[error("`{0}` stands here a second time")]
    Twice(String),
    /// It is no name of a secret.
    #[error("what stands here cannot be the name of a secret")]
    Name,
    /// A value that is not sealed as ours are.
    #[error("the value of `{0}` is not sealed with age")]
    NotSealed(String),
}

impl Document {
    /// Returns a file without secrets, whose values are sealed for `recipient`.
    pub(super) fn new(recipient: &str, identity: Option<&str>) -> Self {
        let mut text = format!("{HEAD}version: {VERSION}\nrecipient: {recipient}\n");
        if let Some(identity) = identity {
            text.extend(block("identity: |", "  ", identity).into_iter().map(|line| line + "\n"));
        }
        text.push_str("secrets:\n...\n");
        Self::parse(&text).expect("we read what we write")
    }

    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        let mut reader = Reader { lines: &lines, at: 0 };
        let mut seen = BTreeSet::new();
        let (mut recipient, mut identity, mut entries) = (None, None, BTreeMap::new());
        loop {
            let Some((at, line)) = reader.next() else { return Err(fault(lines.len().max(1) - 1, Problem::Cut)) };
            if line == END {
                break;
            }
            let key = line.split_once(':').filter(|(key, _)| KEYS.contains(key));
            let Some((key, value)) = key else { return Err(fault(at, Problem::Foreign)) };
            if !seen.insert(key) {
                return Err(fault(at, Problem::Twice(key.to_owned())));
            }
            match (key, value.trim()) {
                ("version", VERSION) => {}
                ("version", other) => return Err(fault(at, Problem::Version(other.chars().take(20).collect()))),
                ("recipient", given) if !given.is_empty() => recipient = Some(given.to_owned()),
                ("identity", "|") => identity = Some(reader.block(at, "  ", key)?),
                ("secrets", "" | "{}") => entries = reader.entries()?,
                _ => return Err(fault(at, Problem::Foreign)),
            }
        }
        if let Some((at, _)) = reader.next() {
            return Err(fault(at, Problem::Foreign));
        }
        let Some(recipient) = recipient.filter(|_| seen.contains("version") && seen.contains("secrets")) else {
            return Err(fault(reader.at.max(1) - 1, Problem::Lacking));
        };
        Ok(Self { recipient, identity, entries, lines })
    }

    /// Returns what values are sealed for.
    pub(super) fn recipient(&self) -> &str {
        &self.recipient
    }

    /// Returns the identity that opens them, sealed with a passphrase, if it is in the file.
    pub(super) fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Returns the names, sorted.
    pub(super) fn names(&self) -> Vec<Name> {
        self.entries.keys().cloned().collect()
    }

    /// Returns the sealed value of a name.
    pub(super) fn sealed(&self, name: &Name) -> Option<&str> {
        self.entries.get(name).map(|entry| entry.sealed.as_str())
    }

    /// Returns the text of the file with `sealed` as the value of `name`.
    pub(super) fn with(&self, name: &Name, sealed: &str) -> String {
        // Quoted, because YAML takes a plain `true` or `1.0` for something else than a text.
        let lines = block(&format!("  \"{name}\": |"), "    ", sealed);
        let end = self.lines.iter().rposition(|line| line == END).unwrap_or(self.lines.len());
        let last = self.entries.values().map(|entry| entry.lines.end).max().unwrap_or_else(|| self.head(end));
        let place = self.entries.get(name).map_or(last..last, |entry| entry.lines.clone());
        self.spliced(place, lines)
    }

    /// Returns the text of the file without `name`.
    pub(super) fn without(&self, name: &Name) -> String {
        let place = self.entries.get(name).map_or(0..0, |entry| entry.lines.clone());
        self.spliced(place, Vec::new())
    }

    /// Returns the line behind `secrets:`.
    fn head(&self, end: usize) -> usize {
        self.lines.iter().position(|line| line.starts_with("secrets:")).map_or(end, |at| at + 1)
    }

    fn spliced(&self, place: Range<usize>, with: Vec<String>) -> String {
        let mut lines = self.lines.clone();
        lines.splice(place, with);
        for line in &mut lines {
            if line == "secrets: {}" {
                "secrets:".clone_into(line);
            }
        }
        lines.join("\n") + "\n"
    }
}

/// Goes through the lines that say something.
struct Reader<'a> {
    lines: &'a [String],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Returns the next line that says something, and its index.
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let next = self.peek()?;
        self.at = next.0 + 1;
        Some(next)
    }

    fn peek(&self) -> Option<(usize, &'a str)> {
        let says = |line: &&'a String| !line.is_empty() && !line.trim_start().starts_with('#');
        let at = self.at + self.lines[self.at..].iter().position(|line| says(&line))?;
        Some((at, &self.lines[at]))
    }

    /// Returns the sealed text below the line `key`, whose lines are indented.
    fn block(&mut self, key_at: usize, indent: &str, key: &str) -> Result<String, Fault> {
        let mut sealed = String::new();
        while let Some(line) = self.lines.get(self.at) {
            let Some(line) = line.strip_prefix(indent) else { break };
            self.at += 1;
            sealed.push_str(line);
            sealed.push('\n');
            if line == ARMOR.1 {
                let is_ours = sealed.starts_with(ARMOR.0);
                return if is_ours { Ok(sealed) } else { Err(fault(key_at, Problem::NotSealed(key.to_owned()))) };
            }
        }
        let is_cut = self.at == self.lines.len() || sealed.starts_with(ARMOR.0);
        let problem = if is_cut { Problem::Cut } else { Problem::NotSealed(key.to_owned()) };
        Err(fault(if is_cut { self.at.max(1) - 1 } else { key_at }, problem))
    }

    fn entries(&mut self) -> Result<BTreeMap<Name, Entry>, Fault> {
        let mut entries = BTreeMap::new();
        while let Some((at, line)) = self.peek().filter(|(_, line)| line.starts_with(' ')) {
            self.at = at + 1;
            let foreign = || fault(at, Problem::Foreign);
            let Some((key, "|")) = line.rsplit_once(": ") else { return Err(foreign()) };
            let Some(key) = key.strip_prefix("  ").filter(|key| !key.starts_with(' ')) else { return Err(foreign()) };
            let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
            let name: Name = key.parse().map_err(|_| fault(at, Problem::Name))?;
            let sealed = self.block(at, "    ", key)?;
            if entries.insert(name, Entry { lines: at..self.at, sealed }).is_some() {
                return Err(fault(at, Problem::Twice(key.to_owned())));
            }
        }
        Ok(entries)
    }
}

/// Returns the lines of a text below a key.
fn block(key: &str, indent: &str, text: &str) -> Vec<String> {
    std::iter::once(key.to_owned()).chain(text.lines().map(|line| format!("{indent}{line}"))).collect()
}

fn fault(index: usize, problem: Problem) -> Fault {
    Fault { line: index + 1, problem }
}

#[cfg(test)]
mod tests;
