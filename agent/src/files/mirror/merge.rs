//! Pure: what the log says, laid over what was sorted before.

use std::cmp::Ordering;
use std::iter::Peekable;

use protocol::sync::Content;

use super::{Change, Kept, Record};
use crate::merkle::order;

/// Returns the records of a log in the order of the sorted file, each path once.
pub(super) fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    // Stable: of two records of one path the later one was written later.
    records.sort_by(|one, other| order(one.path.as_str(), other.path.as_str()));
    records.dedup_by(|later, earlier| {
        if later.path != earlier.path {
            return false;
        }
        // The one that stays is the earlier one, so it takes over what the later one says.
        let before = std::mem::replace(&mut earlier.change, Change::Forgotten);
        earlier.change = match (before, std::mem::replace(&mut later.change, Change::Forgotten)) {
            (Change::Given(old), Change::Confirmed(new)) => Change::Given(confirmed(Some(&old), new)),
            (Change::Forgotten, Change::Confirmed(new)) => Change::Given(new),
            (Change::Confirmed(_), later @ Change::Confirmed(_)) | (_, later) => later,
        };
        true
    });
    records
}

/// Returns the entry that is left when `new` was found to be there, which `old` said before.
fn confirmed(old: Option<&Kept>, mut new: Kept) -> Kept {
    if let (
        Some(Kept { content: Content::File { hash: before, executable: known, .. }, .. }),
        Content::File { hash, executable, .. },
    ) = (old, &mut new.content)
        && before == hash
    {
        *executable = *known;
    }
    new
}

/// Returns what a change makes of an entry.
pub(super) fn changed(old: Option<&Kept>, change: Change) -> Option<Kept> {
    match change {
        Change::Given(kept) => Some(kept),
        Change::Confirmed(new) => Some(confirmed(old, new)),
        Change::Forgotten => None,
    }
}

/// Returns the sorted records with the changes, which are in the same order, laid over them.
pub(super) fn merged(
    old: impl Iterator<Item = Record>,
    changes: impl IntoIterator<Item = Record>,
) -> impl Iterator<Item = Record> {
    let (mut old, mut changes) = (old.peekable(), changes.into_iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let (old, change) =
                next(&mut old, &mut changes, |one, other| order(one.path.as_str(), other.path.as_str()))?;
            let Some(Record { path, change }) = change else { return old };
            let before = old.and_then(|old| changed(None, old.change));
            if let Some(kept) = changed(before.as_ref(), change) {
                return Some(Record { path, change: Change::Given(kept) });
            }
        }
    })
}

/// Returns what comes next of two sequences in order: from one of them, or from both what is equal.
pub(super) fn next<T, U>(
    one: &mut Peekable<impl Iterator<Item = T>>,
    other: &mut Peekable<impl Iterator<Item = U>>,
    order: impl Fn(&T, &U) -> Ordering,
) -> Option<(Option<T>, Option<U>)> {
    let order = match (one.peek(), other.peek()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(one), Some(other)) => order(one, other),
    };
    Some(match order {
        Ordering::Less => (one.next(), None),
        Ordering::Greater => (None, other.next()),
        Ordering::Equal => (one.next(), other.next()),
    })
}
