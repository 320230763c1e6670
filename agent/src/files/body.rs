//! The bytes of one operation after the other out of the one stream that follows a batch.
//!
//! Whatever becomes of an operation, exactly its bytes are taken, so that the next one finds its own.

use std::io;

use protocol::agent::Trailer;
use protocol::sync::Hash;

use super::Bodies;
use super::look::CHUNK;

/// A reader that ends where the current operation's bytes end.
pub(super) struct Body<'a> {
    stream: &'a mut dyn Bodies,
    left: u64,
    ended: bool,
    trailer: Option<Trailer>,
}

impl<'a> Body<'a> {
    pub(super) fn new(stream: &'a mut dyn Bodies) -> Self {
        Self { stream, left: 0, ended: false, trailer: None }
    }

    /// Turns to the next operation, which has `size` bytes.
    pub(super) fn begin(&mut self, size: u64) {
        self.left = size;
    }

    /// Reads bytes of the current operation; 0 at its end and when the stream ended early.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        while wanted > 0 && !self.ended {
            match self.stream.read(&mut buffer[..wanted]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.left -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Fills `buffer`; returns whether there were enough bytes.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => return Ok(false),
                count => filled += count,
            }
        }
        Ok(true)
    }

    /// Fails when nobody waits for the batch any more; for an operation that takes long and reads nothing.
    pub(super) fn go_on(&self) -> io::Result<()> {
        self.stream.go_on()
    }

    /// Returns whether the sidecar can make use of what is left of a cut transfer.
    pub(super) fn may_resume(&self) -> bool {
        self.stream.may_resume()
    }

    /// Returns whether every byte of the current operation was read.
    pub(super) fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Passes over what is left of the current operation.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        if self.left == 0 || self.ended {
            return Ok(());
        }
        let mut waste = vec![0; CHUNK];
        while self.read(&mut waste)? > 0 {}
        Ok(())
    }

    /// Waits for the end of the stream, and returns the hash of the last body if it came with it.
    pub(super) fn end(&mut self) -> io::Result<Option<Hash>> {
        if self.trailer.is_none() {
            self.trailer = Some(self.stream.trailer()?);
        }
        Ok(self.trailer.as_ref().and_then(|trailer| if trailer.error.is_none() { trailer.hash } else { None }))
    }
}
