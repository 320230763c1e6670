//! What the configuration holds for one host, keyword by keyword, and the reading of it from the output of `ssh -G`.

use std::collections::BTreeMap;

/// The values of one host by keyword in lower case, each as it stands in the file: tokens are not expanded. Keywords
/// that take a list have one entry for each item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values(BTreeMap<String, Vec<String>>);

/// Keywords whose one line holds several paths.
pub(super) const PATH_LISTS: [&str; 3] = ["globalknownhostsfile", "revokedhostkeys", "userknownhostsfile"];

impl Values {
    /// Returns the first value of a keyword.
    pub(super) fn first(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword)?.first().map(String::as_str)
    }

    /// Returns every value of a keyword.
    pub(super) fn all(&self, keyword: &str) -> &[String] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    /// Returns whether a keyword has a value.
    pub(super) fn has(&self, keyword: &str) -> bool {
        self.0.contains_key(keyword)
    }

    /// Returns whether a switch is on, `None` when it has no value that is understood.
    pub(super) fn is_on(&self, keyword: &str) -> Option<bool> {
        match self.first(keyword)?.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => Some(true),
            "no" | "false" | "off" => Some(false),
            _ => None,
        }
    }

    /// Gives a keyword its values unless it has some: the first one wins.
    pub(super) fn set(&mut self, keyword: &str, values: Vec<String>) {
        self.0.entry(keyword.to_owned()).or_insert(values);
    }

    /// Gives a keyword its value whatever it has.
    pub(super) fn replace(&mut self, keyword: &str, value: String) {
        self.0.insert(keyword.to_owned(), vec![value]);
    }

    /// Adds a value to those of a keyword, unless it is one of them.
    pub(super) fn add(&mut self, keyword: &str, value: String) {
        let values = self.0.entry(keyword.to_owned()).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// Reads the output of `ssh -G`: a line for each value, the keyword in lower case first.
    pub(super) fn parse(output: &str) -> Self {
        let mut values = Self::default();
        for (keyword, value) in output.lines().filter_map(|line| line.trim_end_matches('\r').split_once(' ')) {
            if PATH_LISTS.contains(&keyword) {
                values.set(keyword, paths(value));
            } else {
                values.add(keyword, value.to_owned());
            }
        }
        values
    }
}

/// Takes apart paths that `ssh` printed with spaces between them and without quotes: a word that cannot begin a path
/// belongs to the one before.
fn paths(text: &str) -> Vec<String> {
    let begins = |word: &str| {
        word.starts_with(['/', '~', '$', '%', '\\']) || word.get(1..3).is_some_and(|rest| rest == ":\\" || rest == ":/")
    };
    let mut paths: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match paths.last_mut() {
            Some(last) if !begins(word) => {
                last.push(' ');
                last.push_str(word);
            }
            Some(_) | None => paths.push(word.to_owned()),
        }
    }
    paths
}

/// Returns the seconds of a time as `ssh_config(5)` has it: `90`, `1m30s`, `2h`; `None` for what is none.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next();
        let factor = match unit.map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 60 * 60,
            Some('d') => 24 * 60 * 60,
            Some('w') => 7 * 24 * 60 * 60,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[digits + usize::from(unit.is_some())..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_ssh_is_read_line_by_line() {
        let values = Values::parse(
            "user ada\nhostname gpu.lab\nport 2222\nidentityfile ~/.ssh/a b\nidentityfile ~/.ssh/c\nidentityfile ~/.ssh/c\r\n\
             proxycommand nc  %h %p # x\npermitremoteopen any\ngatewayports no\nbroken\n\
             userknownhostsfile ~/.ssh/known_hosts /Users/ada/Library/Application Support/known /x C:\\a b\\c\n",
        );
        assert_eq!(values.first("user"), Some("ada"));
        assert_eq!(values.all("identityfile"), ["~/.ssh/a b", "~/.ssh/c"]);
        assert_eq!(values.first("proxycommand"), Some("nc  %h %p # x"));
        assert_eq!(
            values.all("userknownhostsfile"),
            ["~/.ssh/known_hosts", "/Users/ada/Library/Application Support/known", "/x", "C:\\a b\\c"]
        );
        assert_eq!(
            (values.is_on("gatewayports"), values.is_on("port"), values.is_on("none")),
            (Some(false), None, None)
        );
        assert!(!values.has("broken"));
    }

    #[test]
    fn times_are_seconds() {
        for (text, value) in
            [("7", Some(7)), ("1m30s", Some(90)), ("2H", Some(7200)), ("1w1d", Some(691_200)), ("0", Some(0))]
        {
            assert_eq!(seconds(text), value, "{text}");
        }
        for text in ["", "none", "-1", "5x", "m", "99999999999999999999", "9999999999999999w", "5ü"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
