//! Brings the agent to a remote: probe, choose, upload, verify, start.
//!
//! The file's name holds the hash of its build, so versions never meet: what is there and answers is right.

use std::time::Duration;

use agent::version::version_line;
use protocol::editor::{AgentOrigin, AgentProgram, NoAgent};
use protocol::error::{Error, Result};
use protocol::hello::Facts;
use protocol::path::RemotePath;
use tokio::io::AsyncReadExt as _;

mod build;
mod download;
mod error;
mod platform;
mod sources;

pub use build::{Build, Bytes};
pub use download::{DownloadError, Sum};
pub use error::InstallError;
#[doc(hidden)]
pub use error::examples;
pub use platform::Platform;
pub use sources::{Choice, Sources};

use super::command::{self, CommandError, Ran};
use super::link::{Link, LinkError};
use super::policy;
use crate::frontend::{Frontend, Progress, Question, confirm};
use crate::store::{Store, StoreError};
use crate::transport::{Exit, Process, Transport, TransportError};

/// Marks the line of the probe's answer among what a chatty shell prints.
const MARK: &str = "@mltoolbox";

/// A proxy whose conversation failed ends at once; this is for its last words to arrive.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// An agent that failed may not end for its log either; the error is not held back for long.
const LOG_WITHIN: Duration = Duration::from_secs(10);

/// Most bytes kept of a proxy's complaints.
const MAX_COMPLAINT: usize = 4096;

/// Printed by a remote that lacks what a build is started with.
const NO_LOADER: &str = "@mltoolbox no loader";

/// Where the agent is kept on every remote.
pub const FOLDER: &str = ".mltoolbox";

/// Returns a link to the agent, which is installed on consent and started when needed.
pub async fn agent(
    transport: &dyn Transport,
    remote: &str,
    store: &Store,
    frontend: &dyn Frontend,
    yes: bool,
) -> Result<Link> {
    let row = store.remote(remote).await?;
    let before = row.as_ref().and_then(|row| row.no_agent);
    let without = |why, source| InstallError::Without { remote: remote.to_owned(), why, source };
    match before {
        // A person's word, and what takes an upload to find out: `agent install` asks and tries again.
        Some(why @ (NoAgent::Refused | NoAgent::NoExec)) => return Err(without(why, None).into()),
        Some(NoAgent::Platform | NoAgent::NoShell) | None => {}
    }
    match bring(transport, remote, row.and_then(|row| row.facts), store, frontend, yes).await {
        Ok(link) => {
            if before.is_some() {
                store.no_agent(remote, None).await?;
            }
            Ok(link)
        }
        Err(Failure::None(why, error)) => {
            if before != Some(why) {
                store.no_agent(remote, Some(why)).await?;
                frontend.tell(format!(
                    "No agent is used on `{remote}`, because {why}. The sync goes over SFTP, which is slower; \
                     `mltoolbox-sidecar sync status` says what else that means."
                ));
            }
            Err(without(why, Some(error)).into())
        }
        Err(Failure::Other(error)) => Err(error),
    }
}

