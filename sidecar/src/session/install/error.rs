//! Why the agent cannot be brought to a remote or does not run there.

use protocol::editor::NoAgent;
use protocol::error::{Code, Example, Explain, word};

use super::download::{self, DownloadError};
use super::platform::Platform;
use crate::env;
use crate::session::link::LinkError;
use crate::transport::TransportError;

/// What a program on the remote said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Said(pub String);

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is known that there is none.
    #[error("no agent is used on `{remote}`, because {why}")]
    Without {
        /// The remote.
        remote: String,
        /// Why.
        why: NoAgent,
        /// What was found out just now.
        source: Option<protocol::error::Error>,
    },
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Our build is not there.
    #[error("the agent is not installed on the remote")]
    Missing,
    /// A person said no.
    #[error("the agent was not installed on `{remote}`")]
    Declined {
        /// The remote.
        remote: String,
    },
    /// A person said no to its removal.
    #[error("the agent stays on `{remote}`")]
    Kept {
        /// The remote.
        remote: String,
    },
    /// Our own program cannot be read.
    #[error("cannot read the agent's program on this machine")]
    Own(#[source] std::io::Error),
    /// The remote's shell gives no answer that makes sense.
    #[error("the remote's shell does not run commands")]
    Probe {
        /// What it said.
        source: Said,
    },
    /// A kind of machine that agents do not run on.
    #[error("the remote is {theirs}, and there is no agent for such a machine")]
    Platform {
        /// Its system and processor.
        theirs: String,
    },
    /// A kind of machine that agents run on, and none is here.
    #[error("the remote is {platform}, and no agent for it is on this machine")]
    NoBuild {
        /// Its system and processor.
        platform: Platform,
    },
    /// A program that must be an agent and is not, or is one for another machine.
    #[error("`{file}` is {found}, and not for {platform}")]
    WrongProgram {
        /// Where it is on this machine.
        file: String,
        /// What it is.
        found: String,
        /// What it has to be for.
        platform: Platform,
    },
    /// It cannot be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It is of another version than we are.
    #[error("`{file}` is `{said}`, and not `{wanted}`")]
    OtherVersion {
        /// Where it is on this machine.
        file: String,
        /// What it says of itself.
        said: String,
        /// What it has to say.
        wanted: String,
    },
    /// A home that is none.
    #[error("the remote user's home `{home}` cannot be used")]
    Home {
        /// What it says.
        home: String,
    },
    /// A folder that cannot be made or removed.
    #[error("cannot write to `{path}` on the remote")]
    Folder {
        /// Where.
        path: String,
        /// What it said.
        source: Said,
    },
    /// Other bytes arrived than were sent.
    #[error("`{path}` on the remote is damaged after the upload")]
    Damaged {
        /// Where.
        path: String,
    },
    /// The shell does not find what was uploaded.
    #[error("`{path}` was uploaded, but the remote's shell does not find it there")]
    Elsewhere {
        /// Where.
        path: String,
    },
    /// It arrived, and the remote has not what starts it.
    #[error("`{path}` is on the remote, which does not have what it needs to start")]
    NoLoader {
        /// Where.
        path: String,
        /// What it said.
        source: Said,
    },
    /// It arrived and does not run.
    #[error("`{path}` does not run on the remote")]
    DoesNotRun {
        /// Where.
        path: String,
        /// What it said.
        source: Said,
    },
    /// It runs and gives up.
    #[error("the agent ended with status {status}")]
    Failed {
        /// Its status.
        status: i32,
        /// What it said.
        source: Said,
    },
    /// It was told to stop and runs on.
    #[error("the agent on the remote cannot be stopped")]
    Stays {
        /// What it said.
        source: Said,
    },
    /// It runs and is not well.
    #[error("the agent does not answer as it should")]
    Unhealthy {
        /// Why.
        source: LinkError,
    },
}

