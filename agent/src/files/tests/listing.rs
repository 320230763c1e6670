//! What stands in folders, whoever put it there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use protocol::listing::{Listed, ListedKind, Listing, MAX_LISTED, MAX_UNUSABLE};

use super::*;

impl Fixture {
    fn list(&self, folders: &[Option<&str>], after: Option<&str>) -> Vec<Listing> {
        let folders: Vec<Option<RelPath>> = folders.iter().map(|folder| folder.map(path)).collect();
        self.root.list(&folders, after, &|| true).expect("it is there").expect("nobody cancels it")
    }
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn names_and_facts_come_sorted_and_nothing_is_followed() {
    let fixture = fixture();
    let root = fixture.path();
    fs::create_dir(root.join("d")).expect("made");
    fs::write(root.join("b.txt"), "four").expect("written");
    fs::write(root.join("d/x"), "").expect("written");
    symlink("/etc", root.join("a-link")).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).expect("made");
    let listings = fixture.list(&[None, Some("d"), Some("a-link"), Some("gone"), Some("b.txt")], None);
    assert_eq!(names(&listings[0]), ["a-link", "b.txt", "d", "pipe"]);
    assert_eq!(listings[0].entries[0].kind, ListedKind::Link { target: "/etc".to_owned() });
    assert!(matches!(&listings[0].entries[1], Listed { kind: ListedKind::File(stamp), .. } if stamp.size == 4));
    assert_eq!(listings[0].entries[3].kind, ListedKind::Special);
    assert_eq!(names(&listings[1]), ["x"]);
    for (listing, word) in listings[2..].iter().zip(["link", "not there", "not a folder"]) {
        assert!(listing.entries.is_empty() && !listing.cut);
        assert!(listing.problem.as_ref().is_some_and(|problem| problem.contains(word)), "{listing:?}");
    }
}

#[test]
fn names_that_are_no_text_are_told_once() {
    let fixture = fixture();
    for number in 0..40_u8 {
        fs::write(fixture.path().join(OsStr::from_bytes(&[b'n', number + b'0', 0xFF])), "").expect("written");
    }
    for name in ["ok", "\n", "a b", "…"] {
        fs::write(fixture.path().join(name), "").expect("written");
    }
    let listing = fixture.list(&[None], None).remove(0);
    assert_eq!(names(&listing), ["\n", "a b", "ok", "…"]);
    assert_eq!(listing.unusable.len(), MAX_UNUSABLE);
    assert!(fixture.list(&[None], Some("a b"))[0].unusable.is_empty());
}

#[test]
fn a_hundred_thousand_entries_are_cut_and_continued() {
    let place = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let fixture = fixture_in(place);
    fs::create_dir(fixture.path().join("many")).expect("made");
    for number in 0..100_000 {
        fs::hard_link(fixture.path().join("many/f0"), fixture.path().join(format!("many/f{number}")))
            .or_else(|_| fs::write(fixture.path().join(format!("many/f{number}")), ""))
            .expect("made");
    }
    let mut all: Vec<String> = Vec::new();
    let mut answers = 0;
    loop {
        let listings = fixture.list(&[Some("many"), None], all.last().map(String::as_str));
        answers += 1;
        assert!(listings.iter().map(|listing| listing.entries.len()).sum::<usize>() <= MAX_LISTED);
        all.extend(listings[0].entries.iter().map(|entry| entry.name.clone()));
        if !listings[0].cut {
            assert_eq!(names(&listings[1]), ["many"], "the folder after it fits");
            break;
        }
        assert_eq!(listings.len(), 1, "nothing comes after a cut");
    }
    assert_eq!(all.len(), 100_000);
    assert!(all.is_sorted() && answers > 3, "{answers}");
}

#[test]
fn long_names_and_link_texts_fill_an_answer_before_their_number_does() {
    let fixture = fixture();
    let target = "t".repeat(4000);
    for number in 0..300 {
        symlink(&target, fixture.path().join(format!("l{number:03}"))).expect("made");
    }
    let first = fixture.list(&[None], None).remove(0);
    assert!(first.cut && first.entries.len() < 300, "{}", first.entries.len());
    let bytes = postcard::to_stdvec(&first).expect("plain data").len();
    assert!(bytes < protocol::frame::MAX_PAYLOAD, "{bytes}");
    let rest = fixture.list(&[None], Some(&first.entries[first.entries.len() - 1].name)).remove(0);
    assert!(rest.cut || first.entries.len() + rest.entries.len() == 300);
}

#[test]
fn our_own_folder_is_left_out_and_a_cancelled_one_ends() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let parent = place.path().join("parent");
    fs::create_dir_all(parent.join("root")).expect("made");
    fs::set_permissions(&parent, std::os::unix::fs::PermissionsExt::from_mode(0o555)).expect("ours");
    let (root, _) = open_as(&parent.join("root"), "one", false).expect("a root");
    let listing = root.list(&[None], None, &|| true).expect("it is there").expect("nobody cancels it").remove(0);
    // Root may write to the parent all the same; then it is beside the root, and not listed either.
    assert_eq!(names(&listing), [] as [&str; 0]);
    let own = root.list(&[Some(path(".mltoolbox"))], None, &|| true).expect("it is there").expect("nobody cancels it");
    assert!(own[0].problem.is_some() && own[0].entries.is_empty());
    assert!(root.list(&[None], None, &|| false).expect("it is there").is_none());
    fs::set_permissions(&parent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
}
