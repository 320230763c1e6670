//! What an agent remembers of what it was given, compared as a tree of hashes: equal trees cost one
//! question, and a difference is followed down to the folder where it is.

use serde::{Deserialize, Serialize};

use crate::agent::{RootId, bounded};
use crate::path::RelPath;
use crate::sync::{Content, Hash, Stamp};

/// First protocol version with [`Summarise`].
pub const SINCE: u32 = 2;

/// Most paths that one [`Summary::Changed`] names, and most entries of one [`Summary::Different`].
pub const MAX_NAMED: usize = 4096;

/// Asks whether folders of the mirror are as the sidecar believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summarise {
    /// The root.
    pub root: RootId,
    /// Folders and the hash each should have; `None` is the root itself.
    #[serde(deserialize_with = "bounded")]
    pub folders: Vec<(Option<RelPath>, Hash)>,
    /// Paths that the sidecar does not follow any more; the mirror forgets them, and nothing else is done.
    #[serde(deserialize_with = "bounded")]
    pub forget: Vec<RelPath>,
}

/// What the mirror says of one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// It has that hash, and everything below it is as it was when it was given.
    Same,
    /// It has that hash, and nothing but these paths below it may hold something else by now.
    Changed(#[serde(deserialize_with = "bounded")] Vec<RelPath>),
    /// It has another hash: what is directly in it, in the order of the names.
    Different(#[serde(deserialize_with = "bounded")] Vec<Entry>),
    /// There is no mirror, or too much to name: everything below has to be looked at.
    Unknown,
}

/// What the mirror holds under one name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What was given under it.
    pub given: Given,
    /// Whether it, and everything below it, is still as it was when it was given.
    pub intact: bool,
}

/// What was given under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// A folder; the hash of what was given below it.
    Folder(Hash),
    /// A file or a link, and the stamp of a file right after it was given.
    Leaf(Content, Option<Stamp>),
}
