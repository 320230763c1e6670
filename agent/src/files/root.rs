//! Finding and opening the folder that a root is, or saying why it must not be one.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use protocol::path::RemotePath;
use rustix::fs::Dir;

use super::error::RootError;
use super::look::{self, Kind};
use super::mode;
use super::side;
use crate::facts;

/// A root folder that was found or made.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) folder: File,
    pub(super) path: String,
    pub(super) created: bool,
}

/// Opens the folder at `path`; makes it and its parents when `create` is set.
pub(super) fn locate(path: &RemotePath, create: bool) -> Result<Located, RootError> {
    let home = facts::home();
    let absolute = resolve(path.as_str(), home.as_deref())?;
    let path = absolute.to_string_lossy().into_owned();
    let refuse = |what| Err(RootError::Refused { path: path.clone(), what });
    let failed = |doing, error: io::Error| RootError::io(doing, &path, error);
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name().and_then(|name| name.to_str())) else {
        return refuse("the root of the file system");
    };
    if home.as_deref().is_some_and(|home| home.components().eq(absolute.components())) {
        return refuse("the home folder itself");
    }
    if create {
        std::fs::create_dir_all(parent).map_err(|error| failed("make the folders above", error))?;
    }
    let parent = match side::open_above(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RootError::Missing { path }),
        Err(error) => return Err(failed("open the folder above", error)),
    };
    let mut created = false;
    match look::at(parent.as_fd(), name).map_err(|error| failed("look at", error))?.map(|seen| seen.kind) {
        Some(Kind::Folder) => {}
        Some(Kind::Link) => {
            let target = look::target(parent.as_fd(), name).map_err(|error| failed("look at", error))?;
            return Err(RootError::Link { path, target });
        }
        Some(Kind::File | Kind::Special) => return Err(RootError::NotFolder { path }),
        None if create => match rustix::fs::mkdirat(&parent, name, mode::raw(0o777)) {
            Ok(()) => created = true,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed("make", error.into())),
        },
        None => return Err(RootError::Missing { path }),
    }
    let folder = side::open_folder(parent.as_fd(), name).map_err(|error| failed("open", error))?;
    // By another way (a link above it, a bind mount) it may still be one of those.
    let same = |other: &Path| -> bool {
        let inode = |seen: look::Seen| (seen.stamp.device, seen.stamp.inode);
        let other = side::open_above(other).and_then(look::through).map(inode).ok();
        other.is_some() && other == look::through(&folder).map(inode).ok()
    };
    if same(Path::new("/")) {
        return refuse("the root of the file system");
    }
    if home.as_deref().is_some_and(same) {
        return refuse("the home folder itself");
    }
    Ok(Located { folder, path, created })
}

/// Returns the absolute path that `text` means; a relative one starts at the home folder.
fn resolve(text: &str, home: Option<&Path>) -> Result<PathBuf, RootError> {
    let mut rest = Path::new(text).components().filter(|part| *part != Component::CurDir).peekable();
    if text.starts_with('/') {
        return Ok(rest.collect());
    }
    if text == "~" || text.starts_with("~/") {
        rest.next();
    } else if text.starts_with('~') {
        return Err(RootError::Refused {
            path: text.to_owned(),
            what: "in the home of another user, which is not looked up",
        });
    }
    let mut path = home.ok_or(RootError::NoHome)?.to_owned();
    path.extend(rest);
    Ok(path.components().collect())
}

/// Returns whether the folder holds nothing but our own.
pub(super) fn is_empty(folder: &File, reserved: Option<&str>) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && Some(name) != reserved.map(str::as_bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether the folder itself was told to ignore case, which ext4 and f2fs can do for one folder.
#[cfg(target_os = "linux")]
pub(super) fn folds_case(folder: &File) -> bool {
    /// `FS_CASEFOLD_FL` of `linux/fs.h`.
    const CASEFOLD: u32 = 0x4000_0000;
    rustix::fs::ioctl_getflags(folder).is_ok_and(|flags| flags.bits() & CASEFOLD != 0)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn folds_case(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_meant_by_tilde_and_by_nothing() {
        let home = Some(Path::new("/home/u"));
        for (text, want) in [
            ("~", "/home/u"),
            ("~/a/./b/", "/home/u/a/b"),
            ("a/b", "/home/u/a/b"),
            ("./a", "/home/u/a"),
            ("/data//x/", "/data/x"),
            ("/.", "/"),
        ] {
            assert_eq!(resolve(text, home).expect("a path").to_str(), Some(want), "{text}");
        }
        assert!(resolve("~other/x", home).is_err());
        assert!(resolve("~/x", None).is_err());
    }
}
