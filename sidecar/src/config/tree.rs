//! What a configuration file says, as plain data in which every value knows its place.

use std::ops::Range;

use super::place::Place;
use super::problem::Problem;

mod file;
mod hints;
mod read;
mod scalar;

pub(crate) use file::text;
pub use file::{MAX_BYTES, load};
pub use read::parse;
pub(super) use scalar::resolve;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
    /// Which characters of the file it is, as far as it is written there.
    pub span: Range<usize>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: it takes back what a weaker layer said.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Node>),
    /// Values by name, in the order of the file, each name once.
    Map(Vec<Entry>),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// Which characters of the file the name is, as far as it is written there.
    pub span: Range<usize>,
    /// Its value.
    pub node: Node,
}

/// What was made of a text, and all that is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The tree; `None` when nothing could be made of the text.
    pub root: Option<Node>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Node {
    /// Returns a value that is written nowhere.
    pub fn new(value: Value, place: Place) -> Self {
        Self { value, place, span: 0..0 }
    }

    /// Returns the entries of a map; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => &[],
        }
    }

    /// Returns the value of a name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// Returns the value at a path of names.
    pub fn at<'n>(&self, path: impl IntoIterator<Item = &'n str>) -> Option<&Self> {
        path.into_iter().try_fold(self, |node, name| node.get(name))
    }

    /// Returns a number, a text, or `true` and `false` as it was written; `None` for anything else.
    pub fn as_written(&self) -> Option<&str> {
        match &self.value {
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Number(text) | Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns what it is, for a sentence.
    pub fn described(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "`true` or `false`",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
