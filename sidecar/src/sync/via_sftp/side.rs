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

use agent::files::layout::{self, FOLDERS, FORMAT, IDENTITY, INSIDE, Identity, MAX_RECORD};
use serde::Serialize;

use super::super::target::OpenTarget;
use super::error::RootError;
use super::look;
use super::seen::{Kind, Seen};
use super::trash;
use super::wire::{Fault, Finish, Wire};

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

/// In which order a server takes the two paths of a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// As OpenSSH does.
    TextFirst,
    /// As the draft says.
    NameFirst,
    /// It makes none.
    None,
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
        let side = opened.map_err(failed)?;
        let ignore = under(&side.path, ".gitignore");
        if wire.look(&ignore).await.map_err(failed)?.is_none() {
            put(wire, &ignore, b"*\n").await.map_err(failed)?;
        }
        Ok(side)
    }

    /// Opens the side directory at `path`, and proves that it is ours alone and of use for this root.
    async fn at(wire: &Wire, path: String, root: &str, created: bool, holder: &str) -> Result<Self, Fault> {
        let made = wire.make_folder(&path, 0o700).await?;
        let opened = Self::prove(wire, path.clone(), root, created, holder).await;
        // Only what is empty goes.
        if opened.is_err()
            && made
            && let Err(error) = trash::remove_tree(wire, &path).await
        {
            tracing::debug!(%error, "a side directory of no use stays");
        }
        opened
    }

    async fn prove(wire: &Wire, path: String, root: &str, created: bool, holder: &str) -> Result<Self, Fault> {
        let seen = folder_at(wire, &path).await?;
        // Parents first; those of one depth need not wait for each other.
        for depth in 0..2 {
            let of_depth = FOLDERS.into_iter().filter(|name| name.matches('/').count() == depth);
            let made = of_depth.map(|name| own_folder(wire, under(&path, name)));
            futures_util::future::try_join_all(made).await?;
        }
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

    /// Returns the id of this copy, and a new one when it is known to be another folder than at the last time. No inode
    /// is told, so that an empty folder counts as another one.
    pub(super) async fn copy(&self, wire: &Wire, empty: bool) -> Result<String, RootError> {
        if let Some(known) = self.record::<Identity>(wire, IDENTITY).await?
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

    /// Reads a record; `None` when there is none or when it is no record at all (it is then written anew).
    pub(super) async fn record<T: serde::de::DeserializeOwned>(
        &self,
        wire: &Wire,
        name: &'static str,
    ) -> Result<Option<T>, RootError> {
        let text = self.text(wire, name).await.map_err(|fault| self.failed(fault))?;
        let newer = |version| RootError::Newer { path: self.root.clone(), file: name, version };
        layout::record(&text).map_err(newer)
    }

    /// Returns what a record holds; nothing when it is not there or too long to be one.
    async fn text(&self, wire: &Wire, name: &str) -> Result<Vec<u8>, Fault> {
        let path = under(&self.path, name);
        if wire.look(&path).await?.is_none_or(|seen| seen.kind != Kind::File) {
            return Ok(Vec::new());
        }
        let file = match wire.open(&path).await {
            Ok(file) => file,
            Err(Fault::Missing) => return Ok(Vec::new()),
            Err(fault) => return Err(fault),
        };
        let mut text = Vec::new();
        let read = look::read(wire, &self.clock, &file, MAX_RECORD, |bytes| {
            text.extend_from_slice(&bytes);
            std::future::ready(Ok::<(), Fault>(()))
        });
        let read = read.await;
        let closed = wire.close(file).await;
        read?;
        closed?;
        Ok(text)
    }

    /// Writes a record in one step where the server can, in two that leave no half where it cannot.
    pub(super) async fn put_record<T: Serialize>(&self, wire: &Wire, name: &str, record: &T) -> Result<(), RootError> {
        let written = async {
            let fresh = self.write_record(wire, record).await?;
            let path = under(&self.path, name);
            if wire.offers.posix_rename {
                return wire.rename_over(&fresh, &path).await;
            }
            match wire.remove(&path).await {
                Ok(()) | Err(Fault::Missing) => wire.rename_new(&fresh, &path).await,
                Err(fault) => Err(fault),
            }
        };
        written.await.map_err(|fault| self.failed(fault))
    }

    /// Writes a record that must not be there yet; returns whether nobody was quicker.
    pub(super) async fn put_new_record<T: Serialize>(
        &self,
        wire: &Wire,
        name: &str,
        record: &T,
    ) -> Result<bool, RootError> {
        let written = async {
            let fresh = self.write_record(wire, record).await?;
            let path = under(&self.path, name);
            match wire.rename_new(&fresh, &path).await {
                Ok(()) => Ok(true),
                Err(fault @ Fault::Lost { .. }) => Err(fault),
                Err(fault) => {
                    wire.remove(&fresh).await?;
                    if wire.look(&path).await?.is_some() { Ok(false) } else { Err(fault) }
                }
            }
        };
        written.await.map_err(|fault| self.failed(fault))
    }

    async fn write_record<T: Serialize>(&self, wire: &Wire, record: &T) -> Result<String, Fault> {
        let text = serde_json::to_vec(record).expect("a record of texts and numbers is JSON");
        let fresh = self.temporary();
        put(wire, &fresh, &text).await?;
        Ok(fresh)
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

/// Finds the folder that a root is, or says why it must not be one. Returns its path and whether it was made.
async fn locate(wire: &Wire, open: &OpenTarget) -> Result<(String, bool), RootError> {
    let asked = open.path.as_str();
    let failed = |doing| move |fault| RootError::failed(doing, asked, fault);
    let home = wire.resolve(".").await.map_err(failed("find the home above"))?;
    if !home.starts_with('/') {
        return Err(failed("find the home above")(Fault::Nonsense("a home is no absolute path")));
    }
    let path = absolute(asked, &home);
    let unfit = |what| RootError::Unfit { path: path.clone(), what };
    if asked.starts_with('~') && asked != "~" && !asked.starts_with("~/") {
        return Err(unfit("in the home of another user, which is not looked up"));
    }
    if path.len() <= 1 {
        return Err(unfit("the root of the file system"));
    }
    if path == home {
        return Err(unfit("the home folder itself"));
    }
    if open.create {
        make_above(wire, &path).await.map_err(|fault| RootError::failed("make the folders above", &path, fault))?;
    }
    let look = |fault| RootError::failed("look at", &path, fault);
    let mut created = false;
    match wire.look(&path).await.map_err(look)?.map(|seen| seen.kind) {
        Some(Kind::Folder) => {}
        Some(Kind::Link) => {
            let target = wire.target(&path).await.map_err(look)?;
            return Err(RootError::Link { path, target });
        }
        Some(Kind::File | Kind::Special) => return Err(RootError::NotFolder { path }),
        None if open.create => {
            created = wire.make_folder(&path, 0o777).await.map_err(|fault| RootError::failed("make", &path, fault))?;
        }
        None => return Err(RootError::Missing { path }),
    }
    // By another way (a link above it) it may still be one of those.
    match wire.resolve(&path).await.map_err(look)?.as_str() {
        "/" => Err(unfit("the root of the file system")),
        real if real == home => Err(unfit("the home folder itself")),
        _ => Ok((path, created)),
    }
}

/// Makes the folders above a path that are missing. A server may show nothing of those it keeps to itself.
async fn make_above(wire: &Wire, path: &str) -> Result<(), Fault> {
    let mut missing = Vec::new();
    let mut above = split(path).0;
    while !above.is_empty() && matches!(wire.look(above).await, Ok(None)) {
        missing.push(above);
        above = split(above).0;
    }
    for folder in missing.into_iter().rev() {
        wire.make_folder(folder, 0o777).await?;
    }
    Ok(())
}

/// Returns the absolute path that `text` means, without `.` and doubled slashes.
fn absolute(text: &str, home: &str) -> String {
    let below_home = text.strip_prefix("~/").or((text == "~").then_some("")).unwrap_or(text);
    let whole = if text.starts_with('/') { text.to_owned() } else { format!("{home}/{below_home}") };
    let mut path = String::new();
    for name in whole.split('/').filter(|name| !name.is_empty() && *name != ".") {
        path.push('/');
        path.push_str(name);
    }
    path
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

/// Returns what a file is that was made just now, and whether names that differ only in case are one. Fails when it
/// cannot be renamed into the root.
async fn probe(wire: &Wire, workshop: &str, root: &str) -> Result<(Seen, bool), Fault> {
    let path = under(workshop, "case");
    let file = wire.create(&path, 0o600).await?;
    let fresh = wire.fill(file, Vec::new(), Finish { mode: None, mtime: None, sync: false }).await?;
    let ignores_case = wire.look(&under(workshop, "CASE")).await?.is_some();
    same_file_system(wire, &path, root).await?;
    wire.remove(&path).await?;
    Ok((fresh, ignores_case))
}

/// Returns whether names that differ only in how Unicode composes them are one.
async fn ignores_composition(wire: &Wire, workshop: &str) -> Result<bool, Fault> {
    let path = under(workshop, "compos\u{e9}");
    let file = match wire.create(&path, 0o600).await {
        Ok(file) => file,
        Err(fault @ Fault::Lost { .. }) => return Err(fault),
        // Its names are not Unicode, so that none is composed.
        Err(_) => return Ok(false),
    };
    wire.close(file).await?;
    let same = wire.look(&under(workshop, "compose\u{301}")).await?.is_some();
    wire.remove(&path).await?;
    Ok(same)
}

/// Fails when a file of ours cannot be renamed into the root.
async fn same_file_system(wire: &Wire, probe: &str, root: &str) -> Result<(), Fault> {
    let place = format!("{root}/.mltoolbox-{}", random()?);
    if wire.offers.posix_rename {
        // A name that is not there is missing on the same mount, and something else on another.
        return match wire.rename_over(&format!("{probe}-no-such-name"), &place).await {
            Ok(()) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(fault),
        };
    }
    wire.rename_new(probe, &place).await?;
    wire.rename_new(&place, probe).await
}

/// Finds out by trying in which order the server takes the paths of a link; both lie in a folder of ours.
async fn links(wire: &Wire, workshop: &str) -> Result<Links, Fault> {
    let (one, other) = (under(workshop, "link-1"), under(workshop, "link-2"));
    match wire.symlink(&one, &other).await {
        Ok(()) => {}
        Err(fault @ Fault::Lost { .. }) => return Err(fault),
        Err(fault) => {
            tracing::info!(%fault, "the server makes no symbolic links");
            return Ok(Links::None);
        }
    }
    for (path, links) in [(&other, Links::TextFirst), (&one, Links::NameFirst)] {
        if wire.look(path).await?.is_some_and(|seen| seen.kind == Kind::Link) {
            wire.remove(path).await?;
            return Ok(links);
        }
    }
    Ok(Links::None)
}

/// Writes a small file that is not there yet.
async fn put(wire: &Wire, path: &str, text: &[u8]) -> Result<(), Fault> {
    let file = wire.create(path, 0o600).await?;
    let mut offset = 0;
    for piece in text.chunks(wire.chunk) {
        wire.write(&file, offset, piece.to_vec()).await?;
        offset += piece.len() as u64;
    }
    wire.close(file).await
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

    #[test]
    fn a_home_is_meant_by_tilde_and_by_nothing() {
        for (text, want) in [
            ("~", "/home/u"),
            ("~/a/./b/", "/home/u/a/b"),
            ("a/b", "/home/u/a/b"),
            ("./a", "/home/u/a"),
            ("/data//x/", "/data/x"),
            ("/.", ""),
        ] {
            assert_eq!(absolute(text, "/home/u"), want, "{text}");
        }
        assert_eq!(absolute("~/x", "/"), "/x");
    }
}
