//! How long streams may take, and how many there are.

use std::time::Duration;

/// How long things may take, and how much may be under way at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// borg processes at once. Each takes 60 to 100 MB of memory and most of a processor.
    pub processes: usize,
    /// A stream that nobody asked anything of for this long is ended. Longer spares a reader that
    /// pauses the way from byte 0; shorter gives the repository's lock back sooner.
    pub idle: Duration,
    /// A stream from which nothing came for this long is given up. Longer than ssh takes to notice
    /// that the line is cut (60 s).
    pub stall: Duration,
    /// How long borg waits for the repository's lock.
    pub lock_wait: Duration,
    /// How often new archives are looked for; `None`: as suits the repository.
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
