//! The watch against real folders and the real kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;
use crate::sync::ignored::Options;

/// Longest wait for an event; a loaded machine may stall for seconds.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bed {
    folder: tempfile::TempDir,
    root: PathBuf,
    watch: Watch,
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn write(root: &Path, name: &str, text: &str) {
    let file = root.join(name);
    fs::create_dir_all(file.parent().expect("it is in the root")).expect("made");
    fs::write(file, text).expect("written");
}

/// Returns a watch over a workspace that holds `files`.
async fn watching(files: &[&str]) -> Bed {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("workspace");
    fs::create_dir(&root).expect("made");
    for name in files {
        write(&root, name, if name.ends_with(".gitignore") { "target/\n*.log\n" } else { "text" });
    }
    let options = Options { exclude: vec![], include: vec![], global: None, git: false };
    let rules = Arc::new(Rules::load(&root, &options));
    let watch = Watch::start(&root, rules, &folder.path().join("cookies"), None).await.expect("the kernel watches");
    Bed { folder, root, watch }
}

impl Bed {
    /// Returns everything that changed up to now.
    async fn seen(&self) -> Paths {
        self.watch.cookie().await.expect("the cookie comes back");
        let outbox = lock(&self.watch.shared.outbox).dirty.take();
        outbox.map_or(Paths::Some(BTreeSet::new()), |dirty| dirty.paths)
    }

    async fn names(&self) -> Vec<String> {
        match self.seen().await {
            Paths::Everything => vec!["everything".to_owned()],
            Paths::Some(paths) => paths.iter().map(ToString::to_string).collect(),
        }
    }

    /// Returns the next batch that comes by itself.
    async fn next(&self) -> Change {
        tokio::time::timeout(PATIENCE, self.watch.next()).await.expect("something comes").expect("the watch runs")
    }
}

fn covers(paths: &Paths, name: &str) -> bool {
    match paths {
        Paths::Everything => true,
        Paths::Some(paths) => paths.iter().any(|folder| path(name).starts_with(folder)),
    }
}

#[tokio::test]
async fn a_save_comes_by_itself_and_soon() {
    let bed = watching(&["src/main.py"]).await;
    let start = Instant::now();
    write(&bed.root, "src/main.py", "new");
    let Change::Dirty(dirty) = bed.next().await else { panic!("the root is there") };
    assert_eq!(dirty.paths, Paths::Some([path("src/main.py")].into()));
    assert!(start <= dirty.first_event && dirty.first_event <= dirty.settled_at);
}

#[tokio::test]
async fn an_atomic_save_names_both_files() {
    let bed = watching(&["src/main.py"]).await;
    write(&bed.root, "src/.main.py.tmp", "new");
    fs::rename(bed.root.join("src/.main.py.tmp"), bed.root.join("src/main.py")).expect("renamed");
    assert_eq!(bed.names().await, ["src/.main.py.tmp", "src/main.py"]);
}

#[tokio::test]
async fn nothing_falls_between_in_new_folders() {
    let bed = watching(&["a"]).await;
    for number in 0..20 {
        write(&bed.root, &format!("new{number}/x/y/z/file"), "text");
    }
    let paths = bed.seen().await;
    for number in 0..20 {
        assert!(covers(&paths, &format!("new{number}/x/y/z/file")), "{number}: {paths:?}");
    }
    // The new folders are watched themselves by now.
    for number in 0..20 {
        write(&bed.root, &format!("new{number}/x/y/z/file"), "more");
    }
    assert_eq!(bed.names().await.len(), 20);
}

