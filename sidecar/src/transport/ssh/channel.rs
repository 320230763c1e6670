//! One command on one channel: opened, always drained, closed when nobody holds it any more.
//!
//! The task that reads a channel never sends on it: both directions pass the one loop of the connection, and
//! a reader that waits for it would stop it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use agent::wire::blocks::Blocks;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::queue::{self, Reader, Writer};
use super::{Connection, SlowReader, signal};
use crate::transport::{Control, Exit, Process, Pty, TransportError};

/// A session is opened and its command started within this, or the connection is as good as dead; a loaded
/// server needs a few seconds for the login shell, and keepalives notice a dead one later.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Input that waits for the connection, and what is handed on at a time: eight packets.
const STDIN_BUFFER: usize = 256 * 1024;
/// Extended data of this type is standard error (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// What a channel is opened for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request<'a> {
    /// A command for the login shell, with a terminal or without.
    Command(&'a str, Option<&'a Pty>),
    /// A named subsystem.
    Subsystem(&'a str),
}

/// Opens a channel and starts what is asked for on it.
pub(super) async fn start(connection: &Arc<Connection>, request: Request<'_>) -> Result<Process, TransportError> {
    timeout(START_TIMEOUT, begin(connection, request))
        .await
        .unwrap_or_else(|_| Err(connection.lost(Some("the server stopped answering"))))
}

async fn begin(connection: &Arc<Connection>, request: Request<'_>) -> Result<Process, TransportError> {
    let (running, mut replies) = open(connection).await?;
    let sent = match request {
        Request::Command(command, terminal) => {
            if let Some(terminal) = terminal {
                let (columns, rows) = (u32::from(terminal.size.columns), u32::from(terminal.size.rows));
                let sent = running.write.request_pty(true, &terminal.term, columns, rows, 0, 0, &[]).await;
                sent.map_err(|error| connection.failed(&error))?;
                if !answer(connection, &mut replies).await? {
                    return Err(connection.forbidden("to use a terminal"));
                }
            }
            running.write.exec(true, command).await
        }
        Request::Subsystem(name) => running.write.request_subsystem(true, name).await,
    };
    sent.map_err(|error| connection.failed(&error))?;
    if !answer(connection, &mut replies).await? {
        return Err(connection.forbidden(match request {
            Request::Command(..) => "to run commands",
            Request::Subsystem(_) => "to transfer files by SFTP",
        }));
    }
    Ok(running.into_process())
}

/// Waits for the server's answer to a request.
async fn answer(connection: &Connection, replies: &mut mpsc::Receiver<bool>) -> Result<bool, TransportError> {
    match replies.recv().await {
        Some(granted) => Ok(granted),
        None if connection.is_closed() => Err(connection.lost(None)),
        // The server closed the channel instead of answering, as forced commands and bastions do.
        None => Ok(false),
    }
}

/// A channel with its tasks; dropping it closes the channel.
struct Running {
    write: Arc<ChannelWriteHalf<Msg>>,
    life: Arc<DropGuard>,
    stdin: DuplexStream,
    stdout: Reader,
    stderr: Reader,
    control: mpsc::Sender<Control>,
    exit: oneshot::Receiver<Result<Exit, TransportError>>,
    connection: Arc<Connection>,
}

async fn open(connection: &Arc<Connection>) -> Result<(Running, mpsc::Receiver<bool>), TransportError> {
    let (tx, rx) = oneshot::channel();
    let opening = Arc::clone(connection);
    // In a task of its own, so that a channel whose opening nobody waits for any more is closed all the same.
    tokio::spawn(async move {
        let opened = match opening.handle.channel_open_session().await {
            Ok(channel) => Ok(attach(&opening, channel)),
            Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited)) => {
                Err(opening.forbidden("to open a session"))
            }
            Err(russh::Error::ChannelOpenFailure(_)) => Err(TransportError::Sessions { host: opening.host.clone() }),
            Err(error) => Err(opening.failed(&error)),
        };
        if tx.send(opened).is_err() {
            tracing::debug!("a channel was opened that nobody waits for any more");
        }
    });
    rx.await.unwrap_or_else(|_| Err(connection.lost(None)))
}

/// Gives a channel its tasks.
fn attach(connection: &Arc<Connection>, channel: Channel<Msg>) -> (Running, mpsc::Receiver<bool>) {
    let (read, write) = channel.split();
    let write = Arc::new(write);
    let abandoned = CancellationToken::new();
    let over = CancellationToken::new();
    let (stdin, input) = tokio::io::duplex(STDIN_BUFFER);
    let (stdout_writer, stdout) = queue::queue();
    let (stderr_writer, stderr) = queue::queue();
    let (control, controls) = mpsc::channel(8);
    let (exit_tx, exit) = oneshot::channel();
    // Two requests are ever made; a server that answers more often says nothing of interest.
    let (reply_tx, replies) = mpsc::channel(4);
    tokio::spawn(feed(Arc::clone(&write), input, over.clone()));
    tokio::spawn(steer(Arc::clone(&write), controls, abandoned.clone(), over.clone()));
    let drain = Drain {
        read,
        stdout: stdout_writer,
        stderr: stderr_writer,
        replies: Some(reply_tx),
        connection: Arc::clone(connection),
        abandoned: abandoned.clone(),
    };
    tokio::spawn(async move {
        let _over = over.drop_guard();
        let ended = drain.run().await;
        if exit_tx.send(ended).is_err() {
            tracing::trace!("nobody waits for the end of this command");
        }
    });
    let life = Arc::new(abandoned.drop_guard());
    let connection = Arc::clone(connection);
    (Running { write, life, stdin, stdout, stderr, control, exit, connection }, replies)
}

