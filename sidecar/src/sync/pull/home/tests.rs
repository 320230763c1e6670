//! Writing to a workspace that others write to as well.

use std::io::Read as _;
use std::os::unix::fs::symlink;

use protocol::sync::Hash;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

struct Fixture {
    place: tempfile::TempDir,
    home: Home,
}

fn open(place: &Path) -> Option<Home> {
    open_by(place, false).expect("it can be written")
}

fn open_by(place: &Path, unasked: bool) -> io::Result<Option<Home>> {
    Home::open(&place.join("w"), &place.join("kept"), unasked, CancellationToken::new())
}

fn fixture() -> Fixture {
    let place = tempfile::tempdir().expect("a folder can be made");
    std::fs::create_dir(place.path().join("w")).expect("a folder can be made");
    let home = open(place.path()).expect("nobody else pulls");
    Fixture { place, home }
}

impl Fixture {
    fn here(&self, at: &str) -> PathBuf {
        self.place.path().join("w").join(at)
    }

    fn put(&self, at: &str, text: &str, mode: u32, expected: Option<&Local>) -> io::Result<u32> {
        let staged = self.home.stage(&path(at), mode)?;
        staged.file()?.write_all(text.as_bytes())?;
        self.home.place(staged, &path(at), expected, false)
    }

    fn kept(&self, at: &str) -> String {
        std::fs::read_to_string(self.home.kept().expect("something is kept").join(at)).expect("it is kept")
    }
}

fn file(text: &str, mode: u32) -> Local {
    let hash = Hash(*blake3::hash(text.as_bytes()).as_bytes());
    Local { held: Held::File { hash: Some(hash), size: text.len() as u64 }, mode, stamp: None }
}

#[test]
fn a_new_file_comes_with_its_folders_and_an_unexpected_one_stays() {
    let fixture = fixture();
    fixture.put("a/b/c.txt", "new", 0o4755, None).expect("nothing is there");
    let now = std::fs::metadata(fixture.here("a/b/c.txt")).expect("it is there");
    assert_eq!(now.permissions().mode() & 0o7000, 0, "never setuid");
    assert_ne!(now.permissions().mode() & 0o100, 0, "it can be run");
    fixture.put("a/b/c.txt", "other", 0o644, None).expect_err("something is there");
    fixture.put("a/b/c.txt", "other", 0o644, Some(&file("old", 0o644))).expect_err("it is another one");
    assert_eq!(std::fs::read_to_string(fixture.here("a/b/c.txt")).expect("it is there"), "new");
    std::fs::write(fixture.here("a/f"), "x").expect("a file can be written");
    fixture.put("a/f/g", "x", 0o644, None).expect_err("a file is no folder");
}

#[test]
fn what_is_replaced_or_removed_is_kept() {
    let fixture = fixture();
    std::fs::write(fixture.here("a"), "old").expect("a file can be written");
    std::fs::set_permissions(fixture.here("a"), std::fs::Permissions::from_mode(0o600)).expect("ours");
    let mode = fixture.put("a", "new", 0o777, Some(&file("old", 0o600))).expect("it is as expected");
    assert_eq!((mode, fixture.kept("a")), (0o700, "old".to_owned()));
    std::fs::write(fixture.here("b"), "bytes").expect("a file can be written");
    fixture.home.remove(&path("b"), &file("other", 0o644)).expect_err("it is another one");
    assert!(fixture.home.remove(&path("b"), &file("bytes", 0o644)).expect("it is as expected"));
    assert_eq!((fixture.here("b").exists(), fixture.kept("b")), (false, "bytes".to_owned()));
    symlink("x", fixture.here("l")).expect("a link can be made");
    let link = |target: &str| Local { held: Held::Link { target: target.to_owned() }, mode: 0o777, stamp: None };
    fixture.home.link(&path("l"), "y", Some(&link("z"))).expect_err("it is another one");
    fixture.home.link(&path("l"), "y", Some(&link("x"))).expect("it is as expected");
    assert_eq!(std::fs::read_link(fixture.here("l")).expect("it is a link"), Path::new("y"));
}

#[test]
fn what_came_home_unasked_is_replaced_without_a_trace_unless_it_was_changed() {
    let place = tempfile::tempdir().expect("a folder can be made");
    std::fs::create_dir(place.path().join("w")).expect("a folder can be made");
    let home = open_by(place.path(), true).expect("it can be written").expect("nobody else pulls");
    let fixture = Fixture { place, home };
    std::fs::write(fixture.here("a"), "old").expect("a file can be written");
    fixture.put("a", "new", 0o644, Some(&file("other", 0o644))).expect_err("it is another one");
    fixture.put("a", "new", 0o644, Some(&file("old", 0o644))).expect("it is as expected");
    assert_eq!((std::fs::read_to_string(fixture.here("a")).ok(), fixture.home.kept()), (Some("new".to_owned()), None));
}

