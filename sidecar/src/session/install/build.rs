//! The program that is uploaded as the agent of one platform, and where it comes from.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use agent::version::BUILD;
use protocol::editor::{AgentOrigin, AgentProgram};
use tempfile::NamedTempFile;
use tokio::sync::OnceCell;

use super::error::InstallError;
use super::platform::{HEAD, Machine, Platform, Program, System};
use super::sources::{Choice, Sources};
use super::{FOLDER, download};
use crate::frontend::{Frontend, Progress};

/// The bytes of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// In a file of this machine.
    File(PathBuf),
    /// In this program.
    Embedded(&'static [u8]),
}

/// The program that is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// What it is built for.
    pub platform: Platform,
    /// Where it comes from.
    pub origin: AgentOrigin,
    /// The program itself.
    pub bytes: Bytes,
    /// What the remote has to start it with; `None` for one that needs nothing of the remote.
    pub interpreter: Option<String>,
    /// Its length.
    pub size: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub hash: String,
    /// Its name on remotes: `mlt-<version>-<beginning of the hash>`.
    pub name: String,
}

impl Build {
    /// Returns the build that this installation has for a platform; it is looked for once, and downloaded when a
    /// person said from where and it is not here.
    pub async fn of(platform: Platform, frontend: &dyn Frontend) -> Result<Self, InstallError> {
        static X86_64: [OnceCell<Build>; 2] = [const { OnceCell::const_new() }; 2];
        static AARCH64: [OnceCell<Build>; 2] = [const { OnceCell::const_new() }; 2];
        let [linux, mac_os] = match platform.machine {
            Machine::X86_64 => &X86_64,
            Machine::Aarch64 => &AARCH64,
        };
        let found = match platform.system {
            System::Linux => linux,
            System::MacOs => mac_os,
        };
        found.get_or_try_init(|| Self::find(platform, frontend)).await.cloned()
    }

    async fn find(platform: Platform, frontend: &dyn Frontend) -> Result<Self, InstallError> {
        let sources = Sources::ours()?;
        let choice = off_runtime({
            let sources = sources.clone();
            move || sources.choose(platform)
        });
        match choice.await? {
            Choice::Have(build) => Ok(*build),
            Choice::Fetch(order) => {
                let title = format!("Downloading the agent from {}", order.url());
                frontend.report(Progress { title, ..Progress::default() });
                off_runtime(move || {
                    let file = download::fetch(&order)?;
                    Self::describe(platform, AgentOrigin::Downloaded, Bytes::File(file))
                })
                .await
            }
        }
    }

    /// Returns where it goes, relative to the remote user's home.
    pub fn path(&self) -> String {
        format!("{FOLDER}/bin/{}", self.name)
    }

    /// Returns what people are told of it.
    pub fn about(&self) -> AgentProgram {
        let file = match &self.bytes {
            Bytes::File(path) => Some(path.display().to_string()),
            Bytes::Embedded(_) => None,
        };
        AgentProgram {
            origin: self.origin,
            file,
            platform: self.platform.to_string(),
            needs_libc: self.interpreter.is_some(),
        }
    }

    /// Returns a file with the program, and what keeps it there.
    pub(super) fn file(&self) -> io::Result<(PathBuf, Option<NamedTempFile>)> {
        match &self.bytes {
            Bytes::File(path) => Ok((path.clone(), None)),
            Bytes::Embedded(bytes) => {
                let mut file = NamedTempFile::new()?;
                file.write_all(bytes)?;
                Ok((file.path().to_owned(), Some(file)))
            }
        }
    }

    /// Looks at a program: refuses one that is for another machine.
    pub(super) fn describe(platform: Platform, origin: AgentOrigin, bytes: Bytes) -> Result<Self, InstallError> {
        let found = look(&bytes).map_err(InstallError::Own)?;
        let interpreter = match found {
            Program::For { platform: built_for, interpreter } if built_for == platform => interpreter,
            Program::For { .. } | Program::Foreign | Program::Other => {
                let file = match &bytes {
                    Bytes::File(path) => path.display().to_string(),
                    Bytes::Embedded(_) => platform.file_name().to_owned(),
                };
                return Err(InstallError::WrongProgram { file, found: found.describe(), platform });
            }
        };
        let (size, hash) = hash(&bytes).map_err(InstallError::Own)?;
        let name = format!("mlt-{}-{}", env!("CARGO_PKG_VERSION"), &hash[..BUILD]);
        Ok(Self { platform, origin, bytes, interpreter, size, hash, name })
    }
}

/// Tells what the program is.
fn look(bytes: &Bytes) -> io::Result<Program> {
    match bytes {
        Bytes::File(path) => look_at(path),
        Bytes::Embedded(bytes) => Ok(Program::of(&bytes[..bytes.len().min(HEAD)])),
    }
}

/// Tells what the program in a file is.
pub(super) fn look_at(path: &Path) -> io::Result<Program> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(Program::of(&head))
}

fn hash(bytes: &Bytes) -> io::Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    match bytes {
        Bytes::File(path) => hasher.update_reader(File::open(path)?)?,
        Bytes::Embedded(bytes) => hasher.update(bytes),
    };
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InstallError> + Send + 'static,
) -> Result<T, InstallError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failed| Err(InstallError::Own(failed.into())))
}
