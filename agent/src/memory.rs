//! What a process of ours that stays asks of the C library's allocator: to give back what a burst of work took.
//!
//! Tried on a first sync of 30 000 files: by default each thread keeps a heap of its own and nothing of it comes back
//! (99 MB at rest). Heaps and thresholds can be set by the environment alone, so whoever starts the process sets them.

/// Settings of glibc, as mallopt(3) names them; other C libraries do not look at them.
pub const SETTINGS: [(&str, &str); 3] = [
    // One heap: freed memory of a thread that ended is used again.
    ("MALLOC_ARENA_MAX", "1"),
    // What is larger has pages of its own, which are given back at once. Bodies of frames are smaller.
    ("MALLOC_MMAP_THRESHOLD_", "1048576"),
    // What is free at the end of the heap beyond this is given back.
    ("MALLOC_TRIM_THRESHOLD_", "524288"),
];
