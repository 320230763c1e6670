//! `user@host:port` as people write it, and what may stand in it.

/// Characters that mean something to a shell, to which `ProxyCommand` and `Match exec` hand names and users; OpenSSH
/// refuses them since 9.6.
const SHELL: &str = "'`\";&<>|(){}";

/// A host as typed: an alias, a name or an address, with the user and port that were given with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The user, when one was given.
    pub user: Option<String>,
    /// The alias, name or address, without brackets.
    pub host: String,
    /// The port, when one was given.
    pub port: Option<u16>,
}

impl Address {
    /// Returns the parts of `[user@]host[:port]` or `ssh://[user@]host[:port]`; addresses of IPv6 with a port stand in
    /// brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, is_url) = match text.get(..6) {
            Some(scheme) if scheme.eq_ignore_ascii_case("ssh://") => {
                (text[6..].strip_suffix('/').unwrap_or(&text[6..]), true)
            }
            Some(_) | None => (text, false),
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) if is_url => (Some(decoded(user)?), rest),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
            // More than one colon is an address of IPv6 without a port.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(str::parse).transpose().ok()?;
        (!host.is_empty()).then(|| Self { user, host: host.to_owned(), port })
    }

    /// Returns the hosts of a `ProxyJump` list in the order of hops, or the entry that is none; `none` is no hop.
    pub fn parse_jumps(text: &str) -> Result<Vec<Self>, String> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        let one = |entry: &str| {
            let entry = entry.trim();
            let address = Self::parse(entry).filter(|address| {
                is_host(&address.host) && address.user.as_deref().is_none_or(is_user) && address.port != Some(0)
            });
            address.ok_or_else(|| entry.to_owned())
        };
        text.split(',').map(one).collect()
    }

    /// Returns it as `ProxyJump` writes it.
    pub fn to_jump(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        if self.host.contains(':') {
            format!("{user}[{}]{port}", self.host)
        } else {
            format!("{user}{}{port}", self.host)
        }
    }
}

/// Returns whether a text may be handed to programs and shells as the name of a host.
pub fn is_host(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || SHELL.contains(c) || "$\\@/[],".contains(c);
    // What begins with a dash would be an option to programs that are given it.
    !text.is_empty() && !text.starts_with('-') && !text.contains(bad)
}

/// Returns whether a text may be handed to programs and shells as the name of a user.
pub fn is_user(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || SHELL.contains(c) || c == '$';
    // A dash would begin an option, a backslash at the end would take the next character's meaning away.
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('\\') && !text.contains(bad)
}

/// Returns what `%40` and the like stand for (RFC 3986).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let some = |user: Option<&str>, host: &str, port| {
            Some(Address { user: user.map(str::to_owned), host: host.to_owned(), port })
        };
        let parse = Address::parse;
        assert_eq!(parse("ada@gpu1.example.org:2222"), some(Some("ada"), "gpu1.example.org", Some(2222)));
        assert_eq!(parse("203.0.113.7"), some(None, "203.0.113.7", None));
        assert_eq!(parse("ada@[2001:db8::7]:22"), some(Some("ada"), "2001:db8::7", Some(22)));
        assert_eq!(parse("2001:db8::7"), some(None, "2001:db8::7", None));
        assert_eq!(parse("ada@fe80::1%eth0"), some(Some("ada"), "fe80::1%eth0", None));
        assert_eq!(parse("ssh://ada%40lab@gpu1:2222/"), some(Some("ada@lab"), "gpu1", Some(2222)));
        assert_eq!(parse("SSH://[::1]:7"), some(None, "::1", Some(7)));
        for text in ["", "ada@", "gpu1:", "gpu1:99999", "gpu1:ssh", "[::1]x", "ssh://", "ssh://a%4@b", "ssh://a%zz@b"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn jumps_stand_in_the_order_of_hops() {
        let jumps = Address::parse_jumps("ada@a:33, [2001:db8::1]:7,c").expect("a list");
        assert_eq!(jumps.iter().map(Address::to_jump).collect::<Vec<_>>(), ["ada@a:33", "[2001:db8::1]:7", "c"]);
        assert_eq!(Address::parse_jumps("none"), Ok(Vec::new()));
        for (text, entry) in [("a,,b", ""), ("a,-oX", "-oX"), ("a;b", "a;b"), ("$(x)@b", "$(x)@b"), ("a:0", "a:0")] {
            assert_eq!(Address::parse_jumps(text), Err(entry.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_a_shell_would_run_is_no_name() {
        for host in ["gpu1", "203.0.113.7", "2001:db8::7", "fe80::1%eth0", "ünï", "a_b"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "-x", "a b", "a\n", "$(x)", "`x`", "a;b", "a|b", "a'b", "u@h", "a/b", "[a]", "a,b", "a\\"] {
            assert!(!is_host(host), "{host}");
        }
        assert!(is_user("LAB\\ada") && is_user("ada@lab.example.org"));
        for user in ["", "-l", "a b", "a;b", "$HOME", "a\\", "a\u{7}"] {
            assert!(!is_user(user), "{user}");
        }
    }
}
