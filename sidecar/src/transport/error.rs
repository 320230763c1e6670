//! Why a machine cannot be reached or does not do what was asked, and what to do then.

use std::path::PathBuf;

use protocol::error::{Code, Explain};

use super::Limit;
use crate::frontend::Unanswered;

mod examples;
mod explain;

#[doc(hidden)]
pub use examples::examples;

/// The cause of an error as the library that met it tells it.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a machine cannot be reached or does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection.
    #[error("cannot reach `{host}` on port {port}")]
    Unreachable {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its name stands for no address.
    #[error("cannot find the address of `{name}`")]
    NoAddress {
        /// The name that was looked up.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The server took too long before the connection was up.
    #[error("`{host}` on port {port} does not answer as an SSH server within {seconds} s")]
    Silent {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// How long was waited.
        seconds: u64,
    },
    /// What answers is no SSH server, or one with which nothing can be agreed.
    #[error("no SSH connection can be agreed with `{host}` on port {port}")]
    Protocol {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// What was wrong.
        source: Cause,
    },
    /// A host on the way cannot be passed.
    #[error("cannot pass the jump host `{hop}` on the way to `{host}`")]
    Jump {
        /// The jump host as configured.
        hop: String,
        /// Host as configured.
        host: String,
        /// Why.
        source: Box<TransportError>,
    },
    /// A jump host that was passed does not reach the next one.
    #[error("the jump host `{hop}` cannot reach `{host}` on port {port}")]
    Beyond {
        /// The jump host as configured.
        hop: String,
        /// The name or address that it was asked for.
        host: String,
        /// Port.
        port: u16,
    },
    /// The command that should have made the connection did not.
    #[error("the `ProxyCommand` for `{host}` failed: {reason}")]
    ProxyCommand {
        /// Host as configured.
        host: String,
        /// The command, its tokens expanded.
        command: String,
        /// How it ended, and what it said.
        reason: String,
        /// Whether it might do better another time.
        transient: bool,
    },
    /// A connection that was up is gone.
    #[error("the connection to `{host}` was lost: {reason}")]
    Lost {
        /// Host as configured.
        host: String,
        /// What is known of the reason.
        reason: String,
    },
    /// An unknown host key that a person declined.
    #[error("the host key of `{host}` ({fingerprint}) was not accepted")]
    HostKeyDeclined {
        /// `host` or `[host]:port`.
        host: String,
        /// `SHA256:…`.
        fingerprint: String,
    },
    /// An unknown host key and nobody to ask.
    #[error(transparent)]
    HostKeyUnknown(Unanswered),
    /// Another host key than the recorded one.
    #[error("the host key of `{host}` has changed: it is now {algorithm} {fingerprint}")]
    HostKeyChanged {
        /// `host` or `[host]:port`.
        host: String,
        /// Algorithm of the offered key.
        algorithm: String,
        /// `SHA256:…` of the offered key.
        fingerprint: String,
        /// The file with the recorded key.
        file: PathBuf,
        /// Its line.
        line: usize,
    },
    /// A host key that is marked as revoked.
    #[error("the host key of `{host}` ({fingerprint}) is revoked by line {line} of `{}`", file.display())]
    HostKeyRevoked {
        /// `host` or `[host]:port`.
        host: String,
        /// `SHA256:…`.
        fingerprint: String,
        /// The file with the mark.
        file: PathBuf,
        /// Its line.
        line: usize,
    },
    /// A host certificate that does not hold, of a host whose plain key is not recorded either.
    #[error("the host certificate of `{host}` is not accepted: {why}")]
    HostCertificate {
        /// `host` or `[host]:port`.
        host: String,
        /// `SHA256:…` of the certified key.
        fingerprint: String,
        /// `it expired` and the like.
        why: String,
    },
    /// An unknown host key where the configuration wants known ones only.
    #[error("the host key of `{host}` ({fingerprint}) is not known, and `StrictHostKeyChecking` allows no new one")]
    HostKeyStrict {
        /// `host` or `[host]:port`.
        host: String,
        /// `SHA256:…`.
        fingerprint: String,
    },
    /// A `known_hosts` file that cannot be used.
    #[error("cannot use the known hosts in `{}`", file.display())]
    KnownHosts {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The server took none of the keys.
    #[error("`{host}` refused to log in `{user}` with {}", list(tried))]
    Refused {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// User as configured.
        user: String,
        /// Every key that was offered.
        tried: Vec<String>,
        /// What the server would accept, when it said so.
        accepted: String,
        /// Keys that were left, because a server hangs up after a few.
        untried: usize,
    },
    /// The server wants an answer that nobody is there to give.
    #[error(transparent)]
    LoginUnanswered(Unanswered),
    /// The server wants a new password before it lets anybody in.
    #[error("`{host}` wants a new password for `{user}`")]
    PasswordChange {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// User as configured.
        user: String,
    },
    /// There is nothing to offer.
    #[error("there is no SSH key to log in to `{host}` with")]
    NoKey {
        /// Host as configured.
        host: String,
    },
    /// A key that only the SSH agent can use.
    #[error("the key `{}` is on a hardware key, which only an SSH agent can use", path.display())]
    KeyHardware {
        /// The file.
        path: PathBuf,
    },
    /// A key file that cannot be read.
    #[error("cannot read the key `{}`", path.display())]
    KeyUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that holds no private key we understand.
    #[error("`{}` holds no private key that is understood", path.display())]
    KeyGarbage {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Cause,
    },
    /// The public half where the private one belongs.
    #[error("`{}` is a public key, and a private one is needed", path.display())]
    KeyPublic {
        /// The file.
        path: PathBuf,
    },
    /// A key file that others can read.
    #[error("the key `{}` can be read by other users (mode {mode:03o})", path.display())]
    KeyOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key that needs a passphrase and nobody to ask.
    #[error(transparent)]
    KeyEncrypted(Unanswered),
    /// The passphrase was wrong each time.
    #[error("the passphrase for `{}` was wrong {tries} times", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// How often it was asked.
        tries: usize,
    },
    /// The server does not allow what is needed.
    #[error("`{host}` does not allow {what}")]
    Forbidden {
        /// Host as configured.
        host: String,
        /// `to run commands` and the like.
        what: String,
    },
    /// The account is there for something else than running commands.
    #[error("`{host}` runs no commands for `{user}`: {reason}")]
    NoCommands {
        /// Host as configured.
        host: String,
        /// User as configured.
        user: String,
        /// What happened instead.
        reason: String,
        /// Whether files can be transferred by SFTP all the same.
        sftp: bool,
    },
    /// The server has no room for one more session.
    #[error("`{host}` opens no further session on this connection")]
    Sessions {
        /// Host as configured.
        host: String,
    },
    /// Output that nobody reads.
    #[error("the command on `{host}` wrote {mebibytes} MiB that were not read, and was ended")]
    SlowReader {
        /// Host as configured.
        host: String,
        /// How much was kept.
        mebibytes: usize,
    },
    /// A command that ended without saying how.
    #[error("the command on `{host}` ended without an exit status")]
    NoStatus {
        /// Host as configured.
        host: String,
    },
    /// A file on this machine that cannot be read.
    #[error("cannot read `{}`", path.display())]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file on the remote that cannot be written.
    #[error("cannot write `{path}` on `{host}`: {reason}")]
    RemoteFile {
        /// Host as configured.
        host: String,
        /// The file.
        path: String,
        /// What the server says.
        reason: String,
    },
    /// No room for a file on the remote.
    #[error("there is no room for `{path}` on `{host}`")]
    RemoteFull {
        /// Host as configured.
        host: String,
        /// The file.
        path: String,
    },
    /// The person no longer wants it.
    #[error("connecting to `{host}` was cancelled")]
    Cancelled {
        /// Host as configured.
        host: String,
    },
}

impl TransportError {
    /// Returns the error for a machine that forbids what everything else needs, if it does.
    pub fn of_limits(host: &str, limits: &[Limit]) -> Option<Self> {
        limits.iter().find_map(|limit| match limit {
            Limit::NoCommands { user, reason, sftp } => Some(Self::NoCommands {
                host: host.to_owned(),
                user: user.clone(),
                reason: reason.clone(),
                sftp: *sftp,
            }),
            Limit::NoSftp | Limit::NoTerminal | Limit::NoForwarding | Limit::NoSockets => None,
        })
    }

    /// Returns whether another attempt without any change could go better. What a person has to decide or
    /// mend first (keys, host keys, permissions) is never transient.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoAddress { .. }
            | Self::Silent { .. }
            | Self::Lost { .. }
            | Self::Beyond { .. } => true,
            Self::Jump { source, .. } => source.is_transient(),
            Self::ProxyCommand { transient, .. } => *transient,
            Self::Protocol { .. }
            | Self::HostKeyDeclined { .. }
            | Self::HostKeyUnknown(_)
            | Self::HostKeyChanged { .. }
            | Self::HostKeyRevoked { .. }
            | Self::HostCertificate { .. }
            | Self::HostKeyStrict { .. }
            | Self::KnownHosts { .. }
            | Self::Refused { .. }
            | Self::LoginUnanswered(_)
            | Self::PasswordChange { .. }
            | Self::NoKey { .. }
            | Self::KeyHardware { .. }
            | Self::KeyUnreadable { .. }
            | Self::KeyGarbage { .. }
            | Self::KeyPublic { .. }
            | Self::KeyOpen { .. }
            | Self::KeyEncrypted(_)
            | Self::Passphrase { .. }
            | Self::Forbidden { .. }
            | Self::NoCommands { .. }
            | Self::Sessions { .. }
            | Self::SlowReader { .. }
            | Self::NoStatus { .. }
            | Self::LocalFile { .. }
            | Self::RemoteFile { .. }
            | Self::RemoteFull { .. }
            | Self::Cancelled { .. } => false,
        }
    }
}

