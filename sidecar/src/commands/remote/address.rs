//! What a person types for a remote, checked before it is stored.

use std::path::PathBuf;

use protocol::editor::{NoAgent, RemoteAddParams, RemoteRow};
use protocol::error::{Code, Example, Explain, Result, word};

use crate::cx::Cx;
use crate::env;
use crate::transport::ssh_config::{self, Address};

/// Longest name of a remote and of a host (RFC 1035).
const MAX_NAME: usize = 253;

/// Why a remote cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// A name that cannot be used.
    #[error("`{name}` cannot be the name of a remote")]
    Name {
        /// The name.
        name: String,
    },
    /// A host that cannot be one.
    #[error("`{host}` cannot be a host name or address")]
    Host {
        /// The host.
        host: String,
    },
    /// A user that cannot be one.
    #[error("`{user}` cannot be a user name")]
    User {
        /// The user.
        user: String,
    },
    /// A list of jumps with an entry that cannot be one.
    #[error("`{entry}` cannot be a host to jump over")]
    Jump {
        /// The entry.
        entry: String,
    },
    /// Port 0.
    #[error("0 is no port that can be reached")]
    Port,
    /// A key file that is not there.
    #[error("cannot read the key `{}`", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The name is taken.
    #[error("the remote `{}` exists with other settings: {}", there.name, typed(there))]
    Exists {
        /// What is stored.
        there: Box<RemoteRow>,
    },
    /// A sync uses it.
    #[error("the remote `{name}` is used by the sync of `{folders}`")]
    InUse {
        /// The remote.
        name: String,
        /// The workspaces.
        folders: String,
    },
}

