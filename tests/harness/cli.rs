//! The command line as a person sees it: arguments in; standard output, standard error and exit code out.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use expect_test::Expect;
use serde::de::DeserializeOwned;

use crate::binary;
use crate::host::Host;
use crate::work::Work;

/// How long one command may take in a debug build on a busy machine.
const RUN: Duration = Duration::from_mins(2);

/// What a finished command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; 128 + N when signal N ended it.
    pub code: i32,
}

impl Ran {
    /// Returns all of it as one text, the way a terminal would show it.
    pub fn text(&self) -> String {
        let mut text = format!("$ mltoolbox-sidecar {}\n{}{}", self.arguments.join(" "), self.stdout, self.stderr);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        format!("{text}[exit {}]\n", self.code)
    }

    /// Returns its standard output as the JSON that `--json` promises.
    ///
    /// # Panics
    /// When it failed or printed something else.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.code, 0, "{}", self.text());
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}", self.text()))
    }
}

/// Returns the command line of the sidecar in that place, without a terminal.
pub fn command<S: AsRef<OsStr>>(work: &Work, arguments: &[S]) -> Command {
    let mut command = work.command(binary::sidecar());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the sidecar to its end.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(work: &Work, arguments: &[S]) -> Ran {
    let mut command = command(work, arguments);
    finish(&mut command)
}

/// Runs any command to its end and returns what it left.
///
/// # Panics
/// When it does not end in time, or leaves a process behind that keeps its output open.
#[track_caller]
pub fn finish(command: &mut Command) -> Ran {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let stdout = collect(child.stdout.take().expect("a pipe"));
    let stderr = collect(child.stderr.take().expect("a pipe"));
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(RUN), stderr.recv_timeout(RUN)) else {
        child.kill().expect("our own child");
        let status = child.wait().expect("our own child");
        panic!("{command:?} ({status}) keeps its output open for more than {RUN:?}");
    };
    Ran { arguments, stdout, stderr, code: code(&mut child) }
}

fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (done, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing; the receiver may have given up.
        stream.read_to_end(&mut bytes).ok();
        done.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
    });
    text
}

fn code(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait().expect("our own child");
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Runs a command line, given as in a shell, and compares what it shows with a snapshot in which the
/// place's path is `$WORK`. `UPDATE_EXPECT=1` renews the snapshot.
#[track_caller]
pub fn check(work: &Work, line: &str, expected: &Expect) {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    expected.assert_eq(&work.redact(&run(work, &arguments).text()));
}

/// Adds the host as a remote of that name, trusting its key.
#[track_caller]
pub fn add_remote(work: &Work, name: &str, host: &Host, port: u16) {
    let (key, port, user) = (host.key().display().to_string(), port.to_string(), Host::user());
    let ran = run(
        work,
        &[
            "remote",
            "add",
            name,
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--user",
            &user,
            "--key",
            &key,
            "--accept-new",
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.text());
}
