//! Pure: from what the YAML parser says to what a person did, and what they type instead.

use super::super::place::Place;
use super::super::problem::Problem;

/// Most letters of a line that a problem repeats.
const SHOWN: usize = 80;

/// Returns the problem of a text that is no YAML.
pub(super) fn of_syntax(text: &str, place: Place, said: &str) -> Problem {
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    if let Some((place, problem)) = tab(text, &place, said) {
        return Problem { place, ..problem };
    }
    if let Some(problem) = open(text, &place) {
        return problem;
    }
    let (reason, fix) = match said {
        said if said.contains("unknown anchor") => {
            let word: String = from(line, place.column).chars().take_while(|letter| !",]}#".contains(*letter)).collect();
            let word = excerpt(word.trim());
            (
                format!("`{word}` refers to an anchor that is not there"),
                format!("Put it in quotes if it is a pattern: `\"{word}\"`; or write the anchor before it."),
            )
        }
        said if said.contains("mapping values are not allowed") => (
            "a second `: ` stands in this line, or the line is indented differently from its neighbours".to_owned(),
            match value(line) {
                Some((key, value)) => format!(
                    "Put the value in quotes: `{}`; or indent the line as those around it.",
                    excerpt(&format!("{key}: \"{value}\""))
                ),
                None => "Indent the line as those around it, with two spaces for each level.".to_owned(),
            },
        ),
        said if said.contains("unexpected character") || said.contains("cannot start any token") => (
            format!("{said}, which no plain value may begin with"),
            quoted(line),
        ),
        said if said.contains("simple key expect") || said.contains("expected ':'") || said.contains("simple key") => (
            "a line without `: ` stands among keys".to_owned(),
            match line.trim() {
                "" => "Look at the line above it: a key needs `: ` and its value behind it.".to_owned(),
                word => format!(
                    "Write `{}: ` and the value behind it, or remove the line.",
                    excerpt(word.trim_end_matches(':'))
                ),
            },
        ),
        said if said.contains("unexpected end") || said.contains("unexpected eof") || said.contains("end of stream") => (
            "a quote or a bracket is opened and never closed".to_owned(),
            "Add the closing quote or bracket at the end of the value that begins here.".to_owned(),
        ),
        said if said.contains("flow") || said.contains("',' or") => (
            "a list in brackets or a map in braces is not complete".to_owned(),
            "Add the missing comma or the closing bracket; a value that begins with `[` or `{` and is a text needs quotes."
                .to_owned(),
        ),
        said if said.contains("indent") || said.contains("block mapping") || said.contains("block sequence")
            || said.contains("block collection") || said.contains("'-' indicator") => (
            "the line is indented differently from its neighbours".to_owned(),
            indented(text, place.line),
        ),
        said => (said.to_owned(), quoted(line)),
    };
    Problem::of_file(place, reason, fix)
}

/// Returns the problem of a name that is no plain word.
pub(super) fn of_name(text: &str, place: Place, reason: String) -> Problem {
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let fix = if line.contains("{{") {
        format!("A value that begins with `{{{{` needs quotes. {}", quoted(line))
    } else {
        "Write the name as a plain word, as in `name: value`; put a text that holds brackets in quotes.".to_owned()
    };
    Problem::of_file(place, reason, fix)
}

/// Returns the problem of a tab in the indentation, of this line or of the one before it; of the one behind it, too, when
/// a value was being read and a tab is what ended it.
fn tab(text: &str, place: &Place, said: &str) -> Option<(Place, Problem)> {
    let behind = usize::from(said.contains("found a tab"));
    let upto = (place.line + behind).min(text.lines().count());
    let (line, column) = (1..=upto).rev().take(2 + behind).find_map(|number| {
        let line = text.lines().nth(number - 1)?;
        let indentation = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        Some((number, indentation.find('\t')? + 1))
    })?;
    let place = Place { line, column, ..place.clone() };
    let fix = "Write two spaces for each level in place of the tab.".to_owned();
    Some((place.clone(), Problem::of_file(place, "a tab stands in the indentation, where YAML takes spaces only", fix)))
}

