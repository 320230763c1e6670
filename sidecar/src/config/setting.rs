//! What a key is: its type, its words for people, its default and its example, declared once; and how a value of it is
//! read, with everything that is wrong said at once.

use std::collections::BTreeMap;

use super::place::Place;
use super::problem::Problem;
use super::tree::{Entry, Node, Value};

/// What a key takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Whole {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A text of one form.
    Text {
        /// What it is, for a sentence.
        about: &'static str,
        /// Its form, as a regular expression; empty for any text.
        pattern: &'static str,
        /// The numbers that may stand in its place, from and to; `None` for none.
        numbers: Option<(f64, f64)>,
    },
    /// One of a closed set of words.
    Choice(&'static [Choice]),
    /// Values in order.
    List(Box<Kind>),
    /// Values by names that a person chooses.
    Map(Box<Kind>),
    /// Keys of our own.
    Section(Vec<Field>),
    /// One of these.
    Either(Vec<Kind>),
}

/// One word of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The word.
    pub name: &'static str,
    /// What it means, each line as in the comment.
    pub about: &'static [&'static str],
    /// Other words for the same.
    pub aliases: &'static [&'static str],
    /// Why it is not there yet; `None` when it is.
    pub refused: Option<&'static str>,
}

/// One key of a section.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is for, each line as in the comment.
    pub about: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says it, as YAML on one line; `None` for nothing.
    pub default: Option<&'static str>,
    /// An example, as YAML on one line.
    pub example: &'static str,
}

impl Field {
    /// Returns what it is for, as one text.
    pub fn described(&self) -> String {
        described(self.about)
    }
}

/// Returns the lines of a comment as one text.
pub fn described(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A type that a value of the configuration can have.
pub trait Setting: Sized {
    /// Returns what is taken for it.
    fn kind() -> Kind;

    /// Reads a value; what is wrong goes to `reading`, and then nothing is returned.
    fn read(node: &Node, reading: &mut Reading) -> Option<Self>;

    /// Returns what it is when nothing is said and there is no default; `None` when there has to be one.
    fn absent() -> Option<Self> {
        None
    }
}

/// What is being read, and what was wrong so far.
#[derive(Debug, Default)]
pub struct Reading {
    path: Vec<String>,
    /// The example of the innermost key that has one, and that key.
    examples: Vec<(&'static str, String)>,
    /// What was wrong.
    pub problems: Vec<Problem>,
}

impl Reading {
    /// Begins with what was wrong before.
    pub fn after(problems: Vec<Problem>) -> Self {
        Self { problems, ..Self::default() }
    }

    /// Returns the key that is being read, its parts joined by dots.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    /// Notes a problem of the key that is being read.
    pub fn problem(&mut self, place: &Place, reason: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Problem { place: place.clone(), key: self.key(), reason: reason.into(), fix: fix.into() });
    }

    /// Notes that something else stands there than what belongs there.
    pub fn wrong(&mut self, node: &Node, wanted: &str) {
        let reason = format!("`{}` takes {wanted}, not {}", self.key(), node.described());
        let fix = self.as_example();
        self.problem(&node.place, reason, fix);
    }

    /// Returns how the key that is being read is written.
    pub fn as_example(&self) -> String {
        match self.examples.last() {
            Some((example, name)) => format!("Write it as in `{name}: {example}`."),
            None => "Write it as in `version: \"3.0\"`.".to_owned(),
        }
    }

    /// Returns the name under which the value that is being read stands.
    pub fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// Reads what stands under a name.
    pub fn within<T>(&mut self, name: &str, example: Option<&'static str>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        if let Some(example) = example {
            self.examples.push((example, name.to_owned()));
        }
        let read = read(self);
        if example.is_some() {
            self.examples.pop();
        }
        self.path.pop();
        read
    }

    /// Returns the entries of a section, once names that no key has are said.
    pub fn section<'n>(&mut self, node: &'n Node, known: &[&str]) -> Option<&'n [Entry]> {
        let Value::Map(entries) = &node.value else {
            self.wrong(node, "keys of its own");
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
            let reason = format!("there is no key `{}`{}", entry.name, within(&self.key()));
            let (key, fix) = (self.key(), super::spelling::instead(&self.path, &entry.name, known));
            let key = if key.is_empty() { entry.name.clone() } else { format!("{key}.{}", entry.name) };
            self.problems.push(Problem { place: entry.place.clone(), key, reason, fix });
        }
        Some(entries)
    }

    /// Reads one key of a section.
    pub fn field<T: Setting>(&mut self, entries: &[Entry], name: &str, example: &'static str) -> Option<T> {
        let found = entries.iter().find(|entry| entry.name == name);
        match found.filter(|entry| entry.node.value != Value::Null) {
            Some(entry) => self.within(name, Some(example), |reading| T::read(&entry.node, reading)),
            None => T::absent(),
        }
    }
}

