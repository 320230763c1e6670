//! The language server: the table over JSON-RPC on standard input and output.
//!
//! `tower-lsp` routes and keeps the protocol's state; the loop around it is `wire`'s. Standard output
//! belongs to the protocol alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
#[cfg(unix)]
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, poll};
#[cfg(unix)]
use rustix::process::{Pid, getppid, test_kill_process};
use tokio::sync::mpsc;

use crate::commands::{self, Command};
use crate::jobs::{Jobs, Role};
use crate::log;

mod frames;
mod person;
mod server;
mod wire;

#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use wire::examples;
pub use wire::serve;

/// How often we look whether the editor still lives.
#[cfg(unix)]
const LOOK: Duration = Duration::from_millis(500);
/// Log lines that wait for the editor.
const LOG_LINES: usize = 256;
/// Running commands get this long to take note that the editor is gone.
const FAREWELL: Duration = Duration::from_millis(400);

/// Serves until the editor leaves; returns the exit status.
pub fn main(verbose: u8) -> u8 {
    let (log_tx, log_rx) = mpsc::channel(LOG_LINES);
    log::start(if verbose > 0 { log::Also::Stderr(verbose) } else { log::Also::Editor(log_tx) });
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else { return 70 };
    let editor = Arc::new(AtomicI32::new(0));
    let status = runtime.block_on(async {
        let jobs = Jobs::new(Role::Asker);
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let setting =
            Setting { commands: commands::table(), jobs: jobs.clone(), folder, log: log_rx, editor: editor.clone() };
        let status = tokio::select! {
            status = serve(tokio::io::stdin(), tokio::io::stdout(), setting) => status,
            () = output_closed() => 1,
            () = orphaned(&editor) => 1,
        };
        if tokio::time::timeout(FAREWELL, jobs.drain()).await.is_err() {
            tracing::warn!("commands still run; they end with this process");
        }
        status
    });
    // A thread still reads standard input and cannot be stopped; the process ends without it.
    runtime.shutdown_background();
    status
}

/// What a server needs to begin.
#[derive(Debug)]
pub struct Setting {
    /// The rows that the editor can ask for.
    pub commands: &'static [Command],
    /// Runs the commands.
    pub jobs: Jobs,
    /// The folder of commands until the editor names one.
    pub folder: PathBuf,
    /// Log lines for the editor.
    pub log: mpsc::Receiver<log::Line>,
    /// Takes the editor's process id in, when it tells one.
    pub editor: Arc<AtomicI32>,
}

/// Returns once nobody can read our standard output any more, though nothing is written.
#[cfg(unix)]
async fn output_closed() {
    let (tx, rx) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let stdout = std::io::stdout();
        loop {
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "standard output cannot be watched");
                    loop {
                        std::thread::park();
                    }
                }
            }
        }
        drop(tx);
    });
    drop(rx.await);
    tracing::info!("the reader of standard output is gone");
}

/// Never returns: where standard output cannot be watched, the next write tells.
#[cfg(not(unix))]
async fn output_closed() {
    std::future::pending().await
}

/// Returns once the process that started us, or the editor, is gone. Its pipes may live on in others' hands.
#[cfg(unix)]
async fn orphaned(editor: &AtomicI32) {
    let parent = getppid();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let editor = Pid::from_raw(editor.load(Ordering::Relaxed));
        if getppid() != parent || editor.is_some_and(|editor| test_kill_process(editor) == Err(rustix::io::Errno::SRCH))
        {
            tracing::info!("the editor is gone");
            return;
        }
    }
}

/// Never returns: where no process can be asked for, the end of standard input tells.
#[cfg(not(unix))]
async fn orphaned(_: &AtomicI32) {
    std::future::pending().await
}

/// Returns whether a process of that number is known to run.
#[cfg(unix)]
fn lives(id: i32) -> bool {
    Pid::from_raw(id).is_some_and(|id| test_kill_process(id).is_ok())
}

/// Returns that nothing is known of a process of that number.
#[cfg(not(unix))]
fn lives(_: i32) -> bool {
    false
}
