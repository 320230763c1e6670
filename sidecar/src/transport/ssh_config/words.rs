//! One line of a configuration: its keyword and its words, quoted as `ssh_config(5)` has it.

/// What stands between words.
const BLANK: [char; 3] = [' ', '\t', '\r'];

/// Returns the keyword in lower case and the rest of the line, or `None` for an empty line or a comment.
pub(super) fn keyword(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start_matches(BLANK).trim_end_matches([' ', '\t', '\r', '\n', '\x0c']);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c| BLANK.contains(&c) || c == '=').unwrap_or(line.len());
    let rest = line[end..].trim_start_matches(BLANK);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches(BLANK);
    Some((line[..end].trim_matches('"').to_lowercase(), rest))
}

/// Returns the words of a line's rest up to a comment, or `None` when a quote is not closed.
pub(super) fn words(rest: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut letters = rest.chars().peekable();
    loop {
        while letters.next_if(|letter| BLANK.contains(letter)).is_some() {}
        match letters.peek() {
            None | Some('#') => return Some(words),
            Some(_) => words.push(word(&mut letters)?),
        }
    }
}

fn word(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => {
                let escapes = |next: &char| matches!(next, '\'' | '"' | '\\') || quote.is_none() && *next == ' ';
                word.push(letters.next_if(escapes).unwrap_or('\\'));
            }
            ('\'' | '"', None) => quote = Some(letter),
            (_, Some(open)) if open == letter => quote = None,
            (_, None) if BLANK.contains(&letter) => return Some(word),
            (_, Some(_) | None) => word.push(letter),
        }
    }
    quote.is_none().then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_keyword_and_words() {
        let read = |line| keyword(line).map(|(keyword, rest)| (keyword, words(rest)));
        let some = |keyword: &str, words: &[&str]| {
            Some((keyword.to_owned(), Some(words.iter().map(|word| (*word).to_owned()).collect())))
        };
        assert_eq!(read("  Host a  b # c"), some("host", &["a", "b"]));
        assert_eq!(read("HostName=gpu.lab"), some("hostname", &["gpu.lab"]));
        assert_eq!(read("Port = 22\r"), some("port", &["22"]));
        assert_eq!(
            read("IdentityFile \"/a b/c\" '/d e' f\\ g \\\\h"),
            some("identityfile", &["/a b/c", "/d e", "f g", "\\h"])
        );
        assert_eq!(read("X a\"b c\"d"), some("x", &["ab cd"]));
        assert_eq!(read("User \"\""), some("user", &[""]));
        assert_eq!(read("User a#b"), some("user", &["a#b"]));
        assert_eq!(read("User"), some("user", &[]));
        assert_eq!(read("User \"a"), Some(("user".to_owned(), None)));
        assert_eq!((read(""), read("  # x")), (None, None));
    }

    #[test]
    fn the_rest_of_a_command_is_left_alone() {
        let (_, rest) = keyword("ProxyCommand=nc  \"%h\" %p # x").expect("a line");
        assert_eq!(rest, "nc  \"%h\" %p # x");
    }
}
