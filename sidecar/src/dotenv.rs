//! Files of `NAME=value` lines, read by the rules of docker compose; never shows a value in a message.
//!
//! The rules are those of compose's own reader: blank lines and lines that begin with `#` are skipped, `export` may
//! stand before a name, `=` or `:` separates, spaces around both sides go. An unquoted value ends at the line's end or at
//! ` #`. In single quotes everything is literal but `\'`; in double quotes `\n`, `\r`, `\t`, `\"`, `\\`, `\$`, `\a`, `\b`,
//! `\f`, `\v` and `\0NNN` (octal) are read. Quoted values may span lines. `$NAME`, `${NAME}` and `${NAME:-otherwise}` are
//! replaced in unquoted and double-quoted values; `$$` is a dollar. A name alone takes its value from the environment.
//!
//! Stricter than compose in three places, each of which compose reads as something that nobody means: text that touches a
//! closing quote, a line without a name, and a NUL byte are errors.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

mod error;
mod quoted;
pub mod template;

pub use error::{DotenvError, Problem, examples};
use template::Template;

/// Largest file that is read, in bytes. Real ones have a few kilobytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Most bytes that all values together may expand to: `B=$A$A`, `C=$B$B`, … doubles with each line.
pub const MAX_VALUES: usize = 4 * 1024 * 1024;

/// One line of a file, as it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The variable's name.
    pub name: String,
    /// Its value before anything is replaced; `None` takes the value from the environment.
    pub value: Option<Template>,
    /// Where the name stands, both counted from 1, in characters.
    pub place: Place,
}

/// One variable with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// The variable's name.
    pub name: String,
    /// Its value, everything replaced.
    pub value: String,
    /// Where the name stands.
    pub place: Place,
}

/// A place in a file, both counted from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Entry").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Variable").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

/// Returns the variables of the file at `path`, in its order; of a name that stands twice the later value counts.
///
/// `lookup` is the environment: it is asked first for what a value refers to, as compose does, and for names alone.
/// Blocks.
pub fn load(path: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Variable>, DotenvError> {
    let text = read(path)?;
    variables(path, &parse(path, &text)?, lookup)
}

/// Returns the text of the file at `path`, without a byte order mark. Blocks.
pub fn read(path: &Path) -> Result<String, DotenvError> {
    let unreadable = |source| DotenvError::Unreadable { path: path.to_owned(), source };
    // Asked before it is opened, which waits for a writer if it is a pipe.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(DotenvError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(DotenvError::TooLarge { path: path.to_owned() });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let place = place_of(&String::from_utf8_lossy(valid), valid.len());
            Err(DotenvError::Syntax { path: path.to_owned(), place, problem: Problem::NotUtf8 })
        }
    }
}

/// Returns the lines of `text` as they are written; `path` is only for messages.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, DotenvError> {
    let mut parser = Parser { text, at: 0, counted: 0, place: Place { line: 1, column: 1 } };
    let mut entries = Vec::new();
    loop {
        match parser.statement() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return Ok(entries),
            Err((at, problem)) => {
                return Err(DotenvError::Syntax { path: path.to_owned(), place: place_of(text, at), problem });
            }
        }
    }
}

/// Returns what `entries` come to, in their order; of a name that stands twice the later value counts.
pub fn variables(
    path: &Path,
    entries: &[Entry],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Variable>, DotenvError> {
    let mut found: Vec<Variable> = Vec::new();
    let mut index = std::collections::HashMap::new();
    let mut room = MAX_VALUES;
    for entry in entries {
        let value = match &entry.value {
            None => lookup(&entry.name),
            Some(value) => {
                let known =
                    |name: &str| lookup(name).or_else(|| index.get(name).map(|at: &usize| found[*at].value.clone()));
                let failed = |problem| DotenvError::Syntax { path: path.to_owned(), place: entry.place, problem };
                Some(value.expand(&known, room).map_err(|error| failed(error.into()))?)
            }
        };
        let Some(value) = value else { continue };
        room = room.saturating_sub(value.len());
        let variable = Variable { name: entry.name.clone(), value, place: entry.place };
        if let Some(at) = index.get(&entry.name) {
            found[*at] = variable;
        } else {
            index.insert(entry.name.clone(), found.len());
            found.push(variable);
        }
    }
    Ok(found)
}

/// A problem, and the byte at which it was met.
type Failure = (usize, Problem);

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// The byte up to which lines were counted; a file that is counted from its begin for each name never ends.
    counted: usize,
    /// The place of that byte.
    place: Place,
}

