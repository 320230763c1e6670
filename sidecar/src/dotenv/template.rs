//! Texts with `$NAME` and `${NAME:-otherwise}` in them, by the rules of docker compose.
//!
//! Compose has them in its env files and in compose files alike.

use std::fmt;

/// Deepest nesting of `${A:-${B:-…}}`. Nobody writes more than three.
const MAX_DEPTH: usize = 16;

/// A text, and the variables that stand in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A piece of a template.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stays.
    Text(String),
    /// A variable.
    Variable {
        /// Its name.
        name: String,
        /// What is done by whether it is set.
        rule: Rule,
    },
}

/// What stands in a variable's place.
#[derive(Clone, PartialEq, Eq)]
pub enum Rule {
    /// `$NAME`: its value, nothing when it is not set.
    Value,
    /// `${NAME-otherwise}`, and with `:-` also when it is empty.
    Otherwise {
        /// Whether an empty value counts as none.
        or_empty: bool,
        /// What stands there then.
        otherwise: Template,
    },
    /// `${NAME+instead}`: nothing unless it is set; with `:+` unless it is set and not empty.
    Instead {
        /// Whether an empty value counts as none.
        or_empty: bool,
        /// What stands there.
        instead: Template,
    },
    /// `${NAME?why}`: has to be set; with `:?` to be not empty.
    Required {
        /// Whether an empty value counts as none.
        or_empty: bool,
        /// What the file says when it is not.
        why: String,
    },
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Template(…)")
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => formatter.write_str("Text(…)"),
            Self::Variable { name, .. } => write!(formatter, "Variable({name}, …)"),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Rule(…)")
    }
}

/// What is wrong with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A `${` without its `}`.
    Unclosed,
    /// Between the braces stands no name, or something after it that is not known.
    Braces,
    /// Too many within each other.
    Deep,
}

/// A fault and the byte of the template at which it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The byte.
    pub at: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// Why a template has no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExpandError {
    /// A variable that has to be set is not.
    Required {
        /// Its name.
        name: String,
        /// The file's words.
        why: String,
    },
    /// The value would be larger than is allowed.
    TooLong,
}

impl Template {
    /// Returns a template in which nothing is replaced.
    pub fn literal(text: String) -> Self {
        Self(vec![Part::Text(text)])
    }

    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse(text, 0, 0)
    }

    /// Returns the pieces.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Returns the text when no variable stands in it.
    pub fn as_literal(&self) -> Option<String> {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Variable { .. } => None,
        };
        self.0.iter().map(text).collect()
    }

    /// Returns the text with every variable replaced by what `lookup` says, if it has at most `limit` bytes.
    pub fn expand(&self, lookup: &dyn Fn(&str) -> Option<String>, limit: usize) -> Result<String, ExpandError> {
        let mut value = String::new();
        for part in &self.0 {
            let room = limit.saturating_sub(value.len());
            let piece = match part {
                Part::Text(text) => text.clone(),
                Part::Variable { name, rule } => rule.expand(name, lookup, room)?,
            };
            if piece.len() > room {
                return Err(ExpandError::TooLong);
            }
            value.push_str(&piece);
        }
        Ok(value)
    }

    pub(super) fn has_nul(&self) -> bool {
        self.0.iter().any(|part| match part {
            Part::Text(text) => text.contains('\0'),
            Part::Variable { rule, .. } => match rule {
                Rule::Value | Rule::Required { .. } => false,
                Rule::Otherwise { otherwise: inner, .. } | Rule::Instead { instead: inner, .. } => inner.has_nul(),
            },
        })
    }
}

impl Rule {
    fn expand(&self, name: &str, lookup: &dyn Fn(&str) -> Option<String>, room: usize) -> Result<String, ExpandError> {
        let counted = |or_empty: bool| lookup(name).filter(|value| !(or_empty && value.is_empty()));
        match self {
            Self::Value => Ok(lookup(name).unwrap_or_default()),
            Self::Otherwise { or_empty, otherwise } => match counted(*or_empty) {
                Some(value) => Ok(value),
                None => otherwise.expand(lookup, room),
            },
            Self::Instead { or_empty, instead } => match counted(*or_empty) {
                Some(_) => instead.expand(lookup, room),
                None => Ok(String::new()),
            },
            Self::Required { or_empty, why } => {
                counted(*or_empty).ok_or_else(|| ExpandError::Required { name: name.to_owned(), why: why.clone() })
            }
        }
    }
}

fn parse(text: &str, base: usize, depth: usize) -> Result<Template, TemplateError> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(dollar) = text[at..].find('$').map(|found| at + found) {
        plain.push_str(&text[at..dollar]);
        let rest = &text[dollar + 1..];
        let (variable, length) = match rest.bytes().next() {
            Some(b'$') => {
                plain.push('$');
                (None, 1)
            }
            Some(b'{') => {
                let (part, length) = braced(rest, base + dollar, depth)?;
                (Some(part), length)
            }
            Some(_) | None => match name_length(rest) {
                0 => {
                    plain.push('$');
                    (None, 0)
                }
                length => (Some(Part::Variable { name: rest[..length].to_owned(), rule: Rule::Value }), length),
            },
        };
        if let Some(variable) = variable {
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(variable);
        }
        at = dollar + 1 + length;
    }
    plain.push_str(&text[at..]);
    if !plain.is_empty() || parts.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(Template(parts))
}

/// Reads `{…}` at the begin of `rest`, whose dollar is the byte `dollar` of the whole; returns it and its length.
fn braced(rest: &str, dollar: usize, depth: usize) -> Result<(Part, usize), TemplateError> {
    let failed = |fault| TemplateError { at: dollar, fault };
    if depth == MAX_DEPTH {
        return Err(failed(Fault::Deep));
    }
    let end = closing(rest).ok_or(failed(Fault::Unclosed))?;
    let inner = &rest[1..end];
    let length = name_length(inner);
    let (name, operator) = inner.split_at(length);
    if name.is_empty() {
        return Err(failed(Fault::Braces));
    }
    let (or_empty, operator) = operator.strip_prefix(':').map_or((false, operator), |operator| (true, operator));
    let nested = |text: &str| parse(text, dollar + 2 + inner.len() - text.len(), depth + 1);
    let rule = match (operator.bytes().next(), operator.get(1..).unwrap_or_default()) {
        (None, _) if !or_empty => Rule::Value,
        (Some(b'-'), text) => Rule::Otherwise { or_empty, otherwise: nested(text)? },
        (Some(b'+'), text) => Rule::Instead { or_empty, instead: nested(text)? },
        (Some(b'?'), text) => Rule::Required { or_empty, why: text.to_owned() },
        (Some(_) | None, _) => return Err(failed(Fault::Braces)),
    };
    Ok((Part::Variable { name: name.to_owned(), rule }, end + 1))
}

/// Returns the byte of the brace that closes the one at the begin.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// Returns how many bytes at the begin of `text` are a name.
fn name_length(text: &str) -> usize {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if !text.bytes().next().is_some_and(is_first) {
        return 0;
    }
    text.bytes().take_while(|byte| is_first(*byte) || byte.is_ascii_digit()).count()
}