impl Explain for RemoteError {
    fn code(&self) -> Code {
        match self {
            Self::Name { .. } | Self::Host { .. } | Self::User { .. } | Self::Jump { .. } | Self::Port => {
                Code::RemoteInvalid
            }
            Self::Key { .. } => Code::SshKeyUnreadable,
            Self::Exists { .. } => Code::RemoteExists,
            Self::InUse { .. } => Code::RemoteInUse,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Name { .. } => "Use letters, digits, `-`, `_` and `.`, and begin with a letter or digit.".to_owned(),
            Self::Host { .. } => "Give an alias of `~/.ssh/config`, a host name or an address: `--host gpu`, \
                                  `--host ubuntu@203.0.113.7:2222`, `--host ubuntu@[2001:db8::7]:22`."
                .to_owned(),
            Self::User { .. } => "Give the user alone: `--user ubuntu`.".to_owned(),
            Self::Jump { .. } => "Give the hosts in order, with commas: `--jump ada@gate:2222,inner`.".to_owned(),
            Self::Port => "Give a port between 1 and 65535; SSH servers usually listen on 22.".to_owned(),
            Self::Key { path, .. } => {
                format!("Check with `ls -l {}` that the key is there and yours.", word(path.display()))
            }
            Self::Exists { there } => format!(
                "Use another name, or run `mltoolbox-sidecar remote remove {}` first; `mltoolbox-sidecar remote show {}` shows what is stored.",
                there.name, there.name
            ),
            Self::InUse { name, .. } => {
                format!(
                    "Run `mltoolbox-sidecar sync stop` there first, or forget both with `mltoolbox-sidecar remote remove {name} --yes`."
                )
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(crate) fn examples() -> Vec<Example> {
    let row = RemoteRow {
        name: "gpu1".to_owned(),
        host: "203.0.113.7".to_owned(),
        port: Some(2222),
        user: Some("ubuntu".to_owned()),
        ..RemoteRow::default()
    };
    let key = "/home/ada/.ssh/gpu".into();
    vec![
        RemoteError::Name { name: "gpu 1".to_owned() }.into(),
        RemoteError::Host { host: "203.0.113.7:ssh".to_owned() }.into(),
        RemoteError::User { user: "-l".to_owned() }.into(),
        RemoteError::Jump { entry: "-oProxyCommand=x".to_owned() }.into(),
        RemoteError::Port.into(),
        RemoteError::Key { path: key, source: std::io::ErrorKind::NotFound.into() }.into(),
        RemoteError::Exists { there: Box::new(row) }.into(),
        RemoteError::InUse { name: "gpu1".to_owned(), folders: "/home/ada/project".to_owned() }.into(),
    ]
}

/// Returns whether it can be nothing but an address; a bare word may be the mistyped name of a remote.
pub(super) fn looks_like_one(address: &Address) -> bool {
    address.user.is_some() || address.port.is_some() || address.host.contains(['.', ':'])
}

/// Returns what adds an address under the name of its host.
pub(super) fn params(address: Address) -> RemoteAddParams {
    let Address { user, host, port } = address;
    RemoteAddParams { name: name(&host), host, user, port, ..RemoteAddParams::default() }
}

/// Returns the name for a remote that looks most like a host's; empty when nothing is left of it.
pub(super) fn name(host: &str) -> String {
    let name = host.replace(|c| !is_plain(c), "-");
    name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Returns how a remote was typed: `user@host:port` with what was named.
pub(crate) fn typed(remote: &RemoteRow) -> String {
    Address { user: remote.user.clone(), host: remote.host.clone(), port: remote.port }.to_jump()
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

/// Returns the remote that the parameters describe, or why it cannot be.
pub(super) async fn row(cx: &Cx, params: RemoteAddParams) -> Result<RemoteRow> {
    let RemoteAddParams { name, host, user, port, jump, key, accept_new, no_agent } = params;
    let address = Address::parse(&host).ok_or(RemoteError::Host { host })?;
    // What was named by itself wins over what stands in the address.
    let address = Address { user: user.or(address.user), host: address.host, port: port.or(address.port) };
    check(&name, &address, jump.as_deref())?;
    let key = match key {
        Some(key) => Some(readable(cx, &key).await?),
        None => None,
    };
    let Address { user, host, port } = address;
    let no_agent = no_agent.then_some(NoAgent::Refused);
    Ok(RemoteRow { name, host, port, user, jump, key, accept_new, no_agent, ..RemoteRow::default() })
}

fn check(name: &str, address: &Address, jump: Option<&str>) -> Result<(), RemoteError> {
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(is_plain) || name.len() > MAX_NAME {
        return Err(RemoteError::Name { name: name.to_owned() });
    }
    let Address { user, host, port } = address;
    if !ssh_config::is_host(host) || host.matches(':').count() == 1 || host.len() > MAX_NAME {
        return Err(RemoteError::Host { host: host.clone() });
    }
    if let Some(user) = user.as_ref().filter(|user| !ssh_config::is_user(user)) {
        return Err(RemoteError::User { user: user.clone() });
    }
    if let Some(jump) = jump {
        Address::parse_jumps(jump).map_err(|entry| RemoteError::Jump { entry })?;
    }
    if *port == Some(0) { Err(RemoteError::Port) } else { Ok(()) }
}

/// Returns the absolute path of a key that is there.
async fn readable(cx: &Cx, key: &str) -> Result<String, RemoteError> {
    let path = match (key.strip_prefix("~/"), env::home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => cx.folder.join(key),
    };
    match tokio::fs::metadata(&path).await {
        Ok(found) if found.is_file() => Ok(path.to_string_lossy().into_owned()),
        Ok(_) => Err(RemoteError::Key { path, source: std::io::ErrorKind::InvalidInput.into() }),
        Err(source) => Err(RemoteError::Key { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).expect("a host")
    }

    #[test]
    fn a_bare_word_is_a_name() {
        assert!(!looks_like_one(&parse("gpu1")));
        assert!(looks_like_one(&parse("gpu1.example.org")));
        assert!(looks_like_one(&parse("ada@gpu1")));
        assert_eq!(params(parse("[::1]:22")).name, "1");
        assert_eq!((name("a/b c"), name("-x-"), name("ü")), ("a-b-c".to_owned(), "x".to_owned(), String::new()));
    }

    #[test]
    fn what_could_be_an_option_or_a_trick_is_refused() {
        let check = |name: &str, host: &str, user: Option<&str>, port| {
            super::check(name, &Address { user: user.map(str::to_owned), host: host.to_owned(), port }, None)
        };
        assert!(check("gpu1", "203.0.113.7", Some("ada"), Some(22)).is_ok());
        assert!(check("gpu1", "2001:db8::7", None, None).is_ok());
        for name in ["", "-x", "a b", "a/b", ".x"] {
            assert!(matches!(check(name, "h", None, None), Err(RemoteError::Name { .. })), "{name}");
        }
        for host in ["", "-oProxyCommand=x", "a b", "ada@h", "h:22", "h\n", "$(x)", "h;x"] {
            assert!(matches!(check("n", host, None, None), Err(RemoteError::Host { .. })), "{host}");
        }
        assert!(matches!(check("n", "h", Some("-l"), None), Err(RemoteError::User { .. })));
        assert!(matches!(check("n", "h", Some("$(x)"), None), Err(RemoteError::User { .. })));
        assert!(matches!(check("n", "h", None, Some(0)), Err(RemoteError::Port)));
        assert!(matches!(super::check("n", &parse("h"), Some("a,-x")), Err(RemoteError::Jump { .. })));
        assert!(super::check("n", &parse("h"), Some("ada@a:7,none,[::1]:9")).is_ok());
        assert!(super::check("n", &parse("h"), Some("none")).is_ok());
    }
}
