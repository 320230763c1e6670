//! A workspace of which some files travel only as they were when it was decided to send them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use protocol::path::RelPath;
use protocol::sync::Hash;

use crate::store::Base;
use crate::sync::plan::Local;
use crate::sync::scan::Seal;
use crate::sync::source::{Reading, Replacement, Scan, Source};

/// A workspace whose references name only objects that were sent: one that was changed meanwhile is not read.
#[derive(Debug)]
pub(in crate::sync) struct Frozen {
    /// The workspace.
    pub(in crate::sync) source: Arc<dyn Source>,
    /// What files have to hold in order to be read.
    pub(in crate::sync) contents: BTreeMap<RelPath, Hash>,
}

impl Source for Frozen {
    fn scan(&self, paths: Option<&BTreeSet<RelPath>>, base: &BTreeMap<RelPath, Base>) -> io::Result<Scan> {
        self.source.scan(paths, base)
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn Reading>> {
        let reading = self.source.open(path)?;
        Ok(match self.contents.get(path) {
            Some(expected) => Box::new(Checked { reading, expected: *expected }),
            None => reading,
        })
    }

    fn replace(&self, path: &RelPath, expected: Option<&Local>, with: &Replacement<'_>, keep: &Path) -> io::Result<()> {
        self.source.replace(path, expected, with, keep)
    }
}

struct Checked {
    reading: Box<dyn Reading>,
    expected: Hash,
}

impl Reading for Checked {
    fn size(&self) -> u64 {
        self.reading.size()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reading.read(buffer)
    }

    fn hash_so_far(&self) -> Hash {
        self.reading.hash_so_far()
    }

    fn finish(self: Box<Self>) -> io::Result<Option<Seal>> {
        let expected = self.expected;
        Ok(self.reading.finish()?.filter(|seal| seal.hash == expected))
    }
}
