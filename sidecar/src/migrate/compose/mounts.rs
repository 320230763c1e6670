//! Mounted volumes, from both of compose's forms to `SOURCE:TARGET`.

use super::{Reading, Said};
use crate::config::tree::{Node, Value};
use crate::config::units::container;

/// Modes of compose that mean nothing here: they are about labels and caches.
const HARMLESS: [&str; 8] = ["rw", "z", "Z", "cached", "delegated", "consistent", "nocopy", "rprivate"];

/// Reads the `volumes` of a service.
pub(super) fn read(reading: &mut Reading<'_>, node: &Node) -> Vec<Said<String>> {
    let Value::List(items) = &node.value else {
        reading.leave(node, "`volumes`", format!("it is {} where a list belongs", node.described()));
        return Vec::new();
    };
    let mut volumes = Vec::new();
    for item in items {
        let volume = match &item.value {
            Value::Map(_) => long(reading, item),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => short(reading, item),
        };
        let origin = reading.origin(item);
        volumes.extend(volume.map(|volume| Said::new(volume, &origin)));
    }
    volumes
}

fn short(reading: &mut Reading<'_>, item: &Node) -> Option<String> {
    // Split before anything is replaced: a value may hold colons of its own.
    let text = item.as_written().unwrap_or_default().to_owned();
    let parts = container::parts(&text);
    let (source, target, mode) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        [_] => {
            reading.leave(item, format!("the volume `{text}`"), "it has no name, so that nothing would find it again");
            return None;
        }
        _ => {
            reading.leave(item, "a volume", "it is not `SOURCE:TARGET`");
            return None;
        }
    };
    let mut read_only = false;
    for mode in mode.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" => read_only = true,
            mode if HARMLESS.contains(&mode) => {}
            mode => reading.leave(item, format!("the mode `{mode}` of a volume"), "only `ro` is there"),
        }
    }
    mount(reading, item, source, target, read_only)
}

fn long(reading: &mut Reading<'_>, item: &Node) -> Option<String> {
    let kind = item.get("type").and_then(Node::as_written).unwrap_or("volume").to_owned();
    if !matches!(kind.as_str(), "bind" | "volume") {
        reading.leave(item, format!("a mount of the type `{kind}`"), "only files, folders and volumes can be mounted");
        return None;
    }
    let text = |name: &str| item.get(name).and_then(Node::as_written).map(str::to_owned);
    let (Some(source), Some(target)) = (text("source").or_else(|| text("src")), text("target").or_else(|| text("dst")))
    else {
        reading.leave(item, "a volume", "it has no `source`, so that nothing would find it again");
        return None;
    };
    let read_only = text("read_only").as_deref() == Some("true");
    mount(reading, item, &source, &target, read_only)
}

fn mount(reading: &mut Reading<'_>, item: &Node, source: &str, target: &str, read_only: bool) -> Option<String> {
    let text = |text: &str| Node { value: Value::Text(text.to_owned()), ..item.clone() };
    let source = reading.written(&text(source), "the source of a volume")?;
    let target = reading.plain(&text(target), "the target of a volume")?;
    if target.contains(':') || !target.starts_with('/') {
        reading.leave(item, format!("the volume at `{target}`"), "its target is no absolute path");
        return None;
    }
    Some(format!("{source}:{target}{}", if read_only { ":ro" } else { "" }))
}
