//! Which program this process is: the file it can be started from again, and the build that its name tells.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::version::{BUILD, version_line};

/// What the kernel adds to the name of a program whose file was removed.
const DELETED: &str = " (deleted)";

/// Returns the file of this program.
pub fn file() -> io::Result<PathBuf> {
    // Without `/proc`, as in a bare chroot, only the name that we were called by is left.
    std::env::current_exe().or_else(|error| called_by().ok_or(error))
}

/// Returns what tells this build from every other one: the hash in the name that it was installed under. A program
/// that was not installed is told by its version.
pub fn build() -> String {
    let file = file().unwrap_or_default();
    let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    build_in(name).map_or_else(|| short_hash(version_line().as_bytes()), str::to_owned)
}

/// Returns the build that is installed as `name`: `mlt-<version>-<build>`.
pub fn build_in(name: &str) -> Option<&str> {
    let name = name.strip_suffix(DELETED).unwrap_or(name);
    let (version, build) = name.strip_prefix("mlt-")?.rsplit_once('-')?;
    (!version.is_empty() && is_build(build)).then_some(build)
}

/// Returns whether `text` has the form of a build.
pub(super) fn is_build(text: &str) -> bool {
    text.len() == BUILD && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the beginning of a BLAKE3 hash, long enough to tell a few names apart.
pub(super) fn short_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..BUILD].to_owned()
}

fn called_by() -> Option<PathBuf> {
    let name = std::env::args_os().next()?;
    name.as_bytes().contains(&b'/').then(|| std::path::absolute(name).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_name_tells_its_build() {
        assert_eq!(build_in("mlt-0.1.0-0123456789ab"), Some("0123456789ab"));
        assert_eq!(build_in("mlt-1.0.0-rc.1-0123456789ab"), Some("0123456789ab"));
        assert_eq!(build_in("mlt-0.1.0-0123456789ab (deleted)"), Some("0123456789ab"));
        for other in ["mlt", "mlt-linux-x86_64", "mlt-0.1.0", "mlt--0123456789ab", "mlt-0.1.0-0123456789AB", ""] {
            assert_eq!(build_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_program_that_was_not_installed_has_a_build_too() {
        assert!(is_build(&build()));
    }
}
