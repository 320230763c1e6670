//! A sync over SFTP, against every honest server that this machine has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use protocol::error::Code;
use protocol::listing::ListedKind;
use protocol::path::RemotePath;
use protocol::sync::{Action, Content, Expect, Hash, Op, Outcome, Rejected};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::agent_tests::{SOON, Wire as Transported, World, read, settled, write};
use super::super::plan::Local;
use super::super::source::{Reading, Replacement, Scan, Source};
use super::super::target::fake::{FakeSource, path};
use super::super::*;
use super::wire::Fault;
use super::*;
use crate::frontend::Frontend;
use crate::session::link::Link;
use crate::session::{self, Connector, Failed, Lane};
use crate::store::Base;
use crate::transport::ssh_server::speak_sftp;
use crate::transport::{About, Control, Exit, Process, Pty, TransportError};

mod lies;
mod servers;
mod trips;

pub(in super::super) use servers::Server;
use servers::{Lie, converse};

fn open_as(at: &Path, holder: &str, take_over: bool) -> OpenTarget {
    OpenTarget {
        path: RemotePath::new(at.to_string_lossy()).expect("a plain path"),
        create: true,
        holder: Holder { id: holder.to_owned(), label: format!("{holder}'s") },
        take_over,
    }
}

/// Puts files as they are in a source and returns what came of each.
async fn put(target: &dyn SyncTarget, source: &FakeSource, names: &[&str], expect: &Expect) -> Vec<Done> {
    let ops = names.iter().map(|name| Op {
        path: path(name),
        expect: expect.clone(),
        action: Action::Put { size: 0, hash: None, mode: 0o644, mtime_ns: None },
    });
    let batch = Batch {
        lane: Lane::Priority,
        barrier: false,
        durable: true,
        ops: ops.collect(),
        bodies: Arc::new(source.clone()),
    };
    let (done, mut told) = mpsc::channel(names.len());
    target.apply(vec![batch], done).await.expect("the target is open");
    let mut all: Vec<Option<Done>> = vec![None; names.len()];
    while let Some((index, what)) = told.recv().await {
        all[index] = Some(what);
    }
    all.into_iter().map(|done| done.expect("every operation is answered")).collect()
}

fn source(files: &[(&str, &str)]) -> FakeSource {
    let source = FakeSource::default();
    for (name, text) in files {
        source.tree.lock().write(name, text.as_bytes());
    }
    source
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_and_sftp_take_turns_on_one_root() {
    for server in Server::honest() {
        let world = World::new().await;
        let at = world.there("");
        let at = Path::new(at.to_str().expect("text").trim_end_matches('/'));
        let home = at.parent().expect("it is in a folder");
        let by_sftp = ViaSftp::new(server.session(home));
        let by_agent = super::super::via_agent::ViaAgent::by_one_link(world.session());
        let files = source(&[("a", "one"), ("b", "two")]);

        let first = by_sftp.open(&open_as(at, "me", false)).await.expect("it can be made");
        assert!(matches!(put(&by_sftp, &files, &["a"], &Expect::Absent).await[..], [Done::Answered(..)]));
        by_sftp.close().await.expect("it is open");
        let second = by_agent.open(&open_as(at, "me", false)).await.expect("it is there");
        assert_eq!((&second.copy, second.empty), (&first.copy, false), "{server:?}");
        assert!(matches!(put(&by_agent, &files, &["b"], &Expect::Absent).await[..], [Done::Answered(..)]));

        // The lease of the one holds against the other.
        let refused = by_sftp.open(&open_as(at, "other", false)).await.expect_err("it is in use");
        assert!(matches!(&refused, SyncError::Leased(error) if error.message.contains("me's")), "{refused:?}");
        let third = by_sftp.open(&open_as(at, "other", true)).await.expect("it is taken over");
        assert_eq!(third.copy, first.copy, "{server:?}");
        let lost = by_agent.apply(vec![batch(&files)], mpsc::channel(1).0).await.expect_err("it was taken");
        assert_eq!(Error::from(lost).code, Code::SyncLeased);
        by_agent.open(&open_as(at, "me", true)).await.expect("it is taken back");
        let lost = by_sftp.apply(vec![batch(&files)], mpsc::channel(1).0).await.expect_err("it was taken");
        assert_eq!(Error::from(lost).code, Code::SyncLeased);
        by_agent.close().await.expect("it is open");
        let reopened = by_sftp.open(&open_as(at, "other", false)).await.expect("it was given back");
        assert_eq!(reopened.copy, first.copy, "{server:?}");
        by_sftp.close().await.expect("it is open");
        assert!(!home.join(".copy.mltoolbox/lease.json").exists(), "{server:?}");
        let left: Vec<_> =
            std::fs::read_dir(home.join(".copy.mltoolbox/tmp")).expect("it is there").flatten().collect();
        assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("sftp-")), "{left:?}");
    }
}

