//! One small sync whose link breaks after each of its bytes, up or down; and bytes that arrive late, twice or out of
//! order, when another link has long gone on. Nothing is torn, nothing is lost, and no conflict is made up.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::proxy::Way;
use harness::work::Work;
use harness::{oracle, skip};
use protocol::editor::SyncState;
use sidecar::sync::Snapshot;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::reached::{self, Broken, Near, ToNear};
use crate::story::ARRIVES;
use crate::versions::{assert_whole, save};

/// Offsets that a usual run tries in each direction; `MLT_SOAK=1` tries every one.
const OFFSETS: usize = 60;

/// A workspace, an agent of this process, and edits of the same shape in every round, so that one stream is as long
/// as another.
pub(crate) struct Rounds {
    pub(crate) here: Work,
    there: PathBuf,
    near: Arc<Near>,
    runtime: tokio::runtime::Runtime,
}

/// Does the edits of a round below `root`: every kind of operation that a plan has.
pub(crate) fn edit(root: &Path, beside: &Path, round: u64) {
    let name = |kind: &str, round: u64| root.join(format!("d/{kind}-{round:06}.txt"));
    fs::create_dir_all(root.join("d")).expect("our own folder");
    save(&root.join("d"), beside, "replaced.txt", round);
    save(&root.join("d"), beside, &format!("new-{round:06}.txt"), round);
    fs::create_dir(root.join(format!("d/folder-{round:06}"))).expect("a new folder");
    symlink(format!("{round:06}"), root.join(format!("d/link-{round:06}"))).expect("a new link");
    if round == 0 {
        fs::write(name("moved", 0), "moved and copied\n".repeat(100)).expect("our own folder");
        fs::write(root.join("d/mode"), "mode").expect("our own folder");
    } else {
        let last = round - 1;
        fs::remove_file(name("new", last)).expect("our own file");
        fs::remove_dir(root.join(format!("d/folder-{last:06}"))).expect("our own folder");
        fs::remove_file(root.join(format!("d/link-{last:06}"))).expect("our own link");
        fs::rename(name("moved", last), name("moved", round)).expect("our own file");
    }
    let mode = if round.is_multiple_of(2) { 0o644 } else { 0o755 };
    fs::set_permissions(root.join("d/mode"), fs::Permissions::from_mode(mode)).expect("our own file");
}

/// Fails when a file of the copy is not exactly one version, or is of a kind that nobody ever made.
#[track_caller]
pub(crate) fn assert_nothing_is_torn(copy: &Path) {
    let Ok(entries) = fs::read_dir(copy.join("d")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("new-") || name == "replaced.txt" {
            // It may be removed by a sync that goes on.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                assert_whole(&entry.path(), &text);
            }
        } else if name.starts_with("moved-") {
            if let Ok(text) = fs::read_to_string(entry.path()) {
                assert!(text == "moved and copied\n".repeat(100), "{name} is torn: {} bytes", text.len());
            }
        } else {
            let known = ["folder-", "link-", "mode"].iter().any(|kind| name.starts_with(kind));
            assert!(known, "nobody made `{name}`");
        }
    }
}

/// Fails unless a sync ended with nothing left to do and nothing to decide.
#[track_caller]
pub(crate) fn assert_synced(what: &str, snapshot: &Snapshot) {
    let status = &snapshot.status;
    assert_eq!((status.state, status.pending, status.conflicts), (SyncState::Synced, 0, 0), "{what}: {snapshot:#?}");
    assert_eq!(status.drift, [] as [String; 0], "{what}: what is ours is taken for another's");
}

impl Rounds {
    fn new() -> Self {
        let (here, runtime) = (Work::new(), tokio::runtime::Runtime::new().expect("a runtime"));
        fs::create_dir(here.path().join("remote")).expect("our own folder");
        let there = here.path().join("remote/copy");
        Self { here, there, near: Near::new(), runtime }
    }

    /// Syncs twice, and returns how many bytes the second sync moved up and down.
    fn recorded() -> (Self, [u64; 2]) {
        let rounds = Self::new();
        rounds.edit(0);
        rounds.finish("the first");
        rounds.near.passed();
        rounds.edit(1);
        rounds.finish("the recorded one");
        let recorded = rounds.near.passed();
        (rounds, recorded)
    }

    fn edit(&self, round: u64) {
        edit(&self.here.workspace(), self.here.path(), round);
    }

    fn connector(&self) -> Arc<ToNear> {
        Arc::new(ToNear(Arc::clone(&self.near)))
    }

    /// Syncs until it is done.
    fn finish(&self, what: &str) {
        let snapshot = self.runtime.block_on(reached::once(&self.here, self.connector(), &self.there));
        assert_synced(what, &snapshot);
        let here = oracle::canary(&self.here.workspace());
        if oracle::canary(&self.there) != here {
            oracle::assert_equal(&self.here.workspace(), &self.there, &[]);
            panic!("{what}: rsync sees no difference, but there is one");
        }
    }