/// Why there is no link.
enum Failure {
    /// There can be no agent at all.
    None(NoAgent, Error),
    /// Anything else.
    Other(Error),
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        match error.why_none() {
            Some(why) => Self::None(why, error.into()),
            None => Self::Other(error.into()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Transport(error) => InstallError::from(error).into(),
            CommandError::Endless { .. } => Self::Other(error.into()),
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        InstallError::from(error).into()
    }
}

/// Opens a link, installing and starting the agent when needed.
async fn bring(
    transport: &dyn Transport,
    remote: &str,
    known: Option<Facts>,
    store: &Store,
    frontend: &dyn Frontend,
    yes: bool,
) -> Result<Link, Failure> {
    // A guess saves a command of the remote's shell; one that is wrong finds no agent there.
    if let Some(platform) = known.as_ref().and_then(told).or_else(Platform::own) {
        let build = Build::of(platform, frontend).await?;
        match open(transport, &build).await {
            Err(InstallError::Missing) => {}
            Err(error) if error.why_none().is_some() => return Err(error.into()),
            Err(error) => {
                // An account whose every command is something else, an SFTP server for one, says so here.
                probe_for(transport).await?;
                return Err(with_log(transport, &build, error).await.into());
            }
            Ok(link) => return Ok(link),
        }
    }
    let build = place(transport, remote, store, frontend, yes).await?;
    let title = "Starting the agent".to_owned();
    frontend.report(Progress { title, ..Progress::default() });
    match open(transport, &build).await {
        Ok(link) => Ok(link),
        Err(error) => Err(with_log(transport, &build, error).await.into()),
    }
}

/// Returns the build for a remote, of which may be known what machine it is.
pub async fn build_for(transport: &dyn Transport, known: Option<&Facts>, frontend: &dyn Frontend) -> Result<Build> {
    Ok(Build::of(platform_of(transport, known).await?, frontend).await?)
}

/// Returns what machine a remote is, which may be known already.
pub async fn platform_of(transport: &dyn Transport, known: Option<&Facts>) -> Result<Platform> {
    match known.and_then(told) {
        Some(platform) => Ok(platform),
        None => Ok(probe(transport).await?.platform),
    }
}

fn told(facts: &Facts) -> Option<Platform> {
    Platform::told(&facts.os, &facts.arch)
}

/// Uploads our build for that remote and proves that it runs there; asks once per remote. Sessions that an agent of
/// another build serves go on.
pub async fn install(
    transport: &dyn Transport,
    remote: &str,
    store: &Store,
    frontend: &dyn Frontend,
    yes: bool,
) -> Result<Build> {
    match place(transport, remote, store, frontend, yes).await {
        Ok(build) => {
            store.no_agent(remote, None).await?;
            Ok(build)
        }
        Err(Failure::None(why, error)) => {
            store.no_agent(remote, Some(why)).await?;
            Err(error)
        }
        Err(Failure::Other(error)) => Err(error),
    }
}

async fn place(
    transport: &dyn Transport,
    remote: &str,
    store: &Store,
    frontend: &dyn Frontend,
    yes: bool,
) -> Result<Build, Failure> {
    let Probed { platform, home } = probe_for(transport).await?;
    let build = Build::of(platform, frontend).await?;
    let shown = format!("{home}/{FOLDER}/bin/{}", build.name);
    let allowed = store.remote(remote).await?.is_some_and(|row| row.agent_allowed);
    if !allowed {
        let question = Question::InstallAgent { remote: remote.to_owned(), path: shown.clone() };
        if !confirm(frontend, yes, &question).await? {
            return Err(InstallError::Declined { remote: remote.to_owned() }.into());
        }
        store.allow_agent(remote, true).await?;
    }
    // Each command costs a log-in shell with all its start-up files, so that as few as possible are run.
    let made = format!("; umask 077; mkdir -p ~/{FOLDER}/bin || exit{}", look_for_loader(&build));
    let made = command::run(transport, &said_and_then(&build, &made)).await?;
    if is_right(&made, &build) {
        return Ok(build);
    }
    if !made.is_success() {
        let path = format!("{home}/{FOLDER}/bin");
        return Err(InstallError::Folder { path, source: error::Said(made.last_words()) }.into());
    }
    if made.stdout.lines().any(|line| line.trim() == NO_LOADER) {
        let loader = build.interpreter.clone().unwrap_or_default();
        return Err(
            InstallError::NoLoader { path: shown, source: error::Said(format!("{loader} is not there")) }.into()
        );
    }
    // A path below the folder that SFTP starts in may be another one than below the shell's home.
    let to = RemotePath::new(shown.clone()).map_err(|_| InstallError::Home { home: home.clone() })?;
    let sent = |bytes| {
        let title = "Installing the agent".to_owned();
        frontend.report(Progress { title, bytes, total_bytes: Some(build.size), ..Progress::default() });
    };
    let (file, _kept) = build.file().map_err(InstallError::Own)?;
    transport.upload(&file, &to, 0o755, &sent).await?;
    let ran = check(transport, &build).await?;
    if !is_right(&ran, &build) {
        let source = error::Said(ran.last_words());
        let error = if let Some(said) = other_version(&ran, &build) {
            let file = build.about().file.unwrap_or_else(|| platform.file_name().to_owned());
            InstallError::OtherVersion { file, said, wanted: version_line() }
        } else if ran.is_success() {
            InstallError::Damaged { path: shown }
        } else if !arrived(transport, &build).await? {
            InstallError::Elsewhere { path: shown }
        } else if ran.exit == Exit::Status(127) || ran.stderr.contains("GLIBC_") {
            InstallError::NoLoader { path: shown, source }
        } else {
            InstallError::DoesNotRun { path: shown, source }
        };
        remove(transport, &build, &to).await;
        return Err(error.into());
    }
    clean(transport, &build).await?;
    frontend.tell(format!("Installed the agent as `{shown}`: {}.", whence(&build.about())));
    Ok(build)
}

/// Says where a program comes from, for people.
pub fn whence(program: &AgentProgram) -> String {
    let file = program.file.as_deref().unwrap_or_default();
    match program.origin {
        AgentOrigin::Beside => format!("`{file}`"),
        AgentOrigin::Embedded => "a part of `mltoolbox-sidecar`".to_owned(),
        AgentOrigin::Downloaded => format!("`{file}`, which was downloaded"),
        AgentOrigin::Sidecar => "`mltoolbox-sidecar` itself".to_owned(),
    }
}

/// Runs a verb of the installed agent.
pub async fn verb(transport: &dyn Transport, build: &Build, verb: &str) -> Result<Ran> {
    Ok(command::run(transport, &format!("~/{} {verb}", build.path())).await?)
}

/// Stops the agents that run, of whatever build, by a build that is installed there: by `ours` if it is.
pub async fn stop(transport: &dyn Transport, ours: Option<&Build>) -> Result<()> {
    if let Some(build) = ours
        && verb(transport, build, "stop --all").await?.is_success()
    {
        return Ok(());
    }
    let ran = command::run(transport, &stop_by_any()).await?;
    if ran.is_success() {
        return Ok(());
    }
    Err(InstallError::Stays { source: error::Said(ran.last_words()) }.into())
}

/// Returns a command with which some installed build stops all agents; one that cannot be run at all stops nothing and
/// is no failure either: nothing runs by it.
fn stop_by_any() -> String {
    format!(
        "sh -c 'left=0; for agent in ~/{FOLDER}/bin/mlt-*; do test -f \"$agent\" || continue; \
         \"$agent\" stop --all; said=$?; \
         case $said in 0) exit 0;; 126|127) ;; *) left=$said;; esac; done; exit $left'"
    )
}

/// Removes what the agent made for itself; nothing of the user's lies there.
pub async fn uninstall(transport: &dyn Transport) -> Result<()> {
    let command = format!("sh -c 'cd ~ && rm -rf {FOLDER}/bin {FOLDER}/run {FOLDER}/logs && (rmdir {FOLDER} || :)'");
    let ran = command::run(transport, &command).await?;
    if ran.is_success() {
        return Ok(());
    }
    Err(InstallError::Folder { path: format!("~/{FOLDER}"), source: error::Said(ran.last_words()) }.into())
}

/// What the shell of a remote said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What machine it is.
    pub platform: Platform,
    /// The user's home directory there.
    pub home: String,
}

