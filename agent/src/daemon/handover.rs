//! Descriptors that a caller hands to the daemon, so that a sidecar's bytes reach it without a process in between
//! that copies each of them.
//!
//! A caller that has nothing to hand over speaks at once on the socket itself, as `mlt health` and the agents of
//! other builds do: what it says first is [`protocol::hello::MAGIC`], which does not begin with [`MARK`].

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::FileType;
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType, getsockname, recv, recvmsg, sendmsg, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// The byte that descriptors come with.
const MARK: u8 = 1;

/// Capacity of a widened pipe, in bytes: what Linux gives to everybody (`fs.pipe-max-size`).
#[cfg(target_os = "linux")]
const PIPE: usize = 1024 * 1024;

/// Input and output.
const DESCRIPTORS: usize = 2;

/// Hands input and output to the daemon; returns false, and hands over nothing, when they are of a kind that the
/// daemon cannot wait for. Whoever handed them over keeps `daemon` and waits for its end.
pub fn give(daemon: &BlockingStream, input: impl AsFd, output: impl AsFd) -> io::Result<bool> {
    let descriptors = [input.as_fd(), output.as_fd()];
    for descriptor in descriptors {
        if kind(descriptor)?.is_none() {
            return Ok(false);
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let sent = rustix::io::retry_on_intr(|| sendmsg(daemon, &[IoSlice::new(&[MARK])], &mut with, SendFlags::empty()));
    match sent? {
        1 => Ok(true),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// What can be waited for.
enum Waited {
    Socket,
    Pipe,
}

fn kind(descriptor: BorrowedFd<'_>) -> io::Result<Option<Waited>> {
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode) {
        FileType::Fifo => Some(Waited::Pipe),
        FileType::Socket => {
            let is_local = getsockname(descriptor)?.address_family() == AddressFamily::UNIX
                && sockopt::socket_type(descriptor)? == SocketType::STREAM;
            is_local.then_some(Waited::Socket)
        }
        _ => None,
    })
}

/// Who called: on the socket itself, or by descriptors that came over it.
pub struct Caller {
    socket: UnixStream,
    given: Option<Given>,
}

struct Given {
    input: Box<dyn AsyncRead + Send + Unpin>,
    output: Box<dyn AsyncWrite + Send + Unpin>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Caller").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Caller {
    /// Waits for the first word, which tells how the caller speaks.
    pub async fn take(socket: UnixStream) -> io::Result<Self> {
        let mut first = [0];
        let peeked =
            socket.async_io(Interest::READABLE, || Ok(recv(&socket, first.as_mut_slice(), RecvFlags::PEEK)?.0)).await?;
        let given = if (peeked, first) == (1, [MARK]) {
            let [input, output] = socket.async_io(Interest::READABLE, || receive(&socket)).await?;
            Some(Given { input: reader(input)?, output: writer(output)? })
        } else {
            None
        };
        Ok(Self { socket, given })
    }
}

fn receive(socket: &UnixStream) -> io::Result<[OwnedFd; DESCRIPTORS]> {
    let mut first = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut first)], &mut with, RecvFlags::empty())?;
    let descriptors = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
    // Not every system has a flag for it; nothing is started here meanwhile.
    for descriptor in &descriptors {
        rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    }
    // Fewer arrive when there is no room for more.
    descriptors.try_into().map_err(|_| io::Error::from(rustix::io::Errno::MFILE))
}

fn reader(input: OwnedFd) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    Ok(match kind(input.as_fd())? {
        Some(Waited::Pipe) => {
            widen(&input);
            Box::new(pipe::Receiver::from_file(File::from(input))?)
        }
        Some(Waited::Socket) => Box::new(stream(input)?),
        None => return Err(io::ErrorKind::InvalidInput.into()),
    })
}

/// Lets more be on the way in a pipe than the 64 KiB that it is made with: the SSH server and this process then take
/// fewer turns.
#[cfg(target_os = "linux")]
fn widen(pipe: &OwnedFd) {
    // Refused to users who have many of them; it works without.
    rustix::pipe::fcntl_setpipe_size(pipe, PIPE).ok();
}

