//! Where an owner listens. The lock and a record of the socket lie beside the state database, the same for
//! every caller; the socket lies where this user's sockets lie, which may differ from caller to caller.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::error::Result;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};

use super::{Lock, OwnerError, file};
use crate::env;

/// Digits of the hash in a name; a socket's path may have 100 bytes in all.
const NAME_DIGITS: usize = 24;

/// How often a place that is being left, or whose queue is full, is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Longest wait for room in the queue of an owner; the kernel itself connects at once.
const CONNECT: Duration = Duration::from_secs(5);

/// What a record's file name ends with.
const RECORD: &str = ".json";

/// Where the owner of one workspace is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    records: PathBuf,
    name: String,
    /// `None`: where the environment says.
    sockets: Option<PathBuf>,
}

/// What an owner leaves for callers whose environment differs from its own.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// [`Record::VERSION`] of the writer.
    version: u32,
    /// Absolute path of the socket.
    socket: PathBuf,
    /// The owner's process id.
    pid: u32,
}

impl Record {
    const VERSION: u32 = 1;
}

impl Place {
    /// Returns the place of a workspace, given by its absolute path without links.
    pub(super) fn of(workspace: &Path) -> Self {
        let hash = blake3::hash(workspace.as_os_str().as_encoded_bytes()).to_hex();
        let name = hash.get(..NAME_DIGITS).unwrap_or(&hash);
        Self { records: records(), name: name.to_owned(), sockets: None }
    }

    /// Returns every place at which somebody listens now.
    pub(super) async fn served() -> Result<Vec<Self>> {
        let records = records();
        let mut entries = match tokio::fs::read_dir(&records).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file(&records)(error)),
        };
        let mut served = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(file(&records))? {
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(RECORD)) else { continue };
            let place = Self { records: records.clone(), name: name.to_owned(), sockets: None };
            if place.is_served().await {
                served.push(place);
            }
        }
        Ok(served)
    }

    #[cfg(test)]
    pub(super) fn in_folder(folder: &Path, name: &str) -> Self {
        let folder = folder.to_owned();
        Self { records: folder.join("owners"), name: name.to_owned(), sockets: Some(folder) }
    }

    /// Returns where its owner listens, or listened last; where it would be written down when nobody did.
    pub(super) async fn socket(&self) -> PathBuf {
        let record = self.record();
        let found = tokio::fs::read(&record).await.ok().and_then(|bytes| parse(&bytes));
        found.map_or(record, |found| found.socket)
    }

    /// Connects to its owner, which must be a process of this user.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let socket = self.socket().await;
        let connecting = async {
            loop {
                match UnixStream::connect(&socket).await {
                    // Its queue is full; the kernel wakes nobody when there is room.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(LOOK).await,
                    connected => return connected,
                }
            }
        };
        let stream = tokio::time::timeout(CONNECT, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
        // A folder below `/tmp` that was cleaned away may since have become somebody else's.
        if is_ours(&stream) { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Returns whether an owner listens there. The files alone prove nothing: their owner may have been killed.
    pub(super) async fn is_served(&self) -> bool {
        // A queue that stays full is the queue of somebody.
        self.connect().await.map_or_else(|error| error.kind() == io::ErrorKind::TimedOut, |_| true)
    }

    /// Takes the place for this process; `None` when another one has it.
    pub(super) fn own(&self) -> Result<Option<Lock>> {
        if let Some(above) = self.records.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(file(above))?;
        }
        private(&self.records)?;
        // The lock file is never removed: whoever removed it could split the lock in two.
        let lock = self.records.join(format!("{}.lock", self.name));
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let opened = opened.map_err(file(&lock))?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(opened.into())),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(file(&lock)(error.into())),
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
            if self.is_served().await || Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Listens and writes down where; what a killed owner left behind is replaced. The lock must be held.
    pub(super) async fn listen(&self, _: &Lock) -> Result<UnixListener> {
        let socket = self.sockets()?.join(format!("{}.sock", self.name));
        remove(&self.socket().await)?;
        remove(&socket)?;
        let listener = UnixListener::bind(&socket).map_err(file(&socket))?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(file(&socket))?;
        self.write(&Record { version: Record::VERSION, socket, pid: std::process::id() })?;
        Ok(listener)
    }

    /// Leaves the place, so that whoever comes now starts the next owner. The lock must still be held.
    pub(super) async fn leave(&self, _: &Lock) -> Result<()> {
        remove(&self.socket().await)?;
        remove(&self.record())
    }

    /// Returns the folder of sockets, made when missing and checked in any case.
    pub(super) fn sockets(&self) -> Result<PathBuf> {
        self.sockets.clone().map_or_else(folder, Ok)
    }

    fn record(&self) -> PathBuf {
        self.records.join(format!("{}{RECORD}", self.name))
    }

    /// Writes the record whole or not at all.
    fn write(&self, record: &Record) -> Result<()> {
        let beside = self.records.join(format!("{}.new", self.name));
        let write = || {
            let mut options = OpenOptions::new();
            let mut opened = options.create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
            opened.write_all(&serde_json::to_vec(record)?)?;
            std::fs::rename(&beside, self.record())
        };
        write().map_err(file(&beside))
    }
}

