//! Where the agent of a platform is looked for, in this order: beside the sidecar, in the sidecar, where a person
//! said that it can be downloaded from, and last the sidecar itself, which acts as the agent under its name.
//!
//! Decides and looks at files; fetches nothing.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent::version::version_line;
use protocol::editor::AgentOrigin;

use super::build::{self, Build, Bytes};
use super::download::{Base, Order};
use super::error::InstallError;
use super::platform::{Platform, Program};
use crate::env;

/// Agents that are part of this program, by the names they have beside it. Releases have them; `MLTOOLBOX_EMBED` names
/// the folder they are taken from while the sidecar is compiled.
#[cfg(feature = "embedded-agents")]
const EMBEDDED: &[(&str, &[u8])] = &[
    ("mlt-linux-x86_64", include_bytes!(concat!(env!("MLTOOLBOX_EMBED"), "/mlt-linux-x86_64"))),
    ("mlt-linux-aarch64", include_bytes!(concat!(env!("MLTOOLBOX_EMBED"), "/mlt-linux-aarch64"))),
];
#[cfg(not(feature = "embedded-agents"))]
const EMBEDDED: &[(&str, &[u8])] = &[];

/// The one name beside the sidecar that says nothing of the platform: what `cargo build` makes.
const PLAIN: &str = "mlt";

/// How long a program beside the sidecar may take to say its version; an agent takes a few milliseconds.
const SAYS_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_EVERY: Duration = Duration::from_millis(2);
/// No version is longer, in bytes.
const MOST_SAID: u64 = 256;

/// Everything that may hold an agent.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Folders to look into.
    pub folders: Vec<PathBuf>,
    /// Agents within this program, by name.
    pub embedded: &'static [(&'static str, &'static [u8])],
    /// From where agents may be downloaded, and where downloads are kept.
    pub download: Option<(Base, PathBuf)>,
    /// This program.
    pub own: PathBuf,
}

/// What was decided.
#[derive(Debug)]
pub enum Choice {
    /// It is here.
    Have(Box<Build>),
    /// It is to be downloaded, unless that was done already.
    Fetch(Order),
}

impl Sources {
    /// Returns those of this installation.
    pub fn ours() -> Result<Self, InstallError> {
        let own = std::env::current_exe().map_err(InstallError::Own)?;
        let beside = own.parent();
        // Programs that cargo builds for tests lie one folder below the others. Nobody else's parent folder is
        // looked into: it may be one that others write to.
        let of_tests = beside.filter(|folder| folder.ends_with("deps")).and_then(Path::parent);
        let folders = [beside, of_tests].into_iter().flatten().map(Path::to_owned).collect();
        let download = match env::text(env::DOWNLOAD_BASE) {
            Some(base) => Some((Base::parse(&base)?, env::cache_dir())),
            None => None,
        };
        Ok(Self { folders, embedded: EMBEDDED, download, own })
    }

    /// Returns the agent of a platform, or how to get it. Blocks.
    pub fn choose(&self, platform: Platform) -> Result<Choice, InstallError> {
        let have = |origin, bytes| Build::describe(platform, origin, bytes).map(|build| Choice::Have(Box::new(build)));
        if let Some(file) = self.beside(platform) {
            return have(AgentOrigin::Beside, Bytes::File(file));
        }
        if let Some((_, bytes)) = self.embedded.iter().find(|(name, _)| *name == platform.file_name()) {
            return have(AgentOrigin::Embedded, Bytes::Embedded(bytes));
        }
        if let Some((base, cache)) = &self.download {
            return Ok(Choice::Fetch(base.order(platform, cache)));
        }
        if Platform::own() == Some(platform) {
            return have(AgentOrigin::Sidecar, Bytes::File(self.own.clone()));
        }
        Err(InstallError::NoBuild { platform })
    }

    /// Returns the file beside the sidecar that is meant for the platform, right or wrong. One of another version is
    /// passed over where that can be told, which is on this machine's own platform.
    fn beside(&self, platform: Platform) -> Option<PathBuf> {
        let is_ours = |file: &PathBuf| Platform::own() != Some(platform) || is_of_this_version(file);
        let named = || {
            let files = self.folders.iter().map(|folder| folder.join(platform.file_name()));
            files.filter(|file| file.is_file()).find(|file| !is_for(file, platform) || is_ours(file))
        };
        let plain = || {
            let files = self.folders.iter().map(|folder| folder.join(PLAIN));
            files.filter(|file| file.is_file()).find(|file| is_for(file, platform) && is_ours(file))
        };
        named().or_else(plain)
    }
}

