//! Giving something finished its name, over nothing that was not expected.
//!
//! With OpenSSH's hard links and rename the name always shows a whole version. Without them the old version is moved
//! away first, so that for a moment there is none; whatever breaks then, it is in the trash.

use std::time::SystemTime;

use agent::files::layout;
use protocol::path::RelPath;

use super::apply::Work;
use super::seen::{Kind, Seen};
use super::side::under;
use super::trash::Shelf;
use super::wire::{Fault, Wire};

/// Names that are tried for a version that turned up.
const NAMES: u32 = 1000;

/// How a replacement went.
#[derive(Debug)]
pub(super) enum Replaced {
    /// The new version has its name; a version that turned up meanwhile was kept under another.
    Done { kept_as: Option<RelPath> },
    /// Something else than expected is there, and still is.
    Changed,
}

/// Gives `temporary` the name `there`, which `before` has, and keeps that.
pub(super) async fn replace(
    work: &Work<'_>,
    temporary: &str,
    there: &str,
    path: &RelPath,
    before: &Seen,
) -> Result<Replaced, Fault> {
    let wire = work.wire;
    let Some(place) = second_name(work, there, path, before).await? else {
        return swap_by_moving(work, temporary, there, path, before).await;
    };
    let is_before = |seen: Option<Seen>| seen.is_some_and(|seen| seen.is_still(before));
    let looks = tokio::try_join!(wire.look(&place), wire.look(there));
    let kept = looks.as_ref().is_ok_and(|(kept, now)| is_before(*kept) && is_before(*now));
    let renamed = match looks {
        Ok(_) if kept => wire.rename_over(temporary, there).await,
        Ok(_) => {
            withdraw(wire, &place).await;
            return Ok(Replaced::Changed);
        }
        Err(fault) => Err(fault),
    };
    if let Err(fault) = renamed {
        // The name still has its file, so the second link to it must not stay; unless nobody can tell any more.
        if !matches!(fault, Fault::Lost { .. }) {
            withdraw(wire, &place).await;
        }
        return Err(fault);
    }
    match wire.look(&place).await? {
        Some(displaced) if !displaced.is_still(before) => {}
        // `None`: purged meanwhile.
        Some(_) | None => {
            work.replaced.bin.added(before.size);
            return Ok(Replaced::Done { kept_as: None });
        }
    }
    let kept = keep_beside(work, &place, path).await?;
    Ok(Replaced::Done { kept_as: Some(kept) })
}

/// Gives what is to be replaced a second name in the trash; `None` where the server or the file system cannot.
async fn second_name(work: &Work<'_>, there: &str, path: &RelPath, before: &Seen) -> Result<Option<String>, Fault> {
    let wire = work.wire;
    // A server may link to what a symbolic link leads to.
    if !(wire.offers.hardlink && wire.offers.posix_rename && before.kind == Kind::File) {
        return Ok(None);
    }
    let place = work.replaced.place(path).await?;
    match wire.hard_link(there, &place).await {
        Ok(()) => return Ok(Some(place)),
        Err(fault @ Fault::Lost { .. }) => return Err(fault),
        Err(fault) => tracing::debug!(%fault, "no second name in the trash"),
    }
    if wire.look(&place).await?.is_none() {
        return Ok(None);
    }
    // The same path twice in one transfer.
    let place = Shelf::new(work.replaced.bin, wire).place(path).await?;
    match wire.hard_link(there, &place).await {
        Ok(()) => Ok(Some(place)),
        Err(fault @ Fault::Lost { .. }) => Err(fault),
        Err(_) => Ok(None),
    }
}

async fn swap_by_moving(
    work: &Work<'_>,
    temporary: &str,
    there: &str,
    path: &RelPath,
    before: &Seen,
) -> Result<Replaced, Fault> {
    let wire = work.wire;
    if !wire.look(there).await?.is_some_and(|seen| seen.is_still(before)) {
        return Ok(Replaced::Changed);
    }
    let place = match move_away(wire, &work.replaced, there, path).await {
        Ok(place) => place,
        Err(Fault::Missing) => return Ok(Replaced::Changed),
        Err(fault) => return Err(fault),
    };
    if wire.look(&place).await?.is_some_and(|moved| !moved.is_still(before)) {
        put_back(work, &place, there, path).await?;
        return Ok(Replaced::Changed);
    }
    match rename_new(wire, temporary, there).await {
        Ok(true) => {
            work.replaced.bin.added(before.size);
            Ok(Replaced::Done { kept_as: None })
        }
        // Somebody made a third version in that moment; the old one stays in the trash.
        Ok(false) => Ok(Replaced::Changed),
        Err(fault) => {
            if !matches!(fault, Fault::Lost { .. }) {
                put_back(work, &place, there, path).await?;
            }
            Err(fault)
        }
    }
}

/// Renames to a name that must be free; returns whether it was.
pub(super) async fn rename_new(wire: &Wire, from: &str, to: &str) -> Result<bool, Fault> {
    match wire.rename_new(from, to).await {
        Ok(()) => Ok(true),
        Err(fault @ (Fault::Lost { .. } | Fault::Missing)) => Err(fault),
        Err(fault) => match wire.look(to).await? {
            Some(_) => Ok(false),
            None => Err(fault),
        },
    }
}

/// Moves what is at `there` to the trash and returns where it is now.
pub(super) async fn move_away(wire: &Wire, shelf: &Shelf<'_>, there: &str, path: &RelPath) -> Result<String, Fault> {
    let place = shelf.place(path).await?;
    // Looked at before, since a server's rename may replace a link that leads nowhere.
    if wire.look(&place).await?.is_none() && rename_new(wire, there, &place).await? {
        return Ok(place);
    }
    // The same path twice in one transfer.
    let place = Shelf::new(shelf.bin, wire).place(path).await?;
    if rename_new(wire, there, &place).await? {
        return Ok(place);
    }
    Err(Fault::Failed("the trash has no free name".to_owned()))
}

/// Gives what was moved away its name back, or one beside what took its place.
pub(super) async fn put_back(work: &Work<'_>, place: &str, there: &str, path: &RelPath) -> Result<(), Fault> {
    let is_free = work.wire.look(there).await?.is_none();
    if is_free && rename_new(work.wire, place, there).await? {
        return Ok(());
    }
    keep_beside(work, place, path).await.map(drop)
}

/// Moves a version that nobody expected beside the one at `path`, under a name that says so.
async fn keep_beside(work: &Work<'_>, from: &str, path: &RelPath) -> Result<RelPath, Fault> {
    let time = SystemTime::now();
    for number in 1..=NAMES {
        let name = layout::conflict_name(path.name(), time, number);
        let kept = path.parent().map_or_else(|| RelPath::new(name.as_str()), |folder| folder.join(&name));
        let kept = kept.map_err(|error| Fault::Failed(error.to_string()))?;
        let to = under(&work.root.side.root, kept.as_str());
        if work.wire.look(&to).await?.is_none() && rename_new(work.wire, from, &to).await? {
            return Ok(kept);
        }
    }
    Err(Fault::Failed("no name is free for a version that turned up".to_owned()))
}

/// Takes back a second name in the trash.
async fn withdraw(wire: &Wire, place: &str) {
    if let Err(fault) = wire.remove(place).await {
        tracing::debug!(%fault, "a second name is left in the trash");
    }
}
