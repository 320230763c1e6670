//! The root and its side directory as SFTP reaches them: found, made, and kept in the agent's own layout, so that both
//! may take turns on one root.
//!
//! `.<name>.mltoolbox` beside the root, or `.mltoolbox` inside of it where that cannot be, holds `root.json` (which copy
//! this is), `lease.json` (who may change it), `tmp/sftp-<holder>-<random>/` (what one sync has in the making; an agent's
//! are called otherwise), `trash/removed/` and `trash/replaced/` (a shelf per transfer), and a `.gitignore` of `*`. The
//! agent's `lock`, `mirror*` and `partial/` are never touched.
//!
//! SFTP has no descriptors of folders and no locks: what stands above the root is believed, and what the agent does
//! under its lock is done by names that only one can make.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use agent::files::layout::{self, FOLDERS, FORMAT, IDENTITY, INSIDE, Identity};

use super::super::target::OpenTarget;
use super::error::RootError;
use super::seen::{Kind, Seen};
use super::trash;
use super::wire::{Fault, Wire};

mod locate;
mod probe;
mod records;

use locate::locate;
use probe::{Links, ignores_composition, links, probe};

/// Most entries of a root that are looked at to tell whether it is empty, and most names in `tmp`.
const MOST_LISTED: usize = 100_000;
/// A temporary folder that nobody touched for this long belongs to a sync that ended, in seconds.
const ABANDONED: i64 = 60 * 60;
/// How temporary folders of ours are called; an agent's are called otherwise.
const OURS: &str = "sftp-";

/// The server's clock, as its file system tells it.
#[derive(Debug)]
pub(super) struct Clock {
    read: Instant,
    /// Nanoseconds since the Unix epoch when it was read; at most a second behind.
    then: i64,
}

impl Clock {
    #[cfg(test)]
    pub(super) fn new(then: i64) -> Self {
        Self { read: Instant::now(), then }
    }

