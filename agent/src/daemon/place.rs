//! Where the agent keeps what is its own: `~/.mltoolbox` with `bin/`, `run/` and `logs/`, for this user only.
//!
//! Every build has a socket, a lock and a log of its own, so that a newer one never gets into the way of sessions
//! that an older one serves.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::error::DaemonError;
use super::program::{self, short_hash};
use crate::{env, facts};

/// Longest path of a socket that is used as it is; the system's limit is 107 on Linux and 103 on macOS.
const MAX_SOCKET: usize = 100;
/// What others may do in a folder.
const OTHERS: u32 = 0o077;

/// Folders and files of one build of a user's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
    run: PathBuf,
    /// What the files of all builds on this machine begin with.
    family: String,
    build: String,
}

impl Place {
    /// Returns the place below the home directory of this process.
    pub fn find() -> Result<Self, DaemonError> {
        let home = facts::home().ok_or(DaemonError::NoHome)?;
        let runtime = env::runtime_dir();
        let host = rustix::system::uname().nodename().to_bytes().to_owned();
        Ok(Self::below(&home, runtime.as_deref(), OsStr::from_bytes(&host), program::build()))
    }

    /// Returns the place below `home`. Homes may be shared by several machines, so the machine is part of
    /// the name; a path too long for a socket goes to `runtime`, else to a folder of ours below `/tmp`.
    fn below(home: &Path, runtime: Option<&Path>, host: &OsStr, build: String) -> Self {
        let folder = home.join(".mltoolbox");
        let machine = short_hash(host.as_bytes());
        let run = folder.join("run");
        let near = Self { folder: folder.clone(), run, family: format!("agent-{machine}"), build: build.clone() };
        if near.socket().as_os_str().len() <= MAX_SOCKET {
            return near;
        }
        let user = rustix::process::getuid().as_raw();
        let shared = PathBuf::from(format!("/tmp/mltoolbox-{user}"));
        let run = runtime
            .map(|runtime| runtime.join("mltoolbox"))
            .filter(|run| run.as_os_str().len() + 32 <= MAX_SOCKET)
            .unwrap_or(shared);
        let family = short_hash(&[folder.as_os_str().as_bytes(), machine.as_bytes()].concat());
        Self { folder, run, family, build }
    }

    /// Returns the places of the other builds that have ever run on this machine and were not removed, in order.
    pub fn others(&self) -> Vec<Self> {
        let entries = std::fs::read_dir(&self.run).into_iter().flatten().flatten();
        let mut others: Vec<Self> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let build = name.strip_prefix(&self.family)?.strip_prefix('-')?.strip_suffix(".lock")?;
                let is_other = program::is_build(build) && build != self.build;
                is_other.then(|| Self { build: build.to_owned(), ..self.clone() })
            })
            .collect();
        others.sort_by(|one, other| one.build.cmp(&other.build));
        others
    }

    /// Returns the build that this is the place of.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Returns the folder of sockets and locks, of every machine that shares this home.
    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    /// Returns the folder of the installed builds.
    pub(super) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Returns whether the folder of the socket is there and only this user can enter it.
    pub fn is_ours(&self) -> bool {
        let ours = rustix::process::getuid().as_raw();
        std::fs::symlink_metadata(&self.run)
            .is_ok_and(|found| found.is_dir() && found.uid() == ours && found.mode() & OTHERS == 0)
    }

    /// Makes the folders, for this user only, and refuses those that are not ours.
    pub fn prepare(&self) -> Result<(), DaemonError> {
        for folder in [&self.folder, &self.run, &self.folder.join("logs"), &self.folder.join("bin")] {
            own(folder)?;
        }
        Ok(())
    }

    /// Returns the folder of all that is the agent's.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join(format!("{}-{}.sock", self.family, self.build))
    }

    /// Returns the file whose lock makes the daemon.
    pub fn lock(&self) -> PathBuf {
        self.run.join(format!("{}-{}.lock", self.family, self.build))
    }

    /// Returns the daemon's log.
    pub fn log(&self) -> PathBuf {
        self.log_of(&self.build)
    }

    /// Returns the log of the daemons of a build.
    pub(super) fn log_of(&self, build: &str) -> PathBuf {
        self.folder.join("logs").join(format!("agent-{build}.log"))
    }
}

/// Makes a folder with mode 0700, or checks that the one there is ours and closes it to others.
fn own(path: &Path) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::Folder { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(DaemonError::NotOurs { path: path.to_owned() });
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = "0123456789ab";

    fn place(home: &str, runtime: Option<&str>) -> Place {
        Place::below(Path::new(home), runtime.map(Path::new), OsStr::new("gpu1"), BUILD.to_owned())
    }

    #[test]
    fn a_long_home_has_a_short_socket() {
        let long = format!("/home/{}", "x".repeat(150));
        for (home, runtime) in [
            ("/home/ada", None),
            (long.as_str(), None),
            (long.as_str(), Some("/run/user/1000")),
            (long.as_str(), Some(long.as_str())),
        ] {
            let place = place(home, runtime);
            assert!(place.socket().as_os_str().len() <= MAX_SOCKET, "{}", place.socket().display());
            assert!(place.log().starts_with(home));
        }
        assert_ne!(place(&long, None).socket(), place(&format!("{long}y"), None).socket());
        assert!(place(&long, Some("/run/user/1000")).socket().starts_with("/run/user/1000/mltoolbox"));
    }

    #[test]
    fn machines_that_share_a_home_do_not_share_a_socket() {
        let other = Place::below(Path::new("/home/ada"), None, OsStr::new("gpu2"), BUILD.to_owned());
        assert_ne!(place("/home/ada", None).socket(), other.socket());
    }

    #[test]
    fn builds_find_each_other_and_share_nothing() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let new = |host: &str, build: &str| Place::below(home.path(), None, OsStr::new(host), build.to_owned());
        let (ours, older) = (new("gpu1", BUILD), new("gpu1", "fedcba987654"));
        assert!(ours.socket() != older.socket() && ours.lock() != older.lock() && ours.log() != older.log());
        assert_eq!(ours.others(), [], "there is no folder yet");
        ours.prepare().expect("a place");
        for lock in [ours.lock(), older.lock(), new("gpu2", "aaaaaaaaaaaa").lock(), ours.run().join("agent-x.lock")] {
            std::fs::write(lock, "").expect("our own folder");
        }
        assert_eq!((ours.others(), older.others()), (vec![older], vec![ours]));
    }

    #[test]
    fn folders_are_closed_to_others_and_links_are_refused() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = Place::below(home.path(), None, OsStr::new("gpu1"), BUILD.to_owned());
        std::fs::create_dir(place.folder()).expect("a folder");
        std::fs::set_permissions(place.folder(), std::fs::Permissions::from_mode(0o755)).expect("ours");
        place.prepare().expect("a place");
        assert_eq!(place.folder().metadata().expect("there").mode() & 0o777, 0o700);

        assert!(place.is_ours());
        std::fs::set_permissions(&place.run, std::fs::Permissions::from_mode(0o755)).expect("ours");
        assert!(!place.is_ours(), "whoever can enter may have put the socket there");

        std::fs::remove_dir(home.path().join(".mltoolbox/run")).expect("empty");
        std::os::unix::fs::symlink("/tmp", home.path().join(".mltoolbox/run")).expect("a link");
        assert!(matches!(place.prepare(), Err(DaemonError::NotOurs { .. })) && !place.is_ours());
    }
}
