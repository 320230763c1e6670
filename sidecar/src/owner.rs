//! The process that runs a workspace's sync, and the socket on which others reach it.
