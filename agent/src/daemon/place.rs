//! Where the agent keeps what is its own: `~/.mltoolbox` with `bin/`, `run/` and `logs/`, for this user only.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use protocol::hello::PROTOCOL;

use super::error::DaemonError;
use crate::facts;

/// Longest path of a socket that is used as it is; the system's limit is 107 on Linux and 103 on macOS.
const MAX_SOCKET: usize = 100;

/// Folders and files of one user's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
    run: PathBuf,
    name: String,
}

impl Place {
    /// Returns the place below the home directory of this process.
    pub fn find() -> Result<Self, DaemonError> {
        let home = facts::home().ok_or(DaemonError::NoHome)?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let host = rustix::system::uname().nodename().to_bytes().to_owned();
        Ok(Self::below(&home, runtime.as_deref(), OsStr::from_bytes(&host)))
    }

    /// Returns the place below `home`. Homes may be shared by several machines, so the machine is part of
    /// the name; a path too long for a socket goes to `runtime`, else to a folder of ours below `/tmp`.
    fn below(home: &Path, runtime: Option<&Path>, host: &OsStr) -> Self {
        let folder = home.join(".mltoolbox");
        let machine = short_hash(host.as_bytes());
        let run = folder.join("run");
        let near = Self { folder: folder.clone(), run, name: format!("agent-{PROTOCOL}-{machine}") };
        if near.socket().as_os_str().len() <= MAX_SOCKET {
            return near;
        }
        let user = rustix::process::getuid().as_raw();
        let shared = PathBuf::from(format!("/tmp/mltoolbox-{user}"));
        let run = runtime
            .map(|runtime| runtime.join("mltoolbox"))
            .filter(|run| run.as_os_str().len() + 32 <= MAX_SOCKET)
            .unwrap_or(shared);
        let name = format!("{}-{PROTOCOL}", short_hash(&[folder.as_os_str().as_bytes(), machine.as_bytes()].concat()));
        Self { folder, run, name }
    }

    /// Returns whether the folder of the socket is there and only this user can enter it.
    pub fn is_ours(&self) -> bool {
        let ours = rustix::process::getuid().as_raw();
        let Ok(found) = std::fs::symlink_metadata(&self.run) else { return false };
        let is_open = found.mode() & 0o077 != 0;
        found.is_dir() && found.uid() == ours && !is_open
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
        self.run.join(format!("{}.sock", self.name))
    }

    /// Returns the file whose lock makes the daemon.
    pub fn lock(&self) -> PathBuf {
        self.run.join(format!("{}.lock", self.name))
    }

    /// Returns the daemon's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("logs/agent.log")
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

fn short_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(home: &str, runtime: Option<&str>) -> Place {
        Place::below(Path::new(home), runtime.map(Path::new), OsStr::new("gpu1"))
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
        let other = Place::below(Path::new("/home/ada"), None, OsStr::new("gpu2"));
        assert_ne!(place("/home/ada", None).socket(), other.socket());
    }

    #[test]
    fn folders_are_closed_to_others_and_links_are_refused() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = Place::below(home.path(), None, OsStr::new("gpu1"));
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
