//! The words that MLToolbox's parts speak: plain data, no I/O, no clock, no runtime.
//!
//! Two conversations use them: an editor (or the command line) with the sidecar ([`editor`]), and the
//! sidecar with the agent on a remote ([`hello`], [`frame`], [`agent`], [`sync`], [`delta`], [`mirror`],
//! [`listing`]).

pub mod agent;
pub mod delta;
pub mod editor;
pub mod error;
pub mod frame;
pub mod hello;
pub mod listing;
pub mod method;
pub mod mirror;
pub mod path;
pub mod sync;
