//! Reads what a git index says of files, and nothing else: no times, no inodes, no caches.
//!
//! The format: <https://git-scm.com/docs/index-format>, versions 2, 3 and 4. Names and counts in a file are believed
//! only as far as its bytes go.

use protocol::sync::Hash;

/// Bytes of an entry before its flags: ten words of facts, then the object id.
const FACTS: usize = 40;
/// Where the mode stands among the facts.
const MODE: std::ops::Range<usize> = 24..28;
/// The flag that says that two more bytes of flags follow (version 3).
const EXTENDED: u16 = 0x4000;
/// Of the flags, the stage of a merge and `assume-unchanged`; the rest is the length of the name.
const MEANING: u16 = 0xB000;
/// Longest name that is put together: as long as a path can be.
const MAX_NAME: usize = 64 * 1024;

/// Returns one hash of all entries (path, mode, stage, flags, object id); `None` for what cannot be read, or says
/// more than its entries do (a split or sparse index).
pub fn entries(bytes: &[u8]) -> Option<Hash> {
    // Whether ids have 20 bytes (SHA-1) or 32 (SHA-256) is written elsewhere; only one of them comes out even.
    digest(bytes, 20).or_else(|| digest(bytes, 32))
}

fn digest(bytes: &[u8], id: usize) -> Option<Hash> {
    let (header, mut rest) = bytes.split_at_checked(12)?;
    let word = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let (version, count) = (word(4)?, word(8)?);
    if !header.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    let mut name: Vec<u8> = Vec::new();
    for _ in 0..count {
        let (fixed, after) = rest.split_at_checked(FACTS + id + 2)?;
        let flags = u16::from_be_bytes(fixed.get(FACTS + id..)?.try_into().ok()?);
        let (more, after) = if flags & EXTENDED == 0 { ([].as_slice(), after) } else { after.split_at_checked(2)? };
        let after = if version == 4 {
            let (cut, after) = number(after)?;
            name.truncate(name.len().checked_sub(cut)?);
            after
        } else {
            name.clear();
            after
        };
        let end = after.iter().position(|byte| *byte == 0)?;
        name.extend_from_slice(after.get(..end)?);
        if name.len() > MAX_NAME {
            return None;
        }
        // Before version 4 an entry ends with one to eight zeros, at a multiple of eight.
        let padded = if version == 4 { end + 1 } else { end + 8 - (FACTS + id + 2 + more.len() + end) % 8 };
        rest = after.get(padded..)?;
        hasher.update(fixed.get(MODE)?);
        hasher.update(fixed.get(FACTS..FACTS + id)?);
        hasher.update(&(flags & MEANING).to_be_bytes());
        hasher.update(more);
        hasher.update(&u64::try_from(name.len()).ok()?.to_be_bytes());
        hasher.update(&name);
    }
    // Extensions, and a checksum over all.
    while rest.len() > id {
        let (head, after) = rest.split_at_checked(8)?;
        // One that has to be understood has a small first letter.
        if !head.first()?.is_ascii_uppercase() {
            return None;
        }
        let length = u32::from_be_bytes(head.get(4..)?.try_into().ok()?);
        rest = after.get(usize::try_from(length).ok()?..)?;
    }
    (rest.len() == id).then(|| Hash(*hasher.finalize().as_bytes()))
}

/// Reads a number as git writes offsets in packs: seven bits at a time, the highest first.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value = (value << 7) | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
        value += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, line: &[&str]) -> bool {
        let git = Command::new("git")
            .current_dir(folder)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(line)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output();
        git.is_ok_and(|git| git.status.success())
    }

    fn now(folder: &Path) -> Option<Hash> {
        entries(&std::fs::read(folder.join(".git/index")).expect("an index"))
    }

    #[test]
    fn real_indexes_of_every_version_are_told_apart_by_their_entries_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        if !git(root, &["init", "-q"]) {
            return assert!(Command::new("git").arg("version").output().is_err(), "git is there and does not work");
        }
        for name in ["a", "a-longer-name", "folder/b", "folder/c"] {
            std::fs::create_dir_all(root.join("folder")).expect("ours");
            std::fs::write(root.join(name), name).expect("ours");
        }
        let mut seen = Vec::new();
        for version in ["2", "3", "4"] {
            assert!(git(root, &["update-index", "--index-version", version]) && git(root, &["add", "."]));
            let before = std::fs::read(root.join(".git/index")).expect("an index");
            let said = now(root);
            assert!(said.is_some(), "version {version}");
            let file = std::fs::File::options().write(true).open(root.join("a")).expect("ours");
            let age = std::time::Duration::from_secs(60 * (seen.len() as u64 + 1));
            file.set_modified(std::time::SystemTime::now() - age).expect("ours");
            assert!(git(root, &["update-index", "--refresh"]));
            assert_ne!(before, std::fs::read(root.join(".git/index")).expect("an index"), "the times changed");
            assert_eq!(now(root), said, "and nothing else");
            seen.push(said);
        }
        assert!(seen.windows(2).all(|two| two.first() == two.last()), "the version itself says nothing");
        std::fs::write(root.join("a"), "new").expect("ours");
        assert!(git(root, &["add", "a"]));
        assert_ne!(now(root), seen[0]);
        assert!(git(root, &["add", "-N", "."]) && git(root, &["update-index", "--split-index"]));
        assert_eq!(now(root), None, "half of it is elsewhere");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let bytes = |version: u8, count: u8| {
            let mut bytes = b"DIRC\0\0\0".to_vec();
            bytes.extend([version, 0, 0, 0, count]);
            bytes
        };
        let whole = |mut bytes: Vec<u8>| {
            bytes.extend([0; 20]);
            bytes
        };
        assert!(entries(&whole(bytes(2, 0))).is_some());
        for wrong in [vec![], whole(bytes(2, 1)), whole(bytes(9, 0)), bytes(2, 0), b"DIRC".to_vec()] {
            assert_eq!(entries(&wrong), None, "{wrong:?}");
        }
        let mut huge = bytes(4, 255);
        huge.extend([0xFF; 300]);
        assert_eq!(entries(&huge), None);
        assert_eq!(number(&[0x80, 0x00]), Some((128, [].as_slice())));
        assert_eq!(number(&[0xFF; 9]), None);
    }
}
