//! Which program is uploaded as the agent: `mlt` beside us when it is of our version, else we ourselves,
//! who act as the agent under its name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent::version::version_line;
use tokio::sync::OnceCell;

use super::FOLDER;
use super::error::InstallError;

/// The program that is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The file on this machine.
    pub file: PathBuf,
    /// Its length.
    pub size: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub hash: String,
    /// Its name on remotes: `mlt-<version>-<beginning of the hash>`.
    pub name: String,
}

static OURS: OnceCell<Build> = OnceCell::const_new();

impl Build {
    /// Returns the build of this installation; it is looked for once.
    pub async fn ours() -> Result<Self, InstallError> {
        let found = OURS.get_or_try_init(|| async {
            tokio::task::spawn_blocking(find).await.unwrap_or_else(|failed| Err(InstallError::Own(failed.into())))
        });
        found.await.cloned()
    }

    /// Returns where it goes, relative to the remote user's home.
    pub fn path(&self) -> String {
        format!("{FOLDER}/bin/{}", self.name)
    }
}

fn find() -> Result<Build, InstallError> {
    let own = std::env::current_exe().map_err(InstallError::Own)?;
    // Programs that cargo builds for tests lie one folder below the others.
    let folders = [own.parent(), own.parent().and_then(Path::parent)];
    let beside = folders.into_iter().flatten().map(|folder| folder.join("mlt")).find(|file| is_ours(file));
    describe(beside.unwrap_or(own)).map_err(InstallError::Own)
}

fn is_ours(file: &Path) -> bool {
    if !file.is_file() {
        return false;
    }
    let said = Command::new(file).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    said.is_ok_and(|said| said.status.success() && String::from_utf8_lossy(&said.stdout).trim() == version_line())
}

fn describe(file: PathBuf) -> std::io::Result<Build> {
    let mut hasher = blake3::Hasher::new();
    let opened = File::open(&file)?;
    let size = opened.metadata()?.len();
    hasher.update_reader(opened)?;
    let hash = hasher.finalize().to_hex().to_string();
    let name = format!("mlt-{}-{}", env!("CARGO_PKG_VERSION"), &hash[..12]);
    Ok(Build { file, size, hash, name })
}
