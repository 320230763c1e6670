//! The loop around the service: one reader, one task per request, one writer.
//!
//! Nothing that a command does can stop the reader: requests begin in the order of the wire and run in tasks
//! of their own, answers of the editor go straight to whoever waits for them, and the loop ends when either
//! stream does, whatever still runs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, Stream, StreamExt};
use protocol::error::{Code, Error, Example};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower_lsp::ExitedError;
use tower_lsp::jsonrpc::{ErrorCode, Request, Response};

use super::server::{self, REQUEST};
use super::{Setting, frames};
use crate::commands::{ParamsError, WIRE_PREFIX};

/// Requests that may run at a time: far more than an editor makes, few enough to bound memory.
const REQUESTS: usize = 512;
/// Messages that wait for a slow editor.
const MESSAGES: usize = 1024;
/// Notifications that wait for one that takes its time.
const NOTIFICATIONS: usize = 1024;
/// The last messages get this long to be written.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Bytes that are gathered before they are written or after they are read.
const BUFFER: usize = 64 << 10;

type Answering = futures_util::future::BoxFuture<'static, Result<Option<Response>, ExitedError>>;

/// Serves one editor until it says `exit` or either stream ends; returns the exit status.
pub async fn serve(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    setting: Setting,
) -> u8 {
    let (mut service, socket) = server::service(setting);
    let (to_editor, mut replies) = socket.split();
    let (outbox, outgoing) = mpsc::channel(MESSAGES);
    let silenced = CancellationToken::new();
    let mut writer = tokio::spawn({
        let silenced = silenced.clone();
        async move {
            if let Err(error) = write(output, to_editor, outgoing).await {
                tracing::info!(%error, "the editor reads no more");
            }
            silenced.cancel();
        }
    });
    let mut desk = Desk::new(outbox);
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut shut_down = false;
    let status = loop {
        let message = tokio::select! {
            message = frames::read(&mut input) => message,
            () = silenced.cancelled() => break 1,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => break 0,
            Err(error) => {
                tracing::warn!(%error, "the editor's messages cannot be followed any more");
                break 1;
            }
        };
        match sort(&message) {
            Incoming::Reply(reply) => {
                // Fails only after `exit`.
                if replies.send(reply).await.is_err() {
                    break 0;
                }
            }
            Incoming::Request(request) => {
                let exit = request.method() == "exit";
                shut_down |= request.method() == "shutdown";
                desk.take(&mut service, request);
                if exit {
                    break u8::from(!shut_down);
                }
            }
            Incoming::Refused(refusal) => desk.post(refusal),
        }
    };
    // Dropping the requests cancels their jobs; dropping the outbox lets the writer finish.
    drop(desk);
    drop(service);
    if tokio::time::timeout(LAST_WORDS, &mut writer).await.is_err() {
        writer.abort();
    }
    status
}

/// A message of the editor.
enum Incoming {
    Request(Request),
    Reply(Response),
    Refused(Value),
}

fn sort(message: &[u8]) -> Incoming {
    let mut message: Value = match serde_json::from_slice(message) {
        Ok(message) => message,
        Err(error) => return Incoming::Refused(refusal(&Value::Null, -32700, &format!("parse error: {error}"))),
    };
    let id = message["id"].clone();
    if let Some(method) = message["method"].as_str() {
        // Every parameter has a default, so a command may come without any.
        if method.starts_with(WIRE_PREFIX) && message["params"].is_null() {
            message["params"] = json!({});
        } else if message["params"].is_null()
            && let Some(members) = message.as_object_mut()
        {
            // JSON-RPC has no null parameters, but several editors send them with `shutdown` and `exit`.
            members.remove("params");
        }
        match serde_json::from_value(message) {
            Ok(request) => Incoming::Request(request),
            Err(error) => Incoming::Refused(refusal(&id, -32600, &format!("invalid request: {error}"))),
        }
    } else {
        match serde_json::from_value(message) {
            Ok(reply) => Incoming::Reply(reply),
            Err(error) => Incoming::Refused(refusal(&id, -32600, &format!("invalid request: {error}"))),
        }
    }
}

fn refusal(id: &Value, code: i64, message: &str) -> Value {
    let data = json!({ "code": Code::ParamsInvalid, "help": "Send messages as JSON-RPC 2.0 has them.", "causes": [] });
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": data } })
}

/// Where requests begin and notifications queue up.
struct Desk {
    outbox: mpsc::Sender<Value>,
    room: Arc<Semaphore>,
    running: JoinSet<()>,
    queue: mpsc::Sender<Answering>,
}

impl Desk {
    fn new(outbox: mpsc::Sender<Value>) -> Self {
        let (queue, mut notifications) = mpsc::channel::<Answering>(NOTIFICATIONS);
        let mut running = JoinSet::new();
        running.spawn(async move {
            while let Some(notification) = notifications.recv().await {
                if AssertUnwindSafe(notification).catch_unwind().await.is_err() {
                    tracing::error!("a notification's handler panicked");
                }
            }
        });
        Self { outbox, room: Arc::new(Semaphore::new(REQUESTS)), running, queue }
    }

