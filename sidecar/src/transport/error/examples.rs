//! Each kind of error with the values of a real case.

use std::path::PathBuf;

use protocol::error::Example;

use super::TransportError;
use crate::frontend::Question;

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
#[rustfmt::skip] // One kind, one line.
pub fn examples() -> Vec<Example> {
    let host = || "203.0.113.7".to_owned();
    let at = || "[203.0.113.7]:2222".to_owned();
    let fingerprint = || "SHA256:uNiVztksCsDhcc0u9e8BrqXR".to_owned();
    let file = || PathBuf::from("/home/ada/.ssh/known_hosts");
    let key = || PathBuf::from("/home/ada/.ssh/id_ed25519");
    let remote_file = || "/home/ada/.mltoolbox/bin/mlt-0.1.0".to_owned();
    let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let host_key = Question::HostKey { host: at(), algorithm: "ssh-ed25519".to_owned(), fingerprint: fingerprint() };
    let passphrase = Question::Passphrase { key: key().display().to_string() };
    let password = Question::Password { user: "ada".to_owned(), host: host() };
    let tried = vec![format!("`{}`", key().display()), "`ada@laptop` of the SSH agent".to_owned()];
    vec![
        TransportError::Unreachable { host: host(), port: 2222, source: std::io::ErrorKind::ConnectionRefused.into() }.into(),
        TransportError::Unreachable { host: host(), port: 22, source: std::io::ErrorKind::NetworkUnreachable.into() }.into(),
        TransportError::NoAddress { name: "gpu1.example.org".to_owned(), source: std::io::Error::other("Name or service not known") }.into(),
        TransportError::Silent { host: host(), port: 2222, seconds: 20 }.into(),
        TransportError::Protocol { host: host(), port: 2222, source: "it began with `HTTP/1.1 400`".into() }.into(),
        TransportError::Jump { hop: "bastion".to_owned(), host: host(), source: Box::new(TransportError::NoKey { host: "bastion".to_owned() }) }.into(),
        TransportError::Beyond { hop: "bastion".to_owned(), host: host(), port: 2222 }.into(),
        TransportError::ProxyCommand { host: host(), command: "nc -X 5 203.0.113.7 22".to_owned(), reason: "it ended with status 127 and said `sh: nc: not found`".to_owned(), transient: false }.into(),
        TransportError::Lost { host: host(), reason: "it stopped answering".to_owned() }.into(),
        TransportError::HostKeyDeclined { host: at(), fingerprint: fingerprint() }.into(),
        TransportError::HostKeyUnknown(host_key.unanswered()).into(),
        TransportError::HostKeyChanged { host: at(), algorithm: "ssh-ed25519".to_owned(), fingerprint: fingerprint(), file: file(), line: 12 }.into(),
        TransportError::HostKeyRevoked { host: at(), fingerprint: fingerprint(), file: file(), line: 12 }.into(),
        TransportError::HostCertificate { host: at(), fingerprint: fingerprint(), why: "it expired".to_owned() }.into(),
        TransportError::HostKeyStrict { host: at(), fingerprint: fingerprint() }.into(),
        TransportError::KnownHosts { file: file(), source: denied() }.into(),
        TransportError::Refused { host: host(), port: 2222, user: "ada".to_owned(), tried: tried.clone(), accepted: "publickey, password".to_owned(), untried: 0 }.into(),
        TransportError::Refused { host: host(), port: 2222, user: "ada".to_owned(), tried, accepted: "publickey".to_owned(), untried: 3 }.into(),
        TransportError::LoginUnanswered(password.unanswered()).into(),
        TransportError::PasswordChange { host: host(), port: 2222, user: "ada".to_owned() }.into(),
        TransportError::NoKey { host: host() }.into(),
        TransportError::KeyHardware { path: key() }.into(),
        TransportError::KeyUnreadable { path: key(), source: denied() }.into(),
        TransportError::KeyGarbage { path: key(), source: "the file ends too early".into() }.into(),
        TransportError::KeyPublic { path: key().with_extension("pub") }.into(),
        TransportError::KeyOpen { path: key(), mode: 0o644 }.into(),
        TransportError::KeyEncrypted(passphrase.unanswered()).into(),
        TransportError::Passphrase { path: key(), tries: 3 }.into(),
        TransportError::Forbidden { host: host(), what: "to run commands".to_owned() }.into(),
        TransportError::NoCommands { host: host(), user: "ada".to_owned(), reason: "it said `This account is currently not available.`".to_owned(), sftp: true }.into(),
        TransportError::Sessions { host: host() }.into(),
        TransportError::SlowReader { host: host(), mebibytes: 64 }.into(),
        TransportError::NoStatus { host: host() }.into(),
        TransportError::LocalFile { path: "/usr/local/bin/mlt".into(), source: denied() }.into(),
        TransportError::RemoteFile { host: host(), path: remote_file(), reason: "permission denied".to_owned() }.into(),
        TransportError::RemoteFull { host: host(), path: remote_file() }.into(),
        TransportError::Cancelled { host: host() }.into(),
    ]
}