impl Running {
    fn into_process(self) -> Process {
        let Self { write: _, life, stdin, stdout, stderr, control, exit, connection } = self;
        let held = Arc::clone(&life);
        Process {
            stdin: Box::new(Held { inner: stdin, _life: Arc::clone(&life) }),
            stdout: Box::new(Held { inner: stdout, _life: Arc::clone(&life) }),
            stderr: Box::new(Held { inner: stderr, _life: life }),
            control,
            exit: Box::pin(async move {
                let _held = held;
                exit.await.unwrap_or_else(|_| Err(connection.lost(None)))
            }),
        }
    }
}

/// Reads a channel until it is gone, whatever becomes of its readers.
struct Drain {
    read: ChannelReadHalf,
    stdout: Writer,
    stderr: Writer,
    replies: Option<mpsc::Sender<bool>>,
    connection: Arc<Connection>,
    abandoned: CancellationToken,
}

impl Drain {
    async fn run(mut self) -> Result<Exit, TransportError> {
        let mut exit = None;
        let mut overflow = false;
        loop {
            let message = tokio::select! {
                message = self.read.wait() => message,
                // The library forgets a channel that we close and never tells its end.
                () = self.abandoned.cancelled() => None,
            };
            let Some(message) = message else { break };
            match message {
                ChannelMsg::Data { data } => overflow |= self.keep(&self.stdout, data).await,
                ChannelMsg::ExtendedData { data, ext: STDERR } => overflow |= self.keep(&self.stderr, data).await,
                ChannelMsg::ExitStatus { exit_status } => exit = Some(Exit::Status(exit_status.cast_signed())),
                ChannelMsg::ExitSignal { signal_name, .. } => exit = Some(Exit::Signal(signal::name(&signal_name))),
                ChannelMsg::Success => self.reply(true),
                ChannelMsg::Failure => self.reply(false),
                ChannelMsg::Eof => {
                    self.stdout.end(None);
                    self.stderr.end(None);
                }
                ChannelMsg::Close => self.replies = None,
                // Requests of servers that mean nothing on a channel of ours (the enum is open in its crate).
                _ => {}
            }
        }
        let result = match exit {
            _ if overflow => Err(TransportError::SlowReader {
                host: self.connection.host.clone(),
                mebibytes: SlowReader::CAP / (1024 * 1024),
            }),
            Some(exit) => Ok(exit),
            None if self.connection.is_closed() => Err(self.connection.lost(None)),
            None => Err(TransportError::NoStatus { host: self.connection.host.clone() }),
        };
        let failure = match &result {
            Err(error @ (TransportError::SlowReader { .. } | TransportError::Lost { .. })) => Some(error.to_string()),
            Ok(_) | Err(_) => None,
        };
        self.stdout.end(failure.clone());
        self.stderr.end(failure);
        result
    }

    /// Keeps output for its reader and returns whether that reader is too slow.
    async fn keep(&self, writer: &Writer, data: bytes::Bytes) -> bool {
        let waiting = writer.push(data);
        match self.connection.slow_reader {
            SlowReader::EndCommand => {
                let over = waiting > SlowReader::CAP;
                if over {
                    self.stdout.end(Some("the output was not read in time".to_owned()));
                    self.stderr.end(None);
                    self.abandoned.cancel();
                }
                over
            }
            SlowReader::StopReading => {
                if waiting > SlowReader::WINDOW {
                    tokio::select! {
                        () = writer.below(SlowReader::WINDOW / 2) => {}
                        () = self.abandoned.cancelled() => {}
                    }
                }
                false
            }
        }
    }

    fn reply(&mut self, granted: bool) {
        if let Some(replies) = &self.replies
            && replies.try_send(granted).is_err()
        {
            self.replies = None;
        }
    }
}

/// Sends what is written to standard input, then its end.
async fn feed(write: Arc<ChannelWriteHalf<Msg>>, mut input: DuplexStream, over: CancellationToken) {
    let feeding = async {
        let blocks = Blocks::new(STDIN_BUFFER);
        loop {
            let mut chunk = blocks.take(STDIN_BUFFER);
            // The other half is in this process, and reading from it cannot fail.
            if !matches!(input.read_buf(&mut chunk.bytes).await, Ok(1..)) {
                return write.eof().await;
            }
            write.data_bytes(chunk.freeze()).await?;
        }
    };
    if let Some(Err(error)) = over.run_until_cancelled(feeding).await {
        tracing::debug!(%error, "the rest of the input was not sent");
    }
}

/// Sends what is said beside the input, and closes the channel when nobody holds the process any more.
async fn steer(
    write: Arc<ChannelWriteHalf<Msg>>,
    mut controls: mpsc::Receiver<Control>,
    abandoned: CancellationToken,
    over: CancellationToken,
) {
    let mut open = true;
    loop {
        let sent = tokio::select! {
            biased;
            () = abandoned.cancelled() => {
                if let Err(error) = write.close().await {
                    tracing::trace!(%error, "the connection is gone, and the channel with it");
                }
                return;
            }
            () = over.cancelled() => return,
            control = controls.recv(), if open => match control {
                Some(Control::Resize(size)) => {
                    write.window_change(u32::from(size.columns), u32::from(size.rows), 0, 0).await
                }
                Some(Control::Signal(name)) => write.signal(signal::by_name(&name)).await,
                None => {
                    open = false;
                    Ok(())
                }
            }
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a control message was not sent");
        }
    }
}

/// A part of a process; the channel lives as long as one of them.
struct Held<T> {
    inner: T,
    _life: Arc<DropGuard>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
