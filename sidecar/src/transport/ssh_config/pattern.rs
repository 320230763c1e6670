//! The patterns of `ssh_config(5)`: `*`, `?`, lists and negation.

/// Returns whether `text` matches `pattern`, in which `*` stands for any characters and `?` for one.
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: it takes one character more.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(place) {
            Some('*') => {
                place += 1;
                retry = Some((at, place));
            }
            Some(&letter) if letter == '?' || letter == text[at] => {
                at += 1;
                place += 1;
            }
            Some(_) | None => match &mut retry {
                Some((from, after)) => {
                    *from += 1;
                    (at, place) = (*from, *after);
                }
                None => return false,
            },
        }
    }
    pattern[place..].iter().all(|letter| *letter == '*')
}

/// Returns whether `text` matches one of `patterns` and none that begins with `!`.
pub(super) fn matches_any<'a>(text: &str, patterns: impl IntoIterator<Item = &'a str>) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(text, negated) => return false,
            Some(_) => {}
            None => found |= matches(text, pattern),
        }
    }
    found
}

/// Returns whether a pattern is a plain name.
pub(super) fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '!'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_marks_match_as_in_ssh() {
        for (text, pattern) in [
            ("a.b.c", "*.c"),
            ("a.b.c", "a*c"),
            ("abc", "a?c"),
            ("abc", "*"),
            ("", "*"),
            ("aXbXc", "*X*c"),
            ("a", "a**"),
        ] {
            assert!(matches(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [("abc", "a?"), ("abc", "ab"), ("", "?"), ("A", "a"), ("a.b", "*.c"), ("abc", "")] {
            assert!(!matches(text, pattern), "{text} {pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"a".repeat(2000), &"*a".repeat(500).replace("a*", "a*b")));
    }

    #[test]
    fn one_negation_outweighs_all() {
        assert!(matches_any("x.lab", ["*.lab", "!y.lab"]));
        assert!(!matches_any("y.lab", ["*.lab", "!y.lab"]));
        assert!(!matches_any("z", ["!y.lab"]));
    }
}
