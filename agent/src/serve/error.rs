//! Why a request as a whole is refused, apart from what the files say themselves.

use protocol::agent::{MAX_BATCH, RootId};
use protocol::error::{Code, Example, Explain};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The root is not open.
    #[error("the remote folder number {0} is not open")]
    RootUnknown(RootId),
    /// Too many entries.
    #[error("a request has {0} entries, more than the {MAX_BATCH} allowed")]
    TooLarge(usize),
    /// The sidecar asks for what the version that was agreed on does not have.
    #[error("the request is of protocol {since}, and this link speaks {protocol}")]
    Newer {
        /// First version that has it.
        since: u32,
        /// Version of the link.
        protocol: u32,
    },
    /// The sidecar took it back.
    #[error("the request was cancelled")]
    Cancelled,
    /// The answer does not fit into a frame.
    #[error("the answer is too long to be sent")]
    AnswerTooLong,
    /// A defect of the agent.
    #[error("the agent failed while it worked on the request")]
    Panicked,
    /// A file broke off while it was sent.
    #[error("a file on the remote cannot be read to its end")]
    File(#[source] std::io::Error),
    /// The log cannot be read.
    #[error("the agent's log cannot be read")]
    Log(#[source] std::io::Error),
}

impl Explain for RequestError {
    fn code(&self) -> Code {
        match self {
            Self::RootUnknown(_) => Code::SyncRoot,
            Self::TooLarge(_) | Self::AnswerTooLong | Self::Newer { .. } => Code::AgentProtocol,
            Self::Cancelled => Code::Cancelled,
            Self::Panicked => Code::Bug,
            Self::File(_) | Self::Log(_) => Code::RemoteFileFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::RootUnknown(_) => "Run `mltoolbox-sidecar sync watch`; it opens the folder anew.".to_owned(),
            Self::Newer { .. } | Self::TooLarge(_) | Self::AnswerTooLong => {
                "Report this as a defect, with the output of `mltoolbox-sidecar agent logs`.".to_owned()
            }
            Self::Cancelled => "Run the command again to go on.".to_owned(),
            Self::Panicked => "Report this as a defect, with the output of `mltoolbox-sidecar agent logs`.".to_owned(),
            Self::File(_) => "Check the remote's disk with `mltoolbox-sidecar exec --host -- dmesg`.".to_owned(),
            Self::Log(_) => "Run `ls -l ~/.mltoolbox/logs` on the remote to see who may read its logs.".to_owned(),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    vec![
        RequestError::RootUnknown(3).into(),
        RequestError::TooLarge(20_000).into(),
        RequestError::Newer { since: 2, protocol: 1 }.into(),
        RequestError::Cancelled.into(),
        RequestError::AnswerTooLong.into(),
        RequestError::Panicked.into(),
        RequestError::File(std::io::ErrorKind::UnexpectedEof.into()).into(),
        RequestError::Log(std::io::ErrorKind::NotFound.into()).into(),
    ]
}
