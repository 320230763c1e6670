//! What can be said of this machine, once. Nothing here goes through NSS: the accounts file is read as it stands.

use std::path::PathBuf;

use protocol::hello::Facts;

use crate::env;

/// Looks at this machine. Never fails: what cannot be told stays empty.
pub fn gather() -> Facts {
    Facts {
        user: user(),
        home: home().map(|home| home.to_string_lossy().into_owned()).unwrap_or_default(),
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

/// Returns the home directory of this process: from the environment, else from the accounts file.
pub fn home() -> Option<PathBuf> {
    env::home().or_else(own_home)
}

/// Returns the home that the accounts file has for the user this process runs as, whatever the environment says.
pub fn own_home() -> Option<PathBuf> {
    own(|account| account.home).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Returns the name of the user this process runs as: from the environment, else from the accounts file, else the
/// number.
#[cfg(unix)]
pub fn user() -> String {
    env::user().or_else(own_account).unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
}

/// Returns the name of the user this process runs as, from the environment.
#[cfg(not(unix))]
pub fn user() -> String {
    env::user().unwrap_or_default()
}

/// Returns the name that the accounts file has for the user this process runs as.
pub fn own_account() -> Option<String> {
    own(|account| account.name)
}

/// One line of the accounts file, as passwd(5) describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account<'a> {
    name: &'a str,
    home: &'a str,
}

/// Returns what `wanted` takes from the account of the user this process runs as.
#[cfg(unix)]
fn own(wanted: impl Fn(Account<'_>) -> &str) -> Option<String> {
    // Names need not be UTF-8; those of other accounts are no reason to know none.
    let accounts = std::fs::read("/etc/passwd").ok()?;
    let accounts = String::from_utf8_lossy(&accounts);
    account(&accounts, rustix::process::getuid().as_raw()).map(|account| wanted(account).to_owned())
}

/// Returns that there is no accounts file.
#[cfg(not(unix))]
fn own(_: impl Fn(Account<'_>) -> &str) -> Option<String> {
    None
}

/// Returns the first account with that number.
#[cfg(any(unix, test))]
fn account(accounts: &str, id: u32) -> Option<Account<'_>> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number, home) = (fields.next()?, fields.nth(1)?, fields.nth(2).unwrap_or_default());
        (!name.is_empty() && number.parse() == Ok(id)).then_some(Account { name, home })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nada:x:1000:1000::/home/ada:/bin/bash\n";
        assert_eq!(account(accounts, 1000), Some(Account { name: "ada", home: "/home/ada" }));
        assert_eq!(account("ada:x:1000", 1000), Some(Account { name: "ada", home: "" }));
        assert_eq!(account(accounts, 7), None);
    }

    #[test]
    fn this_machine_has_a_name_and_a_kind() {
        let facts = gather();
        assert!(!facts.os.is_empty() && !facts.arch.is_empty() && !facts.user.is_empty() && facts.cpus > 0);
    }
}
