//! The hands of MLToolbox on the machine where they run: files and processes. No opinions: it does what a
//! request says, or explains why not.

pub mod cli;
pub mod daemon;
pub mod env;
pub mod facts;
pub mod files;
pub mod log;
pub mod serve;
pub mod wire;