#[test]
fn a_folder_goes_only_when_nothing_is_left_in_it() {
    let fixture = fixture();
    let folder = Local { held: Held::Folder, mode: 0o755, stamp: None };
    std::fs::create_dir(fixture.here("d")).expect("a folder can be made");
    std::fs::write(fixture.here("d/ours"), "").expect("a file can be written");
    assert!(!fixture.home.remove(&path("d"), &folder).expect("it can be tried"));
    std::fs::remove_file(fixture.here("d/ours")).expect("it is there");
    assert!(fixture.home.remove(&path("d"), &folder).expect("it can be tried"));
}

#[test]
fn no_link_is_followed() {
    let fixture = fixture();
    let outside = fixture.place.path().join("outside");
    std::fs::create_dir(&outside).expect("a folder can be made");
    std::fs::write(outside.join("a"), "theirs").expect("a file can be written");
    symlink(&outside, fixture.here("d")).expect("a link can be made");
    fixture.put("d/new", "x", 0o644, None).expect_err("d is a link");
    fixture.home.make_folder(&path("d/e")).expect_err("d is a link");
    fixture.home.make_folder(&path("d")).expect_err("d is a link");
    fixture.home.link(&path("d/l"), "x", None).expect_err("d is a link");
    fixture.home.remove(&path("d/a"), &file("theirs", 0o644)).expect_err("d is a link");
    fixture.home.at(&path("d/a"), None).expect_err("d is a link");
    assert_eq!(std::fs::read_dir(&outside).expect("it is a folder").count(), 1);
    // A link that took the place of a file is no file any more.
    std::fs::write(fixture.here("f"), "mine").expect("a file can be written");
    std::fs::remove_file(fixture.here("f")).expect("it is there");
    symlink(outside.join("a"), fixture.here("f")).expect("a link can be made");
    fixture.put("f", "x", 0o644, Some(&file("theirs", 0o644))).expect_err("f is a link");
    assert_eq!(std::fs::read_to_string(outside.join("a")).expect("it is there"), "theirs");
}

#[test]
fn one_pull_at_a_time_and_what_a_killed_one_left_goes() {
    let fixture = fixture();
    assert!(open(fixture.place.path()).is_none(), "it is locked");
    std::fs::write(fixture.here(".mltoolbox-pull/half"), "half").expect("a file can be written");
    let staged = fixture.home.stage(&path("a"), 0o644).expect("it can be staged");
    drop(staged);
    let Fixture { place, home } = fixture;
    // A killed process gives back the lock and nothing else.
    let left = place.path().join("w/.mltoolbox-pull");
    drop(home);
    assert!(!left.exists());
    std::fs::create_dir(&left).expect("a folder can be made");
    std::fs::write(left.join("half"), "half").expect("a file can be written");
    let again = open(place.path()).expect("nobody else pulls");
    assert!(!left.join("half").exists());
    let mut text = String::new();
    File::open(left.join(".gitignore")).expect("it is there").read_to_string(&mut text).expect("it is text");
    assert_eq!(text, "*\n", "git sees nothing of it");
    drop(again);
}

#[test]
fn a_long_file_that_was_cut_off_is_continued() {
    let Fixture { place, home } = fixture();
    let at = path("d/long.bin");
    let long = vec![7; usize::try_from(PART).expect("a megabyte")];
    let (staged, before) = home.stage_part(&at, 0o644).expect("it can be staged");
    assert_eq!(before.length, 0);
    staged.file().and_then(|mut file| file.write_all(&long)).expect("it can be written");
    drop(staged);
    let (staged, _) = home.stage_part(&path("short"), 0o644).expect("it can be staged");
    staged.file().and_then(|mut file| file.write_all(b"x")).expect("it can be written");
    drop(staged);
    drop(home);
    let left = place.path().join("w/.mltoolbox-pull");
    let parts = || {
        let names =
            std::fs::read_dir(&left).expect("it is there").map(|entry| entry.expect("it can be read").file_name());
        names.filter(|name| name.to_string_lossy().starts_with("part-")).count()
    };
    assert_eq!(parts(), 1, "what is short is not worth it");
    assert!(left.join(".gitignore").exists());

    let home = open(place.path()).expect("nobody else pulls");
    assert!(open(place.path()).is_none(), "the lock outlived the pull that was cut off");
    let (staged, before) = home.stage_part(&at, 0o644).expect("it can be staged");
    assert_eq!(before.length, PART);
    assert_eq!(before.hasher.finalize(), blake3::hash(&long));
    staged.file().and_then(|mut file| file.write_all(b"end")).expect("it can be written");
    home.place(staged, &at, None, true).expect("nothing is there");
    let came = std::fs::read(place.path().join("w/d/long.bin")).expect("it is there");
    assert!(came == [&long[..], b"end"].concat());
    // A mixture is of no use, and is begun anew.
    let (mut staged, _) = home.stage_part(&at, 0o644).expect("it can be staged");
    staged.file().and_then(|mut file| file.write_all(&long)).expect("it can be written");
    staged.begin_anew().expect("it can be emptied");
    drop(staged);
    drop(home);
    assert!(!left.exists(), "nothing is left");
}
