//! The bytes below a connection: a socket, a channel of a jump host, or the pipes of a command. Each can be cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A stream that the library speaks SSH over.
pub(super) type Stream = Box<dyn Duplex>;

/// Both directions of a stream.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Cuts a stream when it is dropped, so that nothing of a given-up attempt goes on.
#[derive(Debug)]
pub(super) enum Cut {
    /// A second handle of the socket.
    Socket(std::net::TcpStream),
    /// What [`Cuttable`] listens to.
    Token(CancellationToken),
}

impl Cut {
    /// Returns a socket as a stream. What was sent and is not acknowledged within `silence` counts as the end.
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "only Linux has such a limit"))]
    pub(super) fn socket(stream: TcpStream, silence: Duration) -> io::Result<(Stream, Self)> {
        stream.set_nodelay(true)?;
        #[cfg(unix)]
        let copy = {
            use std::os::fd::AsFd as _;
            std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?)
        };
        #[cfg(windows)]
        let copy = {
            use std::os::windows::io::AsSocket as _;
            std::net::TcpStream::from(stream.as_socket().try_clone_to_owned()?)
        };
        // The kernel would wait 15 minutes.
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&copy, u32::try_from(silence.as_millis()).unwrap_or(u32::MAX))?;
        Ok((Box::new(stream), Self::Socket(copy)))
    }

    /// Returns any other stream so that it can be cut.
    pub(super) fn stream(stream: impl Duplex + 'static) -> (Stream, Self) {
        let token = CancellationToken::new();
        let cut = Box::pin(token.clone().cancelled_owned());
        (Box::new(Cuttable { stream, token: token.clone(), cut }), Self::Token(token))
    }

    /// Cuts the stream; its reader and writer see the end at once.
    pub(super) fn now(&self) {
        match self {
            Self::Socket(socket) => {
                if let Err(error) = socket.shutdown(std::net::Shutdown::Both) {
                    tracing::trace!(%error, "the socket is shut already");
                }
            }
            Self::Token(token) => token.cancel(),
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.now();
    }
}

/// A stream that is at its end once its token is cancelled.
struct Cuttable<S> {
    stream: S,
    token: CancellationToken,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S: Duplex> AsyncRead for Cuttable<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: Duplex> AsyncWrite for Cuttable<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_cut_ends_a_read_that_waits() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let (mut stream, cut) = Cut::stream(ours);
        theirs.write_all(b"before").await.expect("there is room");
        let mut text = [0; 6];
        stream.read_exact(&mut text).await.expect("it was sent");
        let reading = tokio::spawn(async move {
            let read = stream.read(&mut [0; 6]).await;
            (read, stream.write(b"after").await)
        });
        tokio::task::yield_now().await;
        drop(cut);
        let (read, written) = reading.await.expect("it ends");
        assert_eq!(read.expect("an end is no error"), 0);
        assert_eq!(written.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }
}
