//! Pure: whether two versions of a path hold the same, and what says that one is there.

use protocol::sync::{Content, Expect, Stamp};

use super::{Held, Local};

/// How two versions of a path compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    Yes,
    No,
    /// The local file has to be read first.
    Unread,
}

pub(super) fn same(local: &Local, content: &Content) -> Same {
    match (&local.held, content) {
        (Held::File { hash, size }, Content::File { hash: other, size: other_size, .. }) => match hash {
            _ if size != other_size => Same::No,
            Some(hash) if hash == other => Same::Yes,
            Some(_) => Same::No,
            None => Same::Unread,
        },
        (Held::Folder, Content::Folder) => Same::Yes,
        (Held::Link { target }, Content::Link { target: other }) if target == other => Same::Yes,
        (Held::File { .. } | Held::Folder | Held::Link { .. }, _) => Same::No,
    }
}

/// Returns whether what is here is known to hold the same as `content`.
pub fn holds(local: &Local, content: &Content) -> bool {
    same(local, content) == Same::Yes
}

/// Returns whether what is here may hold the same as `content`; an unread file does not tell.
pub fn may_hold(local: &Local, content: &Content) -> bool {
    same(local, content) != Same::No
}

/// Returns whether two contents hold the same; the execute bit is a matter of modes.
pub fn equal(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::File { hash, size, .. }, Content::File { hash: other, size: other_size, .. }) => {
            hash == other && size == other_size
        }
        (Content::File { .. } | Content::Folder | Content::Link { .. } | Content::Special, _) => one == other,
    }
}

/// Returns the precondition that says: exactly this is there.
pub fn expect(content: &Content, stamp: Option<Stamp>) -> Expect {
    match content {
        Content::File { hash, .. } => Expect::File { hash: *hash, stamp },
        Content::Folder => Expect::Folder,
        Content::Link { target } => Expect::Link { target: target.clone() },
        // A special file is never a base, so nothing is ever done where one stands.
        Content::Special => Expect::Absent,
    }
}
