//! Counts how far work on an image is, and what it did.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::progress::{self, Progress, Total};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Holding the target against the archive, and writing what differs.
    Restore,
    /// Reading back what was written.
    ReadBack,
    /// Holding the target against the archive.
    Compare,
    /// Reading the archive's data.
    Read,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Restore => "restore",
            Step::ReadBack => "read back",
            Step::Compare => "compare",
            Step::Read => "read",
        }
    }
}

/// Receives the progress, from any thread.
pub type Monitor<'a> = &'a dyn progress::Monitor;

/// Counts one step, whoever works on it.
pub struct Meter<'a> {
    step: Step,
    done: AtomicU64,
    total: u64,
    monitor: Monitor<'a>,
}

impl<'a> Meter<'a> {
    pub fn new(step: Step, total: u64, monitor: Monitor<'a>) -> Self {
        Meter { step, done: AtomicU64::new(0), total, monitor }
    }

    pub fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.monitor.progress(Progress::bytes(self.step.name(), done, Total::Exactly(self.total)));
    }
}

/// What a restore did, in bytes unless said otherwise.
#[derive(Default)]
pub struct Counts {
    /// Were right already.
    pub right: AtomicU64,
    /// Read from the target to be held against the archive.
    pub read: AtomicU64,
    /// Read of what was proven to be right.
    pub sampled: AtomicU64,
    pub written: AtomicU64,
    /// Made zeros without bytes being sent.
    pub zeroed: AtomicU64,
    /// A number of chunks.
    pub fetched_chunks: AtomicU64,
    /// Over the line, compressed.
    pub fetched: AtomicU64,
}

pub fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

pub fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
