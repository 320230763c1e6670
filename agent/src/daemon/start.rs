//! Finds the running daemon, or starts one and waits until it listens.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::DaemonError;
use super::place::Place;
use super::{program, try_lock};
use crate::{env, facts};

/// Between two looks for the socket; a start takes some 20 ms.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A daemon that does not listen after this long will not.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// `systemd-run` talks to a service manager that may hang.
const SYSTEMD_WITHIN: Duration = Duration::from_secs(3);

/// Returns a connection to the running daemon, or `None` when there is none.
pub fn find(place: &Place) -> Option<UnixStream> {
    // In a folder that everybody may write to, somebody else may have made ours first.
    place.is_ours().then(|| UnixStream::connect(place.socket()).ok())?
}

/// Returns a connection to the daemon, which is started when there is none.
pub fn find_or_start(place: &Place) -> Result<UnixStream, DaemonError> {
    if let Some(stream) = find(place) {
        return Ok(stream);
    }
    place.prepare()?;
    let began = Instant::now();
    let mut child: Option<Child> = None;
    let mut asked_systemd = false;
    while began.elapsed() < LISTENS_WITHIN {
        if let Some(stream) = find(place) {
            return Ok(stream);
        }
        if let Some(running) = &mut child {
            match running.try_wait().map_err(DaemonError::Spawn)? {
                // It met another one that holds the lock; that one will listen, or is just going.
                Some(status) if status.success() => child = None,
                Some(status) => return Err(DaemonError::Ended(status)),
                None => {}
            }
        } else if try_lock(place)?.is_some() {
            // The lock is free again at once, so whoever is started first becomes the daemon.
            if asked_systemd || !start_with_systemd() {
                child = Some(start_detached()?);
            }
            asked_systemd = true;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(DaemonError::NotListening { seconds: LISTENS_WITHIN.as_secs() })
}

/// Starts the daemon with streams that lead nowhere. There may be no `/dev/null`, so they are the ends of a pipe
/// whose other ends are gone.
fn start_detached() -> Result<Child, DaemonError> {
    let program = program::file().map_err(DaemonError::Spawn)?;
    let nowhere = || std::io::pipe().map_err(DaemonError::Spawn);
    let ((input, _), (_, output), (_, words)) = (nowhere()?, nowhere()?, nowhere()?);
    Command::new(program)
        .args(["serve", "--started-by", "setsid"])
        .envs(env::ALLOCATOR)
        .stdin(input)
        .stdout(output)
        .stderr(words)
        .spawn()
        .map_err(DaemonError::Spawn)
}

/// Starts the daemon as a unit of the user's service manager, where that manager outlives the log-out.
/// Returns whether the manager took it.
fn start_with_systemd() -> bool {
    let user = facts::user();
    if !Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return false;
    }
    let (Ok(program), Some(home)) = (program::file(), facts::home()) else { return false };
    let runtime = format!("/run/user/{}", rustix::process::getuid().as_raw());
    let mut setting = std::ffi::OsString::from("HOME=");
    setting.push(home);
    let started = Command::new("systemd-run")
        .args(["--user", "--quiet", "--collect", "--setenv"])
        .arg(setting)
        .args(env::ALLOCATOR.map(|(name, value)| format!("--setenv={name}={value}")))
        .arg("--")
        .arg(program)
        .args(["serve", "--started-by", "systemd"])
        .env(env::RUNTIME_DIR, env::runtime_dir().unwrap_or_else(|| runtime.into()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.is_ok_and(|mut child| succeeds_in_time(&mut child))
}

fn succeeds_in_time(child: &mut Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < SYSTEMD_WITHIN {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(_) => return false,
        }
    }
    if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
        tracing::debug!(%error, "systemd-run could not be ended");
    }
    false
}
