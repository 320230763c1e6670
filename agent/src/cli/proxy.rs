//! Connects standard input and output to the daemon: hands them over, or passes each byte on where they are of a
//! kind that the daemon cannot wait for. Nothing else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd as _;

use crate::daemon::error::DaemonError;
use crate::daemon::handover;
use crate::daemon::place::Place;
use crate::daemon::start;

/// Bytes passed on at a time: one full data frame.
const BUFFER: usize = 256 * 1024;

/// Runs until the daemon ends the conversation.
pub(super) fn run(place: &Place) -> Result<(), DaemonError> {
    let stream = start::find_or_start(place)?;
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(DaemonError::Pipe)?;
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(DaemonError::Pipe)?;
    if handover::give(&stream, &input, &output).map_err(DaemonError::Pipe)? {
        // The session lasts as long as this process does.
        return pass(&stream, io::sink()).map_err(DaemonError::Pipe);
    }
    let to_daemon = stream.try_clone().map_err(DaemonError::Pipe)?;
    // Not joined: it may wait for input that never comes, and ends with the process.
    std::thread::spawn(move || {
        let passed = pass(input, &to_daemon);
        let ended = to_daemon.shutdown(if passed.is_ok() { Shutdown::Write } else { Shutdown::Both });
        if let Err(error) = passed.and(ended) {
            tracing::debug!(%error, "the way to the agent broke");
        }
    });
    pass(&stream, output).map_err(DaemonError::Pipe)
}

fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
