//! The hands of MLToolbox on the machine where they run: files and processes. No opinions: it does what a
//! request says, or explains why not.
//!
//! The agent itself stands on Unix sockets and folder descriptors. Elsewhere there is none, only what a sidecar
//! needs to speak with one.

#[cfg(unix)]
pub mod cli;
#[cfg(unix)]
pub mod daemon;
pub mod delta;
pub mod env;
pub mod facts;
#[cfg(unix)]
pub mod files;
#[cfg(unix)]
pub mod log;
pub mod merkle;
#[cfg(unix)]
pub mod serve;
pub mod version;
pub mod wire;
