//! One command of the embedded server: a shell of its own process group, wired to its channel.
//!
//! Its output waits for the channel's window, its input for the command; what piles up is bounded.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use bytes::BytesMut;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::transport::ssh::{queue, signal};

/// What is read from a command at once.
const CHUNK: usize = 64 * 1024;
/// Input that waits for its command before the connection waits: more than anything echoes unread.
const INPUT_CAP: usize = 64 * 1024 * 1024;
/// Where commands find programs, as a login finds them.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts `/bin/sh -c command` in `home`, with little more than `home` in its environment.
pub(super) fn spawn(home: &Path, command: &[u8]) -> io::Result<Child> {
    let user = home.file_name().unwrap_or(home.as_os_str());
    Command::new("/bin/sh")
        .arg("-c")
        .arg(std::ffi::OsStr::from_bytes(command))
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("USER", user)
        .env("LOGNAME", user)
        .env("SHELL", "/bin/sh")
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Serves a command until it has ended and all it wrote is sent, or the client no longer wants it.
pub(super) async fn run(
    mut child: Child,
    channel: Channel<Msg>,
    handle: Handle,
    mut signals: mpsc::Receiver<Sig>,
    gone: CancellationToken,
) {
    let id = channel.id();
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (read, write) = channel.split();
    let write = Arc::new(write);
    // Cancelled when the client closes the channel or is gone.
    let closed = gone.child_token();
    let (input, given) = queue::queue();
    let taking = tokio::spawn(take_input(read, input, closed.clone()));
    let giving = tokio::spawn(give_input(given, child.stdin.take()));
    let stdout = send_output(child.stdout.take(), Arc::clone(&write), None);
    let stderr = send_output(child.stderr.take(), Arc::clone(&write), Some(1));
    let output = async { tokio::join!(stdout, stderr) };
    tokio::pin!(output);
    let mut drained = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            _ = &mut output, if !drained => drained = true,
            Some(signal) = signals.recv() => kill(group, by_name(&signal)),
            () = closed.cancelled() => {
                kill(group, Some(Signal::KILL));
                break child.wait().await.ok();
            }
        }
    };
    if !drained {
        // What a command left behind in the background may still write; a closed channel ends it.
        tokio::select! {
            _ = &mut output => {}
            () = closed.cancelled() => kill(group, Some(Signal::KILL)),
        }
    }
    if !closed.is_cancelled() {
        tell_end(&handle, &write, id, status).await;
    }
    taking.abort();
    giving.abort();
}

async fn tell_end(handle: &Handle, write: &ChannelWriteHalf<Msg>, id: russh::ChannelId, status: Option<ExitStatus>) {
    let signal = status.and_then(|status| status.signal());
    let told = match (status.and_then(|status| status.code()), signal) {
        (Some(code), _) => write.exit_status(code.cast_unsigned()).await.is_ok(),
        (None, Some(signal)) => {
            let name = name(signal);
            handle.exit_signal_request(id, name, false, String::new(), String::new()).await.is_ok()
        }
        (None, None) => true,
    };
    if !told || write.eof().await.is_err() || write.close().await.is_err() {
        tracing::debug!("the client left before it heard how its command ended");
    }
}

/// Takes what the client sends. The queue keeps the connection's one loop going while the command waits for
/// its own output to be read; only when it is full does the connection wait.
async fn take_input(mut read: ChannelReadHalf, input: queue::Writer, closed: CancellationToken) {
    let _closed = closed.clone().drop_guard();
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                input.push(data);
                tokio::select! {
                    () = input.below(INPUT_CAP) => {}
                    () = closed.cancelled() => return,
                }
            }
            ChannelMsg::Eof => input.end(None),
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Gives a command its input. One that closes it early is no error; what still comes is for nobody.
async fn give_input(mut from: queue::Reader, to: Option<ChildStdin>) {
    if let Some(mut to) = to
        && let Err(error) = tokio::io::copy(&mut from, &mut to).await
    {
        tracing::trace!(%error, "the command reads no more");
    }
}

async fn send_output(from: Option<impl AsyncRead + Unpin>, to: Arc<ChannelWriteHalf<Msg>>, kind: Option<u32>) {
    let Some(mut from) = from else { return };
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        if !matches!(from.read_buf(&mut chunk).await, Ok(1..)) {
            return;
        }
        let sent = match kind {
            None => to.data_bytes(chunk.freeze()).await,
            Some(kind) => to.extended_data_bytes(kind, chunk.freeze()).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn kill(group: Option<Pid>, signal: Option<Signal>) {
    if let (Some(group), Some(signal)) = (group, signal)
        && let Err(error) = kill_process_group(group, signal)
    {
        tracing::trace!(%error, "the command has ended already");
    }
}

const SIGNALS: [(&str, Signal); 12] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
];

/// Returns the system's signal of a name; only those of RFC 4254.
fn by_name(sig: &Sig) -> Option<Signal> {
    let asked = signal::name(sig);
    SIGNALS.iter().find(|(name, _)| *name == asked).map(|(_, signal)| *signal)
}

/// Returns the name of a signal that ended a command.
fn name(number: i32) -> Sig {
    let known = SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| Sig::Custom(number.to_string()), |(name, _)| signal::by_name(name))
}
