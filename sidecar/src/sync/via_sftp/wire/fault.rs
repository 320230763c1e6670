//! What the library and the server say when a request comes to nothing.

use std::time::{Duration, Instant};

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::StatusCode;

/// A conversation that ended earlier than this is not begun again at once.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Fault {
    /// The conversation ended; `young` when it had hardly begun.
    #[error("the SFTP server's connection ended: {why}")]
    Lost { why: String, young: bool },
    /// There is nothing of that name.
    #[error("there is no such file")]
    Missing,
    /// The server may not.
    #[error("permission denied")]
    Denied,
    /// The server does not know the request.
    #[error("the SFTP server cannot do that")]
    Unsupported,
    /// Something else; servers seldom say what.
    #[error("the SFTP server says `{0}`")]
    Failed(String),
    /// The answer cannot be true.
    #[error("the SFTP server's answer makes no sense: {0}")]
    Nonsense(&'static str),
}

pub(super) fn over() -> SftpError {
    SftpError::UnexpectedBehavior("it is over".to_owned())
}

pub(super) fn fault(error: SftpError, begun: Instant) -> Fault {
    let lost = |why: &str| Fault::Lost { why: clean(why), young: begun.elapsed() < SHORT_LIVED };
    match error {
        SftpError::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => Fault::Missing,
            StatusCode::PermissionDenied => Fault::Denied,
            StatusCode::OpUnsupported => Fault::Unsupported,
            StatusCode::NoConnection | StatusCode::ConnectionLost => lost("it lost its own"),
            StatusCode::Ok | StatusCode::Eof => Fault::Nonsense("it says that all is well, and nothing more"),
            StatusCode::Failure | StatusCode::BadMessage => Fault::Failed(clean(&status.error_message)),
        },
        SftpError::IO(text) | SftpError::UnexpectedBehavior(text) => lost(&text),
        SftpError::Timeout => lost("it stopped answering"),
        SftpError::Limited(text) => Fault::Failed(clean(&text)),
        SftpError::UnexpectedPacket => Fault::Nonsense("it answers another question"),
    }
}

/// Returns a server's text without what could move a terminal's cursor, and not too long.
pub(in super::super) fn clean(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}