/// Returns whether the socket that is listened at is still in its folder, as far as can be told.
pub(super) async fn stands(listener: &UnixListener) -> bool {
    let address = listener.local_addr().ok();
    match address.as_ref().and_then(|address| address.as_pathname()) {
        Some(socket) => tokio::fs::try_exists(socket).await.unwrap_or(true),
        None => true,
    }
}

/// Returns whether this user is at the other end.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::getuid().as_raw())
}

/// Returns what a record says; one that another version wrote says nothing to us.
fn parse(bytes: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    (record.version == Record::VERSION && record.socket.is_absolute()).then_some(record)
}

/// Returns the folder of locks and records.
fn records() -> PathBuf {
    env::config_dir().join("owners")
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Returns the folder of sockets, made when missing and checked in any case.
fn folder() -> Result<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = env::get(env::RUNTIME_DIR).map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    // A longer path would not fit into a socket's address, and a record is text; `/tmp` always does.
    let folder = runtime
        .map(|runtime| runtime.join("mltoolbox"))
        .filter(|folder| folder.to_str().is_some_and(|text| text.len() <= 60));
    let folder = folder.unwrap_or_else(|| PathBuf::from(format!("/tmp/mltoolbox-{uid}")));
    private(&folder)?;
    Ok(folder)
}

/// Makes a folder that only this user can enter, or checks that it is one.
fn private(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file(folder)(error)),
    }
    let found = std::fs::symlink_metadata(folder).map_err(file(folder))?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(OwnerError::UnsafeFolder { folder: folder.to_owned() }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(place: &Place) -> Lock {
        place.own().expect("the folder can be written").expect("nobody else is here")
    }

    #[tokio::test]
    async fn a_place_has_one_owner_and_outlives_a_killed_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place::in_folder(folder.path(), "name");
        assert!(!place.is_served().await);
        let lock = own(&place);
        assert!(place.own().expect("the folder can be written").is_none());
        let listener = place.listen(&lock).await.expect("the folder can be written");
        assert!(place.is_served().await);
        // The files stay, as after a kill.
        drop((listener, lock));
        assert!(!place.is_served().await);
        let lock = own(&place);
        let listener = place.listen(&lock).await.expect("the old socket is replaced");
        assert!(place.is_served().await);
        place.leave(&lock).await.expect("the folder can be written");
        assert!(!place.is_served().await);
        drop(listener);
    }

    #[tokio::test]
    async fn callers_with_other_folders_of_sockets_meet_at_one_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [one, other] = ["one", "other"].map(|name| {
            let sockets = folder.path().join(name);
            std::fs::create_dir(&sockets).expect("a folder of the test");
            Place { sockets: Some(sockets), ..Place::in_folder(folder.path(), "name") }
        });
        let lock = own(&one);
        let listener = one.listen(&lock).await.expect("the folder can be written");
        assert!(other.own().expect("the folder can be written").is_none());
        assert!(other.is_served().await);
        assert_eq!(other.socket().await, folder.path().join("one/name.sock"));
        let mode =
            |name: &str| std::fs::metadata(folder.path().join(name)).expect("a file of the place").mode() & 0o777;
        assert_eq!((mode("owners"), mode("owners/name.lock"), mode("owners/name.json")), (0o700, 0o600, 0o600));
        // The next owner, with other sockets, clears away what the killed one left.
        drop((listener, lock));
        let lock = own(&other);
        let _listener = other.listen(&lock).await.expect("the folder can be written");
        assert!(one.is_served().await && !folder.path().join("one/name.sock").exists());
    }

    #[test]
    fn a_record_of_another_kind_says_nothing() {
        for bytes in ["", "{}", r#"{"version":2,"socket":"/a","pid":1}"#, r#"{"version":1,"socket":"a","pid":1}"#] {
            assert!(parse(bytes.as_bytes()).is_none(), "{bytes}");
        }
        assert!(parse(br#"{"version":1,"socket":"/a","pid":1}"#).is_some());
    }
}
