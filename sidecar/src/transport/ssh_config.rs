//! What `ssh` would do to reach a host, as the user's `~/.ssh/config` has it: plain data for whoever connects.
//!
//! The user's own `ssh` is asked (`ssh -G`); where there is none, we read the files. Nothing here connects anywhere,
//! and no file of the configuration is ever written.

use std::path::{Path, PathBuf};
use std::time::Duration;

mod address;
mod ask;
mod error;
mod evaluate;
mod file;
mod glob;
mod host;
mod pattern;
#[doc(hidden)]
pub mod probe;
mod resolve;
#[cfg(all(test, unix))]
mod tests;
mod tokens;
mod values;
mod words;

pub use address::{Address, is_host, is_user};
pub use error::ConfigError;
#[doc(hidden)]
pub use error::examples;
pub use resolve::{aliases, resolve};

/// Port of SSH servers.
pub const PORT: u16 = 22;

/// Where the configuration is, and who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The user's home: `~`, and the folder that holds `.ssh`.
    pub home: PathBuf,
    /// The file that is read instead of `~/.ssh/config` and the machine's; `none` for none at all.
    pub file: Option<PathBuf>,
    /// The program to ask; without one, or where it is missing, the files are read by us.
    pub program: Option<PathBuf>,
}

impl Settings {
    /// Returns those of a person with that home and the `ssh` of the `PATH`.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), file: None, program: Some("ssh".into()) }
    }
}

/// What the user said of a remote; it wins over the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Whom to log in as.
    pub user: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The hosts to jump over, as in `ProxyJump`; `none` for none.
    pub jump: Option<String>,
    /// The private key to begin with.
    pub key: Option<PathBuf>,
    /// Whether host keys that are not recorded are accepted, those of the jumps too.
    pub accept_new: bool,
}

/// How one host is reached: everything that the configuration says and that we honour. Tokens, `~` and
/// variables are expanded already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What the user typed: an alias of the configuration, a name or an address.
    pub alias: String,
    /// The name or address to dial, without brackets (`HostName`).
    pub hostname: String,
    /// Port (`Port`).
    pub port: u16,
    /// Whom to log in as (`User`).
    pub user: String,
    /// The key that the user named for this remote: it comes first, and that it cannot be read is an error.
    pub key: Option<PathBuf>,
    /// The configured private keys, or the usual ones, in order; those that are not there are passed over
    /// (`IdentityFile`).
    pub identity_files: Vec<PathBuf>,
    /// Certificates to offer with the keys that they belong to (`CertificateFile`).
    pub certificate_files: Vec<PathBuf>,
    /// Whether keys of the agent are used only when a file names them (`IdentitiesOnly`).
    pub identities_only: bool,
    /// Which agent holds keys (`IdentityAgent`).
    pub identity_agent: IdentityAgent,
    /// What stands between here and there.
    pub proxy: Proxy,
    /// Files of known hosts of the user; an accepted key is written to the first. Empty when there is none
    /// (`UserKnownHostsFile`).
    pub user_known_hosts: Vec<PathBuf>,
    /// Files of known hosts of this machine, which are only read (`GlobalKnownHostsFile`).
    pub global_known_hosts: Vec<PathBuf>,
    /// Files of host keys that are never accepted; plain text or a list that `ssh-keygen -k` made (`RevokedHostKeys`).
    pub revoked_host_keys: Vec<PathBuf>,
    /// The name under which the host key is recorded, instead of host and port (`HostKeyAlias`).
    pub host_key_alias: Option<String>,
    /// What happens with a host key that is not recorded (`StrictHostKeyChecking`).
    pub strict_host_key: StrictHostKey,
    /// Whether names are hashed when a key is recorded (`HashKnownHosts`).
    pub hash_known_hosts: bool,
    /// How long connecting may take; `None` leaves it to us (`ConnectTimeout`).
    pub connect_timeout: Option<Duration>,
    /// Silence after which a sign of life is asked for; `None` leaves it to us (`ServerAliveInterval`).
    pub keepalive: Option<Duration>,
    /// The ways to log in that are wanted, in the order in which they are tried (`PreferredAuthentications` without
    /// those that are switched off).
    pub authentications: Vec<Authentication>,
    /// How often a password is asked for (`NumberOfPasswordPrompts`).
    pub password_prompts: u32,
    /// Whether a person may be asked; `BatchMode yes` says no.
    pub may_ask: bool,
    /// Which addresses of the name are tried (`AddressFamily`).
    pub address_family: AddressFamily,
    /// The address on this machine to connect from (`BindAddress`).
    pub bind_address: Option<String>,
    /// What the configuration says and we do not honour, in full sentences for the user.
    pub warnings: Vec<String>,
}