impl InstallError {
    /// Returns why there can be no agent at all, when this says so.
    pub(super) fn why_none(&self) -> Option<NoAgent> {
        match self {
            Self::Declined { .. } => Some(NoAgent::Refused),
            Self::Platform { .. } | Self::NoBuild { .. } => Some(NoAgent::Platform),
            Self::DoesNotRun { .. } => Some(NoAgent::NoExec),
            Self::Probe { .. } | Self::Transport(TransportError::Forbidden { .. }) => Some(NoAgent::NoShell),
            Self::Transport(_)
            | Self::Without { .. }
            | Self::Missing
            | Self::Kept { .. }
            | Self::Own(_)
            | Self::WrongProgram { .. }
            | Self::Download(_)
            | Self::OtherVersion { .. }
            | Self::Home { .. }
            | Self::Folder { .. }
            | Self::Damaged { .. }
            | Self::Elsewhere { .. }
            | Self::NoLoader { .. }
            | Self::Failed { .. }
            | Self::Stays { .. }
            | Self::Unhealthy { .. } => None,
        }
    }
}

impl Explain for InstallError {
    fn code(&self) -> Code {
        match self {
            Self::Transport(error) => error.code(),
            Self::Without { .. } => Code::AgentNone,
            Self::Missing | Self::Declined { .. } => Code::AgentMissing,
            Self::Kept { .. } => Code::Cancelled,
            Self::Platform { .. } | Self::NoBuild { .. } => Code::AgentPlatform,
            Self::Download(error) => error.code(),
            Self::Own(_)
            | Self::WrongProgram { .. }
            | Self::OtherVersion { .. }
            | Self::Probe { .. }
            | Self::Home { .. }
            | Self::Folder { .. }
            | Self::Damaged { .. }
            | Self::Elsewhere { .. }
            | Self::NoLoader { .. }
            | Self::DoesNotRun { .. } => Code::AgentInstall,
            Self::Failed { .. } | Self::Stays { .. } => Code::AgentUnhealthy,
            Self::Unhealthy { source } => match source {
                LinkError::AgentOlder { .. } | LinkError::AgentNewer { .. } | LinkError::Protocol { .. } => {
                    source.code()
                }
                _ => Code::AgentUnhealthy,
            },
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Transport(error) => error.help(),
            Self::Without { remote, .. } => {
                format!("Sync without it, over SFTP; or run `mltoolbox-sidecar agent install --remote {remote}` to try again.")
            }
            Self::Missing => "Run `mltoolbox-sidecar agent install`.".to_owned(),
            Self::Declined { remote } => {
                format!("Run `mltoolbox-sidecar agent install --remote {remote}` when it may be installed.")
            }
            Self::Kept { remote } => {
                format!("Run `mltoolbox-sidecar agent uninstall --remote {remote}` when it shall go after all.")
            }
            Self::Own(_) => "Install MLToolbox again; its program file is gone or cannot be read.".to_owned(),
            Self::Probe { .. } => {
                "Let this account run commands: `ssh HOST uname` has to print the system's name, and no menu."
                    .to_owned()
            }
            Self::Platform { .. } => {
                "Use a remote that is Linux on x86_64 or aarch64; `exec --host` needs no agent.".to_owned()
            }
            Self::NoBuild { platform } => format!(
                "Put `{}` of MLToolbox {} beside `mltoolbox-sidecar`, or set `{}` to where releases can be downloaded from.",
                platform.file_name(),
                env!("CARGO_PKG_VERSION"),
                env::DOWNLOAD_BASE
            ),
            Self::WrongProgram { file, .. } if file.contains("://") => {
                format!("Set `{}` to where releases of MLToolbox {} lie.", env::DOWNLOAD_BASE, env!("CARGO_PKG_VERSION"))
            }
            Self::WrongProgram { file, platform, .. } => format!(
                "Put `{}` of MLToolbox {} in the place of {}, or remove that file.",
                platform.file_name(),
                env!("CARGO_PKG_VERSION"),
                word(file)
            ),
            Self::OtherVersion { file, .. } => format!(
                "Put the agent of MLToolbox {} in the place of {}, or remove that file.",
                env!("CARGO_PKG_VERSION"),
                word(file)
            ),
            Self::Download(error) => error.help(),
            Self::Home { .. } => {
                "Give the remote user a home directory there: `sudo usermod -d /home/USER USER`.".to_owned()
            }
            Self::Folder { path, .. } => {
                format!(
                    "Check on the remote with `df -h {0}` and `ls -ld {0}` that its user may write there and has room.",
                    word(path)
                )
            }
            Self::Damaged { .. } => {
                "Check the remote's disk for space with `df -h ~`, then run `mltoolbox-sidecar agent install`."
                    .to_owned()
            }
            Self::Elsewhere { .. } => {
                "Look at `Subsystem sftp`, `ForceCommand` and `ChrootDirectory` in the remote's `/etc/ssh/sshd_config`: its \
                 SFTP and its shell have to see the same folders."
                    .to_owned()
            }
            Self::NoLoader { .. } => {
                "Put the published `mlt-linux-x86_64` (or `-aarch64`), which needs no C library, beside `mltoolbox-sidecar`, \
                 or install the remote's (`glibc`, on Alpine `gcompat`)."
                    .to_owned()
            }
            Self::DoesNotRun { .. } => {
                "Check on the remote with `findmnt -T ~` that its home is not mounted `noexec`.".to_owned()
            }
            Self::Unhealthy {
                source:
                    source @ (LinkError::AgentOlder { .. } | LinkError::AgentNewer { .. } | LinkError::Protocol { .. }),
            } => source.help(),
            Self::Stays { .. } => {
                "Run `pgrep -af 'mlt.* serve'` on the remote and end with `kill` what it shows, then run this again.".to_owned()
            }
            Self::Failed { .. } | Self::Unhealthy { .. } => {
                "Run `mltoolbox-sidecar agent restart`; the causes above hold the agent's last log lines.".to_owned()
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let said = |text: &str| Said(text.to_owned());
    let path = || "~/.mltoolbox/bin/mlt-0.1.0".to_owned();
    let remote = || "gpu1".to_owned();
    let older = LinkError::AgentOlder { version: "0.0.9".to_owned(), protocol: 0 };
    vec![
        InstallError::Without { remote: remote(), why: NoAgent::Refused, source: None }.into(),
        InstallError::Without { remote: remote(), why: NoAgent::NoExec, source: None }.into(),
        InstallError::Transport(TransportError::NoStatus { host: "203.0.113.7".to_owned() }).into(),
        InstallError::Missing.into(),
        InstallError::Declined { remote: remote() }.into(),
        InstallError::Kept { remote: remote() }.into(),
        InstallError::Own(std::io::ErrorKind::NotFound.into()).into(),
        InstallError::Probe { source: said("This account is currently not available.") }.into(),
        InstallError::Platform { theirs: "Linux riscv64".to_owned() }.into(),
        InstallError::NoBuild { platform: Platform::PUBLISHED[1] }.into(),
        InstallError::WrongProgram {
            file: "/usr/local/bin/mlt-linux-aarch64".to_owned(),
            found: "a program for Linux x86_64".to_owned(),
            platform: Platform::PUBLISHED[1],
        }
        .into(),
        InstallError::Download(DownloadError::NoSum {
            url: "https://releases.example/v0.1.0/mlt-linux-aarch64.sha256".to_owned(),
        })
        .into(),
        InstallError::OtherVersion {
            file: "/usr/local/bin/mlt-linux-aarch64".to_owned(),
            said: "mlt 0.0.9 protocol 1".to_owned(),
            wanted: "mlt 0.1.0 protocol 2".to_owned(),
        }
        .into(),
        InstallError::Home { home: "nowhere".to_owned() }.into(),
        InstallError::Folder { path: "/home/ada/.mltoolbox/bin".to_owned(), source: said("Permission denied") }.into(),
        InstallError::Damaged { path: path() }.into(),
        InstallError::Elsewhere { path: path() }.into(),
        InstallError::NoLoader { path: path(), source: said("not found") }.into(),
        InstallError::DoesNotRun { path: path(), source: said("Permission denied") }.into(),
        InstallError::Failed { status: 1, source: said("cannot listen on its socket") }.into(),
        InstallError::Stays { source: said("the running agent does not answer") }.into(),
        InstallError::Unhealthy { source: LinkError::Silent }.into(),
        InstallError::Unhealthy { source: older }.into(),
    ]
    .into_iter()
    .chain(download::examples())
    .collect()
}
