//! What stands in folders: names and facts, never bytes. Follows no link and crosses no mount.
//!
//! However large a folder is, no more of its names are held than fit into one answer.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use protocol::listing::{Listed, ListedKind, Listing, MAX_LISTED, MAX_LISTED_BYTES, MAX_UNUSABLE};
use protocol::path::RelPath;
use rustix::fs::Dir;

use super::look::{self, Kind};
use super::walk::{Stop, Top};

/// Names that are looked at before it is asked again whether anybody still wants to know.
const STEP: usize = 1024;

/// What is left of one answer.
struct Room {
    entries: usize,
    bytes: usize,
}

/// Lists folders until the answer is full; `None` when `go_on` said no.
pub(super) fn folders(
    top: &Top,
    folders: &[Option<RelPath>],
    after: Option<&str>,
    go_on: &dyn Fn() -> bool,
) -> Option<Vec<Listing>> {
    let mut room = Room { entries: MAX_LISTED, bytes: MAX_LISTED_BYTES };
    let mut listings = Vec::with_capacity(folders.len());
    for (index, folder) in folders.iter().enumerate() {
        if index > 0 && (room.entries == 0 || room.bytes == 0) {
            break;
        }
        if !go_on() {
            return None;
        }
        let after = after.filter(|_| index == 0);
        let listing = match one(top, folder.as_ref(), after, &mut room, go_on) {
            Ok(Some(listing)) => listing,
            Ok(None) => return None,
            Err(stop) => Listing { problem: Some(words(stop)), ..Listing::default() },
        };
        let talk = listing.unusable.iter().map(String::len).sum::<usize>();
        room.bytes = room.bytes.saturating_sub(talk + listing.problem.as_ref().map_or(0, String::len));
        let cut = listing.cut;
        listings.push(listing);
        if cut {
            break;
        }
    }
    Some(listings)
}

fn words(stop: Stop) -> String {
    match stop {
        Stop::Missing => "it is not there".to_owned(),
        Stop::Unsafe(reason) => reason,
        Stop::Failed(error) => error.to_string(),
    }
}

fn one(
    top: &Top,
    path: Option<&RelPath>,
    after: Option<&str>,
    room: &mut Room,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<Listing>, Stop> {
    let is_reserved =
        |name: &str| path.is_none() && top.reserved.is_some_and(|reserved| name.eq_ignore_ascii_case(reserved));
    let opened: File;
    let folder = match path {
        None => &*top.folder,
        Some(path) => {
            if let (Some(reserved), Some(first)) = (top.reserved, path.components().next())
                && first.eq_ignore_ascii_case(reserved)
            {
                return Err(Stop::Unsafe(format!("`{reserved}` belongs to MLToolbox")));
            }
            opened = top.open_folder(path.as_str())?;
            &opened
        }
    };
    let failed = |error: io::Error| Stop::Failed(error);
    let mut listing = Listing::default();
    let Some(names) = names(folder, after, room.entries, &mut listing, go_on).map_err(failed)? else {
        return Ok(None);
    };
    for (index, name) in names.into_iter().enumerate() {
        if index % STEP == STEP - 1 && !go_on() {
            return Ok(None);
        }
        if is_reserved(&name) {
            continue;
        }
        let entry = match entry(top, folder, name) {
            Ok(Some(entry)) => entry,
            // Gone since its name was read.
            Ok(None) => continue,
            Err(error) => return Err(failed(error)),
        };
        let text = match &entry.kind {
            ListedKind::Link { target } => target.len(),
            ListedKind::File(_) | ListedKind::Folder | ListedKind::Special | ListedKind::Mount => 0,
        };
        // One entry always fits, or nothing would ever come after it.
        let bytes = entry.name.len() + text;
        if bytes > room.bytes && !listing.entries.is_empty() {
            listing.cut = true;
            return Ok(Some(listing));
        }
        room.bytes = room.bytes.saturating_sub(bytes);
        room.entries = room.entries.saturating_sub(1);
        listing.entries.push(entry);
    }
    Ok(Some(listing))
}

/// Returns the first names after `after` that fit, sorted, and notes in `listing` whether there are more.
fn names(
    folder: &File,
    after: Option<&str>,
    most: usize,
    listing: &mut Listing,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Option<Vec<String>>> {
    // The largest name that is held is at the top, to be given up for a smaller one.
    let mut held: BinaryHeap<String> = BinaryHeap::new();
    for (index, entry) in Dir::read_from(folder)?.enumerate() {
        if index % STEP == STEP - 1 && !go_on() {
            return Ok(None);
        }
        let entry = entry?;
        let name = entry.file_name();
        let Ok(name) = name.to_str() else {
            if after.is_none() && listing.unusable.len() < MAX_UNUSABLE {
                listing.unusable.push(name.to_string_lossy().into_owned());
            }
            continue;
        };
        if name == "." || name == ".." || after.is_some_and(|after| name <= after) {
            continue;
        }
        if held.len() < most.max(1) {
            held.push(name.to_owned());
            continue;
        }
        listing.cut = true;
        if let Some(mut largest) = held.peek_mut()
            && name < largest.as_str()
        {
            name.clone_into(&mut largest);
        }
    }
    listing.unusable.sort();
    Ok(Some(held.into_sorted_vec()))
}

fn entry(top: &Top, folder: &File, name: String) -> io::Result<Option<Listed>> {
    let Some(seen) = look::at(folder.as_fd(), &name)? else { return Ok(None) };
    let kind = match seen.kind {
        Kind::File => ListedKind::File(seen.stamp),
        Kind::Folder if seen.stamp.device != top.device => ListedKind::Mount,
        Kind::Folder => ListedKind::Folder,
        Kind::Link => match look::target(folder.as_fd(), &name) {
            Ok(target) => ListedKind::Link { target },
            // Another thing has its name by now; the next listing tells which.
            Err(_) => return Ok(None),
        },
        Kind::Special => ListedKind::Special,
    };
    Ok(Some(Listed { name, kind, mode: seen.mode & 0o777 }))
}
