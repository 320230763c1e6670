//! Judges that are not us: `rsync` on whether two trees are equal, a hash on whether a tree changed at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns how `remote` differs from `local`, one line per path as `rsync -rlpnc --delete -i` words it;
/// empty when they are equal. Times and owners do not count. Patterns of `leave_out` are rsync's.
pub fn differences(local: &Path, remote: &Path, leave_out: &[&str]) -> Vec<String> {
    let mut command = Command::new("rsync");
    command.args(["-rlpnci", "--delete"]);
    command.args(leave_out.iter().map(|pattern| format!("--exclude={pattern}")));
    command.arg(format!("{}/", local.display())).arg(format!("{}/", remote.display()));
    let output = command.output().expect("rsync is installed");
    assert!(output.status.success(), "rsync failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Fails with the list of differences unless the trees are equal.
#[track_caller]
pub fn assert_equal(local: &Path, remote: &Path, leave_out: &[&str]) {
    let differences = differences(local, remote, leave_out);
    assert!(differences.is_empty(), "{} and {} differ:\n{}", local.display(), remote.display(), differences.join("\n"));
}

/// Returns a hash over every name, kind, permission, link target and byte below `root`. Links are not followed.
pub fn canary(root: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for path in walk(root) {
        let metadata = fs::symlink_metadata(&path).expect("nobody changes the tree meanwhile");
        let mut feed = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        feed(path.strip_prefix(root).expect("found below the root").as_os_str().as_encoded_bytes());
        feed(&metadata.permissions().mode().to_le_bytes());
        if metadata.is_symlink() {
            feed(fs::read_link(&path).expect("a link").as_os_str().as_encoded_bytes());
        } else if metadata.is_file() {
            feed(&fs::read(&path).expect("a readable file"));
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Returns everything below `root`, sorted. Links are not followed.
pub fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            if entry.file_type().expect("a file of this tree").is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Work, write_fixture};

    #[test]
    fn each_judge_sees_one_changed_byte() {
        let work = Work::new();
        let other = work.path().join("other");
        let fixture = "//- /a/b.py\nprint(1)\n//- /link -> a/b.py\n";
        work.write(fixture);
        write_fixture(&other, fixture).expect("our own folder");
        assert_equal(&work.workspace(), &other, &[]);
        assert_eq!(canary(&work.workspace()), canary(&other));
        fs::write(other.join("a/b.py"), "print(2)\n").expect("our own folder");
        assert_eq!(differences(&work.workspace(), &other, &[]).len(), 1);
        assert_eq!(differences(&work.workspace(), &other, &["b.py"]).len(), 0);
        assert_ne!(canary(&work.workspace()), canary(&other));
    }
}
