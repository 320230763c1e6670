//! How plain values, lists and maps are read.

use std::collections::BTreeMap;

use super::super::tree::{Node, Value};
use super::{Kind, Reading, Setting};

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
