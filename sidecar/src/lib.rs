//! The head of MLToolbox: what to do, when, for whom.

pub mod commands;
pub mod config;
pub mod cx;
pub mod dotenv;
pub mod env;
pub mod frontend;
pub mod hooks;
pub mod interpolate;
pub mod jobs;
pub mod log;
pub mod migrate;
#[cfg_attr(not(unix), path = "owner/absent.rs")]
pub mod owner;
pub mod secrets;
pub mod session;
pub mod sessions;
pub mod store;
pub mod sync;
pub mod transport;
pub mod trust;