/// Asks what machine it is; refuses what no agent runs on.
pub async fn probe(transport: &dyn Transport) -> Result<Probed> {
    probe_for(transport).await.map_err(|failure| match failure {
        Failure::None(_, error) | Failure::Other(error) => error,
    })
}

async fn probe_for(transport: &dyn Transport) -> Result<Probed, Failure> {
    let ran = command::run(transport, &format!("sh -c 'echo; echo \"{MARK} $(uname -s) $(uname -m) $HOME\"'")).await?;
    let Some((system, machine, home)) = probed(&ran.stdout) else {
        return Err(InstallError::Probe { source: error::Said(ran.last_words()) }.into());
    };
    let Some(platform) = Platform::told(system, machine) else {
        return Err(InstallError::Platform { theirs: format!("{system} {machine}") }.into());
    };
    if !home.starts_with('/') {
        return Err(InstallError::Home { home: home.to_owned() }.into());
    }
    Ok(Probed { platform, home: home.to_owned() })
}

/// Returns system, machine and home from the last marked line.
fn probed(output: &str) -> Option<(&str, &str, &str)> {
    let line = output.lines().rev().find_map(|line| line.trim().strip_prefix(MARK))?;
    let mut words = line.trim_start().splitn(3, ' ');
    Some((words.next()?, words.next()?, words.next().unwrap_or_default()))
}

