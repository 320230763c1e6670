//! Pure: several layers as one tree, in which every value still knows who said it.
//!
//! Maps are merged name by name. A list of a stronger layer replaces the whole list of a weaker one. `null` takes back what
//! weaker layers said, so that the default holds. The one of `environment.base_image`, `dockerfile` and `devcontainer` that
//! the strongest layer names takes the place of the others.

use super::check::SOURCES;
use super::setting::{Field, Kind};
use super::tree::{Entry, Node, Value};

/// Merges layers, the weakest first, over the defaults.
pub fn merge(defaults: Node, layers: impl IntoIterator<Item = Node>) -> Node {
    let nothing = Node::new(Value::Map(Vec::new()), defaults.place.clone());
    let said = layers.into_iter().fold(nothing, |weaker, stronger| {
        let weaker = without_other_sources(weaker, &stronger);
        over(weaker, stronger)
    });
    over(defaults, said)
}

/// Lays one value over another.
fn over(weaker: Node, stronger: Node) -> Node {
    let (Value::Map(below), Value::Map(above)) = (weaker.value, &stronger.value) else {
        return without_nulls(stronger);
    };
    let mut entries = below;
    for entry in above {
        let at = entries.iter().position(|below| below.name == entry.name);
        match (at, &entry.node.value) {
            (Some(at), Value::Null) => drop(entries.remove(at)),
            (None, Value::Null) => {}
            (Some(at), _) => {
                let below = entries.remove(at);
                let node = over(below.node, entry.node.clone());
                entries.insert(at, Entry { node, ..entry.clone() });
            }
            (None, _) => entries.push(Entry { node: without_nulls(entry.node.clone()), ..entry.clone() }),
        }
    }
    Node { value: Value::Map(entries), ..stronger }
}

/// Removes names whose value is `null`: there is nothing that they could take back.
fn without_nulls(node: Node) -> Node {
    let Value::Map(entries) = node.value else { return node };
    let kept = entries.into_iter().filter(|entry| entry.node.value != Value::Null);
    let entries = kept.map(|entry| Entry { node: without_nulls(entry.node), ..entry }).collect();
    Node { value: Value::Map(entries), ..node }
}

fn without_other_sources(weaker: Node, stronger: &Node) -> Node {
    let says = |name: &str| stronger.at(["environment", name]).is_some_and(|node| node.value != Value::Null);
    let Some(named) = SOURCES.iter().find(|name| says(name)) else { return weaker };
    let mut weaker = weaker;
    if let Value::Map(entries) = &mut weaker.value
        && let Some(environment) = entries.iter_mut().find(|entry| entry.name == "environment")
        && let Value::Map(entries) = &mut environment.node.value
    {
        entries.retain(|entry| entry.name == *named || !SOURCES.contains(&entry.name.as_str()));
    }
    weaker
}

/// Puts keys in the order in which they are declared.
pub fn in_order(node: Node, fields: &[Field]) -> Node {
    let Value::Map(mut entries) = node.value else { return node };
    let place = |entry: &Entry| fields.iter().position(|field| field.name == entry.name).unwrap_or(fields.len());
    entries.sort_by_key(place);
    let within = |entry: Entry| match fields.iter().find(|field| field.name == entry.name).map(|field| &field.kind) {
        Some(Kind::Section(fields)) => Entry { node: in_order(entry.node, fields), ..entry },
        _ => entry,
    };
    Node { value: Value::Map(entries.into_iter().map(within).collect()), ..node }
}
