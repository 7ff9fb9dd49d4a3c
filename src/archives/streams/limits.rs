//! The limits on the time and the number of streams.

use std::time::Duration;

/// Limits of time and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The number of borg processes. Each takes 60 to 100 MB of memory and most of a processor.
    pub processes: usize,
    /// The time after which an unused stream ends. A longer one saves a reader that pauses from
    /// starting at byte 0 again; a shorter one releases the repository's lock sooner.
    pub idle: Duration,
    /// The time after which a silent stream is given up. It is longer than ssh needs to notice a
    /// dropped connection (60 s).
    pub stall: Duration,
    /// How long borg waits for the repository's lock.
    pub lock_wait: Duration,
    /// The interval between two checks for new archives; `None`: the default of the repository.
    pub look: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            processes: 4,
            idle: Duration::from_secs(10),
            stall: Duration::from_secs(120),
            lock_wait: Duration::from_secs(60),
            look: None,
        }
    }
}