fn within(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" in `{key}`") }
}

impl Setting for bool {
    fn kind() -> Kind {
        Kind::Bool
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        let word = node.as_written().map(str::to_ascii_lowercase);
        let meant = match word.as_deref() {
            Some("yes" | "on" | "y" | "1") => Some(true),
            Some("no" | "off" | "n" | "0") => Some(false),
            Some(_) | None => None,
        };
        match (meant, &word) {
            (Some(meant), _) => {
                let written = node.as_written().unwrap_or_default();
                let reason = format!("`{written}` is neither `true` nor `false`");
                let fix = format!("Write `{}: {meant}`.", reading.name());
                reading.problem(&node.place, reason, fix);
            }
            (None, Some(word)) if word == "true" || word == "false" => {
                let fix = format!("Remove the quotes: `{}: {word}`.", reading.name());
                reading.problem(&node.place, format!("`{word}` in quotes is a text"), fix);
            }
            (None, _) => reading.wrong(node, "`true` or `false`"),
        }
        None
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const LEAST: u64, const MOST: u64>(pub u64);

impl<const LEAST: u64, const MOST: u64> Setting for Whole<LEAST, MOST> {
    fn kind() -> Kind {
        Kind::Whole { least: LEAST, most: MOST }
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        let Value::Number(text) = &node.value else {
            reading.wrong(node, "a whole number");
            return None;
        };
        let number = text.parse::<u64>().ok().filter(|number| (LEAST..=MOST).contains(number));
        if number.is_none() {
            let fix = reading.as_example();
            reading.problem(&node.place, format!("`{text}` is no whole number from {LEAST} to {MOST}"), fix);
        }
        number.map(Self)
    }
}

impl<T: Setting> Setting for Option<T> {
    fn kind() -> Kind {
        T::kind()
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        T::read(node, reading).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let one = node.as_written().map(|text| text.replace('"', "\\\""));
            match one {
                Some(one) => {
                    let reason = format!("`{}` takes a list, not {}", reading.key(), node.described());
                    let fix = format!("Write it as a list of one: `{}: [\"{one}\"]`.", reading.name());
                    reading.problem(&node.place, reason, fix);
                }
                None => reading.wrong(node, "a list"),
            }
            return None;
        };
        // All are read, so that all that is wrong is said.
        let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, reading)).collect();
        read.into_iter().collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn kind() -> Kind {
        Kind::Map(Box::new(T::kind()))
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reading.wrong(node, "names with a value each");
            return None;
        };
        // `null` takes back what a weaker layer said.
        let said = entries.iter().filter(|entry| entry.node.value != Value::Null);
        let read: Vec<Option<(String, T)>> = said
            .map(|entry| {
                let value = reading.within(&entry.name, None, |reading| T::read(&entry.node, reading));
                value.map(|value| (entry.name.clone(), value))
            })
            .collect();
        read.into_iter().collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// Declares a section: a struct whose comments, types, defaults and examples are all there is to say about its keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident $(as $key:literal)? : $type:ty $(= $default:literal)?, $example:literal; )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $type, )* }

