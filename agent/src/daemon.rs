//! One `mlt serve` per user, found or started by `mlt proxy`: socket, lock, log.
