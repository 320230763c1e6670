//! An editor: speaks the language server protocol to the sidecar's standard input and output.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::binary;
use crate::work::Work;

/// How long any one message may take to come.
const MESSAGE: Duration = Duration::from_mins(1);
/// Largest message that is believed; a broken length must not eat the memory.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// A connected editor. Ends the sidecar when dropped.
#[derive(Debug)]
pub struct Editor {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    reader: Option<JoinHandle<()>>,
    waiting: VecDeque<Value>,
    next: i64,
}

impl Editor {
    /// Starts the language server in that place; nothing is said yet.
    pub fn start(work: &Work) -> Self {
        let mut command = work.command(binary::sidecar());
        command.arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the sidecar starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (send, messages) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            while let Some(message) = read_message(&mut output) {
                if send.send(message).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        let reader = Some(reader);
        Self { child, input, messages, reader, waiting: VecDeque::new(), next: 0 }
    }

    /// Starts the language server and initializes it with the place's workspace; returns what it announced.
    pub fn initialized(work: &Work) -> (Self, Value) {
        let mut editor = Self::start(work);
        let root = format!("file://{}", work.workspace().display());
        let folders = json!([{ "uri": root, "name": "workspace" }]);
        let parameters = json!({
            "processId": null, "rootUri": root, "workspaceFolders": folders,
            "capabilities": { "window": { "workDoneProgress": true, "showMessage": {} } },
        });
        let announced = editor.call("initialize", &parameters).expect("initialize succeeds");
        editor.notify("initialized", &json!({}));
        (editor, announced)
    }

    /// Sends a request and returns its id.
    pub fn request(&mut self, method: &str, params: &Value) -> i64 {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Sends a notification.
    pub fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Answers a request of the server.
    pub fn answer(&mut self, request: &Value, result: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }));
    }

    /// Sends a message as it is.
    pub fn send(&mut self, message: &Value) {
        let body = message.to_string();
        let input = self.input.as_mut().expect("the input was not closed");
        write!(input, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("the sidecar reads");
        input.flush().expect("the sidecar reads");
    }

    /// Sends bytes as they are, well-formed or not.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("the input was not closed");
        input.write_all(bytes).and_then(|()| input.flush()).expect("the sidecar reads");
    }

    /// Sends a request and waits for its result or its error.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let id = self.request(method, params);
        self.response(id)
    }

    /// Waits for the answer to a request; other messages are kept.
    pub fn response(&mut self, id: i64) -> Result<Value, Value> {
        let mut message = self.wait(&format!("the answer to request {id}"), |message| {
            message["id"] == id && message.get("method").is_none()
        });
        match message.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(message["result"].take()),
        }
    }

    /// Waits for a request or notification of the server by its method; other messages are kept.
    pub fn expect(&mut self, method: &str) -> Value {
        self.wait(method, |message| message["method"] == method)
    }

    /// Waits for the first message that fits; others are kept in order.
    ///
    /// # Panics
    /// When none comes in time or the server ends.
    pub fn wait(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.waiting.iter().position(&fits).and_then(|index| self.waiting.remove(index)) {
            return found;
        }
        let deadline = Instant::now() + MESSAGE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self
                .messages
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("waited for {what} ({error}); other messages were {:#?}", self.waiting));
            if fits(&message) {
                return message;
            }
            self.waiting.push_back(message);
        }
    }

    /// Closes the server's input and waits for its end.
    pub fn close(mut self) -> ExitStatus {
        self.input = None;
        self.ended()
    }

    /// Closes the server's output: nobody reads it any more.
    pub fn stop_reading(&mut self) {
        self.messages = mpsc::channel().1;
        // The thread that reads it ends with the next message, and the pipe with the thread.
        self.request("mltoolbox/none", &json!({}));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader does not panic");
        }
    }

    /// Waits for the end of the server, whose input stays open.
    pub fn ended(&mut self) -> ExitStatus {
        crate::process::wait_until("the language server to end", MESSAGE, || {
            self.child.try_wait().expect("our own child").is_some()
        });
        self.child.wait().expect("our own child")
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // Both fail only when the process is already gone.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads one message; `None` at the end of the stream.
fn read_message(input: &mut impl BufRead) -> Option<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok(),
            Some(_) => {}
            None => break,
        }
    }
    let length: usize = length.filter(|length| *length <= MAX_MESSAGE)?;
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
