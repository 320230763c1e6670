//! Pure: `$NAME` and `${NAME…}` in the values of a file.

use super::Wrong;

type Known<'k> = &'k dyn Fn(&str) -> Option<String>;

/// Expands a value that stood without quotes.
pub(super) fn plain(text: &str, known: Known<'_>) -> Result<String, Wrong> {
    expand(text, known, false)
}

/// Expands a value that stood in double quotes.
pub(super) fn double_quoted(text: &str, known: Known<'_>) -> Result<String, Wrong> {
    expand(text, known, true)
}

fn expand(text: &str, known: Known<'_>, escapes: bool) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\\' if escapes => {
                let next = rest.chars().next();
                rest = &rest[next.map_or(0, char::len_utf8)..];
                match next {
                    Some('n') => out.push('\n'),
                    Some('r') => out.push('\r'),
                    Some('t') => out.push('\t'),
                    Some(other @ ('"' | '\\' | '$')) => out.push(other),
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                }
            }
            '$' => rest = variable(rest, &mut out, known)?,
            letter => out.push(letter),
        }
    }
    Ok(out)
}

/// Expands what follows a `$`; returns what follows that.
fn variable<'t>(text: &'t str, out: &mut String, known: Known<'_>) -> Result<&'t str, Wrong> {
    if let Some(rest) = text.strip_prefix('$') {
        out.push('$');
        return Ok(rest);
    }
    if let Some(inner) = text.strip_prefix('{') {
        let Some(end) = matching(inner) else {
            let fix = "Add the closing `}`, or write `$$` for a `$` that is meant literally.";
            return Err(("a `${` is never closed".to_owned(), fix.to_owned()));
        };
        out.push_str(&braced(&inner[..end], known)?);
        return Ok(&inner[end + 1..]);
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    let name = &text[..end];
    if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        out.push('$');
        return Ok(text);
    }
    out.push_str(&known(name).unwrap_or_default());
    Ok(&text[end..])
}

/// Returns where the brace is closed that was opened before `text`.
fn matching(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(at, letter)| match letter {
        '{' => {
            depth += 1;
            None
        }
        '}' if depth == 0 => Some(at),
        '}' => {
            depth -= 1;
            None
        }
        _ => None,
    })
}

fn braced(text: &str, known: Known<'_>) -> Result<String, Wrong> {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let value = known(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    let otherwise = |rest: &str| expand(rest, known, false);
    let missing = |text: &str| {
        let reason = format!("`{name}` is not set: {text}");
        (reason, format!("Set `{name}` in the environment, or above this line."))
    };
    if let Some(rest) = rest.strip_prefix(":-") {
        filled.map_or_else(|| otherwise(rest), Ok)
    } else if let Some(rest) = rest.strip_prefix('-') {
        value.map_or_else(|| otherwise(rest), Ok)
    } else if let Some(rest) = rest.strip_prefix(":+") {
        if filled.is_some() { otherwise(rest) } else { Ok(String::new()) }
    } else if let Some(rest) = rest.strip_prefix('+') {
        if value.is_some() { otherwise(rest) } else { Ok(String::new()) }
    } else if let Some(rest) = rest.strip_prefix(":?") {
        filled.ok_or_else(|| missing(rest))
    } else if let Some(rest) = rest.strip_prefix('?') {
        value.ok_or_else(|| missing(rest))
    } else if rest.is_empty() && !name.is_empty() {
        Ok(value.unwrap_or_default())
    } else {
        let fix = "Write `${NAME}`, `${NAME:-default}`, or `$$` for a `$` that is meant literally.";
        Err((format!("`${{{text}}}` is no reference to a variable"), fix.to_owned()))
    }
}
