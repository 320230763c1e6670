//! What a server and its file system are like, found out by trying in a folder of ours.

use super::super::seen::{Kind, Seen};
use super::super::wire::{Fault, Finish, Wire};
use super::{random, under};

/// In which order a server takes the two paths of a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// As OpenSSH does.
    TextFirst,
    /// As the draft says.
    NameFirst,
    /// It makes none.
    None,
}

/// Returns what a file is that was made just now, and whether names that differ only in case are one. Fails when it
/// cannot be renamed into the root.
pub(super) async fn probe(wire: &Wire, workshop: &str, root: &str) -> Result<(Seen, bool), Fault> {
    let path = under(workshop, "case");
    let file = wire.create(&path, 0o600).await?;
    let case = under(workshop, "CASE");
    let finished = wire.fill(file, Vec::new(), Finish { mode: None, mtime: None, sync: false });
    let (fresh, other_case) = if wire.offers.posix_rename {
        let (fresh, other_case, ()) = tokio::try_join!(finished, wire.look(&case), is_on_mount(wire, &path, root))?;
        (fresh, other_case)
    } else {
        let looked = tokio::try_join!(finished, wire.look(&case))?;
        move_to_and_fro(wire, &path, root).await?;
        looked
    };
    wire.remove(&path).await?;
    Ok((fresh, other_case.is_some()))
}

/// Returns whether names that differ only in how Unicode composes them are one.
pub(super) async fn ignores_composition(wire: &Wire, workshop: &str) -> Result<bool, Fault> {
    let path = under(workshop, "compos\u{e9}");
    let file = match wire.create(&path, 0o600).await {
        Ok(file) => file,
        Err(fault @ Fault::Lost { .. }) => return Err(fault),
        // Its names are not Unicode, so that none is composed.
        Err(_) => return Ok(false),
    };
    let other = under(workshop, "compose\u{301}");
    let ((), found) = tokio::try_join!(wire.close(file), wire.look(&other))?;
    wire.remove(&path).await?;
    Ok(found.is_some())
}

/// Fails when nothing of ours can be renamed into the root; moves nothing.
async fn is_on_mount(wire: &Wire, probe: &str, root: &str) -> Result<(), Fault> {
    // A name that is not there is missing on the same mount, and something else on another.
    let place = format!("{root}/.mltoolbox-{}", random()?);
    match wire.rename_over(&format!("{probe}-no-such-name"), &place).await {
        Ok(()) | Err(Fault::Missing) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// Fails when a file of ours cannot be renamed into the root, where a server has no rename that says so.
async fn move_to_and_fro(wire: &Wire, probe: &str, root: &str) -> Result<(), Fault> {
    let place = format!("{root}/.mltoolbox-{}", random()?);
    wire.rename_new(probe, &place).await?;
    wire.rename_new(&place, probe).await
}

/// Finds out by trying in which order the server takes the paths of a link; both lie in a folder of ours.
pub(super) async fn links(wire: &Wire, workshop: &str) -> Result<Links, Fault> {
    let (one, other) = (under(workshop, "link-1"), under(workshop, "link-2"));
    match wire.symlink(&one, &other).await {
        Ok(()) => {}
        Err(fault @ Fault::Lost { .. }) => return Err(fault),
        Err(fault) => {
            tracing::info!(%fault, "the server makes no symbolic links");
            return Ok(Links::None);
        }
    }
    let (at_one, at_other) = tokio::try_join!(wire.look(&one), wire.look(&other))?;
    for (path, seen, links) in [(&other, at_other, Links::TextFirst), (&one, at_one, Links::NameFirst)] {
        if seen.is_some_and(|seen| seen.kind == Kind::Link) {
            wire.remove(path).await?;
            return Ok(links);
        }
    }
    Ok(Links::None)
}
