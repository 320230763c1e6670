//! Pure: one value of a file's text, changed; everything else stays as it is, byte for byte. What comes out is read again
//! before it is given out, so that an odd file is refused and never spoilt.

use std::ops::Range;

use super::place::{Place, Source};
use super::problem::Problem;
use super::spelling;
use super::tree::{self, Entry, Node, Value};
use super::write;

/// Returns `text` with `key` set to `value`. The key is set in the spelling that the file has.
pub fn set(text: &str, source: &Source, key: &str, value: &Node) -> Result<String, Vec<Problem>> {
    let parsed = tree::parse(text, source);
    let Some(root) = parsed.root.filter(|_| parsed.problems.is_empty()) else { return Err(parsed.problems) };
    let spelled = spellings(key).into_iter().find(|key| root.at(key.split('.')).is_some());
    let path = spelled.unwrap_or_else(|| key.to_owned());
    let names: Vec<&str> = path.split('.').collect();
    let letters: Vec<char> = text.chars().collect();
    let edited = edit(&letters, &root, &names, value).map(|(range, new)| {
        let before: String = letters[..range.start].iter().collect();
        let after: String = letters[range.end..].iter().collect();
        format!("{before}{new}{after}")
    });
    match edited {
        Some(edited) if is_meant(&root, &edited, source, &names, value) => Ok(edited),
        _ => {
            let place =
                root.at(names.iter().copied()).map_or_else(|| Place::whole(source.clone()), |node| node.place.clone());
            let fix = format!("Write `{}: {}` there yourself.", path, write::inline(value));
            let reason = format!("`{path}` stands where it cannot be changed without changing something else");
            Err(vec![Problem { place, key: path, reason, fix }])
        }
    }
}

/// Returns a key and its other spellings.
fn spellings(key: &str) -> Vec<String> {
    let mut all = vec![key.to_owned()];
    for (alias, canonical) in spelling::KEYS {
        if let Some(rest) = key.strip_prefix(canonical).filter(|rest| rest.is_empty() || rest.starts_with('.')) {
            all.push(format!("{alias}{rest}"));
        }
    }
    all
}

/// Returns whether the edited text says the same as before, but for the one value.
fn is_meant(root: &Node, edited: &str, source: &Source, names: &[&str], value: &Node) -> bool {
    let Some(now) = tree::parse(edited, source).root else { return false };
    let mut wanted = root.clone();
    super::layers::insert(&mut wanted, names, value.clone());
    // Maps of JSON are equal whatever their order.
    write::json(&now) == write::json(&wanted)
}

/// Returns which letters to replace, and by what.
fn edit(letters: &[char], root: &Node, names: &[&str], value: &Node) -> Option<(Range<usize>, String)> {
    let mut node = root;
    let mut entry: Option<&Entry> = None;
    for (at, name) in names.iter().enumerate() {
        // What a `<<` or an anchor brought along is written elsewhere.
        let own = node.entries().iter().find(|entry| entry.name == *name && within(node, &entry.span, root));
        match own {
            Some(found) => {
                entry = Some(found);
                node = &found.node;
            }
            None => return add(letters, node, entry, &names[at..], value),
        }
    }
    replace(letters, entry?, value)
}

fn within(parent: &Node, span: &Range<usize>, root: &Node) -> bool {
    std::ptr::eq(parent, root) || !span.is_empty() && parent.span.start <= span.start && span.end <= parent.span.end
}

fn replace(letters: &[char], entry: &Entry, value: &Node) -> Option<(Range<usize>, String)> {
    let new = write::inline(value);
    let colon = colon(letters, entry)?;
    let span = &entry.node.span;
    if is_flow(letters, &entry.node) || !is_block(&entry.node) && span.start < span.end {
        return Some((span.start..ends(letters, &entry.node), new));
    }
    // Nothing stands there, or a block that ends with the last of what is in it.
    let end = if is_block(&entry.node) { trimmed(letters, last(letters, &entry.node)?) } else { colon + 1 };
    Some((colon + 1..end, format!(" {new}")))
}

/// Returns where the colon behind a name is.
fn colon(letters: &[char], entry: &Entry) -> Option<usize> {
    let after = letters.get(entry.span.end..)?;
    // A quoted name ends with its quote, which may not be counted to it.
    let at = after.iter().position(|letter| *letter == ':')?;
    let between = &after[..at];
    between.iter().all(|letter| letter.is_whitespace() || "\"'".contains(*letter)).then_some(entry.span.end + at)
}

fn is_block(node: &Node) -> bool {
    matches!(node.value, Value::List(_) | Value::Map(_))
}

fn is_flow(letters: &[char], node: &Node) -> bool {
    is_block(node) && matches!(letters.get(node.span.start), Some('[' | '{' | '*'))
}

