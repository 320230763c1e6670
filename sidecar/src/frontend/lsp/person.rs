//! The person behind an editor: shown by `$/progress`, told by log messages, asked by message requests.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::{OutputNotice, OutputParams, OutputStream};
use protocol::method::Notice;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_lsp::Client;
use tower_lsp::lsp_types::notification::{self, Notification};
use tower_lsp::lsp_types::{
    MessageActionItem, MessageType, NumberOrString, ProgressParams, ProgressParamsValue, WorkDoneProgress,
    WorkDoneProgressBegin, WorkDoneProgressEnd, WorkDoneProgressReport,
};

use crate::commands::show::text::bytes as bytes_text;
use crate::frontend::{Answer, Frontend, Progress, Question, Terminal, base64};

/// Bytes of output in one message: small enough that nothing else waits long behind it.
const CHUNK: usize = 64 << 10;
/// Lines that wait for a slow editor.
const LINES: usize = 64;
/// Progress is shown at most so often; an editor draws no faster.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// What is still to be shown gets this long before the answer goes out.
const FINISH: Duration = Duration::from_millis(500);

/// One command's person.
#[derive(Debug)]
pub(super) struct Person {
    client: Client,
    job: String,
    progress: watch::Sender<Option<Progress>>,
    lines: mpsc::Sender<String>,
}

/// What shows a command's progress; when it is dropped, the progress ends.
#[derive(Debug)]
pub(super) struct Showing {
    pump: JoinHandle<()>,
    ends: DropGuard,
}

impl Showing {
    /// Shows what is left and ends the progress.
    pub(super) async fn finish(self) {
        drop(self.ends);
        if tokio::time::timeout(FINISH, self.pump).await.is_err() {
            tracing::debug!("the editor is slow; its progress ends later");
        }
    }
}

impl Person {
    pub(super) fn new(client: Client, job: String, title: &str, token: Option<NumberOrString>) -> (Self, Showing) {
        let (progress, newest) = watch::channel(None);
        let (lines, told) = mpsc::channel(LINES);
        let ended = CancellationToken::new();
        let pump = tokio::spawn(pump(client.clone(), title.to_owned(), token, newest, told, ended.clone()));
        (Self { client, job, progress, lines }, Showing { pump, ends: ended.drop_guard() })
    }
}

/// Passes progress and lines on until the command has ended.
async fn pump(
    client: Client,
    title: String,
    token: Option<NumberOrString>,
    mut newest: watch::Receiver<Option<Progress>>,
    mut told: mpsc::Receiver<String>,
    ended: CancellationToken,
) {
    let show = async |value| {
        if let Some(token) = &token {
            let params = ProgressParams { token: token.clone(), value: ProgressParamsValue::WorkDone(value) };
            client.send_notification::<notification::Progress>(params).await;
        }
    };
    let begin = WorkDoneProgressBegin { title, cancellable: Some(true), ..WorkDoneProgressBegin::default() };
    show(WorkDoneProgress::Begin(begin)).await;
    let mut pause = tokio::time::interval(SHOW_EVERY);
    loop {
        tokio::select! {
            biased;
            Some(line) = told.recv() => client.log_message(MessageType::INFO, line).await,
            () = ended.cancelled() => break,
            Ok(()) = newest.changed() => {
                let progress = newest.borrow_and_update().clone();
                if let Some(progress) = progress {
                    show(WorkDoneProgress::Report(report(&progress))).await;
                }
                tokio::select! {
                    _ = pause.tick() => {}
                    () = ended.cancelled() => {}
                }
            }
        }
    }
    show(WorkDoneProgress::End(WorkDoneProgressEnd::default())).await;
}

fn report(progress: &Progress) -> WorkDoneProgressReport {
    let mut words = vec![progress.title.clone()];
    words.extend(progress.detail.clone());
    words.extend((progress.files > 0).then(|| format!("{} files", progress.files)));
    words.extend((progress.bytes > 0).then(|| bytes_text(progress.bytes)));
    let percentage = progress
        .total_bytes
        .filter(|total| *total > 0)
        .and_then(|total| u32::try_from(u128::from(progress.bytes.min(total)) * 100 / u128::from(total)).ok());
    WorkDoneProgressReport { cancellable: Some(true), message: Some(words.join(", ")), percentage }
}

/// [`OutputNotice`] as `tower-lsp` knows notifications.
enum Output {}

impl Notification for Output {
    type Params = OutputParams;
    const METHOD: &'static str = OutputNotice::NAME;
}

#[async_trait]
impl Frontend for Person {
    fn report(&self, progress: Progress) {
        self.progress.send_replace(Some(progress));
    }

    fn tell(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            tracing::debug!("the editor is slow; it misses a line");
        }
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        for chunk in bytes.chunks(CHUNK) {
            let text = std::str::from_utf8(chunk).ok().map(str::to_owned);
            let base64 = if text.is_none() { Some(base64::encode(chunk)) } else { None };
            let params = OutputParams { job: self.job.clone(), stream, text, base64 };
            self.client.send_notification::<Output>(params).await;
        }
    }

    async fn ask(&self, question: &Question) -> Option<Answer> {
        match question {
            // A message request has no field that hides what is typed.
            Question::Passphrase { .. }
            | Question::Password { .. }
            | Question::Prompt { .. }
            | Question::SecretsFile { .. }
            | Question::SecretValue { .. } => None,
            Question::HostKey { .. }
            | Question::InstallAgent { .. }
            | Question::UnsafeWorkspace { .. }
            | Question::LargePush { .. }
            | Question::TakeOver { .. }
            | Question::Trust { .. }
            | Question::Confirm { .. } => {
                let (client, text) = (self.client.clone(), question.text());
                let is_kept = matches!(question, Question::Trust { .. });
                let choices =
                    ["Yes", "No"].map(|title| MessageActionItem { title: title.to_owned(), properties: [].into() });
                // A task of its own: an answer that comes after the command was cancelled must still find a taker.
                let asking = tokio::spawn(async move {
                    client.show_message_request(MessageType::WARNING, text, Some(choices.into())).await
                });
                match asking.await {
                    Ok(Ok(Some(choice))) if choice.title == "Yes" => Some(Answer::Yes),
                    // What was closed or timed out is no answer where the answer is kept for good.
                    Ok(Ok(None)) if is_kept => None,
                    Ok(Ok(_)) => Some(Answer::No),
                    Ok(Err(error)) => {
                        tracing::info!(%error, "the editor cannot ask");
                        None
                    }
                    Err(error) => {
                        tracing::info!(%error, "the editor left before it answered");
                        None
                    }
                }
            }
        }
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}