fn is_for(file: &Path, platform: Platform) -> bool {
    match build::look_at(file) {
        Ok(Program::For { platform: built_for, .. }) => built_for == platform,
        Ok(Program::Foreign | Program::Other) | Err(_) => false,
    }
}

fn is_of_this_version(file: &Path) -> bool {
    let is_ours = said_by(file).is_ok_and(|said| said.trim() == version_line());
    if !is_ours {
        tracing::warn!(file = %file.display(), "an agent of another version is passed over");
    }
    is_ours
}

/// Returns what a program says to `--version`. One that says nothing in time is ended.
fn said_by(file: &Path) -> std::io::Result<String> {
    let mut program = Command::new(file)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + SAYS_WITHIN;
    while program.try_wait()?.is_none() {
        if Instant::now() > deadline {
            program.kill()?;
            program.wait()?;
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(LOOKS_EVERY);
    }
    let mut said = String::new();
    if let Some(output) = program.stdout.take() {
        output.take(MOST_SAID).read_to_string(&mut said)?;
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::super::platform::tests::elf_head;
    use super::*;

    /// A folder as the sidecar's own, with nothing in it.
    fn sources() -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = std::env::current_exe().expect("this program");
        let sources = Sources { folders: vec![folder.path().to_owned()], embedded: &[], download: None, own };
        (folder, sources)
    }

    #[track_caller]
    fn have(choice: Result<Choice, InstallError>) -> Build {
        match choice {
            Ok(Choice::Have(build)) => *build,
            Ok(Choice::Fetch(_)) | Err(_) => panic!("it was not found: {choice:?}"),
        }
    }

    /// A platform that this machine is not, and the beginning of a program for it.
    fn foreign() -> (Platform, Vec<u8>) {
        let [x86_64, aarch64] = Platform::PUBLISHED;
        if Platform::own() == Some(aarch64) { (x86_64, elf_head(62, None)) } else { (aarch64, elf_head(183, None)) }
    }

    fn put(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) {
        std::fs::write(folder.path().join(name), bytes).expect("our own folder");
    }

    #[test]
    fn each_source_comes_before_the_next() {
        static EMBEDDED: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let (platform, program) = foreign();
        let (folder, mut sources) = sources();
        assert!(matches!(sources.choose(platform), Err(InstallError::NoBuild { platform: none }) if none == platform));

        let base = Base::parse("http://127.0.0.1:9/releases").expect("loopback");
        sources.download = Some((base, folder.path().join("cache")));
        assert!(matches!(sources.choose(platform), Ok(Choice::Fetch(_))));

        let embedded = EMBEDDED.get_or_init(|| program.clone());
        let list = vec![("mlt-of-something-else", &b"x"[..]), (platform.file_name(), &embedded[..])];
        sources.embedded = list.leak();
        let build = have(sources.choose(platform));
        assert_eq!((build.origin, build.about().file), (AgentOrigin::Embedded, None));
        let (file, _kept) = build.file().expect("a temporary file");
        assert_eq!(std::fs::read(file).expect("it is there"), program);

        put(&folder, PLAIN, &program);
        assert_eq!(have(sources.choose(platform)).origin, AgentOrigin::Beside);
        put(&folder, platform.file_name(), &[&program[..], b"named"].concat());
        let build = have(sources.choose(platform));
        assert_eq!((build.origin, build.size), (AgentOrigin::Beside, program.len() as u64 + 5));
        assert_eq!(build.about().file, Some(folder.path().join(platform.file_name()).display().to_string()));
        assert!(build.name.ends_with(&build.hash[..12]) && !build.about().needs_libc);
    }

    #[test]
    fn a_wrong_file_under_the_right_name_is_refused_and_a_plain_one_passed_over() {
        let (platform, _) = foreign();
        let (folder, sources) = sources();
        for wrong in [&b"<!DOCTYPE html>"[..], &elf_head(40, None), b""] {
            put(&folder, platform.file_name(), wrong);
            let refused = sources.choose(platform);
            assert!(matches!(refused, Err(InstallError::WrongProgram { .. })), "{refused:?}");
        }
        std::fs::remove_file(folder.path().join(platform.file_name())).expect("it is there");
        put(&folder, PLAIN, b"no program");
        assert!(matches!(sources.choose(platform), Err(InstallError::NoBuild { .. })));
    }

    #[test]
    fn here_the_sidecar_itself_is_the_last_resort() {
        let Some(platform) = Platform::own() else { return };
        let (folder, sources) = sources();
        assert_eq!(have(sources.choose(platform)).origin, AgentOrigin::Sidecar);
        // It does not run, so that nobody can say of which version it is.
        put(&folder, PLAIN, &foreign().1);
        assert_eq!(have(sources.choose(platform)).origin, AgentOrigin::Sidecar);
    }
}
