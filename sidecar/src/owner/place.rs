//! Where an owner listens: a socket and a lock in a folder that only this user can enter.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::error::Result;
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

use super::{Lock, OwnerError, file};
use crate::env;

/// Digits of the hash in a name; a socket's path may have 100 bytes in all.
const NAME_DIGITS: usize = 24;

/// How often a place that is being left is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Where the owner of one workspace listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its socket.
    pub(super) socket: PathBuf,
    lock: PathBuf,
}

impl Place {
    /// Returns the place of a workspace, given by its absolute path without links.
    pub(super) fn of(workspace: &Path) -> Result<Self> {
        let hash = blake3::hash(workspace.as_os_str().as_encoded_bytes()).to_hex();
        let name = hash.get(..NAME_DIGITS).unwrap_or(&hash);
        Ok(Self::in_folder(&folder()?, name))
    }

    /// Returns every place at which somebody listens now.
    pub(super) fn served() -> Result<Vec<Self>> {
        let folder = folder()?;
        let names = std::fs::read_dir(&folder).map_err(file(&folder))?.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".sock")?.to_owned())
        });
        Ok(names.map(|name| Self::in_folder(&folder, &name)).filter(Self::is_served).collect())
    }

    pub(super) fn in_folder(folder: &Path, name: &str) -> Self {
        Self { socket: folder.join(format!("{name}.sock")), lock: folder.join(format!("{name}.lock")) }
    }

    /// Returns whether an owner listens there. The file alone proves nothing: its owner may have been killed.
    pub(super) fn is_served(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.socket).is_ok()
    }

    /// Takes the place for this process; `None` when another one has it.
    pub(super) fn own(&self) -> Result<Option<Lock>> {
        // The lock file is never removed: whoever removed it could split the lock in two.
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).mode(0o600).open(&self.lock);
        let opened = opened.map_err(file(&self.lock))?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(opened.into())),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(file(&self.lock)(error.into())),
        }
    }

    /// Takes the place for this process as soon as an owner that ends is gone; `None` when one serves.
    pub(super) async fn own_soon(&self, within: Duration) -> Result<Option<Lock>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(lock) = self.own()? {
                return Ok(Some(lock));
            }
            // The kernel wakes nobody who only looks, and a killed process is gone within milliseconds.
            if self.is_served() || Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Listens; a socket that a killed owner left behind is replaced. The lock must be held.
    pub(super) fn listen(&self, _: &Lock) -> Result<UnixListener> {
        match std::fs::remove_file(&self.socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file(&self.socket)(error)),
        }
        let listener = UnixListener::bind(&self.socket).map_err(file(&self.socket))?;
        std::fs::set_permissions(&self.socket, Permissions::from_mode(0o600)).map_err(file(&self.socket))?;
        Ok(listener)
    }
}

/// Returns the folder of sockets, made when missing and checked in any case.
fn folder() -> Result<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = env::get(env::RUNTIME_DIR).map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    // A longer path would not fit into a socket's address; `/tmp` always does.
    let folder = runtime.map(|runtime| runtime.join("mltoolbox")).filter(|folder| folder.as_os_str().len() <= 60);
    let folder = folder.unwrap_or_else(|| PathBuf::from(format!("/tmp/mltoolbox-{uid}")));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file(&folder)(error)),
    }
    let found = std::fs::symlink_metadata(&folder).map_err(file(&folder))?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(OwnerError::UnsafeFolder { folder }.into());
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_has_one_owner_and_outlives_a_killed_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place::in_folder(folder.path(), "name");
        assert!(!place.is_served());
        let lock = place.own().expect("the folder can be written").expect("nobody else is here");
        assert!(place.own().expect("the folder can be written").is_none());
        let listener = place.listen(&lock).expect("the folder can be written");
        assert!(place.is_served());
        // The files stay, as after a kill.
        drop((listener, lock));
        assert!(!place.is_served());
        let lock = place.own().expect("the folder can be written").expect("the lock went with its holder");
        let listener = place.listen(&lock).expect("the old socket is replaced");
        assert!(place.is_served());
        drop(listener);
    }
}