impl Explain for TransportError {
    fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. }
            | Self::NoAddress { .. }
            | Self::Silent { .. }
            | Self::Beyond { .. }
            | Self::ProxyCommand { .. } => Code::SshUnreachable,
            Self::Jump { source, .. } => source.code(),
            Self::Protocol { .. } => Code::SshProtocol,
            Self::Lost { .. } => Code::SshLost,
            Self::HostKeyDeclined { .. }
            | Self::HostKeyUnknown(_)
            | Self::HostCertificate { .. }
            | Self::HostKeyStrict { .. } => Code::SshHostKeyUnknown,
            Self::HostKeyChanged { .. } => Code::SshHostKeyChanged,
            Self::HostKeyRevoked { .. } => Code::SshHostKeyRevoked,
            Self::KnownHosts { .. } => Code::SshKnownHosts,
            Self::Refused { .. } | Self::NoKey { .. } | Self::LoginUnanswered(_) | Self::PasswordChange { .. } => {
                Code::SshAuthRefused
            }
            Self::KeyUnreadable { .. }
            | Self::KeyGarbage { .. }
            | Self::KeyPublic { .. }
            | Self::KeyHardware { .. } => Code::SshKeyUnreadable,
            Self::KeyOpen { .. } => Code::SshKeyPermissions,
            Self::KeyEncrypted(_) | Self::Passphrase { .. } => Code::SshKeyEncrypted,
            Self::Forbidden { .. } | Self::NoCommands { .. } | Self::Sessions { .. } => Code::SshForbidden,
            Self::SlowReader { .. } | Self::NoStatus { .. } => Code::CommandFailed,
            Self::LocalFile { .. } => Code::FileFailed,
            Self::RemoteFile { .. } => Code::RemoteFileFailed,
            Self::RemoteFull { .. } => Code::RemoteFull,
            Self::Cancelled { .. } => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        explain::help(self)
    }
}

/// Returns keys as a phrase: `` `a` ``, `` `b` ``.
fn list(tried: &[String]) -> String {
    if tried.is_empty() {
        return "any key".to_owned();
    }
    tried.join(", ")
}

#[cfg(test)]
mod tests;
