//! The person (or program) at the other end of a command: told, shown and asked, never assumed.
//!
//! Handlers speak only to this trait; one value serves one running command.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;
use protocol::error::{Error, Example, word};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::sync::watch;

use crate::commands::show::text::{bytes as bytes_of, count};
use crate::env;
use crate::secrets::Secret;

pub mod base64;
pub mod cli;
pub mod lsp;

/// The person at the other end of one command.
#[async_trait]
pub trait Frontend: Send + Sync + fmt::Debug {
    /// Shows how far the command is. Never blocks; a slow reader sees the newest only.
    fn report(&self, progress: Progress);
    /// Shows a line about what just happened.
    fn tell(&self, line: String);
    /// Passes on output of a program that the command runs; waits while the reader is slow.
    async fn output(&self, stream: OutputStream, bytes: Bytes);
    /// Asks, and returns `None` when nobody can answer (no terminal, `--json`).
    async fn ask(&self, question: &Question) -> Option<Answer>;
    /// Returns standard input where it is a pipe or a file that the command may read; `None` where it is a terminal, or
    /// not the command's to read.
    fn piped(&self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        None
    }
    /// Returns whether the value of a secret may be part of an answer: only where it goes to the person's own standard
    /// output and through no protocol that somebody may record.
    fn may_reveal(&self) -> bool {
        false
    }
    /// Hands over the terminal and standard input for an interactive program; at most once.
    fn terminal(&self) -> Option<Terminal>;
}

/// How far a command is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// What is being done: `Connecting to gpu1`, `Uploading`.
    pub title: String,
    /// The present item, if one is worth naming.
    pub detail: Option<String>,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, when known.
    pub total_bytes: Option<u64>,
    /// Files done.
    pub files: u64,
    /// Files in all, when known.
    pub total_files: Option<u64>,
}

/// Standard input of the person, for an interactive program.
pub struct Terminal {
    /// What is typed.
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    /// The terminal's type and size as it changes, when standard input is one.
    pub size: Option<watch::Receiver<TerminalSize>>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Terminal").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Size of a terminal in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Cells in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// What a person is asked. Closed, so that every front end can show each of them well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// An unknown host key.
    HostKey {
        /// `host` or `[host]:port`.
        host: String,
        /// `ssh-ed25519` and the like.
        algorithm: String,
        /// `SHA256:…`.
        fingerprint: String,
    },
    /// The passphrase of a key file.
    Passphrase {
        /// The key file.
        key: String,
    },
    /// The password of an account.
    Password {
        /// Whose.
        user: String,
        /// Where.
        host: String,
    },
    /// What a server asks in its own words: a one-time code and the like.
    Prompt {
        /// For whose account.
        user: String,
        /// Where.
        host: String,
        /// The server's words, made harmless to a terminal.
        text: String,
        /// Whether what is typed may be seen.
        echo: bool,
    },
    /// The passphrase of the encrypted file of secrets.
    SecretsFile {
        /// The file.
        path: String,
        /// Whether the file is still to be made, and the passphrase chosen.
        new: bool,
        /// Whether it is typed the second time, to be sure.
        again: bool,
    },
    /// The value of a secret.
    SecretValue {
        /// Its name.
        name: String,
        /// Whether it is typed the second time, to be sure.
        again: bool,
    },
    /// Consent to install the agent on a remote, once per remote.
    InstallAgent {
        /// The remote.
        remote: String,
        /// Where it goes.
        path: String,
    },
    /// A workspace that nobody means to sync whole.
    UnsafeWorkspace {
        /// The folder.
        path: String,
    },
    /// A first push that is very large.
    LargePush {
        /// Files it holds.
        files: u64,
        /// Bytes it holds.
        bytes: u64,
        /// The largest folders, one line each.
        largest: Vec<String>,
    },
    /// Another machine holds the remote folder's lease.
    TakeOver {
        /// The remote folder.
        remote_dir: String,
        /// Who holds it.
        holder: String,
    },
    /// Whether the commands that a project brings along may run on this machine. `--yes` is no answer to it.
    Trust {
        /// The project's folder.
        workspace: String,
        /// The commands, one line each.
        commands: Vec<String>,
        /// Whether others were answered for before.
        is_changed: bool,
    },
    /// Removal of a remote that a sync still uses, or another act that loses state.
    Confirm {
        /// What will happen, as a question.
        text: String,
    },
}

/// What a person answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// A text that must not be shown.
    Secret(Secret),
}

/// What stands between a question and its answer: asked, refused, or nobody there.
#[derive(Debug, thiserror::Error)]
#[error("{question}")]
pub struct Unanswered {
    /// The question as a statement.
    pub question: String,
    /// The flag or command that answers it.
    pub help: String,
}

