//! Pure: files of environment variables, read as docker compose reads them.
//!
//! An entry is `NAME=value` or `NAME: value`, with `export ` before it or not; blank lines and `#` lines say nothing. A
//! value without quotes ends at ` #`, and `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}` and
//! `${NAME:?text}` in it stand for variables of the file above, else of the environment; in double quotes, too, with `\n`,
//! `\t`, `\"`, `\\` and `\$`. In single quotes nothing means anything but `\'`. Quoted values may go over several lines. A name
//! alone takes its value from the environment, and is left out when it is not there. What stands twice has its last value.

use super::place::{Place, Source};
use super::problem::Problem;

mod expand;

/// A variable of a file. Its value may be a secret: it is for the process that needs it, and for nobody to see.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: crate::secrets::Secret,
    /// Where it stands.
    pub place: Place,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Variable").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

/// Reads a file's text; `environment` tells the value of a variable elsewhere. Says all that is wrong.
pub fn parse(
    text: &str,
    source: &Source,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Variable>, Vec<Problem>> {
    let mut variables: Vec<Variable> = Vec::new();
    let mut problems = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let place = Place { source: source.clone(), line, column: 1 };
        let (read, after) = {
            let known = |name: &str| {
                let above = variables.iter().rev().find(|variable| variable.name == name);
                above.map(|variable| variable.value.reveal().to_owned()).or_else(|| environment(name))
            };
            entry(rest, &known)
        };
        match read {
            Ok(Some((name, value))) => {
                variables.retain(|variable| variable.name != name);
                variables.push(Variable { name, value: crate::secrets::Secret::new(value), place });
            }
            Ok(None) => {}
            Err((reason, fix)) => problems.push(Problem::of_file(place, reason, fix)),
        }
        let taken = rest.len() - after.len();
        line += rest[..taken].matches('\n').count();
        rest = after;
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

/// What is wrong with an entry, and what to write instead. Never its value, which may be a secret.
type Wrong = (String, String);

/// A name and its value; nothing for a line that says nothing.
type Read = Result<Option<(String, String)>, Wrong>;

/// Reads one entry; returns it and what follows it.
fn entry<'t>(text: &'t str, known: &dyn Fn(&str) -> Option<String>) -> (Read, &'t str) {
    let end = text.find('\n').unwrap_or(text.len());
    let (line, after) = (&text[..end], text.get(end + 1..).unwrap_or_default());
    let said = line.trim_start();
    let said = said.strip_prefix("export ").map_or(said, str::trim_start);
    if said.trim().is_empty() || said.starts_with('#') {
        return (Ok(None), after);
    }
    let Some(at) = said.find(['=', ':']) else {
        let name = said.trim();
        let read = if is_name(name) { Ok(known(name).map(|value| (name.to_owned(), value))) } else { Err(no_entry()) };
        return (read, after);
    };
    let name = said[..at].trim_end();
    if !is_name(name) {
        return (Err(no_entry()), after);
    }
    let value = said[at + 1..].trim_start();
    let Some(quote) = value.chars().next().filter(|letter| matches!(letter, '"' | '\'')) else {
        let bare = value.find(" #").map_or(value, |comment| &value[..comment]);
        let bare = if bare.starts_with('#') { "" } else { bare.trim_end() };
        return (expand::plain(bare, known).map(|value| Some((name.to_owned(), value))), after);
    };
    // A quoted value may go over several lines.
    let begin = text.len() - after.len() - usize::from(end < text.len()) - value.len() + 1;
    let quoted = &text[begin..];
    let Some(close) = closing(quoted, quote) else {
        let fix = format!("Add the closing `{quote}` at the end of the value of `{name}`.");
        return (Err((format!("the quote of `{name}` is never closed"), fix)), after);
    };
    let inner = &quoted[..close];
    let behind = &quoted[close + 1..];
    let rest = behind.find('\n').map_or("", |end| &behind[end + 1..]);
    let trailing = behind[..behind.find('\n').unwrap_or(behind.len())].trim();
    if !trailing.is_empty() && !trailing.starts_with('#') {
        let fix = format!("Put all of the value of `{name}` between the quotes.");
        return (Err((format!("something stands behind the closing quote of `{name}`"), fix)), rest);
    }
    let value = if quote == '\'' { Ok(inner.replace("\\'", "'")) } else { expand::double_quoted(inner, known) };
    (value.map(|value| Some((name.to_owned(), value))), rest)
}

fn no_entry() -> Wrong {
    let fix = "Write it as `NAME=value`, with letters, digits and `_` in the name; or put `#` before it.";
    ("this line is no `NAME=value`".to_owned(), fix.to_owned())
}

fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_') && name.chars().all(plain)
}

/// Returns where a quote is closed.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, letter)| {
        let closes = letter == quote && !escaped;
        escaped = letter == '\\' && !escaped;
        closes.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Vec<Problem>> {
        let environment = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        let variables = parse(text, &Source::Default, environment)?;
        Ok(variables.into_iter().map(|variable| (variable.name, variable.value.reveal().to_owned())).collect())
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read(text), Ok(expected), "{text:?}");
    }

    #[test]
    fn entries_are_read_as_compose_reads_them() {
        check("A=1\nexport B=two words \n# no\n\nC: d\n", &[("A", "1"), ("B", "two words"), ("C", "d")]);
        check("A=x # comment\nB=x#y\nC=\nD=#no\n", &[("A", "x"), ("B", "x#y"), ("C", ""), ("D", "")]);
        check(
            "A='x $HOME \\' y' # z\nB=\"x\\ty \\\"q\\\" \\$HOME\"\n",
            &[("A", "x $HOME ' y"), ("B", "x\ty \"q\" $HOME")],
        );
        check("A=\"one\ntwo\"\nB=3\n", &[("A", "one\ntwo"), ("B", "3")]);
        check("A=1\nA=2\n", &[("A", "2")]);
        check("HOME\nNOWHERE\n", &[("HOME", "/home/ada")]);
        check("A=1\r\nB='2'\r\n", &[("A", "1"), ("B", "2")]);
        check("A=last", &[("A", "last")]);
    }

    #[test]
    fn variables_are_put_in() {
        check("A=1\nB=$A/${A}\nC=${HOME}/x\n", &[("A", "1"), ("B", "1/1"), ("C", "/home/ada/x")]);
        check(
            "A=${NO:-x}\nB=${NO-y}\nC=${HOME:+z}\nD=${NO:+z}\nE=\"${NO:-a b}\"\n",
            &[("A", "x"), ("B", "y"), ("C", "z"), ("D", ""), ("E", "a b")],
        );
        check("A=$NO\nB=a$$b\nC=5$\n", &[("A", ""), ("B", "a$b"), ("C", "5$")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_its_value() {
        let problems =
            read("A=1\nhunter2 is no entry\nB=\"hunter2\nC=${NO:?is needed}\n").expect_err("three are wrong");
        let told: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.place.line, problem.reason)).collect();
        assert_eq!(
            told,
            ["2: this line is no `NAME=value`", "3: the quote of `B` is never closed", "4: `NO` is not set: is needed"]
        );
        assert!(problems.iter().all(|problem| !format!("{problem:?}").contains("hunter2")));
    }
}
