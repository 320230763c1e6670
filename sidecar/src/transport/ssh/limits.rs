//! What a server forbids, found out on purpose before something needs it: each probe asks for the thing itself.
//!
//! Nothing is changed there; sockets that are connected to for a moment are those of system services and our own.

use std::sync::Arc;
use std::time::Duration;

use russh::{Channel, ChannelOpenFailure, client};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::Connection;
use super::channel::{self, Request};
use super::connect::printable;
use super::upload;
use crate::frontend::TerminalSize;
use crate::transport::{Exit, Limit, Process, Pty, TransportError};

/// A login shell with slow start-up files needs some seconds; a program that waits for a person never ends.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is kept of a program's output.
const MAX_OUTPUT: u64 = 64 * 1024;
/// What a shell says again, of whatever kind it is.
const MARK: &str = "@mltoolbox-probe";
/// No service listens here (`tcpmux`): a refused connection is a forwarding that is allowed.
const CLOSED_PORT: u32 = 1;

/// Returns what the server forbids. One that opens no further session is asked no further.
pub(super) async fn find(connection: &Arc<Connection>) -> Result<Vec<Limit>, TransportError> {
    let mut limits = Vec::new();
    match probe(connection, &mut limits).await {
        Ok(()) | Err(TransportError::Sessions { .. }) => Ok(limits),
        Err(error) => Err(error),
    }
}

async fn probe(connection: &Arc<Connection>, limits: &mut Vec<Limit>) -> Result<(), TransportError> {
    let command = format!("echo {MARK}");
    // The one is no session, of which a server may allow one at a time only.
    let (passes, echoed) = tokio::join!(passes_on_ports(connection), run(connection, &command));
    if !passes? {
        limits.push(Limit::NoForwarding);
    }
    let no_commands = match echoed {
        Ok(Ok(said)) if said.out.contains(MARK) => None,
        Ok(Ok(said)) => Some((said.reason(), upload::has_sftp(connection).await?)),
        Ok(Err(reason)) => Some((reason, upload::has_sftp(connection).await?)),
        Err(TransportError::Sessions { .. }) => Some(("it opens no session".to_owned(), false)),
        Err(error) => return Err(error),
    };
    if let Some((reason, sftp)) = no_commands {
        limits.insert(0, Limit::NoCommands { user: connection.user.clone(), reason, sftp });
        return Ok(());
    }
    if !passes_on_sockets(connection).await? {
        limits.push(Limit::NoSockets);
    }
    if !gives_terminals(connection).await? {
        limits.push(Limit::NoTerminal);
    }
    if !upload::has_sftp(connection).await? {
        limits.push(Limit::NoSftp);
    }
    Ok(())
}

/// What a program said.
struct Said {
    out: String,
    err: String,
    exit: Option<Exit>,
}

impl Said {
    /// Returns what happened instead of the command.
    fn reason(&self) -> String {
        let mut lines = self.out.lines().chain(self.err.lines()).map(printable).map(|line| line.trim().to_owned());
        match lines.rfind(|line| !line.is_empty()) {
            Some(line) => format!("it said `{line}`"),
            None => match &self.exit {
                Some(Exit::Status(status)) => format!("another program took its place, with status {status}"),
                Some(Exit::Signal(signal)) => format!("another program took its place, ended by SIG{signal}"),
                None => "another program took its place".to_owned(),
            },
        }
    }
}

/// Runs a command to its end, or says why there is none.
async fn run(connection: &Arc<Connection>, command: &str) -> Result<Result<Said, String>, TransportError> {
    let Process { stdin, stdout, stderr, control: _control, exit } =
        match channel::start(connection, Request::Command(command, None)).await {
            Ok(process) => process,
            Err(TransportError::Forbidden { .. }) => return Ok(Err("it refuses to start them".to_owned())),
            Err(error) => return Err(error),
        };
    drop(stdin);
    let all = async {
        let (out, err) = tokio::join!(collect(stdout), collect(stderr));
        Said { out, err, exit: exit.await.ok() }
    };
    match timeout(PROBE_TIMEOUT, all).await {
        Ok(_) if connection.is_closed() => Err(connection.lost(None)),
        Ok(said) => Ok(Ok(said)),
        Err(_) => Ok(Err("another program took its place, which does not end".to_owned())),
    }
}

