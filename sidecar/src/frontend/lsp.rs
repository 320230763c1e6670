//! The language server: the table over JSON-RPC on standard input and output.

/// Serves until the editor leaves; returns the exit status.
pub fn main(verbose: u8) -> u8 {
    let _ = verbose;
    0
}
