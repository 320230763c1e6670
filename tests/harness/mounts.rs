//! File systems that are not like ext4: each is made in a file or over a folder, mounted, and unmounted when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::process::wait_until;
use crate::skip::{self, Reason};

/// How long a FUSE program may need to serve its folder, or to let it go.
const FUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// Something mounted on a folder.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts an overlay on `path` whose lower layer holds what is in the folder `lower`.
    pub fn overlay(path: &Path, lower: &Path) -> Result<Self, Reason> {
        root()?;
        let [upper, work] = ["upper", "work"].map(|name| beside(path, name));
        let option = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        Self::at(path, Command::new("mount").args(["-t", "overlay", "-o", &option, "overlay"]))
    }

    /// Mounts the folder `other` on `path`, too.
    pub fn bind(path: &Path, other: &Path) -> Result<Self, Reason> {
        root()?;
        Self::at(path, Command::new("mount").arg("--bind").arg(other))
    }

    /// Mounts the folder `other` on `path` through FUSE.
    pub fn fuse(path: &Path, other: &Path) -> Result<Self, Reason> {
        root()?;
        needs("bindfs", "bindfs")?;
        Self::served(path, Command::new("bindfs").arg(other))
    }

    /// Mounts a file system on `path` to which `a` and `A` are one name (NTFS through FUSE).
    pub fn ignoring_case(path: &Path) -> Result<Self, Reason> {
        root()?;
        needs("lowntfs-3g", "ntfs-3g")?;
        let image = image(path, 32 << 20);
        made(Command::new("mkntfs").args(["-q", "-F", "-f"]).arg(&image))?;
        Self::served(path, Command::new("lowntfs-3g").args(["-o", "ignore_case,permissions"]).arg(&image))
    }

    /// Mounts a file system on `path` with a quota of `bytes` (a btrfs subvolume).
    pub fn with_quota(path: &Path, bytes: u64) -> Result<Self, Reason> {
        root()?;
        needs("mkfs.btrfs", "btrfs-progs")?;
        let image = image(path, 128 << 20);
        made(Command::new("mkfs.btrfs").args(["-q", "-f"]).arg(&image))?;
        let mount = Self::at(path, Command::new("mount").args(["-o", "loop"]).arg(&image))?;
        made(Command::new("btrfs").args(["quota", "enable"]).arg(path))?;
        made(Command::new("btrfs").args(["qgroup", "limit", &bytes.to_string()]).arg(path))?;
        Ok(mount)
    }

    /// Mounts a file system on `path` on which no program may be run.
    pub fn without_programs(path: &Path) -> Result<Self, Reason> {
        root()?;
        Self::at(path, Command::new("mount").args(["-t", "tmpfs", "-o", "noexec,mode=0755", "tmpfs"]))
    }

    fn at(path: &Path, command: &mut Command) -> Result<Self, Reason> {
        fs::create_dir_all(path).expect("a folder of the test's own");
        made(command.arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// A program of FUSE goes to the background before or after its folder is there, as it likes.
    fn served(path: &Path, command: &mut Command) -> Result<Self, Reason> {
        let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).expect("a folder"));
        fs::create_dir_all(path).expect("a folder of the test's own");
        let before = device(path);
        let mount = Self::at(path, command)?;
        wait_until("the file system to be served", FUSE, || device(path) != before);
        Ok(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, so that a process that still has it open does not keep the test's folder.
        let status = Command::new("umount").arg("--lazy").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot unmount {}", self.path.display());
    }
}

fn root() -> Result<(), Reason> {
    skip::live(&["mount"])?;
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Reason::OtherPlatform("mounting needs root on Linux".to_owned()))
    }
}

fn needs(program: &str, package: &str) -> Result<(), Reason> {
    let folders = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];
    if folders.iter().any(|folder| Path::new(folder).join(program).exists()) || skip::has(program) {
        return Ok(());
    }
    Err(Reason::Missing(format!("`{program}` is missing; install the package {package}")))
}

fn beside(path: &Path, name: &str) -> PathBuf {
    let folder = path.with_extension(name);
    fs::create_dir_all(&folder).expect("a folder of the test's own");
    folder
}

fn image(path: &Path, bytes: u64) -> PathBuf {
    let image = path.with_extension("image");
    let file = fs::File::create(&image).expect("a folder of the test's own");
    file.set_len(bytes).expect("an empty file of any length");
    image
}

/// Runs a command; one that fails means that this kernel cannot do it.
fn made(command: &mut Command) -> Result<(), Reason> {
    let output = command.stdin(Stdio::null()).output();
    let failed = |text: String| Reason::OtherPlatform(format!("`{command:?}` does not work here: {text}"));
    match &output {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => Err(failed(String::from_utf8_lossy(stderr).trim().to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}
