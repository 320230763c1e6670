//! Machines with less than usual: a disk that is soon full, a home that runs no program, no network at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::skip::Reason;

/// A small file system in memory, mounted on a folder. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one with room for `bytes` on the new folder `path`, or says why this machine does not allow it.
    pub fn mount(path: &Path, bytes: u64) -> Result<Self, Reason> {
        fs::create_dir(path).expect("a new folder in a test's own folder");
        let size = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).stderr(Stdio::null());
        match mount.status() {
            Ok(status) if status.success() => Ok(Self { path: path.to_owned() }),
            Ok(_) | Err(_) => Err(Reason::OtherPlatform("mounting a small tmpfs needs root on Linux".to_owned())),
        }
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it read-only, or writable again.
    pub fn read_only(&self, read_only: bool) {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", option]).arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot remount {}", self.path.display());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a process that still has it open does not keep the test's folder.
        let status = Command::new("umount").arg("--lazy").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot unmount {}", self.path.display());
    }
}

/// Returns a command that runs `program` where `root` is all there is, or why that cannot be.
pub fn confined(root: &Path, program: &str) -> Result<Command, Reason> {
    crate::skip::live(&["unshare"])?;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let mut probe = Command::new("unshare");
    probe.args(command.get_args()).args(["--root=/", "/bin/true"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return Err(Reason::OtherPlatform("this kernel allows no user namespace here".to_owned()));
    }
    command.arg(format!("--root={}", root.display())).arg(program).env_clear();
    Ok(command)
}

/// A folder whose files cannot be executed. Unmounted when dropped.
#[derive(Debug)]
pub struct NoExec {
    path: PathBuf,
}

impl NoExec {
    /// Mounts an empty file system in memory over a folder, or says why this machine does not allow it.
    pub fn mount(path: &Path) -> Result<Self, Reason> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "noexec,mode=0755", "tmpfs"]).arg(path).stderr(Stdio::null());
        match mount.status() {
            Ok(status) if status.success() => Ok(Self { path: path.to_owned() }),
            Ok(_) | Err(_) => Err(Reason::OtherPlatform("mounting a tmpfs needs root on Linux".to_owned())),
        }
    }
}

impl Drop for NoExec {
    fn drop(&mut self) {
        // Lazily, so that a process that still has it open does not keep the test's folder.
        let status = Command::new("umount").arg("--lazy").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot unmount {}", self.path.display());
    }
}

/// Returns the same command in a network of its own that has only a loopback device, or why that cannot be.
pub fn offline(command: &Command) -> Result<Command, Reason> {
    let wrap = |inner: &mut Command| {
        inner.args(["--net", "--map-root-user", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    };
    crate::skip::live(&["unshare", "ip"]).or_else(|reason| match reason {
        // On a plain user's PATH `ip` may lie in a folder that only root looks into.
        Reason::Missing(_) if Path::new("/usr/sbin/ip").exists() => Ok(()),
        reason => Err(reason),
    })?;
    let mut probe = Command::new("unshare");
    wrap(&mut probe);
    if !probe.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Err(Reason::OtherPlatform("this kernel allows no network namespace here".to_owned()));
    }
    let mut wrapped = Command::new("unshare");
    wrap(&mut wrapped);
    wrapped.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    Ok(wrapped)
}
