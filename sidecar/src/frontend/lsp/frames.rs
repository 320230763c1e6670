//! The frames of the language server protocol: a header with a length, then so many bytes.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest message that is taken: no command has larger parameters.
const MESSAGE_LIMIT: u64 = 64 << 20;
/// Longest header line.
const LINE_LIMIT: u64 = 8 << 10;
/// Most header lines of a message.
const LINES: usize = 32;
/// Room that is made on trust in the length alone.
const TRUSTED: u64 = 1 << 20;

/// Reads one message; `None` at the end of the stream. An error means that the next message cannot be found.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length: Option<u64> = None;
    for count in 0.. {
        let mut line = Vec::new();
        let read = (&mut *from).take(LINE_LIMIT).read_until(b'\n', &mut line).await?;
        if read == 0 && count == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') || count > LINES {
            return Err(bad("a header line is cut off or too long"));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header line has no colon"))?;
        if name.trim().eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| bad("the length is no number"))?);
        }
    }
    let length = length.ok_or_else(|| bad("the header has no length"))?;
    if length > MESSAGE_LIMIT {
        return Err(bad("the message is too long"));
    }
    let mut message = Vec::with_capacity(usize::try_from(length.min(TRUSTED)).unwrap_or(0));
    let read = from.take(length).read_to_end(&mut message).await?;
    if u64::try_from(read) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

/// Writes one message.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    to.write_all(format!("Content-Length: {}\r\n\r\n", message.len()).as_bytes()).await?;
    to.write_all(message).await
}

fn bad(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_bytes_are_read_or_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
        let text = "(Content-Length: [0-9]{0,20}\r\n|\r\n|\n|[a-z]{0,5}:|\\{\\}|\\PC){0,20}";
        proptest!(config, |(text in text)| {
            let mut rest = text.as_bytes();
            let mut read_bytes = 0;
            while let Ok(Some(message)) = runtime.block_on(read(&mut rest)) {
                read_bytes += message.len();
                prop_assert!(read_bytes <= text.len());
            }
        });
    }

    async fn check(bytes: &[u8]) -> Result<Option<Vec<u8>>, io::ErrorKind> {
        let mut bytes = bytes;
        read(&mut bytes).await.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn messages_come_whole_or_not_at_all() {
        let bad = Err(io::ErrorKind::InvalidData);
        assert_eq!(check(b"Content-Length: 2\r\n\r\n{}").await, Ok(Some(b"{}".to_vec())));
        assert_eq!(check(b"X: 1\ncontent-length:2\n\n{}").await, Ok(Some(b"{}".to_vec())));
        assert_eq!(check(b"").await, Ok(None));
        assert_eq!(check(b"Content-Length: 3\r\n\r\n{}").await, Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(check(b"Content-Length: -1\r\n\r\n{}").await, bad);
        assert_eq!(check(b"Content-Length: 99999999999\r\n\r\n{}").await, bad);
        assert_eq!(check(b"\r\n{}").await, bad);
        assert_eq!(check(&[b'x'; 10_000]).await, bad);
        assert_eq!(check("a:b\n".repeat(100).as_bytes()).await, bad);
    }
}