/// Lets the build say its version and hash itself.
async fn check(transport: &dyn Transport, build: &Build) -> Result<Ran> {
    Ok(command::run(transport, &said_and_then(build, "")).await?)
}

fn said_and_then(build: &Build, rest: &str) -> String {
    format!("sh -c '\"$0\" --version && \"$0\" hash \"$0\"{rest}' ~/{}", build.path())
}

/// Returns a piece of a script that tells whether what starts the build is there, without quotes.
fn look_for_loader(build: &Build) -> String {
    // Its own bytes name the file, so that it is looked at before a shell is given it.
    let is_plain = |path: &&String| path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let loader = build.interpreter.as_ref().filter(is_plain);
    loader.map_or_else(String::new, |path| format!("; test -e {path} || echo {NO_LOADER}"))
}

/// Returns what a build says of its version when it arrived whole and is of another one.
fn other_version(ran: &Ran, build: &Build) -> Option<String> {
    let mut lines = ran.stdout.lines().map(str::trim);
    let is_whole = ran.is_success() && lines.clone().any(|line| line == build.hash);
    lines.find(|line| is_whole && line.starts_with("mlt ") && **line != version_line()).map(str::to_owned)
}

fn is_right(ran: &Ran, build: &Build) -> bool {
    let says = |words: &str| ran.stdout.lines().any(|line| line.trim() == words);
    ran.is_success() && says(&version_line()) && says(&build.hash)
}

/// Returns whether the shell finds the file where it was put.
async fn arrived(transport: &dyn Transport, build: &Build) -> Result<bool> {
    Ok(command::run(transport, &format!("test -f ~/{}", build.path())).await?.is_success())
}

/// Removes a build that is of no use, both where the shell sees it and where the upload put it.
async fn remove(transport: &dyn Transport, build: &Build, to: &RemotePath) {
    if let Err(error) = transport.remove(to).await {
        tracing::warn!(%error, "what was uploaded could not be removed");
    }
    if let Err(error) = command::run(transport, &format!("rm -f ~/{}", build.path())).await {
        tracing::warn!(%error, "a damaged agent could not be removed");
    }
}

/// Lets the new build end those that nobody uses any more, and remove those that nobody runs.
async fn clean(transport: &dyn Transport, build: &Build) -> Result<()> {
    let ran = verb(transport, build, "clean").await?;
    if !ran.is_success() {
        tracing::warn!(words = ran.last_words(), "old agents could not be removed");
    }
    Ok(())
}

