//! What a hook says, line by line, bounded, and without the values of secrets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::HookPoint;
use crate::frontend::Frontend;
use crate::secrets::Secret;

/// Longest line that is passed on, in bytes; of a longer one the beginning is.
const LINE: usize = 2048;

/// Most bytes of one hook that are passed on. All that comes after is read and thrown away, so that it never waits for us.
const ALL: usize = 64 * 1024;

/// How much is read at once.
const PIECE: usize = 8 * 1024;

/// Lines that are kept for the error of a hook that failed.
const LAST: usize = 3;

/// Shortest part of a secret that is hidden: shorter ones would hide half of every line.
const SHORTEST_SECRET: usize = 4;

/// Hears what one hook says.
#[derive(Debug)]
pub(super) struct Output {
    point: HookPoint,
    frontend: Option<Arc<dyn Frontend>>,
    hidden: Vec<Secret>,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    bytes: usize,
    is_cut: bool,
    last: Vec<String>,
}

impl Output {
    pub(super) fn new(point: HookPoint, frontend: Option<Arc<dyn Frontend>>, secrets: &[Secret]) -> Self {
        // A value of several lines is said line by line.
        let lines = secrets.iter().flat_map(|secret| secret.reveal().lines());
        let mut hidden: Vec<Secret> = lines
            .map(str::trim)
            .filter(|line| line.len() >= SHORTEST_SECRET)
            .map(|line| Secret::new(line.to_owned()))
            .collect();
        // A secret that begins as another one ends with must not leave a part of the longer one.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        Self { point, frontend, hidden, heard: Mutex::default() }
    }

    /// Hears one stream to its end.
    pub(super) async fn hear(&self, mut from: impl AsyncRead + Unpin) {
        let mut piece = vec![0; PIECE];
        let mut line = Vec::new();
        loop {
            let length = match from.read(&mut piece).await {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => {
                    tracing::debug!(%error, "the output of a hook broke off");
                    break;
                }
            };
            for byte in &piece[..length] {
                match byte {
                    b'\n' => self.line(&std::mem::take(&mut line)),
                    byte if line.len() < LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    /// Returns the last lines, in one.
    pub(super) fn last_words(&self) -> String {
        self.heard().last.join("; ")
    }

    fn line(&self, bytes: &[u8]) {
        // What could steer a terminal does not even reach the log.
        let text = String::from_utf8_lossy(bytes).trim_end().replace('\t', "    ");
        let line = self.without_secrets(&text.replace(char::is_control, "\u{fffd}"));
        let mut heard = self.heard();
        if !line.is_empty() {
            heard.last.push(line.clone());
            if heard.last.len() > LAST {
                heard.last.remove(0);
            }
        }
        if heard.is_cut {
            return;
        }
        heard.bytes += line.len() + 1;
        heard.is_cut = heard.bytes > ALL;
        let said = if heard.is_cut {
            format!(
                "{}: … more than {} KiB were said; write it to a file with `COMMAND > hook.log 2>&1` to see the rest",
                self.point,
                ALL / 1024
            )
        } else {
            format!("{}: {line}", self.point).trim_end().to_owned()
        };
        drop(heard);
        tracing::info!("{said}");
        if let Some(frontend) = &self.frontend {
            frontend.tell(said);
        }
    }

    fn without_secrets(&self, line: &str) -> String {
        self.hidden.iter().fold(line.to_owned(), |line, secret| line.replace(secret.reveal(), "****"))
    }

    /// Nothing can panic while it is locked, so a poisoned one is still whole.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
