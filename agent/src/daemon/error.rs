//! Why the agent cannot be started or reached on this machine.

use std::io;
use std::path::PathBuf;

use protocol::error::{Code, Example, Explain, word};

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
                format!(
                    "Run `ls -ld {0}` and `df -h {0}` there: this user has to be able to write, and to have room.",
                    word(path.display())
                )
            }
            Self::NotOurs { path } => {
                format!("Remove `{0}` there, or run `sudo chown -R USER {0}` for this user.", word(path.display()))
            }
            Self::Socket { path, .. } => format!(
                "Run `df -T {}` there: its file system has to be one that can hold sockets.",
                word(path.parent().unwrap_or(path).display())
            ),
            Self::Runtime(_) => {
                "Run `ulimit -a` there to see how many processes and open files this user may have.".to_owned()
            }
            Self::Spawn(_) => "Run `findmnt -T ~` there: the home directory must not be mounted `noexec`.".to_owned(),
            Self::Ended(_) | Self::NotListening { .. } | Self::NoAnswer(_) | Self::Refused(_) => {
                "Run `mltoolbox-sidecar agent logs` to see why.".to_owned()
            }
            Self::NotRunning => "Run `mltoolbox-sidecar agent restart` to start it.".to_owned(),
            Self::Pipe(_) => "Run the command again; the connection went away.".to_owned(),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    use std::os::unix::process::ExitStatusExt as _;

    let path = |name: &str| PathBuf::from("/home/ada/.mltoolbox").join(name);
    let refused = protocol::error::Error {
        code: Code::Bug,
        message: "the agent failed while it worked on the request".to_owned(),
        help: String::new(),
        causes: Vec::new(),
    };
    vec![
        DaemonError::NoHome.into(),
        DaemonError::Folder { path: path("run"), source: io::ErrorKind::PermissionDenied.into() }.into(),
        DaemonError::NotOurs { path: path("run") }.into(),
        DaemonError::Socket { path: path("run/agent.sock"), source: io::ErrorKind::Unsupported.into() }.into(),
        DaemonError::Runtime(io::ErrorKind::OutOfMemory.into()).into(),
        DaemonError::Spawn(io::ErrorKind::PermissionDenied.into()).into(),
        DaemonError::Ended(std::process::ExitStatus::from_raw(1 << 8)).into(),
        DaemonError::NotListening { seconds: 10 }.into(),
        DaemonError::NotRunning.into(),
        DaemonError::NoAnswer(crate::wire::WireError::Ended).into(),
        DaemonError::Refused(refused).into(),
        DaemonError::Pipe(io::ErrorKind::BrokenPipe.into()).into(),
    ]
}