        impl $crate::config::setting::Setting for $name {
            fn kind() -> $crate::config::setting::Kind {
                $crate::config::setting::Kind::Section(vec![$(
                    $crate::config::setting::Field {
                        name: $crate::config::setting::section!(@key $field $($key)?),
                        about: &[$($doc),+],
                        kind: <$type as $crate::config::setting::Setting>::kind(),
                        default: $crate::config::setting::section!(@default $($default)?),
                        example: $example,
                    },
                )*])
            }

            fn read(
                node: &$crate::config::tree::Node,
                reading: &mut $crate::config::setting::Reading,
            ) -> Option<Self> {
                const KNOWN: &[&str] = &[$( $crate::config::setting::section!(@key $field $($key)?) ),*];
                let entries = reading.section(node, KNOWN)?;
                $( let $field = reading.field::<$type>(
                    entries, $crate::config::setting::section!(@key $field $($key)?), $example,
                ); )*
                Some(Self { $( $field: $field? ),* })
            }

            fn absent() -> Option<Self> {
                Some(Self { $( $field: <$type as $crate::config::setting::Setting>::absent()? ),* })
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

/// Declares a closed set of words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal $(| $alias:literal)* ; )+ }
        $( not yet { $( $(#[doc = $refused_doc:literal])+ $refused:literal : $why:literal ; )+ } )?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// Returns its word.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn kind() -> $crate::config::setting::Kind {
                $crate::config::setting::Kind::Choice(&[
                    $( $crate::config::setting::Choice {
                        name: $word, about: &[$($doc),+], aliases: &[$($alias),*], refused: None,
                    }, )+
                    $( $( $crate::config::setting::Choice {
                        name: $refused, about: &[$($refused_doc),+], aliases: &[], refused: Some($why),
                    }, )+ )?
                ])
            }

            fn read(
                node: &$crate::config::tree::Node,
                reading: &mut $crate::config::setting::Reading,
            ) -> Option<Self> {
                let word = reading.choice(node, &Self::kind())?;
                match word { $( $word => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

pub(crate) use {choice, section};

impl Reading {
    /// Reads one word of a closed set: its canonical spelling.
    pub fn choice(&mut self, node: &Node, kind: &Kind) -> Option<&'static str> {
        let Kind::Choice(choices) = kind else { return None };
        let names: Vec<&str> =
            choices.iter().filter(|choice| choice.refused.is_none()).map(|choice| choice.name).collect();
        let listed = format!("`{}`", names.join("`, `"));
        let Some(word) = node.as_written() else {
            self.wrong(node, &format!("one of {listed}"));
            return None;
        };
        let found = choices.iter().find(|choice| choice.name == word || choice.aliases.contains(&word));
        let (reason, instead) = match found {
            Some(Choice { refused: None, name, .. }) => return Some(name),
            Some(Choice { refused: Some(why), .. }) => {
                (format!("`{word}` is not there yet: {why}"), names.first().copied())
            }
            None => {
                let lower = word.to_ascii_lowercase();
                let same = names.iter().find(|name| name.to_ascii_lowercase() == lower).map(|name| (*name).to_owned());
                let near = || crate::sessions::nearest(word, names.iter().map(|name| (*name).to_owned()));
                let instead = same.or_else(near);
                let fix = match instead {
                    Some(instead) => format!("Write `{}: {instead}`.", self.name()),
                    None => format!("Write one of {listed}."),
                };
                self.problem(&node.place, format!("`{word}` is none of {listed}"), fix);
                return None;
            }
        };
        let fix = format!("Write `{}: {}`.", self.name(), instead.unwrap_or_default());
        self.problem(&node.place, reason, fix);
        None
    }
}
