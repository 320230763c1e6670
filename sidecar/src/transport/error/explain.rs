//! What to do about each error of a transport.

use protocol::error::{Code, Explain, word};

use super::TransportError;

impl Explain for TransportError {
    fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Beyond { .. } | Self::ProxyCommand { .. } => {
                Code::SshUnreachable
            }
            Self::Jump { source, .. } => source.code(),
            Self::Protocol { .. } => Code::SshProtocol,
            Self::Lost { .. } => Code::SshLost,
            Self::HostKeyDeclined { .. }
            | Self::HostKeyUnknown(_)
            | Self::HostCertificate { .. }
            | Self::HostKeyStrict { .. } => Code::SshHostKeyUnknown,
            Self::HostKeyChanged { .. } => Code::SshHostKeyChanged,
            Self::HostKeyRevoked { .. } => Code::SshHostKeyRevoked,
            Self::KnownHosts { .. } => Code::SshKnownHosts,
            Self::Refused { .. } | Self::NoKey { .. } | Self::LoginUnanswered(_) | Self::PasswordChange { .. } => {
                Code::SshAuthRefused
            }
            Self::KeyUnreadable { .. }
            | Self::KeyGarbage { .. }
            | Self::KeyPublic { .. }
            | Self::KeyHardware { .. } => Code::SshKeyUnreadable,
            Self::KeyOpen { .. } => Code::SshKeyPermissions,
            Self::KeyEncrypted(_) | Self::Passphrase { .. } => Code::SshKeyEncrypted,
            Self::Forbidden { .. } | Self::NoCommands { .. } | Self::Sessions { .. } => Code::SshForbidden,
            Self::SlowReader { .. } | Self::NoStatus { .. } => Code::CommandFailed,
            Self::LocalFile { .. } => Code::FileFailed,
            Self::RemoteFile { .. } => Code::RemoteFileFailed,
            Self::RemoteFull { .. } => Code::RemoteFull,
            Self::Cancelled { .. } => Code::Cancelled,
        }
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each kind of error, and no two belong together")]
    fn help(&self) -> String {
        match self {
            Self::Unreachable { host, port, .. } | Self::Silent { host, port, .. } => {
                format!("Check that the machine is on and that `ssh -p {port} {host}` works in a terminal.")
            }
            Self::Protocol { host, port, .. } => format!(
                "Check with `ssh -v -p {port} {host}` that an OpenSSH server answers there and not another service."
            ),
            Self::Jump { source, .. } => source.help(),
            Self::Beyond { hop, host, port } => format!(
                "Check that `{host}` is on and that a connection to its port {port} is allowed from `{hop}`: `ssh {hop}`, \
                 and there `ssh -p {port} {host}`."
            ),
            Self::ProxyCommand { host, command, .. } => format!(
                "Run {} in a terminal to see what it says, or change `ProxyCommand` for `{host}` in `~/.ssh/config`.",
                word(command)
            ),
            Self::Lost { .. } => {
                "Run the command again once the machine can be reached; nothing that was confirmed is lost.".to_owned()
            }
            Self::HostKeyDeclined { host, .. } => format!(
                "Run `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on `{host}` itself, compare the fingerprint, \
                 and answer yes if it is the same."
            ),
            Self::HostKeyUnknown(unanswered) | Self::KeyEncrypted(unanswered) | Self::LoginUnanswered(unanswered) => {
                unanswered.help()
            }
            Self::HostKeyChanged { host, file, line, .. } => format!(
                "Either the machine was set up anew or somebody stands between you and it. If you know that it was \
                 set up anew, run `ssh-keygen -R {} -f {}` (it removes line {line}) and connect again.",
                quote(host),
                quote(&file.display().to_string())
            ),
            Self::HostKeyRevoked { host, .. } => format!(
                "Do not connect: whoever manages `{host}` declared this key stolen. Ask them for the machine's new \
                 key, and let them replace it there."
            ),
            Self::HostCertificate { host, fingerprint, .. } => format!(
                "Ask whoever manages `{host}` for a new host certificate, or connect in a terminal and accept the plain \
                 key if its fingerprint there is {fingerprint}."
            ),
            Self::HostKeyStrict { host, .. } => format!(
                "Add the key that whoever manages `{host}` names to your `known_hosts`, or set `StrictHostKeyChecking \
                 ask` for it in `~/.ssh/config`."
            ),
            Self::KnownHosts { file, .. } => {
                format!(
                    "Run `ls -l {0}` to see whose it is, and `chmod u+rw {0}` if it is yours.",
                    quote(&file.display().to_string())
                )
            }
            Self::Refused { host, untried: untried @ 1.., .. } => format!(
                "Name the right key, since {untried} more were not tried before the server would have hung up: add the \
                 remote again with `--key PATH`, or set `IdentityFile PATH` and `IdentitiesOnly yes` for `{host}` in \
                 `~/.ssh/config`."
            ),
            Self::Refused { host, port, user, accepted, .. } => {
                let accepted =
                    if accepted.is_empty() { String::new() } else { format!(" The server accepts: {accepted}.") };
                format!(
                    "Check the user name, run `ssh-copy-id -p {port} {user}@{host}` to allow your key there, or add the \
                     remote again with another `--key PATH`.{accepted}"
                )
            }
            Self::PasswordChange { host, port, user } => {
                format!("Run `ssh -p {port} {user}@{host}` in a terminal, set the new password, and connect again.")
            }
            Self::NoKey { host } => format!(
                "Run `ssh-keygen -t ed25519` to make a key and `ssh-copy-id {host}` to allow it there, or add the \
                 remote again with `--key PATH`."
            ),
            Self::KeyHardware { path } => format!(
                "Run `ssh-add {}` with the hardware key plugged in, so that the SSH agent can use it.",
                quote(&path.display().to_string())
            ),
            Self::KeyUnreadable { path, .. } => {
                format!(
                    "Check that `{}` exists and is yours, or add the remote again with another `--key PATH`.",
                    path.display()
                )
            }
            Self::KeyGarbage { path, .. } => format!(
                "Check the file with `ssh-keygen -y -f {}`, or add the remote again with another `--key PATH`.",
                quote(&path.display().to_string())
            ),
            Self::KeyPublic { path } => {
                format!("Name the private key: `--key {}`.", quote(&path.with_extension("").display().to_string()))
            }
            Self::KeyOpen { path, .. } => format!("Run `chmod 600 {}`.", quote(&path.display().to_string())),
            Self::Passphrase { path, .. } => {
                format!("Run `ssh-add {}`, so that the SSH agent holds the key.", quote(&path.display().to_string()))
            }
            Self::Forbidden { host, what } => format!(
                "Use an account on `{host}` that is allowed {what}, or change its `sshd_config` or the key's options \
                 in `authorized_keys`."
            ),
            Self::NoCommands { host, user, sftp, .. } => {
                let left = if *sftp { " SFTP works for this account." } else { "" };
                format!(
                    "Use an account on `{host}` with a login shell: `{user}` is held by its shell, by `ForceCommand` in \
                     the `sshd_config` there, or by the options of the key in `authorized_keys`.{left}"
                )
            }
            Self::Sessions { host } => {
                format!(
                    "End other commands on this connection, or raise `MaxSessions` in the `sshd_config` of `{host}`."
                )
            }
            Self::SlowReader { .. } => "Send the command's output to a file there and fetch the file.".to_owned(),
            Self::NoStatus { host } => {
                format!("Check on `{host}` whether the command was killed, and run it again.")
            }
            Self::LocalFile { path, .. } => format!(
                "Run `ls -l {}` to see whether it is there and who may read it.",
                quote(&path.display().to_string())
            ),
            Self::RemoteFile { host, path, .. } => {
                format!("Check on `{host}` that the folder of `{path}` is yours and that its disk has room (`df -h`).")
            }
            Self::RemoteFull { host, .. } => format!("Free some space on `{host}`; `df -h` shows what is full."),
            Self::Cancelled { .. } => "Run the command again to connect.".to_owned(),
        }
    }
}

fn quote(text: &str) -> String {
    if text.contains('[') { format!("'{text}'") } else { shell_words::quote(text).into_owned() }
}
