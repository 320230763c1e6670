//! Runs commands: one job each, cancelled when its handle is dropped; a panic becomes an error.
