//! What an agent remembers of what it was given, compared as a tree of hashes: equal trees cost one
//! question, and a difference is followed down to the folder where it is.

use serde::{Deserialize, Serialize};

use crate::agent::RootId;
use crate::path::RelPath;
use crate::sync::Hash;

/// Asks whether folders of the mirror are as the sidecar believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summarise {
    /// The root.
    pub root: RootId,
    /// Folders and the hash each should have; `None` is the root itself.
    pub folders: Vec<(Option<RelPath>, Hash)>,
}

/// What the mirror says of one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// It has that hash, and every file in it is as it was when it was given.
    Same,
    /// Something is different below it: the hash of each folder and each file directly in it.
    Different(Vec<(String, Hash)>),
    /// There is no mirror: everything has to be looked at.
    Unknown,
}
