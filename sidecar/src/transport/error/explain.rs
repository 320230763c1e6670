//! What to do about each error of a transport.

use std::io::ErrorKind;

use protocol::error::{Explain as _, word};

use super::TransportError;

/// Returns the next step after an error.
#[allow(clippy::too_many_lines, reason = "one arm for each kind of error, and no two belong together")]
pub(super) fn help(error: &TransportError) -> String {
    match error {
        TransportError::Unreachable { source, host, .. } if source.kind() == ErrorKind::NetworkUnreachable => {
            format!("Check that this machine is online: it knows no way to `{host}`.")
        }
        TransportError::Unreachable { host, port, .. } | TransportError::Silent { host, port, .. } => {
            format!("Check that the machine is on and that `ssh -p {port} {host}` works in a terminal.")
        }
        TransportError::NoAddress { name, .. } => format!(
            "Check how `{name}` is spelled and that this machine is online; an alias has to stand in `~/.ssh/config` \
             as `Host` with its `HostName`."
        ),
        TransportError::Protocol { host, port, .. } => format!(
            "Check with `ssh -v -p {port} {host}` that an OpenSSH server answers there and not another service."
        ),
        TransportError::Jump { source, .. } => source.help(),
        TransportError::Beyond { hop, host, port } => format!(
            "Check that `{host}` is on and that a connection to its port {port} is allowed from `{hop}`: `ssh {hop}`, \
             and there `ssh -p {port} {host}`."
        ),
        TransportError::ProxyCommand { host, command, .. } => format!(
            "Run {} in a terminal to see what it says, or change what `~/.ssh/config` names as `ProxyCommand` for `{host}`.",
            word(command)
        ),
        TransportError::Lost { .. } => {
            "Run the command again once the machine can be reached; nothing that was confirmed is lost.".to_owned()
        }
        TransportError::HostKeyDeclined { host, .. } => format!(
            "Run `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on `{host}` itself, compare the fingerprint, \
             and answer yes if it is the same."
        ),
        TransportError::HostKeyUnknown(unanswered)
        | TransportError::KeyEncrypted(unanswered)
        | TransportError::LoginUnanswered(unanswered) => unanswered.help(),
        TransportError::HostKeyChanged { host, file, line, .. } => format!(
            "Either the machine was set up anew or somebody stands between you and it. If you know that it was \
             set up anew, run `ssh-keygen -R {} -f {}` (it removes line {line}) and connect again.",
            quote(host),
            quote(&file.display().to_string())
        ),
        TransportError::HostKeyRevoked { host, .. } => format!(
            "Do not connect: whoever manages `{host}` declared this key stolen. Ask them for the machine's new \
             key, and let them replace it there."
        ),
        TransportError::HostCertificate { host, fingerprint, .. } => format!(
            "Ask whoever manages `{host}` for a new host certificate, or connect in a terminal and accept the plain \
             key if its fingerprint there is {fingerprint}."
        ),
        TransportError::HostKeyStrict { host, .. } => format!(
            "Add the key that whoever manages `{host}` names to your `known_hosts`, or let `~/.ssh/config` say \
             `StrictHostKeyChecking ask` for it."
        ),
        TransportError::KnownHosts { file, .. } => {
            format!(
                "Run `ls -l {0}` to see whose it is, and `chmod u+rw {0}` if it is yours.",
                quote(&file.display().to_string())
            )
        }
        TransportError::Refused { host, untried: untried @ 1.., .. } => format!(
            "Name the right key, since {untried} more were not tried before the server would have hung up: add the \
             remote again with `--key PATH`, or let `~/.ssh/config` say `IdentityFile PATH` and `IdentitiesOnly yes` for \
             `{host}`.",
        ),
        TransportError::Refused { host, port, user, accepted, .. } => {
            let accepted =
                if accepted.is_empty() { String::new() } else { format!(" The server accepts: {accepted}.") };
            format!(
                "Check the user name, run `ssh-copy-id -p {port} {user}@{host}` to allow your key there, or add the \
                 remote again with another `--key PATH`.{accepted}"
            )
        }
        TransportError::PasswordChange { host, port, user } => {
            format!("Run `ssh -p {port} {user}@{host}` in a terminal, set the new password, and connect again.")
        }
        TransportError::NoKey { host } => format!(
            "Run `ssh-keygen -t ed25519` to make a key and `ssh-copy-id {host}` to allow it there, or add the \
             remote again with `--key PATH`."
        ),
        TransportError::KeyHardware { path } => format!(
            "Run `ssh-add {}` with the hardware key plugged in, so that the SSH agent can use it.",
            quote(&path.display().to_string())
        ),
        TransportError::KeyUnreadable { path, .. } => {
            format!(
                "Check that `{}` exists and is yours, or add the remote again with another `--key PATH`.",
                path.display()
            )
        }
        TransportError::KeyGarbage { path, .. } => format!(
            "Check the file with `ssh-keygen -y -f {}`, or add the remote again with another `--key PATH`.",
            quote(&path.display().to_string())
        ),
        TransportError::KeyPublic { path } => {
            format!("Name the private key: `--key {}`.", quote(&path.with_extension("").display().to_string()))
        }
        TransportError::KeyOpen { path, .. } => format!("Run `chmod 600 {}`.", quote(&path.display().to_string())),
        TransportError::Passphrase { path, .. } => {
            format!("Run `ssh-add {}`, so that the SSH agent holds the key.", quote(&path.display().to_string()))
        }
        TransportError::Forbidden { host, what } => format!(
            "Use an account on `{host}` that is allowed {what}, or change its `sshd_config` or the key's options \
             in `authorized_keys`."
        ),
        TransportError::NoCommands { host, user, sftp, .. } => {
            let left = if *sftp { " SFTP works for this account." } else { "" };
            format!(
                "Use an account on `{host}` with a login shell: `{user}` is held by its shell, by `ForceCommand` in \
                 the `sshd_config` there, or by the options of the key in `authorized_keys`.{left}"
            )
        }
        TransportError::Sessions { host } => {
            format!("End other commands on this connection, or raise `MaxSessions` in the `sshd_config` of `{host}`.")
        }
        TransportError::SlowReader { .. } => "Send the command's output to a file there and fetch the file.".to_owned(),
        TransportError::NoStatus { host } => {
            format!("Check on `{host}` whether the command was killed, and run it again.")
        }
        TransportError::LocalFile { path, .. } => format!(
            "Run `ls -l {}` to see whether it is there and who may read it.",
            quote(&path.display().to_string())
        ),
        TransportError::RemoteFile { host, path, .. } => {
            format!("Check on `{host}` that the folder of `{path}` is yours and that its disk has room (`df -h`).")
        }
        TransportError::RemoteFull { host, .. } => format!("Free some space on `{host}`; `df -h` shows what is full."),
        TransportError::Cancelled { .. } => "Run the command again to connect.".to_owned(),
    }
}

fn quote(text: &str) -> String {
    if text.contains('[') { format!("'{text}'") } else { shell_words::quote(text).into_owned() }
}