/// Leaves a pipe as it is, since only Linux lets it be widened.
#[cfg(not(target_os = "linux"))]
fn widen(_: &OwnedFd) {}

fn writer(output: OwnedFd) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    Ok(match kind(output.as_fd())? {
        Some(Waited::Pipe) => Box::new(pipe::Sender::from_file(File::from(output))?),
        Some(Waited::Socket) => Box::new(stream(output)?),
        None => return Err(io::ErrorKind::InvalidInput.into()),
    })
}

fn stream(descriptor: OwnedFd) -> io::Result<UnixStream> {
    let stream = BlockingStream::from(descriptor);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

impl AsyncRead for Caller {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, given } = self.get_mut();
        let Some(given) = given else { return Pin::new(socket).poll_read(context, buffer) };
        // Whoever handed over says nothing more. When it is gone, so is the sidecar, though the descriptors stay.
        if Pin::new(socket).poll_read(context, &mut ReadBuf::new(&mut [0])).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut given.input).poll_read(context, buffer)
    }
}

impl AsyncWrite for Caller {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, given } = self.get_mut();
        match given {
            Some(given) => Pin::new(&mut given.output).poll_write(context, bytes),
            None => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, given } = self.get_mut();
        match given {
            Some(given) => Pin::new(&mut given.output).poll_flush(context),
            None => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, given } = self.get_mut();
        match given {
            Some(given) => Pin::new(&mut given.output).poll_shutdown(context),
            None => Pin::new(socket).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn taken(socket: BlockingStream) -> io::Result<Caller> {
        socket.set_nonblocking(true)?;
        Caller::take(UnixStream::from_std(socket)?).await
    }

    #[tokio::test]
    async fn bytes_go_by_the_descriptors_that_were_handed_over() -> io::Result<()> {
        let (proxy, daemon) = BlockingStream::pair()?;
        let (input, mut to_agent) = io::pipe()?;
        let (output, mut from_agent) = BlockingStream::pair()?;
        assert!(give(&proxy, &input, &output)?);
        drop((input, output));
        let mut caller = taken(daemon).await?;
        to_agent.write_all(b"asked")?;
        let mut asked = [0; 5];
        caller.read_exact(&mut asked).await?;
        caller.write_all(b"answered").await?;
        let mut answered = [0; 8];
        from_agent.read_exact(&mut answered)?;
        assert_eq!((&asked, &answered), (b"asked", b"answered"));
        // The input has not ended; whoever handed it over has.
        drop(proxy);
        assert_eq!(caller.read(&mut asked).await?, 0);
        // The end of the conversation is the end of what was handed over.
        drop(caller);
        assert_eq!(from_agent.read(&mut answered)?, 0);
        assert!(to_agent.write_all(b"more").is_err());
        Ok(())
    }

    #[tokio::test]
    async fn a_caller_without_descriptors_speaks_on_the_socket() -> io::Result<()> {
        let (mut asker, daemon) = BlockingStream::pair()?;
        asker.write_all(protocol::hello::MAGIC)?;
        let mut caller = taken(daemon).await?;
        let mut said = [0; 8];
        caller.read_exact(&mut said).await?;
        assert_eq!(&said, protocol::hello::MAGIC);
        Ok(())
    }

    #[tokio::test]
    async fn a_mark_without_descriptors_is_refused() -> io::Result<()> {
        let (mut asker, daemon) = BlockingStream::pair()?;
        asker.write_all(&[MARK])?;
        assert_eq!(
            taken(daemon).await.expect_err("nothing came with it").raw_os_error(),
            Some(rustix::io::Errno::MFILE.raw_os_error())
        );
        Ok(())
    }

    #[test]
    fn files_and_other_sockets_are_not_handed_over() -> io::Result<()> {
        let (proxy, _daemon) = BlockingStream::pair()?;
        let (pipe, _) = io::pipe()?;
        let internet = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let file = tempfile::tempfile()?;
        assert!(!give(&proxy, &pipe, &file)?);
        assert!(!give(&proxy, &internet, &pipe)?);
        Ok(())
    }
}