/// Opens a conversation through `mlt proxy`, which finds or starts the daemon.
async fn open(transport: &dyn Transport, build: &Build) -> Result<Link, InstallError> {
    let Process { stdin, stdout, mut stderr, control, exit } =
        transport.exec(&format!("exec ~/{} proxy", build.path()), None).await?;
    let (complain, complaint) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut words = Vec::new();
        let mut chunk = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut chunk).await {
            let room = MAX_COMPLAINT.saturating_sub(words.len());
            words.extend_from_slice(&chunk[..length.min(room)]);
        }
        let ended = exit.await;
        drop(control);
        if complain.send((String::from_utf8_lossy(&words).into_owned(), ended)).is_err() {
            tracing::trace!("a proxy ended");
        }
    });
    let error = match Link::open(stdout, stdin).await {
        Ok(link) => return Ok(link),
        Err(error) => error,
    };
    let Ok(Ok((words, ended))) = tokio::time::timeout(LAST_WORDS_WITHIN, complaint).await else {
        return Err(InstallError::Unhealthy { source: error });
    };
    Err(match (ended, error) {
        // What every shell says of a command that is not there, or cannot be run.
        (Ok(Exit::Status(126 | 127)), _) => InstallError::Missing,
        (Ok(Exit::Status(status)), LinkError::Lost | LinkError::Broken { .. } | LinkError::NoAgent { .. })
            if status != 0 =>
        {
            InstallError::Failed { status, source: error::Said(words.trim().to_owned()) }
        }
        (_, source) => InstallError::Unhealthy { source },
    })
}

/// Adds the last lines of the agent's log to the causes of an error.
async fn with_log(transport: &dyn Transport, build: &Build, error: InstallError) -> protocol::error::Error {
    let mut error = protocol::error::Error::from(error);
    let lines = format!("logs --tail {}", policy::LOG_LINES);
    match tokio::time::timeout(LOG_WITHIN, verb(transport, build, &lines)).await {
        Ok(Ok(ran)) if ran.is_success() => {
            error.causes.extend(ran.stdout.lines().map(|line| format!("agent log: {line}")));
        }
        Ok(Ok(_) | Err(_)) | Err(_) => tracing::debug!("the agent's log could not be read"),
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn any_build_that_runs_stops_the_agents() {
        use std::os::unix::fs::PermissionsExt as _;

        let status = |builds: &[(&str, u32)]| {
            let home = tempfile::tempdir().expect("a folder");
            let bin = home.path().join(FOLDER).join("bin");
            std::fs::create_dir_all(&bin).expect("a folder");
            for (index, (script, mode)) in builds.iter().enumerate() {
                let build = bin.join(format!("mlt-0.1.0-{index}"));
                std::fs::write(&build, format!("#!/bin/sh\ntest \"$*\" = 'stop --all' || exit 9\n{script}\n"))
                    .expect("written");
                std::fs::set_permissions(&build, std::fs::Permissions::from_mode(*mode)).expect("it is ours");
            }
            let mut shell = std::process::Command::new("sh");
            shell.arg("-c").arg(stop_by_any()).env("HOME", home.path()).stderr(std::process::Stdio::null());
            shell.status().expect("there is a shell").code()
        };
        assert_eq!(status(&[]), Some(0));
        assert_eq!(status(&[("exit 0", 0o700)]), Some(0));
        assert_eq!(status(&[("exit 1", 0o700)]), Some(1));
        assert_eq!(status(&[("exit 1", 0o700), ("exit 0", 0o700)]), Some(0));
        assert_eq!(status(&[("exit 0", 0o600)]), Some(0));
        assert_eq!(status(&[("exit 0", 0o600), ("exit 3", 0o700)]), Some(3));
    }

    #[test]
    fn the_probe_survives_a_chatty_shell() {
        let chatty = "Welcome!\n@mltoolbox is great\n\n@mltoolbox Linux x86_64 /home/ada b\nlast words\n";
        assert_eq!(probed(chatty), Some(("Linux", "x86_64", "/home/ada b")));
        assert_eq!(probed("@mltoolbox Linux x86_64"), Some(("Linux", "x86_64", "")));
        assert_eq!(probed("This account is not available.\n"), None);
    }
}