    /// Begins a sync whose link breaks, and gives up when it did. Returns whether it did.
    fn begin(&self, broken: Broken) -> bool {
        let mut breaks = self.near.broke();
        self.near.break_after(broken);
        self.runtime.block_on(async {
            let handle = reached::start_by(&self.here, self.connector(), &self.there, false).await;
            let broke = tokio::select! {
                _ = breaks.changed() => true,
                // A link that breaks while it is opened is an error that the sync rests at.
                snapshot = reached::settled(&handle) => if snapshot.status.error.is_some() {
                    breaks.changed().await.is_ok()
                } else {
                    assert_synced("nothing broke", &snapshot);
                    false
                }
            };
            handle.stop().await;
            self.near.mend();
            broke
        })
    }
}

#[test]
fn the_link_is_cut_after_each_byte_of_a_sync() {
    let test = "the_link_is_cut_after_each_byte_of_a_sync";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let (rounds, recorded) = Rounds::recorded();
    let (mut round, mut broke) = (1, 0);
    for (way, length) in [(Way::Up, recorded[0]), (Way::Down, recorded[1])] {
        let stride = if skip::soak() { 1 } else { (usize::try_from(length).expect("small") / OFFSETS).max(1) };
        for offset in (0..length).step_by(stride) {
            round += 1;
            rounds.edit(round);
            broke += u64::from(rounds.begin(Broken::Cut(way, offset)));
            assert_nothing_is_torn(&rounds.there);
            rounds.finish(&format!("{way:?} after {offset} bytes"));
        }
    }
    crate::kills::say(&format!("CUT {broke} of {} links, streams of {recorded:?} bytes up and down", round - 1));
    // A stream may be a little shorter than the recorded one, and then its last offsets are never reached.
    assert!(broke * 5 > (round - 1) * 4 && recorded[0] > 1_000 && recorded[1] > 100, "{broke} {round} {recorded:?}");
    oracle::assert_equal(&rounds.here.workspace(), &rounds.there, &[]);
}

#[test]
fn what_an_old_link_delivers_late_changes_nothing() {
    let test = "what_an_old_link_delivers_late_changes_nothing";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let (rounds, [length, _]) = Rounds::recorded();
    // The agent waits two seconds for what an old link is about, before it answers the new one.
    let offsets = if skip::soak() { 200 } else { 3 };
    let (mut round, mut broke) = (1, 0);
    for turn in 0..offsets {
        round += 1;
        rounds.edit(round);
        let (let_go, held) = oneshot::channel();
        let offset = (turn + 1) * length / (offsets + 2);
        let late = rounds.begin(Broken::Late(offset, held));
        // What the old link still holds is of the past: all of it was saved anew since. (What it gave and nobody
        // recorded would stay as another's if it were removed here now.)
        let data = rounds.here.workspace().join("d");
        for name in ["replaced.txt", &format!("new-{round:06}.txt")] {
            save(&data, rounds.here.path(), name, 500_000 + round);
        }
        rounds.finish(&format!("beside a link held after {offset} bytes"));
        let before = oracle::canary(&rounds.there);
        if late {
            broke += 1;
            let_go.send(()).expect("the old link waits");
            let served = async { tokio::time::timeout(ARRIVES, rounds.near.served()).await };
            rounds.runtime.block_on(served).expect("the agent leaves the old link");
        }
        assert_nothing_is_torn(&rounds.there);
        assert_eq!(oracle::canary(&rounds.there), before, "late bytes after {offset} changed the copy");
        rounds.finish(&format!("after the late bytes from {offset} on"));
    }
    assert!(broke * 2 > offsets, "{broke} of {offsets}");
}

#[test]
fn whoever_says_hello_twice_or_out_of_order_is_left() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let near = Near::new();
    runtime.block_on(async {
        let mut hello = Vec::new();
        agent::wire::send_hello(&mut hello, &agent::wire::own_hello()).await.expect("memory takes it");
        for said in [
            [hello.as_slice(), &hello].concat(),
            [&hello[hello.len() / 2..], &hello].concat(),
            [&hello[..hello.len() / 2], &hello].concat(),
        ] {
            let (mut ours, served) = near.raw();
            ours.write_all(&said).await.expect("it listens");
            ours.shutdown().await.expect("it listens");
            let mut answer = Vec::new();
            let read = tokio::time::timeout(ARRIVES, ours.read_to_end(&mut answer)).await.expect("it ends the link");
            read.expect("a pipe of this process");
            tokio::time::timeout(ARRIVES, served).await.expect("it leaves the link").expect("it does not panic");
        }
    });
    // Others are served all the same.
    let rounds = Rounds { near, ..Rounds::new() };
    rounds.edit(0);
    rounds.finish("after strange ones");
}

#[test]
fn two_links_at_once_do_not_mix() {
    let test = "two_links_at_once_do_not_mix";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let rounds = Rounds::new();
    rounds.edit(0);
    rounds.finish("the first");
    for round in 1..if skip::soak() { 200 } else { 8 } {
        rounds.edit(round);
        rounds.runtime.block_on(async {
            let [one, two] = [rounds.connector(), rounds.connector()];
            let one = reached::start_by(&rounds.here, one, &rounds.there, false).await;
            let two = reached::start_by(&rounds.here, two, &rounds.there, false).await;
            tokio::join!(reached::settled(&one), reached::settled(&two));
            tokio::join!(one.stop(), two.stop());
        });
        assert_nothing_is_torn(&rounds.there);
        rounds.finish(&format!("after two at once in round {round}"));
    }
}
