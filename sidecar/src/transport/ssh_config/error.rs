//! Why it is not known how a host is reached.

use std::path::PathBuf;

use protocol::error::{Code, Example, Explain, word};

use super::Address;

/// Why it is not known how a host is reached.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A text that cannot name a host.
    #[error("`{host}` cannot be a host name, an address or an alias")]
    Host {
        /// The text.
        host: String,
    },
    /// A text that cannot name a user.
    #[error("`{user}` cannot be a user name")]
    User {
        /// The text.
        user: String,
    },
    /// Nobody knows whom to log in as.
    #[error("it is not known whom to log in as on `{host}`")]
    NoUser {
        /// The host.
        host: String,
    },
    /// A line that is wrong.
    #[error("line {line} of `{}` is wrong: {message}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the SSH configuration `{}`", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that others may change: what it says would be theirs.
    #[error("other users may change the SSH configuration `{}`", file.display())]
    Open {
        /// The file.
        file: PathBuf,
    },
    /// `ssh` itself said that it cannot.
    #[error("`ssh -G {host}` fails: {message}")]
    Refused {
        /// The host.
        host: String,
        /// The words of `ssh`.
        message: String,
    },
    /// `ssh` did not answer in time.
    #[error("`ssh -G {host}` does not end within {seconds} s")]
    Slow {
        /// The host.
        host: String,
        /// How long was waited.
        seconds: u64,
    },
    /// `ssh` could not be run.
    #[error("cannot run `ssh -G {host}`")]
    Run {
        /// The host.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// An answer of `ssh` that is none.
    #[error("`ssh -G {host}` does not say what is needed: {what}")]
    Answer {
        /// The host.
        host: String,
        /// What is missing or wrong.
        what: String,
    },
    /// An entry of a list of jumps that is no host.
    #[error("`{entry}` cannot be a host to jump over on the way to `{host}`")]
    Jump {
        /// The host that is to be reached.
        host: String,
        /// The entry.
        entry: String,
    },
    /// Jumps that lead back.
    #[error("the jumps to `{}` lead in a circle: {}", way.first().map_or("", String::as_str), way.join(" → "))]
    Circle {
        /// From the host that is to be reached to where the circle closes.
        way: Vec<String>,
    },
    /// More jumps than anybody needs.
    #[error("more than {limit} jumps lead to `{host}`")]
    Far {
        /// The host that is to be reached.
        host: String,
        /// How many are allowed.
        limit: usize,
    },
    /// A command whose tokens cannot be filled in.
    #[error("the `ProxyCommand` for `{host}` cannot be used: {reason}")]
    Command {
        /// The host.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// A list of revoked host keys that nobody could look into.
    #[error("`RevokedHostKeys {value}` for `{host}` names no file: {reason}")]
    Revoked {
        /// The host.
        host: String,
        /// What the configuration says.
        value: String,
        /// What is wrong.
        reason: String,
    },
}

impl Explain for ConfigError {
    fn code(&self) -> Code {
        match self {
            Self::Host { .. } | Self::User { .. } | Self::NoUser { .. } => Code::RemoteInvalid,
            Self::Line { .. }
            | Self::File { .. }
            | Self::Open { .. }
            | Self::Refused { .. }
            | Self::Slow { .. }
            | Self::Run { .. }
            | Self::Answer { .. }
            | Self::Jump { .. }
            | Self::Circle { .. }
            | Self::Far { .. }
            | Self::Command { .. }
            | Self::Revoked { .. } => Code::SshConfig,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Host { .. } => {
                "Give an alias of `~/.ssh/config`, a host name or an address, such as `gpu`, `ubuntu@203.0.113.7:2222` \
                 or `ubuntu@[2001:db8::7]:22`."
                    .to_owned()
            }
            Self::User { .. } => "Give the user alone: `--user ubuntu`.".to_owned(),
            Self::NoUser { host } => {
                format!(
                    "Write `User NAME` below `Host {host}` in `~/.ssh/config`, or name the user with `--user USER`."
                )
            }
            Self::Line { file, line, .. } => {
                format!("Mend line {line} of `{}`; `man ssh_config` says what may stand there.", file.display())
            }
            Self::File { file, .. } => {
                format!("Run `ls -l {0}` to see whose it is, and `chmod u+r {0}` if it is yours.", word(file.display()))
            }
            Self::Open { file } => {
                format!("Run `chmod go-w {0}`, and `ls -l {0}` to see whether it is yours.", word(file.display()))
            }
            Self::Refused { host, .. } | Self::Answer { host, .. } | Self::Run { host, .. } => {
                format!("Run `ssh -G {}` in a terminal, and mend what it says.", word(host))
            }
            Self::Slow { host, .. } => format!(
                "Run `ssh -G {}` in a terminal to see what it waits for: most often a command after `Match exec`.",
                word(host)
            ),
            Self::Jump { host, .. } => format!(
                "Write `ProxyJump` of `{host}` (or `--jump`) as hosts with commas between them: `ada@gate:2222,inner`."
            ),
            Self::Circle { way } => format!(
                "Take `{}` out of the `Host` line whose `ProxyJump` is for all, such as `Host * !{}`, or write \
                 `ProxyJump none` for it before that line.",
                way.last().map_or("", String::as_str),
                way.last().map_or("", String::as_str)
            ),
            Self::Far { host, .. } => format!("Shorten the `ProxyJump` lines that lead to `{host}`."),
            Self::Command { host, .. } => {
                format!(
                    "Change the `ProxyCommand` of `{host}` in `~/.ssh/config`; it may hold `%h`, `%p`, `%r`, `%n` and `%%`."
                )
            }
            Self::Revoked { host, .. } => {
                format!(
                    "Write `RevokedHostKeys` of `{host}` in `~/.ssh/config` as a path, or as `none` if there is none."
                )
            }
        }
    }
}

impl ConfigError {
    /// Returns a jump list's error.
    pub(super) fn jump(host: &str, entry: String) -> Self {
        Self::Jump { host: host.to_owned(), entry }
    }

    /// Returns the error of a way that came back to where it was.
    pub(super) fn circle(way: &[Address], again: &Address) -> Self {
        Self::Circle { way: way.iter().chain([again]).map(Address::to_jump).collect() }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let host = || "gpu".to_owned();
    let file = || PathBuf::from("/home/ada/.ssh/config");
    vec![
        ConfigError::Host { host: "-oProxyCommand=x".to_owned() }.into(),
        ConfigError::User { user: "-l".to_owned() }.into(),
        ConfigError::NoUser { host: host() }.into(),
        ConfigError::Line { file: file(), line: 3, message: "Bad configuration option: hosst".to_owned() }.into(),
        ConfigError::File { file: file(), source: std::io::ErrorKind::PermissionDenied.into() }.into(),
        ConfigError::Open { file: file() }.into(),
        ConfigError::Refused { host: host(), message: "Bad owner or permissions on /home/ada/.ssh/config".to_owned() }
            .into(),
        ConfigError::Slow { host: host(), seconds: 20 }.into(),
        ConfigError::Run { host: host(), source: std::io::ErrorKind::PermissionDenied.into() }.into(),
        ConfigError::Answer { host: host(), what: "there is no `hostname`".to_owned() }.into(),
        ConfigError::Jump { host: host(), entry: "gate:ssh".to_owned() }.into(),
        ConfigError::Circle { way: vec![host(), "gate".to_owned(), host()] }.into(),
        ConfigError::Far { host: host(), limit: 16 }.into(),
        ConfigError::Command { host: host(), reason: "it holds the token `%Z`, which is not understood".to_owned() }
            .into(),
        ConfigError::Revoked {
            host: host(),
            value: "~/.ssh/revoked_%Z".to_owned(),
            reason: "it holds the token `%Z`, which is not understood".to_owned(),
        }
        .into(),
    ]
}
