//! Notices that the machine slept: the wall clock went on while the monotonic one stood still.

use std::time::{Duration, Instant, SystemTime};

/// Between two looks at the clocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A difference above this was a sleep. A clock that is set by hand looks the same and costs one round trip.
const SLEPT: Duration = Duration::from_secs(5);

/// Returns once the machine woke from a sleep that began after the call.
pub(super) async fn woke() {
    let mut before = (Instant::now(), SystemTime::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = (Instant::now(), SystemTime::now());
        if slept(now.0 - before.0, now.1.duration_since(before.1).unwrap_or_default()) {
            return;
        }
        before = now;
    }
}

fn slept(monotonic: Duration, wall: Duration) -> bool {
    wall.saturating_sub(monotonic) > SLEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_a_wall_clock_that_went_on_alone() {
        let second = Duration::from_secs(1);
        assert!(slept(second, second * 3600));
        assert!(!slept(second * 3600, second * 3600), "a busy machine did not sleep");
        assert!(!slept(second, second * 2), "the clock was adjusted a little");
    }
}