impl protocol::error::Explain for Unanswered {
    fn code(&self) -> protocol::error::Code {
        protocol::error::Code::QuestionUnanswered
    }

    fn help(&self) -> String {
        self.help.clone()
    }
}

/// Asks a yes-or-no question; `yes` (the flag) answers it unasked. `Err` when nobody can answer.
pub async fn confirm(frontend: &dyn Frontend, yes: bool, question: &Question) -> Result<bool, Error> {
    if yes {
        return Ok(true);
    }
    match frontend.ask(question).await {
        Some(answer) => Ok(answer == Answer::Yes),
        None => Err(question.unanswered().into()),
    }
}

impl Question {
    /// Returns the question as a person reads it.
    pub fn text(&self) -> String {
        match self {
            Self::HostKey { host, algorithm, fingerprint } => {
                format!("The host key of `{host}` is not known.\n{algorithm} {fingerprint}\nTrust it and go on?")
            }
            Self::Passphrase { key } => format!("Passphrase for `{key}`"),
            Self::Password { user, host } => format!("Password for `{user}` on `{host}`"),
            Self::Prompt { user, host, text, .. } => {
                format!("`{host}` asks `{user}`: {}", text.trim_end().trim_end_matches(':'))
            }
            Self::SecretsFile { again: true, .. } | Self::SecretValue { again: true, .. } => {
                "The same again".to_owned()
            }
            Self::SecretsFile { path, new: true, .. } => format!("New passphrase for `{path}`"),
            Self::SecretsFile { path, new: false, .. } => format!("Passphrase for `{path}`"),
            Self::SecretValue { name, .. } => format!("Value of the secret `{name}`"),
            Self::InstallAgent { remote, path } => {
                format!("MLToolbox needs its agent on `{remote}` to sync. Install it as `{path}`, without root?")
            }
            Self::UnsafeWorkspace { path } => format!("`{path}` is not a project folder. Sync all of it?"),
            Self::LargePush { files, bytes, largest } => format!(
                "The first push holds {} in {}. The largest folders:\n  {}\nPush all of it?",
                bytes_of(*bytes),
                count(*files, "file"),
                largest.join("\n  ")
            ),
            Self::TakeOver { remote_dir, holder } => {
                format!("`{remote_dir}` is synced by `{holder}`. Take it over?")
            }
            Self::Trust { workspace, commands, is_changed } => format!(
                "{} `{workspace}` would run on this machine or get values of it:\n  {}\nTrust them? Else they are not run.",
                if *is_changed {
                    "Changed since they were answered for, these commands of"
                } else {
                    "These commands of"
                },
                commands.join("\n  ")
            ),
            Self::Confirm { text } => text.clone(),
        }
    }

    /// Returns the error for when nobody can answer: what is needed, and the flag that says yes.
    pub fn unanswered(&self) -> Unanswered {
        let (question, help) = match self {
            Self::HostKey { host, algorithm, fingerprint } => (
                format!("the host key of `{host}` ({fingerprint}) is not known and nobody can be asked"),
                format!(
                    "Run `ssh-keygen -lf /etc/ssh/ssh_host_{}_key.pub` on that machine; if it shows the same fingerprint, \
                     add `--yes`, or `--accept-new` when the remote is added.",
                    kind_of_key(algorithm)
                ),
            ),
            Self::Passphrase { key } => (
                format!("the key `{key}` needs a passphrase and nobody can be asked"),
                format!("Run `ssh-add {}` once, so that the SSH agent holds it.", word(key)),
            ),
            Self::Password { user, host } => (
                format!("`{host}` wants the password of `{user}` and nobody can be asked"),
                format!(
                    "Run `ssh-copy-id {}` once in a terminal, so that a key opens it, or run this command in a terminal.",
                    word(format!("{user}@{host}"))
                ),
            ),
            Self::Prompt { user, host, text, .. } => (
                format!(
                    "`{host}` asks `{user}` for `{}` and nobody can be asked",
                    text.trim_end().trim_end_matches(':')
                ),
                "Run this command in a terminal to answer, or use a key that the server takes alone.".to_owned(),
            ),
            Self::SecretsFile { path, .. } => (
                format!("`{path}` needs a passphrase and nobody can be asked"),
                format!(
                    "Run this command in a terminal, or set `{}`, or name a file that holds it in `{}`.",
                    env::SECRETS_PASSPHRASE,
                    env::SECRETS_KEY_FILE
                ),
            ),
            Self::SecretValue { name, .. } => (
                format!("the value of the secret `{name}` is not given and nobody can be asked"),
                format!(
                    "Run `mltoolbox-sidecar secret set {name}` in a terminal to type it, or give it a file with `< FILE`."
                ),
            ),
            Self::InstallAgent { remote, .. } => (
                format!("the agent is not installed on `{remote}` and nobody can be asked"),
                format!("Run `mltoolbox-sidecar agent install --remote {remote} --yes`."),
            ),
            Self::UnsafeWorkspace { path } => (
                format!("`{path}` is not a project folder and nobody can be asked"),
                "Give a project folder with `--workspace DIR`, or add `--yes` to sync all of it.".to_owned(),
            ),
            Self::LargePush { files, bytes, .. } => (
                format!(
                    "the first push holds {} in {} and nobody can be asked",
                    bytes_of(*bytes),
                    count(*files, "file")
                ),
                "Leave something out with `--exclude PATTERN` or `.mltignore`, or add `--yes` to push all of it."
                    .to_owned(),
            ),
            Self::TakeOver { remote_dir, holder } => (
                format!("`{remote_dir}` is synced by `{holder}` and nobody can be asked"),
                format!("Run `mltoolbox-sidecar sync stop` in `{holder}`, or add `--take-over` here."),
            ),
            Self::Trust { workspace, .. } => (
                format!("`{workspace}` brings commands along for this machine and nobody can be asked"),
                format!(
                    "Look at them with `mltoolbox-sidecar trust --status`, and run `mltoolbox-sidecar trust --yes \
                     --workspace {}` if they may run.",
                    word(workspace)
                ),
            ),
            Self::Confirm { text } => {
                (format!("a yes is needed and nobody can be asked: {text}"), "Add `--yes` to go on.".to_owned())
            }
        };
        Unanswered { question, help }
    }
}

