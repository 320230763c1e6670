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
    // Names need not be UTF-8; those of other accounts are no reason to know none.
    let accounts = std::fs::read("/etc/passwd").ok()?;
    account(&String::from_utf8_lossy(&accounts), rustix::process::getuid().as_raw())
}

/// Returns that there is no accounts file.
#[cfg(not(unix))]
pub fn own_account() -> Option<String> {
    None
}

/// Returns the name of the first account with that number.
#[cfg(any(unix, test))]
fn account(accounts: &str, id: u32) -> Option<String> {
    let fields = accounts.lines().map(|line| line.split(':'));
    fields
        .filter_map(|mut fields| Some((fields.next()?, fields.nth(1)?)))
        .find(|(name, number)| !name.is_empty() && number.parse() == Ok(id))
        .map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nada:x:1000:1000::/home/ada:/bin/bash\n";
        assert_eq!(account(accounts, 1000).as_deref(), Some("ada"));
        assert_eq!(account(accounts, 7), None);
    }

    #[test]
    fn this_machine_has_a_name_and_a_kind() {
        let facts = gather();
        assert!(!facts.os.is_empty() && !facts.arch.is_empty() && !facts.user.is_empty() && facts.cpus > 0);
    }
}
