//! Published ports, from both of compose's forms to `HOST:CONTAINER`.

use super::{Reading, Said};
use crate::config::tree::{Node, Value};

/// Widest range that is written out.
const MAX_RANGE: u16 = 32;

/// Reads the `ports` of a service.
pub(super) fn read(reading: &mut Reading<'_>, node: &Node) -> Vec<Said<String>> {
    let Value::List(items) = &node.value else {
        reading.leave(node, "`ports`", format!("it is {} where a list belongs", node.described()));
        return Vec::new();
    };
    let mut ports = Vec::new();
    for item in items {
        let text = match &item.value {
            Value::Map(_) => long(reading, item),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                reading.plain(item, "a port")
            }
        };
        let Some(text) = text else { continue };
        match mappings(&text) {
            Ok(mappings) => {
                let origin = reading.origin(item);
                ports.extend(mappings.into_iter().map(|mapping| Said::new(mapping, &origin)));
            }
            Err(why) => reading.leave(item, format!("the port `{text}`"), why),
        }
    }
    ports
}

/// Returns a port's longer form in the shorter one.
fn long(reading: &mut Reading<'_>, item: &Node) -> Option<String> {
    let target = item.get("target").map(|node| reading.plain(node, "the `target` of a port"))??;
    let mut text = match item.get("published") {
        Some(published) => format!("{}:{target}", reading.plain(published, "the `published` of a port")?),
        None => target,
    };
    if let Some(address) = item.get("host_ip") {
        text = format!("{}:{text}", reading.plain(address, "the `host_ip` of a port")?);
    }
    match item.get("protocol").and_then(Node::as_written) {
        Some("udp") => Some(text + "/udp"),
        Some(_) | None => Some(text),
    }
}

/// Returns the mappings of single ports that one of compose's texts means.
fn mappings(text: &str) -> Result<Vec<String>, &'static str> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let suffix = match protocol {
        "tcp" => "",
        "udp" => "/udp",
        _ => return Err("it is neither TCP nor UDP"),
    };
    let pieces: Vec<&str> = ports.split(':').collect();
    let (address, host, container) = match pieces[..] {
        [port] => (None, port, port),
        [host, container] => (None, host, container),
        [address, host, container] => (Some(address), host, container),
        _ => return Err("addresses of IPv6 have no form here"),
    };
    if address.is_some_and(|address| address.parse::<std::net::Ipv4Addr>().is_err()) {
        return Err("what stands first is no address such as `127.0.0.1`");
    }
    let ((first, last), (inner, inner_last)) = (range(host)?, range(container)?);
    if last - first != inner_last - inner {
        return Err("the two ranges have not the same length");
    }
    if last - first >= MAX_RANGE {
        return Err("the range is very wide; name the ports that are needed");
    }
    let before = address.map(|address| format!("{address}:")).unwrap_or_default();
    Ok((0..=last - first).map(|step| format!("{before}{}:{}{suffix}", first + step, inner + step)).collect())
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port =
        |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or("a part of it is no port from 1 to 65535");
    let (first, last) = (port(first)?, port(last)?);
    if first <= last { Ok((first, last)) } else { Err("its range ends before it begins") }
}

#[cfg(test)]
mod tests {
    use super::mappings;

    #[test]
    fn every_form_of_compose() {
        let shown = |text| match mappings(text) {
            Ok(mappings) => mappings.join(" "),
            Err(why) => why.to_owned(),
        };
        assert_eq!(shown("3000"), "3000:3000");
        assert_eq!(shown("8000-8002:9000-9002"), "8000:9000 8001:9001 8002:9002");
        assert_eq!(shown("127.0.0.1:8001:8001"), "127.0.0.1:8001:8001");
        assert_eq!(shown("6060:6060/udp"), "6060:6060/udp");
        for wrong in
            ["", "0:80", "1-2:3", "2-1", "a:1", "1:2:3:4", "::1:1:1", "1/sctp", "1-65535", "70000:1", "x.y:1:1"]
        {
            assert!(mappings(wrong).is_err(), "{wrong}");
        }
    }
}
