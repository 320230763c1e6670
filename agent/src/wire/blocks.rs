//! Memory for long payloads that is used again: asking the system for pages and giving them back with each of them
//! took a sixth of the agent's time in a first copy.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Most blocks that are kept while nobody uses them.
const KEPT: usize = 4;

/// Blocks of one size. Cheap to clone; the clones share what is free.
#[derive(Clone, Debug)]
pub struct Blocks {
    size: usize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A payload as it fills up.
#[derive(Debug)]
pub struct Block {
    /// What came so far.
    pub bytes: Vec<u8>,
    home: Blocks,
}

impl Blocks {
    /// Returns blocks of `size` bytes; none is made yet.
    pub fn new(size: usize) -> Self {
        Self { size, free: Arc::default() }
    }

    /// Returns an empty block with room for `length` bytes.
    pub fn take(&self, length: usize) -> Block {
        // Longer payloads are rare; their memory is not worth keeping.
        let free = (length <= self.size).then(|| self.free().pop()).flatten();
        let bytes = free.unwrap_or_else(|| Vec::with_capacity(length.max(self.size)));
        Block { bytes, home: self.clone() }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// Returns the payload; its memory comes back when the last piece of it is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.home.free();
        if bytes.capacity() == self.home.size && free.len() < KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_bounded() {
        const SIZE: usize = 256 * 1024;
        let blocks = Blocks::new(SIZE);
        let mut block = blocks.take(100_000);
        block.bytes.extend_from_slice(b"payload");
        let place = block.bytes.as_ptr();
        let payload = block.freeze();
        let piece = payload.slice(3..);
        drop(payload);
        assert_eq!((&piece[..], blocks.free().len()), (&b"load"[..], 0));
        drop(piece);
        let again = blocks.take(SIZE);
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (place, 0));
        let many: Vec<Block> = (0..KEPT + 3).map(|_| blocks.take(1)).collect();
        drop((again, many));
        assert_eq!(blocks.free().len(), KEPT);
        drop(blocks.take(SIZE + 1));
        assert!(blocks.free().iter().all(|bytes| bytes.capacity() == SIZE));
    }
}
