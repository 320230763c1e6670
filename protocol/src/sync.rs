//! What both ends of a sync agree on: what a path holds, what may be done to it, and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::delta::PatchSource;
use crate::path::RelPath;

/// BLAKE3 hash of a file's bytes; the identity of content everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// What a path holds, as far as two machines can agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A regular file.
    File {
        /// Its bytes.
        hash: Hash,
        /// Its length in bytes.
        size: u64,
        /// Whether its owner may execute it; the only permission that is compared.
        executable: bool,
    },
    /// A folder.
    Folder,
    /// A symbolic link, kept as text and never followed.
    Link {
        /// What it points to, as written.
        target: String,
    },
    /// A socket, pipe or device: reported, never touched.
    Special,
}

/// What a machine says about an inode. A stamp only ever decides whether to hash again: equal stamps of a
/// file that was quiet when stamped mean equal content, different stamps mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Status change time in nanoseconds since the Unix epoch.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
}

/// What must be there, or an operation does nothing and says what is there instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A regular file with these bytes; with an equal stamp it need not be read.
    File {
        /// Its bytes.
        hash: Hash,
        /// What the remote said when the bytes were last verified.
        stamp: Option<Stamp>,
    },
    /// A folder.
    Folder,
    /// A link with this text.
    Link {
        /// What it points to.
        target: String,
    },
}

/// One change to make below a remote root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Where.
    pub path: RelPath,
    /// What must be there now.
    pub expect: Expect,
    /// What to do.
    pub action: Action,
}

/// What to do at a path. Each is done completely or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Makes a folder; an existing one is success.
    MakeFolder {
        /// Permission bits here (`0o777`); the remote's umask narrows them.
        mode: u32,
    },
    /// Writes a file whose bytes follow in the stream's data, in the order of the operations.
    Put {
        /// Bytes that follow.
        size: u64,
        /// Their hash; `None` when it comes in the [`crate::agent::Trailer`] (last operation only).
        hash: Option<Hash>,
        /// Permission bits here (`0o777`). A new file gets them narrowed by the remote's umask; a
        /// replaced file keeps its own, with the execute bits and any narrowing taken over.
        mode: u32,
        /// Modification time in nanoseconds to give a new file; `None` leaves the remote's clock.
        mtime_ns: Option<i64>,
    },
    /// Writes a symbolic link.
    Link {
        /// Its text.
        target: String,
    },
    /// Takes over the execute bits and any narrowing of these permission bits.
    SetMode {
        /// Permission bits here (`0o777`).
        mode: u32,
    },
    /// Moves a file or link to the trash; removes a folder when nothing is left in it.
    Remove,
    /// Writes a file from pieces that the agent holds and bytes that follow, as [`crate::delta`] says. Last in
    /// its request, because its body goes to the end of the stream; its hash comes in the trailer. Since
    /// protocol 2.
    Patch {
        /// Length of the result in bytes.
        size: u64,
        /// Permission bits, as for [`Action::Put`].
        mode: u32,
        /// Modification time, as for [`Action::Put`].
        mtime_ns: Option<i64>,
        /// What COPY records name, by their place; at most [`crate::delta::MAX_SOURCES`].
        sources: Vec<PatchSource>,
    },
    /// Gives a file or link that is there this name; nothing is left under the old one. Since protocol 2.
    Move {
        /// Its name until now.
        from: RelPath,
        /// What it must hold.
        source: Expect,
    },
    /// Writes a file with the bytes of another one below the root. Since protocol 2.
    Copy {
        /// The other one.
        from: RelPath,
        /// What it must hold.
        source: Expect,
        /// Permission bits, as for [`Action::Put`].
        mode: u32,
        /// Modification time, as for [`Action::Put`].
        mtime_ns: Option<i64>,
    },
    /// Adds bytes that follow to the end of the file that is there, in place: whoever reads it meanwhile sees
    /// it grow. Only for files that a person named as logs. Since protocol 2.
    Append {
        /// Length of the file before, in bytes.
        length: u64,
        /// Bytes that follow; at most [`crate::delta::MAX_APPEND`].
        size: u64,
        /// Their hash.
        tail: Hash,
        /// Hash of the whole file afterwards, which becomes the base.
        hash: Hash,
        /// Permission bits, as for [`Action::SetMode`].
        mode: u32,
    },
}

impl Action {
    /// Returns the first version of the protocol that has this action.
    pub fn since(&self) -> u32 {
        match self {
            Self::MakeFolder { .. } | Self::Put { .. } | Self::Link { .. } | Self::SetMode { .. } | Self::Remove => 1,
            Self::Patch { .. } | Self::Move { .. } | Self::Copy { .. } | Self::Append { .. } => 2,
        }
    }
}

impl Action {
    /// Returns the bytes of content that it is about: those that follow it, or the most that may.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Put { size, .. } | Self::Patch { size, .. } | Self::Append { size, .. } => *size,
            Self::MakeFolder { .. }
            | Self::Link { .. }
            | Self::SetMode { .. }
            | Self::Remove
            | Self::Move { .. }
            | Self::Copy { .. } => 0,
        }
    }
}

/// What came of one [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done.
    Applied {
        /// The file as it is now on the remote; `None` for folders and removals.
        stamp: Option<Stamp>,
        /// The name beside it under which a version that turned up during the replacement was kept.
        kept_as: Option<RelPath>,
    },
    /// Nothing to do: what was asked for is already there.
    Already {
        /// The file as it is on the remote.
        stamp: Option<Stamp>,
    },
    /// Not done, and nothing was changed.
    Rejected(Rejected),
}

/// Why an [`Op`] was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejected {
    /// Something else is there than expected.
    Changed {
        /// What is there; `None` for nothing.
        found: Option<Found>,
    },
    /// A folder still holds entries that are not ours.
    NotEmpty {
        /// How many.
        kept: u64,
    },
    /// A component of the path is a link, a mount point or no folder.
    Unsafe {
        /// What stands in the way.
        reason: String,
    },
    /// The bytes that arrived do not have the announced hash or length; the file changed while it was read.
    Torn,
    /// The disk or the quota is full.
    Full,
    /// The trash has reached its limit, so nothing more is removed.
    TrashFull {
        /// Bytes it holds.
        held: u64,
    },
    /// The remote's file system refuses.
    Failed {
        /// The system's words.
        reason: String,
    },
}

/// What the agent found at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it holds.
    pub content: Content,
    /// Its stamp; `None` for folders and links.
    pub stamp: Option<Stamp>,
}

/// A path and what should be there, for [`crate::agent::Request::Verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Where.
    pub path: RelPath,
    /// What should be there.
    pub expect: Expect,
}

/// A path where something else was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// Where.
    pub path: RelPath,
    /// What is there; `None` for nothing.
    pub found: Option<Found>,
    /// Why it cannot be told, when it cannot (unreadable, below a link or mount).
    pub problem: Option<String>,
}
