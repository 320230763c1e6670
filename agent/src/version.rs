//! How a build of the agent names itself.

use protocol::hello::PROTOCOL;

/// Returns the line that `--version` prints.
pub fn version_line() -> String {
    format!("mlt {} protocol {PROTOCOL}", env!("CARGO_PKG_VERSION"))
}
