//! The terminal's modes: raw while an interactive program has it, and as it was on every way out.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::line;
use crate::frontend::TerminalSize;

/// The modes of standard input before we changed them.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Remembers the modes of the terminal, so that [`restore`] brings them back; also before a prompt
/// that switches off echo, which a signal may cut short.
pub(super) fn remember() -> Option<Termios> {
    let modes = tcgetattr(io::stdin()).ok()?;
    let mut before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    before.get_or_insert_with(|| modes.clone());
    Some(modes)
}

/// Gives every key to the program, unechoed. Returns whether standard input is a terminal that does so.
pub(super) fn make_raw() -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    let Some(mut modes) = remember() else { return false };
    modes.make_raw();
    if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &modes) {
        tracing::warn!(%error, "the terminal cannot be made raw");
        return false;
    }
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
    true
}

/// Brings the modes back that the terminal had before us. Does nothing when they were not changed.
pub(super) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(modes) = before
        && let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &modes)
    {
        tracing::warn!(%error, "the terminal's modes cannot be restored");
    }
}

/// Returns the size of the terminal, now and whenever it changes.
pub(super) fn size() -> Option<watch::Receiver<TerminalSize>> {
    let (tx, rx) = watch::channel(current_size()?);
    let mut changes = signal(SignalKind::window_change()).ok()?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                signalled = changes.recv() => if signalled.is_none() { return },
                () = tx.closed() => return,
            }
            if let Some(size) = current_size() {
                tx.send_replace(size);
            }
        }
    });
    Some(rx)
}

/// Returns the cells in a line of standard error that can be used without wrapping.
pub(super) fn columns() -> usize {
    let columns = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { line::WIDTH } else { (columns - 1).min(line::WIDTH) }
}

fn current_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    Some(TerminalSize { columns: size.ws_col, rows: size.ws_row })
}
