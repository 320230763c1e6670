//! Pure: from base, local and remote to operations, conflicts and drift. No clock, no files.
