//! The one error that crosses a boundary, and the rule that it says what to do next.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What went wrong, why, and what to do next.
///
/// `message` is lower case without a full stop, `help` one or two full sentences that name an act.
/// `causes` holds the source chain from the nearest to the deepest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{message}")]
pub struct Error {
    /// Stable name of the kind of error; programs branch on this and never on the text.
    pub code: Code,
    /// What failed.
    pub message: String,
    /// What to do next.
    pub help: String,
    /// Why it failed, nearest cause first.
    #[serde(default)]
    pub causes: Vec<String>,
}

/// The result of anything that crosses a boundary.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that can tell its reader what to do next.
pub trait Explain: std::error::Error {
    /// Returns the stable name of this kind of error.
    fn code(&self) -> Code;
    /// Returns the next step as one or two sentences, with the user's own values filled in.
    fn help(&self) -> String;
}

impl<E: Explain> From<E> for Error {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        for cause in std::iter::successors(error.source(), |cause| cause.source()) {
            causes.push(cause.to_string());
            // One that crossed a boundary before brought its own causes along.
            causes.extend(cause.downcast_ref::<Self>().into_iter().flat_map(|cause| cause.causes.iter().cloned()));
        }
        // Libraries wrap an error and say the same again.
        causes.dedup();
        Self { code: error.code(), message: error.to_string(), help: error.help(), causes }
    }
}

/// Returns a value as one word of a shell's line: a command in a help is copied, and names of files and words of
/// remotes are not ours.
pub fn word(value: impl fmt::Display) -> String {
    let value = value.to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "-_./~:@%+=,".contains(letter);
    if !value.is_empty() && value.chars().all(plain) { value } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

/// One kind of an error type with the values of a real case: all of them together are read through by the tests.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Example {
    /// The type, and the variant of an enum: `StoreError::Closed`.
    pub kind: String,
    /// The error as it crosses a boundary.
    pub error: Error,
}

impl Example {
    /// Returns the error that `kind` leads to.
    pub fn of<K: fmt::Debug>(kind: &K, error: impl Into<Error>) -> Self {
        Self { kind: kind_of(kind), error: error.into() }
    }
}

impl<E: Explain> From<E> for Example {
    fn from(error: E) -> Self {
        Self { kind: kind_of(&error), error: error.into() }
    }
}

fn kind_of<K: fmt::Debug>(kind: &K) -> String {
    let name = std::any::type_name::<K>().rsplit("::").next().unwrap_or_default();
    let shown = format!("{kind:?}");
    let variant = shown.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    if variant == name { name.to_owned() } else { format!("{name}::{variant}") }
}

/// Who is at fault, as far as a shell script can act on it: the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The work itself failed (1).
    Work,
    /// The command was used wrongly (2).
    Usage,
    /// Something on this machine has to be configured first (3).
    Configuration,
    /// The remote could not be reached (4).
    Unreachable,
    /// The remote was reached and said no (5).
    Refused,
    /// A defect of ours (70, `EX_SOFTWARE` of sysexits).
    Bug,
    /// The user cancelled (130, as a shell reports SIGINT).
    Cancelled,
}

impl Family {
    /// Returns the process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Work => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Unreachable => 4,
            Self::Refused => 5,
            Self::Bug => 70,
            Self::Cancelled => 130,
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $family:ident, $about:literal;)*) => {
        /// Stable name of a kind of error. Names are never changed once released.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $about] $variant,)*
            /// A code that a newer peer knows and we do not.
            Unknown,
        }

        impl Code {
            /// Every code, in the order of the reference page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* Self::Unknown];

            /// Returns the wire name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Unknown => "unknown" }
            }

            /// Returns the code of a wire name; [`Code::Unknown`] for a name we have never heard.
            pub fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unknown }
            }

            /// Returns what a script can tell from this code.
            pub fn family(self) -> Family {
                match self { $(Self::$variant => Family::$family,)* Self::Unknown => Family::Work }
            }

            /// Returns one sentence on when this code occurs.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* Self::Unknown => "A newer peer's code." }
            }
        }
    };
}

