//! Random trees and random edits, each pushed twice, against a judge that is not us: rsync finds no difference. Names
//! are odd, sizes lie around every limit of the wire, and kinds change from one push to the next.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::edits::{Editor, Random};
use harness::work::Work;
use harness::{oracle, skip};

use crate::cuts::assert_synced;
use crate::reached::{self, Near, ToNear};

/// Trees of a usual run; `MLT_SOAK=1` takes a thousand.
const TREES: u64 = 20;

/// Lengths around what is sent whole, packed together, cut into chunks and framed.
const SIZES: &[usize] = &[
    0, 1, 4_095, 4_096, 4_097, 16_384, 65_535, 65_536, 65_537, 131_073, 262_143, 262_144, 262_145, 1_048_575,
    1_048_576, 1_048_577, 2_200_000,
];

/// Names that somebody once had: blanks, line ends, quotes, both forms of an accent, dashes, globs and very long ones.
fn names() -> Vec<String> {
    let plain = [
        " ",
        "a b",
        "line\nend",
        "tab\tbed",
        "-rf",
        "--delete",
        "caf\u{e9}",
        "cafe\u{301}",
        "日本",
        "*",
        "?",
        "[a]",
        "{b}",
        "#c",
        "~",
        "$HOME",
        "'",
        "\"",
        "\\",
        "a:b",
        "nul",
        ".dot",
        "...",
        "UP",
        "up",
    ];
    let mut names: Vec<String> = plain.iter().map(|name| (*name).to_owned()).collect();
    names.extend(["l".repeat(255), "é".repeat(127)]);
    names
}

/// Grows a tree below `root`: folders in folders, files of every size, links of every sort that may be sent.
fn grow(root: &Path, random: &mut Random) {
    let names = names();
    let mut folders = vec![root.to_owned()];
    for _ in 0..8 + random.below(30) {
        let folder = random.pick(&folders).clone();
        let path = folder.join(random.pick(&names));
        // The path as a whole has a limit, too, which the copy reaches first.
        if path.symlink_metadata().is_ok() || path.as_os_str().len() > 1_500 {
            continue;
        }
        match random.below(10) {
            0..=2 => {
                fs::create_dir(&path).expect("our own folder");
                folders.push(path);
            }
            3 => symlink(random.pick(&names), &path).expect("our own folder"),
            _ => write(&path, random),
        }
    }
    let mut deep = root.to_owned();
    for level in 0..random.below(40) {
        deep = deep.join(format!("level{level}"));
    }
    fs::create_dir_all(&deep).expect("our own folder");
}

/// Writes a file of some length: noise, or what can be packed well.
fn write(path: &Path, random: &mut Random) {
    let size = if random.below(3) == 0 { *random.pick(SIZES) } else { random.below(3_000) };
    let mut bytes = vec![b'x'; size];
    if random.below(2) == 0 {
        blake3::Hasher::new().update(&random.number().to_le_bytes()).finalize_xof().fill(&mut bytes);
    }
    fs::write(path, bytes).expect("our own folder");
    // Bits that others lost there stay lost when a file is replaced, so none is narrower than these.
    let mode = *random.pick(&[0o644, 0o755]);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
}

fn remove(path: &Path) {
    let kind = path.symlink_metadata().expect("our own tree").file_type();
    if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("our own tree");
}

/// Changes what is there: bytes in the midst, ends, kinds, names, and folders of folders. Returns what it did.
fn change(root: &Path, random: &mut Random) -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..=random.below(8) {
        let all = oracle::walk(root);
        if all.is_empty() {
            grow(root, random);
            return done;
        }
        let path: PathBuf = random.pick(&all).clone();
        let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let kind = path.symlink_metadata().expect("our own tree").file_type();
        match random.below(8) {
            0..=2 if kind.is_file() => {
                edit(&path, random);
                done.push(format!("edit {}", shown(&path)));
            }
            3 => {
                done.push(format!("another kind of {}", shown(&path)));
                remove(&path);
                match random.below(3) {
                    0 if !kind.is_dir() => {
                        fs::create_dir(&path).expect("our own tree");
                        write(&path.join("inside"), random);
                    }
                    1 if !kind.is_symlink() => symlink("elsewhere", &path).expect("our own tree"),
                    _ => write(&path, random),
                }
            }
            4 => {
                remove(&path);
                done.push(format!("remove {}", shown(&path)));
            }
            5 => {
                let other = random.pick(&all).clone();
                if !other.starts_with(&path) && !path.starts_with(&other) {
                    let aside = root.join("aside");
                    for (from, to) in [(&path, &aside), (&other, &path), (&aside, &other)] {
                        fs::rename(from, to).expect("our own tree");
                    }
                    done.push(format!("swap {} and {}", shown(&path), shown(&other)));
                }
            }
            6 => {
                let to = root.join(format!("moved-{}", random.below(5)));
                if to.symlink_metadata().is_err() {
                    fs::rename(&path, &to).expect("our own tree");
                    done.push(format!("rename {} to {}", shown(&path), shown(&to)));
                }
            }
            _ => done.extend(Editor::new(root, random.number()).some(2)),
        }
    }
    done
}

