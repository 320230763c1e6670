//! Every environment variable that the agent reads or sets, declared once. Nothing else of it asks the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where the system keeps sockets of this user's programs.
pub const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// The user's home directory.
pub const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
/// The user's name.
pub const USER: &str = if cfg!(windows) { "USERNAME" } else { "USER" };
/// The user's name where `USER` is not set: what POSIX calls it.
pub const LOGNAME: &str = "LOGNAME";
/// What a process that lives long asks of glibc's allocator, as mallopt(3) names it; only the environment can, so
/// whoever starts the process says it. With one heap, and what is large in pages of its own, most of what a first
/// sync took comes back (tried with 30 000 files: 57 MB instead of 99 MB at the near end, 9 to 16 MB instead of 23 MB
/// at the far one). Other C libraries do not look at it.
pub const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];
/// The machine's name on Windows.
pub const COMPUTER: &str = "COMPUTERNAME";

/// Returns the user's home directory as the environment tells it. The system's own way to ask for it goes through
/// NSS, whose modules a static program must not load.
pub fn home() -> Option<PathBuf> {
    get(HOME).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Returns the folder for sockets, when there is one.
pub fn runtime_dir() -> Option<PathBuf> {
    get(RUNTIME_DIR).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the user's name as the environment tells it.
pub fn user() -> Option<String> {
    [USER, LOGNAME].into_iter().find_map(|name| get(name)?.into_string().ok())
}

/// Returns the machine's name as the environment tells it.
#[cfg(windows)]
pub fn computer() -> Option<String> {
    get(COMPUTER).and_then(|name| name.into_string().ok())
}

fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