codes! {
    Bug = "bug", Bug, "A defect of MLToolbox; the log has the details.";
    Cancelled = "cancelled", Cancelled, "The user or the editor cancelled the command.";
    ParamsInvalid = "params.invalid", Usage, "The parameters of a command are not valid.";
    MethodUnknown = "method.unknown", Usage, "There is no command of that name.";
    QuestionUnanswered = "question.unanswered", Usage, "A yes is needed and nobody could be asked.";
    TooManyRequests = "request.limit", Work, "More requests are in flight than the sidecar takes.";
    RemoteUnknown = "remote.unknown", Usage, "There is no remote of that name.";
    RemoteExists = "remote.exists", Usage, "A remote of that name exists with other settings.";
    RemoteMissing = "remote.missing", Configuration, "No remote was named and none can be chosen.";
    RemoteInvalid = "remote.invalid", Usage, "A remote's name or address cannot be used.";
    RemoteInUse = "remote.in_use", Work, "The remote is still used by a sync.";
    SshUnreachable = "ssh.unreachable", Unreachable, "No connection to the SSH server could be made.";
    SshLost = "ssh.lost", Unreachable, "A live SSH connection was lost.";
    SshProtocol = "ssh.protocol", Unreachable, "The SSH server said something that is not understood.";
    SshHostKeyUnknown = "ssh.host_key_unknown", Refused, "The host key is not known and nobody accepted it.";
    SshHostKeyChanged = "ssh.host_key_changed", Refused, "The host key differs from the known one.";
    SshHostKeyRevoked = "ssh.host_key_revoked", Refused, "The host key is marked as revoked.";
    SshConfig = "ssh.config", Configuration, "The SSH configuration is wrong or cannot be read.";
    SshKnownHosts = "ssh.known_hosts", Configuration, "A `known_hosts` file cannot be read or written.";
    SshAuthRefused = "ssh.auth_refused", Refused, "The server accepted none of the offered keys.";
    SshKeyUnreadable = "ssh.key_unreadable", Configuration, "A private key cannot be read.";
    SshKeyPermissions = "ssh.key_permissions", Configuration, "A private key can be read by other users.";
    SshKeyEncrypted = "ssh.key_encrypted", Configuration, "A private key needs a passphrase and nobody could be asked.";
    SshForbidden = "ssh.forbidden", Refused, "The SSH server forbids something that is needed.";
    AgentMissing = "agent.missing", Refused, "The agent is not installed on the remote.";
    AgentNone = "agent.none", Refused, "No agent can run on the remote, or none is wanted there.";
    AgentPlatform = "agent.platform", Refused, "There is no agent build for the remote's platform.";
    AgentInstall = "agent.install", Refused, "The agent could not be installed.";
    AgentUnhealthy = "agent.unhealthy", Refused, "The agent did not become healthy.";
    AgentVersion = "agent.version", Refused, "The agent speaks another protocol version.";
    AgentProtocol = "agent.protocol", Refused, "The agent sent something that is not allowed.";
    AgentLost = "agent.lost", Unreachable, "The agent ended or stopped answering.";
    WorkspaceMissing = "workspace.missing", Usage, "The workspace folder does not exist or is no folder.";
    WorkspaceUnsafe = "workspace.unsafe", Usage, "The workspace is a folder that nobody means to sync whole.";
    EnvFileInvalid = "config.env_file", Configuration, "An env file cannot be read, or a line of it is wrong.";
    MigrateNothing = "migrate.nothing", Usage, "There is no older project to migrate.";
    MigrateInvalid = "migrate.invalid", Configuration, "A file of an older project cannot be read.";
    TrustNeeded = "trust.needed", Usage, "A project's commands would run here or get values, and nobody trusted them.";
    HookFailed = "hook.failed", Work, "A hook failed whose failure is not to be passed over.";
    SyncNotRunning = "sync.not_running", Usage, "No sync runs for this workspace.";
    SyncBrake = "sync.brake", Refused, "A sync stopped before it did something that looks like an accident.";
    SyncLarge = "sync.large", Usage, "A first push is very large and nobody confirmed it.";
    SyncConflict = "sync.conflict", Work, "A path changed on both sides.";
    SyncLeased = "sync.leased", Refused, "Another machine syncs to this remote folder.";
    SyncPending = "sync.pending", Work, "Not everything has arrived on the remote.";
    SyncRoot = "sync.root", Refused, "The remote folder cannot be used.";
    SyncPath = "sync.path", Work, "A path cannot be synced.";
    SyncWatch = "sync.watch", Configuration, "The workspace cannot be watched.";
    OwnerUnavailable = "owner.unavailable", Work, "The background process of this workspace does not answer.";
    StoreOpen = "store.open", Configuration, "The state database cannot be opened.";
    StoreNewer = "store.newer", Configuration, "The state database was written by a newer version.";
    StoreFailed = "store.failed", Work, "The state database refused a read or a write.";
    SecretName = "secret.name", Usage, "A text cannot be the name of a secret.";
    SecretValue = "secret.value", Usage, "A text cannot be the value of a secret.";
    SecretMissing = "secret.missing", Configuration, "A secret is not set anywhere.";
    SecretLocked = "secret.locked", Configuration, "The keychain or the file of secrets is locked and was not opened.";
    SecretStore = "secret.store", Configuration, "The keychain or the file of secrets cannot be used.";
    FileFailed = "file.failed", Work, "A file on this machine cannot be read or written.";
    RemoteFileFailed = "file.remote_failed", Refused, "A file on the remote cannot be read or written.";
    RemoteFull = "file.remote_full", Refused, "The remote's disk is full.";
    CommandFailed = "command.failed", Work, "A command on the remote could not be run.";
    ContainerAbsent = "container.absent", Usage, "This version runs commands on the remote machine only.";
    ConfigInvalid = "config.invalid", Configuration, "The configuration is wrong or cannot be read.";
    ConfigKey = "config.key", Usage, "The configuration has no such key, or it is not set.";
    ConfigExists = "config.exists", Usage, "A configuration file that would be made is there already.";
    DoctorFailed = "doctor.failed", Work, "The doctor found something that has to be mended.";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_name(&String::deserialize(deserializer)?))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": Self::ALL.iter().map(|code| code.name()).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_survive_the_wire() {
        for code in Code::ALL {
            let text = serde_json::to_string(code).expect("a code is a string");
            assert_eq!(serde_json::from_str::<Code>(&text).expect("a code is a string"), *code);
        }
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn a_word_stays_one_word() {
        assert_eq!(word("~/src/train-1.py"), "~/src/train-1.py");
        assert_eq!(word("a; rm -rf ~"), "'a; rm -rf ~'");
        assert_eq!(word("it's `x`"), r"'it'\''s `x`'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn a_code_from_the_future_is_unknown() {
        assert_eq!(serde_json::from_str::<Code>("\"from.the.future\"").expect("a code is a string"), Code::Unknown);
    }
}