#[tokio::test]
async fn removals_renames_and_moves_are_seen() {
    let bed = watching(&["a", "b", "sub/deep/c", "out"]).await;
    fs::remove_file(bed.root.join("a")).expect("removed");
    assert_eq!(bed.names().await, ["a"]);
    fs::rename(bed.root.join("b"), bed.root.join("b2")).expect("renamed");
    assert_eq!(bed.names().await, ["b", "b2"]);
    fs::rename(bed.root.join("out"), bed.folder.path().join("outside")).expect("moved out");
    assert_eq!(bed.names().await, ["out"]);
    fs::rename(bed.folder.path().join("outside"), bed.root.join("in")).expect("moved in");
    assert_eq!(bed.names().await, ["in"]);
    symlink("in", bed.root.join("link")).expect("made");
    fs::hard_link(bed.root.join("in"), bed.root.join("twin")).expect("made");
    let names = bed.names().await;
    assert!(names.contains(&"link".to_owned()) && names.contains(&"twin".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_moved_folder_is_watched_under_its_new_name_only() {
    let bed = watching(&["sub/deep/c"]).await;
    fs::rename(bed.root.join("sub"), bed.root.join("moved")).expect("renamed");
    assert_eq!(bed.names().await, ["moved", "sub"]);
    write(&bed.root, "moved/deep/c", "new");
    assert_eq!(bed.names().await, ["moved/deep/c"]);
    // Another folder of the old name gets a watch of its own.
    write(&bed.root, "sub/deep/c", "text");
    bed.seen().await;
    write(&bed.root, "sub/deep/c", "new");
    assert_eq!(bed.names().await, ["sub/deep/c"]);
    fs::rename(bed.root.join("moved"), bed.folder.path().join("away")).expect("moved out");
    assert_eq!(bed.names().await, ["moved"]);
    write(bed.folder.path(), "away/deep/c", "newer");
    assert_eq!(bed.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn ignored_folders_are_silent_until_the_rules_change() {
    let bed = watching(&[".gitignore", "target/debug/o", ".git/HEAD", "sub/x"]).await;
    write(&bed.root, "target/debug/o", "new");
    write(&bed.root, "target/new/o", "new");
    write(&bed.root, ".git/HEAD", "new");
    write(&bed.root, "sub/a.log", "new");
    assert_eq!(bed.names().await, Vec::<String>::new());
    write(&bed.root, ".gitignore", "*.log\n");
    assert_eq!(bed.names().await, ["everything"]);
    write(&bed.root, "target/debug/o", "newer");
    assert_eq!(bed.names().await, ["target/debug/o"]);
    write(&bed.root, "sub/.gitignore", "!*.log\nx\n");
    assert_eq!(bed.names().await, ["sub", "sub/.gitignore"]);
    write(&bed.root, "sub/a.log", "newer");
    write(&bed.root, "sub/x", "newer");
    assert_eq!(bed.names().await, ["sub/a.log"]);
}

#[tokio::test]
async fn a_half_written_file_waits_for_its_close() {
    let bed = watching(&["a"]).await;
    let mut file = fs::OpenOptions::new().append(true).open(bed.root.join("a")).expect("ours");
    std::io::Write::write_all(&mut file, b"half").expect("written");
    write(&bed.root, "b", "whole");
    let Change::Dirty(first) = bed.next().await else { panic!("the root is there") };
    assert!(covers(&first.paths, "b"));
    // Only a machine that stalled for so long may have given up waiting by now.
    let waited = first.settled_at.duration_since(first.first_event);
    assert!(!covers(&first.paths, "a") || waited >= settling::UNCLOSED, "{first:?}");
    drop(file);
    assert!(covers(&first.paths, "a") || covers(&bed.seen().await, "a"));
}

#[tokio::test]
async fn a_cookie_comes_after_all_that_was_before_it() {
    let bed = watching(&["a"]).await;
    for number in 0..200 {
        let name = format!("file{number}");
        write(&bed.root, &name, "text");
        assert!(covers(&bed.seen().await, &name), "{name}");
    }
    let left = fs::read_dir(bed.folder.path().join("cookies")).expect("it is there").count();
    assert_eq!(left, 0, "cookies are taken away");
}

#[tokio::test]
async fn a_checkout_is_seen_whole() {
    let bed = watching(&["keep"]).await;
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(&bed.root).env("HOME", &bed.root).env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main"]);
        let output = command.args(args).output().expect("git is installed");
        assert!(output.status.success(), "{output:?}");
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "empty"]);
    git(&["checkout", "-q", "-b", "full"]);
    for number in 0..500 {
        write(&bed.root, &format!("d{}/f{number}", number % 25), "text");
    }
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "full"]);
    bed.seen().await;
    git(&["checkout", "-q", "main"]);
    let gone = bed.seen().await;
    assert!((0..500).all(|number| covers(&gone, &format!("d{}/f{number}", number % 25))));
    git(&["checkout", "-q", "full"]);
    let back = bed.seen().await;
    assert!((0..500).all(|number| covers(&back, &format!("d{}/f{number}", number % 25))));
    write(&bed.root, "d7/f7", "edited");
    assert_eq!(bed.names().await, ["d7/f7"]);
}

#[tokio::test]
async fn lost_events_become_everything() {
    let bed = watching(&["sub/a"]).await;
    // Nothing takes events while the inbox is held, so the kernel's queue (16384 by default) runs over.
    let held = Arc::clone(&bed.watch.shared);
    let root = bed.root.clone();
    tokio::task::spawn_blocking(move || {
        let _held = lock(held.inbox.content());
        // The kernel folds equal events in a row into one, so two files take turns.
        let mut files = ["sub/a", "sub/b"].map(|name| fs::File::create(root.join(name)).expect("ours"));
        for _ in 0..20_000 {
            for file in &mut files {
                std::io::Write::write_all(file, b"x").expect("written");
            }
        }
        fs::create_dir(root.join("late")).expect("made");
    })
    .await
    .expect("no panic");
    assert_eq!(bed.names().await, ["everything"]);
    // The folder whose event was lost is watched all the same.
    write(&bed.root, "late/file", "text");
    assert_eq!(bed.names().await, ["late/file"]);
}

#[tokio::test]
async fn the_root_going_away_is_said() {
    let bed = watching(&["a"]).await;
    fs::rename(&bed.root, bed.folder.path().join("elsewhere")).expect("moved");
    assert_eq!(bed.next().await, Change::RootGone);
    let bed = watching(&["a"]).await;
    fs::remove_dir_all(&bed.root).expect("removed");
    assert_eq!(bed.next().await, Change::RootGone);
}

#[tokio::test]
async fn another_folder_in_the_roots_place_is_watched() {
    // Of what was removed something may be told late.
    let is_seen = |names: &[String], name: &str| {
        assert!(!names.iter().any(|name| name == "everything"), "{names:?}");
        names.iter().any(|seen| seen == name)
    };
    let bed = watching(&["a/b"]).await;
    fs::rename(&bed.root, bed.folder.path().join("elsewhere")).expect("moved");
    write(&bed.root, "a/b", "of the new one");
    assert_eq!(bed.names().await, ["everything"]);
    write(&bed.root, "a/b", "seen by itself");
    assert!(is_seen(&bed.names().await, "a/b"));
    // One that nothing tells of: the old one is not removed as long as somebody has it open.
    let held = fs::File::open(&bed.root).expect("it is there");
    fs::remove_dir_all(&bed.root).expect("removed");
    write(&bed.root, "c", "of the newest one");
    assert_eq!(bed.names().await, ["everything"]);
    write(&bed.root, "c", "seen by itself");
    assert!(is_seen(&bed.names().await, "c"));
    drop(held);
}

#[tokio::test]
async fn another_folder_in_the_roots_place_is_found_by_itself() {
    let bed = watching(&["a"]).await;
    fs::rename(&bed.root, bed.folder.path().join("elsewhere")).expect("moved");
    assert_eq!(bed.next().await, Change::RootGone);
    write(&bed.root, "a", "of the new one");
    let Change::Dirty(dirty) = bed.next().await else { panic!("the root is there") };
    assert_eq!(dirty.paths, Paths::Everything);
    write(&bed.root, "a", "seen by itself");
    let Change::Dirty(dirty) = bed.next().await else { panic!("the root is there") };
    assert_eq!(dirty.paths, Paths::Some([path("a")].into()));
}

#[tokio::test]
async fn a_missing_root_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("gone");
    let rules = Arc::new(Rules::load(&root, &Options { exclude: vec![], include: vec![], global: None, git: false }));
    let error = Watch::start(&root, rules, &folder.path().join("cookies"), None).await.expect_err("nothing to watch");
    assert!(matches!(error, WatchError::Start { .. }), "{error:?}");
}