/// Returns what OpenSSH names the file of a host key by; for a kind that we do not know, all of them.
fn kind_of_key(algorithm: &str) -> &'static str {
    match algorithm {
        "ssh-ed25519" => "ed25519",
        "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => "rsa",
        algorithm if algorithm.starts_with("ecdsa-sha2-") => "ecdsa",
        _ => "*",
    }
}

/// Returns what is said when a question cannot be asked, each once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let questions = [
        Question::HostKey {
            host: "[203.0.113.7]:2222".to_owned(),
            algorithm: "ssh-ed25519".to_owned(),
            fingerprint: "SHA256:uNiVztksCsDhcc0u9e8BrqXR".to_owned(),
        },
        Question::Passphrase { key: "/home/ada/.ssh/id_ed25519".to_owned() },
        Question::Password { user: "ada".to_owned(), host: "203.0.113.7".to_owned() },
        Question::Prompt {
            user: "ada".to_owned(),
            host: "203.0.113.7".to_owned(),
            text: "Verification code: ".to_owned(),
            echo: true,
        },
        Question::SecretsFile { path: "/home/ada/.config/mltoolbox/secrets.yaml".to_owned(), new: false, again: false },
        Question::SecretValue { name: "hf-token".to_owned(), again: false },
        Question::InstallAgent { remote: "gpu1".to_owned(), path: "~/.mltoolbox/bin/mlt-0.1.0".to_owned() },
        Question::UnsafeWorkspace { path: "/home/ada".to_owned() },
        Question::LargePush { files: 250_000, bytes: 5_000_000_000, largest: vec!["data".to_owned()] },
        Question::TakeOver {
            remote_dir: "/data/project".to_owned(),
            holder: "ada@laptop:/home/ada/project".to_owned(),
        },
        Question::Trust {
            workspace: "/home/ada/project".to_owned(),
            commands: vec!["on_config_loaded: make".to_owned()],
            is_changed: false,
        },
        Question::Confirm { text: "`gpu1` is used by the sync of `/home/ada/project`. Forget both?".to_owned() },
    ];
    let unanswered = questions.iter().map(|question| Example::of(question, question.unanswered()));
    let text = "Stop the agent on `gpu1` and remove `~/.mltoolbox` there, but no synced file?".to_owned();
    let own = Question::Confirm { text }.unanswered();
    std::iter::once(own.into()).chain(unanswered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_is_compared_with_the_file_of_its_own_kind() {
        for (algorithm, file) in [
            ("ssh-ed25519", "ssh_host_ed25519_key.pub"),
            ("ssh-rsa", "ssh_host_rsa_key.pub"),
            ("rsa-sha2-512", "ssh_host_rsa_key.pub"),
            ("ecdsa-sha2-nistp256", "ssh_host_ecdsa_key.pub"),
            ("ssh-of-tomorrow", "ssh_host_*_key.pub"),
        ] {
            let (host, fingerprint) = ("gpu1".to_owned(), "SHA256:x".to_owned());
            let question = Question::HostKey { host, algorithm: algorithm.to_owned(), fingerprint };
            let help = question.unanswered().help;
            assert!(help.contains(file), "{algorithm}: {help}");
        }
    }
}
