//! What stands in folders of the remote, whoever put it there: for bringing things home.

use serde::{Deserialize, Deserializer, Serialize};

use crate::agent::{MAX_BATCH, RootId, at_most};
use crate::path::RelPath;
use crate::sync::Stamp;

/// Most entries of all listings of one answer together.
pub const MAX_LISTED: usize = 16 * 1024;
/// Most bytes of names and link texts of one answer together; the rest of a frame is for what goes with them.
pub const MAX_LISTED_BYTES: usize = 512 * 1024;
/// Most names of one folder that are not UTF-8 and are shown.
pub const MAX_UNUSABLE: usize = 16;

/// Asks what stands in folders. Nothing is read, links are not followed and mounts are not crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The root.
    pub root: RootId,
    /// The folders, at most [`MAX_BATCH`]; `None` is the root itself.
    #[serde(deserialize_with = "folders")]
    pub folders: Vec<Option<RelPath>>,
    /// Leaves out, in the first folder, names up to and with this one: where the last answer was cut.
    pub after: Option<String>,
}

/// What stands in one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its entries, sorted by the bytes of their names.
    #[serde(deserialize_with = "entries")]
    pub entries: Vec<Listed>,
    /// Whether there are more than fitted; ask again after the last one. Folders after this one were not looked at.
    pub cut: bool,
    /// Names that are not UTF-8, with the odd bytes replaced; told once, at most [`MAX_UNUSABLE`].
    #[serde(deserialize_with = "names")]
    pub unusable: Vec<String>,
    /// Why it cannot be told, when it cannot.
    pub problem: Option<String>,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The name.
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
    /// A folder of another file system.
    Mount,
}

fn folders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<RelPath>>, D::Error> {
    at_most::<MAX_BATCH, D, _>(deserializer)
}

fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listed>, D::Error> {
    at_most::<MAX_LISTED, D, _>(deserializer)
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    at_most::<MAX_UNUSABLE, D, _>(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_is_refused_before_it_is_read() {
        let listed = Listed { name: String::new(), kind: ListedKind::Folder, mode: 0 };
        let listing = |count| Listing { entries: vec![listed.clone(); count], ..Listing::default() };
        let decode = |count| {
            let bytes = postcard::to_stdvec(&listing(count)).expect("it is plain data");
            postcard::from_bytes::<Listing>(&bytes)
        };
        assert_eq!(decode(MAX_LISTED).map(|listing| listing.entries.len()), Ok(MAX_LISTED));
        decode(MAX_LISTED + 1).expect_err("one too many");
        // It announces 2^32 entries and holds none.
        postcard::from_bytes::<Listing>(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).expect_err("nothing follows");
    }
}
