//! Why a conversation with an agent failed.

use std::io;
use std::sync::Arc;

use agent::wire::WireError;
use protocol::error::{Code, Example, Explain};
use protocol::frame::MAX_PAYLOAD;
use protocol::hello::PROTOCOL;

/// Why a conversation failed. Cloned for everybody who waits on the link.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// The stream ended.
    #[error("the agent's connection ended")]
    Lost,
    /// The stream broke.
    #[error("the agent's connection broke")]
    Broken {
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// Nothing came for longer than any pause the agent makes.
    #[error("the agent stopped answering")]
    Silent,
    /// One request got no sign of life.
    #[error("the agent did not answer in time with {what}")]
    Slow {
        /// What was waited for.
        what: &'static str,
    },
    /// The agent broke the rules.
    #[error("the agent sent something that is not allowed: {what}")]
    Protocol {
        /// Which rule.
        what: String,
    },
    /// The other side is no agent.
    #[error("something else than the agent answered")]
    NoAgent {
        /// What it said.
        #[source]
        said: Said,
    },
    /// An agent of an older protocol.
    #[error("the agent {version} speaks protocol {protocol}, older than our {PROTOCOL}")]
    AgentOlder {
        /// Its version.
        version: String,
        /// Its protocol.
        protocol: u32,
    },
    /// An agent of a newer protocol.
    #[error("the agent {version} speaks protocol {protocol}, newer than our {PROTOCOL}")]
    AgentNewer {
        /// Its version.
        version: String,
        /// Its protocol.
        protocol: u32,
    },
    /// A request of ours is newer than what this link speaks; whoever asks has to look at the link first.
    #[error("a request is of protocol {since}, and the agent speaks {protocol}")]
    NotSpoken {
        /// First version that has it.
        since: u32,
        /// Version of the link.
        protocol: u32,
    },
    /// A request of ours does not fit into a frame.
    #[error("a request of {bytes} bytes is larger than the {MAX_PAYLOAD} allowed")]
    TooLong {
        /// Its size.
        bytes: usize,
    },
}

/// What a program said that is no agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it said `{0}`")]
pub struct Said(pub String);

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Ended => Self::Lost,
            WireError::Broken(source) => Self::Broken { source: Arc::new(source) },
            WireError::Silent => Self::Silent,
            WireError::Frame(error) => Self::Protocol { what: error.to_string() },
            WireError::Chatter { said } => Self::NoAgent { said: Said(said) },
            WireError::Nonsense(what) => Self::Protocol { what: what.to_owned() },
        }
    }
}

impl Explain for LinkError {
    fn code(&self) -> Code {
        match self {
            Self::Lost | Self::Broken { .. } | Self::Silent | Self::Slow { .. } => Code::AgentLost,
            Self::Protocol { .. } => Code::AgentProtocol,
            Self::NoAgent { .. } => Code::AgentUnhealthy,
            Self::AgentOlder { .. } | Self::AgentNewer { .. } => Code::AgentVersion,
            Self::NotSpoken { .. } | Self::TooLong { .. } => Code::Bug,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Lost | Self::Broken { .. } | Self::Silent => {
                "Run `mltoolbox-sidecar agent logs` to see its last words.".to_owned()
            }
            Self::Slow { .. } => {
                "Run `mltoolbox-sidecar agent status`; when the remote's disk hangs, mend that first.".to_owned()
            }
            Self::Protocol { .. } => {
                "Run `mltoolbox-sidecar agent install` to replace it; when that does not help, do not trust that \
                 machine."
                    .to_owned()
            }
            Self::NoAgent { .. } => {
                "Let this account run commands: `ssh HOST uname` has to print the system's name, and no menu.".to_owned()
            }
            Self::AgentOlder { .. } => "Run `mltoolbox-sidecar agent install` to bring it up to date.".to_owned(),
            Self::AgentNewer { .. } => {
                "Update MLToolbox on this machine, or run `mltoolbox-sidecar agent install` to put our version beside it."
                    .to_owned()
            }
            Self::NotSpoken { .. } | Self::TooLong { .. } => {
                format!("Report this as a defect, with the last lines of `{}` as its evidence.", crate::log::path().display())
            },
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let version = || "0.9.0".to_owned();
    vec![
        LinkError::Lost.into(),
        LinkError::Broken { source: Arc::new(io::ErrorKind::BrokenPipe.into()) }.into(),
        LinkError::Silent.into(),
        LinkError::Slow { what: "the hello" }.into(),
        LinkError::Protocol { what: "an answer to a request that was never made".to_owned() }.into(),
        LinkError::NoAgent { said: Said("This account is currently not available.".to_owned()) }.into(),
        LinkError::AgentOlder { version: "0.0.9".to_owned(), protocol: 0 }.into(),
        LinkError::AgentNewer { version: version(), protocol: 9 }.into(),
        LinkError::NotSpoken { since: 2, protocol: 1 }.into(),
        LinkError::TooLong { bytes: 3_000_000 }.into(),
    ]
}