    /// Begins a request, or puts a notification in its place in the queue. Never waits.
    fn take(&mut self, service: &mut server::Service, request: Request) {
        while self.running.try_join_next().is_some() {}
        let id = request.id().cloned();
        let urgent = request.method().starts_with("$/") || request.method() == "exit";
        let Some(id) = id else {
            let notification = service.call(request);
            if urgent {
                // Cancelling is done at its first poll; it must not queue behind anything.
                drop(AssertUnwindSafe(notification).catch_unwind().now_or_never());
            } else if self.queue.try_send(notification).is_err() {
                tracing::warn!("too many notifications wait; one is dropped");
            }
            return;
        };
        let id_json = json!(id);
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            self.post(answer_json(Response::from_error(id, server::rpc(too_many()))));
            return;
        };
        let job = id_json.as_str().map_or_else(|| id_json.to_string(), str::to_owned);
        let answering = REQUEST.sync_scope(job.clone(), || service.call(request));
        let mut answering = Box::pin(AssertUnwindSafe(REQUEST.scope(job, answering)).catch_unwind());
        // Polled once right here, so that commands begin in the order in which they were sent.
        let begun = (&mut answering).now_or_never();
        let outbox = self.outbox.clone();
        self.running.spawn(async move {
            let answer = match begun {
                Some(answer) => answer,
                None => answering.await,
            };
            let answer = match answer {
                Ok(Ok(Some(answer))) => answer_json(answer),
                Ok(Ok(None) | Err(_)) => return,
                Err(_) => answer_json(Response::from_error(id, tower_lsp::jsonrpc::Error::internal_error())),
            };
            drop(room);
            if outbox.send(answer).await.is_err() {
                tracing::debug!("the editor is gone; an answer is dropped");
            }
        });
    }

    fn post(&self, message: Value) {
        if self.outbox.try_send(message).is_err() {
            tracing::warn!("the editor does not read; a refusal is dropped");
        }
    }
}

fn too_many() -> Error {
    Error {
        code: Code::TooManyRequests,
        message: format!("{REQUESTS} requests run already"),
        help: "Wait for an answer or cancel a request, then send this one again.".to_owned(),
        causes: Vec::new(),
    }
}

/// Returns an answer as JSON; the service's own errors get the data that ours have.
fn answer_json(answer: Response) -> Value {
    let (id, body) = answer.into_parts();
    let body = body.map_err(|mut error| {
        let known = error.data.as_ref().is_some_and(|data| data["code"].is_string());
        if !known {
            let name = error.data.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            error.data = Some(server::data(&explained(&error, &name)));
        }
        error
    });
    json!(Response::from_parts(id, body))
}

fn explained(error: &tower_lsp::jsonrpc::Error, method: &str) -> Error {
    let plain = |code, help: &str| Error {
        code,
        // The library's words begin with a capital.
        message: error.message.to_lowercase(),
        help: help.to_owned(),
        causes: Vec::new(),
    };
    match error.code {
        ErrorCode::MethodNotFound => ParamsError::UnknownMethod { name: method.to_owned() }.into(),
        ErrorCode::RequestCancelled => plain(Code::Cancelled, "Send it again to go on; what was done so far is kept."),
        ErrorCode::InternalError => {
            let log = crate::log::path();
            plain(
                Code::Bug,
                &format!("Report this as a defect, with the last lines of `{}` as its evidence.", log.display()),
            )
        }
        _ => plain(Code::ParamsInvalid, "Send `initialize` first, and each request with an id of its own."),
    }
}

/// Returns each kind of error that only editors see once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let refused = |code, message: &'static str| {
        let error = tower_lsp::jsonrpc::Error { code, message: message.into(), data: None };
        Example::of(&error.code, explained(&error, "mltoolbox/remote/fly"))
    };
    vec![
        Example { kind: "too_many".to_owned(), error: too_many() },
        refused(ErrorCode::MethodNotFound, "Method not found"),
        refused(ErrorCode::RequestCancelled, "Canceled"),
        refused(ErrorCode::InternalError, "Internal error"),
        refused(ErrorCode::InvalidRequest, "Invalid request"),
    ]
}

/// Writes what is said to the editor until there is nobody left to say anything.
async fn write(
    output: impl AsyncWrite + Unpin,
    mut to_editor: impl Stream<Item = Request> + Unpin,
    mut outgoing: mpsc::Receiver<Value>,
) -> std::io::Result<()> {
    let mut output = BufWriter::with_capacity(BUFFER, output);
    loop {
        let (said, answer) = tokio::select! {
            said = to_editor.next() => (said, None),
            answer = outgoing.recv() => match answer {
                // What a command said before it answered must come before its answer.
                Some(answer) => (to_editor.next().now_or_never().flatten(), Some(answer)),
                None => break,
            },
        };
        let mut said = said;
        while let Some(message) = said {
            frames::write(&mut output, &serde_json::to_vec(&message)?).await?;
            said = to_editor.next().now_or_never().flatten();
        }
        match answer {
            Some(answer) => frames::write(&mut output, &serde_json::to_vec(&answer)?).await?,
            // The service is gone; only answers are left.
            None if outgoing.is_closed() && outgoing.is_empty() => break,
            None => {}
        }
        if outgoing.is_empty() {
            output.flush().await?;
        }
    }
    output.flush().await
}
