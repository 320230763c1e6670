//! What an owner and its clients say: one JSON object per line, versioned by the first.
//!
//! A connection serves one command; when it ends early the command is cancelled.

use std::io;

use protocol::editor::{OutputStream, Scope};
use protocol::error::Error;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frontend::{Answer, Progress, Question};
use crate::secrets::Secret;

/// Version of these words.
pub(super) const VERSION: u32 = 1;
/// Longest line that an owner takes: parameters are small.
pub(super) const REQUEST_LIMIT: u64 = 1 << 20;
/// Longest line that a client takes: the status of a large workspace lists many paths.
pub(super) const REPLY_LIMIT: u64 = 16 << 20;

/// The first line of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`VERSION`] of the speaker.
    pub(super) protocol: u32,
    /// Version of the speaker's program.
    pub(super) program: String,
    /// Process id of the speaker.
    pub(super) pid: u32,
}

impl Hello {
    pub(super) fn ours() -> Self {
        Self { protocol: VERSION, program: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }
    }
}

/// What a client says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ToOwner {
    /// Runs a command; said once.
    Run {
        /// Its name.
        method: String,
        /// Its parameters.
        params: Value,
        /// What it applies to.
        scope: Scope,
        /// The folder against which relative paths are resolved.
        folder: String,
    },
    /// Cancels it.
    Cancel,
    /// Answers a question; `None` when nobody could be asked.
    Answer(Option<Said>),
}

/// What an owner says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum FromOwner {
    /// How far the command is.
    Progress(Progress),
    /// What just happened.
    Tell(String),
    /// Output of a program, in base64.
    Output(OutputStream, String),
    /// A question; the owner waits for its answer and asks one at a time.
    Ask(Question),
    /// The answer of the command; the last line.
    Done(Value),
    /// Its error; the last line.
    Failed(Error),
}

/// An answer as it travels. The socket is for this user only.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Said {
    Yes,
    No,
    Secret(String),
}

impl std::fmt::Debug for Said {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Yes => "Yes",
            Self::No => "No",
            Self::Secret(_) => "Secret(****)",
        })
    }
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::Yes,
            Answer::No => Self::No,
            Answer::Secret(secret) => Self::Secret(secret.reveal().to_owned()),
        }
    }
}

impl From<Said> for Answer {
    fn from(said: Said) -> Self {
        match said {
            Said::Yes => Self::Yes,
            Said::No => Self::No,
            Said::Secret(secret) => Self::Secret(Secret::new(secret)),
        }
    }
}

/// Reads one line of at most `limit` bytes; `None` at the end.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: u64,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let read = from.take(limit).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long or cut off"));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Writes one line.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), words: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(words)?;
    line.push(b'\n');
    to.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_line_is_read_or_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let run = r#"{"run":{"method":"sync/status","params":{"a":[1]},"scope":{},"folder":"/"}}"#;
        let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(edits in proptest::collection::vec((0..90_usize, any::<u8>()), 0..6), cut in 0..90_usize)| {
            let mut line = run.as_bytes().to_vec();
            for (at, byte) in edits {
                if let Some(place) = line.get_mut(at) {
                    *place = byte;
                }
            }
            line.truncate(cut);
            line.push(b'\n');
            for limit in [10, REQUEST_LIMIT] {
                runtime.block_on(read::<ToOwner>(&mut line.as_slice(), limit)).ok();
                runtime.block_on(read::<FromOwner>(&mut line.as_slice(), limit)).ok();
                runtime.block_on(read::<Hello>(&mut line.as_slice(), limit)).ok();
            }
        });
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_refused() {
        let mut line: &[u8] = b"\"0123456789\"\n";
        assert!(read::<String>(&mut line, 8).await.is_err());
    }

    #[tokio::test]
    async fn the_end_is_told_from_a_cut() {
        assert!(read::<Hello>(&mut &b""[..], 8).await.expect("the end is no error").is_none());
        assert!(read::<Value>(&mut &b"{}"[..], 8).await.is_err());
    }
}
