//! Pure: the patterns of file names after `Include`, as `glob(7)` has them.

/// Returns whether a name of a path stands for others.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// Returns whether a file name matches a pattern of `*`, `?`, `[a-z]` and `[!a-z]`; a bracket that is not closed stands
/// for itself.
pub(super) fn matches(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: it takes one character more.
    let mut retry = None;
    while at < name.len() {
        if pattern.get(place) == Some(&'*') {
            place += 1;
            retry = Some((at, place));
        } else if let Some(length) = fits(name[at], &pattern[place..]) {
            at += 1;
            place += length;
        } else if let Some((from, after)) = &mut retry {
            *from += 1;
            (at, place) = (*from, *after);
        } else {
            return false;
        }
    }
    pattern[place..].iter().all(|letter| *letter == '*')
}

/// Returns how much of the pattern's beginning stands for the letter, `None` when it stands for others.
fn fits(letter: char, pattern: &[char]) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', rest @ ..] => {
            let negated = rest.first().is_some_and(|sign| matches!(sign, '!' | '^'));
            let members = &rest[usize::from(negated)..];
            // A bracket right at the beginning is a member.
            let Some(end) = members.iter().skip(1).position(|sign| *sign == ']').map(|at| at + 1) else {
                return (letter == '[').then_some(1);
            };
            let length = 1 + usize::from(negated) + end + 1;
            (holds(&members[..end], letter) != negated).then_some(length)
        }
        [one, ..] if *one == letter => Some(1),
        [_, ..] | [] => None,
    }
}

fn holds(mut members: &[char], letter: char) -> bool {
    loop {
        match members {
            [first, '-', last, ..] => {
                if (*first..=*last).contains(&letter) {
                    return true;
                }
                members = &members[3..];
            }
            [one, ..] => {
                if *one == letter {
                    return true;
                }
                members = &members[1..];
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (name, pattern) in [
            ("10.conf", "[12]*.conf"),
            ("a-b", "a[-x]b"),
            ("b", "[a-c]"),
            ("d", "[!a-c]"),
            ("]", "[]]"),
            ("x[1", "x[1"),
            ("a.conf", "*.conf"),
            ("abc", "a?c"),
        ] {
            assert!(matches(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in [("30.conf", "[12]*.conf"), ("d", "[a-c]"), ("b", "[^a-c]"), ("x1", "x[1"), ("", "?")] {
            assert!(!matches(name, pattern), "{name} {pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"a".repeat(2000), &"*[a]".repeat(500).replace("*[", "*b[")));
    }
}
