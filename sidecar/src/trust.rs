//! Whether the commands that a project's files would run on this machine, or give secrets and variables of it, may run:
//! asked once, and again when one of them is another one or runs elsewhere.
//!
//! What was said is bound to a hash of the commands and to the project's folder. A script that such a command calls is
//! not part of it: whoever trusts `make` trusts the Makefile.

use std::path::{Path, PathBuf};

use protocol::editor::TrustState;
use protocol::error::{Code, Error, Example, Explain, word};

use crate::commands::show::text::one_line;
use crate::config::schema::Where;
use crate::frontend::{self, Answer, Frontend, Question};
use crate::hooks::Hook;
use crate::store::{Store, StoreError, StoredTrust};

/// Why the commands of a project are not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nobody can be asked.
    #[error("`{}` brings {} along that would run on this machine or get values of it, and nobody can be asked whether {}", workspace.display(), counted(*commands), if *commands == 1 { "it may" } else { "they may" })]
    Unanswered {
        /// The project's folder.
        workspace: PathBuf,
        /// How many there are.
        commands: usize,
        /// Whether others were trusted before.
        is_changed: bool,
    },
}

fn counted(commands: usize) -> String {
    if commands == 1 { "a command".to_owned() } else { format!("{commands} commands") }
}

impl Explain for TrustError {
    fn code(&self) -> Code {
        match self {
            Self::Unanswered { .. } => Code::TrustNeeded,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Unanswered { workspace, is_changed, .. } => {
                let changed = if *is_changed { "They are others than those that were answered for. " } else { "" };
                let workspace = word(workspace.display());
                format!(
                    "{changed}Look at them with `mltoolbox-sidecar trust --status --workspace {workspace}`; if they may run, \
                     run `mltoolbox-sidecar trust --workspace {workspace}`."
                )
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let workspace = || PathBuf::from("/home/ada/project");
    vec![
        TrustError::Unanswered { workspace: workspace(), commands: 1, is_changed: false }.into(),
        TrustError::Unanswered { workspace: workspace(), commands: 2, is_changed: true }.into(),
    ]
}

/// Returns the hooks that have to be trusted.
pub fn concerned(hooks: &[Hook]) -> Vec<&Hook> {
    hooks.iter().filter(|hook| hook.needs_trust()).collect()
}

/// Returns what stands for just these commands in just this folder.
fn hash(workspace: &str, hooks: &[&Hook]) -> String {
    let mut hasher = blake3::Hasher::new();
    let parts = hooks.iter().flat_map(|hook| [hook.point.name(), hook.place.name(), hook.run.as_str()]);
    for part in std::iter::once(workspace).chain(parts) {
        // Their lengths keep two lists from being one text.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Returns the name under which a project's folder is known.
fn key(workspace: &Path) -> String {
    workspace.to_string_lossy().into_owned()
}

/// Returns what was said about these hooks of the project in `workspace`, an absolute path without links.
pub async fn state(store: &Store, workspace: &Path, hooks: &[&Hook]) -> Result<TrustState, StoreError> {
    if hooks.is_empty() {
        return Ok(TrustState::Nothing);
    }
    let key = key(workspace);
    let now = hash(&key, hooks);
    Ok(match store.trust(&key).await? {
        None => TrustState::Unknown,
        Some(said) if said.hash != now => TrustState::Changed,
        Some(StoredTrust { trusted: true, .. }) => TrustState::Trusted,
        Some(StoredTrust { trusted: false, .. }) => TrustState::Refused,
    })
}

/// Stores what a person said.
pub async fn say(store: &Store, workspace: &Path, hooks: &[&Hook], trusted: bool) -> Result<(), StoreError> {
    let key = key(workspace);
    let said = StoredTrust { hash: hash(&key, hooks), trusted };
    store.set_trust(&key, said).await
}

/// Forgets what was said.
pub async fn forget(store: &Store, workspace: &Path) -> Result<(), StoreError> {
    store.remove_trust(&key(workspace)).await
}

/// Returns whether these hooks of the project in `workspace` may run, asking when nobody said it yet. `--yes` is no answer:
/// it is typed in scripts, for projects whose commands nobody has looked at.
pub async fn ask(store: &Store, frontend: &dyn Frontend, workspace: &Path, hooks: &[&Hook]) -> Result<bool, Error> {
    let state = state(store, workspace, hooks).await?;
    match state {
        TrustState::Nothing | TrustState::Trusted => return Ok(true),
        TrustState::Refused => return Ok(false),
        TrustState::Changed | TrustState::Unknown => {}
    }
    let is_changed = state == TrustState::Changed;
    let question = Question::Trust { workspace: key(workspace), commands: listed(hooks), is_changed };
    match frontend.ask(&question).await {
        Some(answer) => {
            let trusted = answer == Answer::Yes;
            say(store, workspace, hooks, trusted).await?;
            Ok(trusted)
        }
        None => {
            Err(TrustError::Unanswered { workspace: workspace.to_owned(), commands: hooks.len(), is_changed }.into())
        }
    }
}

/// Stores the yes or no of somebody who wants to answer for these hooks of the project in `workspace`, after they were
/// shown; `yes` (the flag) is typed for just this, and is an answer.
pub async fn confirm(
    store: &Store,
    frontend: &dyn Frontend,
    yes: bool,
    workspace: &Path,
    hooks: &[&Hook],
) -> Result<(), Error> {
    let state = state(store, workspace, hooks).await?;
    if matches!(state, TrustState::Nothing | TrustState::Trusted) {
        return Ok(());
    }
    let is_changed = state == TrustState::Changed;
    let question = Question::Trust { workspace: key(workspace), commands: listed(hooks), is_changed };
    let trusted = frontend::confirm(frontend, yes, &question).await?;
    Ok(say(store, workspace, hooks, trusted).await?)
}

/// Returns the commands as a person reads them before trusting them, one line each, and all of each: what is not seen
/// cannot be trusted.
fn listed(hooks: &[&Hook]) -> Vec<String> {
    // One command must not look like two, nor show its letters in another order.
    let breaks = |letter: char| matches!(letter, '\u{61c}' | '\u{2028}' | '\u{2029}');
    let line = |hook: &&Hook| {
        let elsewhere =
            if hook.place == Where::Local { String::new() } else { format!(" (where: {})", hook.place.name()) };
        let command = one_line(&hook.run.replace('\n', " ⏎ ")).replace(breaks, "\u{fffd}");
        format!("{}{elsewhere}: {command}", hook.point)
    };
    hooks.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