fn edit(path: &Path, random: &mut Random) {
    let mut bytes = fs::read(path).expect("our own file");
    let at = random.below(bytes.len() + 1);
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => drop(bytes.splice(at..at, *b"put in")),
        2 => bytes.extend_from_slice(b"put behind"),
        _ => match bytes.get_mut(at) {
            Some(byte) => *byte ^= 1,
            None => bytes.push(0),
        },
    }
    fs::write(path, bytes).expect("our own file");
}

#[test]
fn random_trees_and_edits_are_what_rsync_says_they_are() {
    let test = "random_trees_and_edits_are_what_rsync_says_they_are";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for seed in 0..if skip::soak() { 1_000 } else { TREES } {
        let here = Work::in_memory();
        let (root, copy) = (here.workspace(), here.path().join("copy"));
        let near = Near::new();
        let mut random = Random::new(20_261_120 + seed);
        let check = |what: &str, done: &[String]| {
            let connector = Arc::new(ToNear(Arc::clone(&near)));
            let snapshot = runtime.block_on(reached::once(&here, connector, &copy));
            assert_synced(&format!("{what} of seed {seed}"), &snapshot);
            let differences = oracle::differences(&root, &copy, &[]);
            assert_eq!(differences, [] as [String; 0], "{what} of seed {seed}: {done:#?}");
        };
        grow(&root, &mut random);
        check("the tree", &[]);
        let done = change(&root, &mut random);
        check("the edits", &done);
        // Everything once more below itself: the bytes of every file are there already.
        let extra = root.join("cp -r");
        let copied = std::process::Command::new("cp").arg("-r").arg(&copy).arg(&extra).status();
        assert!(copied.is_ok_and(|status| status.success()));
        let done = change(&root, &mut random);
        check("the copy of everything", &done);
    }
}

#[test]
fn a_deep_folder_changes_places_with_anything() {
    let test = "a_deep_folder_changes_places_with_anything";
    if let Err(reason) = skip::live(&["rsync"]) {
        return skip::skip(test, &reason);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for other in ["empty folder", "full folder", "file", "empty file", "link"] {
        let here = Work::in_memory();
        let (root, copy) = (here.workspace(), here.path().join("copy"));
        let near = Near::new();
        let check = |what: &str| {
            let connector = Arc::new(ToNear(Arc::clone(&near)));
            let snapshot = runtime.block_on(reached::once(&here, connector, &copy));
            assert_synced(&format!("{what} and {other}"), &snapshot);
            let differences = oracle::differences(&root, &copy, &[]);
            assert_eq!(differences, [] as [String; 0], "{what} and {other}");
        };
        let (deep, at) = (root.join("a/deep"), root.join("b/other"));
        fs::create_dir_all(deep.join("1/2/3")).expect("our own folder");
        fs::create_dir_all(root.join("b")).expect("our own folder");
        fs::write(root.join("stays"), "stays").expect("our own folder");
        match other {
            "empty folder" => fs::create_dir(&at).expect("our own folder"),
            "full folder" => {
                fs::create_dir(&at).expect("our own folder");
                fs::write(at.join("full"), "full").expect("our own folder");
            }
            "file" => fs::write(&at, "file").expect("our own folder"),
            "empty file" => fs::write(&at, "").expect("our own folder"),
            _ => symlink("elsewhere", &at).expect("our own folder"),
        }
        check("before");
        let aside = root.join("aside");
        for (from, to) in [(&deep, &aside), (&at, &deep), (&aside, &at)] {
            fs::rename(from, to).expect("our own tree");
        }
        check("swapped");
    }
}
