//! A root folder and what may be done in it: look, apply, read. Blocking; callers run it off the runtime.
//!
//! Nothing here ever follows a link, leaves the root, or overwrites content that was not expected.

use std::fs::File;
use std::io;

use protocol::agent::{Apply, Open, Opened, RootId, Trailer};
use protocol::error::Error;
use protocol::path::RelPath;
use protocol::sync::{Differs, Found, Known, Outcome};

/// An open root with its lease.
#[derive(Debug)]
pub struct Root {}

/// The bytes that follow an [`Apply`], as one stream.
pub trait Bodies {
    /// Reads bytes of the stream; 0 at its end, `Err` when it was cancelled or lost.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Returns what ended the stream; called once after the last byte was read.
    fn trailer(&mut self) -> io::Result<Trailer>;
}

impl Root {
    /// Opens a root as [`Open`] says and takes its lease.
    pub fn open(id: RootId, open: &Open) -> Result<(Self, Opened), Error> {
        let _ = (id, open);
        todo!("files helper")
    }

    /// Compares paths with what they should hold.
    pub fn verify(&self, entries: &[Known]) -> Vec<Differs> {
        let _ = entries;
        todo!("files helper")
    }

    /// Does every operation completely or not at all.
    pub fn apply(&self, apply: &Apply, bodies: &mut dyn Bodies) -> Result<Vec<Outcome>, Error> {
        let _ = (apply, bodies);
        todo!("files helper")
    }

    /// Opens a file for reading.
    pub fn read(&self, path: &RelPath) -> Result<(Found, File), Error> {
        let _ = path;
        todo!("files helper")
    }

    /// Makes everything applied so far survive a power cut.
    pub fn flush(&self) -> Result<(), Error> {
        todo!("files helper")
    }

    /// Empties the trash.
    pub fn empty_trash(&self) -> Result<(), Error> {
        todo!("files helper")
    }

    /// Gives the lease back.
    pub fn close(&self) {
        todo!("files helper")
    }
}
