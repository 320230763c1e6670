//! Pure: the other spellings of keys, and which key a wrong one was likely meant to be.

use super::problem::Problem;
use super::schema::Document;
use super::setting::{Choice, Kind};
use super::tree::{Entry, Node, Value};
use super::units::{Form as _, Version};

/// Another spelling of a key, and the canonical one. Longer ones stand before those they begin with.
pub const KEYS: &[(&str, &str)] = &[
    ("environment.gpu_count", "environment.gpu.count"),
    ("auto_provision.enabled", "provision.auto"),
    ("auto_provision", "provision"),
    ("provision.enabled", "provision.auto"),
    ("hooks.on_sync_complete", "hooks.on_sync"),
    ("autostart", "editors.autostart"),
];

/// Another name of a plugin, and the canonical one.
pub const PLUGINS: &[(&str, &str)] = &[("wandb-integration", "wandb")];

/// Returns the canonical spelling of a key.
pub fn of_key(key: &str) -> String {
    for (alias, canonical) in KEYS {
        match key.strip_prefix(alias) {
            Some("") => return (*canonical).to_owned(),
            Some(rest) if rest.starts_with('.') => return format!("{canonical}{rest}"),
            Some(_) | None => {}
        }
    }
    key.to_owned()
}

/// Respells a file's tree: keys, choices, and texts that stand for the same. A key that stands in both spellings is
/// a problem, and the canonical one is kept.
pub fn canonical(root: Node, document: Document, problems: &mut Vec<Problem>) -> Node {
    let mut root = root;
    if document == Document::Project {
        for (alias, canonical) in KEYS {
            if let Some(entry) = take(&mut root, &alias.split('.').collect::<Vec<_>>()) {
                put(&mut root, entry, (alias, canonical), problems);
            }
        }
        words(&mut root, "plugins", PLUGINS);
        one_map(&mut root);
        version(&mut root);
    }
    for (key, field) in document.keys() {
        if let Kind::Choice(choices) = &field.kind {
            choice(&mut root, &key, choices);
        }
    }
    root
}

fn take(node: &mut Node, path: &[&str]) -> Option<Entry> {
    let Value::Map(entries) = &mut node.value else { return None };
    let (name, rest) = path.split_first()?;
    let at = entries.iter().position(|entry| entry.name == *name)?;
    if rest.is_empty() { Some(entries.remove(at)) } else { take(&mut entries.get_mut(at)?.node, rest) }
}

fn put(root: &mut Node, entry: Entry, (alias, canonical): (&str, &str), problems: &mut Vec<Problem>) {
    let mut node = root;
    let mut parts: Vec<&str> = canonical.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Value::Map(entries) = &mut node.value else { return };
        let at = entries.iter().position(|entry| entry.name == part).unwrap_or_else(|| {
            let place = entry.place.clone();
            let node = Node::new(Value::Map(Vec::new()), place.clone());
            entries.push(Entry { name: part.to_owned(), place, span: 0..0, node });
            entries.len() - 1
        });
        node = &mut entries[at].node;
    }
    let Value::Map(entries) = &mut node.value else { return };
    let Some(found) = entries.iter_mut().find(|found| found.name == last) else {
        entries.push(Entry { name: last.to_owned(), ..entry });
        return;
    };
    // A section may be written partly in the one spelling and partly in the other; a value may not.
    if let (Value::Map(into), Value::Map(from)) = (&mut found.node.value, &entry.node.value) {
        for entry in from {
            match into.iter().find(|found| found.name == entry.name) {
                Some(twice) => problems.push(both(
                    &format!("{alias}.{}", entry.name),
                    &format!("{canonical}.{}", entry.name),
                    entry,
                    twice,
                )),
                None => into.push(entry.clone()),
            }
        }
    } else {
        problems.push(both(alias, canonical, &entry, found));
    }
}

fn both(alias: &str, canonical: &str, entry: &Entry, found: &Entry) -> Problem {
    Problem {
        place: entry.place.clone(),
        key: alias.to_owned(),
        reason: format!(
            "`{alias}` is another spelling of `{canonical}`, which stands in line {} too",
            found.place.line
        ),
        fix: format!("Remove `{alias}`, or remove `{canonical}`."),
    }
}

/// Respells texts of a list.
fn words(root: &mut Node, name: &str, words: &[(&str, &str)]) {
    let Value::Map(entries) = &mut root.value else { return };
    let list = entries.iter_mut().find(|entry| entry.name == name).map(|entry| &mut entry.node.value);
    let Some(Value::List(items)) = list else { return };
    for item in items {
        if let Value::Text(text) = &mut item.value
            && let Some((_, canonical)) = words.iter().find(|(alias, _)| alias == text)
        {
            (*canonical).clone_into(text);
        }
    }
}

/// The version is a text, and easily written as the number that it looks like.
fn version(root: &mut Node) {
    if let Some(node) = at_mut(root, &["version"])
        && let Value::Number(text) = &node.value
        && let Ok(Version(version)) = Version::parse(text)
    {
        node.value = Value::Text(version);
    }
}

/// Makes one map of the list of maps that `watch.on_available` may be.
fn one_map(root: &mut Node) {
    let Some(node) = at_mut(root, &["watch", "on_available"]) else { return };
    let Value::List(items) = &node.value else { return };
    if !items.iter().all(|item| matches!(item.value, Value::Map(_))) {
        return;
    }
    let mut all: Vec<Entry> = Vec::new();
    for entry in items.iter().flat_map(Node::entries) {
        all.retain(|earlier| earlier.name != entry.name);
        all.push(entry.clone());
    }
    node.value = Value::Map(all);
}

fn at_mut<'n>(node: &'n mut Node, path: &[&str]) -> Option<&'n mut Node> {
    let Some((name, rest)) = path.split_first() else { return Some(node) };
    let Value::Map(entries) = &mut node.value else { return None };
    at_mut(&mut entries.iter_mut().find(|entry| entry.name == *name)?.node, rest)
}

fn choice(root: &mut Node, key: &str, choices: &[Choice]) {
    let Some(node) = at_mut(root, &key.split('.').collect::<Vec<_>>()) else { return };
    if let Value::Text(text) = &mut node.value
        && let Some(choice) = choices.iter().find(|choice| choice.aliases.contains(&text.as_str()))
    {
        choice.name.clone_into(text);
    }
}

/// Returns what to do about a name that no key has: the nearest key, where one of that name belongs, or what there is.
pub(super) fn instead(within: &[String], name: &str, known: &[&str]) -> String {
    let same = |candidate: &&&str| candidate.replace('_', "") == name.replace(['_', '-'], "").to_ascii_lowercase();
    let near = || crate::sessions::nearest(name, known.iter().map(|known| (*known).to_owned()));
    let begun = || known.iter().find(|known| name.len() > 3 && (known.starts_with(name) || name.starts_with(**known)));
    let nearest = known.iter().find(same).map(|known| (*known).to_owned()).or_else(near);
    if let Some(nearest) = nearest.or_else(|| begun().map(|known| (*known).to_owned())) {
        return format!("Write `{nearest}` in place of `{name}`.");
    }
    let here = if within.is_empty() { String::new() } else { format!("{}.", within.join(".")) };
    let keys = Document::Project.keys();
    let elsewhere =
        keys.iter().find(|(key, _)| key.rsplit('.').next() == Some(name) && *key != format!("{here}{name}"));
    match elsewhere {
        Some((key, _)) if !key.contains(['*', '[']) => format!("Move it: there is a key `{key}`."),
        Some(_) | None => format!("Remove it, or write one of `{}`.", known.join("`, `")),
    }
}
