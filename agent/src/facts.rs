//! What can be said of this machine, once.
