//! Reads ignore patterns as git does where the matching library reads them differently.
//!
//! One difference is left: in `a**/b` git drops the literal `a` first and then takes `**/` for any number of
//! folders, where its documentation says that such asterisks are ordinary ones. Here they are.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use protocol::editor::SyncProblem;

/// Patterns that are being collected, and what is wrong with some of them.
pub(super) struct Patterns {
    builder: GitignoreBuilder,
    problems: Vec<SyncProblem>,
}

impl Default for Patterns {
    fn default() -> Self {
        let mut builder = GitignoreBuilder::new("");
        // For git an unclosed class matches nothing; taken literally it would hide files.
        builder.allow_unclosed_class(false);
        Self { builder, problems: Vec::new() }
    }
}

impl Patterns {
    /// Returns the patterns of a rule file's text.
    pub(super) fn of_file(shown: &str, text: &str) -> Self {
        let mut patterns = Self::default();
        for (index, line) in text.trim_start_matches('\u{feff}').split('\n').enumerate() {
            patterns.add(shown, index + 1, line.strip_suffix('\r').unwrap_or(line));
        }
        patterns
    }

    /// Adds one line of `source`; a malformed one becomes a problem. Line 0 stands for the command line.
    pub(super) fn add(&mut self, source: &str, line: usize, text: &str) {
        let Some(pattern) = translated(text) else { return };
        if let Err(error) = self.builder.add_line(None, &pattern) {
            let place = if line == 0 { String::new() } else { format!("line {line}: ") };
            let reason = format!("{place}the pattern `{text}` is skipped: {error}; correct or remove it");
            self.problems.push(SyncProblem { path: source.to_owned(), reason });
        }
    }

    /// Returns the matcher and the problems.
    pub(super) fn build(mut self) -> (Gitignore, Vec<SyncProblem>) {
        let rules = self.builder.build().unwrap_or_else(|error| {
            let reason = format!("the patterns cannot be used together: {error}; remove the longest ones");
            self.problems.push(SyncProblem { path: String::new(), reason });
            Gitignore::empty()
        });
        (rules, self.problems)
    }
}

/// Returns why a pattern cannot be read, if so.
pub(super) fn check(text: &str) -> Result<(), ignore::Error> {
    let Patterns { mut builder, .. } = Patterns::default();
    if let Some(pattern) = translated(text) {
        builder.add_line(None, &pattern)?;
    }
    builder.build().map(drop)
}

/// Returns a line as the library has to see it; `None` when git takes no pattern from it.
fn translated(line: &str) -> Option<String> {
    let line = trimmed(line);
    let bare = line.strip_prefix('!').unwrap_or(line);
    // A lone `!` re-includes everything in the library and nothing in git.
    if line.starts_with('#') || bare.is_empty() || bare.chars().all(|letter| letter == '/') {
        return None;
    }
    let mut pattern = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                pattern.push(letter);
                pattern.extend(letters.next());
            }
            // Braces mean alternatives to the library and nothing to git.
            '{' | '}' => pattern.extend(['\\', letter]),
            '[' => {
                pattern.push(letter);
                let class = take_class(&mut letters);
                pattern.push_str(&class);
            }
            _ => pattern.push(letter),
        }
    }
    Some(pattern)
}

/// Takes the rest of a character class with POSIX names spelt out.
fn take_class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut class = String::new();
    if let Some(negation) = letters.next_if(|letter| matches!(letter, '!' | '^')) {
        class.push(negation);
    }
    class.extend(letters.next_if_eq(&']'));
    while let Some(letter) = letters.next() {
        if letter == '[' && letters.peek() == Some(&':') {
            let rest: String = letters.clone().collect();
            if let Some((range, length)) = named_class(&rest) {
                class.push_str(range);
                letters.nth(length - 1);
                continue;
            }
        }
        class.push(letter);
        if letter == ']' {
            break;
        }
    }
    class
}

/// Returns the range of the class name that `rest` opens with (`:digit:]`), and its length in characters.
fn named_class(rest: &str) -> Option<(&'static str, usize)> {
    let (name, _) = rest.strip_prefix(':')?.split_once(":]")?;
    let range = match name {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "blank" => " \t",
        "digit" => "0-9",
        "lower" => "a-z",
        "space" => " \t\r\n\u{b}\u{c}",
        "upper" => "A-Z",
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    };
    Some((range, name.len() + 3))
}

/// Removes trailing spaces that are not escaped.
fn trimmed(line: &str) -> &str {
    let bare = line.trim_end_matches(' ');
    let escaped = bare.chars().rev().take_while(|letter| *letter == '\\').count() % 2 == 1;
    if escaped && bare.len() < line.len() { line.get(..=bare.len()).unwrap_or(line) } else { bare }
}

/// Returns patterns of the folders that may hold what `pattern` matches.
pub(super) fn prefixes(pattern: &str) -> Vec<String> {
    let anchored = pattern.trim_end_matches('/');
    let has_slash = anchored.contains('/');
    let names: Vec<&str> = anchored.trim_start_matches('/').split('/').collect();
    if !has_slash {
        return vec!["*".to_owned()];
    }
    let mut found = Vec::new();
    let mut prefix = String::new();
    for name in names.iter().take(names.len() - 1) {
        if *name == "**" {
            found.push(if prefix.is_empty() { "*".to_owned() } else { format!("{prefix}/**") });
            break;
        }
        prefix = format!("{prefix}/{name}");
        found.push(format!("{prefix}/"));
    }
    found
}