/// Set in the process that runs one test with few watches.
const FEW: &str = "MLTOOLBOX_TEST_FEW_WATCHES";

#[tokio::test]
async fn too_few_watches_mean_polling() {
    if std::env::var_os(FEW).is_none() {
        run_with_watches(20, "sync::watch::tests::too_few_watches_mean_polling");
        return;
    }
    let names: Vec<String> = (0..50).map(|number| format!("f{number}/sub/file")).collect();
    let bed = watching(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let health = bed.watch.health().borrow().clone();
    assert!(matches!(&health, Health::Polling { reason } if reason.contains("max_user_watches")), "{health:?}");
    for name in &names {
        write(&bed.root, name, "new");
    }
    let paths = bed.seen().await;
    assert!(names.iter().all(|name| covers(&paths, name)), "{paths:?}");
    // It is looked at again without anybody asking.
    let Change::Dirty(dirty) = bed.next().await else { panic!("the root is there") };
    assert!(matches!(dirty.paths, Paths::Some(paths) if !paths.is_empty()));
}

#[tokio::test]
async fn no_watch_at_all_means_polling_too() {
    if std::env::var_os(FEW).is_none() {
        run_with_watches(1, "sync::watch::tests::no_watch_at_all_means_polling_too");
        return;
    }
    let bed = watching(&["a"]).await;
    assert!(matches!(&*bed.watch.health().borrow(), Health::Polling { .. }));
    write(&bed.root, "a", "new");
    assert_eq!(bed.names().await, ["everything"]);
    let Change::Dirty(dirty) = bed.next().await else { panic!("the root is there") };
    assert_eq!(dirty.paths, Paths::Everything);
}

/// Runs this test program again where only so many watches are allowed. `user.max_inotify_watches` belongs to
/// the new user namespace; `fs.inotify.max_user_watches` would be that of the whole machine.
#[expect(clippy::print_stderr, reason = "a skip is said aloud")]
fn run_with_watches(limit: u32, test: &str) {
    let program = std::env::current_exe().expect("a test program");
    let script = "echo \"$2\" > /proc/sys/user/max_inotify_watches || exit 77; exec \"$0\" --exact \"$1\"";
    let output = Command::new("unshare")
        .args(["-U", "-r", "sh", "-c", script])
        .arg(program)
        .args([test, &limit.to_string()])
        .env(FEW, "1")
        .output()
        .expect("unshare is installed");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(77) || complaint.contains("unshare: ") {
        assert!(std::env::var_os("MLT_LIVE").is_none(), "no user namespace with its own limits: {complaint}");
        eprintln!("SKIPPED {test}: this system allows no user namespace with its own limits");
    } else {
        assert!(output.status.success() && said.contains("1 passed"), "{said}{complaint}");
    }
}
