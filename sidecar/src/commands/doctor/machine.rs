//! What the doctor looks at on this machine.

use std::io;
use std::path::{Path, PathBuf};

use protocol::editor::{DoctorCheck, DoctorLevel};
use protocol::error::{Code, Explain, word};

use super::{good, not_well};
use crate::commands::show::text::{bytes, count};
use crate::env;

/// With less room the state database may fail within a day of work.
#[cfg(unix)]
const LITTLE_SPACE: u64 = 100 << 20;
/// A large project has as many folders, and every watched folder counts.
const MANY_WATCHES: u64 = 65_536;

/// Checks that files can be made in a folder, or that the folder itself can be made.
pub(super) fn writable(name: &str, folder: &Path) -> DoctorCheck {
    let tried = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    match tried {
        Ok(_) => good(name, folder.display().to_string()),
        Err(source) => {
            let error = DoctorError::NotWritable { folder: folder.to_owned(), source };
            not_well(name, DoctorLevel::Bad, "cannot be written", error.into())
        }
    }
}

/// Checks the room on the disk of `folder`.
#[cfg(unix)]
pub(super) fn space(folder: &Path) -> DoctorCheck {
    let name = "disk space";
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free >= LITTLE_SPACE {
                return good(name, format!("{} free", bytes(free)));
            }
            let error = DoctorError::LittleSpace { folder: folder.to_owned(), free };
            not_well(name, DoctorLevel::Limited, "little is free", error.into())
        }
        Err(source) => {
            let error = DoctorError::NotWritable { folder: folder.to_owned(), source: source.into() };
            not_well(name, DoctorLevel::Limited, "is not known", error.into())
        }
    }
}

/// Says that the room on the disk is not looked at.
#[cfg(not(unix))]
pub(super) fn space(folder: &Path) -> DoctorCheck {
    good("disk space", format!("of `{}` is not looked at on this system", folder.display()))
}

/// Checks that the SSH agent answers. Without one, key files are used.
pub(super) async fn ssh_agent() -> DoctorCheck {
    let name = "SSH agent";
    let Some(socket) = env::get(env::SSH_AUTH_SOCK).map(PathBuf::from) else {
        return good(name, "none; key files are used".to_owned());
    };
    #[cfg(unix)]
    let answer = tokio::net::UnixStream::connect(&socket).await.map(drop);
    #[cfg(windows)]
    let answer = tokio::net::windows::named_pipe::ClientOptions::new().open(&socket).map(drop);
    match answer {
        Ok(()) => good(name, socket.display().to_string()),
        Err(source) => {
            let error = DoctorError::SshAgent { socket, source };
            not_well(name, DoctorLevel::Limited, "does not answer", error.into())
        }
    }
}

/// Checks nothing: permission bits do not say who may read a private key here.
#[cfg(not(unix))]
pub(super) fn keys() -> Vec<DoctorCheck> {
    Vec::new()
}

/// Checks who may read the usual private keys.
#[cfg(unix)]
pub(super) fn keys() -> Vec<DoctorCheck> {
    let folder = env::home().unwrap_or_default().join(".ssh");
    let mut checks: Vec<_> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let file = entry.file_name().into_string().ok()?;
            if !file.starts_with("id_") || Path::new(&file).extension().is_some() {
                return None;
            }
            let mode = std::os::unix::fs::MetadataExt::mode(&entry.metadata().ok()?) & 0o777;
            let name = format!("key `{file}`");
            Some(if mode.trailing_zeros() >= 6 {
                // No bit of the group's and the others' six.

                good(&name, "only you can read it".to_owned())
            } else {
                let error = DoctorError::OpenKey { key: entry.path(), mode };
                not_well(&name, DoctorLevel::Bad, "others can read it", error.into())
            })
        })
        .collect();
    checks.sort_by(|one, other| one.name.cmp(&other.name));
    checks
}

/// Checks how many folders may be watched. Other systems have no such limit.
pub(super) fn watch_limits() -> Option<DoctorCheck> {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    let limit: u64 = text.trim().parse().ok()?;
    let name = "watched folders";
    Some(if limit >= MANY_WATCHES {
        good(name, format!("up to {limit}"))
    } else {
        not_well(name, DoctorLevel::Limited, "few are allowed", DoctorError::FewWatches { limit }.into())
    })
}

/// What the doctor finds not well.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// No files can be made in a folder.
    #[error("`{}` cannot be written", folder.display())]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The disk is nearly full.
    #[error("only {} are free on the disk of `{}`", bytes(*free), folder.display())]
    LittleSpace {
        /// The folder.
        folder: PathBuf,
        /// Free bytes.
        free: u64,
    },
    /// The SSH agent is gone.
    #[error("the SSH agent does not answer on `{}`", socket.display())]
    SshAgent {
        /// Its socket.
        socket: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A private key is open to others.
    #[error("the private key `{}` can be read by others (mode {mode:o})", key.display())]
    OpenKey {
        /// The key file.
        key: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Large projects cannot be watched.
    #[error("only {} may be watched", count(*limit, "folder"))]
    FewWatches {
        /// The limit.
        limit: u64,
    },
    /// A remote takes too long.
    #[error("`{remote}` gave no answer within {seconds} seconds")]
    RemoteSilent {
        /// The remote.
        remote: String,
        /// The time.
        seconds: u64,
    },
}

impl Explain for DoctorError {
    fn code(&self) -> Code {
        match self {
            Self::NotWritable { .. }
            | Self::LittleSpace { .. }
            | Self::SshAgent { .. }
            | Self::OpenKey { .. }
            | Self::FewWatches { .. }
            | Self::RemoteSilent { .. } => Code::DoctorFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NotWritable { folder, .. } => {
                format!(
                    "Run `ls -ld {0}` to see whose it is, and `chmod u+rwx {0}` if it is yours.",
                    word(folder.display())
                )
            }
            Self::LittleSpace { folder, .. } => {
                format!("Run `df -h {}` and make room on that disk.", word(folder.display()))
            }
            Self::SshAgent { .. } => "Start one with `eval $(ssh-agent)`, or unset `SSH_AUTH_SOCK`.".to_owned(),
            Self::OpenKey { key, .. } => format!("Run `chmod 600 {}`.", word(key.display())),
            Self::FewWatches { .. } => "Run `sudo sysctl fs.inotify.max_user_watches=524288`.".to_owned(),
            Self::RemoteSilent { remote, .. } => {
                format!("Run `mltoolbox-sidecar remote test {remote}` to see where it stops.")
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<protocol::error::Example> {
    let folder = || PathBuf::from("/home/ada/.config/mltoolbox");
    vec![
        DoctorError::NotWritable { folder: folder(), source: io::ErrorKind::PermissionDenied.into() }.into(),
        DoctorError::LittleSpace { folder: folder(), free: 5 << 20 }.into(),
        DoctorError::SshAgent {
            socket: "/run/user/1000/agent.1".into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        }
        .into(),
        DoctorError::OpenKey { key: "/home/ada/.ssh/id_ed25519".into(), mode: 0o644 }.into(),
        DoctorError::FewWatches { limit: 8192 }.into(),
        DoctorError::RemoteSilent { remote: "gpu1".to_owned(), seconds: 20 }.into(),
    ]
}