/// Which agent holds keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdentityAgent {
    /// The one that the environment names.
    #[default]
    Environment,
    /// The one that listens here.
    Socket(PathBuf),
    /// None is asked.
    None,
}

/// What stands between here and a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing: the address is dialled.
    #[default]
    Direct,
    /// Hosts to log in to one after the other; the first is dialled. Their own `proxy` is [`Proxy::Direct`] or, for
    /// the first, [`Proxy::Command`].
    Jump(Vec<Host>),
    /// A command for the user's shell whose input and output are the connection; tokens are expanded.
    Command(String),
}

/// What happens with a host key that is not recorded. One that has changed is refused always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StrictHostKey {
    /// A person decides.
    #[default]
    Ask,
    /// It is refused.
    Yes,
    /// It is recorded and accepted.
    AcceptNew,
    /// As [`StrictHostKey::AcceptNew`]: what OpenSSH allows beyond it, a changed key, we do not.
    No,
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// By a key, with or without a certificate.
    PublicKey,
    /// By answers to the server's questions.
    KeyboardInteractive,
    /// By a password.
    Password,
}

impl Authentication {
    /// All, in OpenSSH's order.
    pub const ALL: [Self; 3] = [Self::PublicKey, Self::KeyboardInteractive, Self::Password];

    /// Returns the way of that name (RFC 4252).
    fn named(name: &str) -> Option<Self> {
        match name {
            "publickey" => Some(Self::PublicKey),
            "keyboard-interactive" => Some(Self::KeyboardInteractive),
            "password" => Some(Self::Password),
            _ => None,
        }
    }
}

/// Which addresses of a name are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// All of them.
    #[default]
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

impl Host {
    /// How often OpenSSH asks for a password.
    pub const PASSWORD_PROMPTS: u32 = 3;

    /// Returns a host without any configuration: dialled directly, with the usual files below `home`.
    pub fn plain(hostname: &str, port: u16, user: &str, home: &Path) -> Self {
        let ssh = home.join(".ssh");
        Self {
            alias: hostname.to_owned(),
            hostname: hostname.to_owned(),
            port,
            user: user.to_owned(),
            key: None,
            identity_files: usual(&ssh, &["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"]),
            certificate_files: Vec::new(),
            identities_only: false,
            identity_agent: IdentityAgent::Environment,
            proxy: Proxy::Direct,
            user_known_hosts: usual(&ssh, &["known_hosts", "known_hosts2"]),
            global_known_hosts: usual(Path::new("/etc/ssh"), &["ssh_known_hosts", "ssh_known_hosts2"]),
            revoked_host_keys: Vec::new(),
            host_key_alias: None,
            strict_host_key: StrictHostKey::Ask,
            hash_known_hosts: false,
            connect_timeout: None,
            keepalive: None,
            authentications: Authentication::ALL.to_vec(),
            password_prompts: Self::PASSWORD_PROMPTS,
            may_ask: true,
            address_family: AddressFamily::Any,
            bind_address: None,
            warnings: Vec::new(),
        }
    }
}

fn usual(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| folder.join(name)).collect()
}
