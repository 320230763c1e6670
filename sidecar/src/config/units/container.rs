//! What a container is given: ports, volumes, a driver.

use super::{Form, Wrong};

/// `HOST:CONTAINER`, also `ADDRESS:HOST:CONTAINER` and a single port for both; `/udp` may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The host's address; `None` for the loopback.
    pub address: Option<String>,
    /// The host's port.
    pub host: u16,
    /// The container's port.
    pub container: u16,
    /// Whether datagrams are meant.
    pub udp: bool,
}

impl Form for PortMapping {
    const ABOUT: &'static str = "two ports, `HOST:CONTAINER`";
    const PATTERN: &'static str = "^(([0-9]{1,3}\\.){3}[0-9]{1,3}:[0-9]{1,5}:|[0-9]{1,5}:)?[0-9]{1,5}(/(tcp|udp))?$";
    const NUMBERS: Option<(f64, f64)> = Some((1.0, 65535.0));

    fn parse(text: &str) -> Result<Self, Wrong> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            other => {
                return Err(Wrong::new(format!("`{other}` is neither `tcp` nor `udp`")).instead(format!("\"{ports}\"")));
            }
        };
        let sides: Vec<&str> = ports.split(':').collect();
        let (address, host, container) = match sides[..] {
            [port] => (None, port, port),
            [host, container] => (None, host, container),
            [address, host, container] if address.parse::<std::net::Ipv4Addr>().is_ok() => {
                (Some(address), host, container)
            }
            [address, _, _] => return Err(Wrong::new(format!("`{address}` is no address such as `127.0.0.1`"))),
            _ => return Err(Wrong::new(format!("`{text}` is not `HOST:CONTAINER`"))),
        };
        Ok(Self { address: address.map(str::to_owned), host: port(host)?, container: port(container)?, udp })
    }
}

fn port(text: &str) -> Result<u16, Wrong> {
    let plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| plain && *port > 0);
    port.ok_or_else(|| Wrong::new(format!("`{text}` is no port from 1 to 65535")))
}

/// `SOURCE:TARGET`, with `:ro` for one that is only read. The source is a path here (relative to the file, with `~` and
/// `${HOME}`) or the name of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What is mounted, as it was written.
    pub source: String,
    /// Where in the container; absolute.
    pub target: String,
    /// Whether it is only read.
    pub read_only: bool,
}

impl Form for Volume {
    const ABOUT: &'static str = "a volume, `SOURCE:TARGET` or `SOURCE:TARGET:ro`";
    // A source may hold `${NAME:default}`, whose colons separate nothing.
    const PATTERN: &'static str = "^(\\$\\{[^}]*\\}|[^:])+:/[^:]*(:(ro|rw))?$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let parts = parts(text);
        let (source, target, mode) = match parts[..] {
            [source, target] => (source, target, "rw"),
            [source, target, mode] => (source, target, mode),
            _ => return Err(Wrong::new(format!("`{text}` is not `SOURCE:TARGET`"))),
        };
        if source.is_empty() {
            return Err(Wrong::new(format!("`{text}` names no source")));
        }
        if !target.starts_with('/') {
            let instead = format!("{source}:/{target}{}", if mode == "ro" { ":ro" } else { "" });
            return Err(Wrong::new(format!("`{target}` in the container is not absolute")).instead(instead));
        }
        let read_only = match mode {
            "ro" => true,
            "rw" => false,
            other => {
                return Err(
                    Wrong::new(format!("`{other}` is neither `ro` nor `rw`")).instead(format!("{source}:{target}:ro"))
                );
            }
        };
        Ok(Self { source: source.to_owned(), target: target.to_owned(), read_only })
    }
}

/// Splits at colons that are not within `${…}`.
pub(crate) fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if text[..at].ends_with('$') => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// What a driver's version has to be: `>=525.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverVersion {
    /// `>=`, `>`, `<=`, `<` or `=`.
    pub comparison: String,
    /// The numbers of the version.
    pub version: Vec<u64>,
}

impl Form for DriverVersion {
    const ABOUT: &'static str = "a comparison with a version, such as `\">=525.0\"`";
    const PATTERN: &'static str = "^(>=|>|<=|<|=)[0-9]{1,9}(\\.[0-9]{1,9})*$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let numbers = text.trim_start_matches(['>', '<', '=']);
        let comparison = &text[..text.len() - numbers.len()];
        let version: Option<Vec<u64>> = numbers.split('.').map(|number| number.parse().ok()).collect();
        let Some(version) =
            version.filter(|_| numbers.split('.').all(|number| number.len() <= 9 && !number.starts_with('+')))
        else {
            return Err(Wrong::new(format!("`{text}` compares with no version such as `525.0`")));
        };
        match comparison {
            ">=" | ">" | "<=" | "<" | "=" => Ok(Self { comparison: comparison.to_owned(), version }),
            "" => Err(Wrong::new(format!("`{text}` says not how to compare")).instead(format!("\">={text}\""))),
            other => Err(Wrong::new(format!("`{other}` is no comparison")).instead(format!("\">={numbers}\""))),
        }
    }
}
