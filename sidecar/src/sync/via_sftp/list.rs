//! What stands in folders, for bringing things home: names and facts, never bytes. Follows no link.
//!
//! SFTP tells no devices, so that what is mounted is a folder like any other, and a folder cannot be read from its
//! middle: the rest of one that did not fit is listed again.

use futures_util::stream::{self, StreamExt as _};
use protocol::agent::MAX_BATCH;
use protocol::listing::{Listed, ListedKind, Listing, MAX_LISTED, MAX_LISTED_BYTES, MAX_UNUSABLE};
use protocol::path::RelPath;

use super::folders::{Folders, Stop};
use super::seen::{Kind, Seen};
use super::wire::{Fault, Wire};
use super::{AT_ONCE, Root};
use crate::sync::target::SyncError;

/// Folders that are read at a time; each holds a place for an open file, and its entries.
const FOLDERS: usize = 4;
/// Most entries of one folder that are held to be sorted: some 30 MB with names of ordinary length.
const MOST_IN_FOLDER: usize = 200_000;

/// Returns what stands in folders, as far as one answer may hold; the first of them after the name `after`.
pub(super) async fn folders(
    root: &Root,
    folders: Vec<Option<RelPath>>,
    after: Option<String>,
) -> Result<Vec<Listing>, SyncError> {
    root.check(&root.bulk).await?;
    let above = Folders::new(&root.bulk, &root.side);
    let (above, mut first) = (&above, Some(after));
    let read = folders.into_iter().take(MAX_BATCH).map(|folder| {
        let after = first.take().flatten();
        async move { one(root, above, folder.as_ref(), after.as_deref()).await }
    });
    let mut read = stream::iter(read).buffered(FOLDERS);
    let (mut listings, mut entries, mut bytes) = (Vec::new(), 0, 0);
    while let Some(listing) = read.next().await {
        let mut listing = match listing {
            Ok(listing) => listing,
            Err(fault @ Fault::Lost { .. }) => return Err(root.lost(fault)),
            Err(fault) => Listing { problem: Some(fault.to_string()), ..Listing::default() },
        };
        let fits = listing.entries.iter().take_while(|entry| {
            entries += 1;
            bytes += length(entry);
            // One always fits, or nothing would ever come after it.
            entries == 1 || entries <= MAX_LISTED && bytes <= MAX_LISTED_BYTES
        });
        let fits = fits.count();
        listing.cut |= fits < listing.entries.len();
        listing.entries.truncate(fits);
        // A later folder of which nothing fits is asked for again.
        if listing.cut && listing.entries.is_empty() {
            break;
        }
        let is_full = listing.cut;
        listings.push(listing);
        if is_full {
            break;
        }
    }
    Ok(listings)
}

fn length(entry: &Listed) -> usize {
    let text = match &entry.kind {
        ListedKind::Link { target } => target.len(),
        ListedKind::File(_) | ListedKind::Folder | ListedKind::Special | ListedKind::Mount => 0,
    };
    entry.name.len() + text
}

async fn one(
    root: &Root,
    above: &Folders<'_>,
    folder: Option<&RelPath>,
    after: Option<&str>,
) -> Result<Listing, Fault> {
    let problem = |reason: String| Listing { problem: Some(reason), ..Listing::default() };
    let path = match folder {
        None => root.side.root.clone(),
        Some(folder) => {
            let path = match above.reach(folder).await {
                Ok(path) => path,
                Err(Stop::Missing) => return Ok(problem("it is not there".to_owned())),
                Err(Stop::Unsafe(reason)) => return Ok(problem(reason)),
                Err(Stop::Fault(fault)) => return Err(fault),
            };
            match root.bulk.look(&path).await?.map(|seen| seen.kind) {
                Some(Kind::Folder) => path,
                Some(Kind::Link) => return Ok(problem("it is a symbolic link".to_owned())),
                Some(Kind::File | Kind::Special) => return Ok(problem("it is no folder".to_owned())),
                None => return Ok(problem("it is not there".to_owned())),
            }
        }
    };
    let now = root.side.clock.now();
    let mut found = root.bulk.list(&path, MOST_IN_FOLDER).await?;
    found.retain(|(name, _)| {
        after.is_none_or(|after| name.as_str() > after)
            && !(folder.is_none() && root.side.inside && root.side.is_inside(name))
    });
    // The library puts this letter in the place of what is not UTF-8, and then the name leads nowhere.
    let unusable: Vec<String> =
        found.extract_if(.., |(name, _)| name.contains(char::REPLACEMENT_CHARACTER)).map(|(name, _)| name).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    if found.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other)) {
        return Err(Fault::Nonsense("a folder has two entries of one name"));
    }
    let mut listing = Listing { cut: found.len() > MAX_LISTED, ..Listing::default() };
    if after.is_none() {
        listing.unusable = unusable.into_iter().take(MAX_UNUSABLE).collect();
    }
    found.truncate(MAX_LISTED);
    let entries = found.into_iter().map(|(name, seen)| entry(&root.bulk, &path, name, seen, now));
    let mut entries = stream::iter(entries).buffered(AT_ONCE);
    while let Some(entry) = entries.next().await {
        listing.entries.extend(entry?);
    }
    Ok(listing)
}

/// Returns an entry; `None` when it is gone since it was listed.
async fn entry(wire: &Wire, folder: &str, name: String, seen: Seen, now: i64) -> Result<Option<Listed>, Fault> {
    let kind = match seen.kind {
        Kind::File => ListedKind::File(seen.stamp(now)),
        Kind::Folder => ListedKind::Folder,
        Kind::Special => ListedKind::Special,
        Kind::Link => match wire.target(&super::side::under(folder, &name)).await {
            Ok(target) => ListedKind::Link { target },
            Err(fault @ Fault::Lost { .. }) => return Err(fault),
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(Listed { name, kind, mode: seen.mode & 0o777 }))
}