/// Returns the problem of a quote or bracket that is opened up to here and never closed.
fn open(text: &str, place: &Place) -> Option<Problem> {
    let mut opened: Vec<(char, usize, usize)> = Vec::new();
    let mut quote: Option<(char, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        // A quote is one only where a value begins; an apostrophe within a word is none.
        let mut begins = true;
        let mut escaped = false;
        for (column, letter) in line.chars().enumerate() {
            let here = (letter, number + 1, column + 1);
            match (quote, letter) {
                (Some(('"', ..)), '\\') => escaped = !escaped,
                (Some((mark, ..)), letter) if letter == mark && !escaped => quote = None,
                (Some(_), _) => escaped = false,
                (None, '#') if begins => break,
                (None, '"' | '\'') if begins => quote = Some(here),
                (None, '[' | '{') if begins || !opened.is_empty() => opened.push(here),
                (None, ']' | '}') => drop(opened.pop()),
                (None, _) => {}
            }
            begins = letter.is_whitespace() || "[{,".contains(letter);
        }
    }
    let (mark, line, column) = quote.or(opened.first().copied()).filter(|(_, line, _)| *line <= place.line)?;
    let (name, close) = match mark {
        '[' => ("bracket", ']'),
        '{' => ("brace", '}'),
        mark => ("quote", mark),
    };
    let written = text.lines().nth(line - 1).unwrap_or_default();
    Some(Problem::of_file(
        Place { line, column, ..place.clone() },
        format!("this {name} is never closed"),
        match excerpt(written.trim()) {
            whole if whole == written.trim() => format!("Write `{whole}{close}`."),
            part => format!("Write `{close}` at the end of `{part}`."),
        },
    ))
}

/// Returns how a line is to be indented: as the last one that says something before it.
fn indented(text: &str, line: usize) -> String {
    let before = text.lines().take(line.saturating_sub(1)).filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let spaces = before.last().map_or(0, |line| line.len() - line.trim_start().len());
    let said = excerpt(text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim());
    let spaces = match spaces {
        0 => "no space".to_owned(),
        1 => "1 space".to_owned(),
        spaces => format!("{spaces} spaces"),
    };
    format!("Begin the line with {spaces}, as the one above it, if `{said}` belongs beside that.")
}

/// Returns what is shown of a line: so much of it as one reads, and no value of a key that names a secret.
fn excerpt(line: &str) -> String {
    if let Some((key, _)) = line.split_once(": ") {
        let name = key.to_ascii_lowercase();
        if ["key", "token", "secret", "pass", "auth", "credential"].iter().any(|word| name.contains(word)) {
            return format!("{key}: …");
        }
    }
    let mut letters = line.chars();
    let shown: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() { shown + "…" } else { shown }
}

fn from(line: &str, column: usize) -> &str {
    line.char_indices().nth(column.saturating_sub(1)).map_or("", |(at, _)| &line[at..])
}

/// Returns the first key of a line and all that follows it.
fn value(line: &str) -> Option<(&str, String)> {
    let (key, value) = line.trim_start().split_once(": ")?;
    (!value.trim().is_empty()).then(|| (key, value.trim().replace('\\', "\\\\").replace('"', "\\\"")))
}

fn quoted(line: &str) -> String {
    if let Some((key, value)) = value(line) {
        return format!("Put the value in quotes: `{}`.", excerpt(&format!("{key}: \"{value}\"")));
    }
    match line.trim_start().strip_prefix("- ") {
        Some(item) => {
            format!("Put it in quotes: `{}`.", excerpt(&format!("- \"{}\"", item.trim().replace('"', "\\\""))))
        }
        None => "Put the value in quotes.".to_owned(),
    }
}
