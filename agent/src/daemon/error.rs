//! Why the agent cannot be started or reached on this machine.

use std::io;
use std::path::PathBuf;

use protocol::error::{Code, Explain};

/// Why the agent cannot be started or reached.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There is no home directory.
    #[error("this user has no home directory")]
    NoHome,
    /// A folder or file of ours cannot be made or used.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder that must be ours belongs to somebody else, or is a link.
    #[error("`{}` is not a folder of this user", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on `{}`", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No threads, no memory, no file descriptors.
    #[error("the system gives the agent no resources")]
    Runtime(#[source] io::Error),
    /// The program cannot be run a second time.
    #[error("cannot start `mlt serve`")]
    Spawn(#[source] io::Error),
    /// It was started and ended.
    #[error("`mlt serve` ended at once with {0}")]
    Ended(std::process::ExitStatus),
    /// It was started and is not reachable.
    #[error("`mlt serve` does not listen after {seconds} s")]
    NotListening {
        /// How long was waited.
        seconds: u64,
    },
    /// None runs.
    #[error("no agent is running")]
    NotRunning,
    /// It runs and makes no sense.
    #[error("the running agent did not answer")]
    NoAnswer(#[source] crate::wire::WireError),
    /// It runs and said no.
    #[error("the running agent refused: {0}")]
    Refused(protocol::error::Error),
    /// The standard streams broke.
    #[error("cannot pass bytes on")]
    Pipe(#[source] io::Error),
}

impl Explain for DaemonError {
    fn code(&self) -> Code {
        match self {
            Self::NotRunning => Code::AgentMissing,
            Self::NoHome | Self::Folder { .. } | Self::NotOurs { .. } => Code::AgentInstall,
            Self::Socket { .. }
            | Self::Runtime(_)
            | Self::Spawn(_)
            | Self::Ended(_)
            | Self::NotListening { .. }
            | Self::NoAnswer(_)
            | Self::Refused(_)
            | Self::Pipe(_) => Code::AgentUnhealthy,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NoHome => "Set `HOME` to a folder that this user may write to.".to_owned(),
            Self::Folder { path, .. } => {
                format!("Check with `df -h` and `ls -ld` that this user can write to `{}`.", path.display())
            }
            Self::NotOurs { path } => format!("Remove `{}`, or give it back to this user.", path.display()),
            Self::Socket { path, .. } => format!("Check that `{}` can hold sockets.", path.display()),
            Self::Runtime(_) => "Check the limits of this user with `ulimit -a`.".to_owned(),
            Self::Spawn(_) => "Check that the file system with the home directory allows programs to run.".to_owned(),
            Self::Ended(_) | Self::NotListening { .. } | Self::NoAnswer(_) | Self::Refused(_) => {
                "Run `mlt logs` to see why.".to_owned()
            }
            Self::NotRunning => "Run `mlt proxy` from the sidecar; it starts one.".to_owned(),
            Self::Pipe(_) => "Run the command again; the connection went away.".to_owned(),
        }
    }
}
