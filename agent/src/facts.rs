//! What can be said of this machine, once.

use protocol::hello::Facts;

use crate::env;

/// Looks at this machine. Never fails: what cannot be told stays empty.
pub fn gather() -> Facts {
    Facts {
        user: user(),
        home: env::home().map(|home| home.to_string_lossy().into_owned()).unwrap_or_default(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        ..system()
    }
}

#[cfg(unix)]
fn system() -> Facts {
    let system = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    Facts {
        os: text(system.sysname()),
        arch: text(system.machine()),
        kernel: text(system.release()),
        hostname: text(system.nodename()),
        ..Facts::default()
    }
}

#[cfg(windows)]
fn system() -> Facts {
    Facts {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        hostname: env::computer().unwrap_or_default(),
        ..Facts::default()
    }
}

/// Returns the name of the user this process runs as, from the accounts file, else from the environment,
/// else the number.
#[cfg(unix)]
pub fn user() -> String {
    own_account().or_else(env::user).unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
}

/// Returns the name of the user this process runs as, from the environment.
#[cfg(not(unix))]
pub fn user() -> String {
    env::user().unwrap_or_default()
}

/// Returns the name that the accounts file has for the user this process runs as.
#[cfg(unix)]
pub fn own_account() -> Option<String> {
    account(&accounts()?, rustix::process::getuid().as_raw()).map(|(name, _)| name)
}

/// Returns the home that the accounts file has for the user this process runs as, whatever the environment says.
#[cfg(unix)]
pub fn own_home() -> Option<std::path::PathBuf> {
    let (_, home) = account(&accounts()?, rustix::process::getuid().as_raw())?;
    (!home.is_empty()).then(|| home.into())
}

/// Names need not be UTF-8; those of other accounts are no reason to know none.
#[cfg(unix)]
fn accounts() -> Option<String> {
    Some(String::from_utf8_lossy(&std::fs::read("/etc/passwd").ok()?).into_owned())
}

/// Returns that there is no accounts file.
#[cfg(not(unix))]
pub fn own_account() -> Option<String> {
    None
}

/// Returns that there is no accounts file.
#[cfg(not(unix))]
pub fn own_home() -> Option<std::path::PathBuf> {
    None
}

/// Returns the name and the home of the first account with that number.
#[cfg(any(unix, test))]
fn account(accounts: &str, id: u32) -> Option<(String, String)> {
    let accounts = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    accounts
        .filter(|fields| fields.first().is_some_and(|name| !name.is_empty()))
        .find(|fields| fields.get(2).and_then(|number| number.parse().ok()) == Some(id))
        .map(|fields| (fields[0].to_owned(), fields.get(5).copied().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nada:x:1000:1000::/home/ada:/bin/bash\n";
        assert_eq!(account(accounts, 1000), Some(("ada".to_owned(), "/home/ada".to_owned())));
        assert_eq!(account(accounts, 7), None);
    }

    #[test]
    fn this_machine_has_a_name_and_a_kind() {
        let facts = gather();
        assert!(!facts.os.is_empty() && !facts.arch.is_empty() && !facts.user.is_empty() && facts.cpus > 0);
    }
}
