//! The numbers that decide how long we try and what we show, stated once.

use std::time::Duration;

/// Tries of a first connection, and of the agent's start.
pub const TRIES: u32 = 3;

/// A started agent must answer within this time.
pub const HEALTHY_WITHIN: Duration = Duration::from_mins(1);

/// Lines of the agent's log that are shown when it does not answer, and by `agent logs` unasked.
pub const LOG_LINES: u32 = 100;

/// A request about which the agent says nothing for this long has failed. The agent says every ten seconds
/// that it works on one, so this bounds silence and never the work.
pub const SILENT_FOR: Duration = Duration::from_mins(1);

/// Longest pause between two attempts to get a lost session back.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Returns the pause after the failed first-connection attempt number `attempt` (counted from 0).
pub fn pause_after(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.min(16))
}

/// Returns the pause after the failed attempt number `attempt` (counted from 0) to get a session back.
pub fn reconnect_pause(attempt: u32) -> Duration {
    Duration::from_millis(250 << attempt.min(16)).min(LONGEST_PAUSE)
}
