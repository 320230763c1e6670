//! What a person types for a remote, checked before it is stored.

use std::path::PathBuf;

use protocol::editor::{RemoteAddParams, RemoteRow};
use protocol::error::{Code, Example, Explain, Result, word};

use crate::cx::Cx;
use crate::env;

/// Port of SSH servers.
const SSH_PORT: u16 = 22;

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
    /// Nobody knows whom to log in as.
    #[error("it is not known whom to log in as on `{host}`")]
    NoUser {
        /// The host.
        host: String,
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
    #[error("the remote `{}` exists with other settings: {}@{}:{}", there.name, there.user, there.host, there.port)]
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
            Self::Name { .. } | Self::Host { .. } | Self::User { .. } | Self::NoUser { .. } | Self::Port => {
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
            Self::Host { .. } => "Give a host name or an address alone: `--host 203.0.113.7`.".to_owned(),
            Self::User { .. } => "Give the user alone: `--user ubuntu`.".to_owned(),
            Self::NoUser { .. } => "Name the user with `--user USER`.".to_owned(),
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
        port: 22,
        user: "ubuntu".to_owned(),
        ..RemoteRow::default()
    };
    let key = "/home/ada/.ssh/gpu".into();
    vec![
        RemoteError::Name { name: "gpu 1".to_owned() }.into(),
        RemoteError::Host { host: "ubuntu@203.0.113.7".to_owned() }.into(),
        RemoteError::User { user: "-l".to_owned() }.into(),
        RemoteError::NoUser { host: row.host.clone() }.into(),
        RemoteError::Port.into(),
        RemoteError::Key { path: key, source: std::io::ErrorKind::NotFound.into() }.into(),
        RemoteError::Exists { there: Box::new(row) }.into(),
        RemoteError::InUse { name: "gpu1".to_owned(), folders: "/home/ada/project".to_owned() }.into(),
    ]
}

/// `user@host:port` as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Address {
    /// Returns the parts of `[user@]host[:port]`; addresses of IPv6 with a port stand in brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (user, rest) = match text.rsplit_once('@') {
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

    /// Returns whether it can be nothing but an address; a bare word may be the mistyped name of a remote.
    pub(crate) fn looks_like_an_address(&self) -> bool {
        self.user.is_some() || self.port.is_some() || self.host.contains(['.', ':'])
    }

    /// Returns what adds it under the name of its host.
    pub(crate) fn into_params(self) -> RemoteAddParams {
        let name = self.host.replace([':', '%'], "-");
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
        RemoteAddParams { name, host: self.host, user: self.user, port: self.port, ..RemoteAddParams::default() }
    }
}

/// Returns the remote that the parameters describe, or why it cannot be.
pub(super) async fn row(cx: &Cx, params: RemoteAddParams) -> Result<RemoteRow> {
    let RemoteAddParams { name, host, user, port, key, accept_new } = params;
    check(&name, &host, user.as_deref(), port)?;
    let user = user.or_else(env::user).ok_or_else(|| RemoteError::NoUser { host: host.clone() })?;
    let key = match key {
        Some(key) => Some(readable(cx, &key).await?),
        None => None,
    };
    let port = port.unwrap_or(SSH_PORT);
    Ok(RemoteRow { name, host, port, user, key, accept_new, ..RemoteRow::default() })
}

fn check(name: &str, host: &str, user: Option<&str>, port: Option<u16>) -> Result<(), RemoteError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) || name.len() > MAX_NAME {
        return Err(RemoteError::Name { name: name.to_owned() });
    }
    // What begins with a dash would be an option to programs that are given it.
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '/' | '[' | ']');
    let colons = host.matches(':').count();
    if host.is_empty() || host.starts_with('-') || host.contains(bad) || colons == 1 || host.len() > MAX_NAME {
        return Err(RemoteError::Host { host: host.to_owned() });
    }
    if let Some(user) = user
        && (user.is_empty() || user.starts_with('-') || user.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        return Err(RemoteError::User { user: user.to_owned() });
    }
    if port == Some(0) { Err(RemoteError::Port) } else { Ok(()) }
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

    #[test]
    fn addresses_are_taken_apart() {
        let parts = |text: &str| Address::parse(text).map(|address| (address.user, address.host, address.port));
        let some = |user: Option<&str>, host: &str, port| Some((user.map(str::to_owned), host.to_owned(), port));
        assert_eq!(parts("ada@gpu1.example.org:2222"), some(Some("ada"), "gpu1.example.org", Some(2222)));
        assert_eq!(parts("203.0.113.7"), some(None, "203.0.113.7", None));
        assert_eq!(parts("ada@[2001:db8::7]:22"), some(Some("ada"), "2001:db8::7", Some(22)));
        assert_eq!(parts("2001:db8::7"), some(None, "2001:db8::7", None));
        for text in ["", "ada@", "gpu1:", "gpu1:99999", "gpu1:ssh", "[::1]x"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_word_is_a_name() {
        assert!(!Address::parse("gpu1").expect("a host").looks_like_an_address());
        assert!(Address::parse("gpu1.example.org").expect("a host").looks_like_an_address());
        assert!(Address::parse("ada@gpu1").expect("a host").looks_like_an_address());
        assert_eq!(Address::parse("[::1]:22").expect("a host").into_params().name, "1");
    }

    #[test]
    fn what_could_be_an_option_or_a_trick_is_refused() {
        assert!(check("gpu1", "203.0.113.7", Some("ada"), Some(22)).is_ok());
        assert!(check("gpu1", "2001:db8::7", None, None).is_ok());
        for name in ["", "-x", "a b", "a/b", ".x"] {
            assert!(matches!(check(name, "h", None, None), Err(RemoteError::Name { .. })), "{name}");
        }
        for host in ["", "-oProxyCommand=x", "a b", "ada@h", "h:22", "h\n"] {
            assert!(matches!(check("n", host, None, None), Err(RemoteError::Host { .. })), "{host}");
        }
        assert!(matches!(check("n", "h", Some("-l"), None), Err(RemoteError::User { .. })));
        assert!(matches!(check("n", "h", None, Some(0)), Err(RemoteError::Port)));
    }
}