/// Returns an end without the space and the ends of lines before it: a text of several lines is counted with them.
fn trimmed(letters: &[char], end: usize) -> usize {
    let before = letters.get(..end.min(letters.len())).unwrap_or_default();
    before.iter().rposition(|letter| !letter.is_whitespace()).map_or(0, |last| last + 1)
}

/// Returns where a value ends that is no block. What the parser counts to a quoted text may be more than its quotes.
fn ends(letters: &[char], node: &Node) -> usize {
    let quote = letters.get(node.span.start).copied().filter(|letter| matches!(letter, '"' | '\''));
    let Some(quote) = quote.filter(|_| !is_block(node)) else { return trimmed(letters, node.span.end) };
    let mut at = node.span.start + 1;
    while let Some(letter) = letters.get(at).copied() {
        let next = letters.get(at + 1).copied();
        match (quote, letter) {
            ('"', '\\') => at += 2,
            ('\'', '\'') if next == Some('\'') => at += 2,
            (_, letter) if letter == quote => return at + 1,
            _ => at += 1,
        }
    }
    trimmed(letters, node.span.end)
}

/// Returns the end of the last letter that a value holds.
fn last(letters: &[char], node: &Node) -> Option<usize> {
    let inner = match &node.value {
        _ if is_flow(letters, node) => None,
        Value::List(items) => items.iter().filter_map(|item| last(letters, item)).max(),
        Value::Map(entries) => {
            let ends = entries.iter().filter(|entry| entry.span.start >= node.span.start);
            ends.filter_map(|entry| last(letters, &entry.node).max(Some(entry.span.end))).max()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
    };
    inner.or_else(|| (node.span.end > 0).then(|| ends(letters, node)))
}

/// Adds names that are not there to the map `node`, which stands at `entry`; at the top there is none.
fn add(
    letters: &[char],
    node: &Node,
    entry: Option<&Entry>,
    names: &[&str],
    value: &Node,
) -> Option<(Range<usize>, String)> {
    if is_flow(letters, node) {
        return add_in_braces(letters, node, names, value);
    }
    let (column, after) = match (&node.value, entry) {
        (Value::Map(_), None) => {
            // At the end of the file, so that comments stay with what they are about.
            return Some((letters.len()..letters.len(), added(letters, letters.len(), 0, names, value)));
        }
        (Value::Map(entries), Some(_)) if !entries.is_empty() => {
            let own = entries.iter().filter(|entry| entry.span.start >= node.span.start);
            let first = own.clone().next()?;
            (
                first.place.column - 1,
                own.filter_map(|entry| last(letters, &entry.node).max(Some(entry.span.end))).max()?,
            )
        }
        // A name with nothing behind it, or a text that is no map.
        (Value::Null, Some(entry)) => (entry.place.column + 1, colon(letters, entry)? + 1),
        (Value::Map(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_), _) => {
            return None;
        }
    };
    let after = trimmed(letters, after);
    let rest = &letters[after..];
    let at = after + rest.iter().position(|letter| *letter == '\n').map_or(rest.len(), |end| end + 1);
    Some((at..at, added(letters, at, column, names, value)))
}

/// Returns the lines that say names, the last one with its value, for the line that begins at `at`.
fn added(letters: &[char], at: usize, column: usize, names: &[&str], value: &Node) -> String {
    let is_open = at > 0 && letters.get(at - 1) != Some(&'\n');
    let end = if letters.windows(2).any(|two| two == ['\r', '\n']) { "\r\n" } else { "\n" };
    let mut new = if is_open { end.to_owned() } else { String::new() };
    for (depth, name) in names.iter().enumerate() {
        let is_last = depth + 1 == names.len();
        let said = if is_last { format!(" {}", write::inline(value)) } else { String::new() };
        let (indent, name) = (" ".repeat(column + 2 * depth), write::scalar(name));
        new.extend([indent.as_str(), &name, ":", &said, end]);
    }
    new
}

fn add_in_braces(letters: &[char], node: &Node, names: &[&str], value: &Node) -> Option<(Range<usize>, String)> {
    let Value::Map(entries) = &node.value else { return None };
    if letters.get(node.span.start) != Some(&'{') {
        return None;
    }
    let (last_name, outer) = names.split_last()?;
    let mut new = format!("{}: {}", write::scalar(last_name), write::inline(value));
    for name in outer.iter().rev() {
        new = format!("{}: {{{new}}}", write::scalar(name));
    }
    // The brace that closes it.
    let close = letters[..node.span.end.min(letters.len())].iter().rposition(|letter| *letter == '}')?;
    let at = trimmed(letters, close);
    let is_empty = entries.is_empty() && letters.get(at - 1) == Some(&'{');
    Some((at..at, if is_empty || letters.get(at - 1) == Some(&',') { new } else { format!(", {new}") }))
}