async fn collect(from: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // A program that says more is not the one that was asked for, and is ended with its channel.
    if let Err(error) = from.take(MAX_OUTPUT).read_to_end(&mut bytes).await {
        tracing::debug!(%error, "the output of a probe broke off");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn gives_terminals(connection: &Arc<Connection>) -> Result<bool, TransportError> {
    let terminal = Pty { term: "dumb".to_owned(), size: TerminalSize { columns: 80, rows: 24 } };
    match channel::start(connection, Request::Command("exit", Some(&terminal))).await {
        Ok(_) => Ok(true),
        Err(TransportError::Forbidden { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn passes_on_ports(connection: &Arc<Connection>) -> Result<bool, TransportError> {
    let opening = connection.handle.channel_open_direct_tcpip("127.0.0.1", CLOSED_PORT, "127.0.0.1", 65535);
    let refused = opened(connection, timeout(PROBE_TIMEOUT, opening).await).await?;
    Ok(matches!(refused, None | Some(ChannelOpenFailure::ConnectFailed | ChannelOpenFailure::ResourceShortage)))
}

/// Returns whether sockets can be connected to, which only shows with one that somebody listens on: OpenSSH gives
/// the same answer for what it forbids and for what is not there. Without one it counts as allowed.
async fn passes_on_sockets(connection: &Arc<Connection>) -> Result<bool, TransportError> {
    let Some(socket) = listening(connection).await? else { return Ok(true) };
    let opening = connection.handle.channel_open_direct_streamlocal(&socket);
    if opened(connection, timeout(PROBE_TIMEOUT, opening).await).await?.is_none() {
        return Ok(true);
    }
    // One whose program has just ended proves nothing.
    Ok(listening(connection).await?.is_none_or(|again| again != socket))
}

/// Returns a socket that a service of the system or our agent listens on there and that this user may write to.
async fn listening(connection: &Arc<Connection>) -> Result<Option<String>, TransportError> {
    let script = "while read -r n r p flags type s i path; do case \"$flags $type $path\" in \
        \"00010000 0001 \"*/docker.sock|\"00010000 0001 \"*/podman.sock|\"00010000 0001 \"*/system_bus_socket|\
        \"00010000 0001 \"*/journal/stdout|\"00010000 0001 \"*/.mltoolbox/*) \
        if [ -S \"$path\" ] && [ -w \"$path\" ]; then echo \"$path\"; exit; fi;; esac; done < /proc/net/unix";
    let Ok(said) = run(connection, &format!("sh -c 'printf \"{MARK} \"; {script}' 2>/dev/null")).await? else {
        return Ok(None);
    };
    let path = said.out.lines().find_map(|line| line.split_once(MARK)).map(|(_, path)| path.trim().to_owned());
    Ok(path.filter(|path| path.starts_with('/')))
}

/// Closes a channel that was opened to see whether it can be, or returns why it cannot.
async fn opened(
    connection: &Connection,
    opened: Result<Result<Channel<client::Msg>, russh::Error>, tokio::time::error::Elapsed>,
) -> Result<Option<ChannelOpenFailure>, TransportError> {
    match opened {
        Ok(Ok(channel)) => {
            if let Err(error) = channel.close().await {
                tracing::debug!(%error, "the channel of a probe is gone");
            }
            Ok(None)
        }
        Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Ok(Some(failure)),
        Ok(Err(error)) => Err(connection.failed(&error)),
        // A server that waits for a connection allows it.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_instead_is_told() {
        let said = |out: &str, err: &str, exit| Said { out: out.into(), err: err.into(), exit }.reason();
        assert_eq!(
            said("", "Welcome\nThis account is not available.\n\n", None),
            "it said `This account is not available.`"
        );
        assert_eq!(said("only\x1b[2J sftp\n", "", Some(Exit::Status(1))), "it said `only[2J sftp`");
        assert_eq!(said("", "", Some(Exit::Status(0))), "another program took its place, with status 0");
        assert_eq!(said("", "", Some(Exit::Signal("HUP".into()))), "another program took its place, ended by SIGHUP");
    }
}
