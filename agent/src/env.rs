//! Every environment variable that the agent reads, declared once. Nothing else of it asks the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where the system keeps sockets of this user's programs.
pub const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// The user's name, where the accounts file does not tell it.
pub const USER: &str = if cfg!(windows) { "USERNAME" } else { "USER" };
/// The machine's name on Windows.
pub const COMPUTER: &str = "COMPUTERNAME";

/// Returns the user's home directory: `HOME` first, as every shell does, then the account's.
pub fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Returns the folder for sockets, when there is one.
pub fn runtime_dir() -> Option<PathBuf> {
    get(RUNTIME_DIR).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the user's name as the environment tells it.
pub fn user() -> Option<String> {
    get(USER).and_then(|name| name.into_string().ok())
}

/// Returns the machine's name as the environment tells it.
#[cfg(windows)]
pub fn computer() -> Option<String> {
    get(COMPUTER).and_then(|name| name.into_string().ok())
}

fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
