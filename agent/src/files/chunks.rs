//! Cutting a file, or what is left of a transfer to it, into chunks: one reading gives them and the hash of the whole.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd as _;

use protocol::delta::Chunks;
use protocol::error::Error;
use protocol::sync::{Found, Hash};

use super::Root;
use super::error::RootError;
use super::look::{self, ATTEMPTS, Kind};
use super::walk::{self, Folders};
use crate::delta::{self, ChunkList};

impl Root {
    /// Returns what a file is and its chunks; `None` when there is none. `go_on` is asked before each read and ends it.
    pub fn chunks(&self, chunks: &Chunks, go_on: &dyn Fn() -> bool) -> Result<Option<(Found, ChunkList)>, Error> {
        self.check()?;
        let unreadable = |error: io::Error| RootError::Unreadable {
            path: format!("{}/{}", self.path, chunks.path),
            reason: error.to_string(),
        };
        let Some(mut file) = self.to_cut(chunks).map_err(unreadable)? else { return Ok(None) };
        Ok(Some(cut(&mut file, go_on).map_err(unreadable)?))
    }

    fn to_cut(&self, chunks: &Chunks) -> io::Result<Option<File>> {
        let path = &chunks.path;
        if chunks.partial {
            return self.partials.file(path);
        }
        match Folders::new(&self.top).parent_of(path) {
            Ok(parent) => match look::at(parent.as_fd(), path.name())? {
                Some(seen) if seen.kind == Kind::File => look::open(parent.as_fd(), path.name()).map(Some),
                Some(_) | None => Ok(None),
            },
            Err(walk::Stop::Missing | walk::Stop::Unsafe(_)) => Ok(None),
            Err(walk::Stop::Failed(error)) => Err(error),
        }
    }
}

/// Cuts a file that held still while it was read.
fn cut(file: &mut File, go_on: &dyn Fn() -> bool) -> io::Result<(Found, ChunkList)> {
    let mut before = look::through(&*file)?;
    if before.kind != Kind::File {
        return Err(io::Error::other("it is no regular file any more"));
    }
    for _ in 0..ATTEMPTS {
        file.rewind()?;
        let mut hasher = blake3::Hasher::new();
        let list = delta::cut_all(&mut |buffer| {
            if !go_on() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let count = file.read(buffer)?;
            hasher.update(&buffer[..count]);
            Ok(count)
        })?;
        let after = look::through(&*file)?;
        if after.is_unchanged(&before) {
            return Ok((look::found_file(Hash(*hasher.finalize().as_bytes()), &after), list));
        }
        before = after;
    }
    Err(io::Error::other("it keeps changing while it is read"))
}
