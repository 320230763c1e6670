//! A place of its own for each test: a temporary home, a workspace, and text with its paths taken out.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process;

/// Where temporary folders go: short, because a Unix socket's path holds at most 107 bytes.
const SHORT: &str = "/tmp";
/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Variables that a program under test keeps from the environment of the tests.
const KEPT: &[&str] = &["PATH", "LD_LIBRARY_PATH", "TMPDIR", "LLVM_PROFILE_FILE"];

/// A temporary place with a home and a workspace. Ends every process of that home when dropped.
#[derive(Debug)]
pub struct Work {
    folder: TempDir,
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

impl Work {
    /// Makes an empty place on disk.
    pub fn new() -> Self {
        Self::below(Path::new(SHORT))
    }

    /// Makes an empty place in memory, on disk where there is no such file system.
    pub fn in_memory() -> Self {
        let memory = Path::new(MEMORY);
        Self::below(if memory.is_dir() { memory } else { Path::new(SHORT) })
    }

    fn below(parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("mltb-").tempdir_in(parent).expect("a temporary folder");
        for name in ["home", "workspace", "run"] {
            fs::create_dir(folder.path().join(name)).expect("a new folder in a new folder");
        }
        fs::set_permissions(folder.path().join("run"), fs::Permissions::from_mode(0o700)).expect("our own folder");
        Self { folder }
    }

    /// Returns the folder that holds everything else.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the temporary home.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Returns the project folder.
    pub fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }

    /// Returns a command that knows only this place: own home, own XDG folders, no SSH agent, no colour.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.workspace());
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.home()).env("XDG_RUNTIME_DIR", self.path().join("run"));
        command.env("MLTOOLBOX_SYSTEM_CONFIG", self.path().join("etc"));
        command.env("LANG", "C.UTF-8").env("TZ", "UTC").env("NO_COLOR", "1").env("TERM", "dumb");
        command
    }

    /// Writes the files of a fixture into the workspace; see [`write_fixture`].
    pub fn write(&self, fixture: &str) {
        write_fixture(&self.workspace(), fixture).expect("a fixture that can be written");
    }

    /// Returns `text` with this place's path as `$WORK`.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), "$WORK")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        process::end_all(&self.home());
    }
}

/// Writes files below `root` from one text. `//- /path` begins a file, a trailing `/` makes a folder,
/// `//- /path -> target` a link, and `//- /path 755` sets permission bits.
pub fn write_fixture(root: &Path, fixture: &str) -> io::Result<()> {
    for part in parse_fixture(fixture) {
        let path = root.join(&part.path);
        if part.path.ends_with('/') {
            fs::create_dir_all(&path)?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match part.target {
            Some(target) => std::os::unix::fs::symlink(target, &path)?,
            None => fs::write(&path, part.content)?,
        }
        if let Some(mode) = part.mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// One file, folder or link of a fixture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Relative to the root; a folder ends with `/`.
    pub path: String,
    /// What a link points to.
    pub target: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// What a file holds.
    pub content: String,
}

/// Returns the parts of a fixture in order.
pub fn parse_fixture(fixture: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in fixture.trim_start_matches('\n').split_inclusive('\n') {
        if let Some(header) = line.strip_prefix("//- /") {
            let header = header.trim_end();
            let mut part = Part::default();
            if let Some((path, target)) = header.split_once(" -> ") {
                (part.path, part.target) = (path.to_owned(), Some(target.to_owned()));
            } else if let Some((path, mode)) = header.rsplit_once(' ') {
                path.clone_into(&mut part.path);
                part.mode = Some(u32::from_str_radix(mode, 8).expect("octal permission bits after the path"));
            } else {
                header.clone_into(&mut part.path);
            }
            parts.push(part);
        } else {
            parts.last_mut().expect("a fixture begins with `//- /path`").content.push_str(line);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_is_files_folders_and_links() {
        let work = Work::new();
        work.write("\n//- /a.py\nprint(1)\n\n//- /bin/run 755\n#!/bin/sh\n//- /empty/\n//- /link -> a.py\n");
        let read = |name: &str| fs::read_to_string(work.workspace().join(name)).expect("a file of the fixture");
        assert_eq!(read("a.py"), "print(1)\n\n");
        assert_eq!(read("link"), "print(1)\n\n");
        let mode = fs::metadata(work.workspace().join("bin/run")).expect("a file of the fixture").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(work.workspace().join("empty").is_dir());
    }

    #[test]
    fn a_dropped_place_leaves_no_process() {
        let work = Work::new();
        let home = work.home();
        let mut child = work.command("sleep").arg("1000").spawn().expect("sleep starts");
        process::wait_until("sleep to run", std::time::Duration::from_secs(5), || {
            !process::with_home(&home).is_empty()
        });
        drop(work);
        assert!(process::with_home(&home).iter().all(|stat| stat.state == 'Z'));
        assert!(!child.wait().expect("our child").success());
    }
}
