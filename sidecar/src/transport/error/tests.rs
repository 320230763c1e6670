//! The words of every error.

use super::*;
use crate::frontend::Question;

fn every_error() -> Vec<TransportError> {
    let host = || "gpu1".to_owned();
    let address = || "[gpu1]:2200".to_owned();
    let path = || PathBuf::from("/home/me/.ssh/id");
    let io = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let text = || "text".to_owned();
    let fingerprint = || "SHA256:abc".to_owned();
    let question = Question::Passphrase { key: text() };
    let jump = |source| TransportError::Jump { hop: text(), host: host(), source: Box::new(source) };
    let refused = |untried| TransportError::Refused {
        host: host(),
        port: 22,
        user: text(),
        tried: vec![text()],
        accepted: text(),
        untried,
    };
    let proxy = |transient| TransportError::ProxyCommand { host: host(), command: text(), reason: text(), transient };
    vec![
        TransportError::Unreachable { host: host(), port: 22, source: io() },
        TransportError::NoAddress { name: text(), source: io() },
        TransportError::Silent { host: host(), port: 22, seconds: 10 },
        TransportError::Protocol { host: host(), port: 22, source: "why".into() },
        jump(TransportError::NoKey { host: host() }),
        jump(TransportError::Silent { host: host(), port: 22, seconds: 10 }),
        TransportError::Beyond { hop: text(), host: host(), port: 22 },
        proxy(true),
        proxy(false),
        TransportError::Lost { host: host(), reason: text() },
        TransportError::HostKeyDeclined { host: address(), fingerprint: fingerprint() },
        TransportError::HostKeyUnknown(question.unanswered()),
        TransportError::HostKeyChanged {
            host: address(),
            algorithm: text(),
            fingerprint: fingerprint(),
            file: path(),
            line: 3,
        },
        TransportError::HostKeyRevoked { host: address(), fingerprint: fingerprint(), file: path(), line: 3 },
        TransportError::HostCertificate { host: address(), fingerprint: fingerprint(), why: text() },
        TransportError::HostKeyStrict { host: address(), fingerprint: fingerprint() },
        TransportError::KnownHosts { file: path(), source: io() },
        refused(0),
        refused(3),
        TransportError::LoginUnanswered(question.unanswered()),
        TransportError::PasswordChange { host: host(), port: 22, user: text() },
        TransportError::KeyHardware { path: path() },
        TransportError::NoKey { host: host() },
        TransportError::KeyUnreadable { path: path(), source: io() },
        TransportError::KeyGarbage { path: path(), source: "why".into() },
        TransportError::KeyPublic { path: path() },
        TransportError::KeyOpen { path: path(), mode: 0o644 },
        TransportError::KeyEncrypted(question.unanswered()),
        TransportError::Passphrase { path: path(), tries: 3 },
        TransportError::Forbidden { host: host(), what: "to run commands".to_owned() },
        TransportError::NoCommands { host: host(), user: text(), reason: text(), sftp: true },
        TransportError::Sessions { host: host() },
        TransportError::SlowReader { host: host(), mebibytes: 64 },
        TransportError::NoStatus { host: host() },
        TransportError::LocalFile { path: path(), source: io() },
        TransportError::RemoteFile { host: host(), path: text(), reason: text() },
        TransportError::RemoteFull { host: host(), path: text() },
        TransportError::Cancelled { host: host() },
    ]
}

#[test]
fn every_error_reads_as_the_others_do() {
    for error in every_error() {
        let (message, help) = (error.to_string(), error.help());
        assert!(!message.ends_with('.') && !message.starts_with(char::is_uppercase), "{message}");
        assert!(help.ends_with('.') && help.starts_with(char::is_uppercase), "{help}");
        for banned in ["please", "Please", "try again later", "check your configuration"] {
            assert!(!help.contains(banned), "{help}");
        }
    }
}

#[test]
fn only_the_line_is_worth_another_attempt() {
    let transient: Vec<_> = every_error().iter().filter(|error| error.is_transient()).map(Explain::code).collect();
    let (unreachable, lost) = (Code::SshUnreachable, Code::SshLost);
    assert_eq!(transient, [unreachable, unreachable, unreachable, unreachable, unreachable, unreachable, lost]);
}