    /// Returns the server's time in nanoseconds since the Unix epoch; at most a second behind.
    pub(super) fn now(&self) -> i64 {
        self.then.saturating_add(i64::try_from(self.read.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }
}

/// A root that was found, with its side directory.
#[derive(Debug)]
pub(super) struct Side {
    /// Absolute path of the root, without a slash at its end.
    pub(super) root: String,
    /// Path of the side directory.
    pub(super) path: String,
    pub(super) inside: bool,
    pub(super) created: bool,
    pub(super) clock: Clock,
    pub(super) ignores_case: bool,
    /// Folder for what is in the making.
    workshop: String,
    next: AtomicU64,
    links: Links,
}

impl Side {
    /// Finds the root, makes it and its side directory when needed.
    pub(super) async fn open(wire: &Wire, open: &OpenTarget) -> Result<Self, RootError> {
        let (root, created) = locate(wire, open).await?;
        let (parent, name) = split(&root);
        let beside = under(parent, &layout::beside(name));
        let failed = |fault| RootError::failed("keep the side directory of", &root, fault);
        let opened = match Self::at(wire, beside, &root, created, &open.holder.id).await {
            Ok(side) => return Ok(side),
            Err(Fault::Lost { why, young }) => Err(Fault::Lost { why, young }),
            Err(fault) => {
                tracing::debug!(%fault, "no side directory beside the root");
                Self::at(wire, under(&root, INSIDE), &root, created, &open.holder.id).await
            }
        };
        opened.map_err(failed)
    }

    /// Lets git pass over the side directory.
    pub(super) async fn hide(&self, wire: &Wire) -> Result<(), Fault> {
        let ignore = under(&self.path, ".gitignore");
        if wire.look(&ignore).await?.is_none() {
            records::put(wire, &ignore, b"*\n").await?;
        }
        Ok(())
    }

    /// Opens the side directory at `path`, and proves that it is ours alone and of use for this root.
    async fn at(wire: &Wire, path: String, root: &str, created: bool, holder: &str) -> Result<Self, Fault> {
        // Mostly all of it is there.
        let looks = FOLDERS.map(|name| under(&path, name));
        let looks = futures_util::future::join_all(looks.iter().map(|folder| wire.look(folder)));
        let (seen, looks) = tokio::join!(wire.look(&path), looks);
        let is_folder =
            |seen: &Result<Option<Seen>, Fault>| matches!(seen, Ok(Some(seen)) if seen.kind == Kind::Folder);
        if let (Ok(Some(seen)), true, true) = (&seen, is_folder(&seen), looks.iter().all(is_folder)) {
            return Self::prove(wire, path, root, created, holder, seen).await;
        }
        let made = wire.make_folder(&path, 0o700).await?;
        let opened = async {
            let seen = folder_at(wire, &path).await?;
            // Parents first; those of one depth need not wait for each other.
            for depth in 0..2 {
                let of_depth = FOLDERS.into_iter().filter(|name| name.matches('/').count() == depth);
                let made = of_depth.map(|name| own_folder(wire, under(&path, name)));
                futures_util::future::try_join_all(made).await?;
            }
            Self::prove(wire, path.clone(), root, created, holder, &seen).await
        };
        let opened = opened.await;
        // Only what is empty goes.
        if opened.is_err()
            && made
            && let Err(error) = trash::remove_tree(wire, &path).await
        {
            tracing::debug!(%error, "a side directory of no use stays");
        }
        opened
    }

    async fn prove(
        wire: &Wire,
        path: String,
        root: &str,
        created: bool,
        holder: &str,
        seen: &Seen,
    ) -> Result<Self, Fault> {
        let short = holder.get(..16).filter(|short| short.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let name = format!("{OURS}{}-{}", short.unwrap_or("0"), random()?);
        let workshop = under(&under(&path, "tmp"), &name);
        wire.make_folder(&workshop, 0o700).await?;
        let read = Instant::now();
        let (probed, is_composed, links) =
            tokio::join!(probe(wire, &workshop, root), ignores_composition(wire, &workshop), links(wire, &workshop));
        let (fresh, ignores_case) = probed?;
        let ignores_case = is_composed? || ignores_case;
        let links = links?;
        if seen.owner != fresh.owner {
            return Err(Fault::Failed("the side directory belongs to another user".to_owned()));
        }
        if seen.mode & 0o077 != 0 {
            wire.set_mode(&path, 0o700).await?;
        }
        let clock = Clock { read, then: fresh.mtime.saturating_mul(1_000_000_000) };
        Ok(Self {
            root: root.to_owned(),
            inside: path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')),
            path,
            created,
            clock,
            ignores_case,
            workshop,
            next: AtomicU64::new(0),
            links,
        })
    }

    /// Returns whether a name at the top of the root is that of the side directory inside of it.
    pub(super) fn is_inside(&self, name: &str) -> bool {
        is_inside(name, self.ignores_case)
    }

    /// Removes temporary folders of syncs that ended; only who holds the lease may. Those of agents are left to agents,
    /// which can tell.
    pub(super) async fn reap(&self, wire: &Wire) -> Result<(), Fault> {
        let tmp = under(&self.path, "tmp");
        let now = self.clock.now() / 1_000_000_000;
        for (name, seen) in wire.list(&tmp, MOST_LISTED).await? {
            if name.starts_with(OURS)
                && under(&tmp, &name) != self.workshop
                && now.saturating_sub(seen.mtime) > ABANDONED
            {
                trash::remove_tree(wire, &under(&tmp, &name)).await?;
            }
        }
        Ok(())
    }

    /// Returns the path of something below the root.
    pub(super) fn below(&self, path: &protocol::path::RelPath) -> String {
        under(&self.root, path.as_str())
    }

    /// Returns a path for something in the making that nobody else uses.
    pub(super) fn temporary(&self) -> String {
        under(&self.workshop, &self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Makes the folder for what is in the making again, which an agent takes away when it opens the root.
    pub(super) async fn make_workshop(&self, wire: &Wire) -> Result<(), Fault> {
        wire.make_folder(&self.workshop, 0o700).await.map(drop)
    }

    /// Removes the folder for what is in the making.
    pub(super) async fn clear(&self, wire: &Wire) -> Result<(), Fault> {
        trash::remove_tree(wire, &self.workshop).await
    }

    /// Makes a symbolic link at a name that is free.
    pub(super) async fn link(&self, wire: &Wire, path: &str, target: &str) -> Result<(), Fault> {
        match self.links {
            Links::TextFirst => wire.symlink(target, path).await,
            Links::NameFirst => wire.symlink(path, target).await,
            Links::None => Err(Fault::Unsupported),
        }
    }

    /// Returns which folder a copy id was given to.
    pub(super) async fn identity(&self, wire: &Wire) -> Result<Option<Identity>, RootError> {
        self.record(wire, IDENTITY).await
    }

    /// Returns the id of this copy, and a new one when it is known to be another folder than at the last time. No inode
    /// is told, so that an empty folder counts as another one.
    pub(super) async fn copy(&self, wire: &Wire, known: Option<Identity>, empty: bool) -> Result<String, RootError> {
        // What was looked for before the lease was held may have been made since.
        let known = if known.is_some() { known } else { self.identity(wire).await? };
        if let Some(known) = known
            && !self.created
            && !empty
        {
            return Ok(known.copy);
        }
        let failed = |fault| RootError::failed("keep the side directory of", &self.root, fault);
        let copy = random().map_err(failed)?;
        let identity = Identity { version: FORMAT, copy: copy.clone(), inode: 0, device: 0, born: None };
        self.put_record(wire, IDENTITY, &identity).await?;
        Ok(copy)
    }

    /// Returns whether the root holds nothing but our own.
    pub(super) async fn is_empty(&self, wire: &Wire) -> Result<bool, RootError> {
        match wire.list(&self.root, 1).await {
            Ok(entries) => Ok(entries.iter().all(|(name, _)| self.inside && self.is_inside(name))),
            // More than one.
            Err(Fault::Nonsense(_)) => Ok(false),
            Err(fault) => Err(RootError::failed("look into", &self.root, fault)),
        }
    }

    /// Returns the error for a request that failed in the side directory.
    pub(super) fn failed(&self, fault: Fault) -> RootError {
        RootError::failed("keep the side directory of", &self.root, fault)
    }
}

/// Returns whether a name means the side directory inside of a root; its letters are plain ones.
fn is_inside(name: &str, ignores_case: bool) -> bool {
    name == INSIDE || (ignores_case && name.eq_ignore_ascii_case(INSIDE))
}

/// Returns folder and name of an absolute path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

pub(super) fn under(folder: &str, name: &str) -> String {
    format!("{folder}/{name}")
}

async fn folder_at(wire: &Wire, path: &str) -> Result<Seen, Fault> {
    match wire.look(path).await? {
        Some(seen) if seen.kind == Kind::Folder => Ok(seen),
        Some(_) | None => Err(Fault::Failed(format!("`{path}` is no folder"))),
    }
}

/// Returns the folder of ours at `path`, which is made when it is not there.
async fn own_folder(wire: &Wire, path: String) -> Result<Seen, Fault> {
    // Mostly it is there.
    match wire.look(&path).await? {
        Some(seen) if seen.kind == Kind::Folder => Ok(seen),
        Some(_) => folder_at(wire, &path).await,
        None => {
            wire.make_folder(&path, 0o700).await?;
            folder_at(wire, &path).await
        }
    }
}

/// Returns 128 random bits as text.
fn random() -> Result<String, Fault> {
    let mut bytes = [0; 16];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|error| Fault::Failed(format!("no random numbers here: {error}")))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_folder_inside_of_a_root_has_no_second_name() {
        for (name, ignores_case, ours) in [
            (".mltoolbox", false, true),
            (".mltoolbox", true, true),
            (".MLToolbox", false, false),
            (".MLToolbox", true, true),
            (".mltoolbox2", true, false),
        ] {
            assert_eq!(is_inside(name, ignores_case), ours, "{name} {ignores_case}");
        }
    }
}
