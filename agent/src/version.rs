//! How a build of the agent names itself.

use protocol::hello::PROTOCOL;

/// Characters of the BLAKE3 hash, in hexadecimal, that an installed build has in its name.
pub const BUILD: usize = 12;

/// Returns the line that `--version` prints.
pub fn version_line() -> String {
    format!("mlt {} protocol {PROTOCOL}", env!("CARGO_PKG_VERSION"))
}
