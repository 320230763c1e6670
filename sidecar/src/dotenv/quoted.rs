//! Quoted values: where they end, and what their escapes mean.

/// Returns what stands between the quotes at the begin of `text`, and how many bytes the whole takes; `None` when the
/// second quote is missing.
///
/// Only the escape of the quote itself is read.
pub(super) fn unquote(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
            if letter != quote {
                value.push('\\');
            }
            value.push(letter);
        } else if letter == quote {
            return Some((value, at + quote.len_utf8()));
        } else if letter == '\\' {
            is_escaped = true;
        } else {
            value.push(letter);
        }
    }
    None
}

/// Reads the escapes of double quotes; one that is not known stays as it is.
///
/// `\$` becomes `$$`, which is a dollar for what replaces variables afterwards.
pub(super) fn unescape(text: &str) -> String {
    let mut value = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (meaning, length) = match rest.chars().next() {
            Some('a') => ("\u{7}".to_owned(), 1),
            Some('b') => ("\u{8}".to_owned(), 1),
            Some('f') => ("\u{c}".to_owned(), 1),
            Some('n') => ("\n".to_owned(), 1),
            Some('r') => ("\r".to_owned(), 1),
            Some('t') => ("\t".to_owned(), 1),
            Some('v') => ("\u{b}".to_owned(), 1),
            Some('"') => ("\"".to_owned(), 1),
            Some('\\') => ("\\".to_owned(), 1),
            Some('$') => ("$$".to_owned(), 1),
            Some('0') => octal(rest).map_or(("\\".to_owned(), 0), |letter| (letter.to_string(), 4)),
            Some(_) | None => ("\\".to_owned(), 0),
        };
        value.push_str(&meaning);
        rest = &rest[length..];
    }
    value + rest
}

/// Returns the character of `0NNN`, three octal digits of at most 377.
fn octal(text: &str) -> Option<char> {
    let digits = text.get(1..4)?;
    let is_octal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    is_octal.then(|| u8::from_str_radix(digits, 8).ok()).flatten().map(char::from)
}
