//! The value of a secret as a person or a program gives it: from standard input, or typed twice and unseen.

use protocol::error::{Code, Example, Explain, Result};
use tokio::io::AsyncReadExt as _;

use crate::cx::Cx;
use crate::frontend::{Answer, Question};
use crate::secrets::{MAX_VALUE, Name, Secret, SecretError};

/// Why a value is not read or shown.
#[derive(Debug, thiserror::Error)]
pub(in crate::commands) enum InputError {
    /// Standard input fails.
    #[error("the value of the secret `{name}` cannot be read from standard input")]
    Read {
        /// The secret.
        name: Name,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It would go through a protocol that may be recorded.
    #[error("the value of the secret `{name}` is shown in a terminal only")]
    Reveal {
        /// The secret.
        name: Name,
    },
}

impl Explain for InputError {
    fn code(&self) -> Code {
        match self {
            Self::Read { .. } => Code::FileFailed,
            Self::Reveal { .. } => Code::SecretValue,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Read { name, .. } => {
                format!("Give it as `mltoolbox-sidecar secret set {name} < FILE`, or in a terminal.")
            }
            Self::Reveal { name } => format!("Run `mltoolbox-sidecar secret get {name} --reveal` in a terminal."),
        }
    }
}

/// Reads the value of a secret. One line break at its end is not part of it, so that `echo` can give it.
pub(super) async fn value(cx: &Cx, name: &Name) -> Result<Secret> {
    let bytes = match cx.frontend.piped() {
        Some(input) => {
            let mut bytes = Vec::new();
            // With room for the line break, and one more, which is too long.
            let limit = MAX_VALUE as u64 + 3;
            tokio::select! {
                read = async { input.take(limit).read_to_end(&mut bytes).await } => {
                    read.map_err(|source| InputError::Read { name: name.clone(), source })?;
                }
                () = cx.cancel.cancelled() => {
                    return Err(InputError::Read { name: name.clone(), source: std::io::ErrorKind::Interrupted.into() }.into());
                }
            }
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
                if bytes.last() == Some(&b'\r') {
                    bytes.pop();
                }
            }
            bytes
        }
        None => {
            let first = typed(cx, name, false).await?;
            if typed(cx, name, true).await? != first {
                return Err(SecretError::Differ.into());
            }
            first.reveal().as_bytes().to_vec()
        }
    };
    Ok(Secret::value(bytes).map_err(|problem| SecretError::Value { name: name.clone(), problem })?)
}

async fn typed(cx: &Cx, name: &Name, again: bool) -> Result<Secret> {
    let question = Question::SecretValue { name: name.to_string(), again };
    match cx.frontend.ask(&question).await {
        Some(Answer::Secret(typed)) => Ok(typed),
        Some(Answer::Yes | Answer::No) | None => Err(question.unanswered().into()),
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(in crate::commands) fn examples() -> Vec<Example> {
    let name = || "hf-token".parse::<Name>().expect("a name");
    vec![
        InputError::Read { name: name(), source: std::io::ErrorKind::BrokenPipe.into() }.into(),
        InputError::Reveal { name: name() }.into(),
    ]
}