fn batch(files: &FakeSource) -> Batch {
    let op = Op { path: path("x"), expect: Expect::Absent, action: Action::MakeFolder { mode: 0o755 } };
    Batch { lane: Lane::Bulk, barrier: true, durable: false, ops: vec![op], bodies: Arc::new(files.clone()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_through_a_link() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let (at, outside) = (home.path().join("copy"), home.path().join("outside"));
        std::fs::create_dir_all(at.join("real")).expect("a fresh folder");
        std::fs::create_dir(&outside).expect("a fresh folder");
        std::os::unix::fs::symlink(&outside, at.join("link")).expect("a fresh folder");
        let target = ViaSftp::new(server.session(home.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it is there");
        let done = put(&target, &source(&[("link/x", "evil")]), &["link/x"], &Expect::Absent).await;
        let [Done::Answered(Outcome::Rejected(Rejected::Unsafe { reason }), _)] = done.as_slice() else {
            panic!("{server:?}: {done:?}")
        };
        assert!(reason.contains("symbolic link"), "{reason}");
        assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 0);
        // A link in the trash is removed, and not what it leads to.
        write(&outside.join("precious"), "kept");
        let shelf = home.path().join(".copy.mltoolbox/trash/removed/20000101T000000Z-1");
        std::fs::create_dir(&shelf).expect("a fresh folder");
        std::os::unix::fs::symlink(&outside, shelf.join("link")).expect("a fresh folder");
        target.empty_trash().await.expect("it can be emptied");
        assert!(!shelf.exists() && outside.join("precious").exists(), "{server:?}");
        for (root, what) in [("~", "home"), ("/", "file system"), ("~/copy/link", "link"), ("~other/x", "another user")]
        {
            let refused = target.open(&open_as(Path::new(root), "me", false)).await.expect_err("it is refused");
            let error = Error::from(refused);
            assert!(error.causes.join(" ").contains(what), "{server:?} {root}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_becomes_a_link_during_an_upload_leads_nowhere() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let (at, outside) = (home.path().join("copy"), home.path().join("outside"));
        std::fs::create_dir_all(at.join("d/e")).expect("a fresh folder");
        std::fs::create_dir(&outside).expect("a fresh folder");
        let target = ViaSftp::new(server.session(home.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it is there");
        let files = FakeSource::default();
        files.tree.lock().write("d/e/large", &vec![7; 1 << 20]);
        let (folder, link) = (at.join("d"), outside.clone());
        *crate::sync::target::fake::locked(&files.race) = Some(Box::new(move |_| {
            std::fs::remove_dir_all(&folder).expect("it is there");
            std::os::unix::fs::symlink(&link, &folder).expect("its name is free");
        }));
        std::fs::create_dir(outside.join("e")).expect("a fresh folder");
        let done = put(&target, &files, &["d/e/large"], &Expect::Absent).await;
        let [Done::Answered(Outcome::Rejected(Rejected::Unsafe { reason }), _)] = done.as_slice() else {
            panic!("{server:?}: {done:?}")
        };
        assert!(reason.contains("symbolic link"), "{reason}");
        assert_eq!(std::fs::read_dir(outside.join("e")).expect("it is there").count(), 0, "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_left_is_cleared_away_only_under_the_lease() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let at = home.path().join("copy");
        let holder = ViaSftp::new(server.session(home.path()));
        holder.open(&open_as(&at, "me", false)).await.expect("it can be made");
        let old = home.path().join(".copy.mltoolbox/tmp/sftp-me-old");
        std::fs::create_dir(&old).expect("its name is free");
        write(&old.join("7"), "an upload that waits for its line");
        let yesterday = std::time::SystemTime::now() - Duration::from_hours(24);
        std::fs::File::open(&old).expect("it is there").set_modified(yesterday).expect("it is ours");
        let other = ViaSftp::new(server.session(home.path()));
        other.open(&open_as(&at, "other", false)).await.expect_err("it is in use");
        assert!(old.join("7").exists(), "{server:?}: whoever was refused changes nothing");
        other.open(&open_as(&at, "other", true)).await.expect("it is taken over");
        assert!(!old.exists(), "{server:?}");
    }
}

/// Ends the conversation when the first file is read, and counts how many are.
#[derive(Debug)]
struct Ending {
    files: FakeSource,
    root: Arc<Root>,
    opened: AtomicUsize,
}

impl Source for Ending {
    fn scan(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> std::io::Result<Scan> {
        self.files.scan(paths, base)
    }

    fn open(&self, path: &RelPath) -> std::io::Result<Box<dyn Reading>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.root.end();
        self.files.open(path)
    }

    fn replace(
        &self,
        path: &RelPath,
        expected: Option<&Local>,
        with: &Replacement<'_>,
        keep: &Path,
    ) -> std::io::Result<()> {
        self.files.replace(path, expected, with, keep)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_begun_after_the_conversation_ended() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let target = ViaSftp::new(Server::Embedded.session(home.path()));
    target.open(&open_as(&home.path().join("copy"), "me", false)).await.expect("it can be made");
    let names: Vec<String> = (0..2000).map(|number| format!("f{number}")).collect();
    let files = FakeSource::default();
    for name in &names {
        files.tree.lock().write(name, b"bytes");
    }
    let bodies = Arc::new(Ending { files, root: target.root().expect("it is open"), opened: AtomicUsize::default() });
    let ops = names.iter().map(|name| Op {
        path: path(name),
        expect: Expect::Absent,
        action: Action::Put { size: 5, hash: None, mode: 0o644, mtime_ns: None },
    });
    let (lane, ops) = (Lane::Bulk, ops.collect());
    let batch = Batch { lane, barrier: false, durable: false, ops, bodies: bodies.clone() };
    let (done, _told) = mpsc::channel(names.len());
    target.apply(vec![batch], done).await.expect_err("the conversation ended");
    let opened = bodies.opened.load(Ordering::Relaxed);
    assert!((1..=AT_ONCE).contains(&opened), "{opened} files were read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_saves_reading_once_it_was_quiet() {
    for server in Server::honest() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let at = home.path().join("copy");
        let target = ViaSftp::new(server.session(home.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it can be made");
        let done = put(&target, &source(&[("a", "one")]), &["a"], &Expect::Absent).await;
        let [Done::Answered(Outcome::Applied { stamp: Some(stamp), .. }, Some(seal))] = done.as_slice() else {
            panic!("{done:?}")
        };
        let known = |stamp| Known { path: path("a"), expect: Expect::File { hash: seal.hash, stamp: Some(stamp) } };
        // An edit within the same second and of the same length is seen.
        write(&at.join("a"), "two");
        let told = target.verify(vec![known(*stamp)]).await.expect("it is open");
        assert!(matches!(told.as_slice(), [Differs { found: Some(_), .. }]), "{server:?}: {told:?}");
        // One that was quiet is told with a stamp that counts from then on.
        write(&at.join("a"), "one");
        let quiet = std::time::SystemTime::now() - Duration::from_hours(1);
        std::fs::File::open(at.join("a")).expect("it is there").set_modified(quiet).expect("it is ours");
        let told = target.verify(vec![known(*stamp)]).await.expect("it is open");
        let [Differs { found: Some(Found { stamp: Some(renewed), content }), problem: None, .. }] = told.as_slice()
        else {
            panic!("{server:?}: {told:?}")
        };
        assert!(matches!(content, Content::File { hash, .. } if *hash == seal.hash));
        assert_eq!(target.verify(vec![known(*renewed)]).await.expect("it is open"), [], "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_sync_runs_over_sftp() {
    for server in Server::honest() {
        let world = World::new().await;
        for number in 0..300 {
            write(&world.here(&format!("many/{}/f{number}", number % 7)), &number.to_string());
        }
        write(&world.here("large.txt"), &"some words of a long text\n".repeat(120_000));
        std::os::unix::fs::symlink("large.txt", world.here("link")).expect("a link can be made");
        let connector = server.connector(world.there("").parent().expect("it is in a folder"));
        let handle = world.start_by("me", true, connector.clone(), |session| Arc::new(ViaSftp::new(session))).await;
        let snapshot = settled(&handle).await;
        assert_eq!(
            (snapshot.status.state, snapshot.files),
            (SyncState::Synced, 301),
            "{server:?} {:#?}",
            snapshot.status
        );
        assert!(read(&world.there("large.txt")) == read(&world.here("large.txt")));
        assert_eq!(std::fs::read_link(world.there("link")).expect("it is a link"), Path::new("large.txt"));
        write(&world.here("many/3/f3"), "saved");
        std::fs::remove_dir_all(world.here("many/4")).expect("it is there");
        handle.flush(true, SOON).await.expect("it arrives");
        assert_eq!(read(&world.there("many/3/f3")), "saved");
        assert!(!world.there("many/4").exists());
        handle.stop().await;
        let again = world.start_by("me", false, connector, |session| Arc::new(ViaSftp::new(session))).await;
        let snapshot = settled(&again).await;
        assert_eq!(
            (snapshot.status.state, snapshot.files),
            (SyncState::Synced, 0),
            "{server:?} {:#?}",
            snapshot.status
        );
        again.stop().await;
    }
}

#[tokio::test]
async fn only_what_was_flushed_is_called_durable() {
    for server in Server::honest() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let target = ViaSftp::new(server.session(place.path()));
        target.open(&open_as(&place.path().join("root"), "me", false)).await.expect("it opens");
        assert_eq!(target.flush().await.expect("it is open"), Flushed::Durable, "nothing was written");
        let source = FakeSource::default();
        source.tree.lock().write("a", b"bytes");
        put(&target, &source, &["a"], &Expect::Absent).await;
        let offers = target.root().expect("it is open").bulk.offers.fsync;
        assert!(!(offers && matches!(server, Server::Plain)), "the plain one has no extensions");
        // One that was written to be durable is not flushed again, but where that cannot be it is not called so.
        let wanted = if offers { Flushed::Durable } else { Flushed::LeftToDisk };
        assert_eq!(target.flush().await.expect("it is open"), wanted, "{server:?}");
        assert_eq!(target.flush().await.expect("it is open"), wanted, "{server:?}");
    }
}

#[tokio::test]
async fn folders_are_listed_in_order_and_links_are_not_entered() {
    for server in Server::honest() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let at = place.path().join("root");
        for name in ["d/e", "many"] {
            std::fs::create_dir_all(at.join(name)).expect("our own folder");
        }
        std::fs::write(at.join("d/b"), "bytes").expect("our own folder");
        std::fs::write(at.join("d/a"), "").expect("our own folder");
        std::os::unix::fs::symlink("e", at.join("d/link")).expect("our own folder");
        let most = protocol::listing::MAX_LISTED;
        for number in 0..=most {
            std::fs::write(at.join(format!("many/{number:05}")), "").expect("our own folder");
        }
        let target = ViaSftp::new(server.session(place.path()));
        target.open(&open_as(&at, "me", false)).await.expect("it opens");
        let list = async |folders: &[&str], after: Option<&str>| {
            let folders = folders.iter().map(|name| Some(path(name))).collect();
            target.list(folders, after.map(ToOwned::to_owned)).await.expect("it can be listed")
        };
        let top = target.list(vec![None], None).await.expect("it can be listed");
        let names = |listing: &Listing| listing.entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&top[0]), ["d", "many"], "{server:?}");
        let found = list(&["d", "d/link", "gone", "d/a"], None).await;
        assert_eq!(names(&found[0]), ["a", "b", "e", "link"]);
        assert!(matches!(&found[0].entries[1].kind, ListedKind::File(stamp) if stamp.size == 5));
        assert_eq!(found[0].entries[3].kind, ListedKind::Link { target: "e".to_owned() });
        assert!(found[1..].iter().all(|listing| listing.problem.is_some() && listing.entries.is_empty()), "{found:?}");
        assert_eq!(names(&list(&["d"], Some("b")).await[0]), ["e", "link"]);
        let found = list(&["many", "d"], None).await;
        assert_eq!((found.len(), found[0].entries.len(), found[0].cut), (1, most, true));
        let rest = list(&["many", "d"], Some(&found[0].entries[most - 1].name)).await;
        assert_eq!((rest.len(), rest[0].entries.len(), rest[1].entries.len()), (2, 1, 4), "{server:?}");
    }
}
