//! What every test stands on: a temporary home, a real SSH server, the built programs, and ways to break them.
//!
//! Nothing here touches the user's own files, keys or running programs. A failure of the harness itself is
//! a failed test, so its functions panic with the reason instead of returning errors.

pub mod work;

pub mod host;

pub mod keyring;

pub mod binary;

pub mod cli;

pub mod editor;

pub mod terminal;

pub mod oracle;

pub mod process;

pub mod proxy;

pub mod skip;

pub mod limits;

pub mod mounts;

pub mod edits;
