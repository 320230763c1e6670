//! Every environment variable that is read, declared once. Nothing else asks the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// The remote to use when `--remote` is not given.
pub const REMOTE: &str = "MLTOOLBOX_REMOTE";
/// What is logged, as a filter of the crate `tracing-subscriber` (`sidecar=debug`).
pub const LOG: &str = "MLTOOLBOX_LOG";
/// What the variables begin with that set a key of the configuration: `MLTOOLBOX_SYNC_DEBOUNCE` sets `sync.debounce`.
/// `protocol/config.md` lists each.
pub const PREFIX: &str = "MLTOOLBOX_";
/// The folder of the machine's configuration; `/etc/mltoolbox` is the default.
pub const SYSTEM_CONFIG: &str = "MLTOOLBOX_SYSTEM_CONFIG";
/// The user's home directory.
pub const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
/// Where settings and the state database live; `~/.config` is the default.
pub const CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where log files live; `~/.local/state` is the default.
pub const STATE_HOME: &str = "XDG_STATE_HOME";
/// Where downloads are kept; `~/.cache` is the default.
pub const CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Where agents can be downloaded from: `<base>/v<version>/mlt-<os>-<arch>`, with its checksum beside it.
pub const DOWNLOAD_BASE: &str = "MLTOOLBOX_DOWNLOAD_BASE";
/// Where sockets live; a folder of ours below `/tmp` is the default.
pub const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// The socket of the SSH agent.
pub const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// The program that asks for passwords of an `ssh` without a terminal.
pub const SSH_ASKPASS: &str = "SSH_ASKPASS";
/// Tells an `ssh` that is a `ProxyCommand` never to ask on the terminal.
pub const SSH_ASKPASS_REQUIRE: &str = "SSH_ASKPASS_REQUIRE";
/// The user's shell, which runs a `ProxyCommand`.
pub const SHELL: &str = "SHELL";
/// The SSH configuration to read instead of `~/.ssh/config` and the machine's; `none` for none at all.
pub const SSH_CONFIG: &str = "MLTOOLBOX_SSH_CONFIG";
/// The user's name, for log-ins that name none.
pub const USER: &str = if cfg!(windows) { "USERNAME" } else { "USER" };
/// The user's name where `USER` is not set: what POSIX calls it.
pub const LOGNAME: &str = "LOGNAME";
/// The session bus, on which a keychain is reached.
pub const SESSION_BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
/// What stands before the name of a secret in the variable that gives its value: `hf-token` is
/// `MLTOOLBOX_SECRET_HF_TOKEN`.
pub const SECRET_PREFIX: &str = "MLTOOLBOX_SECRET_";
/// What every variable begins with that holds a secret of ours, or what opens them.
pub const OF_SECRETS: &str = "MLTOOLBOX_SECRET";
/// What stands before the variables that tell a hook what happened: `{{ remote.host }}` is
/// `MLTOOLBOX_HOOK_REMOTE_HOST`.
pub const HOOK_PREFIX: &str = "MLTOOLBOX_HOOK_";
/// The passphrase of the encrypted file of secrets.
pub const SECRETS_PASSPHRASE: &str = "MLTOOLBOX_SECRETS_PASSPHRASE";
/// The file that opens the encrypted file of secrets: an identity as `age-keygen` writes it, or a passphrase as its only
/// line.
pub const SECRETS_KEY_FILE: &str = "MLTOOLBOX_SECRETS_KEY_FILE";
/// The terminal's type.
pub const TERM: &str = "TERM";

/// Returns a variable that is set and not empty.
pub fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns a variable as text; one that is not UTF-8 counts as not set.
pub fn text(name: &str) -> Option<String> {
    get(name).and_then(|value| value.into_string().ok())
}

/// Returns the names of the variables that begin with `prefix` and are not empty, sorted.
pub fn names(prefix: &str) -> Vec<String> {
    let names =
        std::env::vars_os().filter(|(_, value)| !value.is_empty()).filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Returns the user's home directory; without a variable, what the system says.
pub fn home() -> Option<PathBuf> {
    let said = || std::env::home_dir().filter(|path| path.is_absolute());
    get(HOME).map(PathBuf::from).or_else(said)
}

/// Returns the user's name on this machine: from the environment, else from the accounts file.
pub fn user() -> Option<String> {
    text(USER).or_else(|| text(LOGNAME)).or_else(agent::facts::own_account)
}

/// Returns the SSH configuration that is named, as an absolute path; `none` stays.
pub fn ssh_config() -> Option<PathBuf> {
    let file = PathBuf::from(get(SSH_CONFIG)?);
    if file.as_os_str() == "none" { Some(file) } else { Some(std::path::absolute(&file).unwrap_or(file)) }
}

/// Returns the folder for temporary files.
pub fn temporary() -> PathBuf {
    std::env::temp_dir()
}

/// Returns the folder of settings and state, made by whoever writes to it first.
pub fn config_dir() -> PathBuf {
    base(CONFIG_HOME, ".config").join("mltoolbox")
}

/// Returns the folder of the machine's configuration.
pub fn system_config_dir() -> PathBuf {
    get(SYSTEM_CONFIG).map_or_else(|| PathBuf::from("/etc/mltoolbox"), PathBuf::from)
}

/// Returns the file of the state database.
pub fn database() -> PathBuf {
    config_dir().join("mltoolbox.db")
}

/// Returns the encrypted file of secrets.
pub fn secrets_file() -> PathBuf {
    config_dir().join("secrets.yaml")
}

/// Returns the folder of log files.
pub fn log_dir() -> PathBuf {
    base(STATE_HOME, ".local/state").join("mltoolbox")
}

/// Returns the folder of what can be had again, made by whoever writes to it first.
pub fn cache_dir() -> PathBuf {
    base(CACHE_HOME, ".cache").join("mltoolbox")
}

/// XDG says that relative paths are to be ignored.
fn base(variable: &str, below_home: &str) -> PathBuf {
    let set = get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.unwrap_or_else(|| home().unwrap_or_else(|| PathBuf::from("/")).join(below_home))
}
