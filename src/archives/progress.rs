//! Counts the progress and the results of work on an image.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::progress::{self, Progress, Total};

/// A step of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Comparing the target with the archive, and writing the differences.
    Restore,
    /// Reading back the written bytes.
    ReadBack,
    /// Comparing the target with the archive.
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

/// Counts the progress of one step, for any number of threads.
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

/// The results of a restore, in bytes unless another unit is given.
#[derive(Default)]
pub struct Counts {
    /// Correct before the restore.
    pub right: AtomicU64,
    /// Read from the target for the comparison.
    pub read: AtomicU64,
    /// Read as a sample of what should be unchanged.
    pub sampled: AtomicU64,
    pub written: AtomicU64,
    /// Zeroed without sending bytes.
    pub zeroed: AtomicU64,
    /// A number of chunks.
    pub fetched_chunks: AtomicU64,
    /// Received, compressed.
    pub fetched: AtomicU64,
    /// Read of files and devices of this machine that had them.
    pub local: AtomicU64,
}

pub fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

pub fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
