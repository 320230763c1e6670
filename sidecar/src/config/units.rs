//! Texts of one form: times, sizes, ports, volumes, references and the like.

use std::time::Duration;

use super::setting::{Kind, Reading, Setting};
use super::tree::{Node, Value};

pub(crate) mod container;
mod names;

pub use container::{DriverVersion, PortMapping, Volume};
pub use names::{FilePath, Image, Name, Pattern, Reference, RemoteFolder, Scalar, VERSION, Version};

/// A text of one form.
pub trait Form: Sized {
    /// What it is, for a sentence: `a time with its unit`.
    const ABOUT: &'static str;
    /// The form as a regular expression; empty for any text.
    const PATTERN: &'static str;
    /// The numbers that may stand in its place, from and to.
    const NUMBERS: Option<(f64, f64)> = None;

    /// Whether a section makes no sense without it.
    const REQUIRED: bool = false;

    /// Reads a text.
    fn parse(text: &str) -> Result<Self, Wrong>;
}

/// Why a text has not the form, and the one that was likely meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub reason: String,
    /// What to write instead, when that can be told.
    pub instead: Option<String>,
    /// What to do, where there is more to it than to write something else.
    pub fix: Option<String>,
}

impl Wrong {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), instead: None, fix: None }
    }

    pub(super) fn instead(self, instead: impl Into<String>) -> Self {
        Self { instead: Some(instead.into()), ..self }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// Reads a text of one form.
pub(super) fn read<F: Form>(node: &Node, reading: &mut Reading) -> Option<F> {
    let text = match &node.value {
        Value::Text(text) => text,
        Value::Number(text) if F::NUMBERS.is_some() => text,
        Value::Number(text) => {
            let wrong = F::parse(text)
                .err()
                .unwrap_or_else(|| Wrong::new("a number needs quotes here").instead(format!("\"{text}\"")));
            said(node, reading, wrong);
            return None;
        }
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
            reading.wrong(node, F::ABOUT);
            return None;
        }
    };
    F::parse(text).map_err(|wrong| said(node, reading, wrong)).ok()
}

fn said(node: &Node, reading: &mut Reading, wrong: Wrong) {
    let fix = match (wrong.fix, wrong.instead) {
        (Some(fix), _) => fix,
        (None, Some(instead)) => format!("Write `{instead}` in its place."),
        (None, None) => reading.as_example(),
    };
    reading.problem(&node.place, wrong.reason, fix);
}

macro_rules! forms {
    ($($name:ty),*) => { $(
        impl Setting for $name {
            const REQUIRED: bool = <Self as Form>::REQUIRED;

            fn kind() -> Kind {
                Kind::Text { about: <Self as Form>::ABOUT, pattern: <Self as Form>::PATTERN, numbers: <Self as Form>::NUMBERS }
            }

            fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
                read::<Self>(node, reading)
            }
        }
    )* };
}

forms!(
    Interval,
    Size,
    DriverVersion,
    PortMapping,
    Volume,
    FilePath,
    Image,
    Name,
    Pattern,
    RemoteFolder,
    Version,
    String
);

impl Form for String {
    const ABOUT: &'static str = "a text";
    const REQUIRED: bool = true;
    const PATTERN: &'static str = "\\S";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() { Err(Wrong::new("the text is empty")) } else { Ok(text.to_owned()) }
    }
}

/// A time: `500ms`, `2s`, `5m`, `1h`, at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

/// Longest time that is taken.
const DAY: Duration = Duration::from_hours(24);

impl Form for Interval {
    const ABOUT: &'static str = "a time with its unit (`ms`, `s`, `m` or `h`)";
    const PATTERN: &'static str = "^[0-9]+(ms|s|m|h)$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let (number, unit) = split(text);
        let Ok(number) = number.parse::<u64>() else {
            return Err(Wrong::new(format!("`{text}` is no time: it begins with no whole number")));
        };
        let time = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "" => return Err(Wrong::new(format!("`{text}` has no unit")).instead(format!("{number}s"))),
            unit => {
                let wrong = Wrong::new(format!("`{unit}` is no unit of time; there are `ms`, `s`, `m` and `h`"));
                let meant = match unit.trim().to_ascii_lowercase().as_str() {
                    "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
                    "s" | "sec" | "secs" | "second" | "seconds" => "s",
                    "m" | "min" | "mins" | "minute" | "minutes" => "m",
                    "h" | "hr" | "hrs" | "hour" | "hours" => "h",
                    _ => return Err(wrong),
                };
                return Err(wrong.instead(format!("{number}{meant}")));
            }
        };
        match time.filter(|time| *time <= DAY) {
            Some(time) => Ok(Self(time)),
            None => Err(Wrong::new(format!("`{text}` is longer than a day")).instead("24h")),
        }
    }
}

/// A number of bytes: `500KB`, `100MB`, `10GiB`. `KB` is 1000 bytes, `KiB` 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1000),
    ("MB", 1000_u64.pow(2)),
    ("GB", 1000_u64.pow(3)),
    ("TB", 1000_u64.pow(4)),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Form for Size {
    const ABOUT: &'static str = "a size with its unit (`KB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`)";
    const PATTERN: &'static str = "^[0-9]+(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let (number, unit) = split(text);
        let Ok(number) = number.parse::<u64>() else {
            return Err(Wrong::new(format!("`{text}` is no size: it begins with no whole number")));
        };
        if unit.is_empty() {
            return Err(Wrong::new(format!("`{text}` has no unit")).instead(format!("{number}B")));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let wrong =
                Wrong::new(format!("`{unit}` is no unit of size; there are `KB`, `MB`, `GB`, `KiB`, `MiB` and `GiB`"));
            let unit = unit.trim();
            let letter = unit.chars().next().unwrap_or_default().to_ascii_uppercase();
            let second = if unit.to_ascii_lowercase().ends_with("ib") { "iB" } else { "B" };
            let meant = format!("{letter}{second}");
            let is_unit = UNITS.iter().any(|(name, _)| *name == meant);
            return Err(if is_unit { wrong.instead(format!("{number}{meant}")) } else { wrong });
        };
        number.checked_mul(*factor).map(Self).ok_or_else(|| Wrong::new(format!("`{text}` is more than any disk holds")))
    }
}

/// Returns the digits at the start and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], &text[end..])
}
