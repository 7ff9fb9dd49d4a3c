//! Waiting for a condition, and never for a time.

use std::time::{Duration, Instant};

/// How long a test waits for what it knows to come.
pub const SOON: Duration = Duration::from_secs(60);

/// Polls `condition` until it holds; `false` when it does not within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
