//! The front end of a command that runs in an owner: everything goes to the client and comes back from there.

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;
use tokio::sync::{Mutex, mpsc};

use super::words::{FromOwner, Said};
use crate::frontend::{Answer, Frontend, Progress, Question, Terminal, base64};

/// Bytes of output in one line.
const CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Relay {
    to_client: mpsc::Sender<FromOwner>,
    /// One question at a time; the next answer that comes is its answer.
    answers: Mutex<mpsc::Receiver<Option<Said>>>,
}

impl Relay {
    pub(super) fn new(to_client: mpsc::Sender<FromOwner>, answers: mpsc::Receiver<Option<Said>>) -> Self {
        Self { to_client, answers: Mutex::new(answers) }
    }

    fn try_send(&self, words: FromOwner) {
        if self.to_client.try_send(words).is_err() {
            tracing::debug!("the client is slow or gone; it misses a line");
        }
    }
}

#[async_trait]
impl Frontend for Relay {
    fn report(&self, progress: Progress) {
        self.try_send(FromOwner::Progress(progress));
    }

    fn tell(&self, line: String) {
        self.try_send(FromOwner::Tell(line));
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        for chunk in bytes.chunks(CHUNK) {
            let words = FromOwner::Output(stream, base64::encode(chunk));
            if self.to_client.send(words).await.is_err() {
                tracing::debug!("the client is gone; its output is dropped");
                return;
            }
        }
    }

    async fn ask(&self, question: &Question) -> Option<Answer> {
        let mut answers = self.answers.lock().await;
        self.to_client.send(FromOwner::Ask(question.clone())).await.ok()?;
        answers.recv().await.flatten().map(Answer::from)
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}
