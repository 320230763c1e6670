//! What stands in folders of the remote, whoever put it there: for bringing things home.

use serde::{Deserialize, Serialize};

use crate::agent::RootId;
use crate::path::RelPath;
use crate::sync::Stamp;

/// Asks what stands in folders. Nothing is read, and links are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The root.
    pub root: RootId,
    /// The folders; `None` is the root itself.
    pub folders: Vec<Option<RelPath>>,
    /// Leaves out, in the first folder, names up to and with this one: where the last answer was cut.
    pub after: Option<String>,
}

/// What stands in one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its entries, sorted by name.
    pub entries: Vec<Listed>,
    /// Whether there are more than fitted; ask again after the last one.
    pub cut: bool,
    /// Why it cannot be told, when it cannot.
    pub problem: Option<String>,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The name; bytes that are not UTF-8 are left out and counted as a problem.
    pub name: String,
    /// What it is.
    pub kind: ListedKind,
    /// Permission bits (`0o777`).
    pub mode: u32,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListedKind {
    /// A regular file.
    File(Stamp),
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
    },
    /// A socket, pipe or device.
    Special,
}