impl Parser<'_> {
    /// Returns the next line that says something.
    fn statement(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            self.skip(char::is_whitespace);
            if !self.rest().starts_with('#') {
                break;
            }
            self.skip(|letter| letter != '\n');
        }
        if self.rest().is_empty() {
            return Ok(None);
        }
        if self.rest().strip_prefix("export").is_some_and(|rest| rest.starts_with(char::is_whitespace)) {
            self.at += "export".len();
            self.skip(is_space);
        }
        let place = self.here();
        let (name, has_value) = self.name()?;
        if !has_value {
            return Ok(Some(Entry { name, value: None, place }));
        }
        self.skip(is_space);
        let value = self.value()?;
        Ok(Some(Entry { name, value: Some(value), place }))
    }

    /// Returns the place of what comes next.
    fn here(&mut self) -> Place {
        for letter in self.text[self.counted..self.at].chars() {
            self.place = match letter {
                '\n' => Place { line: self.place.line + 1, column: 1 },
                _ => Place { column: self.place.column + 1, ..self.place },
            };
        }
        self.counted = self.at;
        self.place
    }

    /// Returns the name, and whether a value follows.
    fn name(&mut self) -> Result<(String, bool), Failure> {
        let start = self.at;
        let mut separator = None;
        for (offset, letter) in self.rest().char_indices() {
            match letter {
                '=' | ':' | '\n' => {
                    separator = Some((offset, letter));
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                letter if is_space(letter) || letter.is_alphanumeric() => {}
                letter => return Err((start + offset, Problem::NameLetter { letter })),
            }
        }
        let (length, has_value) = match separator {
            Some((offset, letter)) => (offset, letter != '\n'),
            None => (self.rest().len(), false),
        };
        let name = self.rest()[..length].trim_end();
        if name.is_empty() {
            return Err((start, Problem::NoName));
        }
        if let Some(space) = name.find(is_space) {
            return Err((start + space, Problem::NameSpace));
        }
        let name = name.to_owned();
        self.at += length + usize::from(separator.is_some());
        Ok((name, has_value))
    }

    fn value(&mut self) -> Result<Template, Failure> {
        let start = self.at;
        let quote = self.rest().chars().next().filter(|letter| matches!(letter, '"' | '\''));
        let value = match quote {
            None => {
                let line = self.rest().split('\n').next().unwrap_or_default();
                let value = line.split(" #").next().unwrap_or_default().trim_end();
                let value = Template::parse(value).map_err(|error| (start + error.at, error.into()))?;
                self.at += line.len();
                value
            }
            Some(quote) => {
                let (text, length) = quoted::unquote(self.rest(), quote).ok_or((start, Problem::Unclosed { quote }))?;
                self.at += length;
                if self.rest().starts_with(|letter: char| !letter.is_whitespace() && letter != '#') {
                    return Err((self.at, Problem::AfterQuote));
                }
                match quote {
                    '\'' => Template::literal(text),
                    // Its bytes are no longer those of the file, so that only the value's begin is a place.
                    _ => Template::parse(&quoted::unescape(&text)).map_err(|error| (start, error.into()))?,
                }
            }
        };
        if value.has_nul() { Err((start, Problem::Nul)) } else { Ok(value) }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip(&mut self, passes: impl Fn(char) -> bool) {
        self.at += self.rest().find(|letter| !passes(letter)).unwrap_or(self.rest().len());
    }
}

/// Whether `letter` is white space within a line, as compose has it.
fn is_space(letter: char) -> bool {
    matches!(letter, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

/// Returns the place of the byte `at` of `text`.
fn place_of(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

#[cfg(test)]
mod tests;
