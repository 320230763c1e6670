//! The terminal's modes where they cannot be changed: it stays as it is, and keys come line by line.

use tokio::sync::watch;

use super::line;
use crate::frontend::TerminalSize;

/// Does nothing: no mode is ever changed.
pub(super) fn remember() {}

/// Returns that standard input is no terminal that gives every key.
pub(super) fn make_raw() -> bool {
    false
}

/// Does nothing: no mode was changed.
pub(super) fn restore() {}

/// Returns no size: nothing is drawn on a terminal that is not raw.
pub(super) fn size() -> Option<watch::Receiver<TerminalSize>> {
    None
}

/// Returns the width of a line that fits into every usual terminal.
pub(super) fn columns() -> usize {
    line::WIDTH
}
