//! Writes an accepted host key into a `known_hosts` file: appended, never rewritten.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use russh::keys::PublicKey;
use russh::keys::ssh_key::rand_core::Rng as _;

use super::known_hosts::{self, SALT_LENGTH};

/// Appends the line of `key`, hashed if that is wanted or the file keeps its names hashed. Makes the file (0600) and its folder
/// (0700) when they are missing. On an error the file holds what it held.
pub(super) fn append(path: &Path, name: &str, key: &PublicKey, hashed: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut held = Vec::new();
    file.read_to_end(&mut held)?;
    let text = String::from_utf8_lossy(&held);
    let salt = (hashed || known_hosts::is_hashed(&text)).then(|| {
        let mut salt = [0; SALT_LENGTH];
        russh::keys::key::safe_rng().fill_bytes(&mut salt);
        salt
    });
    let mut line = known_hosts::entry(name, key, salt.as_ref());
    line.push('\n');
    if !held.is_empty() && !held.ends_with(b"\n") {
        line.insert(0, '\n');
    }
    // One write, so that two programs that append at the same time do not mix their lines.
    file.write_all(line.as_bytes())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use russh::keys::{Algorithm, PrivateKey};

    use super::*;
    use crate::transport::ssh::known_hosts::{File, Verdict, check};

    fn key() -> PublicKey {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
        key.expect("a key can be made").public_key().clone()
    }

    #[test]
    fn makes_what_is_missing_for_this_user_alone() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join(".ssh/known_hosts");
        append(&path, "[h]:2200", &key(), false).expect("it can be written");
        let mode = |path: &Path| std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("it has a folder"))), (0o600, 0o700));
    }

    #[test]
    fn keeps_what_is_there() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("known_hosts");
        let (old, new) = (key(), key());
        for (before, hashed) in [("", false), ("# mine", false), ("|1|AAAA|BBBB ssh-rsa x", true)] {
            let before = format!(
                "{before}{}{}",
                if before.is_empty() { "" } else { "\n" },
                known_hosts::entry("old", &old, None)
            );
            std::fs::write(&path, &before).expect("it can be written");
            append(&path, "new", &new, false).expect("it can be written");
            let text = std::fs::read_to_string(&path).expect("it can be read");
            assert!(text.starts_with(&format!("{before}\n")) && text.ends_with('\n'), "{text:?}");
            assert_eq!(text.lines().last().is_some_and(|line| line.starts_with("|1|")), hashed);
            let files = [File { path: path.clone(), text }];
            assert_eq!(check(&files, "new", &new, &[]), Verdict::Known);
            assert_eq!(check(&files, "old", &old, &[]), Verdict::Known);
        }
    }
}
