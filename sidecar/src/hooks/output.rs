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
    /// Most bytes of a line that are kept: a secret that begins in what is passed on is kept to its end.
    kept: usize,
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
        let hidden: Vec<Secret> = lines
            .map(str::trim)
            .filter(|line| line.len() >= SHORTEST_SECRET)
            .map(|line| Secret::new(line.to_owned()))
            .collect();
        let kept = LINE + hidden.iter().map(|secret| secret.reveal().len()).max().unwrap_or_default();
        Self { point, frontend, hidden, kept, heard: Mutex::default() }
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
                    byte if line.len() < self.kept => line.push(*byte),
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
        // A value is looked for as it was said: cut or with other letters it would not be found.
        let bytes = self.without_secrets(bytes);
        // What could steer a terminal does not even reach the log.
        let text = String::from_utf8_lossy(&bytes).trim_end().replace('\t', "    ");
        let line = text.replace(char::is_control, "\u{fffd}");
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

    /// Returns the beginning of a line, with stars for each value, and for values that overlap.
    fn without_secrets(&self, line: &[u8]) -> Vec<u8> {
        let mut is_secret = vec![false; line.len()];
        for value in self.hidden.iter().map(|secret| secret.reveal().as_bytes()) {
            let mut hidden = 0;
            for (at, said) in line.windows(value.len()).enumerate() {
                if said == value {
                    // What an occurrence before has hidden is not hidden again.
                    is_secret[hidden.max(at)..at + value.len()].fill(true);
                    hidden = at + value.len();
                }
            }
        }
        let mut shown = Vec::new();
        let mut was_secret = false;
        for (byte, is_secret) in line.iter().zip(is_secret).take(LINE) {
            match (is_secret, was_secret) {
                (false, _) => shown.push(*byte),
                (true, false) => shown.extend(b"****"),
                (true, true) => {}
            }
            was_secret = is_secret;
        }
        shown
    }

    /// Nothing can panic while it is locked, so a poisoned one is still whole.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is passed on of what a hook said.
    async fn heard(said: &str, secrets: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|value| Secret::new((*value).to_owned())).collect();
        let output = Output::new(HookPoint::Sync, None, &secrets);
        output.hear(said.as_bytes()).await;
        output.last_words()
    }

    #[tokio::test]
    async fn a_long_secret_is_hidden_wherever_it_begins() {
        let secret = "0123456789abcdef".repeat(200);
        assert_eq!(heard(&format!("is {secret}!\n"), &[&secret]).await, "is ****");
        assert_eq!(heard(&format!("{secret}\nend"), &[&secret]).await, "****; end");
        for before in [LINE - 5, LINE - 1, LINE, LINE + 5] {
            let shown = heard(&format!("{}{secret}", "x".repeat(before)), &[&secret]).await;
            assert!(!shown.contains('0') && shown.starts_with(&"x".repeat(before.min(LINE))), "{before}: {shown}");
        }
    }

    #[tokio::test]
    async fn a_secret_with_tabs_and_control_letters_is_hidden() {
        assert_eq!(heard("a pass\tword b\n", &["pass\tword"]).await, "a **** b");
        assert_eq!(heard("a pass\u{1b}word b\n", &["pass\u{1b}word"]).await, "a **** b");
    }

    #[tokio::test]
    async fn secrets_that_overlap_are_hidden_whole() {
        assert_eq!(heard("<abcdefghi>", &["abcdef", "defghi"]).await, "<****>");
        assert_eq!(heard("<abababab>", &["ababab"]).await, "<****>");
        assert_eq!(heard("<one two>", &["one\ntwo", "one two"]).await, "<****>");
    }
}
